"""Whether the scores of spans that were found can be trusted, and what makes it so.

M spans found in all examples together.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from albertine.evaluation.calibration import fit_temperature, reliability, silence_for
from albertine.records import IntArray, Span
from albertine.tasks.config import TaskConfig

__all__ = ["ScoredSpans", "calibrated", "score_metrics", "scored_spans", "tuned_scores"]

logger = logging.getLogger("albertine")

_ENOUGH = 50
"""Spans found in the development split that a temperature is fitted on, at least."""
_CERTAIN = 1e-6
"""Scores nearer to 0 or 1 count as this far away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSpans:
    """The spans that were found."""

    scores: npt.NDArray[np.float64]
    """[M] their scores, not calibrated."""
    right: IntArray
    """[M] 1 where a span is in the data, with both ends and its label, 0 where it is not."""


def scored_spans(found: Sequence[Iterable[Span]], gold: Sequence[Iterable[Span]]) -> ScoredSpans:
    """Hold the spans found in N examples against those of the data."""
    scores: list[float] = []
    right: list[int] = []
    for answers, in_data in zip(found, gold, strict=True):
        known = {(span.start, span.end, span.label) for span in in_data}
        for span in answers:
            scores.append(span.score)
            right.append(int((span.start, span.end, span.label) in known))
    return ScoredSpans(scores=np.array(scores, dtype=np.float64), right=np.array(right, dtype=np.int64))


def calibrated(scores: npt.NDArray[np.float64], task_config: TaskConfig) -> npt.NDArray[np.float64]:
    """Divide the log-odds of scores, [M], by the temperature, once one has been fitted."""
    if task_config.temperature is None:
        return scores
    return 1.0 / (1.0 + np.exp(-_log_odds(scores) / task_config.temperature))


def tuned_scores(spans: ScoredSpans, task_config: TaskConfig) -> TaskConfig:
    """Fit the temperature, so that a score says how often such a span is right, and the score to keep spans back below.

    The temperature makes it as probable as can be which spans of the development split are right (Guo et al. 2017, with
    a span found for an item, and right and wrong for the classes). With too few of them, or all right or all wrong, it
    stays as it is. The threshold is fitted where an error rate is wanted.
    """
    tuned = task_config
    if len(spans.scores) >= _ENOUGH and spans.right.min() < spans.right.max():
        odds = _log_odds(spans.scores)
        temperature = fit_temperature(np.stack([np.zeros_like(odds), odds], axis=1), spans.right)
        tuned = replace(tuned, temperature=round(temperature, 4))
    if tuned.max_error is None:
        return tuned
    silence = silence_for(calibrated(spans.scores, tuned), spans.right, max_error=tuned.max_error)
    if silence is None:
        logger.warning(
            "no part of the spans found in the development split, however sure, has at most %g %% wrong ones: spans "
            "are kept back wherever the model is not certain",
            100 * tuned.max_error,
        )
        return replace(tuned, abstain_below=1.0)
    logger.info(
        "spans below a score of %.4f are kept back: %.1f %% of those found in the development split are given, %.2f %% "
        "of them wrong",
        silence.below,
        100 * silence.coverage,
        100 * silence.error,
    )
    return replace(tuned, abstain_below=silence.below)


def score_metrics(spans: ScoredSpans, task_config: TaskConfig) -> dict[str, float]:
    """Return what can be said of scores and thresholds; nothing where no span was found.

    `ece` is how far scores are from the share of right spans (expected calibration error), `ece_uncalibrated` how far
    they were; `coverage` is the share of the spans that a threshold leaves, `answered_error` that of wrong ones in it.
    """
    if not len(spans.scores):
        return {}
    scores = calibrated(spans.scores, task_config)
    metrics = {"ece": reliability(scores, spans.right).error}
    if task_config.temperature is not None:
        metrics["ece_uncalibrated"] = reliability(spans.scores, spans.right).error
    if task_config.abstain_below is not None:
        kept = scores >= task_config.abstain_below
        metrics["coverage"] = float(kept.mean())
        metrics["answered_error"] = float(1 - spans.right[kept].mean()) if kept.any() else 0.0
    return metrics


def _log_odds(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    kept = np.clip(scores, _CERTAIN, 1 - _CERTAIN)
    odds: npt.NDArray[np.float64] = np.log(kept / (1 - kept))
    return odds
