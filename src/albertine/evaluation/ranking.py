"""How good ranked lists are: recall, precision, reciprocal rank, discounted gain, average precision; pure functions.

A result list is the relevance of what was found, best first: 0 is irrelevant, 1 relevant, more is better still. K items
of a list count. `judged` is the relevance of everything in the collection that is relevant to the query, in any order;
without it the list itself holds all of that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from albertine.errors import DataError
from albertine.evaluation.metrics import FloatArray, Metric
from albertine.records import IntArray

__all__ = [
    "average_precision_at",
    "ndcg_at",
    "partner_ranks",
    "precision_at",
    "rank_metrics",
    "ranking_metrics",
    "recall_at",
    "reciprocal_rank_at",
    "reciprocal_rank_metric",
]

_ROUNDING = 1e-6
"""Cosines of unit vectors in float32 that are closer than this are equal."""
_BLOCK = 1024
"""Queries whose similarities to all candidates are in memory at a time."""


def recall_at(k: int, found: Sequence[float], judged: Sequence[float] | None = None) -> float:
    """Return the share of the relevant items that are among the first k; NaN where nothing is relevant."""
    total = _relevant(found if judged is None else judged)
    return _relevant(found[:k]) / total if total else math.nan


def precision_at(k: int, found: Sequence[float]) -> float:
    """Return the share of relevant items among the first k; a list shorter than k is filled up by irrelevant ones."""
    return _relevant(found[:k]) / k


def reciprocal_rank_at(k: int, found: Sequence[float]) -> float:
    """Return one over the rank of the first relevant item; 0 where none is among the first k."""
    return next((1 / rank for rank, grade in enumerate(found[:k], start=1) if grade > 0), 0.0)


def ndcg_at(k: int, found: Sequence[float], judged: Sequence[float] | None = None) -> float:
    """Return the discounted gain of the first k over that of the best possible list; NaN where nothing is relevant.

    The gain is the relevance itself, discounted by log2(rank + 1) (Järvelin and Kekäläinen 2002), as trec_eval has it.
    """
    best = _discounted(sorted(found if judged is None else judged, reverse=True)[:k])
    return _discounted(found[:k]) / best if best else math.nan


def average_precision_at(k: int, found: Sequence[float], judged: Sequence[float] | None = None) -> float:
    """Return the mean, over all relevant items, of the precision at their ranks; those beyond k count 0.

    NaN where nothing is relevant.
    """
    total = _relevant(found if judged is None else judged)
    ranks = [rank for rank, grade in enumerate(found[:k], start=1) if grade > 0]
    return sum(place / rank for place, rank in enumerate(ranks, start=1)) / total if total else math.nan


def ranking_metrics(
    found: Sequence[Sequence[float]], *, k: int = 10, judged: Sequence[Sequence[float]] | None = None
) -> dict[str, float]:
    """Return the means of all measures over queries; queries to which nothing is relevant are left out.

    Args:
        found: one result list a query.
        k: how many of a list count.
        judged: everything relevant, one list a query; None where every result list holds all that is relevant.

    Returns:
        `recall@k`, `precision@k`, `mrr@k`, `ndcg@k` and `map@k`, with the number in place of k.

    Raises:
        DataError: no query has anything relevant.
    """
    all_judged = found if judged is None else judged
    assert len(all_judged) == len(found), "judgements and result lists differ in number"
    counted = [(one, known) for one, known in zip(found, all_judged, strict=True) if _relevant(known)]
    if not counted:
        raise DataError("to no query anything is relevant", next_step="Check the relevance judgements")

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return {
        f"recall@{k}": mean([recall_at(k, one, known) for one, known in counted]),
        f"precision@{k}": mean([precision_at(k, one) for one, _ in counted]),
        f"mrr@{k}": mean([reciprocal_rank_at(k, one) for one, _ in counted]),
        f"ndcg@{k}": mean([ndcg_at(k, one, known) for one, known in counted]),
        f"map@{k}": mean([average_precision_at(k, one, known) for one, known in counted]),
    }


def partner_ranks(
    first: FloatArray,
    second: FloatArray,
    first_keys: Sequence[bytes],
    second_keys: Sequence[bytes],
    wanted: npt.NDArray[np.bool_],
) -> IntArray:
    """Return the rank of every wanted pair's second text among all different second texts of all pairs, from 1.

    Texts as near as the partner stand before it, so that equal vectors for all texts earn nothing. Other partners of
    the same first text are left out, and so is the first text itself.

    Args:
        first: [N, W] vectors of the first texts, each of length 1.
        second: [N, W] of the second texts, each of length 1.
        first_keys: [N] what equal texts share.
        second_keys: [N] the same for the second texts.
        wanted: [N] the pairs that belong together.
    """
    rows: dict[bytes, int] = {}
    for row, key in enumerate(second_keys):
        rows.setdefault(key, row)
    candidates = second[list(rows.values())]
    columns = {key: column for column, key in enumerate(rows)}
    own = np.array([columns[key] for key in second_keys])
    left_out = {key: {columns[key]} if key in columns else set() for key in first_keys}
    pairs = np.flatnonzero(wanted)
    for pair in pairs.tolist():
        left_out[first_keys[pair]].add(int(own[pair]))
    found = np.empty(len(pairs), dtype=np.int64)
    for begin in range(0, len(pairs), _BLOCK):
        part = pairs[begin : begin + _BLOCK]
        similarities = first[part] @ candidates.T
        partner = np.take_along_axis(similarities, own[part, None], axis=1)
        ahead = similarities >= partner - _ROUNDING
        for row, pair in enumerate(part.tolist()):
            ahead[row, list(left_out[first_keys[pair]])] = False
        found[begin : begin + len(part)] = ahead.sum(axis=1) + 1
    return found


def rank_metrics(ranks: IntArray | FloatArray) -> dict[str, float]:
    """Return `mrr`, the mean reciprocal rank, and the shares found first and among the first ten.

    Args:
        ranks: [N] from 1, at least one.
    """
    return {
        "mrr": float((1 / ranks).mean()),
        "recall@1": float((ranks == 1).mean()),
        "recall@10": float((ranks <= 10).mean()),
    }


def reciprocal_rank_metric(column: int) -> Metric:
    """Return the metric `mrr` over evidence of which one column has ranks, 0 for items that have none."""

    def reciprocal(evidence: FloatArray) -> FloatArray:
        """Return [N, 2]: one over the rank, and whether there is one."""
        ranked = evidence[:, column] > 0
        return np.stack([ranked / np.maximum(evidence[:, column], 1), ranked], axis=1)

    def mean(sums: FloatArray) -> FloatArray:
        found: FloatArray = sums[:, 0] / np.maximum(sums[:, 1], 1)
        return found

    return Metric(
        name="mrr",
        of=lambda evidence: float(mean(reciprocal(evidence).sum(axis=0)[None])[0]),
        statistics=reciprocal,
        of_sums=mean,
    )


def _relevant(grades: Sequence[float]) -> int:
    return sum(grade > 0 for grade in grades)


def _discounted(grades: Sequence[float]) -> float:
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))
