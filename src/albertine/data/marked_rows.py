"""Rows of data that mark pieces of a text: what they may look like, what is mended in them and what is not.

Every format whose rows point into a text (spans, slots, opinions) reads them with these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from albertine.data.encodings import SURROGATE
from albertine.data.results import BadRow
from albertine.errors import DataError
from albertine.records import Example, Span

__all__ = ["Place", "RowError", "Tally", "check_text", "checked_spans", "found_key", "rows_made", "said_places"]

_RowT = TypeVar("_RowT")

Place = tuple[object, object, object, str | None]
"""Start, end and label as they stand in the file, and the piece of text that they are said to be."""


class RowError(Exception):
    """A row gives no example; the kind and the reason are those of `BadRow`."""

    def __init__(self, kind: str, reason: str, line: int | None = None) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason, self.line = kind, reason, line


@dataclass(slots=True)
class Tally:
    """What is done to rows without leaving them out, how often and where first."""

    counts: dict[str, tuple[int, int]]

    def add(self, what: str, line: int) -> None:
        """Count one more."""
        count, first = self.counts.get(what, (0, line))
        self.counts[what] = count + 1, first

    def notes(self) -> Iterator[str]:
        """Say what was done."""
        for what, (count, line) in self.counts.items():
            yield f"{count:,} {what}; the first in line {line}"


def rows_made(
    make: Callable[[_RowT], Example], rows: Iterable[tuple[int, _RowT]], where: str
) -> Iterator[Example | BadRow]:
    """Make an example of every row, or say why there is none; rows come with the lines they start on."""
    for line, row in rows:
        try:
            yield make(row)
        except RowError as error:
            yield BadRow(file=where, line=error.line or line, kind=error.kind, reason=error.reason)


def check_text(text: str) -> None:
    """Raise a RowError where there is no text, or where it could not be decoded."""
    if not text.strip():
        raise RowError("empty-text", "the text is empty")
    if SURROGATE.search(text):
        raise RowError("encoding", "bytes that the encoding does not know")


def checked_spans(text: str, places: Sequence[Place], line: int, tally: Tally) -> tuple[Span, ...]:
    """Make spans, in the order of the text; blanks at their ends are left out.

    Raises:
        RowError: a span is none, lies outside of the text, is empty, or overlaps another.
    """
    spans: list[Span] = []
    for start, end, label, piece in places:
        if type(start) is not int or type(end) is not int or not isinstance(label, str) or not label.strip():
            raise RowError("type", f"a span needs two whole numbers and a label, not {start!r}, {end!r}, {label!r}")
        if not 0 <= start <= end <= len(text):
            raise RowError("spans", f"a span from {start} to {end} in a text of {len(text)} characters")
        found = text[start:end]
        if piece is not None and found != piece:
            other = "; the end may be meant as the last character" if text[start : end + 1] == piece else ""
            raise RowError("spans", f"at {start} to {end} stands {found!r:.60}, not {piece!r:.60}{other}")
        if not found.strip():
            raise RowError("spans", f"the span from {start} to {end} is empty")
        if found != found.strip():
            tally.add("spans began or ended with a blank, which is left out", line)
            start += len(found) - len(found.lstrip())
            found = found.strip()
        spans.append(Span(start=start, end=start + len(found), label=label.strip(), text=found))
    spans.sort(key=lambda span: (span.start, span.end))
    for before, behind in pairwise(spans):
        if behind.start < before.end:
            both = (f"{span.text!r:.60} at {span.start}" for span in (before, behind))
            raise RowError("spans", f"two spans overlap: {', '.join(both)}")
    return tuple(spans)


def said_places(said: object) -> list[Place]:
    """Read the spans of a row: a list of objects or of triples, or CLUENER's objects in objects."""
    if isinstance(said, Mapping):
        return _cluener_places(said)
    if not isinstance(said, list):
        raise RowError("type", f"the spans are a {type(said).__name__}, not a list")
    places: list[Place] = []
    for one in said:
        if isinstance(one, Mapping):
            piece = one.get("text")
            places.append(
                (one.get("start"), one.get("end"), one.get("label"), piece if isinstance(piece, str) else None)
            )
        elif isinstance(one, list) and len(one) == 3:
            places.append((one[0], one[1], one[2], None))
        else:
            raise RowError("type", f"a span is {{start, end, label}} or [start, end, label], not {one!r:.60}")
    return places


def _cluener_places(said: Mapping[str, object]) -> list[Place]:
    places: list[Place] = []
    for label, strings in said.items():
        if not isinstance(strings, Mapping):
            raise RowError("type", f"under {label!r} an object {{string: [[start, end]]}} is needed")
        for piece, ranges in strings.items():
            if not isinstance(ranges, list):
                raise RowError("type", f"under {piece!r} a list [[start, end]] is needed")
            for one in ranges:
                if not isinstance(one, list) or len(one) != 2 or not isinstance(one[1], int):
                    raise RowError("type", f"under {piece!r} stands {one!r:.60} where [start, end] is needed")
                places.append((one[0], one[1] + 1, label, piece))
    return places


def found_key(names: Sequence[str], asked: str | None, usual: Sequence[str], what: str, option: str, where: str) -> str:
    """Return the key of something, as asked for or by its usual names; a DataError where a row has none of them."""
    found = [name for name in ((asked,) if asked else usual) if name in names]
    if not found:
        raise DataError(
            f"{what} cannot be found",
            where=where,
            received=f"the keys {', '.join(names)}",
            allowed=asked or ", ".join(usual),
            next_step=f"Name the key with {option}",
        )
    return found[0]
