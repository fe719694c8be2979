"""Bodies that are too large, too slow, no JSON or not what was asked for: each has its answer, and none does harm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from albertine.serving.app import create_app
from albertine.serving.service import Service

Serving = Callable[..., Service]
Client = Callable[..., TestClient]
PREDICT = "/v1/models/reviews/predict"
JSON = {"content-type": "application/json"}


@pytest.fixture
def caller(serving: Serving, client: Client) -> TestClient:
    return client(serving("reviews", max_body=4000, max_texts=5, max_characters=60))


@pytest.mark.parametrize(
    ("body", "received"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"inputs": "a"', "Expecting ',' delimiter"),
        (b'{"inputs": NaN}', "NaN"),
        (b'{"inputs": -Infinity}', "-Infinity"),
        (b'{"inputs": "a", "inputs": "b"}', "stands twice"),
        (b'{"inputs": {"text": "a", "text": "b"}}', "the field text stands twice"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"inputs": "a"} {"inputs": "b"}', "Extra data"),
        (b'{"inputs": "a\nb"}', "control character"),
        (b"[" * 3900, "nested too deeply"),
        (b'{"a":' * 700, "Expecting value"),
    ],
)
def test_what_is_no_json_is_said_to_be_none(caller: TestClient, body: bytes, received: str) -> None:
    reply = caller.post(PREDICT, content=body, headers=JSON)
    error = reply.json()["error"]
    assert (reply.status_code, error["type"]) == (422, "invalid_json")
    assert received in error["received"]


def test_numbers_of_thousands_of_digits_cost_nothing(serving: Serving, client: Client) -> None:
    reply = client(serving("reviews")).post(PREDICT, content=b'{"inputs": ' + b"9" * 100_000 + b"}", headers=JSON)
    assert (reply.status_code, reply.json()["error"]["type"]) == (422, "invalid_json")
    assert len(reply.content) < 1000


@pytest.mark.parametrize(
    ("body", "where", "allowed"),
    [
        ([], None, "an object"),
        ("a", None, "an object"),
        ({}, "inputs", None),
        ({"inputs": []}, "inputs", "a list of at least one"),
        ({"inputs": None}, "inputs", "a text"),
        ({"inputs": 3}, "inputs", "a text"),
        ({"inputs": ["a", ["b", "c"]]}, "inputs[1]", "a text"),
        ({"inputs": {"text_a": "a"}}, "inputs.text_b", None),
        ({"inputs": [{"question": "a"}]}, "inputs[0].context", None),
        ({"inputs": {}}, "inputs.text", None),
        ({"inputs": "a", "scores": "yes"}, "scores", "true or false"),
        ({"inputs": "a", "score": True}, "score", None),
        ({"inputs": {"text": "a", "label": "b"}}, "inputs.label", None),
        ({"inputs": {"text": 7}}, "inputs.text", "a text"),
    ],
)
def test_a_body_of_another_shape_is_named_by_its_field(
    caller: TestClient, body: object, where: str | None, allowed: str | None
) -> None:
    reply = caller.post(PREDICT, json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["type"]) == (422, "invalid_input")
    assert (error.get("where"), error.get("allowed")) == (where, allowed)


@pytest.mark.parametrize("escaped", [r'"\ud83d"', r'"a \udc00"', r'{"text": "\ud800\ud800"}'])
def test_half_of_a_surrogate_pair_is_no_text(caller: TestClient, escaped: str) -> None:
    reply = caller.post(PREDICT, content=f'{{"inputs": ["b", {escaped}]}}'.encode(), headers=JSON)
    error = reply.json()["error"]
    assert reply.status_code == 422
    assert error["where"].startswith("inputs[1]")
    assert "\\ud" in error["received"]
    whole = caller.post(PREDICT, content=rb'{"inputs": "\ud83d\ude00"}', headers=JSON)
    assert whole.status_code == 200
    named = caller.post("/rerank", content=rb'{"model": "\ud800", "query": "a", "documents": ["b"]}', headers=JSON)
    assert named.status_code in (404, 422)
    field = caller.post(PREDICT, content=rb'{"inputs": "a", "\ud800": 1}', headers=JSON)
    assert field.status_code == 422


def test_limits_say_what_came_and_what_is_allowed(caller: TestClient) -> None:
    for body, where, received, allowed in (
        ({"inputs": ["a"] * 6}, "inputs", "6", "5 or fewer"),
        ({"inputs": ["a", "b" * 61]}, "inputs[1]", "61 characters", "60 or fewer"),
        ({"inputs": ["a" * 5000]}, None, None, "4000 bytes"),
    ):
        reply = caller.post(PREDICT, json=body)
        error = reply.json()["error"]
        assert (reply.status_code, error["type"]) == (413, "too_large")
        assert (error.get("where"), error["allowed"]) == (where, allowed)
        assert received is None or error["received"] == received
        assert error["next_step"]
    assert caller.post(PREDICT, json={"inputs": ["a"] * 5}).status_code == 200
    assert caller.post(PREDICT, json={"inputs": "b" * 60}).status_code == 200


def test_ten_megabytes_of_one_character_are_refused_or_read(serving: Serving, client: Client) -> None:
    service = serving("reviews", "answers", "encoder", max_body=12 << 20, max_characters=3_000_000)
    caller = client(service)
    refused = caller.post(PREDICT, json={"inputs": "a" * (10 << 20)})
    assert (refused.status_code, refused.json()["error"]["type"]) == (413, "too_large")
    for sign in ("a", "好", " ", "\x00", "́"):
        assert caller.post(PREDICT, json={"inputs": sign * 300_000}).status_code == 200
        assert caller.post("/v1/models/encoder/encode", json={"texts": sign * 300_000}).status_code == 200


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=UTF-8", 200),
        ("APPLICATION/JSON", 200),
        ("application/json; charset=gb18030", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data", 415),
        ("nonsense", 415),
        ("", 415),
    ],
)
def test_only_json_is_taken_so_that_no_foreign_page_can_post(caller: TestClient, given: str, status: int) -> None:
    reply = caller.post(PREDICT, content=b'{"inputs": "a"}', headers={"content-type": given})
    assert reply.status_code == status
    if status == 415:
        assert reply.json()["error"]["type"] == "unsupported_media_type"


def test_a_body_without_a_length_is_counted_as_it_comes(serving: Serving) -> None:
    service = serving("reviews", max_body=1000)
    served = _App(service)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b'{"inputs": "' + b"a" * 100
            served.sent += 100

    reply = served.post(endless())
    assert reply["status"] == 413
    assert served.sent < 2000
    assert service.held == 0


def test_a_body_that_does_not_come_in_time_is_given_up(serving: Serving) -> None:
    served = _App(serving("reviews", body_timeout=0.05))

    async def stalled() -> AsyncIterator[bytes]:
        yield b'{"inputs": '
        await asyncio.Event().wait()

    reply = served.post(stalled())
    assert reply["status"] == 408
    assert json.loads(reply["body"])["error"]["type"] == "slow_request"


def test_a_client_that_goes_away_while_it_sends_has_no_answer(serving: Serving) -> None:
    service = serving("reviews")
    served = _App(service)

    async def leaving() -> AsyncIterator[bytes]:
        yield b'{"inputs": '

    assert served.post(leaving(), disconnect=True)["status"] == 0
    assert service.held == 0
    assert 'status="499"' in service.metrics.text().decode()


def test_all_bodies_together_have_a_limit(serving: Serving) -> None:
    service = serving("reviews", max_held=1000)
    service.held = 900
    served = _App(service)

    async def body() -> AsyncIterator[bytes]:
        yield b'{"inputs": "' + b"a" * 200 + b'"}'

    reply = served.post(body())
    assert reply["status"] == 503
    assert int(reply["headers"]["retry-after"]) >= 1
    assert service.held == 900


class _App:
    """Sends a body in pieces."""

    def __init__(self, service: Service) -> None:
        self.app = create_app(service)
        self.sent = 0

    def post(self, pieces: AsyncIterator[bytes], *, disconnect: bool = False) -> dict[str, Any]:
        reply: dict[str, Any] = {"status": 0, "body": b"", "headers": {}}

        async def receive() -> dict[str, Any]:
            async for piece in pieces:
                return {"type": "http.request", "body": piece, "more_body": True}
            if disconnect:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                reply["status"] = message["status"]
                reply["headers"] = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                reply["body"] += message.get("body", b"")

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": PREDICT,
            "raw_path": PREDICT.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        asyncio.run(asyncio.wait_for(self.app(scope, receive, send), 20))
        return reply
