"""The loss of one optimizer step and its gradient, over any number of micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from albertine.errors import FailureError
from albertine.records import Batch
from albertine.tasks.task import LossPart

__all__ = ["accumulate", "memory_errors"]


def accumulate(
    forward: Callable[[Batch], dict[str, LossPart]], micro_batches: Sequence[Batch], parameters: Sequence[nn.Parameter]
) -> Tensor:
    """Leave the gradient of a step's loss in `parameters` (whose gradients are None before).

    The loss is the sum, over its named parts, of the part's total over the part's weight in the whole step: the same
    for one batch and for any way of cutting it. The weights are known only when every micro-batch has been seen, so
    that the gradients of each part are added up apart and divided at the end.

    Args:
        forward: the named parts of the loss of a micro-batch.
        micro_batches: those of the step, at least one.
        parameters: what is trained.

    Returns:
        The loss, a scalar without gradient.
    """
    if len(micro_batches) == 1:
        parts = forward(micro_batches[0])
        loss = torch.stack([part.total / _divisor(part.weight) for part in parts.values()]).sum()
        torch.autograd.backward([loss])
        return loss.detach()
    totals: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}
    sums: dict[str, list[Tensor | None]] = {}
    for batch in micro_batches:
        parts = forward(batch)
        for place, (name, part) in enumerate(parts.items(), start=1):
            found = torch.autograd.grad(part.total, parameters, retain_graph=place < len(parts), allow_unused=True)
            sums[name] = [_added(*both) for both in zip(sums.get(name, [None] * len(found)), found, strict=True)]
            totals[name] = part.total.detach() + totals.get(name, 0.0)
            weights[name] = part.weight + weights.get(name, 0.0)
    for name, gradients in sums.items():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.grad = _added(parameter.grad, gradient / _divisor(weights[name]))
    return torch.stack([totals[name] / _divisor(weights[name]) for name in totals]).sum()


@contextmanager
def memory_errors() -> Iterator[None]:
    """Say what helps when memory runs out.

    Raises:
        FailureError: it did.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise FailureError(
            "memory ran out in a training step",
            next_step="Use more micro-batches (--accumulation) or shorter texts (--max-length)",
        ) from error


def _added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _divisor(weight: Tensor) -> Tensor:
    """Return a weight that can be divided by: where nothing counts, the total is 0 as well."""
    return weight.clamp_min(torch.finfo(torch.float32).tiny)
