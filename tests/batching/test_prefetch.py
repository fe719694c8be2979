"""Items made in the background."""

from __future__ import annotations

import threading

import pytest

from albertine.batching.prefetch import Prefetched
from albertine.errors import ConfigError


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "albertine-prefetch"]


def test_items_come_in_order_from_the_first_step_on() -> None:
    with Prefetched(lambda step: step * step, 7) as items:
        taken = [next(items) for _ in range(20)]
    assert taken == [(step, step * step) for step in range(7, 27)]
    assert not workers()


def test_no_more_than_asked_for_is_made_ahead() -> None:
    made: list[int] = []
    blocked = threading.Event()

    def make(step: int) -> int:
        made.append(step)
        if step == 4:
            blocked.set()
        return step

    with Prefetched(make, ahead=3) as items:
        assert items(0) == 0
        # one was taken, three wait, one more may be in the thread's hands
        assert blocked.wait(timeout=20)
        assert made == [0, 1, 2, 3, 4]


def test_what_fails_is_raised_where_the_item_is_asked_for() -> None:
    def make(step: int) -> int:
        if step == 3:
            raise ConfigError("no more")
        return step

    items = Prefetched(make)
    assert [items(step) for step in range(3)] == [0, 1, 2]
    with pytest.raises(ConfigError, match="no more"):
        items(3)
    assert not workers()
    assert items(1) == 1, "it can be used again"
    items.close()


def test_asking_for_another_step_goes_on_from_there() -> None:
    with Prefetched(lambda step: step) as items:
        assert [items(step) for step in (0, 1, 9, 10, 2)] == [0, 1, 9, 10, 2]
        assert next(items) == (3, 3)
    assert not workers()


def test_closing_does_not_wait_for_items_that_nobody_takes() -> None:
    items = Prefetched(lambda step: step, ahead=1)
    assert items(0) == 0
    items.close()
    items.close()
    assert not workers()


def test_nothing_ahead_is_refused() -> None:
    with pytest.raises(ConfigError, match="ahead"):
        Prefetched(lambda step: step, ahead=0)
