"""Correlations and decisions by a threshold, held against SciPy, scikit-learn and brute force."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from albertine.errors import DataError
from albertine.evaluation.correlation import (
    average_precision,
    best_threshold,
    correlation_rankings,
    decision_metrics,
    pearson,
    ranks,
    spearman,
)
from albertine.evaluation.significance import paired_permutation_test, resample_items

Array = npt.NDArray[np.float64]


def values(items: int, seed: int = 0, *, ties: bool = False) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    gold = generator.uniform(0, 5, items)
    predicted = 0.3 * gold + generator.normal(0, 0.5, items)
    return (gold.round(), predicted.round(1)) if ties else (gold, predicted)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("items", [3, 17, 251])
def test_correlations_agree_with_scipy(items: int, ties: bool) -> None:
    gold, predicted = values(items, ties=ties)
    assert pearson(gold, predicted) == pytest.approx(stats.pearsonr(gold, predicted).statistic)
    assert spearman(gold, predicted) == pytest.approx(stats.spearmanr(gold, predicted).statistic)


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks(np.array([0.5, -1.0, 0.5, 7.0, 0.5])).tolist() == [3.0, 1.0, 3.0, 5.0, 3.0]
    assert spearman(np.array([1.0, 2.0, 2.0]), np.array([0.1, 0.2, 0.2])) == pytest.approx(1.0)


def test_a_side_that_never_changes_correlates_with_nothing() -> None:
    gold, _ = values(9)
    assert pearson(gold, np.full(9, 0.1)) == 0.0
    assert spearman(np.ones(9), gold) == 0.0


def test_values_that_are_not_finite_give_no_number() -> None:
    gold, predicted = values(9)
    predicted[4] = np.nan
    assert math.isnan(pearson(gold, predicted))
    assert math.isnan(spearman(gold, predicted))


def test_tiny_and_shifted_values_correlate_as_well() -> None:
    gold, predicted = values(99)
    assert pearson(gold, predicted * 1e-200) == pytest.approx(pearson(gold, predicted))
    assert pearson(gold, predicted * 1e-6 + 0.9) == pytest.approx(pearson(gold, predicted), abs=1e-6)


def test_no_items_are_refused() -> None:
    with pytest.raises(DataError, match="no items"):
        spearman(np.zeros(0), np.zeros(0))


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_agrees_with_scikit_learn(ties: bool) -> None:
    gold, predicted = values(83, ties=ties)
    relevant = gold > 3
    expected = reference.average_precision_score(relevant, predicted)
    assert average_precision(relevant, predicted) == pytest.approx(expected)
    assert average_precision(np.array([True]), np.array([0.2])) == 1.0


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=12))
@settings(max_examples=200)
def test_no_other_threshold_is_right_more_often(rows: list[tuple[bool, int]]) -> None:
    relevant = np.array([row[0] for row in rows])
    scores = np.array([row[1] for row in rows], dtype=np.float64)
    found = decision_metrics(relevant, scores, best_threshold(relevant, scores))
    every = [decision_metrics(relevant, scores, one)["accuracy"] for one in np.arange(-4, 5) + 0.5]
    assert found["accuracy"] == max(every)


def test_the_threshold_lies_in_the_widest_of_the_best_gaps() -> None:
    relevant = np.array([False, False, True, True])
    assert best_threshold(relevant, np.array([0.1, 0.2, 0.8, 0.9])) == pytest.approx(0.5)
    # 0.3 | 0.4 and 0.6 | 0.9 are both right three times in four
    assert best_threshold(np.array([False, True, False, True]), np.array([0.3, 0.4, 0.6, 0.9])) == pytest.approx(0.75)


def test_accuracy_and_f1_agree_with_scikit_learn() -> None:
    gold, predicted = values(61)
    found = decision_metrics(gold > 3, predicted, 0.7)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(gold > 3, predicted >= 0.7))
    assert found["f1"] == pytest.approx(reference.f1_score(gold > 3, predicted >= 0.7))
    assert decision_metrics(np.array([False]), np.array([0.1]), 0.5)["f1"] == 0.0


def evidence(items: int, *, scale: float = 1.0, seed: int = 0) -> Array:
    gold, predicted = values(items, seed)
    return np.stack([gold, scale * predicted + 0.9], axis=1)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_pearson_of_resamples_comes_from_sums(scale: float) -> None:
    rows, metric = evidence(157, scale=scale), correlation_rankings()["pearson"]
    found = resample_items(rows, metric, resamples=64, seed=5)
    generator = np.random.default_rng([5, 0])
    drawn = generator.integers(0, len(rows), size=(64, len(rows)))
    expected = [pearson(*rows[one].T) for one in drawn]
    np.testing.assert_allclose(found.values[:, 0], expected, atol=2e-5)
    assert found.measured[0] == pytest.approx(pearson(*rows.T))


def test_a_resample_without_any_difference_has_no_correlation() -> None:
    metric = correlation_rankings()["pearson"]
    assert metric.statistics is not None
    assert metric.of_sums is not None
    rows = metric.statistics(evidence(31)).astype(np.float32)
    assert metric.of_sums((rows[4] * 31)[None])[0] == 0.0


def test_every_metric_is_the_one_of_its_name() -> None:
    rows = evidence(40)
    found = {name: metric.of(rows) for name, metric in correlation_rankings().items()}
    assert found == {"spearman": spearman(*rows.T), "pearson": pearson(*rows.T)}


def test_models_of_unlike_scale_and_like_answers_do_not_differ() -> None:
    gold, predicted = values(120)
    generator = np.random.default_rng(4)
    one = np.stack([gold, predicted], axis=1)
    other = np.stack([gold, 0.01 * (predicted + generator.normal(0, 0.02, 120)) + 0.95], axis=1)
    metric = correlation_rankings()["pearson"]
    assert paired_permutation_test(one, other, metric, resamples=199) > 0.05
    worse = np.stack([gold, 0.01 * (predicted + generator.normal(0, 1.5, 120)) + 0.95], axis=1)
    assert paired_permutation_test(one, worse, metric, resamples=199) < 0.05
