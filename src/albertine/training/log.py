"""The learning curve on disk: log.jsonl, one point a line."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
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


class TrainingLog:
    """Writes the curve point by point.

    Args:
        path: the file.
        keep: points of an earlier part of the run that stay; what a stopped run wrote after its last checkpoint is
            cut off, because it comes again.
    """

    def __init__(self, path: Path, *, keep: int) -> None:
        self.path = path
        self.points = list(read_log(path)[:keep]) if keep and path.exists() else []
        write_text(path, "".join(_line(point) for point in self.points))

    def append(self, point: LogPoint) -> None:
        """Add a point and write it through to the file.

        Raises:
            FailureError: the disk is full.
        """
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
