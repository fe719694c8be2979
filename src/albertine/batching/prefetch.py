"""The items of the steps to come, made in the background."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

from albertine.errors import ConfigError

__all__ = ["Prefetched"]

Item = TypeVar("Item")

_SECONDS_BETWEEN_LOOKS = 0.1


class Prefetched(Generic[Item]):
    """Calls a function of the step in one background thread, a few steps ahead, and hands out the results in order.

    It pays where the thread that takes the items waits for a device meanwhile. Where that thread computes on the same
    few cores, it gains nothing: both need the interpreter.

    Iterating gives (step, item) from `first_step` on, without end; calling with a step gives the item of that step, and
    goes on from there where it is not the next one. What the function raises is raised where its item is asked for. To
    be closed, or used in a `with` block.

    Args:
        make: from a step to its item; called from the background thread, in the order of the steps.
        first_step: the step to begin with.
        ahead: the most items that wait.

    Raises:
        ConfigError: `ahead` is below 1.
    """

    def __init__(self, make: Callable[[int], Item], first_step: int = 0, *, ahead: int = 2) -> None:
        if ahead < 1:
            raise ConfigError("value out of range", where="ahead", received=ahead, allowed="1 or more")
        self._make = make
        self._ahead = ahead
        self._next = first_step
        self._worker: _Worker[Item] | None = None

    def __iter__(self) -> Iterator[tuple[int, Item]]:
        return self

    def __next__(self) -> tuple[int, Item]:
        step = self._next
        return step, self(step)

    def __call__(self, step: int) -> Item:
        """Return the item of a step."""
        if self._worker is None or step != self._next:
            self.close()
            self._worker = _Worker(self._make, step, self._ahead)
        try:
            item = self._worker.take()
        except BaseException:
            self.close()
            raise
        self._next = step + 1
        return item

    def close(self) -> None:
        """Stop the thread and forget what it made; the next call starts another."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def __enter__(self) -> Prefetched[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Worker(Generic[Item]):
    """The thread, and the items it has made."""

    def __init__(self, make: Callable[[int], Item], step: int, ahead: int) -> None:
        self._items: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(maxsize=ahead)
        self._stopped = threading.Event()
        # A daemon, so that a program that forgets to close it can end.
        self._thread = threading.Thread(target=self._run, args=(make, step), name="albertine-prefetch", daemon=True)
        self._thread.start()

    def take(self) -> Item:
        item, error = self._items.get()
        if error is not None:
            raise error
        assert item is not None, "an item without an error"
        return item

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self, make: Callable[[int], Item], step: int) -> None:
        while not self._stopped.is_set():
            try:
                made: tuple[Item | None, BaseException | None] = (make(step), None)
            except BaseException as error:  # whatever it is, it is raised in the thread that asks for the item
                made = (None, error)
            self._put(made)
            if made[1] is not None:
                return
            step += 1

    def _put(self, made: tuple[Item | None, BaseException | None]) -> None:
        while not self._stopped.is_set():
            try:
                self._items.put(made, timeout=_SECONDS_BETWEEN_LOOKS)
            except queue.Full:
                continue
            return
