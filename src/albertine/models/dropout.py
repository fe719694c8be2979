"""Dropout whose random numbers are cheap on the processor."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Dropout", "drop", "drop_in_place", "keep_mask", "keep_scale"]

# A 64-bit random number holds four numbers of 65536 levels.
_LEVELS = 1 << 16
_LOWEST = -(1 << 63)
# So many 64-bit numbers come from PyTorch's generator, one after another on one thread; every one of them begins a
# xorshift sequence (Marsaglia 2003) that gives the others, all sequences side by side. With these shifts any two
# 16-bit numbers of a sequence of 96 are independent: the linear map to them from the 64 random bits has full rank.
_SEQUENCES = 1 << 16
_SHIFTS = (17, 31, 8)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) that does not wait for its random numbers on the CPU.

    PyTorch draws one 64-bit number an element there, on one thread, which took a fifth of a training step of 4 layers
    of 312; here a number serves four elements, each with a chance exact to 1/65536, and most numbers come from shifts.

    Args:
        chance: share of the values set to zero in training.
    """

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def forward(self, values: Tensor) -> Tensor:
        """Set a share of the values to zero and scale up the others; in evaluation, give them back as they are."""
        return drop(values, self.chance) if self.training and self.chance else values


def drop(values: Tensor, chance: float) -> Tensor:
    """Set a share of `values` to zero and scale up the others, so that the expectation stays."""
    if values.device.type != "cpu":
        return F.dropout(values, chance)
    return values * keep_mask(values.shape, chance).to(values.dtype).mul_(-keep_scale(chance))


def keep_mask(shape: torch.Size, chance: float) -> Tensor:
    """Draw which values of a tensor on the processor are kept: int16 with all bits set (-1) there, 0 elsewhere."""
    count = shape.numel()
    levels = _random_numbers(-(-count // 4)).view(torch.int16)[:count].view(shape)
    return torch.ge(levels, _dropped(chance) - _LEVELS // 2, out=levels).neg_()


def drop_in_place(values: Tensor, kept: Tensor) -> None:
    """Set values in bf16 or fp32 to zero where `kept` is; nothing is scaled."""
    if values.element_size() == 2:
        values.view(torch.int16).bitwise_and_(kept)
    else:
        values.view(torch.int32).bitwise_and_(kept)


def keep_scale(chance: float) -> float:
    """Return what the kept values are multiplied by."""
    return _LEVELS / (_LEVELS - _dropped(chance))


def _dropped(chance: float) -> int:
    return round(chance * _LEVELS)


def _random_numbers(count: int) -> Tensor:
    """Draw [count or a little more] random int64."""
    rounds = -(-count // _SEQUENCES)
    numbers = torch.empty(max(rounds, 1), min(count, _SEQUENCES), dtype=torch.int64)
    numbers[0].random_(_LOWEST, None)
    left, right, last = _SHIFTS
    shifted = torch.empty_like(numbers[0])
    rows = numbers.unbind()
    for before, row in itertools.pairwise(rows):
        torch.bitwise_left_shift(before, left, out=row).bitwise_xor_(before)
        # the shift to the right brings copies of the sign, which do not belong there
        torch.bitwise_right_shift(row, right, out=shifted).bitwise_and_((1 << (64 - right)) - 1)
        row.bitwise_xor_(shifted)
        row.bitwise_xor_(torch.bitwise_left_shift(row, last, out=shifted))
    return numbers.view(-1)
