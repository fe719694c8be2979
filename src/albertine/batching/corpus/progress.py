"""How a corpus build goes, for the person waiting: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

__all__ = ["CorpusProgress", "CorpusProgressBar", "CorpusProgressCallback"]

logger = logging.getLogger("albertine")

SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusProgress:
    """Where a build stands."""

    stage: str
    """What is being done: documents, duplicates or shards."""
    fraction: float
    """Share of this stage that is done, from 0 to 1; an estimate while documents are read."""
    documents: int
    """Documents made so far, those of an interrupted run too."""
    characters: int
    """Of them, as read."""
    tokens: int
    seconds: float
    """Since this run began."""
    seconds_left: float | None
    """Of this stage; None before there is anything to tell it from."""

    def describe(self) -> str:
        """Put it on one line."""
        parts = [self.stage, f"{self.documents:,} documents", f"{self.tokens:,} tokens"]
        if self.seconds_left is not None:
            minutes, seconds = divmod(round(self.seconds_left), 60)
            parts.append(f"{minutes}:{seconds:02d} left")
        return " · ".join(parts)


CorpusProgressCallback = Callable[[CorpusProgress], None]


class CorpusProgressBar:
    """The progress callback of the command line: a bar on stderr, or a line every 30 seconds.

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

    def __call__(self, progress: CorpusProgress) -> None:
        """Show where the build stands."""
        if not self._console.is_terminal:
            if self._clock() - self._said_at >= SECONDS_BETWEEN_LINES:
                self._said_at = self._clock()
                logger.info("building the corpus: %3.0f %% · %s", 100 * progress.fraction, progress.describe())
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
