"""Cross entropy over a whole vocabulary in one step with the product before it, and words drawn from its distribution.

M predicted places, V vocabulary, W width of the word table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["WordPrediction", "predict_words", "vocabulary_blocks"]

# Scores that are worked on together: on the processor what its cache holds, elsewhere what bounds the fp32 copy.
_SCORES_ON_CPU = 1 << 19
_SCORES_ELSEWHERE = 1 << 26
# Words whose probabilities are added up first, when one is drawn.
_RUN = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class WordPrediction:
    """How well words were predicted."""

    total: Tensor
    """Scalar fp32, the sum of the cross entropies of the M places in nats; with gradient."""
    best: Tensor | None = None
    """[M] int64, the most probable word of every place, where it was asked for."""
    drawn: Tensor | None = None
    """[M] int64, a word drawn from every place's distribution, where random numbers were given; without gradient."""


def predict_words(
    words: Tensor,
    table: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    best: bool = False,
    uniform: Tensor | None = None,
) -> WordPrediction:
    """Return the cross entropy of `softmax(words @ table.T + bias)`.

    The loss and its gradient are those of `F.cross_entropy(F.linear(words, table, bias), targets, reduction="sum")`.
    Here the scores are turned into their own gradient in place, a few rows at a time, so that one array of [M, V] is
    alive in the precision of the products, where the plain way holds up to five, two or three of them in fp32.
    Under `torch.autocast` the products are in its type; sums and logarithms are fp32 in any case.

    Args:
        words: [M, W].
        table: [V, W].
        bias: [V].
        targets: [M] int64.
        best: also say which word is the most probable.
        uniform: [M] float64 in [0, 1), to draw a word a place by inverting its distribution; None draws none.
    """
    device = words.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else words.dtype
    learning = torch.is_grad_enabled()  # inside of the function it always says no
    with torch.autocast(device, enabled=False):
        total, found, drawn = _apply(words, table, bias, targets, uniform, best, dtype, learning)
    return WordPrediction(total=total, best=found if best else None, drawn=None if uniform is None else drawn)


class _Context(Protocol):
    """What is kept from the way there for the way back."""

    gradient: Tensor | None
    words: Tensor
    table: Tensor

    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...

    @property
    def needs_input_grad(self) -> tuple[bool, ...]: ...


class _Prediction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context,
        words: Tensor,
        table: Tensor,
        bias: Tensor,
        targets: Tensor,
        uniform: Tensor | None,
        best: bool,
        dtype: torch.dtype,
        learning: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.words, ctx.table = words.to(dtype), table.to(dtype)
        scores = F.linear(ctx.words, ctx.table, bias.to(dtype))
        learning = learning and any(ctx.needs_input_grad[:3])
        losses = torch.zeros(len(targets), dtype=torch.float32, device=words.device)
        found = torch.zeros_like(targets) if best else targets.new_zeros(0)
        drawn = torch.zeros_like(targets) if uniform is not None else targets.new_zeros(0)
        for rows in vocabulary_blocks(scores):
            block, aims = scores[rows], targets[rows].unsqueeze(1)
            probable = torch.softmax(block, dim=-1, dtype=torch.float32)
            # The largest probability is 1 / sum(exp(score - largest score)): the logarithm of the sum for nothing,
            # exact also where the target's own probability is too small for a float.
            above = block.amax(dim=-1).float() - block.gather(1, aims).squeeze(1).float()
            losses[rows] = above - probable.amax(dim=-1).log()
            if best:
                found[rows] = block.argmax(dim=-1)
            if uniform is not None:
                drawn[rows] = _draw(probable, uniform[rows])
            if learning:
                probable.scatter_add_(1, aims, probable.new_full(aims.shape, -1.0))
                block.copy_(probable)
        ctx.gradient = scores if learning else None
        ctx.mark_non_differentiable(found, drawn)
        return losses.sum(), found, drawn

    @staticmethod
    def backward(ctx: _Context, grad: Tensor, _found: Tensor, _drawn: Tensor) -> tuple[Tensor | None, ...]:
        gradient = ctx.gradient
        assert gradient is not None, "called only where something learns"
        for_words, for_table, for_bias = ctx.needs_input_grad[:3]
        wide = torch.promote_types(gradient.dtype, torch.float32)
        return (
            torch.mm(gradient, ctx.table).to(wide) * grad if for_words else None,
            torch.mm(gradient.t(), ctx.words).to(wide) * grad if for_table else None,
            gradient.sum(dim=0).to(wide) * grad if for_bias else None,
            None,
            None,
            None,
            None,
            None,
        )


_apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Prediction.apply


def vocabulary_blocks(scores: Tensor) -> Iterator[slice]:
    """Cut the rows into runs of a bounded number of scores."""
    limit = _SCORES_ON_CPU if scores.device.type == "cpu" else _SCORES_ELSEWHERE
    step = max(1, limit // scores.shape[1])
    for first in range(0, scores.shape[0], step):
        yield slice(first, first + step)


def _draw(probable: Tensor, uniform: Tensor) -> Tensor:
    """Return the word of every row at which the sum of the probabilities passes the row's random number.

    Sums of runs are made first, so that all V probabilities are read once and only one run a row is summed up.

    Args:
        probable: [rows, V] fp32, summing to 1 a row.
        uniform: [rows] float64 in [0, 1).
    """
    vocabulary = probable.shape[1]
    whole = vocabulary // _RUN * _RUN
    runs = [probable[:, :whole].view(len(probable), -1, _RUN).sum(dim=-1)] if whole else []
    if whole < vocabulary:
        runs.append(probable[:, whole:].sum(dim=-1, keepdim=True))
    sums = torch.cat(runs, dim=1).double()
    reached = sums.cumsum(dim=1)
    # The sum is 1 only up to rounding: the number is taken as a share of what it really is.
    sought = (uniform * reached[:, -1]).unsqueeze(1)
    run = torch.searchsorted(reached, sought, right=True).clamp_max(sums.shape[1] - 1)
    sought = sought - (reached.gather(1, run) - sums.gather(1, run))
    places = (run * _RUN + torch.arange(_RUN, device=run.device)).clamp_max(vocabulary - 1)
    inside = probable.gather(1, places).double().cumsum(dim=1)
    within = torch.searchsorted(inside, sought, right=True).clamp_max(_RUN - 1)
    return places.gather(1, within).squeeze(1)
