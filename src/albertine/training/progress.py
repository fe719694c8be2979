"""Where a training stands, as it is told after every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from albertine.progress import time_left

__all__ = ["ProgressCallback", "TrainingProgress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """Where a run stands, handed to the progress callback after every step."""

    step: int
    """Optimizer steps taken."""
    total_steps: int | None
    """Steps of the whole run; None where only time bounds it."""
    fraction: float
    """Share of the budget that is used, from 0 to 1."""
    examples: int
    """Training examples seen, repetitions counted."""
    examples_per_second: float
    tokens_per_second: float
    """Real tokens, padding not counted, over the training time so far."""
    loss: float | None
    """Mean training loss at the last point of the learning curve; None before the first."""
    dev_metric: float | None
    """Main metric at the last evaluation; None before the first."""
    seconds: float
    """Training time so far."""
    seconds_left: float | None
    """Estimate of the training time to come; None before the first step."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """The named parts of the loss."""

    def describe(self) -> str:
        """Put loss, rate and time left on one line."""
        total = "" if self.total_steps is None else f"/{self.total_steps:,}"
        parts = [f"step {self.step:,}{total}"]
        if self.loss is not None:
            named = ", ".join(f"{name} {value:.3f}" for name, value in self.parts.items())
            parts.append(f"loss {self.loss:.4f}" + (f" ({named})" if len(self.parts) > 1 else ""))
        if self.dev_metric is not None:
            parts.append(f"dev {self.dev_metric:.4f}")
        parts.append(f"{self.tokens_per_second:,.0f} tokens/s")
        parts.append(f"{self.examples_per_second:,.0f} examples/s")
        if self.seconds_left is not None:
            parts.append(time_left(self.seconds_left))
        return " · ".join(parts)


ProgressCallback = Callable[[TrainingProgress], None]
