"""From single runs to candidates with intervals and p-values, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from albertine.comparison.results import CandidateSummary, RunResult
from albertine.evaluation.metrics import FloatArray, Metric
from albertine.evaluation.significance import (
    Resamples,
    holm,
    interval_of,
    paired_difference,
    paired_permutation_test,
    resample_items,
)

__all__ = ["RESAMPLES", "CandidateInfo", "summarise"]

RESAMPLES = 2000
"""Bootstrap resamples behind every interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateInfo:
    """What is known of a candidate before it runs."""

    name: str
    kind: str
    """bert, albert, encoder (any other column of values), or the baseline's name."""
    description: str
    """A line for the reader."""


def summarise(
    runs: Sequence[RunResult],
    *,
    candidates: Sequence[CandidateInfo],
    metric: Metric,
    resamples: int = RESAMPLES,
    permutations: int = 9999,
    seed: int = 0,
) -> tuple[CandidateSummary, ...]:
    """Take the runs of every candidate together and hold each against the best.

    The p-value of a candidate is the larger one of two paired tests, corrected for the number of candidates (Holm): a
    permutation over the items, which asks whether the trained models differ, and a bootstrap over items and seeds,
    which asks whether others trained the same way would.

    Args:
        runs: finished and failed runs, in any order.
        candidates: what was to run; the runs find theirs by name.
        metric: what they are ranked by.
        resamples: bootstrap resamples.
        permutations: random swaps of the permutation test.
        seed: of both.

    Returns:
        Best first; equal ones in the order of `candidates`; those whose runs all failed last.
    """
    summaries: list[CandidateSummary] = []
    resampled: dict[str, Resamples] = {}
    evidence: dict[str, FloatArray] = {}
    for info in candidates:
        own = tuple(sorted((run for run in runs if run.candidate == info.name), key=lambda run: run.seed))
        finished = [run for run in own if run.failed is None]
        if finished:
            evidence[info.name] = np.array([run.evidence for run in finished], dtype=np.float64)
            resampled[info.name] = resample_items(evidence[info.name], metric, resamples=resamples, seed=seed)
        summaries.append(
            CandidateSummary(
                name=info.name,
                kind=info.kind,
                description=info.description,
                quality=interval_of(resampled[info.name], seed=seed) if finished else None,
                seeds=tuple(run.seed for run in own),
                failed=len(own) - len(finished),
                metrics=_mean_metrics(finished),
                runs=own,
            )
        )
    summaries.sort(key=lambda one: -one.quality.value if one.quality else float("inf"))
    measured = [one for one in summaries if one.quality is not None]
    if len(measured) < 2:
        return tuple(summaries)
    best, *others = measured
    differences = [paired_difference(resampled[one.name], resampled[best.name], seed=seed) for one in others]
    permuted = [
        paired_permutation_test(evidence[one.name], evidence[best.name], metric, resamples=permutations, seed=seed)
        for one in others
    ]
    corrected = holm([max(pair) for pair in zip(permuted, (found.p_value for found in differences), strict=True)])
    compared = [
        replace(one, difference_to_best=found.interval, p_value=p_value)
        for one, found, p_value in zip(others, differences, corrected, strict=True)
    ]
    return (best, *compared, *(one for one in summaries if one.quality is None))


def _mean_metrics(runs: Sequence[RunResult]) -> dict[str, float]:
    """Average every metric over the runs that have it, in the order of the first that does."""
    names = dict.fromkeys(name for run in runs for name in run.metrics)
    return {name: float(np.mean([run.metrics[name] for run in runs if name in run.metrics])) for name in names}
