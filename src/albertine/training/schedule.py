"""How far a run has come, and the learning rate that belongs there: pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from albertine.training.config import ScheduleName, TrainingConfig

__all__ = ["Budget", "learning_rate_factor"]


def learning_rate_factor(progress: float, *, warmup: float, schedule: ScheduleName) -> float:
    """Return the share of the highest learning rate that applies at `progress`.

    Args:
        progress: share of the run that is over, from 0 to 1.
        warmup: share of the run in which the rate rises, linearly from 0.
        schedule: what it does afterwards; linear and cosine end at 0.
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / (1.0 - warmup)
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return 1.0 - rest
    return 0.5 * (1.0 + math.cos(math.pi * rest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may use: steps, seconds of training, or both, whichever ends first."""

    steps: int | None
    seconds: float | None
    evaluations: int
    evaluate_every: int | None
    log_every: int | None

    @classmethod
    def of(cls, config: TrainingConfig, total_steps: int | None) -> Budget:
        """Take the budget out of a configuration."""
        seconds = None if config.minutes is None else config.minutes * 60
        assert total_steps is not None or seconds is not None, "a run needs an end"
        return cls(
            steps=total_steps,
            seconds=seconds,
            evaluations=config.evaluations,
            evaluate_every=config.evaluate_every,
            log_every=config.log_every,
        )

    def progress(self, step: float, seconds: float) -> float:
        """Return the share of the budget that is used after `step` steps and `seconds` of training, at most 1."""
        by_steps = 0.0 if self.steps is None else step / self.steps
        by_time = 0.0 if self.seconds is None else seconds / self.seconds
        return min(1.0, max(by_steps, by_time))

    def rate_progress(self, step: int, seconds: float) -> float:
        """Return the progress that the learning rate of the step after `step` steps goes by.

        It is the middle of that step, so that neither the first nor the last one is wasted on a rate of 0.
        """
        return self.progress(step + 0.5, seconds)

    def evaluations_due(self, step: int, seconds: float) -> int:
        """Count the evaluations that should have happened by now."""
        return _due(self.progress(step, seconds), step, self.evaluations, self.evaluate_every)

    def logs_due(self, step: int, seconds: float) -> int:
        """Count the points of the learning curve that should have been recorded by now."""
        return _due(self.progress(step, seconds), step, LOG_POINTS, self.log_every)


LOG_POINTS = 100


def _due(progress: float, step: int, count: int, every: int | None) -> int:
    if every is not None:
        return step // every
    # a hair is added because 3/7 * 7 may come out just below 3
    return math.floor(progress * count + 1e-9)
