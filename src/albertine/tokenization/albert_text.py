"""Google's preparation of a text for ALBERT's vocabulary (`preprocess_text`), with the way back into the input.

White space is collapsed, `` and '' become double quotes, compatibility characters are decomposed (NFKD), combining
marks dropped, and the text is lower-cased.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np

from albertine.records import IntArray

__all__ = ["Aligner", "TextRules", "prepared"]

_QUOTES = re.compile("``|''")
_SURROGATES = re.compile("[\ud800-\udfff]")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_NOT_YET, _SPACE = 255, 254


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRules:
    """What is done to a text before SentencePiece sees it."""

    lowercase: bool = True
    """Lower-case it."""
    keep_accents: bool = False
    """Leave accents and compatibility characters as they are."""


def prepared(text: str, rules: TextRules) -> str:
    """Return the text as SentencePiece is to see it; half of a surrogate pair becomes U+FFFD."""
    return _folded(" ".join(text.split()).replace("``", '"').replace("''", '"'), rules)


def _folded(text: str, rules: TextRules) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = _SURROGATES.sub("\ufffd", text)
        if not rules.keep_accents:
            text = unicodedata.normalize("NFKD", text)
            text = _marks(0, 0x10000).sub("", text)
            if _ASTRAL.search(text):
                text = _marks(0x10000, 0x20000).sub("", text)
    return text.lower() if rules.lowercase else text


@cache
def _marks(first: int, end: int) -> re.Pattern[str]:
    """Return the pattern of runs of combining marks; `re` is fast only on classes within the basic plane."""
    marks = "".join(chr(point) for point in range(first, end) if unicodedata.combining(chr(point)))
    return re.compile(f"[{marks}]+")


class Aligner:
    """Finds where the characters of a prepared text come from.

    Args:
        rules: those the texts are prepared with.
    """

    def __init__(self, rules: TextRules) -> None:
        self.rules = rules
        self._widths = np.full(sys.maxunicode + 1, _NOT_YET, dtype=np.uint8)
        self._widths[:128] = 1
        self._widths[[point for point in range(0x3001) if chr(point).isspace()]] = _SPACE

    def align(self, text: str, result: str) -> tuple[IntArray, IntArray]:
        """Return where the source of every character of `result` begins and ends in `text`.

        A dropped combining mark belongs to the character before it, a blank to the white space that it stands for.

        Args:
            text: the input.
            result: what `prepared` made of it.
        """
        widths = self._widths_of(text)
        space = widths == _SPACE
        if len(result) == len(text) and (space | (widths == 1)).all():
            same = np.arange(len(text), dtype=np.int64)
            return same, same + 1
        solid = np.flatnonzero(~space)
        if not len(solid):
            return solid, solid
        # Of the white space between two words its first character is taken, and stands for all of it.
        taken = ~space
        taken[1:] |= ~space[:-1]
        taken[solid[-1] + 1 :] = False
        begins = np.flatnonzero(taken)
        blanks = np.flatnonzero(space[begins])
        ends = begins + 1
        ends[blanks] = begins[blanks + 1]
        widths = widths[begins].astype(np.int64)
        widths[blanks] = 1
        if len(widths) != len(result):
            collapsed = " ".join(text.split())
            for match in _QUOTES.finditer(collapsed):
                widths[match.start() + 1] = 0
        assert widths.sum() == len(result), "a character changed its length with its neighbours"
        # A character that left nothing (a mark, the second half of a quote) belongs to the one before it.
        wide = np.flatnonzero(widths)
        last = np.append(wide[1:], len(widths)) - 1
        return np.repeat(begins[wide], widths[wide]), np.repeat(ends[last], widths[wide])

    def _widths_of(self, text: str) -> IntArray:
        """Return how many characters each one becomes; `_SPACE` for white space."""
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        widths = self._widths[points]
        if _NOT_YET in widths:
            new = np.unique(points[widths == _NOT_YET])
            self._widths[new] = [len(_folded(chr(point), self.rules)) for point in new]
            widths = self._widths[points]
        return widths
