"""Long lists: answered in their order as they are ready, with the bad ones among them named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from albertine.serving.service import Service

Serving = Callable[..., Service]
Client = Callable[..., TestClient]
PREDICT = "/v1/models/reviews/predict"
LINES = {"content-type": "application/x-ndjson"}


def ndjson(*lines: object) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in text.strip().split("\n\n"):
        first, second = block.split("\n")
        found.append((first.removeprefix("event: "), json.loads(second.removeprefix("data: "))))
    return found


def test_lines_are_answered_in_their_order(serving: Serving, client: Client) -> None:
    caller = client(serving("reviews", max_texts=5))
    texts = [f"soup {'hot ' * (number % 13)}" for number in range(501)]
    reply = caller.post(f"{PREDICT}?scores=true", content=ndjson(*texts), headers=LINES)
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert [line["index"] for line in lines] == list(range(501))
    for place in (0, 63, 64, 65, 200, 500):
        alone = caller.post(PREDICT, json={"inputs": texts[place], "scores": True}).json()["predictions"][0]
        streamed = lines[place]["prediction"]
        assert streamed["label"] == alone["label"]
        assert streamed["scores"] == pytest.approx(alone["scores"], abs=1e-5)


def test_a_bad_line_is_named_and_the_others_are_answered(serving: Serving, client: Client) -> None:
    caller = client(serving("reviews", max_characters=20))
    body = b"\n".join(
        [
            b'"hot"',
            b'{"text": "soup"}',
            b"",
            b"{nonsense",
            b'{"text_a": "a", "text_b": "b"}',
            b'{"txt": "a"}',
            b'"' + b"a" * 21 + b'"',
            b'"\\ud800"',
            b"  ",
            b'"bread"',
        ]
    )
    reply = caller.post(PREDICT, content=body, headers=LINES)
    assert reply.status_code == 200
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert [line["index"] for line in lines] == list(range(8))
    assert [line.get("error", {}).get("type") for line in lines] == [
        None,
        None,
        "invalid_json",
        "invalid_input",
        "invalid_input",
        "too_large",
        "invalid_input",
        None,
    ]
    places = [line["error"]["where"] for line in lines if "error" in line]
    assert places == ["line 4", "input 3", "line 6: text", "input 5", "input 6"]


def test_events_end_with_what_was_done(serving: Serving, client: Client) -> None:
    caller = client(serving("reviews"))
    accept = {"accept": "text/event-stream"}
    reply = caller.post(PREDICT, json={"inputs": ["hot", {"text_a": "a", "text_b": "b"}, "soup"]}, headers=accept)
    assert reply.headers["content-type"].startswith("text/event-stream")
    found = events(reply.text)
    assert [name for name, _ in found] == ["prediction", "error", "prediction", "done"]
    assert found[-1][1] == {"answered": 2, "failed": 1}
    both = caller.post(PREDICT, content=ndjson("a", "b"), headers={**LINES, **accept})
    assert [name for name, _ in events(both.text)] == ["prediction", "prediction", "done"]
    lines = caller.post(PREDICT, json={"inputs": ["a", "b"]}, headers={"accept": "application/x-ndjson"})
    assert [json.loads(line)["index"] for line in lines.text.splitlines()] == [0, 1]


def test_an_empty_stream_has_an_empty_answer(serving: Serving, client: Client) -> None:
    reply = client(serving("reviews")).post(PREDICT, content=b"\n \n", headers=LINES)
    assert (reply.status_code, reply.content) == (200, b"")


def test_streams_have_limits_of_their_own(serving: Serving, client: Client, calling: Any, hold: Any) -> None:
    service = serving("reviews", max_streams=1, max_stream=2000)
    reply = client(service).post(PREDICT, content=ndjson("a" * 3000), headers=LINES)
    assert reply.status_code == 413
    held = hold(service, "reviews")

    async def scenario() -> None:
        caller = calling(service)
        first = asyncio.ensure_future(caller(PREDICT, ndjson("a"), headers=LINES))
        assert await asyncio.to_thread(held.entered.wait, 20)
        second = await caller(PREDICT, ndjson("b"), headers=LINES)
        assert (second.status, second.json()["error"]["type"]) == (503, "overloaded")
        assert int(second.headers["retry-after"]) >= 1
        held.go.set()
        assert (await first).status == 200
        assert service.streams == 0

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_what_is_left_is_not_computed_for_who_went_away(serving: Serving, calling: Any, hold: Any) -> None:
    service = serving("reviews")
    held = hold(service, "reviews")

    async def scenario() -> None:
        gone = asyncio.Event()
        lines = ndjson(*(f"text {number}" for number in range(1000)))
        asking = asyncio.ensure_future(calling(service)(PREDICT, lines, headers=LINES, gone=gone))
        assert await asyncio.to_thread(held.entered.wait, 20)
        gone.set()
        await asking
        assert service.streams == 0
        assert service.active == 0
        held.go.set()
        current = service.models["reviews"].current
        assert current is not None
        assert current.worker.waiting_jobs == 0

    asyncio.run(asyncio.wait_for(scenario(), 30))
    assert sum(map(len, held.batches)) <= 128  # of a thousand


def test_a_stream_that_is_not_answered_in_time_says_so_of_every_input(
    serving: Serving, calling: Any, hold: Any
) -> None:
    service = serving("reviews", timeout=0.05)
    held = hold(service, "reviews")

    async def scenario() -> None:
        reply = await calling(service)(PREDICT, ndjson(*map(str, range(300))), headers=LINES)
        lines = [json.loads(line) for line in reply.body.splitlines()]
        assert [line["index"] for line in lines] == list(range(300))
        assert {line["error"]["type"] for line in lines} == {"timeout"}
        held.go.set()

    asyncio.run(asyncio.wait_for(scenario(), 30))
