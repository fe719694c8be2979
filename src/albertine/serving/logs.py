"""The server's log: JSON Lines on stderr, written by a thread of their own.

A pipe that nobody reads fills up, and who writes to it stands still; so the threads that answer hand their lines over,
and where the writer does not keep up, lines are left out and counted.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

__all__ = ["json_line", "json_logging"]

_LINES = 10_000
_PAUSE = 0.05
_LAST_SECONDS = 1.0
_NAMES = ("albertine", "uvicorn.error")


def json_line(record: logging.LogRecord) -> str:
    """Return a log record as one line of JSON: time, level, event, and the fields that came with it."""
    line: dict[str, object] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
    }
    fields = getattr(record, "fields", None)
    if fields is None:
        line |= {"event": "message", "message": record.getMessage()}
    else:
        line |= {"event": record.getMessage(), **fields}
    if record.exc_info and record.exc_info[0] is not None:
        line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
    return json.dumps(line, ensure_ascii=True)


class _Lines(logging.Handler):
    """Keeps lines until they are written, and leaves out those for which there is no room."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[str] = deque()
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, written out where it arises: what it says is then what was true."""
        if len(self._waiting) >= _LINES:
            self._left_out += 1
            return
        if self._left_out:
            said = f"{self._left_out} lines were left out: nobody read the log fast enough"
            self._waiting.append(json.dumps({"level": "warning", "event": "message", "message": said}))
            self._left_out = 0
        self._waiting.append(json_line(record))

    def write(self, stream: TextIO, over: threading.Event) -> None:
        """Write what has come, some times a second, until it is over; runs on a thread of its own.

        Nobody wakes the thread for a line: that would hand Python's lock over to it once a request.
        """
        last = False
        while not last:
            last = over.wait(_PAUSE)
            lines = []
            while self._waiting:
                lines.append(self._waiting.popleft() + "\n")
            with contextlib.suppress(OSError, ValueError):  # a log that cannot be written stops no request
                stream.write("".join(lines))
                stream.flush()


@contextlib.contextmanager
def json_logging(stream: TextIO | None = None) -> Iterator[None]:
    """Write all messages of the package and of the HTTP library as JSON Lines for as long as the block runs.

    Args:
        stream: where to; None for stderr.
    """
    handler, over = _Lines(), threading.Event()
    writer = threading.Thread(target=handler.write, args=(stream or sys.stderr, over), name="log", daemon=True)
    loggers = [logging.getLogger(name) for name in _NAMES]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in loggers]
    for one in loggers:
        one.handlers, one.propagate = [handler], False
    loggers[0].setLevel(logging.INFO)
    loggers[1].setLevel(logging.WARNING)
    writer.start()
    try:
        yield
    finally:
        for one, handlers, level, propagate in before:
            one.handlers, one.propagate = handlers, propagate
            one.setLevel(level)
        over.set()
        writer.join(_LAST_SECONDS)  # no longer, where nobody reads
