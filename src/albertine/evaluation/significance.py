"""How sure a measured quality and a measured difference are.

N items, S seeds, C classes, R resamples. Everything is a function of its arguments and of `seed`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from albertine.evaluation.metrics import FloatArray, Metric, accuracy, macro_f1
from albertine.records import IntArray

__all__ = [
    "Interval",
    "PairedDifference",
    "Resamples",
    "bootstrap_interval",
    "holm",
    "interval_of",
    "paired_bootstrap",
    "paired_difference",
    "paired_permutation_test",
    "resample_items",
]

_CHUNK = 256
"""Resamples held in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resamples:
    """A metric of one candidate, on the items as they are and on R resamples of them."""

    measured: FloatArray
    """[S] on the items as they are, for every seed."""
    values: FloatArray
    """[R, S] on resample r, for every seed."""
    bounded: bool
    """Whether the metric lies between 0 and 1 by definition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """First candidate minus second, on the same items."""

    interval: Interval
    p_value: float
    """Two-sided: how often a resample turns the difference round."""


def resample_items(
    gold: IntArray, predicted: IntArray, *, metric: Metric = accuracy, resamples: int = 2000, seed: int = 0
) -> Resamples:
    """Compute a metric on resampled items; equal N, `resamples` and `seed` give the same items for every candidate.

    Args:
        gold: [N] gold labels.
        predicted: [S, N] predicted labels of every seed ([N] where there is one).
        metric: any function of gold and predicted labels; `accuracy` and `macro_f1` are computed for all resamples
            at once, others one resample at a time.
        resamples: R.
        seed: of the drawing.
    """
    rows = np.atleast_2d(predicted)
    assert rows.shape[1] == len(gold) > 0, "every seed needs one prediction an item"
    measured = np.array([metric(gold, row) for row in rows])
    values = np.empty((resamples, len(rows)))
    done = 0
    for counts in _drawn_counts(len(gold), resamples, seed):
        part = slice(done, done + len(counts))
        if metric is accuracy:
            values[part] = counts @ (rows == gold).T.astype(np.float32) / len(gold)
        elif metric is macro_f1:
            values[part] = _macro_f1_of(gold, rows, np.ascontiguousarray(counts.T)).T
        else:
            for offset, count in enumerate(counts):
                items = np.repeat(np.arange(len(gold)), count.astype(np.int64))
                values[done + offset] = [metric(gold[items], row[items]) for row in rows]
        done += len(counts)
    return Resamples(measured=measured, values=values, bounded=metric is accuracy or metric is macro_f1)


def interval_of(resampled: Resamples, *, level: float = 0.95, seed: int = 0) -> Interval:
    """Return the mean over seeds with its percentile interval over items and seeds.

    Items and seeds are crossed (every seed predicts the same items), so both are drawn with replacement and
    independently: Owen's pigeonhole bootstrap (2007). With one seed the interval is over items alone.
    """
    draws = _over_seeds(resampled, np.random.default_rng([seed, 1]))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    if resampled.bounded:
        low, high = max(low, 0.0), min(high, 1.0)
    return Interval(value=float(resampled.measured.mean()), low=float(low), high=float(high))


def bootstrap_interval(
    gold: IntArray,
    predicted: IntArray,
    *,
    metric: Metric = accuracy,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a metric averaged over seeds, with its percentile interval over items and seeds.

    Args:
        gold: [N] gold labels.
        predicted: [S, N] predicted labels of every seed ([N] where there is one).
        metric: a function of gold and predicted labels.
        resamples: how many resamples are drawn.
        level: how often the interval is to contain the truth.
        seed: of the drawing.
    """
    resampled = resample_items(gold, predicted, metric=metric, resamples=resamples, seed=seed)
    return interval_of(resampled, level=level, seed=seed)


def paired_difference(first: Resamples, second: Resamples, *, level: float = 0.95, seed: int = 0) -> PairedDifference:
    """Return `first` minus `second` with its interval; both must have been resampled with the same seed.

    Items are drawn once for both, seeds apart for each: nothing ties seed 1 of one model to seed 1 of another.
    """
    assert len(first.values) == len(second.values), "both candidates need the same resamples"
    draws = _over_seeds(first, np.random.default_rng([seed, 1])) - _over_seeds(second, np.random.default_rng([seed, 2]))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    turned = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return PairedDifference(
        interval=Interval(
            value=float(first.measured.mean() - second.measured.mean()), low=float(low), high=float(high)
        ),
        p_value=min(1.0, 2 * (turned + 1) / (len(draws) + 1)),
    )


