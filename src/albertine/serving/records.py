"""What is known of a request while it is answered; its line in the log and its numbers in the metrics come from it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from albertine.serving.jobs import Answered, Job

__all__ = ["RequestRecord", "record_of", "request_id"]

_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """One request; filled in on its way."""

    id: str
    """As the client sent it in X-Request-ID, where that can stand in a log; else made here."""
    method: str
    client: str
    """The client's address."""
    arrived: float = field(default_factory=time.monotonic)
    route: str = ""
    """The path with its variables unfilled, such as /v1/models/{name}/predict."""
    model: str = ""
    """A model that is served, else empty."""
    key: str = ""
    """The beginning of the hash of the key that was used."""
    status: int = 0
    """499 where the client went away before the answer."""
    texts: int = 0
    tokens: int = 0
    waited: float = 0.0
    """Seconds in queues."""
    computing: float = 0.0
    """Seconds of the micro-batches that it was part of."""
    held: int = 0
    """Bytes of its body that are held."""
    shown: list[str] = field(default_factory=list)
    """Its texts, where the log is to have them."""

    def worked(self, job: Job) -> None:
        """Take in what a job took."""
        self.texts += len(job.items)
        self.tokens += sum(one.tokens for one in job.outcomes if isinstance(one, Answered))
        self.waited += job.waited
        self.computing += job.computing


def record_of(connection: HTTPConnection) -> RequestRecord:
    """Return the record of a request."""
    record = connection.state.record
    assert isinstance(record, RequestRecord), "every request has one"
    return record


def request_id(headers: Iterable[Sequence[bytes]]) -> str:
    """Return the id that a request came with, where it can stand in a log and a header, else a new one."""
    for name, value in headers:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if _ID.fullmatch(text):
                return text
    return f"{random.getrandbits(64):016x}"
