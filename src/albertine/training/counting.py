"""Sums over the steps since the last point of the curve, kept on the device until somebody reads them."""

from __future__ import annotations

import torch
from torch import Tensor

from albertine.training.checkpointing import LoopState
from albertine.training.gradients import StepLoss

__all__ = ["LossSums"]


class LossSums:
    """Adds up losses, gradient norms and skipped steps without making the host wait for the device.

    Args:
        device: where the losses are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # sum of losses, steps in it, steps skipped, steps skipped in a row, sum of gradient norms
        self._sums = torch.zeros(5, dtype=torch.float64, device=device)
        # of every named part, its total and its weight
        self._parts: dict[str, Tensor] = {}

    def add(self, step: StepLoss, norm: Tensor, bad: Tensor) -> None:
        """Add a step; one that was skipped (`bad`, a scalar) counts as such and for nothing else."""
        skipped = bad.to(torch.float64)
        done = 1.0 - skipped
        loss, norm = (torch.where(bad, 0.0, value.to(torch.float64)) for value in (step.loss, norm))
        sums = self._sums
        in_row = (sums[3] + 1.0) * skipped
        self._sums = torch.stack([sums[0] + loss, sums[1] + done, sums[2] + skipped, in_row, sums[4] + norm])
        for name, total in step.totals.items():
            found = torch.stack([total, step.weights[name].to(total)]).to(torch.float64)
            self._parts[name] = self._parts.get(name, 0.0) + torch.where(bad, 0.0, found)

    def read(self, state: LoopState) -> None:
        """Bring the sums to the host."""
        values = self._sums.tolist()
        state.loss_sum, state.loss_steps, state.skipped, state.skipped_in_row, state.norm_sum = values
        state.part_sums = {name: found.tolist() for name, found in self._parts.items()}

    def load(self, state: LoopState) -> None:
        """Take up the sums of an earlier part of the run."""
        values = (state.loss_sum, state.loss_steps, state.skipped, state.skipped_in_row, state.norm_sum)
        self._sums.copy_(torch.tensor(values, dtype=torch.float64))
        self._parts = {
            name: torch.tensor(found, dtype=torch.float64, device=self._device)
            for name, found in state.part_sums.items()
        }

    def restart(self, state: LoopState) -> None:
        """Begin anew after a point of the curve; the skipped steps are those of the whole run and stay."""
        state.loss_sum = state.loss_steps = state.norm_sum = 0.0
        state.part_sums = {}
        self.load(state)
