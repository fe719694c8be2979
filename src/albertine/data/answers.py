"""What the label's column of a file may say: one label, several, or a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Answer", "AnswerReader", "number", "one_label", "several_labels", "written_number"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a row says; the fields are those of `Example`."""

    label: str | None = None
    labels: tuple[str, ...] | None = None
    value: float | None = None


AnswerReader = Callable[[object], Answer | TypeError | None]
"""A cell, as the file's format gives it, to what it says; None where it is empty, an error where it is something else
(which is returned, not raised: one row of many)."""


def one_label(cell: object) -> Answer | TypeError | None:
    """Read a label."""
    if cell is None:
        return None
    if isinstance(cell, str):
        return Answer(label=cell.strip()) if cell.strip() else None
    if isinstance(cell, bool | int | float):
        written = written_number(cell)
        return None if written is None else Answer(label=written)
    if isinstance(cell, list | tuple):
        return TypeError("the label is a list; one label a text is needed")
    return TypeError(f"the label is a {type(cell).__name__}, not a string or a number")


def several_labels(separator: str) -> AnswerReader:
    """Return what reads any number of labels: a list, or one text with `separator` between them.

    An empty list or text says that no label applies. A label that is named twice counts once.
    """

    def read(cell: object) -> Answer | TypeError | None:
        if cell is None:
            return None
        parts: list[object] = list(cell) if isinstance(cell, list | tuple) else [cell]
        labels: dict[str, None] = {}
        for part in parts:
            if isinstance(part, bool | int | float):
                part = written_number(part)
            if not isinstance(part, str):
                return TypeError(f"a label is a {type(part).__name__}, not a string or a number")
            pieces = part.split(separator) if len(parts) == 1 and parts[0] is cell else [part]
            labels.update((piece.strip(), None) for piece in pieces if piece.strip())
        return Answer(labels=tuple(labels))

    return read


def number(cell: object) -> Answer | TypeError | None:
    """Read a number."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return TypeError(f"the value is a {type(cell).__name__}, not a number")
    try:
        value = float(cell)
    except ValueError:
        return TypeError(f"the value {cell.strip()!r} is not a number" if isinstance(cell, str) else "not a number")
    if math.isnan(value):
        return None
    return Answer(value=value) if math.isfinite(value) else TypeError(f"the value {cell} is not finite")


def written_number(value: bool | int | float) -> str | None:
    """Write a number as the file would: true, 1 (also for 1.0, which tables make of 1 beside a gap), 0.5."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if value.is_integer():
            return str(int(value))
    return str(value)
