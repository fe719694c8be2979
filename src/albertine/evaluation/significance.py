"""How sure a measured quality and a measured difference are.

N items, K numbers kept of each (its evidence), S seeds, R resamples. Everything is a function of its arguments and of
`seed`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from albertine.evaluation.metrics import FloatArray, Metric

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


def resample_items(evidence: FloatArray, metric: Metric, *, resamples: int = 2000, seed: int = 0) -> Resamples:
    """Compute a metric on resampled items; equal N, `resamples` and `seed` give the same items for every candidate.

    Args:
        evidence: [S, N, K] of every seed ([N, K] where there is one).
        metric: functions of sums are computed for all resamples at once, others one resample at a time.
        resamples: R.
        seed: of the drawing.
    """
    runs = _of_seeds(evidence)
    items = runs.shape[1]
    measured = np.array([metric.of(run) for run in runs])
    values = np.empty((resamples, len(runs)))
    statistics = [_statistics(metric, run) for run in runs]
    done = 0
    for counts in _drawn_counts(items, resamples, seed):
        part = slice(done, done + len(counts))
        for place, run in enumerate(runs):
            known = statistics[place]
            if known is not None and metric.of_sums is not None:
                values[part, place] = metric.of_sums(counts @ known)
            else:
                drawn = (np.repeat(run, count.astype(np.int64), axis=0) for count in counts)
                values[part, place] = [metric.of(one) for one in drawn]
        done += len(counts)
    return Resamples(measured=measured, values=values, bounded=metric.bounded)


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
    evidence: FloatArray, metric: Metric, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return a metric averaged over seeds, with its percentile interval over items and seeds.

    Args:
        evidence: [S, N, K] of every seed ([N, K] where there is one).
        metric: what is computed.
        resamples: how many resamples are drawn.
        level: how often the interval is to contain the truth.
        seed: of the drawing.
    """
    return interval_of(resample_items(evidence, metric, resamples=resamples, seed=seed), level=level, seed=seed)


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
    first: FloatArray,
    second: FloatArray,
    metric: Metric,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Return the difference of two candidates' seed-averaged metric, over the same resampled items.

    Args:
        first: [S1, N, K] evidence.
        second: [S2, N, K] evidence.
        metric: what is computed.
        resamples: how many resamples are drawn.
        level: how often the interval is to contain the truth.
        seed: of the drawing.
    """
    return paired_difference(
        resample_items(first, metric, resamples=resamples, seed=seed),
        resample_items(second, metric, resamples=resamples, seed=seed),
        level=level,
        seed=seed,
    )


def paired_permutation_test(
    first: FloatArray, second: FloatArray, metric: Metric, *, resamples: int = 9999, seed: int = 0
) -> float:
    """Return the two-sided p-value of the difference between two candidates' seed-averaged metric.

    Under the null the two candidates' answers to an item are exchangeable, so they are swapped item by item, at
    random. The test says whether *these* models differ beyond the choice of items; `paired_bootstrap` also asks
    whether others trained the same way would.

    Args:
        first: [S1, N, K] evidence.
        second: [S2, N, K] evidence.
        metric: what is computed.
        resamples: how many random swaps are tried.
        seed: of the swaps.
    """
    first, second = _of_seeds(first), _of_seeds(second)
    # Each list of seeds is repeated to the same length, which leaves its mean as it is.
    pairs = math.lcm(len(first), len(second))
    first, second = np.tile(first, (pairs // len(first), 1, 1)), np.tile(second, (pairs // len(second), 1, 1))
    observed = float(np.mean([metric.of(a) - metric.of(b) for a, b in zip(first, second, strict=True)]))
    differences_of = _swapped_sums if metric.statistics is not None else _swapped_rows
    # The slack keeps equal differences equal after rounding.
    extreme = sum(
        int((np.abs(differences) >= abs(observed) - 1e-9).sum())
        for differences in differences_of(first, second, metric, resamples, seed)
    )
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


def _of_seeds(evidence: FloatArray) -> FloatArray:
    runs = evidence[None] if evidence.ndim == 2 else evidence
    assert runs.ndim == 3, "a row of evidence an item, for every seed"
    assert runs.shape[1] > 0, "there are no items"
    return runs


def _statistics(metric: Metric, run: FloatArray) -> FloatArray | None:
    return None if metric.statistics is None else metric.statistics(run).astype(np.float32)


def _swaps(items: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """Yield which items are swapped, [n, up to _CHUNK] float32 zeros and ones, until R swaps are out."""
    generator = np.random.default_rng([seed, 3])
    for start in range(0, resamples, _CHUNK):
        columns = min(_CHUNK, resamples - start)
        yield generator.integers(0, 2, size=(items, columns), dtype=np.int8).astype(np.float32)


def _swapped_sums(
    first: FloatArray, second: FloatArray, metric: Metric, resamples: int, seed: int
) -> Iterator[FloatArray]:
    """Yield the differences of a metric of sums after swapping answers, a chunk of the R at a time."""
    assert metric.statistics is not None, "the caller has asked"
    assert metric.of_sums is not None, "a metric of sums says how it comes from them"
    ones, others = ([metric.statistics(run).astype(np.float64) for run in runs] for runs in (first, second))
    gaps = np.stack([b - a for a, b in zip(ones, others, strict=True)])
    # An item on which every seed of both counts the same changes nothing when it is swapped.
    differing = np.flatnonzero((gaps != 0).any(axis=(0, 2)))
    moving = gaps[:, differing]
    if np.array_equal(moving, np.rint(moving)):  # counts stay exact in half the memory
        moving = moving.astype(np.float32)
    for swaps in _swaps(len(differing), resamples, seed):
        difference = np.zeros(swaps.shape[1])
        for a, b, gap in zip(ones, others, moving, strict=True):
            # What one candidate loses by a swap, the other gains.
            moved = swaps.T.astype(gap.dtype, copy=False) @ gap
            difference += metric.of_sums(a.sum(axis=0) + moved) - metric.of_sums(b.sum(axis=0) - moved)
        yield difference / len(first)


def _swapped_rows(
    first: FloatArray, second: FloatArray, metric: Metric, resamples: int, seed: int
) -> Iterator[FloatArray]:
    """Yield the differences of any metric after swapping answers, one swap at a time."""
    differing = np.flatnonzero((first != second).any(axis=(0, 2)))
    for swaps in _swaps(len(differing), resamples, seed):
        differences = np.empty(swaps.shape[1])
        for column in range(swaps.shape[1]):
            items = differing[swaps[:, column] > 0]
            one, other = first.copy(), second.copy()
            one[:, items], other[:, items] = second[:, items], first[:, items]
            differences[column] = np.mean([metric.of(a) - metric.of(b) for a, b in zip(one, other, strict=True)])
        yield differences
