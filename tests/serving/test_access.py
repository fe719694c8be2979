"""Who is let in, under which name and how often; and what every answer carries."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from albertine.errors import ConfigError
from albertine.serving.keys import Keys, KnownKey, read_keys
from albertine.serving.options import ServerOptions
from albertine.serving.rates import RateLimiter, network_of
from albertine.serving.service import Service

Serving = Callable[..., Service]
Client = Callable[..., TestClient]
PREDICT = "/v1/models/reviews/predict"
KEY, ADMIN = "k" * 20, "a" * 20
BODY = {"inputs": "hot soup"}


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


KEYS = Keys(api=(digest(KEY), digest("another key of someone")), admin=(digest(ADMIN),))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer  {KEY} "}, 200),
        ({"x-api-key": KEY}, 200),
        ({"x-api-key": ADMIN}, 200),
        ({"x-api-key": "another key of someone"}, 200),
        ({"x-api-key": KEY[:-1]}, 401),
        ({"x-api-key": ""}, 401),
        ({"authorization": f"Basic {KEY}"}, 401),
        ({"authorization": KEY}, 401),
        ({"x-api-key": "schlüssel".encode().decode("latin-1")}, 401),
    ],
)
def test_models_need_a_key_where_there_are_keys(
    headers: dict[str, str], status: int, serving: Serving, client: Client
) -> None:
    caller = client(serving("reviews", keys=KEYS))
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    for reply in (
        caller.post(PREDICT, json=BODY, headers=raw),
        caller.get("/v1/models", headers=raw),
        caller.get("/openapi.json", headers=raw),
    ):
        assert reply.status_code == status
        if status == 401:
            assert reply.json()["error"]["type"] == "unauthorized"
            assert reply.headers["www-authenticate"] == "Bearer"
            assert KEY not in reply.text
    for path in ("/health", "/ready", "/metrics"):
        assert caller.get(path, headers=raw).status_code == 200


def test_metrics_can_be_behind_the_key(serving: Serving, client: Client) -> None:
    caller = client(serving("reviews", keys=KEYS, metrics_key=True))
    assert caller.get("/metrics").status_code == 401
    assert caller.get("/metrics", headers={"x-api-key": KEY}).status_code == 200
    assert caller.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("keys", "given", "status"),
    [
        (Keys(), None, 403),
        (Keys(), KEY, 403),
        (KEYS, None, 401),
        (KEYS, KEY, 403),
        (KEYS, ADMIN, 200),
        (Keys(admin=KEYS.admin), None, 401),
        (Keys(admin=KEYS.admin), "wrong " * 4, 401),
        (Keys(admin=KEYS.admin), ADMIN, 200),
        (Keys(api=KEYS.api), KEY, 403),
    ],
)
def test_models_are_replaced_with_an_admin_key_alone(
    keys: Keys, given: str | None, status: int, serving: Serving, client: Client
) -> None:
    caller = client(serving("reviews", keys=keys))
    headers = {} if given is None else {"x-api-key": given}
    assert caller.post("/v1/models/reviews/reload", headers=headers).status_code == status
    assert caller.post("/v1/models/reviews/reload/", headers=headers).status_code == status


def test_keys_come_from_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n{KEY}\n  second-key-of-ours  \n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("ALBERTINE_API_KEYS", "third-key-of-ours, fourth-key-of-ours")
    monkeypatch.setenv("ALBERTINE_ADMIN_KEYS", ADMIN)
    found = read_keys(ServerOptions(api_keys=file))
    names = (KEY, "second-key-of-ours", "third-key-of-ours", "fourth-key-of-ours")
    assert sorted(found.api) == sorted(map(digest, names))
    assert found.admin == (digest(ADMIN),)
    assert found.known(b"third-key-of-ours") == KnownKey(shown=digest("third-key-of-ours").hex()[:12], admin=False)
    assert found.known(ADMIN.encode()) == KnownKey(shown=digest(ADMIN).hex()[:12], admin=True)
    assert found.known(b"# ours") is None


@pytest.mark.parametrize(
    "content", ["", "# nothing\n", "short\n", "with a blank in the middle\n", "schlüsselschlüssel\n"]
)
def test_a_key_that_can_be_guessed_or_not_be_sent_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_keys(ServerOptions(api_keys=file))
    assert str(file) in str(caught.value)
    assert content.strip() == "" or content.strip() not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(ServerOptions(admin_keys=tmp_path / "missing"))


def test_a_file_of_keys_that_others_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY, encoding="utf-8")
    os.chmod(file, 0o644)
    read_keys(ServerOptions(api_keys=file))
    assert "chmod 600" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8000", 200),
        ("localhost:1", 200),
        ("LOCALHOST.", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost@evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_only_its_own_names_are_answered_on_loopback(host: str, status: int, serving: Serving, client: Client) -> None:
    caller = client(serving("reviews"))
    for path in ("/v1/models", "/", "/static/page.css", "/metrics"):
        reply = caller.get(path, headers={"host": host})
        assert reply.status_code == status
    assert caller.get("/health", headers={"host": host}).status_code == 200


def test_other_names_are_answered_where_they_were_allowed(serving: Serving, client: Client) -> None:
    caller = client(serving("reviews", allow_hosts=("models.example",)))
    assert caller.get("/v1/models", headers={"host": "models.example:80"}).status_code == 200
    assert caller.get("/v1/models", headers={"host": "other.example"}).status_code == 421
    beyond = client(serving("reviews", host="0.0.0.0"))
    assert beyond.get("/v1/models", headers={"host": "any.example"}).status_code == 200


def test_a_client_has_a_rate_of_its_own(serving: Serving, client: Client) -> None:
    service = serving("reviews", keys=KEYS, requests_per_minute=18)  # three at once
    caller = client(service)
    mine, theirs = {"x-api-key": KEY}, {"x-api-key": "another key of someone"}
    replies = [caller.post(PREDICT, json=BODY, headers=mine) for _ in range(4)]
    assert [one.status_code for one in replies] == [200, 200, 200, 429]
    assert replies[3].json()["error"]["type"] == "rate_limited"
    assert 1 <= int(replies[3].headers["retry-after"]) <= 4
    assert caller.post(PREDICT, json=BODY, headers=theirs).status_code == 200
    wrong = [caller.get("/v1/models", headers={"x-api-key": f"guess number {number}"}) for number in range(4)]
    assert [one.status_code for one in wrong] == [401, 401, 401, 429]
    assert caller.get("/health").status_code == 200


def test_buckets_fill_again_with_time() -> None:
    now = 0.0
    rates = RateLimiter(60, clock=lambda: now)
    assert [rates.take("a") for _ in range(11)] == [0] * 10 + [1]
    now = 0.5
    assert rates.take("a") == 1
    now = 1.0
    assert (rates.take("a"), rates.take("a")) == (0, 1)
    assert rates.take("b") == 0
    now = 1000.0
    assert [rates.take("a") for _ in range(11)] == [0] * 10 + [1]
    slow = RateLimiter(1, clock=lambda: now)
    assert (slow.take("a"), slow.take("a")) == (0, 60)


def test_clients_are_forgotten_and_not_collected() -> None:
    rates = RateLimiter(6, clock=lambda: 0.0)
    assert rates.take("first") == 0
    assert rates.take("first") > 0
    for number in range(10_000):
        rates.take(str(number))
    assert rates.take("first") == 0


def test_an_address_of_version_six_counts_with_its_network() -> None:
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert network_of("::ffff:192.0.2.7") == network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("testclient") == "testclient"


def test_every_answer_carries_an_id_and_closes_doors(serving: Serving, client: Client) -> None:
    caller = client(serving("reviews"))
    for reply in (
        caller.get("/"),
        caller.get("/health"),
        caller.get("/nothing"),
        caller.post(PREDICT, json=BODY),
        caller.post(PREDICT, content=b"x"),
        caller.get("/v1/models", headers={"host": "evil.example"}),
        caller.head("/v1/models"),
    ):
        assert len(reply.headers["x-request-id"]) == 16
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy
        assert "access-control-allow-origin" not in reply.headers
        assert reply.headers["cache-control"] in ("no-store", "no-cache")


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-123_X.y:z", True), ("a" * 64, True), ("a" * 65, False), ('a"b', False), ("a b", False), ("", False)],
)
def test_an_id_is_kept_where_it_can_stand_in_a_log(given: str, kept: bool, serving: Serving, client: Client) -> None:
    reply = client(serving("reviews")).get("/health", headers={"x-request-id": given})
    assert (reply.headers["x-request-id"] == given) == kept


def test_pages_of_other_origins_read_nothing_unless_told(serving: Serving, client: Client) -> None:
    origin = {"origin": "https://app.example"}
    asked = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    closed = client(serving("reviews"))
    assert closed.options(PREDICT, headers=asked).status_code == 405
    assert "access-control-allow-origin" not in closed.post(PREDICT, json=BODY, headers=origin).headers
    opened = client(serving("reviews", cors=("https://app.example",), keys=KEYS))
    preflight = opened.options(PREDICT, headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    refused = opened.post(PREDICT, json=BODY, headers=origin)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.example"  # so that the page can say why
    other = opened.options(PREDICT, headers={**asked, "origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_methods_and_slashes(serving: Serving, client: Client) -> None:
    caller = client(serving("reviews"), follow_redirects=False)
    wrong = caller.get(PREDICT)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["error"]["type"] == "method_not_allowed"
    assert caller.post(PREDICT + "/", json=BODY).status_code == 200
    assert caller.get("/v1/models///").status_code == 200
    head = caller.head("/v1/models/reviews")
    full = caller.get("/v1/models/reviews")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == full.headers["content-length"]
    assert caller.head(PREDICT).status_code == 405
    for path in ("/nothing", "/v1/models/reviews/nothing", "/static/%2e%2e/server.py", "/static/..%2fserver.py"):
        assert caller.get(path).status_code == 404
    assert caller.get("/docs").status_code == 404


def test_a_request_is_one_line_without_its_texts(
    serving: Serving, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="albertine.requests")
    caller = client(serving("reviews", keys=KEYS))
    caller.post(PREDICT, json={"inputs": ["secret soup", "bread"]}, headers={"x-api-key": KEY, "x-request-id": "one"})
    caller.post(PREDICT, json={"inputs": {"text": 3}}, headers={"x-api-key": KEY})
    lines = [record.fields for record in caplog.records if record.name == "albertine.requests"]  # type: ignore[attr-defined]
    assert len(lines) == 2
    first, second = lines
    assert (first["id"], first["status"], first["route"]) == ("one", 200, "/v1/models/{name}/predict")
    assert (first["model"], first["texts"], first["method"]) == ("reviews", 2, "POST")
    assert first["tokens"] > 5
    assert first["total_ms"] >= first["compute_ms"] > 0
    assert first["wait_ms"] >= 0
    assert first["key"] == digest(KEY).hex()[:12]
    assert (second["status"], second["texts"]) == (422, 0)
    assert "secret" not in json.dumps(lines)
    assert KEY not in json.dumps(lines)


def test_texts_are_logged_where_that_was_asked_for(
    serving: Serving, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="albertine.requests")
    client(serving("reviews", log_texts=True)).post(PREDICT, json={"inputs": ["很好吃"]})
    (line,) = [record.fields for record in caplog.records if record.name == "albertine.requests"]  # type: ignore[attr-defined]
    assert line["inputs"] == ["很好吃"]


def test_metrics_count_what_happened(serving: Serving, client: Client) -> None:
    caller = client(serving("reviews", "encoder"))
    caller.post(PREDICT, json={"inputs": ["hot", "soup"]})
    caller.post(PREDICT, json={"inputs": 3})
    caller.get("/made/up/path")
    reply = caller.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=")
    lines = reply.text.splitlines()
    route = 'route="/v1/models/{name}/predict"'
    assert f'albertine_requests_total{{model="reviews",{route},status="200"}} 1.0' in lines
    assert f'albertine_requests_total{{model="reviews",{route},status="422"}} 1.0' in lines
    assert 'albertine_texts_total{model="reviews"} 2.0' in lines
    assert 'albertine_ready{model="encoder"} 1.0' in lines
    assert 'albertine_queue_requests{model="reviews"} 0.0' in lines
    assert 'albertine_refused_total{reason="invalid_input"} 1.0' in lines
    assert "made/up" not in reply.text


def test_the_page_comes_from_the_server_alone(serving: Serving, client: Client) -> None:
    caller = client(serving("reviews"))
    page = caller.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
        reply = caller.get(f"/static/{name}")
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith(kind)
        assert "http://" not in reply.text.replace("http://www.w3.org", "")
    assert caller.get("/static/nothing.js").status_code == 404
