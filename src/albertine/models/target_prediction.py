"""The label-smoothed cross entropy of whole targets, a run of places at a time.

P predicted places, V vocabulary, E width of the word table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from albertine.models.word_prediction import predict_words

__all__ = ["predict_targets"]

# Scores that exist at a time: 64 MB in bf16. A usual step of a small model stays below, and is one run.
_SCORES = 1 << 25


def predict_targets(
    words: Tensor, table: Tensor, bias: Tensor, targets: Tensor, *, smoothing: float = 0.0, scores: int = _SCORES
) -> Tensor:
    """Return the sum of the cross entropies of all places, in nats; scalar fp32 with gradient.

    With label smoothing (arXiv:1706.03762 section 5.4, after arXiv:1512.00567 section 7) a share of the target's
    probability is spread evenly over the vocabulary; value and gradient are those of
    `F.cross_entropy(F.linear(words, table, bias), targets, label_smoothing=smoothing, reduction="sum")`.

    The scores of all places are never there together: where they are many, the gradient of each run of places is taken
    while its scores are at hand, and kept as [P, E] and [V, E].

    Args:
        words: [P, E].
        table: [V, E].
        bias: [V].
        targets: [P] int64.
        smoothing: the share that is spread, below 1.
        scores: the most scores of a run.
    """
    places = max(1, scores // len(table))
    if len(words) <= places:
        return _run(words, table, bias, targets, smoothing)
    if not torch.is_grad_enabled():
        runs = [
            _run(words[first : first + places], table, bias, targets[first : first + places], smoothing)
            for first in range(0, len(words), places)
        ]
        return torch.stack(runs).sum()
    return _in_runs(words, table, bias, targets, smoothing, places)


def _run(words: Tensor, table: Tensor, bias: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    total = predict_words(words, table, bias, targets).total
    if not smoothing:
        return total
    # What smoothing adds is linear in the scores: the target's minus the mean, of which neither needs all of them.
    with torch.autocast(words.device.type, enabled=False):
        ahead = F.embedding(targets, table) - table.mean(dim=0)
        extra = (words.float() * ahead).sum() + (bias[targets] - bias.mean()).sum()
        return total + smoothing * extra


class _InRuns(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, words: Tensor, table: Tensor, bias: Tensor, targets: Tensor, smoothing: float, places: int
    ) -> Tensor:
        wanted = ctx.needs_input_grad[:3]
        total = torch.zeros((), dtype=torch.float32, device=words.device)
        into_words = torch.zeros_like(words) if wanted[0] else None
        sums = [torch.zeros_like(one) if want else None for one, want in zip((table, bias), wanted[1:], strict=True)]
        rows, offsets = table.detach().requires_grad_(wanted[1]), bias.detach().requires_grad_(wanted[2])
        for first in range(0, len(words), places):
            part = slice(first, first + places)
            with torch.enable_grad():
                some = words[part].detach().requires_grad_(wanted[0])
                loss = _run(some, rows, offsets, targets[part], smoothing)
            asked = [one for one in (some, rows, offsets) if one.requires_grad]
            found = iter(torch.autograd.grad(loss, asked) if asked else ())
            if into_words is not None:
                into_words[part] = next(found)
            for one in sums:
                if one is not None:
                    one += next(found)
            total += loss.detach()
        ctx.gradients = (into_words, *sums)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        return (*(None if one is None else one * grad for one in ctx.gradients), None, None, None)


_in_runs: Callable[..., Tensor] = _InRuns.apply
