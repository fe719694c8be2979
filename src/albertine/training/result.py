"""What came of a run of the loop."""

from __future__ import annotations

from dataclasses import dataclass

from albertine.inference.precision import Precision
from albertine.training.log import LogPoint
from albertine.training.verdicts import Intervention

__all__ = ["TrainingResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What came of a run; the module holds the weights of the best evaluation, or the last ones without any."""

    steps: int
    """Optimizer steps taken."""
    examples: int
    """Training examples seen, repetitions counted."""
    tokens: int
    """Real tokens seen, padding not counted."""
    seconds: float
    """Training time, evaluations not counted."""
    evaluation_seconds: float
    best_metric: float | None
    """Main metric on the development split at the kept weights; None without evaluations."""
    best_step: int
    """The step the kept weights are of."""
    skipped_steps: int
    """Steps left out because a loss or a gradient was not finite."""
    stopped_early: bool
    """Whether it ended before its budget: without a gain for too long, or by a verdict."""
    resumed_from: int | None
    """The step an earlier part of the run had reached; None where this is the first part."""
    precision: Precision
    curve: tuple[LogPoint, ...]
    """Every point; after a verdict that went back, steps come again."""
    stop_reason: str | None = None
    """Why a verdict ended the run; None where none did."""
    interventions: tuple[Intervention, ...] = ()
    """The verdicts that were carried out, in their order."""

    @property
    def tokens_per_second(self) -> float:
        """Real tokens over training time."""
        return self.tokens / self.seconds if self.seconds else 0.0
