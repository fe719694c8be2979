"""A moving average of the weights, which is evaluated and kept in place of the weights themselves.

It is part of the optimizer's state, so that it is saved, taken up and gone back to with the moments.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["AVERAGE", "averaged", "keep_averages", "update_averages"]

AVERAGE = "average"
"""Its name in a parameter's state."""


@torch.no_grad()
def update_averages(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, keep: float, step: int) -> None:
    """Move every average towards its parameter, after a step.

    The first value is the parameter itself; in the first steps a share of (1 + n) / (10 + n) is kept where that is
    less, so that the average forgets where the run began.

    Args:
        parameters: what is trained.
        optimizer: whose state holds the averages.
        keep: share of an average that a step keeps.
        step: how many steps were taken before.
    """
    for parameter in parameters:
        state = optimizer.state[parameter]
        if AVERAGE not in state:
            state[AVERAGE] = parameter.detach().clone()
            continue
        state[AVERAGE].lerp_(parameter.detach(), 1.0 - min(keep, (1 + step) / (10 + step)))


@contextmanager
def averaged(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Have the averages in the parameters' places, where there are some."""
    with torch.no_grad():
        kept = [(one, one.detach().clone()) for one in parameters if AVERAGE in optimizer.state.get(one, {})]
        for parameter, _ in kept:
            parameter.copy_(optimizer.state[parameter][AVERAGE])
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in kept:
                parameter.copy_(value)


@torch.no_grad()
def keep_averages(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    """Put the averages into the parameters' places for good, where there are some."""
    for parameter in parameters:
        if AVERAGE in optimizer.state.get(parameter, {}):
            parameter.copy_(optimizer.state[parameter][AVERAGE])
