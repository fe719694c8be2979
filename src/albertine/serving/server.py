"""`albertine.serve`: the process around the application, from the socket to the last signal.

One process, one event loop, and one inference thread a model: a second process would hold every model a second time
and share the same cores. More machines, or more cores than a model can use, are for several processes behind a proxy;
docs/serving.md says how.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path

from albertine import registry
from albertine.errors import ConfigError, MissingDependencyError

try:
    import fastapi  # noqa: F401
    import prometheus_client  # noqa: F401
    import uvicorn
except ImportError as error:
    raise MissingDependencyError(str(error.name), extra="serve", feature="the server") from error

from albertine.serving.app import create_app
from albertine.serving.keys import read_keys
from albertine.serving.logs import json_logging
from albertine.serving.operations import Explainer
from albertine.serving.options import ServerOptions
from albertine.serving.problems import Problem
from albertine.serving.protocol import timed_protocol
from albertine.serving.service import Service
from albertine.serving.sources import model_sources
from albertine.settings import prepare_computing

__all__ = ["serve"]

_LOG = logging.getLogger("albertine")

_INTERRUPTED = 130
_SWITCH_SECONDS = 0.0005
"""How long a thread may run Python code while another waits to; Python's own 5 ms would be added to an inference at
every operation after which it finds the event loop busy."""
_BACKLOG = 2048
"""Connections that wait to be accepted."""
_LAST_SECONDS = 5
"""For connections to close, once every request that was taken is answered or given up."""


def serve(
    models: str | Path | Sequence[str | Path],
    *,
    indexes: Sequence[str | Path] = (),
    options: ServerOptions | None = None,
) -> None:
    """Answer HTTP requests with models until the process is told to stop.

    SIGTERM and SIGINT stop it: nothing new is taken, what was taken is answered, and the call returns; a second signal
    ends the process at once with 130. SIGHUP reads all folders anew. Needs `pip install "albertine[serve]"`.

    Args:
        models: each a model folder, an encoder, or NAME=FOLDER.
        indexes: each an index folder, or NAME=FOLDER; with the name of an encoder that is served, it is searched there.
        options: limits, keys and switches.

    Raises:
        UserError: nothing to serve, a folder that cannot be opened, an address that cannot be listened on.
        ConfigError: two models of one name, an option out of range, a key that cannot be used.
    """
    chosen = options or ServerOptions()
    named = [models] if isinstance(models, str | Path) else list(models)
    service = Service(
        model_sources(named, indexes), chosen, keys=read_keys(chosen), explainers=_registered_explainers()
    )
    prepare_computing(answering=True)
    with _listening(chosen) as listener:
        port = listener.getsockname()[1]
        if not chosen.loopback and not service.keys.needed:
            _LOG.warning(
                "everyone who reaches %s:%d can use the models: there are no keys (--api-keys FILE asks for one)",
                chosen.host,
                port,
            )
        before = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_SECONDS)
        try:
            with json_logging():
                asyncio.run(_Process(service, listener).run())
        finally:
            sys.setswitchinterval(before)


class _Process:
    """A server from its start to its end.

    Args:
        service: with models that are not loaded yet.
        listener: what it listens on.
    """

    def __init__(self, service: Service, listener: socket.socket) -> None:
        self.service = service
        self.listener = listener
        options = service.options
        self.server = _Server(
            uvicorn.Config(
                create_app(service),
                http=timed_protocol(options.header_timeout, options.write_timeout),
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(options.proxies),
                forwarded_allow_ips=list(options.proxies),
                limit_concurrency=2 * options.max_requests,  # a last resort: its answer has no JSON
                timeout_graceful_shutdown=_LAST_SECONDS,
            )
        )
        self.failure: Exception | None = None
        self.signals = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Listen, load the models, answer until a signal comes, and raise what kept a model from being loaded."""
        if threading.current_thread() is threading.main_thread():  # no other can be told of signals
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGINT, self._stop)
            loop.add_signal_handler(signal.SIGTERM, self._stop)
            loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._start(self._load())
        try:
            await self.server.serve(sockets=[self.listener])
        finally:
            self.service.close()
        if self.failure is not None:
            raise self.failure

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _load(self) -> None:
        """Open the models while the server already says that it is alive and not ready."""
        host, port = self.listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        try:
            await asyncio.to_thread(self.service.load)
        except Exception as error:
            self.failure = error
            self.server.should_exit = True
            return
        fields = {"url": f"http://{shown}:{port}", "models": list(self.service.models), "process": os.getpid()}
        _LOG.info("ready", extra={"fields": fields})

    def _stop(self) -> None:
        """Stop taking requests; the second time, end at once."""
        self.signals += 1
        if self.signals > 1:
            os._exit(_INTERRUPTED)
        self.service.stopping = True
        _LOG.info("stopping", extra={"fields": {"active": self.service.active}})
        self._start(self._drain())

    async def _drain(self) -> None:
        """Wait for the requests that were taken, listening still, so that new ones get an answer that says why."""
        deadline = asyncio.get_running_loop().time() + self.service.options.grace
        while self.service.active and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        if self.service.active:
            _LOG.warning("%d requests are given up: they took longer than --grace", self.service.active)
        self.server.should_exit = True

    def _reload(self) -> None:
        self._start(self._reload_all())

    async def _reload_all(self) -> None:
        for one in self.service.models.values():
            try:
                await one.reload()
            except Problem as problem:
                _LOG.error("%s was not loaded anew: %s", one.name, problem)
            except Exception:
                _LOG.exception("%s was not loaded anew", one.name)


class _Server(uvicorn.Server):
    """uvicorn's server without its handling of signals: it would stop listening at the first one."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `_Process`."""
        yield


def _registered_explainers() -> dict[str, Explainer]:
    """Return the explainers that are installed.

    Raises:
        ConfigError: what is registered is none.
    """
    found: dict[str, Explainer] = {}
    for name in registry.explainers.names():
        one = registry.explainers.get(name)
        if not isinstance(one, Explainer):
            raise ConfigError(f"what is registered as the explainer {name!r} is none", received=type(one).__name__)
        found[name] = one
    return found


@contextlib.contextmanager
def _listening(options: ServerOptions) -> Iterator[socket.socket]:
    """Open the socket before anything is loaded, so that a port that is taken is said at once.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    listener: socket.socket | None = None
    try:
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # With the protocol's number, which connections inherit: without it asyncio does not know them for TCP, leaves
        # Nagle's algorithm on, and the second part of an answer waits 40 ms for the first one's acknowledgement.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # back at once on a port that was just used
        listener.bind(address)
        listener.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        raise ConfigError(
            "this address cannot be listened on",
            where="host and port",
            received=f"{options.host}:{options.port}: {getattr(error, 'strerror', None) or error}",
            next_step="Choose another port, or 0 for any that is free",
        ) from None
    with listener:
        yield listener
