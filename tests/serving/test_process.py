"""The server as a process: its socket, its signals, its log, and clients that are slow."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from albertine.cli.main import main

PREDICT = "/v1/models/reviews/predict"
BODY = json.dumps({"inputs": ["the soup was hot", "很好吃"]}).encode()


class Server:
    """A server of its own process, and the lines of its log."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "albertine", "serve", *arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.lines: list[str] = []
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.line("ready")["url"].rpartition(":")[2])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._grown:
                self.lines.append(line.decode())
                self._grown.notify_all()
        with self._grown:
            self.lines.append("")
            self._grown.notify_all()

    def line(self, event: str, *, after: int = 0) -> dict[str, Any]:
        """Wait for the line of an event."""
        place = after
        with self._grown:
            while True:
                while place < len(self.lines):
                    text = self.lines[place]
                    assert text, f"the server ended: {self.lines}"
                    if text.startswith("{") and json.loads(text)["event"] == event:
                        found: dict[str, Any] = json.loads(text)
                        return found
                    place += 1
                assert self._grown.wait(60), self.lines

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, head: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        with self.connect() as own:
            own.sendall(request(head, len(body)) + body)
            return answer(own)

    def until_active(self) -> None:
        """Wait until a request is being answered."""
        while b"albertine_active_requests 0.0" in self.ask("GET /metrics")[2]:
            time.sleep(0.01)

    def close(self) -> None:
        """End it, however it is."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join()
        return code


def request(head: str, length: int, *more: str) -> bytes:
    lines = [
        f"{head} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {length}",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(own: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one answer that says its length; a status of 0 where the connection ends before."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while b"\r\n\r\n" not in data:
            piece = own.recv(65536)
            if not piece:
                return 0, {}, data
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        while len(body) < int(headers.get("content-length", 0)):
            body += own.recv(65536)
        return int(first.split()[1]), headers, body
    return 0, {}, data


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    running: list[Server] = []

    def begin(*arguments: str) -> Server:
        running.append(Server("--precision", "fp32", *arguments))
        return running[-1]

    yield begin
    for one in running:
        one.close()


@pytest.mark.long
def test_what_was_taken_is_answered_after_a_signal_and_nothing_new_is_taken(
    start: Callable[..., Server], folders: dict[str, Path]
) -> None:
    server = start(str(folders["reviews"]), "--port", "0")
    assert server.ask("GET /ready")[0] == 200
    with server.connect() as own:
        own.sendall(request(f"POST {PREDICT}", len(BODY)) + BODY[:10])
        server.until_active()
        server.process.send_signal(signal.SIGTERM)
        server.line("stopping")
        status, headers, body = server.ask(f"POST {PREDICT}", BODY)
        assert (status, json.loads(body)["error"]["type"]) == (503, "stopping")
        assert int(headers["retry-after"]) >= 1
        status, _, body = server.ask("GET /ready")
        assert (status, json.loads(body)["status"]) == (503, "stopping")
        assert server.ask("GET /health")[0] == 200
        own.sendall(BODY[10:])
        status, _, body = answer(own)
        assert status == 200
        assert len(json.loads(body)["predictions"]) == 2
    assert server.process.wait(30) == 0
    assert not any("traceback" in line for line in server.lines)
    with pytest.raises(ConnectionRefusedError):
        server.connect()


@pytest.mark.long
def test_a_second_signal_ends_it_at_once(start: Callable[..., Server], folders: dict[str, Path]) -> None:
    server = start(str(folders["reviews"]), "--port", "0")
    with server.connect() as own:
        own.sendall(request(f"POST {PREDICT}", len(BODY)) + BODY[:10])
        server.until_active()
        server.process.send_signal(signal.SIGINT)
        server.line("stopping")
        assert server.stop(signal.SIGINT) == 130


@pytest.mark.long
def test_it_is_back_on_the_same_port_after_a_kill(start: Callable[..., Server], folders: dict[str, Path]) -> None:
    first = start(str(folders["reviews"]), "--port", "0")
    own = first.connect()
    own.sendall(request(f"POST {PREDICT}", len(BODY)) + BODY)
    before = answer(own)
    # An answer's second part must not wait for the first one's acknowledgement, which takes 40 ms from the third on.
    times = []
    for _ in range(9):
        begin = time.perf_counter()
        own.sendall(request("GET /health", 0))
        assert answer(own)[0] == 200
        times.append(time.perf_counter() - begin)
    assert sorted(times)[4] < 0.03
    first.stop(signal.SIGKILL)
    second = start(str(folders["reviews"]), "--port", str(first.port))
    assert second.port == first.port
    after = second.ask(f"POST {PREDICT}", BODY)
    assert before[0] == after[0] == 200
    assert json.loads(before[2])["predictions"] == json.loads(after[2])["predictions"]
    own.close()
    assert second.stop() == 0


@pytest.mark.long
def test_a_signal_reads_the_folders_anew(start: Callable[..., Server], folders: dict[str, Path]) -> None:
    server = start(str(folders["reviews"]), str(folders["encoder"]), "--port", "0")
    count = len(server.lines)
    server.process.send_signal(signal.SIGHUP)
    while json.loads(server.ask("GET /v1/models/encoder")[2])["generation"] == 1:
        time.sleep(0.02)
    assert json.loads(server.ask("GET /v1/models/reviews")[2])["generation"] == 2
    server.line("message", after=count)
    assert server.stop() == 0


@pytest.mark.long
def test_slow_clients_are_cut_off_and_others_are_answered(
    start: Callable[..., Server], folders: dict[str, Path]
) -> None:
    server = start(
        str(folders["reviews"]), "--port", "0", "--header-timeout", "0.3", "--body-timeout", "0.3", "--max-body", "1000"
    )
    silent, dripping, later = server.connect(), server.connect(), server.connect()
    dripping.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ")
    later.sendall(request("GET /health", 0))
    assert answer(later)[0] == 200
    later.sendall(b"GET /hea")  # begins a second request and never ends it
    assert server.ask(f"POST {PREDICT}", BODY)[0] == 200
    for own in (silent, dripping, later):
        assert answer(own)[0] == 0
        own.close()
    with server.connect() as own:
        own.sendall(request(f"POST {PREDICT}", len(BODY)) + BODY[:10])
        status, _, body = answer(own)
        assert (status, json.loads(body)["error"]["type"]) == (408, "slow_request")
    with server.connect() as own:
        own.sendall(request(f"POST {PREDICT}", 100_000_000) + b"x" * 100)
        status, _, body = answer(own)
        assert (status, json.loads(body)["error"]["type"]) == (413, "too_large")
    with server.connect() as own:
        head = request(f"POST {PREDICT}", 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        own.sendall(head + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n")
        assert answer(own)[0] == 200
    assert server.ask("GET /health")[0] == 200
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.lines if '"request"' in line]
    assert {line["status"] for line in lines} >= {200, 408, 413}


def test_what_cannot_be_served_is_one_line_and_two(
    folders: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, said in (
            ([str(folders["reviews"]), "--port", str(port)], "listened on"),
            ([str(tmp_path / "missing"), "--port", "0"], "missing"),
            ([f"a={folders['reviews']}", f"a={folders['names']}"], "same name"),
            ([str(folders["reviews"]), "--max-wait", "0"], "max_wait"),
            ([], "nothing to serve"),
        ):
            assert main(["serve", *arguments]) == 2
            lines = capfd.readouterr().err.strip().splitlines()
            assert said in lines[-1]
            assert lines[-1].startswith("albertine: ")
            assert not any("Traceback" in line for line in lines)
