"""Failures as HTTP answers: a status, a word for programs, and the parts that every message of Albertine has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Response
from pydantic import ValidationError

from albertine.errors import AlbertineError, UserError
from albertine.serving.state_schemas import ErrorDetail, ErrorResponse

__all__ = ["Problem", "allowed_by", "path_of", "problem_of", "problem_of_validation", "problem_response", "shown"]

_SHOWN = 120
_ALLOWED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "an object",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "an object",
    "string_type": "a text",
    "too_short": "a list of at least one",
}
"""What pydantic's kinds of error allow, in the words of JSON."""


class Problem(Exception):
    """A request that is not answered, and why; raised anywhere below the routes and turned into an answer once.

    Args:
        status: the HTTP status.
        kind: a word for programs, see `ErrorDetail.type`.
        what: what is wrong, a sentence without its full stop.
        where: the path of a field, or a line.
        received: what was met.
        allowed: what would have been accepted.
        next_step: what to do about it.
        retry_after: seconds after which it may work.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        what: str,
        *,
        where: str | None = None,
        received: object = None,
        allowed: str | None = None,
        next_step: str | None = None,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status = status
        self.kind = kind
        self.retry_after = retry_after
        self.headers = headers or {}
        text = None if received is None else shown(received)
        # The parts become a sentence in one place.
        self.error = AlbertineError(what, where=where, received=text, allowed=allowed, next_step=next_step)
        super().__init__(str(self.error))

    def detail(self, request_id: str | None = None) -> ErrorDetail:
        """Return the body's inner part."""
        error = self.error
        return ErrorDetail(
            type=self.kind,
            message=_encodable(str(error)),
            what=_encodable(error.what),
            where=None if error.where is None else _encodable(error.where),
            received=None if error.received is None else str(error.received),
            allowed=error.allowed,
            next_step=error.next_step,
            retry_after=self.retry_after,
            request_id=request_id,
        )


def problem_of(error: Exception, *, where: str | None = None) -> Problem:
    """Return what a failure of a computation means for the one who asked.

    Args:
        error: as it was raised.
        where: the path of the field, in place of what the error says.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, UserError):
        return Problem(
            422,
            "invalid_input",
            error.what,
            where=where or error.where,
            received=error.received,
            allowed=error.allowed,
            next_step=error.next_step,
        )
    return Problem(
        500,
        "internal",
        "this could not be computed, and the fault is the server's",
        where=where,
        next_step="The server's log has the reason under this request's id",
    )


def problem_of_validation(error: ValidationError, *, fields: frozenset[str], prefix: str = "") -> Problem:
    """Return what is wrong with a body that has not the shape that was asked for.

    Args:
        error: as pydantic raised it.
        fields: every name that a field can have; other words in its paths name alternatives of a union.
        prefix: stands before the path.
    """
    # The deepest complaint is that of the alternative that was meant.
    found = max(error.errors(include_url=False, include_context=False), key=lambda one: len(one["loc"]))
    loc, kind = found["loc"], str(found["type"])
    place = [part for part in loc if isinstance(part, int) or part in fields]
    if kind == "extra_forbidden":
        where = prefix + path_of([*place[: len(place) - (loc[-1] in fields)], shown(loc[-1])])
        return Problem(422, "invalid_input", "there is no such field here", where=where, next_step="Leave it out")
    where = (prefix + path_of(place)).removesuffix(": ")
    if kind == "missing":
        return Problem(422, "invalid_input", "this field is missing", where=where, next_step="Add it")
    return Problem(
        422,
        "invalid_input",
        "not a value of this field",
        where=where or None,
        received=repr(found["input"][:_SHOWN]) if isinstance(found["input"], str) else found["input"],
        allowed=allowed_by(found),
    )


def allowed_by(found: Mapping[str, Any]) -> str:
    """Return what one of pydantic's errors says would have been taken."""
    return _ALLOWED.get(found["type"]) or str(found["msg"]).removeprefix("Input should be ")


def path_of(parts: Sequence[int | str]) -> str:
    """Return a path as people write it: inputs[3].text."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def problem_response(problem: Problem, request_id: str | None = None) -> Response:
    """Return the answer that says what is wrong."""
    body = ErrorResponse(error=problem.detail(request_id)).model_dump_json(exclude_none=True)
    headers = dict(problem.headers)
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    return Response(body.encode(), status_code=problem.status, media_type="application/json", headers=headers)


def shown(value: object) -> str:
    """Return a value in a few characters, whatever it holds."""
    text = value if isinstance(value, str) else repr(value) if not isinstance(value, dict | list) else _short(value)
    return _encodable(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def _short(value: dict[object, object] | list[object]) -> str:
    """Name a container without writing it out: it may be as large, and as deep, as a body can be."""
    return f"an object of {len(value)} fields" if isinstance(value, dict) else f"a list of {len(value)}"


def _encodable(text: str) -> str:
    """Write out halves of surrogate pairs, which no UTF-8 can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
