"""Where a corpus build stands, as it is told while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from albertine.progress import time_left

__all__ = ["CorpusProgress", "CorpusProgressCallback"]


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
            parts.append(time_left(self.seconds_left))
        return " · ".join(parts)


CorpusProgressCallback = Callable[[CorpusProgress], None]
