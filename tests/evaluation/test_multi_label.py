"""Metrics where any number of labels applies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from albertine.errors import DataError
from albertine.evaluation.multi_label import best_thresholds, label_rankings, multi_label_metrics

LABELS = ("cold", "dirty", "loud", "never")


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_the_metrics_are_scikit_learns(seed: int, items: int) -> None:
    generator = np.random.default_rng(seed)
    gold, predicted = (generator.integers(0, 2, (items, 4)) for _ in range(2))
    gold[:, 3] = predicted[:, 3] = 0
    found = multi_label_metrics(gold, predicted, LABELS)
    assert found["micro_f1"] == pytest.approx(reference.f1_score(gold, predicted, average="micro", zero_division=0))
    occurring = np.flatnonzero((gold + predicted).any(axis=0))
    each = reference.f1_score(gold, predicted, average=None, zero_division=0)
    assert found["macro_f1"] == pytest.approx(each[occurring].mean() if len(occurring) else 0.0)
    assert found["exact_match"] == pytest.approx(reference.accuracy_score(gold, predicted))
    assert found["hamming_loss"] == pytest.approx(reference.hamming_loss(gold, predicted))
    assert {name for name in found if "/" in name} == {f"f1/{LABELS[place]}" for place in occurring}


def test_metrics_of_sums_are_those_of_the_items() -> None:
    generator = np.random.default_rng(3)
    evidence = generator.integers(0, 2, (23, 8)).astype(np.float64)
    for metric in label_rankings(4).values():
        assert metric.statistics is not None
        assert metric.of_sums is not None
        sums = metric.statistics(evidence).sum(axis=0, keepdims=True)
        assert metric.of_sums(sums)[0] == pytest.approx(metric.of(evidence))


def test_no_items_are_refused() -> None:
    with pytest.raises(DataError, match="no items"):
        multi_label_metrics(np.zeros((0, 4), dtype=int), np.zeros((0, 4), dtype=int), LABELS)


@given(st.integers(0, 2**32 - 1), st.integers(1, 25))
@settings(max_examples=60, deadline=None)
def test_no_other_threshold_is_better(seed: int, items: int) -> None:
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, 2, (items, 2))
    probabilities = (generator.integers(0, 8, (items, 2)) / 8).astype(np.float32)  # equal ones occur
    for column, threshold in enumerate(best_thresholds(gold, probabilities)):
        if not gold[:, column].any():
            assert threshold == 0.5
            continue
        said = (probabilities[:, column] >= threshold).astype(int)
        best = max(
            reference.f1_score(gold[:, column], (probabilities[:, column] >= other).astype(int), zero_division=0)
            for other in np.linspace(0, 1.1, 89)
        )
        assert reference.f1_score(gold[:, column], said, zero_division=0) == pytest.approx(best)
        assert 0 <= threshold <= 1


def test_among_equally_good_thresholds_the_one_in_the_middle_is_taken() -> None:
    gold = np.array([[1], [0]])
    assert best_thresholds(gold, np.array([[0.9], [0.1]], dtype=np.float32)) == pytest.approx((0.5,))
