"""What a request asks about, as the model takes it: checked, counted, and its texts' places known to messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from albertine.records import Example
from albertine.serving.opening import InputKind
from albertine.serving.options import ServerOptions
from albertine.serving.problems import Problem
from albertine.serving.schemas import Input, PairInput, QuestionInput, TextInput
from albertine.serving.worker import estimated_tokens

__all__ = ["checked_count", "example_of", "place_in", "text_cost"]

_TAKES = {
    "text": "a text",
    "pair": "text_a and text_b",
    "question": "question and context",
    "text or pair": "a text, or text_a and text_b",
}


def checked_count(count: int, options: ServerOptions, *, where: str) -> None:
    """Make sure that a request has no more texts than it may.

    Raises:
        Problem: it has.
    """
    if count > options.max_texts:
        raise Problem(
            413,
            "too_large",
            "too many texts in one request",
            where=where,
            received=str(count),
            allowed=f"{options.max_texts} or fewer",
            next_step="Send them in several requests, or as a stream (application/x-ndjson) to predict",
        )


def place_in(field: str, value: object) -> Callable[[int], str]:
    """Return what gives the path of an item, by its place, in a field that holds one or a list of them."""
    return (lambda index: f"{field}[{index}]") if isinstance(value, list) else (lambda index: field)


def text_cost(text: str, options: ServerOptions, *, where: str) -> int:
    """Check a text and return what it costs, in estimated tokens.

    Raises:
        Problem: it is too long, or holds half of a surrogate pair, which is no character.
    """
    if len(text) > options.max_characters:
        raise Problem(
            413,
            "too_large",
            "this text is too long",
            where=where,
            received=f"{len(text)} characters",
            allowed=f"{options.max_characters} or fewer",
            next_step="Cut it into several texts",
        )
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise Problem(
            422,
            "invalid_input",
            "this text holds half of a surrogate pair",
            where=where,
            received=f"\\u{ord(text[error.start]):04x} at character {error.start}",
            allowed="Unicode characters",
            next_step="Write characters beyond U+FFFF as two escapes, or as UTF-8",
        ) from None
    return estimated_tokens(size)


def example_of(item: Input, kind: InputKind, options: ServerOptions, *, where: str) -> tuple[Example, int]:
    """Return an input as an example, and what it costs.

    Args:
        item: as it was sent.
        kind: what the model takes.
        options: for the limits.
        where: its path in the body.

    Raises:
        Problem: it is of another kind, or one of its texts cannot be taken.
    """
    fields = _fields(item)
    single = len(fields) == 1
    fits = kind == "text or pair" or single == (kind == "text")
    if not fits or isinstance(item, QuestionInput) != (kind == "question"):
        raise Problem(
            422,
            "invalid_input",
            "this model takes another kind of input",
            where=where,
            received=" and ".join(name.lstrip(".") or "a text" for name, _ in fields),
            allowed=_TAKES[kind],
        )
    cost = sum(text_cost(text, options, where=where + name) for name, text in fields)
    first, *second = (text for _, text in fields)
    return Example(text=first, text_pair=second[0] if second else None), cost


def _fields(item: Input) -> Sequence[tuple[str, str]]:
    """Return the texts of an input with the rest of their paths."""
    if isinstance(item, PairInput):
        return [(".text_a", item.text_a), (".text_b", item.text_b)]
    if isinstance(item, QuestionInput):
        return [(".question", item.question), (".context", item.context)]
    return [(".text", item.text)] if isinstance(item, TextInput) else [("", item)]
