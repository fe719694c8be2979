"""A name under which a model answers, and how another one takes its place while requests come."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from albertine.errors import AlbertineError
from albertine.serving.jobs import Operation
from albertine.serving.metrics import Metrics
from albertine.serving.opening import Opened, open_source, warm_up
from albertine.serving.operations import Explainer
from albertine.serving.options import ServerOptions
from albertine.serving.problems import Problem
from albertine.serving.sources import ModelSource
from albertine.serving.speed import Speed
from albertine.serving.state_schemas import ModelState
from albertine.serving.worker import Worker

__all__ = ["Generation", "ServedModel"]

_LOG = logging.getLogger("albertine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One opening of a model, with the thread that answers for it."""

    number: int
    opened: Opened
    worker: Worker

    def operation(self, name: str) -> Operation:
        """Return what does the work; the caller has made sure that there is one."""
        return self.opened.operations[name]


class ServedModel:
    """A name, and the model that answers under it now.

    Args:
        source: what it is opened from, again at every reload.
        explainer: what explains its answers.
        options: of the server.
        metrics: told of its micro-batches.
    """

    def __init__(
        self, source: ModelSource, *, explainer: Explainer | None, options: ServerOptions, metrics: Metrics
    ) -> None:
        self.source = source
        self.name = source.name
        self.current: Generation | None = None
        self._explainer, self._options, self._metrics = explainer, options, metrics
        self._reloading = asyncio.Lock()

    @property
    def state(self) -> ModelState:
        """Whether it answers."""
        if self.current is None:
            return "loading"
        return "ready" if self.current.worker.alive else "failed"

    def load(self) -> None:
        """Open it for the first time and warm it up; takes its time, on any thread but the event loop's.

        Raises:
            AlbertineError: it cannot be opened, or does not answer.
        """
        self.current = self._opened(1)

    async def reload(self) -> float:
        """Open the folder anew beside what answers, let it take over, and return the seconds that it took.

        No request is lost: those that wait are answered by the model that they came for, whose thread ends after the
        last of them.

        Raises:
            Problem: it is being reloaded or opened already, or cannot be; what answered goes on.
        """
        before = self.current
        if before is None or self._reloading.locked():
            raise Problem(
                409, "reload_failed", "this model is being loaded already", received=self.name, next_step="Wait for it"
            )
        async with self._reloading:
            begin = time.monotonic()
            try:
                after = await asyncio.to_thread(self._opened, before.number + 1)
            except AlbertineError as error:
                self._metrics.reloaded(self.name, "failed")
                _LOG.error("%s goes on as it was, it could not be loaded anew: %s", self.name, error)
                raise Problem(
                    409,
                    "reload_failed",
                    f"the model goes on as it was: {error.what}",
                    where=error.where,
                    received=error.received,
                    allowed=error.allowed,
                    next_step=error.next_step,
                ) from None
            except Exception:
                self._metrics.reloaded(self.name, "failed")
                raise
            # Here on the event loop, where requests look up a model and put themselves into its queue in one go, none
            # can come between.
            self.current = after
            before.worker.close()
            self._metrics.reloaded(self.name, "done")
            seconds = time.monotonic() - begin
            _LOG.info("%s was loaded anew in %.1f s, generation %d", self.name, seconds, after.number)
            return seconds

    def _opened(self, number: int) -> Generation:
        options = self._options
        opened = open_source(self.source, options, self._explainer)
        speed = Speed()
        warm_up(opened, speed, full=options.batch_tokens)
        worker = Worker(
            self.name,
            batch_tokens=options.batch_tokens,
            batch_wait=options.batch_wait_ms / 1000,
            max_wait=options.max_wait,
            max_queue=options.max_queue,
            speed=speed,
            report=lambda report: self._metrics.batch(self.name, report),
        )
        return Generation(number=number, opened=opened, worker=worker)
