"""From checked items to outcomes: into the queue, and out again or away."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fastapi import Request

from albertine.records import Example
from albertine.serving.bodies import ClientGone
from albertine.serving.inputs import text_cost
from albertine.serving.jobs import Answered, Job, Operation, Outcome
from albertine.serving.problems import Problem, problem_of
from albertine.serving.records import record_of
from albertine.serving.served import Generation, ServedModel
from albertine.serving.service import Service, overloaded
from albertine.serving.state_schemas import Capability
from albertine.serving.worker import Overloaded, Worker

__all__ = ["Receive", "ask", "ask_texts", "await_job", "begin", "values"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def begin(service: Service, request: Request, name: str, capability: Capability) -> ServedModel:
    """Find the model that a request is for.

    Raises:
        Problem: there is none, or it does nothing of the kind.
    """
    found = service.model(name, capability)
    record_of(request).model = name
    return found


async def ask(
    service: Service,
    generation: Generation,
    operation: Operation,
    items: Sequence[Any],
    costs: Sequence[int],
    *,
    request: Request,
    where: Callable[[int], str],
) -> list[Answered]:
    """Have a model answer items, and return an answer each.

    Nothing may be awaited between looking up the generation and this call, so that a reload does not come between.

    Args:
        service: for the limit of time, which counts from the request's arrival.
        generation: what answers.
        operation: what it is asked to do.
        items: at least one.
        costs: what each takes, in estimated tokens.
        request: its body has been read: what comes from it next is that the client went away.
        where: the path of an item in the body, by its place.

    Raises:
        Problem: the queue does not take it, it is not answered in time, or an item has no answer.
        ClientGone: the client went away; what was not being computed is not computed.
    """
    record = record_of(request)
    if service.options.log_texts:
        record.shown = [_text(one) for one in items]
    worker = generation.worker
    job = Job(operation, items, costs, deadline=record.arrived + service.options.timeout)
    try:
        worker.submit(job)
    except Overloaded as error:
        raise overloaded(error, worker.name) from None
    await await_job(worker, job, receive=request.receive)
    record.worked(job)
    return values(job.outcomes, where=where)


async def ask_texts(
    service: Service, model: ServedModel, texts: Sequence[str], *, request: Request, where: Callable[[int], str]
) -> list[Answered]:
    """Have a model turn texts into vectors; arguments and errors are those of `ask`."""
    options = service.options
    costs = [text_cost(one, options, where=where(index)) for index, one in enumerate(texts)]
    generation = service.generation(model)
    return await ask(service, generation, generation.operation("encode"), texts, costs, request=request, where=where)


async def await_job(worker: Worker, job: Job, *, receive: Receive | None = None) -> None:
    """Wait until a job is done; where that is not to be, take it out of the queue.

    Args:
        worker: whose queue it stands in.
        job: as it was submitted.
        receive: of the request; None where something else notices that the client goes away.

    Raises:
        Problem: the deadline passed.
        ClientGone: the client went away.
    """
    # One future for all that can happen: every further one that is waited for would cost a turn of the event loop,
    # which takes its time when there is much to refuse.
    loop, done = asyncio.get_running_loop(), False
    timer = loop.call_later(max(0.0, job.deadline - time.monotonic()), _fail, job, TimeoutError())
    watcher = None if receive is None else loop.create_task(_watch(receive, job))
    try:
        await job.done
        done = True
    except TimeoutError:
        raise Problem(
            503,
            "timeout",
            "the answer was not ready in time",
            where=f"model {worker.name}",
            received=f"{job.taken} of {len(job.items)} texts begun",
            next_step="Send fewer texts in a request, or send it again later",
            retry_after=max(1, math.ceil(worker.expected_wait())),
        ) from None
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()
        if not done:
            worker.drop(job)


def values(outcomes: Sequence[Outcome], *, where: Callable[[int], str]) -> list[Answered]:
    """Return the answers.

    Args:
        outcomes: one an item.
        where: the path of an item in the body, by its place.

    Raises:
        Problem: an item has none; the first one is named.
    """
    answers = []
    for place, one in enumerate(outcomes):
        if not isinstance(one, Answered):
            raise problem_of(one.error, where=where(place)) from one.error
        answers.append(one)
    return answers


def _text(item: Any) -> str:
    """Return the text of an item, as the log has it."""
    found = item[0] if isinstance(item, tuple) else item
    return " | ".join(filter(None, (found.text, found.text_pair))) if isinstance(found, Example) else str(found)


async def _watch(receive: Receive, job: Job) -> None:
    """End the waiting when the client goes away, which is all that can come after the body."""
    while (await receive())["type"] != "http.disconnect":
        pass
    _fail(job, ClientGone())


def _fail(job: Job, error: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(error)
