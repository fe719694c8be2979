"""Where a run stands: weights, moments, state and log, taken up, saved, gone back to, alike in every process."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from albertine.inference.precision import Precision, choose_precision
from albertine.training.averaging import keep_averages
from albertine.training.checkpointing import Checkpoints, LoopState, check_identity, module_tensors
from albertine.training.config import TrainingConfig
from albertine.training.counting import LossSums
from albertine.training.log import LogPoint, TrainingLog
from albertine.training.optimizers import build_optimizer, load_optimizer_tensors, optimizer_tensors
from albertine.training.processes import Processes

__all__ = ["Standing"]

logger = logging.getLogger("albertine")

_GOES_BACK = ("step", "examples", "tokens", "evaluations", "points", "warmed_up_at")
"""What of the state belongs to the weights; the rest is history, which going back does not undo."""


class Standing:
    """What a run has at any moment, in memory and in its folder.

    Args:
        module: what is trained.
        config: how.
        folder: of the run; only the first process touches it.
        processes: those of the run.
        clock: seconds, monotonic.
        rate_scale: as in `build_optimizer`.
        average: share of a moving average of the weights that a step keeps; None without one.
    """

    log: TrainingLog

    def __init__(
        self,
        module: nn.Module,
        config: TrainingConfig,
        folder: Path,
        processes: Processes,
        clock: Callable[[], float],
        *,
        rate_scale: Callable[[str], float] | None = None,
        average: float | None = None,
    ) -> None:
        self.module = module
        self.config = config
        self.folder = folder
        self.processes = processes
        self.optimizer = build_optimizer(module, config, rate_scale)
        self.average = average
        self.parameters = [one for one in module.parameters() if one.requires_grad]
        self.device: torch.device = self.parameters[0].device
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.state = LoopState()
        self.sums = LossSums(self.device)
        self._clock = clock
        self._saved_at = clock()
        self._saved_step = 0

    @property
    def precision(self) -> Precision:
        """The precision of the matrix products."""
        return "bf16" if self.state.precision == "bf16" else "fp32"

    def start(self, identity: dict[str, object], *, resume: bool) -> int | None:
        """Take up what stands in the folder.

        Args:
            identity: what must agree with it.
            resume: False begins again.

        Returns:
            The step reached there, None for a fresh start.

        Raises:
            ConfigError: another training stands there.
            CheckpointError: its checkpoint is damaged.
        """
        found = self.processes.on_first(lambda: resume and self.checkpoints.last.exists())
        self._take_up(lambda: self._opened(identity, continued=found))
        points = self.processes.on_first(self._open_log)
        if not self.processes.first:
            self.log = TrainingLog(None, keep=0, points=[LogPoint(**one) for one in points])  # type: ignore[arg-type]
        self._saved_step = self.state.step
        if not found:
            return None
        if self.processes.first:
            logger.info("continuing at step %d", self.state.step)
        return self.state.step

    def seconds_since_save(self) -> float:
        """Return how long ago the last checkpoint was written, or the run was started."""
        return self._clock() - self._saved_at

    def save_due(self) -> bool:
        """Say whether the steps since the last checkpoint ask for another."""
        every, step = self.config.checkpoint_steps, self.state.step
        return every is not None and step % every == 0 and step > self._saved_step

    def save(self) -> None:
        """Write the last checkpoint; every process must be here.

        Raises:
            FailureError: the disk is full.
        """
        self.processes.on_first(self.write)
        self._saved_step = self.state.step

    def write(self) -> None:
        """Write the last checkpoint; for the first process alone."""
        self.sums.read(self.state)
        self.checkpoints.save_last(self.module, self.optimizer, self.state)
        self._saved_at = self._clock()

    def save_best(self) -> None:
        """Keep the weights as the best so far."""
        self.processes.on_first(lambda: self.checkpoints.save_best(self.module, self.state))

    def load_best(self) -> None:
        """Put the best weights into the module."""
        self.processes.on_first(lambda: self.checkpoints.load_best(self.module))
        self._share_module()

    def settle(self) -> None:
        """Leave in the module what the run is to give: the best weights, without evaluations the last ones."""
        if self.state.best_metric is not None and (self.state.best_step != self.state.step or self.average is not None):
            self.load_best()
        elif self.average is not None:
            keep_averages(self.parameters, self.optimizer)

    def go_back(self) -> None:
        """Return to the weights, moments and step of the last checkpoint; time spent and verdicts are kept.

        Raises:
            CheckpointError: there is none.
        """
        now = self.state

        def gone_back() -> LoopState:
            before = self.checkpoints.read_state()
            self.checkpoints.load_last(self.module, self.optimizer)
            assert before is not None, "a checkpoint that was loaded has a state"
            return dataclasses.replace(now, **{name: getattr(before, name) for name in _GOES_BACK})

        self._take_up(gone_back)
        self.sums.restart(self.state)

    def _opened(self, identity: dict[str, object], *, continued: bool) -> LoopState:
        """Return where the run stands, with weights and moments in their places where it is continued."""
        self.checkpoints.tidy()
        state = self.checkpoints.read_state() if continued else None
        if state is None:
            self.checkpoints.remove()
            return LoopState(identity=identity, precision=choose_precision(self.device, self.config.precision))
        check_identity(state.identity, identity, where=str(self.folder))
        self.checkpoints.load_last(self.module, self.optimizer)
        return state

    def _open_log(self) -> list[dict[str, object]]:
        self.log = TrainingLog(self.folder / "log.jsonl", keep=self.state.log_lines)
        return [dataclasses.asdict(point) for point in self.log.points]

    def _take_up(self, action: Callable[[], LoopState]) -> None:
        """Give every process the state, the weights and the moments that `action` leaves in the first one."""
        self.state = LoopState(**self.processes.on_first(lambda: dataclasses.asdict(action())))
        self._share_module()
        moments = optimizer_tensors(self.module, self.optimizer) if self.processes.first else {}
        told = self.processes.tensors_of_first(moments)
        if not self.processes.first:
            self.optimizer.state.clear()
            load_optimizer_tensors(self.module, self.optimizer, told, where="the first process")
        self.sums.load(self.state)

    def _share_module(self) -> None:
        """Give every process the first one's weights."""
        with torch.no_grad():
            self.processes.copy_from_first(list(module_tensors(self.module).values()))