def paired_bootstrap(
    gold: IntArray,
    first: IntArray,
    second: IntArray,
    *,
    metric: Metric = accuracy,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Return the difference of two candidates' seed-averaged metric, over the same resampled items.

    Args:
        gold: [N] gold labels.
        first: [S1, N] predicted labels.
        second: [S2, N] predicted labels.
        metric: a function of gold and predicted labels.
        resamples: how many resamples are drawn.
        level: how often the interval is to contain the truth.
        seed: of the drawing.
    """
    return paired_difference(
        resample_items(gold, first, metric=metric, resamples=resamples, seed=seed),
        resample_items(gold, second, metric=metric, resamples=resamples, seed=seed),
        level=level,
        seed=seed,
    )


def paired_permutation_test(
    gold: IntArray,
    first: IntArray,
    second: IntArray,
    *,
    metric: Metric = accuracy,
    resamples: int = 9999,
    seed: int = 0,
) -> float:
    """Return the two-sided p-value of the difference between two candidates' seed-averaged metric.

    Under the null the two candidates' answers to an item are exchangeable, so they are swapped item by item, at
    random. The test says whether *these* models differ beyond the choice of items; `paired_bootstrap` also asks
    whether others trained the same way would.

    Args:
        gold: [N] gold labels.
        first: [S1, N] predicted labels.
        second: [S2, N] predicted labels.
        metric: a function of gold and predicted labels.
        resamples: how many random swaps are tried.
        seed: of the swaps.
    """
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    # Each list of seeds is repeated to the same length, which leaves its mean as it is.
    pairs = math.lcm(len(first), len(second))
    first, second = np.tile(first, (pairs // len(first), 1)), np.tile(second, (pairs // len(second), 1))
    # An item on which every seed of both agrees changes nothing when it is swapped.
    differing = np.flatnonzero((first != second).any(axis=0))
    observed = float(np.mean([metric(gold, a) - metric(gold, b) for a, b in zip(first, second, strict=True)]))
    extreme = 0
    for swaps in _swaps(len(differing), resamples, seed):
        if metric is accuracy:
            gaps = ((first == gold).mean(axis=0) - (second == gold).mean(axis=0))[differing]
            differences = (1 - 2 * swaps.astype(np.float64)).T @ gaps / len(gold)
        elif metric is macro_f1:
            differences = _swapped_macro_f1(gold, first, second, differing, swaps)
        else:
            differences = _swapped_any(gold, first, second, differing, swaps, metric)
        # The slack keeps equal differences equal after rounding.
        extreme += int((np.abs(differences) >= abs(observed) - 1e-12).sum())
    return (extreme + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Correct p-values for their number, step-down (Holm 1979), in the order they came."""
    count = len(p_values)
    corrected = [0.0] * count
    running = 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda place: p_values[place])):
        running = max(running, min(1.0, (count - rank) * p_values[index]))
        corrected[index] = running
    return tuple(corrected)


