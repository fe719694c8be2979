"""The state of a run on disk, so that it continues where it stopped: the last checkpoint and the best, no others.

A checkpoint is one safetensors file, written beside its place and moved there: at any moment, also after a power cut,
each of the two is whole. It holds the module's tensors (`module.NAME`), in the last one also the optimizer's
(`optimizer.PARAMETER.MOMENT`), and the state of the loop as UTF-8 JSON in a tensor of bytes (`state`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from albertine.checkpoints.tensors import read_tensors, write_tensors
from albertine.errors import CheckpointError, ConfigError
from albertine.files import atomic_path
from albertine.training.optimizers import load_optimizer_tensors, optimizer_tensors

__all__ = ["Checkpoints", "LoopState", "check_identity", "module_tensors"]

_RESTART = "Give another --out, or --restart to begin again"


@dataclass(slots=True, kw_only=True)
class LoopState:
    """Everything a run remembers besides weights and moments.

    The state of the random number generators is not part of it: the loop seeds them before every step from the run's
    seed and the number of the step.
    """

    step: int = 0
    """Optimizer steps taken."""
    examples: int = 0
    """Training examples seen, repetitions counted."""
    tokens: int = 0
    """Real tokens seen."""
    seconds: float = 0.0
    """Training time, evaluations not counted."""
    evaluation_seconds: float = 0.0
    evaluations: int = 0
    """Evaluations that were due and are done."""
    points: int = 0
    """Points of the learning curve that were due and are recorded."""
    best_metric: float | None = None
    best_step: int = 0
    without_gain: int = 0
    """Evaluations in a row that were no better than the best."""
    stopped_early: bool = False
    finished: bool = False
    loss_sum: float = 0.0
    """Sum of the losses of the steps since the last point of the curve."""
    loss_steps: float = 0.0
    """How many they are."""
    norm_sum: float = 0.0
    """Sum of the norms of their gradients."""
    part_sums: dict[str, list[float]] = field(default_factory=dict)
    """Of every named part of their losses, the total and the weight."""
    skipped: float = 0.0
    """Steps that were left out because a loss or a gradient was not finite."""
    skipped_in_row: float = 0.0
    learning_rate: float = 0.0
    """Of the step before."""
    last_loss: float | None = None
    """The loss at the last point of the curve."""
    last_parts: dict[str, float] = field(default_factory=dict)
    """Its named parts."""
    last_metric: float | None = None
    """The metric at the last evaluation."""
    log_step: int = 0
    """The step of the last point in the log."""
    log_lines: int = 0
    """Points in the log."""
    warmed_up_at: float = 0.0
    """Share of the budget that was used when a warm-up counted in steps ended."""
    rate_factor: float = 1.0
    """What the schedule's learning rate is multiplied by, lowered by verdicts on the run."""
    interventions: list[dict[str, object]] = field(default_factory=list)
    """The verdicts that were carried out, as named values of `Intervention`."""
    told: int = 0
    """How many of them stand in the log."""
    stop_reason: str | None = None
    """Why a verdict ended the run."""
    precision: str = "fp32"
    """Of the matrix products; a resumed run keeps it, also on a machine that would choose another."""
    identity: dict[str, object] = field(default_factory=dict)
    """What a run must have in common with the one that it continues."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they lie; made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = folder / "last.safetensors"
        self.best = folder / "best.safetensors"

    def save_last(self, module: nn.Module, optimizer: torch.optim.Optimizer, state: LoopState) -> None:
        """Write the last checkpoint over the one before.

        Raises:
            FailureError: the disk is full or forbidden; the checkpoint before it is still there, whole.
        """
        tensors = module_tensors(module)
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(module, optimizer).items()}
        self._write(self.last, tensors, state)

    def save_best(self, module: nn.Module, state: LoopState) -> None:
        """Write the best checkpoint over the one before.

        Raises:
            FailureError: as `save_last`.
        """
        self._write(self.best, module_tensors(module), state)

    def read_state(self) -> LoopState | None:
        """Return the state in the last checkpoint, None where there is none.

        Raises:
            CheckpointError: the file is damaged or not of this kind.
        """
        return _state(read_tensors(self.last), self.last) if self.last.exists() else None

    def load_last(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put the weights and moments of the last checkpoint into `module` and `optimizer`.

        Raises:
            CheckpointError: the file is missing, damaged, or of another model.
        """
        tensors = read_tensors(self.last)
        _load_module(module, tensors, self.last)
        moments = {
            name.removeprefix("optimizer."): value for name, value in tensors.items() if name.startswith("optimizer.")
        }
        optimizer.state.clear()
        load_optimizer_tensors(module, optimizer, moments, where=str(self.last))

    def load_best(self, module: nn.Module) -> None:
        """Put the weights of the best checkpoint into `module`.

        Raises:
            CheckpointError: the file is missing, damaged, or of another model.
        """
        _load_module(module, read_tensors(self.best), self.best)

    def remove(self) -> None:
        """Delete both."""
        self.last.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Delete what a process that was killed while writing left half-written."""
        for path in (self.last, self.best):
            for left in self.folder.glob(f".*{path.name}.*"):
                left.unlink(missing_ok=True)

    def _write(self, path: Path, tensors: dict[str, Tensor], state: LoopState) -> None:
        text = json.dumps(dataclasses.asdict(state), ensure_ascii=False)
        tensors["state"] = torch.from_numpy(np.frombuffer(text.encode("utf-8"), dtype=np.uint8).copy())
        with atomic_path(path) as temporary:
            write_tensors(temporary, tensors)


def check_identity(before: Mapping[str, object], now: Mapping[str, object], *, where: str) -> None:
    """Make sure that a run continues the one it means to.

    Raises:
        ConfigError: something differs; the message names it, with both values.
    """
    before, now = _flat(before), _flat(json.loads(json.dumps(now)))
    differing = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if differing:
        raise ConfigError(
            "the training that stands here was begun otherwise",
            where=where,
            received="; ".join(f"{name}: {_short(now.get(name))} now" for name in differing),
            allowed="; ".join(f"{name}: {_short(before.get(name))}" for name in differing),
            next_step=_RESTART,
        )


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _flat(values: Mapping[str, object]) -> dict[str, object]:
    """Join the names of nested mappings by points."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": one for inner, one in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters (tied ones once) and persistent buffers, prefixed."""
    everything = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    buffers = {name: value for name, value in module.state_dict().items() if name not in everything}
    return {f"module.{name}": value for name, value in {**dict(module.named_parameters()), **buffers}.items()}


def _load_module(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = module_tensors(module)
    saved = {name: value for name, value in tensors.items() if name.startswith("module.")}
    odd = sorted(own.keys() ^ saved.keys()) or sorted(name for name in own if own[name].shape != saved[name].shape)
    if odd:
        raise CheckpointError(
            "this checkpoint is of another model",
            where=str(path),
            received=f"{len(odd)} tensors that differ, {odd[0].removeprefix('module.')} the first",
            next_step=_RESTART,
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(saved[name])


def _state(tensors: Mapping[str, Tensor], path: Path) -> LoopState:
    names = {one.name for one in dataclasses.fields(LoopState)}
    try:
        values = json.loads(tensors["state"].numpy().tobytes())
    except (KeyError, ValueError) as error:
        raise CheckpointError("this file is no checkpoint of a run", where=str(path), next_step=_RESTART) from error
    if not isinstance(values, dict) or values.keys() != names:
        raise CheckpointError(
            "this checkpoint was written by another version of Albertine", where=str(path), next_step=_RESTART
        )
    return LoopState(**values)
