"""Where an answer stands in the text that it was taken from, when the file's own word for it is wrong or missing."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["AnswerPlace", "locate_answer"]

# Characters without width that copying leaves behind: zero width space, byte order mark, soft hyphen.
_INVISIBLE = "\u200b\ufeff\xad"
# Marks that people set behind an answer of theirs.
_STOPS = "。．.，,、；;：:！!？?…"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlace:
    """Where an answer stands."""

    start: int
    """First character."""
    end: int
    """One past the last."""
    how: Literal["stated", "moved", "rewritten"]
    """Where the file says; elsewhere, as it is written; elsewhere, in another spelling."""


def locate_answer(context: str, answer: str, start: int | None) -> AnswerPlace | None:
    """Find an answer in its context.

    Args:
        context: the text that it was taken from.
        answer: blanks around it do not count.
        start: its first character by the file; None or a negative number where the file does not say.

    Returns:
        The stated place where the answer stands there. Else of its occurrences, those that cut no word in two before
        the others, the one nearest to the stated place (to the beginning where none is stated). Where there is none,
        the same with spellings that differ in width, in signs for several characters (NFKD), in white space or in
        invisible characters, and then without the stops that the answer ends with. None where it stands nowhere.
    """
    stripped = answer.strip()
    if not stripped:
        return None
    wanted = 0
    if start is not None and start >= 0:
        wanted = start + len(answer) - len(answer.lstrip())
        if context.startswith(stripped, wanted):
            return AnswerPlace(start=wanted, end=wanted + len(stripped), how="stated")
    bare = stripped.rstrip(_STOPS)
    how: Literal["moved", "rewritten"] = "moved"
    for places in (_written(context, stripped), _rewritten(context, stripped), _rewritten(context, bare)):
        found = list(places)
        if found:
            first, last = min(found, key=lambda place: (_cuts_word(context, place), abs(place[0] - wanted)))
            return AnswerPlace(start=first, end=last, how=how)
        how = "rewritten"
    return None


def _written(context: str, answer: str) -> Iterator[tuple[int, int]]:
    """Yield where the answer stands in the context as it is written."""
    for at in re.finditer(f"(?={re.escape(answer)})", context):
        yield at.start(), at.start() + len(answer)


def _rewritten(context: str, answer: str) -> Iterator[tuple[int, int]]:
    """Yield where the answer stands in the context in another spelling."""
    text, origins = _plain(context)
    wanted = _plain(answer)[0]
    at = text.find(wanted) if wanted else -1
    while at >= 0:
        end = at + len(wanted)
        first, last = origins[at], origins[end - 1]
        # a character that stands for several has to be inside with all of them
        if (at == 0 or origins[at - 1] != first) and (end == len(text) or origins[end] != last):
            yield first, last + 1
        at = text.find(wanted, at + 1)


@functools.lru_cache(maxsize=4)
def _plain(text: str) -> tuple[str, tuple[int, ...]]:
    """Return the text decomposed and without what cannot be seen, and for each character the one that it is from."""
    pieces: list[str] = []
    origins: list[int] = []
    for place, character in enumerate(text):
        if character in _INVISIBLE:
            continue
        # a compatibility form may hold blanks of its own
        piece = "".join(unicodedata.normalize("NFKD", character).split())
        pieces.append(piece)
        origins += [place] * len(piece)
    return "".join(pieces), tuple(origins)


def _cuts_word(text: str, place: tuple[int, int]) -> bool:
    """Say whether a piece begins or ends inside a word, in scripts that set blanks between words."""
    return any(
        0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum() and max(text[at - 1 : at + 1]) < "\u2e80"
        for at in place
    )
