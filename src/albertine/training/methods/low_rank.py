"""Low-rank adaptation: the matrices of the blocks stay, and a change of low rank is learnt (arXiv:2106.09685)."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from albertine.errors import ConfigError
from albertine.records import Batch
from albertine.tasks.task import LossFunction, LossPart

__all__ = ["LowRank", "add_low_rank", "computed_once", "merge_low_rank"]

_ALPHA = 2.0
"""What the change is multiplied by: alpha over the rank in the paper, so that the rank changes capacity, not pace."""
_BLOCKS = ("attention_blocks", "feed_forward_blocks")


class LowRank(nn.Module):
    """A matrix plus the product of two thin ones, of which one starts at zero (section 4.1).

    Args:
        rows: of the matrix.
        columns: of the matrix.
        rank: of the change.
    """

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the matrix with its change, [rows, columns]."""
        return weight + _ALPHA * (self.up @ self.down)


def add_low_rank(module: nn.Module, rank: int) -> None:
    """Freeze a task module's body and give every matrix of its blocks a change of rank `rank`, in place.

    A block that several passes share has one change for all of them. What stands on the body is trained as before.

    Raises:
        ConfigError: the body has no blocks, or the rank is that of the matrices.
    """
    body = cast("nn.Module", module.body)
    body.requires_grad_(False)
    layers = [
        layer
        for name, layer in body.named_modules()
        if name.startswith(_BLOCKS) and isinstance(layer, nn.Linear) and name.count(".") > 0
    ]
    if not layers:
        raise ConfigError("this model has no blocks to adapt", where="low_rank", next_step="Leave it out")
    thinnest = min(min(layer.weight.shape) for layer in layers)
    if rank >= thinnest:
        raise ConfigError("no low rank", where="low_rank", received=rank, allowed=f"below {thinnest}")
    for layer in layers:
        change = LowRank(layer.out_features, layer.in_features, rank).to(layer.weight.device)
        parametrize.register_parametrization(layer, "weight", change)


def merge_low_rank(module: nn.Module) -> None:
    """Add the changes to their matrices, in place: the module is then as large and as fast as without them."""
    for layer in cast("nn.Module", module.body).modules():
        if isinstance(layer, nn.Linear) and parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def computed_once(loss: LossFunction) -> LossFunction:
    """Return the loss with every changed matrix computed once a call, however many passes share it."""

    def wrapped(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
        with parametrize.cached():
            return loss(module, batch)

    return wrapped
