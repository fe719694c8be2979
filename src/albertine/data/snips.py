"""Snips' JSON (Coucke et al. 2018): {intent: [{"data": [pieces of the text, some of them slots]}]}."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from albertine.data.marked_rows import Place, RowError, Tally, check_text, checked_spans, rows_made
from albertine.data.results import BadRow
from albertine.errors import DataError
from albertine.records import Example

__all__ = ["looks_like_snips", "snips_rows"]

_START = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\[\s*\{\s*"data"\s*:')
_BETWEEN = re.compile(r"[\s,:\[\]]*")


def looks_like_snips(text: str) -> bool:
    """Say whether a file begins as Snips' files do."""
    return _START.match(text) is not None


def snips_rows(text: str, *, where: str) -> tuple[Iterator[Example | BadRow], Callable[[], Iterable[str]]]:
    """Make an example of every entry, the text being its pieces one after another, or say why there is none.

    Args:
        text: the whole file.
        where: the file.

    Returns:
        One row an entry; and what gives the notes, once all rows are read.

    Raises:
        DataError: this is not JSON, or something else than a list stands under an intent.
    """
    tally = Tally({})

    def example(entry: tuple[int, str, object]) -> Example:
        line, intent, value = entry
        pieces = value.get("data") if isinstance(value, Mapping) else None
        if not isinstance(pieces, list) or not all(isinstance(one, Mapping) for one in pieces):
            raise RowError("json", 'an object {"data": [{"text": …}]} is needed here')
        joined, places = "", list[Place]()
        for piece in pieces:
            said, name = piece.get("text"), piece.get("slot_name", piece.get("entity"))
            if not isinstance(said, str):
                raise RowError("type", f"the text of a piece is a {type(said).__name__}, not a string")
            if name is not None:
                places.append((len(joined), len(joined) + len(said), name, None))
            joined += said
        check_text(joined)
        if not intent.strip():
            raise RowError("no-label", "the intent is missing")
        spans = checked_spans(joined, places, line, tally)
        return Example(text=joined, label=intent.strip(), spans=spans, file=where, line=line)

    return rows_made(example, ((one[0], one) for one in _entries(text, where)), where), tally.notes


def _entries(text: str, where: str) -> list[tuple[int, str, object]]:
    """Return the line, the intent and the value of every entry."""
    try:
        whole = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        decoding = error if isinstance(error, json.JSONDecodeError) else None
        raise DataError(
            "from here on this is not JSON",
            where=where if decoding is None else f"{where}:{decoding.lineno}",
            received="too many levels" if decoding is None else decoding.msg,
            next_step="Mend the file",
        ) from error
    # Once more, value by value, for the lines that entries start on; the object's keys may not repeat.
    decoder = json.JSONDecoder()
    place, line, found = text.index("{") + 1, 1, list[tuple[int, str, object]]()
    line += text.count("\n", 0, place)

    def skipped(place: int) -> int:
        match = _BETWEEN.match(text, place)
        assert match is not None, "it matches nothing, too"
        return match.end()

    for intent, entries in whole.items():
        if not isinstance(entries, list):
            raise DataError(
                "under every intent a list is needed",
                where=where,
                received=f"{type(entries).__name__} under {intent!r}",
            )
        for wanted in (intent, *entries):
            start = skipped(place)
            line += text.count("\n", place, start)
            _, end = decoder.raw_decode(text, start)
            if wanted is not intent:
                found.append((line, intent, wanted))
            line += text.count("\n", start, end)
            place = end
    return found
