"""The queue and the thread behind it: who is answered when, with whom, and who is not taken at all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertine.errors import DataError
from albertine.serving.asking import await_job
from albertine.serving.bodies import ClientGone
from albertine.serving.jobs import Answered, Failed, Job, Operation
from albertine.serving.problems import Problem
from albertine.serving.speed import Speed
from albertine.serving.worker import BatchReport, Overloaded, Worker, estimated_tokens

FAR = 60.0


class Doubling:
    """Doubles numbers; a batch waits until it is let go, where that is asked for."""

    name = "double"
    longest: int | None = None

    def __init__(self, *, held: bool = False) -> None:
        self.go = threading.Event()
        self.entered = threading.Event()
        self.batches: list[list[Any]] = []
        if not held:
            self.go.set()

    def run(self, items: Sequence[Any]) -> list[Answered]:
        self.batches.append(list(items))
        self.entered.set()
        assert self.go.wait(30)
        if any(one == "bad" for one in items):
            raise DataError("this cannot be doubled")
        if any(one == "broken" for one in items):
            raise RuntimeError("a fault of the model's")
        return [Answered(2 * one, 1) for one in items]


def worker(**changes: Any) -> Worker:
    return Worker("numbers", **{"batch_tokens": 10, "max_wait": 5.0, "max_queue": 100, **changes})


def job(operation: Operation, items: Sequence[Any], *, cost: int = 1, deadline: float = FAR) -> Job:
    return Job(operation, items, [cost] * len(items), deadline=time.monotonic() + deadline)


def values(one: Job) -> list[Any]:
    return [found.value for found in one.outcomes if isinstance(found, Answered)]


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 30))


async def entered(operation: Doubling) -> None:
    """Wait until a micro-batch is being computed."""
    assert await asyncio.to_thread(operation.entered.wait, 20)
    operation.entered.clear()


def test_what_waits_meanwhile_is_computed_together() -> None:
    async def scenario() -> None:
        doubling, own = Doubling(held=True), worker()
        first = job(doubling, [1])
        own.submit(first)
        await entered(doubling)
        others = [job(doubling, [number, number + 1]) for number in range(2, 10, 2)]
        for one in others:
            own.submit(one)
        assert (own.waiting_jobs, own.waiting_tokens) == (4, 8)
        doubling.go.set()
        for one in (first, *others):
            await await_job(own, one)
        assert doubling.batches == [[1], [2, 3, 4, 5, 6, 7, 8, 9]]
        assert [values(one) for one in others] == [[4, 6], [8, 10], [12, 14], [16, 18]]
        assert (own.waiting_jobs, own.waiting_tokens) == (0, 0)
        own.close()

    run(scenario)


def test_a_long_list_does_not_keep_a_short_one_waiting() -> None:
    async def scenario() -> None:
        doubling, own = Doubling(held=True), worker()
        opener = job(doubling, [0])
        own.submit(opener)
        await entered(doubling)
        long, short = job(doubling, list(range(35))), job(doubling, [100])
        own.submit(long)
        own.submit(short)
        doubling.go.set()
        for one in (opener, long, short):
            await await_job(own, one)
        assert 100 in doubling.batches[2]  # the one after the first part of the long list
        assert values(long) == [2 * one for one in range(35)]
        own.close()

    run(scenario)


def test_an_item_larger_than_a_micro_batch_is_computed_all_the_same() -> None:
    async def scenario() -> None:
        doubling, own = Doubling(), worker()
        one = job(doubling, [1, 2], cost=1000)
        own.submit(one)
        await await_job(own, one)
        assert values(one) == [2, 4]
        assert doubling.batches == [[1], [2]]
        own.close()

    run(scenario)


def test_what_is_cut_costs_no_more_than_what_is_left() -> None:
    async def scenario() -> None:
        doubling = Doubling()
        doubling.longest = 4
        one = Job(doubling, [1, 2, 3], [3, 4, 5000], deadline=time.monotonic() + FAR)
        assert (list(one.costs), one.remaining) == ([3, 4, 4], 11)

    run(scenario)


def test_one_bad_item_fails_alone() -> None:
    async def scenario() -> None:
        doubling, own = Doubling(held=True), worker(batch_tokens=100)
        opener = job(doubling, [0])
        own.submit(opener)
        await entered(doubling)
        good, bad, broken = job(doubling, [1, 2]), job(doubling, [3, "bad", 4]), job(doubling, ["broken"])
        for one in (good, bad, broken):
            own.submit(one)
        doubling.go.set()
        for one in (opener, good, bad, broken):
            await await_job(own, one)
        assert values(good) == [2, 4]
        assert values(bad) == [6, 8]
        (wrong,) = [one for one in bad.outcomes if isinstance(one, Failed)]
        assert isinstance(wrong.error, DataError)
        assert bad.outcomes.index(wrong) == 1
        assert isinstance(broken.outcomes[0], Failed)
        after = job(doubling, [7])
        own.submit(after)
        await await_job(own, after)
        assert values(after) == [14]
        own.close()

    run(scenario)


def test_nothing_is_computed_for_who_went_away() -> None:
    async def scenario() -> None:
        doubling, own = Doubling(held=True), worker()
        opener = job(doubling, [0])
        own.submit(opener)
        await entered(doubling)
        left, stayed = job(doubling, [1]), job(doubling, [2])
        own.submit(left)
        own.submit(stayed)
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        waiting = asyncio.ensure_future(await_job(own, left, receive=receive))
        await asyncio.sleep(0)
        gone.set()
        with pytest.raises(ClientGone):
            await waiting
        assert (own.waiting_jobs, own.waiting_tokens) == (1, 1)
        doubling.go.set()
        await await_job(own, stayed)
        await await_job(own, opener)
        assert doubling.batches == [[0], [2]]
        own.close()

    run(scenario)


def test_a_deadline_ends_the_waiting_and_the_work() -> None:
    async def scenario() -> None:
        doubling, own = Doubling(held=True), worker()
        opener = job(doubling, [0])
        own.submit(opener)
        await entered(doubling)
        late = job(doubling, [1], deadline=0.01)
        own.submit(late)
        with pytest.raises(Problem) as caught:
            await await_job(own, late)
        assert (caught.value.status, caught.value.kind) == (503, "timeout")
        assert caught.value.retry_after is not None
        assert caught.value.retry_after >= 1
        doubling.go.set()
        await await_job(own, opener)
        after = job(doubling, [2])
        own.submit(after)
        await await_job(own, after)
        assert doubling.batches == [[0], [2]]
        own.close()

    run(scenario)


def test_a_full_queue_takes_nothing_more() -> None:
    async def scenario() -> None:
        doubling, own = Doubling(held=True), worker(max_queue=2)
        jobs = [job(doubling, [number]) for number in range(3)]
        own.submit(jobs[0])
        await entered(doubling)
        own.submit(jobs[1])
        own.submit(jobs[2])
        with pytest.raises(Overloaded, match="2 requests wait"):
            own.submit(job(doubling, [9]))
        with pytest.raises(Overloaded):
            own.check()
        own.submit(part := job(doubling, [5]), admitted=True)  # of a stream that was taken before
        doubling.go.set()
        for one in (*jobs, part):
            await await_job(own, one)
        own.close()

    run(scenario)


def test_who_would_wait_too_long_is_told_when_to_come_back() -> None:
    async def scenario() -> None:
        speed = Speed()
        speed.learn(10, 1.0, full=10)  # ten a second
        doubling, own = Doubling(held=True), worker(speed=speed, max_wait=2.0)
        opener = job(doubling, [0] * 500)  # an idle model takes anything
        own.submit(opener)
        await entered(doubling)
        jobs = [job(doubling, [number] * 10) for number in range(2)]
        own.submit(jobs[0])  # behind the rest of the first one's turn
        with pytest.raises(Overloaded) as caught:
            own.submit(jobs[1])
        assert caught.value.wait > 2.0
        assert caught.value.retry_after >= 1
        assert own.expected_wait() > 2.0
        doubling.go.set()
        await await_job(own, jobs[0])
        own.close()

    run(scenario)


def test_who_would_not_be_answered_by_the_deadline_is_not_taken() -> None:
    async def scenario() -> None:
        speed = Speed()
        speed.learn(10, 1.0, full=10)
        doubling, own = Doubling(held=True), worker(speed=speed)
        opener = job(doubling, [0])
        own.submit(opener)
        await entered(doubling)
        with pytest.raises(Overloaded, match="answered after"):
            own.submit(job(doubling, [1] * 60, deadline=3.0))
        own.submit(fits := job(doubling, [1] * 6, deadline=20.0))
        doubling.go.set()
        await await_job(own, fits)
        own.close()

    run(scenario)


def test_closing_ends_the_thread_after_the_last_job() -> None:
    async def scenario() -> None:
        doubling, own = Doubling(held=True), worker()
        jobs = [job(doubling, [number] * 7) for number in range(3)]
        for one in jobs:
            own.submit(one)
        own.close()
        with pytest.raises(Overloaded, match="stopped"):
            own.submit(job(doubling, [1]))
        doubling.go.set()
        for one in jobs:
            await await_job(own, one)
        await asyncio.to_thread(own.join, 10)
        assert not own.alive

    run(scenario)


def test_different_operations_are_never_one_batch() -> None:
    async def scenario() -> None:
        first, second, own = Doubling(held=True), Doubling(), worker()
        opener = job(first, [0])
        own.submit(opener)
        await entered(first)
        jobs = [job(one, [number]) for number, one in enumerate((first, second, first, second))]
        for one in jobs:
            own.submit(one)
        first.go.set()
        for one in (opener, *jobs):
            await await_job(own, one)
        assert (first.batches, second.batches) == ([[0], [0, 2]], [[1, 3]])
        own.close()

    run(scenario)


def test_an_idle_model_can_wait_for_company() -> None:
    async def scenario() -> None:
        doubling, own = Doubling(), worker(batch_wait=20.0, batch_tokens=4)
        jobs = [job(doubling, [number] * 2) for number in range(2)]
        for one in jobs:
            own.submit(one)
        for one in jobs:
            await await_job(own, one)  # long before the twenty seconds: the batch is full
        assert doubling.batches == [[0, 0, 1, 1]]
        own.close()

    run(scenario)


def test_batches_are_reported() -> None:
    reports: list[BatchReport] = []

    async def scenario() -> None:
        doubling, own = Doubling(), worker(report=reports.append)
        one = job(doubling, [1, 2, 3], cost=2)
        own.submit(one)
        await await_job(own, one)
        own.close()
        await asyncio.to_thread(own.join, 10)

    run(scenario)
    assert [(one.texts, one.cost) for one in reports] == [(3, 6)]
    assert reports[0].seconds >= 0


@given(st.lists(st.lists(st.integers(1, 25), min_size=1, max_size=13), min_size=1, max_size=9))
def test_every_request_gets_its_own_answers_in_order(sizes: list[list[int]]) -> None:
    async def scenario() -> None:
        doubling, own = Doubling(), worker()
        jobs = []
        for number, costs in enumerate(sizes):
            items = [100 * number + place for place in range(len(costs))]
            jobs.append(Job(doubling, items, costs, deadline=time.monotonic() + FAR))
            own.submit(jobs[-1], admitted=True)
        for one in jobs:
            await await_job(own, one)
        assert [values(one) for one in jobs] == [[2 * item for item in one.items] for one in jobs]
        assert (own.waiting_jobs, own.waiting_tokens, own.expected_wait()) == (0, 0, pytest.approx(0, abs=1))
        own.close()

    run(scenario)


def test_who_comes_while_others_wait_too_long_is_refused_whatever_the_estimate() -> None:
    async def scenario() -> None:
        doubling, own = Doubling(held=True), worker(max_wait=0.05)  # and nothing is known of its speed
        opener, waiting = job(doubling, [0]), job(doubling, [1])
        own.submit(opener)
        await entered(doubling)
        own.submit(waiting)
        own.submit(job(doubling, [2]))
        while time.monotonic() - waiting.submitted <= 0.05:
            await asyncio.sleep(0.01)
        with pytest.raises(Overloaded, match="would wait"):
            own.submit(job(doubling, [3]))
        doubling.go.set()
        await await_job(own, waiting)
        own.close()

    run(scenario)


def test_full_batches_say_more_of_the_speed_than_small_ones() -> None:
    speed = Speed()
    assert not speed.known
    assert speed.seconds(50) == 0
    for _ in range(9):
        speed.learn(100, 1.0, full=100)
    for _ in range(50):
        speed.learn(1, 0.5, full=100)  # fifty times as slow, as one short text is
    assert speed.seconds(100) == pytest.approx(1.0, rel=0.1)
    assert speed.cost(2.0) == pytest.approx(200, rel=0.1)
    for _ in range(4):
        speed.learn(100, 3.0, full=100)  # the machine has become slower
    assert speed.seconds(100) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("the soup was hot and the bread was fresh but the waiter was slow", 14),
        ("汤很热面包很新鲜但是服务员太慢了", 16),
    ],
)
def test_estimates_come_near_in_english_and_in_chinese(text: str, tokens: int) -> None:
    assert tokens <= estimated_tokens(len(text.encode())) <= 2 * tokens
