"""Measures of ranked lists, worked out by hand and held against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics as reference

from albertine.errors import DataError
from albertine.evaluation.ranking import (
    average_precision_at,
    ndcg_at,
    partner_ranks,
    precision_at,
    rank_metrics,
    ranking_metrics,
    recall_at,
    reciprocal_rank_at,
    reciprocal_rank_metric,
)
from albertine.evaluation.significance import resample_items

FOUND = [0.0, 2.0, 0.0, 1.0, 1.0]
"""Relevant at ranks 2, 4 and 5."""


def test_recall_and_precision_count_relevant_items() -> None:
    assert recall_at(4, FOUND) == pytest.approx(2 / 3)
    assert recall_at(4, FOUND, judged=[2, 1, 1, 1]) == pytest.approx(2 / 4)
    assert precision_at(4, FOUND) == pytest.approx(2 / 4)
    assert precision_at(10, FOUND) == pytest.approx(3 / 10)


def test_the_first_relevant_item_makes_the_reciprocal_rank() -> None:
    assert reciprocal_rank_at(10, FOUND) == pytest.approx(1 / 2)
    assert reciprocal_rank_at(1, FOUND) == 0.0


def test_gains_are_discounted_by_rank() -> None:
    gained = 2 / math.log2(3) + 1 / math.log2(5)
    best = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg_at(4, FOUND) == pytest.approx(gained / best)
    assert ndcg_at(3, [0, 0, 1], judged=[3, 1]) == pytest.approx((1 / 2) / (3 + 1 / math.log2(3)))


def test_average_precision_is_the_mean_over_all_relevant_items() -> None:
    assert average_precision_at(5, FOUND) == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3)
    assert average_precision_at(4, FOUND) == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert average_precision_at(5, FOUND, judged=[2, 1, 1, 1]) == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 4)


@pytest.mark.parametrize("measure", [recall_at, ndcg_at, average_precision_at])
def test_where_nothing_is_relevant_there_is_no_number(measure: object) -> None:
    assert callable(measure)
    assert math.isnan(measure(3, [0, 0, 0]))


def test_ndcg_and_average_precision_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        grades = generator.integers(0, 4, size=13)
        grades[0] = 1
        scores = generator.permutation(13).astype(float)
        order = np.argsort(-scores)
        listed = grades[order].tolist()
        assert ndcg_at(7, listed) == pytest.approx(reference.ndcg_score([grades], [scores], k=7))
        expected = reference.average_precision_score(grades > 0, scores)
        assert average_precision_at(13, listed) == pytest.approx(expected)


def test_means_leave_out_queries_to_which_nothing_is_relevant() -> None:
    found = ranking_metrics([[1, 0], [0, 1], [0, 0]], k=2)
    assert found == pytest.approx(
        {"recall@2": 1.0, "precision@2": 0.5, "mrr@2": 0.75, "ndcg@2": (1 + 1 / math.log2(3)) / 2, "map@2": 0.75}
    )
    missed = ranking_metrics([[1, 0], [0, 0]], k=2, judged=[[1], [1]])
    assert missed["recall@2"] == pytest.approx(0.5)
    assert missed["mrr@2"] == pytest.approx(0.5)
    with pytest.raises(DataError, match="relevant"):
        ranking_metrics([[0, 0]])


def unit(rows: int, seed: int) -> npt.NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(rows, 5)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_partners_are_ranked_among_all_different_second_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("albertine.evaluation.ranking._BLOCK", 3)
    first, second = unit(8, 1), unit(8, 2)
    first[5], second[6] = first[2], second[3]
    first_keys = [b"a", b"b", b"c", b"d", b"e", b"c", b"g", b"x4"]
    second_keys = [b"x0", b"x1", b"x2", b"x3", b"x4", b"x5", b"x3", b"x7"]
    wanted = np.array([True, True, True, True, False, True, True, True])
    found = partner_ranks(first, second, first_keys, second_keys, wanted)
    expected = []
    for row in np.flatnonzero(wanted).tolist():
        partners = {second_keys[other] for other in np.flatnonzero(wanted) if first_keys[other] == first_keys[row]}
        others = {
            key: float(first[row] @ second[place])
            for place, key in enumerate(second_keys)
            if key not in partners and key != first_keys[row]
        }
        own = float(first[row] @ second[row])
        expected.append(1 + sum(one >= own for one in others.values()))
    assert found.tolist() == expected


def test_equal_vectors_for_all_texts_find_nothing() -> None:
    same = np.tile(unit(1, 7), (6, 1))
    keys = [bytes([place]) for place in range(6)]
    others = [b"other" + key for key in keys]
    assert partner_ranks(same, same, keys, others, np.ones(6, dtype=bool)).tolist() == [6] * 6


def test_rank_metrics_are_means_over_queries() -> None:
    found = rank_metrics(np.array([1, 2, 4, 11]))
    assert found == pytest.approx({"mrr": (1 + 1 / 2 + 1 / 4 + 1 / 11) / 4, "recall@1": 1 / 4, "recall@10": 3 / 4})


def test_the_mean_reciprocal_rank_of_resamples_comes_from_sums() -> None:
    rows = np.array([[0.0, rank] for rank in [1, 3, 0, 2, 7, 0, 1]])
    metric = reciprocal_rank_metric(1)
    assert metric.of(rows) == pytest.approx((1 + 1 / 3 + 1 / 2 + 1 / 7 + 1) / 5)
    assert metric.of(np.zeros((3, 2))) == 0.0
    found = resample_items(rows, metric, resamples=32, seed=1)
    drawn = np.random.default_rng([1, 0]).integers(0, 7, size=(32, 7))
    np.testing.assert_allclose(found.values[:, 0], [metric.of(rows[one]) for one in drawn], atol=1e-6)
