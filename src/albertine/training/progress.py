"""How a run goes, for the person waiting: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

__all__ = ["ProgressBar", "ProgressCallback", "TrainingProgress"]

logger = logging.getLogger("albertine")

SECONDS_BETWEEN_LINES = 30.0


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
            minutes, seconds = divmod(round(self.seconds_left), 60)
            parts.append(f"{minutes}:{seconds:02d} left")
        return " · ".join(parts)


ProgressCallback = Callable[[TrainingProgress], None]


class ProgressBar:
    """The progress callback of the command line.

    On a terminal it draws a bar on stderr; elsewhere it logs a line every 30 seconds.

    Args:
        console: where to draw; None for stderr.
        clock: seconds, monotonic.
    """

    def __init__(self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._said_at = clock()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __call__(self, progress: TrainingProgress) -> None:
        """Show where the run stands."""
        if not self._console.is_terminal:
            if self._clock() - self._said_at >= SECONDS_BETWEEN_LINES:
                self._said_at = self._clock()
                logger.info("training: %3.0f %% · %s", 100 * progress.fraction, progress.describe())
            return
        if self._bar is None:
            columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        self._bar.update(self._task, completed=progress.fraction, description=progress.describe())

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
