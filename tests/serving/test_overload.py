"""More requests than a model can answer: some are refused at once, the others are answered in time, none hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from albertine.serving.service import Service
from albertine.serving.speed import Speed

Serving = Callable[..., Service]
PREDICT = "/v1/models/reviews/predict"


def slow(service: Service, *, tokens_a_second: float) -> None:
    """Let the server believe that a model is slow."""
    current = service.models["reviews"].current
    assert current is not None
    speed, full = Speed(), service.options.batch_tokens
    speed.learn(full, full / tokens_a_second, full=full)
    current.worker.speed = speed


def run(scenario: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_ten_times_too_much_is_mostly_refused_and_the_rest_is_answered(
    serving: Serving, calling: Any, hold: Any
) -> None:
    service = serving("reviews", max_wait=1.0, batch_tokens=100)
    slow(service, tokens_a_second=100)
    held = hold(service, "reviews")

    async def scenario() -> None:
        caller = calling(service)
        opener = asyncio.ensure_future(caller(PREDICT, {"inputs": "first"}))
        assert await asyncio.to_thread(held.entered.wait, 20)
        # Each is worth about a tenth of a second, so that about ten fit into the longest wait.
        crowd = [asyncio.ensure_future(caller(PREDICT, {"inputs": f"{number}"})) for number in range(100)]
        while sum(one.done() for one in crowd) < 80:  # the refused ones need no model
            await asyncio.sleep(0)
        refused = [one.result() for one in crowd if one.done()]
        assert {one.status for one in refused} == {503}
        for one in refused:
            error = one.json()["error"]
            assert error["type"] == "overloaded"
            assert int(one.headers["retry-after"]) == error["retry_after"] >= 1
            assert error["where"] == "model reviews"
        held.go.set()
        answered = [reply for reply in await asyncio.gather(opener, *crowd) if reply.status == 200]
        assert 5 <= len(answered) <= 20
        assert len(answered) + len(refused) == 101

    run(scenario)
    # Those that waited were computed together, not one after the other.
    assert len(held.batches) <= 4
    text = service.metrics.text().decode()
    assert 'albertine_refused_total{reason="overloaded"}' in text


def test_a_refused_request_is_refused_before_its_body_is_read(serving: Serving, calling: Any, hold: Any) -> None:
    service = serving("reviews", max_queue=1)
    held = hold(service, "reviews")

    async def scenario() -> None:
        caller = calling(service)
        first = asyncio.ensure_future(caller(PREDICT, {"inputs": "a"}))
        assert await asyncio.to_thread(held.entered.wait, 20)
        second = asyncio.ensure_future(caller(PREDICT, {"inputs": "b"}))
        current = service.models["reviews"].current
        assert current is not None
        while not current.worker.waiting_jobs:
            await asyncio.sleep(0)
        third = await caller(PREDICT, b"this is no JSON and nobody finds out")
        assert (third.status, third.json()["error"]["type"]) == (503, "overloaded")
        held.go.set()
        assert [(await one).status for one in (first, second)] == [200, 200]
        assert (await caller(PREDICT, {"inputs": "c"})).status == 200

    run(scenario)


def test_requests_that_are_answered_at_a_time_have_a_limit(serving: Serving, calling: Any, hold: Any) -> None:
    service = serving("reviews", max_requests=3)
    held = hold(service, "reviews")

    async def scenario() -> None:
        caller = calling(service)
        asked = [asyncio.ensure_future(caller(PREDICT, {"inputs": "a"})) for _ in range(3)]
        assert await asyncio.to_thread(held.entered.wait, 20)
        refused = await caller("/v1/models", method="GET")
        assert (refused.status, refused.json()["error"]["allowed"]) == (503, "3 at a time")
        assert (await caller("/health", method="GET")).status == 200
        assert (await caller("/metrics", method="GET")).status == 200
        held.go.set()
        assert [(await one).status for one in asked] == [200, 200, 200]
        assert (await caller("/v1/models", method="GET")).status == 200

    run(scenario)


def test_a_model_that_stands_still_answers_nobody_and_hangs_nobody(serving: Serving, calling: Any, hold: Any) -> None:
    service = serving("reviews", timeout=0.1)
    held = hold(service, "reviews")

    async def scenario() -> None:
        caller = calling(service)
        replies = await asyncio.gather(*(caller(PREDICT, {"inputs": "a"}) for _ in range(20)))
        assert {reply.status for reply in replies} == {503}
        assert {reply.json()["error"]["type"] for reply in replies} <= {"timeout", "overloaded"}
        assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies)
        assert service.active == 0
        held.go.set()
        while (await caller(PREDICT, {"inputs": "a"})).status != 200:
            await asyncio.sleep(0.01)

    run(scenario)
    assert len(held.batches) < 20  # those who had given up were not computed


def test_nothing_is_computed_for_a_client_that_went_away(serving: Serving, calling: Any, hold: Any) -> None:
    service = serving("reviews")
    held = hold(service, "reviews")

    async def scenario() -> None:
        caller = calling(service)
        first = asyncio.ensure_future(caller(PREDICT, {"inputs": "stays"}))
        assert await asyncio.to_thread(held.entered.wait, 20)
        gone = asyncio.Event()
        leaving = [asyncio.ensure_future(caller(PREDICT, {"inputs": "leaves"}, gone=gone)) for _ in range(5)]
        current = service.models["reviews"].current
        assert current is not None
        while current.worker.waiting_jobs < 5:
            await asyncio.sleep(0)
        gone.set()
        assert [(await one).status for one in leaving] == [0] * 5
        assert current.worker.waiting_jobs == 0
        held.go.set()
        assert (await first).status == 200
        assert (await caller(PREDICT, {"inputs": "comes"})).status == 200

    run(scenario)
    assert [[one.text for one in batch] for batch in held.batches] == [["stays"], ["comes"]]
    assert 'status="499"} 5.0' in service.metrics.text().decode()


def test_one_bad_request_does_not_fail_its_neighbours(serving: Serving, calling: Any, hold: Any) -> None:
    service = serving("reviews")
    held = hold(service, "reviews")
    inner = held.inner.run

    def fragile(items: Any) -> Any:
        if any("poison" in one.text for one in items):
            raise RuntimeError("poisoned")
        return inner(items)

    held.inner.run = fragile

    async def scenario() -> None:
        caller = calling(service)
        first = asyncio.ensure_future(caller(PREDICT, {"inputs": "first"}))
        assert await asyncio.to_thread(held.entered.wait, 20)
        texts = ["good", "poison", ["fine", "poison"], ["well", "done"]]
        asked = [asyncio.ensure_future(caller(PREDICT, {"inputs": one})) for one in texts]
        current = service.models["reviews"].current
        assert current is not None
        while current.worker.waiting_jobs < 4:
            await asyncio.sleep(0)
        held.go.set()
        assert (await first).status == 200
        replies = [await one for one in asked]
        assert [one.status for one in replies] == [200, 500, 500, 200]
        assert [one.json()["error"]["where"] for one in replies[1:3]] == ["inputs", "inputs[1]"]
        assert "poisoned" not in replies[1].body.decode()  # what went wrong inside is for the log

    run(scenario)


def test_texts_and_pairs_do_not_share_a_batch(serving: Serving, calling: Any) -> None:
    service = serving("entailment", "crossed")

    async def scenario() -> None:
        caller = calling(service)
        pair = {"inputs": {"text_a": "a", "text_b": "b"}}
        replies = await asyncio.gather(
            *(caller(f"/v1/models/{name}/predict", pair) for name in ("entailment", "crossed") * 5),
            caller("/rerank", {"query": "a", "documents": ["b", "c"]}),
        )
        assert {reply.status for reply in replies} == {200}

    run(scenario)
