"""The learning curve on disk: log.jsonl, one point a line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from albertine.errors import DataError
from albertine.files import disk_errors, write_text

__all__ = ["LogPoint", "TrainingLog", "read_log"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPoint:
    """One point of a learning curve."""

    step: int
    """Optimizer steps taken."""
    examples: int
    """Training examples seen so far, repetitions counted."""
    tokens: int
    """Real tokens seen so far."""
    seconds: float
    """Training time so far, evaluations not counted."""
    loss: float
    """Mean training loss since the last point."""
    learning_rate: float
    """Of the step before this point."""
    dev_metric: float | None = None
    """The main metric on the development split; None where it was not evaluated here."""
    dev_metrics: Mapping[str, float] = field(default_factory=dict)
    """Every metric on it; empty where it was not evaluated here."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """The named parts of the loss, each the mean over what it counted since the last point. They add up to the loss
    where every step weighs alike."""
    gradient_norm: float | None = None
    """Mean norm of the gradients since the last point, before clipping."""
    note: str | None = None
    """What was done to the run by verdicts since the last point."""


class TrainingLog:
    """Writes the curve point by point.

    Args:
        path: the file; None for a process that keeps the points in memory alone.
        keep: points of an earlier part of the run that stay; what a stopped run wrote after its last checkpoint is
            cut off, because it comes again.
        points: instead of reading them, those that stay.
    """

    def __init__(self, path: Path | None, *, keep: int, points: Sequence[LogPoint] | None = None) -> None:
        self.path = path
        if points is None:
            points = read_log(path)[:keep] if path is not None and keep and path.exists() else ()
        self.points = list(points)
        if path is not None:
            for left in path.parent.glob(f".{path.name}.*"):  # a process was killed while writing
                left.unlink(missing_ok=True)
            write_text(path, "".join(_line(point) for point in self.points))

    def append(self, point: LogPoint) -> None:
        """Add a point and write it through to the file.

        Raises:
            FailureError: the disk is full.
        """
        if self.path is not None:
            with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(_line(point))
        self.points.append(point)


def read_log(path: Path) -> tuple[LogPoint, ...]:
    """Return the points of a log; a last line that was cut off by a crash is left out.

    Raises:
        DataError: another line is not a point.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    points = []
    for number, line in enumerate(lines, start=1):
        try:
            points.append(LogPoint(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if number == len(lines):
                break
            raise DataError("not a point of a training log", where=f"{path}:{number}") from error
    return tuple(points)


def _line(point: LogPoint) -> str:
    return json.dumps(dataclasses.asdict(point)) + "\n"
