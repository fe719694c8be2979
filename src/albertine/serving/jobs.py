"""What waits for a model: one request's work, and what the model can be asked to do with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Answered", "Failed", "Job", "Operation", "Outcome"]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model says of one item."""

    value: Any
    """As the operation documents it."""
    tokens: int
    """That the model read; 0 where it reads none."""
    truncated: bool = False
    """Whether something of the item was cut off."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An item that the model has no answer to; its neighbours have theirs."""

    error: Exception


Outcome = Answered | Failed


class Operation(Protocol):
    """One thing that a model can be asked to do; called on its inference thread alone."""

    name: str
    """As paths have it: predict, encode, …"""
    longest: int | None
    """Tokens of an item that are computed at most, where what is longer is cut; None where it is read to its end."""

    def run(self, items: Sequence[Any]) -> list[Answered]:
        """Answer all items in one go, in their order; any exception means that one of them may be at fault."""


class Job:
    """One request's work for one model: items of one kind, answered in order, maybe by several micro-batches.

    Made and awaited on the event loop; the inference thread takes items from it and fills in outcomes.

    Args:
        operation: what to do with every item.
        items: at least one.
        costs: what each would take if nothing of it were cut, in estimated tokens.
        deadline: when nobody waits for it any more, on the monotonic clock.
    """

    __slots__ = (
        "computing",
        "costs",
        "deadline",
        "done",
        "dropped",
        "items",
        "loop",
        "operation",
        "outcomes",
        "queued",
        "remaining",
        "started",
        "submitted",
        "taken",
    )

    def __init__(self, operation: Operation, items: Sequence[Any], costs: Sequence[int], *, deadline: float) -> None:
        self.operation = operation
        self.items = items
        longest = operation.longest
        self.costs = costs if longest is None else [min(one, longest) for one in costs]
        self.deadline = deadline
        self.remaining = sum(self.costs)
        """Cost of the items that no micro-batch has taken yet."""
        self.taken = 0
        """Items that a micro-batch has taken."""
        self.outcomes: list[Outcome] = []
        self.queued = False
        """Whether it stands in a queue; only the queue's owner changes it."""
        self.dropped = False
        """Set where nobody waits any more: what it has left is not computed."""
        self.submitted = time.monotonic()
        self.started = 0.0
        """When its first item was taken."""
        self.computing = 0.0
        """Seconds that its micro-batches took, shared with whatever else was in them."""
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self.loop.create_future()

    def take(self, room: int, *, first: bool) -> int:
        """Take the items that fit into a micro-batch with this much room, and return their cost.

        Args:
            room: estimated tokens.
            first: whether the micro-batch is empty as yet, so that an item goes into it however large it is.
        """
        cost = 0
        while self.taken < len(self.items):
            one = self.costs[self.taken]
            if cost + one > room and not (first and cost == 0):
                break
            cost += one
            self.taken += 1
        self.remaining -= cost
        return cost

    @property
    def waited(self) -> float:
        """Seconds from its coming to its first item's being taken."""
        return max(0.0, self.started - self.submitted) if self.started else 0.0
