"""How far a run has come, and the learning rate that belongs there: pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from albertine.errors import ConfigError
from albertine.training.config import ScheduleName, TrainingConfig

__all__ = ["Budget", "learning_rate_factor"]


def learning_rate_factor(progress: float, *, warmup: float, schedule: ScheduleName, cooldown: float = 0.0) -> float:
    """Return the share of the highest learning rate that applies at `progress`.

    Args:
        progress: share of the run that is over, from 0 to 1.
        warmup: share of the run in which the rate rises, linearly from 0.
        schedule: what it does afterwards; linear and cosine end at 0.
        cooldown: share of the run, at its end, in which the rate falls on a straight line to 0, whatever the schedule.
    """
    progress = min(max(progress, 0.0), 1.0)
    cooled = 1.0 - cooldown
    if progress > cooled:
        return _scheduled(cooled, warmup, schedule) * (1.0 - progress) / cooldown
    return _scheduled(progress, warmup, schedule)


def _scheduled(progress: float, warmup: float, schedule: ScheduleName) -> float:
    if progress < warmup:
        return progress / warmup
    if schedule == "constant":
        return 1.0
    rest = (progress - warmup) / (1.0 - warmup) if warmup < 1.0 else 1.0
    if schedule == "linear":
        return 1.0 - rest
    return 0.5 * (1.0 + math.cos(math.pi * rest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may use: steps, tokens, seconds of training, or several of them, whichever ends first."""

    steps: int | None
    seconds: float | None
    tokens: int | None
    evaluations: int
    evaluate_every: int | None
    log_every: int | None

    @classmethod
    def of(cls, config: TrainingConfig, total_steps: int | None) -> Budget:
        """Take the budget out of a configuration.

        Raises:
            ConfigError: the warm-up takes as many steps as the whole run.
        """
        seconds = None if config.minutes is None else config.minutes * 60
        assert not (total_steps is None and seconds is None and config.tokens is None), "a run needs an end"
        if total_steps is not None and (config.warmup_steps or 0) >= total_steps:
            raise ConfigError(
                "the warm-up does not end before the run does",
                where="training.warmup_steps",
                received=config.warmup_steps,
                allowed=f"below {total_steps}",
            )
        return cls(
            steps=total_steps,
            seconds=seconds,
            tokens=config.tokens,
            evaluations=config.evaluations,
            evaluate_every=config.evaluate_every,
            log_every=config.log_every,
        )

    def progress(self, step: float, seconds: float, tokens: float = 0.0) -> float:
        """Return the share of the budget that is used after so much, at most 1.

        Args:
            step: steps taken.
            seconds: of training.
            tokens: seen.
        """
        by_steps = 0.0 if self.steps is None else step / self.steps
        by_time = 0.0 if self.seconds is None else seconds / self.seconds
        by_tokens = 0.0 if self.tokens is None else tokens / self.tokens
        return min(1.0, max(by_steps, by_time, by_tokens))

    def rate_progress(self, step: int, seconds: float, tokens: int = 0, step_tokens: int = 0) -> float:
        """Return the progress that the learning rate of the step after `step` steps goes by.

        It is the middle of that step, which has `step_tokens` tokens (the middle of what the budget leaves of them), so
        that neither the first nor the last one is wasted on a rate of 0.
        """
        left = step_tokens if self.tokens is None else min(step_tokens, self.tokens - tokens)
        return self.progress(step + 0.5, seconds, tokens + 0.5 * left)

    def evaluations_due(self, step: int, seconds: float, tokens: int = 0) -> int:
        """Count the evaluations that should have happened by now."""
        return _due(self.progress(step, seconds, tokens), step, self.evaluations, self.evaluate_every)

    def logs_due(self, step: int, seconds: float, tokens: int = 0) -> int:
        """Count the points of the learning curve that should have been recorded by now."""
        return _due(self.progress(step, seconds, tokens), step, LOG_POINTS, self.log_every)


LOG_POINTS = 100


def _due(progress: float, step: int, count: int, every: int | None) -> int:
    if every is not None:
        return step // every
    # a hair is added because 3/7 * 7 may come out just below 3
    return math.floor(progress * count + 1e-9)
