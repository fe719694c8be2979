"""Bodies of requests: read with a limit and in time, and parsed strictly.

JSON is taken as RFC 8259 has it and no wider: NaN and Infinity are refused, and so is a field that stands twice, which
two programs may read as two different things.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from email.message import Message
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from albertine.serving import compatible_schemas, schemas
from albertine.serving.problems import Problem, problem_of_validation, shown
from albertine.serving.records import record_of
from albertine.serving.schemas import Input
from albertine.serving.service import Service

__all__ = ["JSON", "NDJSON", "ClientGone", "body_of", "content_type", "input_lines", "read_body"]

JSON = "application/json"
NDJSON = "application/x-ndjson"

_FIELDS = frozenset(
    name
    for one in (*vars(schemas).values(), *vars(compatible_schemas).values())
    if isinstance(one, type) and issubclass(one, BaseModel)
    for name in one.model_fields
)
_INPUT: TypeAdapter[Input] = TypeAdapter(Input)

_BodyT = TypeVar("_BodyT", bound=BaseModel)


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def body_of(request: Request, service: Service, model: type[_BodyT]) -> _BodyT:
    """Return a JSON body as a record.

    Raises:
        Problem: it is too large, too slow, no JSON, or not of this shape.
        ClientGone: the client went away.
    """
    content_type(request, (JSON,))
    return parsed(await read_body(request, service, service.options.max_body), model)


def parsed(data: bytes, model: type[_BodyT]) -> _BodyT:
    """Return JSON as a record.

    Raises:
        Problem: no JSON, or not of this shape.
    """
    try:
        return model.model_validate(_json(data))
    except ValidationError as error:
        raise problem_of_validation(error, fields=_FIELDS) from None


def input_lines(data: bytes) -> Iterator[Input | Problem]:
    """Yield the inputs of NDJSON, one a line, blank lines left out; of a line that is none, what is wrong with it."""
    for number, line in enumerate(io.BytesIO(data), start=1):
        if not line.strip():
            continue
        try:
            yield _INPUT.validate_python(_json(line, where=f"line {number}"))
        except Problem as problem:
            yield problem
        except ValidationError as error:
            yield problem_of_validation(error, fields=_FIELDS, prefix=f"line {number}: ")


def content_type(request: Request, allowed: tuple[str, ...]) -> str:
    """Return the media type of a body.

    Raises:
        Problem: another one, or text that is not UTF-8.
    """
    given = request.headers.get("content-type", "")
    message = Message()
    message["content-type"] = given
    found = message.get_content_type() if given else ""
    charset = message.get_param("charset", "utf-8")
    if found in allowed and str(charset).lower() in ("utf-8", "utf8"):
        return found
    raise Problem(
        415,
        "unsupported_media_type",
        "this kind of body is not taken",
        where="Content-Type",
        received=given or "none",
        allowed=" or ".join(allowed) + ", in UTF-8",
        next_step=f"Send the header Content-Type: {allowed[0]}",
    )


async def read_body(request: Request, service: Service, limit: int) -> bytes:
    """Return the bytes of a body.

    Args:
        request: whose record counts what is held of it.
        service: for the limits and what all requests hold together.
        limit: bytes at most.

    Raises:
        Problem: it is too large or comes too slowly, or all bodies together are too large.
        ClientGone: the client went away.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    record = record_of(request)
    pieces: list[bytes] = []
    total = 0
    try:
        async with asyncio.timeout(service.options.body_timeout):
            async for piece in request.stream():
                total += len(piece)
                if total > limit:
                    raise _too_large(total, limit)
                service.hold(record, len(piece))
                pieces.append(piece)
    except TimeoutError:
        raise Problem(
            408,
            "slow_request",
            "the body did not come in time",
            received=f"{total} bytes in {service.options.body_timeout:g} s",
            next_step="Send it faster, or in smaller requests",
        ) from None
    except ClientDisconnect:
        raise ClientGone from None
    return b"".join(pieces)


def _too_large(size: int, limit: int) -> Problem:
    return Problem(
        413,
        "too_large",
        "the body is too large",
        received=f"{size} bytes or more",
        allowed=f"{limit} bytes",
        next_step="Send fewer texts in a request; predict takes longer lists as a stream (application/x-ndjson)",
    )


class _NoJson(ValueError):
    """What is no JSON that can be taken, and why."""


def _json(data: bytes, *, where: str | None = None) -> Any:
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_distinct)
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
    except json.JSONDecodeError as error:
        reason = f"{error.msg}: line {error.lineno}, column {error.colno}"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:  # one of the two below, or a number of thousands of digits
        reason = str(error).partition(";")[0]
    raise Problem(
        422,
        "invalid_json",
        "this is no JSON that can be taken",
        where=where,
        received=reason,
        allowed="one JSON document in UTF-8",
        next_step="Look at what the client sends",
    )


def _no_constant(name: str) -> NoReturn:
    raise _NoJson(f"{name}, which JSON does not have")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _NoJson(f"the field {shown(name)} stands twice in one object")
            seen.add(name)
    return found
