"""Where words begin and end in a text, for all of its characters at once.

A word is a run of characters that are no blanks, no signs and not Chinese; a sign (punctuation) and a Chinese character
are words of their own. What control characters, accents and capital letters become is not decided here.

S characters, W words and signs together.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from albertine.tokenization.normalization import BASIC_SPACE, CHINESE_BLOCKS, is_punctuation

__all__ = ["SIGN", "WORD", "Words", "cut_words"]

BLANK, WORD, SIGN, CHINESE_SIGN = 0, 1, 2, 3
_SIGMA = 0x3A3
_MARK, _ODD = 0x80, 0x40
"""Beside a kind: a mark, which may combine with the character before it, or a character that is dropped, behind which a
mark may stand; one of the latter that str.split takes for a blank, and that must not divide a word."""
_KIND = 0x3F
_PLANES = 0x20000
"""Beyond these two planes there are Chinese characters, and what is dropped."""
_DROPPED = 0x01

_BLANKS = BASIC_SPACE.replace("\u2000-\u200a", "".join(map(chr, range(0x2000, 0x200B))))

Codes = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words of a text, in their order."""

    places: npt.NDArray[np.int64]
    """[W] the first character of each."""
    kinds: npt.NDArray[np.uint8]
    """[W] WORD or SIGN."""
    codes: Codes
    """[W] the code point of its first character."""
    words: list[str]
    """Those of kind WORD."""


def cut_words(text: str, *, split_chinese: bool) -> Words:
    """Find the words and signs of a text.

    Args:
        text: of any length.
        split_chinese: make every Chinese character a word.
    """
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    kinds = _kinds(split_chinese)[codes]
    if (kinds > _KIND).any():
        if (odd := (kinds & _ODD).astype(np.bool_)).any():
            codes = np.where(odd, np.uint32(_DROPPED), codes)
        marks = kinds >= _MARK
        kinds &= np.uint8(_KIND)
        # A mark can turn a sign into a letter (= and a stroke into ≠), so that the two stay together.
        kinds[:-1][marks[1:] & (kinds[:-1] == SIGN)] = WORD
    if not text.isascii() and "Σ" in text:
        _join_around_sigma(kinds, codes)
    inside = kinds == WORD
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    places = np.flatnonzero(begins | (kinds >= SIGN))
    return Words(
        places=places,
        kinds=np.minimum(kinds[places], SIGN),
        codes=codes[places],
        words=_runs(codes, inside),
    )


def _runs(codes: Codes, inside: npt.NDArray[np.bool_]) -> list[str]:
    """Return the runs of characters inside of words: what is outside becomes blanks, and the text is split at them."""
    blanked = np.where(inside, codes, np.uint32(32))
    return blanked.tobytes().decode("utf-32-le", errors="surrogatepass").split()


def _join_around_sigma(kinds: npt.NDArray[np.uint8], codes: Codes) -> None:
    """Keep signs with a word that has a capital sigma: what it becomes depends on the letters behind them."""
    for place in np.flatnonzero(codes == _SIGMA).tolist():
        first = last = place
        while first > 0 and kinds[first - 1] in (WORD, SIGN):
            first -= 1
        while last + 1 < len(kinds) and kinds[last + 1] in (WORD, SIGN):
            last += 1
        kinds[first : last + 1] = WORD


@functools.cache
def _kinds(split_chinese: bool) -> npt.NDArray[np.uint8]:
    """Return the kind of every code point."""
    kinds = np.full(sys.maxunicode + 1, WORD, dtype=np.uint8)
    kinds[_PLANES:] |= _MARK
    for code in range(_PLANES):
        character = chr(code)
        category = unicodedata.category(character)
        if is_punctuation(character):
            kinds[code] = SIGN
        elif category[0] in "CM" or 0x1160 <= code <= 0x11FF or character == "\ufffd":
            kinds[code] = WORD | _MARK | (_ODD if character.isspace() else 0)
    kinds[list(map(ord, _BLANKS))] = BLANK
    if split_chinese:
        for first, last in CHINESE_BLOCKS:
            for code in range(first, last + 1):
                if unicodedata.category(chr(code)) != "Cn":
                    kinds[code] = CHINESE_SIGN
    return kinds
