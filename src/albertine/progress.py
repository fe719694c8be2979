"""How long work goes, for the person waiting: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn

__all__ = ["Progress", "ProgressBar", "time_left"]

logger = logging.getLogger("albertine")

SECONDS_BETWEEN_LINES = 30.0


class Progress(Protocol):
    """Where some work stands."""

    @property
    def fraction(self) -> float:
        """Share of it that is done, from 0 to 1."""

    def describe(self) -> str:
        """Put it on one line."""


def time_left(seconds: float) -> str:
    """Write a time to come as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} left"


class ProgressBar:
    """The progress callback of the command line.

    On a terminal it draws a bar on stderr; elsewhere it logs a line every 30 seconds.

    Args:
        doing: what is done, before the share in a logged line.
        console: where to draw; None for stderr.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        doing: str = "training",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._doing = doing
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._said_at = clock()
        self._bar: rich.progress.Progress | None = None
        self._task = TaskID(0)

    def __call__(self, progress: Progress) -> None:
        """Show where the work stands."""
        if not self._console.is_terminal:
            if self._clock() - self._said_at >= SECONDS_BETWEEN_LINES:
                self._said_at = self._clock()
                logger.info("%s: %3.0f %% · %s", self._doing, 100 * progress.fraction, progress.describe())
            return
        if self._bar is None:
            columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}"))
            self._bar = rich.progress.Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        self._bar.update(self._task, completed=progress.fraction, description=progress.describe())

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