def _drawn_counts(items: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """Yield how often each item was drawn, [up to _CHUNK, N] float32 (whole numbers), until R resamples are out."""
    generator = np.random.default_rng([seed, 0])
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        drawn = generator.integers(0, items, size=(rows, items)) + np.arange(rows)[:, None] * items
        yield np.bincount(drawn.ravel(), minlength=rows * items).reshape(rows, items).astype(np.float32)


def _over_seeds(resampled: Resamples, generator: np.random.Generator) -> FloatArray:
    """Return [R] means over seeds drawn with replacement.

    S drawn seeds vary (S-1)/S as much as they should, which matters for two or three of them: deviations from the
    mean of all seeds are widened by the square root of S/(S-1).
    """
    resamples, seeds = resampled.values.shape
    centre: FloatArray = resampled.values.mean(axis=1)
    if seeds == 1:
        return centre
    drawn = generator.integers(0, seeds, size=(resamples, seeds))
    deviation = np.take_along_axis(resampled.values, drawn, axis=1).mean(axis=1) - centre
    widened: FloatArray = centre + deviation * math.sqrt(seeds / (seeds - 1))
    return widened


def _macro_f1_of(gold: IntArray, rows: IntArray, weights: FloatArray) -> FloatArray:
    """Return macro-F1 [S, R] of every seed when item i counts `weights[i, r]` times; `weights` is [N, R]."""
    classes = int(max(gold.max(), rows.max())) + 1
    gold_counts = _sums_by_class(gold, weights, classes)
    results = np.empty((len(rows), weights.shape[1]))
    for index, row in enumerate(rows):
        right = row == gold
        true_positives = _sums_by_class(row[right], weights[right], classes)
        present = gold_counts + true_positives + _sums_by_class(row[~right], weights[~right], classes)
        results[index] = _mean_f1(true_positives, present)
    return results


def _sums_by_class(labels: IntArray, weights: FloatArray, classes: int) -> FloatArray:
    """Return the weights [n, R] added up over the items of every class, [C, R]."""
    sums = np.zeros((classes, weights.shape[1]))
    for label in np.unique(labels):
        sums[label] = weights[labels == label].sum(axis=0)
    return sums


def _mean_f1(true_positives: FloatArray, present: FloatArray) -> FloatArray:
    """Return macro-F1 [R] from true positives and gold-plus-predicted counts, both [C, R]; absent classes left out."""
    f1 = np.divide(2 * true_positives, present, out=np.zeros_like(true_positives), where=present > 0)
    mean: FloatArray = f1.sum(axis=0) / (present > 0).sum(axis=0)
    return mean


def _swaps(items: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """Yield which items are swapped, [n, up to _CHUNK] float32 zeros and ones, until R swaps are out."""
    generator = np.random.default_rng([seed, 3])
    for start in range(0, resamples, _CHUNK):
        columns = min(_CHUNK, resamples - start)
        yield generator.integers(0, 2, size=(items, columns), dtype=np.int8).astype(np.float32)


def _swapped_macro_f1(
    gold: IntArray, first: IntArray, second: IntArray, differing: IntArray, swaps: FloatArray
) -> FloatArray:
    """Return the differences of macro-F1 [R] after swapping answers; `swaps` is [n, R] over the differing items."""
    classes = int(max(gold.max(), first.max(), second.max())) + 1
    gold_counts = np.bincount(gold, minlength=classes)[:, None]
    difference = np.zeros(swaps.shape[1])
    for one, other in zip(first, second, strict=True):
        # Swapping moves an item's answer from one candidate to the other: what one loses, the other gains.
        moved = differing[one[differing] != other[differing]]
        weights = swaps[one[differing] != other[differing]]
        gained = _sums_by_class(other[moved], weights, classes) - _sums_by_class(one[moved], weights, classes)
        hits = [moved_by == gold[moved] for moved_by in (one[moved], other[moved])]
        gained_hits = _sums_by_class(gold[moved][hits[1]], weights[hits[1]], classes)
        gained_hits -= _sums_by_class(gold[moved][hits[0]], weights[hits[0]], classes)
        for predicted, sign in ((one, 1), (other, -1)):
            counts = np.bincount(predicted, minlength=classes)[:, None] + sign * gained
            right = np.bincount(predicted[predicted == gold], minlength=classes)[:, None] + sign * gained_hits
            difference += sign * _mean_f1(right, counts + gold_counts)
    return difference / len(first)


def _swapped_any(
    gold: IntArray, first: IntArray, second: IntArray, differing: IntArray, swaps: FloatArray, metric: Metric
) -> FloatArray:
    """Return the differences of any metric [R] after swapping answers, one swap at a time."""
    differences = np.empty(swaps.shape[1])
    for column in range(swaps.shape[1]):
        items = differing[swaps[:, column] > 0]
        one, other = first.copy(), second.copy()
        one[:, items], other[:, items] = second[:, items], first[:, items]
        differences[column] = np.mean([metric(gold, a) - metric(gold, b) for a, b in zip(one, other, strict=True)])
    return differences
