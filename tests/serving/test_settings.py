"""Options, names and the log: what a person writes, and what is written for them."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import albertine
from albertine.cli.main import main
from albertine.errors import ConfigError, UserError
from albertine.serving import server
from albertine.serving.logs import json_logging
from albertine.serving.options import ServerOptions
from albertine.serving.service import Service
from albertine.serving.sources import model_sources
from albertine.settings import prepare_computing


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 70_000),
        ("port", -1),
        ("max_wait", 0.0),
        ("timeout", float("nan")),
        ("max_texts", 0),
        ("batch_wait_ms", -1.0),
        ("requests_per_minute", -3),
        ("cors", ("*",)),
        ("cors", ("app.example",)),
    ],
)
def test_options_out_of_range_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        ServerOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False),
     ("models.example", False), ("192.0.2.1", False)],
)  # fmt: skip
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert ServerOptions(host=host).loopback == loopback


def test_names_come_from_folders_or_from_before_the_equals_sign(tmp_path: Path) -> None:
    odd = tmp_path / "a=b"
    odd.mkdir()
    found = model_sources(["runs/reviews", "good=runs/x", "bert-zh-tiny", "评论=runs/y/"], ["wiki/", "good=runs/index"])
    assert [(one.name, one.folder, None if one.index is None else str(one.index)) for one in found] == [
        ("reviews", "runs/reviews", None),
        ("good", "runs/x", "runs/index"),
        ("bert-zh-tiny", "bert-zh-tiny", None),
        ("评论", "runs/y/", None),
        ("wiki", None, "wiki"),
    ]
    with pytest.raises(ConfigError, match="model's name"):
        model_sources([odd])
    assert model_sources([f"plain={odd}"])[0].folder == str(odd)


@pytest.mark.parametrize(
    ("models", "indexes", "said"),
    [
        ([], [], "nothing to serve"),
        (["a/x", "b/x"], [], "same name"),
        (["x=a", "x=b"], [], "same name"),
        ([], ["a/x", "b/x"], "same name"),
        (["x="], [], "without a folder"),
        (["/"], [], "model's name"),
        (["a/b/c=d/e"], [], "model's name"),
        ([".hidden"], [], "model's name"),
        (["x" * 65], [], "model's name"),
    ],
)
def test_names_that_cannot_be_are_refused(models: list[str], indexes: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        model_sources(models, indexes)


def test_the_log_is_one_document_a_line() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("albertine")
    before = list(logger.handlers)
    with json_logging(stream):
        logger.info("two\nlines and %s", "很好 \ud800")
        logging.getLogger("albertine.requests").info("request", extra={"fields": {"id": "a", "status": 200}})
        logging.getLogger("uvicorn.error").info("of no interest")
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("failed")
    first, second, third = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (first["event"], first["level"], first["message"]) == ("message", "info", "two\nlines and 很好 \ud800")
    assert (second["event"], second["id"], second["status"]) == ("request", "a", 200)
    assert "ValueError: broken" in third["traceback"]
    assert first["time"] <= third["time"]
    assert logger.handlers == before


def test_a_log_that_nobody_reads_stops_nobody() -> None:
    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with json_logging(Stuck()):
        for _ in range(20_000):
            logging.getLogger("albertine").info("a line")


def test_every_option_can_be_given_on_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called: list[tuple[object, ...]] = []

    def serve(models: object, *, indexes: object, options: ServerOptions) -> None:
        called.append((models, indexes, options))

    monkeypatch.setattr(albertine, "serve", serve, raising=False)
    numbers = {
        "port": 1234, "batch-tokens": 99, "batch-wait-ms": 1.5, "max-wait": 2.5, "max-queue": 7, "timeout": 8.5,
        "max-body": 1001, "max-stream": 1002, "max-held": 1003, "max-texts": 11, "max-characters": 12,
        "max-requests": 13, "max-streams": 14, "header-timeout": 1.25, "body-timeout": 1.5, "write-timeout": 1.75,
        "grace": 3.5, "requests-per-minute": 15,
    }  # fmt: skip
    texts = {
        "host": "::1", "precision": "bf16", "depth": "auto", "api-keys": "a.txt", "admin-keys": "b.txt",
        "allow-host": "x.example", "cors": "https://y.example", "proxy": "192.0.2.1",
    }  # fmt: skip
    given = [word for name, value in {**numbers, **texts}.items() for word in (f"--{name}", str(value))]
    assert main(["serve", "a=x", "y", "--index", "i=z", *given, "--metrics-key", "--log-texts"]) == 0
    ((models, indexes, options),) = called
    assert (models, indexes) == (["a=x", "y"], ["i=z"])
    assert isinstance(options, ServerOptions)
    changed = [one.name for one in dataclasses.fields(options) if getattr(options, one.name) == one.default]
    assert not changed, "options that the command line does not pass on"
    assert all(getattr(options, name.replace("-", "_")) == value for name, value in numbers.items())
    assert (options.allow_hosts, options.cors, options.proxies) == (
        ("x.example",), ("https://y.example",), ("192.0.2.1",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("host", "key", "warned"), [("127.0.0.1", "", False), ("0.0.0.0", "", True), ("0.0.0.0", "k" * 20, False)]
)
def test_a_server_that_everyone_can_use_is_warned_of(
    host: str, key: str, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Process:
        def __init__(self, service: Service, listener: socket.socket) -> None:
            self.listener = listener

        async def run(self) -> None:
            assert self.listener.getsockname()[1] > 0

    monkeypatch.setattr(server, "_Process", Process)
    monkeypatch.setenv("ALBERTINE_API_KEYS", key)
    server.serve("runs/reviews", options=ServerOptions(host=host, port=0))
    assert ("there are no keys" in caplog.text) == warned
    assert key == "" or key not in caplog.text


def test_the_caches_of_products_are_kept_small_unless_the_user_says_otherwise() -> None:
    environment = {"LRU_CACHE_CAPACITY": "999"}
    prepare_computing(environment, answering=True)
    assert (environment["LRU_CACHE_CAPACITY"], environment["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) == ("999", "64")
    other: dict[str, str] = {}
    prepare_computing(other)
    assert not {"LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"} & set(other)


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "prometheus_client"])
def test_what_is_not_installed_is_named_with_the_extra(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; import albertine; albertine.serve"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert f"the package {package}, which is not installed" in done.stderr
    assert 'pip install "albertine[serve]"' in done.stderr
