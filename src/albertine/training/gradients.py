"""The loss of one optimizer step and its gradient, over any number of micro-batches and processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from albertine.errors import FailureError
from albertine.tasks.task import LossPart
from albertine.training.allocator import keep_freed_memory
from albertine.training.processes import Processes

__all__ = ["OutOfMemory", "StepGradients", "StepLoss", "TrainingBatch", "memory_errors"]


_TINY = torch.finfo(torch.float32).tiny


class TrainingBatch(Protocol):
    """What the loop asks of a micro-batch; what is in it, only the loss knows."""

    @property
    def example_count(self) -> int:
        """Examples in it."""

    @property
    def token_count(self) -> int:
        """Real tokens, padding not counted."""

    def to(self, device: str | torch.device) -> Self:
        """Return the micro-batch on `device`."""


B = TypeVar("B", bound=TrainingBatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLoss:
    """The loss of a step, over all its micro-batches in all processes; scalars without gradient."""

    loss: Tensor
    """The sum, over the parts, of total over weight."""
    totals: dict[str, Tensor]
    """By the names of the parts."""
    weights: dict[str, Tensor]
    """By the names of the parts."""
    examples: int
    tokens: int


class StepGradients(Generic[B]):
    """Leaves the gradient of a step's loss in the parameters (whose gradients are None before).

    The loss is the sum, over its named parts, of the part's total over the part's weight in the whole step: the same
    for one batch and for any way of cutting it into micro-batches and dealing them out to processes. The weights are
    known only when every micro-batch has been seen, so that the gradients of each part are added up apart and divided
    at the end; `weigh` spares that. Between processes, totals and weights are summed in one message and gradients,
    divided already, in buckets: averages over processes would weigh examples by where they happen to be.

    Args:
        forward: the named parts of the loss of a micro-batch, given with its place among all those of the step.
        parameters: what is trained.
        processes: those of the run; micro-batch i is the work of process i modulo their number.
        device: where the parameters are.
        weigh: the weights of the parts of a micro-batch, without running the module. Given them, a step of many
            micro-batches goes backward once a micro-batch instead of once a part and micro-batch.
    """

    def __init__(
        self,
        forward: Callable[[B, int], dict[str, LossPart]],
        parameters: Sequence[nn.Parameter],
        processes: Processes,
        device: torch.device,
        weigh: Callable[[B], Mapping[str, float]] | None = None,
    ) -> None:
        self._forward = forward
        self._parameters = parameters
        self._processes = processes
        self._device = device
        self._weigh = weigh
        self._names: tuple[str, ...] | None = None
        self._weighed_rightly = False
        if device.type == "cpu":
            keep_freed_memory()

    def __call__(self, micro_batches: Sequence[B]) -> StepLoss:
        """Compute the gradients of a step.

        Args:
            micro_batches: all those of the step, at least one; only this process's own are looked at.

        Raises:
            FailureError: the parts of the loss are not those of the first step, or another process is gone.
        """
        places = range(self._processes.rank, len(micro_batches), self._processes.world)
        own = [(micro_batches[place].to(self._device), place) for place in places]
        if self._weigh is not None:
            totals, weights = self._weighed(own, self._weigh)
        elif len(own) == 1:
            totals, weights = self._one(*own[0])
        else:
            totals, weights = self._many(own)
        examples = sum(batch.example_count for batch, _ in own)
        tokens = sum(batch.token_count for batch, _ in own)
        return StepLoss(
            loss=torch.stack([totals[name] / _divisor(weights[name]) for name in totals]).sum(),
            totals=totals,
            weights=weights,
            **self._summed(examples, tokens),
        )

    def _one(self, batch: B, place: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Go backward once: the weights are known before."""
        parts = self._forward(batch, place)
        totals, weights = self._everywhere(
            {name: part.total.detach() for name, part in parts.items()},
            {name: part.weight for name, part in parts.items()},
        )
        torch.autograd.backward([torch.stack([part.total / _divisor(weights[n]) for n, part in parts.items()]).sum()])
        return totals, weights

    def _many(self, own: Sequence[tuple[B, int]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Go backward once a part and micro-batch, and divide at the end."""
        totals: dict[str, Tensor] = {}
        weights: dict[str, Tensor] = {}
        sums: dict[str, list[Tensor | None]] = {}
        for batch, place in own:
            parts = self._forward(batch, place)
            for number, (name, part) in enumerate(parts.items(), start=1):
                found = torch.autograd.grad(
                    part.total, self._parameters, retain_graph=number < len(parts), allow_unused=True
                )
                sums[name] = [_added(*both) for both in zip(sums.get(name, [None] * len(found)), found, strict=True)]
                totals[name] = part.total.detach() + totals.get(name, 0.0)
                weights[name] = part.weight + weights.get(name, 0.0)
        totals, weights = self._everywhere(totals, weights)
        for name, gradients in sums.items():
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.grad = _added(parameter.grad, gradient / _divisor(weights[name]))
        return totals, weights

    def _weighed(
        self, own: Sequence[tuple[B, int]], weigh: Callable[[B], Mapping[str, float]]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Go backward once a micro-batch, by weights that are known before."""
        announced: dict[str, float] = {}
        for batch, _ in own:
            for name, weight in weigh(batch).items():
                announced[name] = announced.get(name, 0.0) + weight
        names = self._agreed_names(announced)
        divisors = torch.tensor([announced.get(name, 0.0) for name in names], dtype=torch.float64)
        self._processes.all_sum([divisors])
        everywhere = dict(zip(names, divisors.tolist(), strict=True))
        totals = {name: torch.zeros((), device=self._device) for name in names}
        found: dict[str, Tensor] = {}
        for batch, place in own:
            parts = self._forward(batch, place)
            loss = [part.total / max(everywhere.get(name, 0.0), _TINY) for name, part in parts.items()]
            torch.autograd.backward([torch.stack(loss).sum()])
            for name, part in parts.items():
                totals[name] = part.total.detach() + totals.get(name, 0.0)
                found[name] = part.weight + found.get(name, 0.0)
        if not self._weighed_rightly:
            self._check(announced, found)
        summed = torch.stack([totals[name].to(torch.float64) for name in names])
        self._processes.all_sum([summed])
        weights = {name: torch.full((), everywhere[name], device=self._device) for name in names}
        return dict(zip(names, summed.to(torch.float32).unbind(), strict=True)), weights

    def _check(self, announced: Mapping[str, float], found: Mapping[str, Tensor]) -> None:
        """Hold the announced weights against those of the loss, once."""
        actual = {name: float(weight) for name, weight in found.items()}
        off = [name for name in actual if not math.isclose(actual[name], announced.get(name, -1.0), rel_tol=1e-5)]
        if off:
            raise FailureError(
                "a part of the loss weighs something else than was announced for it",
                where=off[0],
                received=f"{actual[off[0]]:g}",
                allowed=str(announced.get(off[0])),
            )
        self._weighed_rightly = True

    def _everywhere(
        self, totals: dict[str, Tensor], weights: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Sum totals and weights over all processes."""
        if self._processes.world == 1:
            return totals, weights
        names = self._agreed_names(totals)
        nothing = torch.zeros((), device=self._device)
        summed = torch.stack([one.get(name, nothing).to(torch.float64) for one in (totals, weights) for name in names])
        self._processes.all_sum([summed])
        values = summed.to(torch.float32).unbind()
        return dict(zip(names, values, strict=False)), dict(zip(names, values[len(names) :], strict=True))

    def _agreed_names(self, own: Mapping[str, object]) -> tuple[str, ...]:
        """Return the parts that any process has; all of them must have appeared in the first step."""
        if self._names is None or self._processes.world == 1:
            told = self._processes.gather(list(own))
            self._names = tuple(dict.fromkeys(name for names in told for name in names))
        if odd := [name for name in own if name not in self._names]:
            raise FailureError(
                "a part of the loss appeared after the first step, which several processes cannot agree on",
                received=", ".join(odd),
                next_step="Give the part in every step, with weight 0 where nothing counts",
            )
        return self._names

    def _summed(self, examples: int, tokens: int) -> dict[str, int]:
        """Sum gradients and counts over all processes; parameters without a gradient anywhere stay without one."""
        if self._processes.world == 1:
            return {"examples": examples, "tokens": tokens}
        counts = torch.tensor(
            [examples, tokens, *(parameter.grad is not None for parameter in self._parameters)], dtype=torch.float64
        )
        self._processes.all_sum([counts])
        examples, tokens, *used = (int(value) for value in counts.tolist())
        gradients = []
        for parameter, count in zip(self._parameters, used, strict=True):
            if count:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                gradients.append(parameter.grad)
        self._processes.all_sum(gradients)
        return {"examples": examples, "tokens": tokens}


class OutOfMemory(FailureError):
    """A step needs more memory than there is."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """Say what helps when memory runs out.

    Raises:
        OutOfMemory: it did.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise OutOfMemory(
            "memory ran out in a training step",
            next_step="Use more micro-batches (--accumulation) or shorter texts (--max-length)",
        ) from error


def _added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _divisor(weight: Tensor) -> Tensor:
    """Return a weight that can be divided by: where nothing counts, the total is 0 as well."""
    return weight.clamp_min(_TINY)
