"""The learning curve on disk: log.jsonl, one point a line, and for TensorBoard where that is installed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from albertine.errors import DataError, MissingDependencyError
from albertine.files import disk_errors, write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["LogPoint", "TensorBoardLog", "TrainingLog", "read_log"]


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


class TensorBoardLog:
    """Shows the curve in TensorBoard as well; called with every point.

    Where a run is resumed, TensorBoard hides what it was shown of the steps that come again.

    Args:
        folder: where the event files go.

    Raises:
        MissingDependencyError: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils import tensorboard  # lazy: optional
        except ImportError as error:
            raise MissingDependencyError("tensorboard", extra="tensorboard", feature="a log for TensorBoard") from error
        self._folder = folder
        self._module = tensorboard
        self._writer: SummaryWriter | None = None

    def __call__(self, point: LogPoint) -> None:
        """Show a point."""
        if self._writer is None:
            # opened here, as the step from which events of an earlier part are hidden is known now
            self._writer = self._module.SummaryWriter(str(self._folder), purge_step=point.step)
        values = {"loss": point.loss, "learning_rate": point.learning_rate, "tokens": float(point.tokens)}
        values |= {f"loss/{name}": value for name, value in point.parts.items()}
        if point.gradient_norm is not None:
            values["gradient_norm"] = point.gradient_norm
        values |= {f"dev/{name}": value for name, value in point.dev_metrics.items()}
        for name, value in values.items():
            self._writer.add_scalar(name, value, point.step)
        if point.note is not None:
            self._writer.add_text("note", point.note, point.step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


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
