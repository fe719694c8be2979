"""The inference thread of a model: a queue of requests in front, micro-batches across them behind.

All that is a model's work happens on its one thread, tokenization too. Tokenizing on a pool of request threads would
overlap with products that release Python's global lock, and cost more than it brings: a small encoder is some hundred
short operations, after each of which the inference thread has to get the lock back, and any thread that runs Python or
NumPy code meanwhile makes it wait for up to a switch interval every time. Tokens are also cut faster many texts at a
time, as a micro-batch has them. So the queue counts estimated tokens, which cost nothing to find: a text's bytes in
UTF-8 divided by a constant come near in English and in Chinese alike, and as the speed is measured in the same unit, a
constant error of the estimate cancels.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from albertine.serving.jobs import Failed, Job, Outcome
from albertine.serving.speed import Speed

__all__ = ["BatchReport", "Overloaded", "Worker", "estimated_tokens"]

_LOG = logging.getLogger("albertine")

_BYTES_A_TOKEN = 3.5
"""A Chinese character has three bytes and is a token; an English token has four to five with its space."""
_A_TEXT = 8
"""What a text costs beside its tokens: its special tokens, and its share of everything that is done once a text."""
_SHARE_OF_WAIT = 0.5
"""A micro-batch takes no more than this share of the longest wait, so that who comes next starts soon."""
_LEAST_BATCH = 1024
"""… but is never cut below this: what every micro-batch costs by itself would become most of it."""


def estimated_tokens(encoded_bytes: int) -> int:
    """Return what a text of so many bytes in UTF-8 costs, in estimated tokens."""
    return _A_TEXT + int(encoded_bytes / _BYTES_A_TOKEN)


class Overloaded(Exception):
    """A request that would wait too long, or find the queue full.

    Args:
        reason: what is exceeded.
        wait: seconds that it would have waited.
        retry_after: seconds after which it may be taken.
    """

    def __init__(self, reason: str, *, wait: float, retry_after: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What a micro-batch was, for the metrics."""

    texts: int
    cost: int
    seconds: float


