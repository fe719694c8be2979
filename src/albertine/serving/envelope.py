"""The outermost layer of every request: its id, its line in the log, the headers of its answer, and every failure.

Plain ASGI: a layer that reads and writes messages as they pass costs some microseconds, and what looks for a client
that went away works through it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers

from albertine.serving.bodies import ClientGone
from albertine.serving.problems import Problem, problem_of, problem_response
from albertine.serving.records import RequestRecord, request_id
from albertine.serving.service import Service

__all__ = ["App", "Envelope", "Receive", "Scope", "Send"]

_LOG = logging.getLogger("albertine.requests")
_ERRORS = logging.getLogger("albertine")

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
]
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY_HOST = frozenset({"/health", "/ready"})
"""Asked by address, from whatever looks after the server."""
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]*))(?::\d*)?")
_GONE = 499


class Envelope:
    """The outermost layer.

    Args:
        app: what is inside.
        service: for the options and the metrics.
    """

    def __init__(self, app: App, service: Service) -> None:
        self.app, self.service = app, service
        options = service.options
        self._hosts: frozenset[str] | None = None
        if options.loopback or options.allow_hosts:
            self._hosts = _LOOPBACK | {options.host.lower()} | {name.lower() for name in options.allow_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an ASGI application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        client = scope.get("client")
        record = RequestRecord(
            id=request_id(scope["headers"]), method=scope["method"], client=client[0] if client else ""
        )
        scope.setdefault("state", {})["record"] = record
        if len(scope["path"]) > 1 and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        head = scope["method"] == "HEAD"
        if head:  # what GET would say, without the body
            scope = {**scope, "method": "GET"}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                own = [(name, value) for name, value in _HEADERS]
                own.append((b"x-request-id", record.id.encode()))
                if record.texts:
                    spent = f"queue;dur={1000 * record.waited:.2f}, model;dur={1000 * record.computing:.2f}"
                    own.append((b"server-timing", spent.encode()))
                if not any(name.lower() == b"cache-control" for name, _ in message["headers"]):
                    own.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*message["headers"], *own]}
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            try:
                self._check_host(scope)
                await self.app(scope, receive, answer)
            except ClientGone:
                record.status = _GONE
            except Exception as error:
                if record.status:  # it has begun, and can only be broken off
                    raise
                problem = problem_of(error)
                if problem.status == 500:
                    _ERRORS.error("request %s failed", record.id, exc_info=error.__cause__ or error)
                self.service.metrics.refused(problem.kind)
                await problem_response(problem, record.id)(scope, receive, answer)
        finally:
            self.service.release(record)
            record.route = record.route or getattr(scope.get("route"), "path", "none")
            self._log(record)

    def _check_host(self, scope: Scope) -> None:
        """Refuse names that are not the server's own: a web page can make its name mean this address (DNS rebinding).

        Raises:
            Problem: another name.
        """
        if self._hosts is None or scope["path"] in _ANY_HOST:
            return
        given = Headers(scope=scope).get("host", "")
        found = _HOST.fullmatch(given)
        name = "" if found is None else (found[1] or found[2]).lower().rstrip(".")
        if name not in self._hosts:
            raise Problem(
                421,
                "wrong_host",
                "the server does not answer to this name",
                where="Host",
                received=given,
                allowed=", ".join(sorted(self._hosts)),
                next_step="Add the name with --allow-host",
            )

    def _log(self, record: RequestRecord) -> None:
        seconds = time.monotonic() - record.arrived
        self.service.metrics.answered(record, seconds)
        line: dict[str, object] = {
            "id": record.id,
            "method": record.method,
            "route": record.route,
            "model": record.model,
            "status": record.status,
            "texts": record.texts,
            "tokens": record.tokens,
            "wait_ms": round(1000 * record.waited, 2),
            "compute_ms": round(1000 * record.computing, 2),
            "total_ms": round(1000 * seconds, 2),
            "client": record.client,
        }
        if record.key:
            line["key"] = record.key
        if self.service.options.log_texts:
            line["inputs"] = record.shown
        _LOG.info("request", extra={"fields": line})
