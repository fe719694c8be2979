"""How well predicted values agree with gold ones, as numbers and as decisions by a threshold; pure functions.

N items; gold and predicted values are [N] each.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from albertine.errors import DataError
from albertine.evaluation.metrics import FloatArray, Metric

__all__ = [
    "GOLD_VALUE",
    "PREDICTED_VALUE",
    "average_precision",
    "best_threshold",
    "correlation_rankings",
    "decision_metrics",
    "pearson",
    "ranks",
    "spearman",
]

BoolArray = npt.NDArray[np.bool_]

GOLD_VALUE, PREDICTED_VALUE = 0, 1
"""Columns of the evidence of tasks that predict a number: the value in the data, and the predicted one."""

_CONSTANT = 1e-6
"""Below this share of the variance of all items, what varies in a resample is rounding."""


def pearson(gold: FloatArray, predicted: FloatArray) -> float:
    """Return the linear correlation, -1 … 1; 0 where one side is constant, NaN where a value is not finite.

    Raises:
        DataError: there are no items.
    """
    gold, predicted = _checked(gold, predicted)
    if not (np.isfinite(gold).all() and np.isfinite(predicted).all()):
        return float("nan")
    if np.ptp(gold) == 0 or np.ptp(predicted) == 0:
        return 0.0
    x, y = gold - gold.mean(), predicted - predicted.mean()
    # divided by their largest first, so that squares of tiny or huge values are numbers still
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), -1.0, 1.0))


def spearman(gold: FloatArray, predicted: FloatArray) -> float:
    """Return the correlation of the ranks, equal values sharing the mean of theirs (Spearman 1904); else as `pearson`.

    Raises:
        DataError: there are no items.
    """
    gold, predicted = _checked(gold, predicted)
    if not (np.isfinite(gold).all() and np.isfinite(predicted).all()):
        return float("nan")
    return pearson(ranks(gold), ranks(predicted))


def ranks(values: FloatArray) -> FloatArray:
    """Return the rank of every value, [N] float64, the smallest 1; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    shared: FloatArray = np.cumsum(counts) - (counts - 1) / 2
    return shared[place]


def average_precision(relevant: BoolArray, scores: FloatArray) -> float:
    """Return the area under the steps of precision over recall; items of equal score are found together.

    Args:
        relevant: [N], at least one of them true.
        scores: [N], higher for what is more likely relevant.
    """
    _checked(relevant, scores)
    assert relevant.any(), "precision needs something to find"
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(relevant[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # of every group of equal scores
    precision = found[last] / (last + 1)
    gained = np.diff(found[last], prepend=0) / found[-1]
    return float(precision @ gained)


def best_threshold(relevant: BoolArray, scores: FloatArray) -> float:
    """Return the score from which on calling an item relevant is right most often.

    It lies halfway between two scores, among equally good places in the widest gap; where calling everything or
    nothing relevant is best, at the lowest score or just above the highest.

    Args:
        relevant: [N].
        scores: [N].
    """
    _checked(relevant, scores)
    order = np.argsort(scores, kind="stable")
    ranked, right = scores[order].astype(np.float64), relevant[order]
    # place i calls the items from i on relevant: right are the others before it, and the relevant ones behind
    correct = np.append(0, np.cumsum(~right)) + np.append(np.cumsum(right[::-1])[::-1], 0)
    gaps = np.concatenate([[0.0], np.diff(ranked), [0.0]])
    places = np.flatnonzero((gaps > 0) | np.isin(np.arange(len(gaps)), [0, len(ranked)]))
    best = max(places.tolist(), key=lambda place: (correct[place], gaps[place]))
    if best == 0:
        return float(ranked[0])
    if best == len(ranked):
        return float(np.nextafter(ranked[-1], np.inf))
    middle = (ranked[best - 1] + ranked[best]) / 2
    return float(middle if middle > ranked[best - 1] else ranked[best])


def decision_metrics(relevant: BoolArray, scores: FloatArray, threshold: float) -> dict[str, float]:
    """Return accuracy and F1 (of the relevant items) of calling items relevant from a score on.

    Args:
        relevant: [N].
        scores: [N].
        threshold: the lowest score that counts as relevant.
    """
    _checked(relevant, scores)
    called = scores >= threshold
    both = int((called & relevant).sum())
    either = int(called.sum()) + int(relevant.sum())
    return {"accuracy": float((called == relevant).mean()), "f1": 2 * both / either if either else 0.0}


def correlation_rankings() -> dict[str, Metric]:
    """Return the metrics by which models that predict a number can be ranked.

    Pearson's correlation comes from sums. Its statistics are taken of standardised columns, which changes nothing in
    the correlation, keeps sums in float32 exact enough, and makes the answers of two models exchangeable whatever
    scale each has. Spearman's is computed anew for every resample.
    """

    def moments(evidence: FloatArray) -> FloatArray:
        """Return [N, 6]: 1, x, y, x², y², xy."""
        x, y = (_standardised(evidence[:, column]) for column in (GOLD_VALUE, PREDICTED_VALUE))
        return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)

    def correlation(sums: FloatArray) -> FloatArray:
        n, x, y, xx, yy, xy = sums.astype(np.float64).T
        spread_x, spread_y = n * xx - x * x, n * yy - y * y
        least = _CONSTANT * n * n
        varied = (spread_x > least) & (spread_y > least)
        spread = np.sqrt(np.where(varied, spread_x * spread_y, 1.0))
        found: FloatArray = np.where(varied, (n * xy - x * y) / spread, 0.0)
        return np.clip(found, -1.0, 1.0)

    return {
        "spearman": Metric(
            name="spearman",
            of=lambda evidence: spearman(evidence[:, GOLD_VALUE], evidence[:, PREDICTED_VALUE]),
            bounded=False,
        ),
        "pearson": Metric(
            name="pearson",
            of=lambda evidence: pearson(evidence[:, GOLD_VALUE], evidence[:, PREDICTED_VALUE]),
            statistics=moments,
            of_sums=correlation,
            bounded=False,
        ),
    }


def _standardised(values: FloatArray) -> FloatArray:
    centred = values.astype(np.float64) - values.mean()
    deviation = float(centred.std()) if np.ptp(values) else 0.0
    return centred / deviation if deviation else np.zeros_like(centred)


def _checked(gold: npt.NDArray[np.generic], predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
    assert gold.shape == predicted.shape, "gold and predicted values differ in number"
    if len(gold) == 0:
        raise DataError("there are no items to evaluate", next_step="Give a file with at least one scored row")
    return gold.astype(np.float64), predicted.astype(np.float64)