class Worker:
    """A queue of jobs and the thread that works it off.

    Requests take turns: a micro-batch is filled from the front of the queue, and a request that has more than fits goes
    to the back with the rest, so that a long list does not keep a single text waiting.

    Args:
        name: the model's, for messages.
        batch_tokens: the most that a micro-batch takes up.
        batch_wait: seconds that an idle model waits for company.
        max_wait: seconds that a new request may be expected to wait.
        max_queue: jobs that wait at most.
        speed: what is known of the model's speed.
        report: told of every micro-batch, on the inference thread.
    """

    def __init__(
        self,
        name: str,
        *,
        batch_tokens: int,
        max_wait: float,
        max_queue: int,
        batch_wait: float = 0.0,
        speed: Speed | None = None,
        report: Callable[[BatchReport], None] = lambda one: None,
    ) -> None:
        self.name = name
        self.speed = speed or Speed()
        self._batch_tokens, self._batch_wait = batch_tokens, batch_wait
        self._max_wait, self._max_queue = max_wait, max_queue
        self._report = report
        self._condition = threading.Condition()
        self._queue: deque[Job] = deque()
        self._remaining = 0
        self._shares = 0
        self._full = float(batch_tokens)
        self._running = 0
        self._running_since = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"inference-{name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def waiting_jobs(self) -> int:
        """Jobs in the queue."""
        return len(self._queue)

    @property
    def waiting_tokens(self) -> int:
        """Estimated tokens in the queue."""
        return self._remaining

    def expected_wait(self) -> float:
        """Return the seconds after which a job that comes now has its first item taken."""
        with self._condition:
            return self._expected_wait(self._shares)

    def submit(self, job: Job, *, admitted: bool = False) -> None:
        """Put a job into the queue; called on the event loop.

        An idle model takes any job. Otherwise its first item must be expected to be taken within `max_wait`, and its
        last one to be answered by its deadline.

        Args:
            job: with at least one item.
            admitted: part of a stream that was taken before, so that it is not refused half-way.

        Raises:
            Overloaded: it is not taken.
        """
        with self._condition:
            if self._closed:
                raise Overloaded("the server is being stopped", wait=0.0, retry_after=1)
            if not admitted and (self._queue or self._running):
                self._admit(job)
            job.queued = True
            self._queue.append(job)
            self._remaining += job.remaining
            self._shares += self._share(job)
            self._condition.notify()

    def check(self) -> None:
        """Refuse a request whose body has not been read, where any would be refused; called on the event loop.

        Raises:
            Overloaded: a job would not be taken now.
        """
        with self._condition:
            if self._queue or self._running:
                self._admit_wait()

    def drop(self, job: Job) -> None:
        """Take a job out of the queue, for which nobody waits any more; what is being computed is computed."""
        with self._condition:
            job.dropped = True
            if job.queued:
                self._leave(job)
                self._queue.remove(job)

    def close(self) -> None:
        """Take no more jobs and end the thread once the queue is empty; returns at once."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended."""
        self._thread.join(timeout)

    def _admit(self, job: Job) -> None:
        self._admit_wait()
        own = job.remaining
        # A job of one micro-batch has its turn after a share of every other; a longer one shares with them to the end.
        before = self._shares if own <= self._batch_tokens else self._remaining
        finished = self._expected_wait(before) + self.speed.seconds(own)
        allowed = job.deadline - time.monotonic()
        if finished > allowed:
            raise Overloaded(
                f"this would be answered after {finished:.1f} s",
                wait=finished,
                retry_after=max(1, math.ceil(finished - allowed)),
            )

    def _admit_wait(self) -> None:
        wait = self._expected_wait(self._shares)
        if self._queue and not self._queue[0].started:
            # What the next one has waited already is no estimate: it holds where the model has just become slower.
            wait = max(wait, time.monotonic() - self._queue[0].submitted)
        retry_after = max(1, math.ceil(wait - self._max_wait))
        if len(self._queue) >= self._max_queue:
            raise Overloaded(f"{len(self._queue)} requests wait already", wait=wait, retry_after=retry_after)
        if wait > self._max_wait:
            raise Overloaded(f"this would wait for {wait:.1f} s", wait=wait, retry_after=retry_after)

    def _expected_wait(self, cost: float) -> float:
        left = 0.0
        if self._running:
            left = max(0.0, self.speed.seconds(self._running) - (time.monotonic() - self._running_since))
        return left + self.speed.seconds(cost)

    def _share(self, job: Job) -> int:
        """Return what a job gets at most before its neighbour has its turn."""
        return min(job.remaining, self._batch_tokens)

    def _leave(self, job: Job) -> None:
        job.queued = False
        self._remaining -= job.remaining
        self._shares -= self._share(job)

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            parts, cost = batch
            begin = time.monotonic()
            try:
                texts = self._compute(parts, begin)
            except BaseException:  # a fault of ours: the requests run into their deadlines, the next ones are answered
                _LOG.exception("the inference thread of %s met a failure of its own", self.name)
                texts = 0
            seconds = time.monotonic() - begin
            with self._condition:
                self._running = 0
                self.speed.learn(cost, seconds, full=self._full)
            self._report(BatchReport(texts=texts, cost=cost, seconds=seconds))

    def _next_batch(self) -> tuple[list[tuple[Job, int]], int] | None:
        """Wait for jobs and fill a micro-batch; every part is a job and how many items were taken before it."""
        with self._condition:
            while True:
                while not self._queue:
                    if self._closed:
                        return None
                    self._condition.wait()
                if self._batch_wait and self._remaining < self._batch_tokens and not self._closed:
                    self._condition.wait_for(
                        lambda: self._remaining >= self._batch_tokens or self._closed, self._batch_wait
                    )
                parts, cost = self._fill()
                if parts:
                    self._running, self._running_since = cost, time.monotonic()
                    return parts, cost

    def _fill(self) -> tuple[list[tuple[Job, int]], int]:
        now = time.monotonic()
        self._full = min(self._batch_tokens, max(_LEAST_BATCH, self.speed.cost(self._max_wait * _SHARE_OF_WAIT)))
        parts: list[tuple[Job, int]] = []
        others: list[Job] = []
        unfinished: list[Job] = []
        total = 0
        while self._queue and total < int(self._full):
            job = self._queue.popleft()
            if job.deadline <= now:
                self._leave(job)
                continue
            if parts and job.operation is not parts[0][0].operation:
                others.append(job)
                continue
            before = job.taken
            share = self._share(job)
            cost = job.take(int(self._full) - total, first=not parts)
            if not cost:
                others.append(job)
                break
            self._remaining -= cost
            self._shares += self._share(job) - share
            job.started = job.started or now
            total += cost
            parts.append((job, before))
            if job.taken < len(job.items):
                unfinished.append(job)
            else:
                job.queued = False
        self._queue.extendleft(reversed(others))
        self._queue.extend(unfinished)
        return parts, total

    def _compute(self, parts: Sequence[tuple[Job, int]], begin: float) -> int:
        """Run a micro-batch and hand every job its outcomes; return the number of items."""
        slices = [(job, job.items[before : job.taken]) for job, before in parts if not job.dropped]
        if not slices:
            return 0
        outcomes = _outcomes(slices)
        seconds = time.monotonic() - begin
        finished: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        for (job, _), found in zip(slices, outcomes, strict=True):
            job.outcomes += found
            job.computing += seconds
            if len(job.outcomes) == len(job.items):
                finished.setdefault(job.loop, []).append(job)
        for loop, jobs in finished.items():
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everyone who waited
                loop.call_soon_threadsafe(_finish, jobs)
        return sum(map(len, outcomes))


def _finish(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if not job.done.done():
            job.done.set_result(None)


def _outcomes(slices: Sequence[tuple[Job, Sequence[object]]]) -> list[list[Outcome]]:
    """Answer all in one go; where that fails, every request by itself, and then every item of the one that fails."""
    operation = slices[0][0].operation
    items = [item for _, own in slices for item in own]
    try:
        answers = iter(operation.run(items))
        return [[next(answers) for _ in own] for _, own in slices]
    except Exception as error:
        if len(items) == 1:
            return [[Failed(error)]]
    if len(slices) > 1:
        return [_outcomes([one])[0] for one in slices]
    job = slices[0][0]
    return [[outcome for item in items for outcome in _outcomes([(job, [item])])[0]]]
