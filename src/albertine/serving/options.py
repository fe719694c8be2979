"""How the server runs: every limit and every switch, with the reasons for its default."""

from __future__ import annotations

import dataclasses
import ipaddress
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from albertine.errors import ConfigError

__all__ = ["ServerOptions"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How the server runs.

    Raises:
        ConfigError: a value out of range.
    """

    host: str = "127.0.0.1"
    """Address to listen on; the default is reached from this machine alone."""
    port: int = 8000
    """0 for any that is free; the first line of the log says which."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """Of the matrix products of task models. Vectors are always made in fp32: they are compared with kept ones."""
    depth: int | Literal["auto"] | None = None
    """Passes that task models take, auto: as many as a text needs; None for all. Less takes models trained for it."""
    batch_tokens: int = 4096
    """The most that one micro-batch takes up, in estimated tokens."""
    batch_wait_ms: float = 0.0
    """How long an idle model waits for company before it computes; more throughput at the cost of every latency."""
    max_wait: float = 0.5
    """Seconds that a request may be expected to wait for its model; beyond, it is refused at once."""
    max_queue: int = 1024
    """Requests that wait for one model at most, whatever they are expected to take."""
    timeout: float = 30.0
    """Seconds from a request's arrival to its answer; beyond, it is dropped and answered with 503."""
    max_body: int = 8 * _MIB
    """Bytes of a request's body."""
    max_stream: int = 64 * _MIB
    """Bytes of the body of a stream (NDJSON), which may hold any number of texts."""
    max_held: int = 512 * _MIB
    """Bytes of all bodies that are held at a time."""
    max_texts: int = 512
    """Texts of a request that is no stream."""
    max_characters: int = 100_000
    """Characters of a text."""
    max_requests: int = 1024
    """Requests that are being answered at a time, streams among them."""
    max_streams: int = 32
    """Streams that are being answered at a time."""
    header_timeout: float = 10.0
    """Seconds that a client may take to send the line and the headers of a request."""
    body_timeout: float = 30.0
    """Seconds that a client may take to send the body of a request."""
    write_timeout: float = 30.0
    """Seconds that a client may leave an answer unread before its connection is cut."""
    grace: float = 30.0
    """Seconds that requests which were taken have to finish after a signal to stop."""
    requests_per_minute: int = 0
    """Requests of a key, or of a client's address where there are no keys; 0 for no limit."""
    api_keys: Path | None = None
    """File with one key a line; ALBERTINE_API_KEYS adds more. None of either: no key is asked for."""
    admin_keys: Path | None = None
    """File with keys that may reload models; ALBERTINE_ADMIN_KEYS adds more. None of either: nobody may."""
    metrics_key: bool = False
    """Whether /metrics asks for a key as well."""
    allow_hosts: tuple[str, ...] = ()
    """Names in the Host header that are answered, beside this machine's own on a loopback address."""
    cors: tuple[str, ...] = ()
    """Origins of web pages that may read answers, such as https://example.org; none by default."""
    proxies: tuple[str, ...] = ()
    """Addresses of proxies whose X-Forwarded-For is believed."""
    log_texts: bool = False
    """Write the texts of requests to the log; they may be private."""

    def __post_init__(self) -> None:
        least = {"port": 0, "depth": 1, "batch_wait_ms": 0.0, "grace": 0.0, "requests_per_minute": 0}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            low = least.get(field.name, 1 if isinstance(field.default, int) else 0.001)
            if not (math.isfinite(value) and value >= low):
                raise ConfigError("value out of range", where=field.name, received=value, allowed=f"{low} or more")
        if self.port > 65535:
            raise ConfigError("no such port", where="port", received=self.port, allowed="0 to 65535")
        for origin in self.cors:
            if origin == "*" or not origin.startswith(("http://", "https://")):
                raise ConfigError(
                    "not the origin of a web page", where="cors", received=repr(origin), allowed="https://example.org"
                )

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # another name
            return False
