"""Predictions for a list of any length, in its order, as they are ready: NDJSON or server-sent events.

The body is read whole before the first answer: most clients write everything before they read anything, and with both
sides waiting for the other to read, neither would ever go on.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from starlette.responses import StreamingResponse

from albertine.records import Example
from albertine.serving.answers import prediction
from albertine.serving.asking import await_job
from albertine.serving.bodies import NDJSON
from albertine.serving.inputs import example_of
from albertine.serving.jobs import Answered, Job
from albertine.serving.problems import Problem, problem_of
from albertine.serving.records import RequestRecord
from albertine.serving.schemas import Input, StreamedError, StreamedPrediction, StreamEnd
from albertine.serving.served import ServedModel
from albertine.serving.service import Service, check_room, overloaded
from albertine.serving.worker import Overloaded, Worker

__all__ = ["EVENTS", "StreamForm", "streamed"]

_LOG = logging.getLogger("albertine")

EVENTS = "text/event-stream"
StreamForm = Literal["ndjson", "events"]

_WINDOW = 64
"""Inputs that go into the queue together: enough to fill a micro-batch, few enough to be answered soon."""
_AHEAD = 2
"""Windows in the queue at a time: one is computed while another is written out."""


@dataclass(slots=True)
class _Window:
    """Some inputs of a stream, in their order."""

    first: int
    """The index of the first of them."""
    problems: dict[int, Problem] = field(default_factory=dict)
    """What is wrong with an input, by its index."""
    asked: dict[int, int] = field(default_factory=dict)
    """The place in the job of every other one, by its index."""
    job: Job | None = None
    worker: Worker | None = None


def streamed(
    service: Service,
    model: ServedModel,
    inputs: Iterable[Input | Problem],
    form: StreamForm,
    *,
    scores: bool,
    record: RequestRecord,
) -> StreamingResponse:
    """Return the answer to a stream.

    Args:
        service: for the limits; counts the stream.
        model: what is asked. After a reload the rest is answered by the new one.
        inputs: of any number; a problem stands for a line that was none.
        form: how answers are written.
        scores: whether the probability of every label was asked for.
        record: of the request.

    Raises:
        Problem: there are too many streams already.
    """
    check_room("streams", service.streams, service.options.max_streams)
    windows = _Stream(service, model, iter(inputs), form, scores=scores, record=record)
    # Proxies that gather answers before they pass them on are told not to.
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(windows.run(), headers=headers, media_type=NDJSON if form == "ndjson" else EVENTS)


class _Stream:
    """One stream on its way; arguments as `streamed` has them."""

    def __init__(
        self,
        service: Service,
        model: ServedModel,
        inputs: Iterator[Input | Problem],
        form: StreamForm,
        *,
        scores: bool,
        record: RequestRecord,
    ) -> None:
        self.service, self.model, self.inputs, self.form = service, model, inputs, form
        self.scores, self.record = scores, record
        self.index = 0
        self.answered = 0
        self.failed = 0
        self.logged = False
        """Whether a fault of the server's has been written to the log; the first one stands for all."""
        self.broken: Problem | None = None
        """Why nothing more is computed, once that is so."""

    async def run(self) -> AsyncIterator[bytes]:
        """Yield the lines of one window after another."""
        waiting: deque[_Window] = deque()
        self.service.streams += 1
        try:
            while True:
                while len(waiting) < _AHEAD and (window := self._next_window()) is not None:
                    waiting.append(window)
                if not waiting:
                    break
                yield await self._lines(waiting.popleft())
            if self.form == "events":
                end = StreamEnd(answered=self.answered, failed=self.failed)
                yield b"event: done\ndata: " + end.model_dump_json().encode() + b"\n\n"
        finally:  # also where the client went away
            self.service.streams -= 1
            for one in waiting:
                if one.job is not None and one.worker is not None:
                    one.worker.drop(one.job)

    def _next_window(self) -> _Window | None:
        """Put the next inputs into the queue; None where there are no more."""
        taken = list(islice(self.inputs, _WINDOW))
        if not taken:
            return None
        window = _Window(first=self.index)
        options = self.service.options
        examples: list[Example] = []
        costs: list[int] = []
        try:
            if self.broken is not None:
                raise self.broken
            generation = self.service.generation(self.model)
            for index, one in enumerate(taken, start=self.index):
                try:
                    if isinstance(one, Problem):
                        raise one
                    example, cost = example_of(one, generation.opened.input, options, where=f"input {index}")
                except Problem as problem:
                    window.problems[index] = problem
                    continue
                window.asked[index] = len(examples)
                examples.append(example)
                costs.append(cost)
            if examples:
                window.worker = generation.worker
                name = "predict_pair" if examples[0].text_pair is not None else "predict"
                window.job = Job(
                    generation.operation(name), examples, costs, deadline=time.monotonic() + options.timeout
                )
                window.worker.submit(window.job, admitted=True)
        except Overloaded as error:
            self._break(window, overloaded(error, self.model.name), len(taken))
        except Problem as problem:
            self._break(window, problem, len(taken))
        self.index += len(taken)
        return window

    def _break(self, window: _Window, problem: Problem, count: int) -> None:
        """Answer a window, and all after it, with what keeps them from being computed."""
        self.broken = problem
        window.job, window.asked = None, {}
        for index in range(window.first, window.first + count):
            window.problems.setdefault(index, problem)

    async def _lines(self, window: _Window) -> bytes:
        """Wait for a window and write it out."""
        job = window.job
        if job is not None and window.worker is not None:
            try:
                await await_job(window.worker, job)
                self.record.worked(job)
            except Problem as late:
                self._break(window, late, len(window.asked) + len(window.problems))
        pieces = []
        for index in sorted({*window.problems, *window.asked}):
            problem = window.problems.get(index)
            if problem is None and job is not None:
                outcome = job.outcomes[window.asked[index]]
                if isinstance(outcome, Answered):
                    self.answered += 1
                    found = StreamedPrediction(index=index, prediction=prediction(outcome, scores=self.scores))
                    pieces.append(self._line("prediction", found.model_dump_json(exclude_none=True)))
                    continue
                problem = problem_of(outcome.error, where=f"input {index}")
                if problem.status == 500 and not self.logged:
                    self.logged = True
                    _LOG.error("request %s failed", self.record.id, exc_info=outcome.error)
            assert problem is not None, "an input is asked or refused"
            self.failed += 1
            wrong = StreamedError(index=index, error=problem.detail(self.record.id))
            pieces.append(self._line("error", wrong.model_dump_json(exclude_none=True)))
        return b"".join(pieces)

    def _line(self, event: str, document: str) -> bytes:
        if self.form == "ndjson":
            return document.encode() + b"\n"
        return f"event: {event}\ndata: {document}\n\n".encode()
