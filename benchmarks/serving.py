"""The server under load: how many requests a second, how long they take, and what ten times too many do to it.

Run: python benchmarks/serving.py MODEL [--seconds 10] [--texts FILE] [--per-request 1] [--soak MINUTES] [-- OPTIONS]

The server runs in a process of its own (`albertine serve MODEL` with the options after `--`), the load in this one,
over sockets of this machine; on few cores the two take time from each other, which is part of the figures.

Closed loop: so many clients, each of which sends its next request once it has an answer; the best throughput is called
the capacity. Open loop: requests come at a given rate whatever the server does. What the load itself does not manage is
seen in "offered" and "late": a request's time counts from its sending, and how late it was sent stands beside.
The rates are shares of the capacity, the last one ten times as much. `--soak` goes on at half of it, and reads the
server's resident memory after the first minute (or tenth) and at the end. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WORDS = (
    "the",
    "service",
    "was",
    "quick",
    "but",
    "room",
    "is",
    "rather",
    "small",
    "nobody",
    "很好吃",
    "太慢了",
    "下次再来",
)
CLIENTS = (1, 8, 32)
SHARES = (0.5, 1.0, 10.0)
CONNECTIONS = 512
"""That the open loop uses at most; a request that finds none free is late."""
SOAK_SHARE = 0.5
GIVEN_UP = 40.0
"""Seconds after which an answer is not waited for any more: the server promises one within thirty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one load gave."""

    load: str
    offered: float
    """Requests that were sent a second."""
    answered: float
    """Answered with 200 a second."""
    refused: float
    """Answered with 503 or 429 a second."""
    failed: int
    """Anything else, and connections that broke."""
    p50: float
    """Milliseconds of answered requests."""
    p95: float
    p99: float
    refused_p99: float
    """Milliseconds until a refusal."""
    late_p99: float
    """Milliseconds that a request waited in the load itself, for a connection or for its turn."""


class Connection(asyncio.Protocol):
    """One connection, used again as long as the server keeps it; a request at a time.

    A protocol and no streams, so that the load takes little from the processor that it shares with the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[int] | None = None
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, gap, body = self.data.partition(b"\r\n\r\n")
        if not gap:
            return
        place = head.lower().find(b"content-length:")
        if len(body) >= int(head[place + 15 :].split(b"\r\n", 1)[0]):
            self.data = b""
            if self.answer is not None and not self.answer.done():
                self.answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport, self.data = None, b""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(0)

    async def ask(self, request: bytes) -> int:
        """Send a request and return the status; 0 where the connection breaks or nothing comes."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(GIVEN_UP):
                if self.transport is None or self.transport.is_closing():
                    self.transport, _ = await loop.create_connection(lambda: self, self.host, self.port)
                self.answer = loop.create_future()
                self.transport.write(request)
                return await self.answer
        except (OSError, TimeoutError):
            self.close()
            return 0

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()
        self.transport = None


class Tally:
    """Times and statuses of one load."""

    def __init__(self) -> None:
        self.times: dict[int, list[float]] = {}
        self.late: list[float] = [0.0]

    def add(self, status: int, seconds: float) -> None:
        self.times.setdefault(status, []).append(seconds)

    def row(self, load: str, sent: int, seconds: float) -> Row:
        good = self.times.get(200, [])
        refused = [*self.times.get(503, []), *self.times.get(429, [])]
        other = sum(len(times) for status, times in self.times.items() if status not in (200, 429, 503))
        return Row(
            load=load,
            offered=sent / seconds,
            answered=len(good) / seconds,
            refused=len(refused) / seconds,
            failed=other,
            p50=1000 * quantile(good, 0.5),
            p95=1000 * quantile(good, 0.95),
            p99=1000 * quantile(good, 0.99),
            refused_p99=1000 * quantile(refused, 0.99),
            late_p99=1000 * quantile(self.late, 0.99),
        )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least value that so large a share does not exceed; NaN where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


async def closed_loop(place: tuple[str, int], requests: Sequence[bytes], clients: int, seconds: float) -> Row:
    """Let every client send one request after another."""
    tally, sent = Tally(), 0
    begin = time.perf_counter()

    async def client(number: int) -> None:
        nonlocal sent
        own = Connection(*place)
        turn = number
        while time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            sent += 1
            tally.add(await own.ask(requests[turn % len(requests)]), time.perf_counter() - start)
            turn += clients
        own.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return tally.row(f"closed, {clients} clients", sent, time.perf_counter() - begin)


async def open_loop(place: tuple[str, int], requests: Sequence[bytes], rate: float, seconds: float, name: str) -> Row:
    """Send requests at a rate, at random moments as independent clients do, whatever the server does."""
    tally = Tally()
    free = [Connection(*place) for _ in range(CONNECTIONS)]
    room = asyncio.Semaphore(CONNECTIONS)
    moments = random.Random(7)
    running: set[asyncio.Task[None]] = set()

    async def one(number: int, due: float) -> None:
        async with room:
            own = free.pop()
            start = time.perf_counter()
            status = await own.ask(requests[number % len(requests)])
            tally.add(status, time.perf_counter() - start)
            free.append(own)
        tally.late.append(start - due)

    begin = due = time.perf_counter()
    sent = 0
    while due - begin < seconds:
        now = time.perf_counter()
        if due > now:
            await asyncio.sleep(due - now)
        elif sent % 32 == 0:
            await asyncio.sleep(0)  # behind: let answers in all the same
        task = asyncio.create_task(one(sent, due))
        running.add(task)
        task.add_done_callback(running.discard)
        sent += 1
        due += moments.expovariate(rate)
    took = time.perf_counter() - begin
    await asyncio.gather(*running)
    for own in free:
        own.close()
    return tally.row(name, sent, took)


@contextlib.contextmanager
def running_server(model: str, options: Sequence[str]) -> Iterator[tuple[tuple[str, int], str]]:
    """Start the server, and give its place and the model's name once it is ready."""
    command = [sys.executable, "-m", "albertine", "serve", model, "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if line.startswith("{") and (found := json.loads(line))["event"] == "ready":
                    host, _, port = found["url"].removeprefix("http://").rpartition(":")
                    break
            else:
                raise SystemExit("the server did not start; run albertine serve to see why")
            # The log is read on, so that the server does not write it for nobody.
            with subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL):
                try:
                    yield (host, int(port)), found["models"][0]
                finally:
                    process.terminate()
                    process.wait(60)
        finally:
            process.kill()


def http_request(place: tuple[str, int], path: str, body: bytes = b"") -> bytes:
    method = "POST" if body else "GET"
    head = f"{method} {path} HTTP/1.1\r\nHost: {place[0]}:{place[1]}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def read_texts(file: Path | None) -> list[str]:
    """Return the lines of a file, or made-up texts of mixed lengths."""
    if file is not None:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    generator = random.Random(5)
    return [
        " ".join(generator.choices(WORDS, k=min(120, max(2, round(generator.lognormvariate(2.7, 0.7))))))
        for _ in range(2000)
    ]


async def fetch(place: tuple[str, int], path: str) -> str:
    reader, writer = await asyncio.open_connection(*place)
    writer.write(http_request(place, path).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    data = await reader.read()
    writer.close()
    return data.partition(b"\r\n\r\n")[2].decode()


async def memory(place: tuple[str, int]) -> float:
    """Return the server's resident memory in MB, as /metrics has it."""
    text = await fetch(place, "/metrics")
    (line,) = [one for one in text.splitlines() if one.startswith("process_resident_memory_bytes ")]
    return float(line.split()[1]) / 1e6


async def measure(place: tuple[str, int], name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    texts = read_texts(arguments.texts)
    capabilities = json.loads(await fetch(place, f"/v1/models/{name}"))["capabilities"]
    verb, field = ("predict", "inputs") if "predict" in capabilities else ("encode", "texts")
    count = arguments.per_request
    requests = [
        http_request(place, f"/v1/models/{name}/{verb}", json.dumps({field: texts[first : first + count]}).encode())
        for first in range(0, len(texts) - count + 1, count)
    ]
    rows = [await closed_loop(place, requests, clients, arguments.seconds) for clients in CLIENTS]
    capacity = max(row.answered for row in rows)
    if not capacity:
        raise SystemExit(f"no request was answered: {rows}")
    for share in SHARES:
        label = f"open, {share:g} x capacity"
        rows.append(await open_loop(place, requests, share * capacity, arguments.seconds, label))
    found: dict[str, Any] = {
        "benchmark": "serving",
        "model": arguments.model,
        "texts_per_request": count,
        "capacity": capacity,
        "rows": [asdict(row) for row in rows],
        "p99_overload_ratio": rows[-1].p99 / rows[-2].p99,
    }
    if arguments.soak:
        seconds = 60 * arguments.soak
        settled = min(60.0, seconds / 10)
        await open_loop(place, requests, SOAK_SHARE * capacity, settled, "soak")
        before = await memory(place)
        rows.append(await open_loop(place, requests, SOAK_SHARE * capacity, seconds - settled, "soak"))
        found |= {"soak": asdict(rows[-1]), "memory_mb": {"beginning": before, "end": await memory(place)}}
    show(rows)
    return found


def show(rows: Sequence[Row]) -> None:
    head = (
        "load",
        "offered/s",
        "answered/s",
        "refused/s",
        "failed",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "refusal p99",
        "late p99",
    )
    print("| " + " | ".join(head) + " |")
    print("|---" + "|---:" * (len(head) - 1) + "|")
    for row in rows:
        numbers = [one for one in asdict(row).values() if not isinstance(one, str)]
        print("| " + " | ".join([row.load, *("–" if math.isnan(one) else f"{one:,.1f}" for one in numbers)]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model folder or an encoder")
    parser.add_argument("--seconds", type=float, default=10.0, help="of every load")
    parser.add_argument("--texts", type=Path, help="a file with a text a line; made-up ones without it")
    parser.add_argument("--per-request", type=int, default=1, help="texts of a request")
    parser.add_argument("--soak", type=float, default=0.0, help="minutes at half of the capacity")
    own = sys.argv[1:]
    rest = own.index("--") if "--" in own else len(own)
    arguments = parser.parse_args(own[:rest])
    with running_server(arguments.model, own[rest + 1 :]) as (place, name):
        found = asyncio.run(measure(place, name, arguments))
    if "memory_mb" in found:
        print(f"resident memory: {found['memory_mb']['beginning']:.1f} MB at first, {found['memory_mb']['end']:.1f} MB")
    print(f"requests without an answer: {sum(row['failed'] for row in found['rows'])}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
