"""Ctrl-C, SIGTERM and a closed terminal, taken between two steps instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupts"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Remembers a signal until the loop asks; a second one no longer waits."""

    def __init__(self) -> None:
        self._asked = False
        self._at_once = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handle the signals inside the block; outside the main thread Python allows no handlers, and none are set."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal raise KeyboardInterrupt immediately inside the block, which changes nothing worth keeping."""
        self.check()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def check(self) -> None:
        """Raise the KeyboardInterrupt of a signal that came since.

        Raises:
            KeyboardInterrupt: one came.
        """
        if self._asked:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._at_once or self._asked:
            raise KeyboardInterrupt
        self._asked = True
