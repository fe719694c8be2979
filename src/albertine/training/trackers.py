"""The learning curve shown in other programs as well: TensorBoard and MLflow, where they are installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from albertine.errors import MissingDependencyError, unknown_name
from albertine.files import write_json
from albertine.training.log import LogPoint

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TRACKERS", "MlflowLog", "TensorBoardLog", "Tracker", "open_trackers"]

TRACKERS = ("mlflow", "tensorboard")
"""The programs, by name."""

_MLFLOW_FILE = "mlflow.json"


class Tracker(Protocol):
    """Is shown every point of a learning curve."""

    def __call__(self, point: LogPoint) -> None:
        """Show a point."""

    def close(self) -> None:
        """End showing."""


@contextmanager
def open_trackers(names: Sequence[str], folder: Path, parameters: Mapping[str, object]) -> Iterator[list[Tracker]]:
    """Open trackers for a run, and close them behind it.

    Args:
        names: of `TRACKERS`.
        folder: of the run.
        parameters: what decides it, for programs that show that beside the curve.

    Raises:
        ConfigError: no such tracker.
        MissingDependencyError: its package is not installed.
    """
    with ExitStack() as stack:
        opened: list[Tracker] = []
        for name in names:
            if name not in TRACKERS:
                raise unknown_name("tracker", name, TRACKERS)
            tracker = TensorBoardLog(folder / name) if name == "tensorboard" else MlflowLog(folder, parameters)
            opened.append(stack.enter_context(closing(tracker)))
        yield opened


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
        for name, value in _values(point).items():
            self._writer.add_scalar(name, value, point.step)
        if point.note is not None:
            self._writer.add_text("note", point.note, point.step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class MlflowLog:
    """Shows the curve in MLflow as well; called with every point.

    Where it goes is MLflow's own matter (`MLFLOW_TRACKING_URI`, by default files in the working folder). A run that is
    resumed goes on in the MLflow run that it began.

    Args:
        folder: of the run; what tells the MLflow run is kept there.
        parameters: shown beside the curve, the nested ones by dotted names.

    Raises:
        MissingDependencyError: mlflow is not installed.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, object]) -> None:
        try:
            from mlflow import MlflowClient  # lazy: optional
        except ImportError as error:
            raise MissingDependencyError("mlflow-skinny", extra="mlflow", feature="a log for MLflow") from error
        self._client: MlflowClient = MlflowClient()
        self._file = folder / _MLFLOW_FILE
        self._run = self._known()
        if self._run is None:
            self._run = self._client.create_run("0", run_name=folder.name).info.run_id
            for name, value in _flat(parameters).items():
                self._client.log_param(self._run, name, value)
            folder.mkdir(parents=True, exist_ok=True)
            write_json(self._file, {"run": self._run})

    def __call__(self, point: LogPoint) -> None:
        """Show a point."""
        assert self._run is not None, "it was made or found"
        for name, value in _values(point).items():
            self._client.log_metric(self._run, name, value, step=point.step)
        if point.note is not None:
            self._client.set_tag(self._run, f"note at step {point.step}", point.note)

    def close(self) -> None:
        """Say that the run ended."""
        assert self._run is not None, "it was made or found"
        self._client.set_terminated(self._run)

    def _known(self) -> str | None:
        try:
            return str(json.loads(self._file.read_text(encoding="utf-8"))["run"])
        except (OSError, ValueError, KeyError):
            return None


def _values(point: LogPoint) -> dict[str, float]:
    """Return what a point says, by names with the part before a slash."""
    values = {"loss": point.loss, "learning_rate": point.learning_rate, "tokens": float(point.tokens)}
    values |= {f"loss/{name}": value for name, value in point.parts.items()}
    if point.gradient_norm is not None:
        values["gradient_norm"] = point.gradient_norm
    return values | {f"dev/{name}": value for name, value in point.dev_metrics.items()}


def _flat(values: Mapping[str, object], before: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[f"{before}{name}"] = value
    return flat
