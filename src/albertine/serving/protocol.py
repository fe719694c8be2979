"""HTTP connections that do not wait for ever: for a client that sends no headers, or that does not read its answer."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["timed_protocol"]


def timed_protocol(header_timeout: float, write_timeout: float) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with two limits of time that it does not have.

    Args:
        header_timeout: seconds from a connection's opening, or from the first byte after an answer, to the end of the
            headers. What is left of the body of a request that was refused has to come in that time too.
        write_timeout: seconds that a full send buffer may stay so.
    """

    class TimedProtocol(H11Protocol):
        """Cuts a connection off when its client is late."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._headers_due: asyncio.TimerHandle | None = None
            self._reading_due: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._headers_due = self.loop.call_later(header_timeout, transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            if self._reading_due is not None:
                self._reading_due.cancel()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._disarm()
            elif self._headers_due is None:
                self._headers_due = self.loop.call_later(header_timeout, self.transport.abort)

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._reading_due is None:
                self._reading_due = self.loop.call_later(write_timeout, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._reading_due is not None:
                self._reading_due.cancel()
                self._reading_due = None

        def _disarm(self) -> None:
            if self._headers_due is not None:
                self._headers_due.cancel()
                self._headers_due = None

    return TimedProtocol
