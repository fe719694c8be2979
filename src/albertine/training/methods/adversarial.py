"""Adversarial training on the word embeddings (the fast gradient method; Miyato et al. 2017, arXiv:1605.07725)."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from albertine.errors import ConfigError
from albertine.records import Batch
from albertine.tasks.task import LossFunction, LossPart, Method

__all__ = ["ADVERSARIAL", "adversarial"]

ADVERSARIAL = "adversarial"
"""What the names of the parts of the second pass begin with."""

_TINY = 1e-12


def adversarial(length: float) -> Method:
    """Return the method.

    The gradient of the loss with respect to the embedded words says where it grows fastest. A second pass reads them
    moved that way, every text by `length` in all, and its loss counts as much as the first one's. Of a module in
    evaluation mode only the first pass is done.

    Args:
        length: epsilon of equation 3: the Euclidean length of a text's step.
    """

    def method(loss: LossFunction) -> LossFunction:
        def wrapped(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
            if not torch.is_grad_enabled() or not module.training:
                return loss(module, batch)
            table = _word_table(module)
            words: list[Tensor] = []
            parts = _hooked(table, lambda embedded: words.append(embedded), lambda: loss(module, batch))
            if not words:
                raise ConfigError("this model has no word embeddings that could be moved", where="adversarial")
            if not words[0].requires_grad:
                raise ConfigError(
                    "the word embeddings are frozen, so that there is no gradient to go by",
                    where="adversarial",
                    next_step="Train the embeddings, or leave adversarial training out",
                )
            summed = torch.stack([part.total / part.weight.clamp_min(_TINY) for part in parts.values()]).sum()
            gradients = torch.autograd.grad(summed, words, retain_graph=True, allow_unused=True)
            if any(gradient is None for gradient in gradients):
                raise ConfigError("this model has no word embeddings that could be moved", where="adversarial")
            moves = [_of_length(gradient.detach(), batch, length) for gradient in gradients]
            places = iter(moves)
            second = _hooked(table, lambda embedded: embedded + next(places), lambda: loss(module, batch))
            return {**parts, **{f"{ADVERSARIAL}_{name}": part for name, part in second.items()}}

        return wrapped

    return method


def _hooked(
    table: nn.Module, change: Callable[[Tensor], Tensor | None], run: Callable[[], dict[str, LossPart]]
) -> dict[str, LossPart]:
    """Run with what the table gives shown to `change`, and replaced where that returns something."""
    handle = table.register_forward_hook(lambda _, __, embedded: change(embedded))
    try:
        return run()
    finally:
        handle.remove()


def _word_table(module: nn.Module) -> nn.Module:
    """Return the body's table of words: the embedding with the most rows."""
    body = cast("nn.Module", module.body)
    tables = [one for one in body.modules() if isinstance(one, nn.Embedding)]
    named = getattr(getattr(body, "embeddings", None), "word_embeddings", None)
    if isinstance(named, nn.Embedding):
        return named
    if not tables:
        raise ConfigError("this model has no word embeddings to move", where="adversarial")
    return tables[0]


def _of_length(gradient: Tensor, batch: Batch, length: float) -> Tensor:
    """Return the gradient scaled so that every text's part of it has that length; 0 where it is 0."""
    squares = gradient.float().square().sum(dim=-1)
    if gradient.ndim == 3:  # a row a text, as padded batches have it, and bodies that lay out packed ones so
        norms = squares.sum(dim=-1, keepdim=True).sqrt()
    else:
        assert batch.sequence_starts is not None, "tokens one after another"
        texts = torch.repeat_interleave(batch.sequence_starts.diff())
        sums = squares.new_zeros(len(batch)).index_add(0, texts.to(squares.device), squares)
        norms = sums.sqrt()[texts]
    return gradient * (length / norms.clamp_min(_TINY)).unsqueeze(-1).to(gradient.dtype)
