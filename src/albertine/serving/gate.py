"""Who is let in: keys, limits of rate, and nobody any more while the server stops."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from albertine.serving.envelope import App, Receive, Scope, Send
from albertine.serving.keys import KnownKey
from albertine.serving.problems import Problem
from albertine.serving.rates import network_of
from albertine.serving.records import record_of
from albertine.serving.service import Service

__all__ = ["Gate"]

_MODELS = "/v1/models/"
_ASKING = ("predict", "encode", "search", "explain")
_RELOAD = "/reload"


class Gate:
    """The layer around the routes.

    Args:
        app: the routes.
        service: for the keys, the limits and the count of what is being answered.
    """

    def __init__(self, app: App, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass or refuse it; an ASGI application.

        Raises:
            Problem: it is refused.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        if not _asks_models(path):
            if path == "/metrics" and self.service.options.metrics_key:
                self._check_key(scope, self._known_key(scope))
            await self.app(scope, receive, send)
            return
        known = self._known_key(scope)
        self._check_rate(scope)  # before the key is: so many wrong ones may be tried
        self._check_key(scope, known)
        self.service.check_open()
        name, _, verb = path.removeprefix(_MODELS).partition("/")
        if verb in _ASKING and name in self.service.models:
            # Here, as a refusal must cost little: under ten times too many requests, refusing is most of the work.
            record = record_of(HTTPConnection(scope))
            record.model, record.route = name, f"{_MODELS}{{name}}/{verb}"
            self.service.admit(name)
        self.service.active += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.service.active -= 1

    def _known_key(self, scope: Scope) -> KnownKey | None:
        """Return whose key a request came with; None for a wrong one, and for none."""
        given = _key(Headers(scope=scope))
        known = None if given is None else self.service.keys.known(given)
        if known is not None:
            record_of(HTTPConnection(scope)).key = known.shown
        return known

    def _check_key(self, scope: Scope, known: KnownKey | None) -> None:
        keys = self.service.keys
        reload = scope["method"] == "POST" and scope["path"].endswith(_RELOAD)
        if (keys.needed or (reload and keys.admin)) and known is None:
            raise Problem(
                401,
                "unauthorized",
                "a key that is known is needed",
                where="Authorization",
                allowed="Authorization: Bearer KEY, or X-API-Key: KEY",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if reload and (known is None or not known.admin):
            raise Problem(
                403,
                "forbidden",
                "models are replaced with an admin key only",
                next_step="Use one" if keys.admin else "Start the server with --admin-keys FILE, or send it SIGHUP",
            )

    def _check_rate(self, scope: Scope) -> None:
        rates = self.service.rates
        if rates is None:
            return
        record = record_of(HTTPConnection(scope))
        seconds = rates.take(record.key or network_of(record.client))
        if seconds:
            raise Problem(
                429,
                "rate_limited",
                "too many requests",
                allowed=f"{self.service.options.requests_per_minute} a minute",
                next_step=f"Send it again in {seconds} s",
                retry_after=seconds,
            )


def _asks_models(path: str) -> bool:
    """Say whether a path leads to models, or to what tells of them; the page and what it loads do not."""
    return path.startswith("/v1/") or path in ("/rerank", "/openapi.json")


def _key(headers: Headers) -> bytes | None:
    """Return the key that a request came with."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip().encode("latin-1")
    return headers["x-api-key"].encode("latin-1") if "x-api-key" in headers else None
