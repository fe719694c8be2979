"""Texts as units, and hashes of their runs of n units, by array arithmetic.

A unit is a word, or a single Chinese, Japanese or Korean character. Only letters and digits count: case, width,
punctuation and white space do not, but for where words begin.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from albertine.data.minhash import Hashes, mixed

__all__ = ["MOST_CODES", "CodeUnits", "Units", "code_units", "letters", "normal_code_units", "split_units", "together"]

CodeUnits = npt.NDArray[np.uint16]
"""UTF-16, which has a fixed table for everything that is frequent."""

MOST_CODES = 1 << 20
"""Code units that are split together at most."""

# So many stay in the processor's cache through all steps.
_CODES_TOGETHER = 1 << 16
_BASE = 0x9E3779B97F4A7C15
_BREAK, _INSIDE, _UNIT, _SECOND_HALF = range(4)
# First halves of characters beyond U+FFFF of which some are other forms of simpler ones: bold letters, squared ones,
# ideographs kept for compatibility.
_FORMS_BEYOND = (0xD835, 0xD83C, 0xD87E)
_JAMO = range(0x1100, 0x1200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """The units of N texts, one text after another."""

    codes: CodeUnits
    """[C] all texts, as they were given."""
    places: npt.NDArray[np.int64]
    """[L] of the letters and digits among the codes."""
    starts: npt.NDArray[np.int64]
    """[U + 1] the letter that begins each unit, and L."""
    firsts: npt.NDArray[np.int64]
    """[N + 1] the first unit of every text, and U."""
    _sums: Hashes
    """[U + 1] up to where each unit begins, of letter i the product of its number and B^i."""
    _inverse: Hashes
    """[U] B^-i where i is the letter that begins the unit."""

    def runs(self, length: int) -> Hashes:
        """Return [max(U - length + 1, 0)] the hash of the run that begins at every unit, modulo 2^64.

        Runs that go on into the next text are among them; `inside` tells.
        """
        return (self._sums[length:] - self._sums[:-length]) * self._inverse[: max(len(self._sums) - length, 0)]

    def run_at(self, first: npt.NDArray[np.int64], length: int) -> Hashes:
        """Return the hash of the runs that begin at some units; none may reach beyond the last."""
        return (self._sums[first + length] - self._sums[first]) * self._inverse[first]

    def inside(self, length: int) -> npt.NDArray[np.bool_]:
        """Return [max(U - length + 1, 0)] whether the run that begins at a unit ends in the same text."""
        ends = np.repeat(self.firsts[1:], np.diff(self.firsts))[: max(len(self._inverse) - length + 1, 0)]
        found: npt.NDArray[np.bool_] = np.arange(length, length + len(ends)) <= ends
        return found

    def owners(self, first: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return which text some units are of."""
        return np.searchsorted(self.firsts, first, side="right") - 1

    def lettered(self) -> npt.NDArray[np.bool_]:
        """Return [U] whether a unit has a letter; others are numbers."""
        found = _letter_codes()[self.codes[self.places]]
        return np.logical_or.reduceat(found, self.starts[:-1]) if len(self._inverse) else found[:0]

    def characters(self) -> npt.NDArray[np.int64]:
        """Return [N] how many units of every text are single characters."""
        _, classes = _tables()
        single = classes[self.codes[self.places[self.starts[:-1]]]] == _UNIT
        return np.diff(np.concatenate([[0], np.cumsum(single)])[self.firsts])

    def text(self, first: int, length: int) -> str:
        """Return what a run was made of, with everything that stands between its units."""
        begin, end = self.places[self.starts[first]], self.places[self.starts[first + length] - 1] + 1
        return self.codes[begin:end].tobytes().decode("utf-16-le", errors="replace")


def code_units(text: str) -> CodeUnits:
    """Return a text in UTF-16."""
    return np.frombuffer(text.encode("utf-16-le", errors="surrogatepass"), dtype=np.uint16)


def normal_code_units(text: str) -> CodeUnits:
    """Return a text in UTF-16 and in Unicode's form NFKC, as far as its letters and digits are concerned."""
    codes = code_units(text)
    if text.isascii() or not _composed()[codes].any():
        return codes
    return code_units(unicodedata.normalize("NFKC", text))


def letters(codes: CodeUnits) -> CodeUnits:
    """Return the letters and digits alone, folded."""
    fold, classes = _tables()
    said: CodeUnits = fold[codes[classes[codes] != _BREAK]]
    return said


def together(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield which texts are best split together, as the first and the one behind the last."""
    start = size = 0
    for place, length in enumerate(lengths):
        if place > start and size + length > _CODES_TOGETHER:
            yield start, place
            start, size = place, 0
        size += length
    if start < len(lengths):
        yield start, len(lengths)


def split_units(texts: Sequence[CodeUnits]) -> Units:
    """Split texts, together of no more than `MOST_CODES` code units.

    With H the running sum of c[i] * B^i modulo 2^64, the letters from a to b hash to (H[b] - H[a]) * B^-a.
    """
    _, classes = _tables()
    codes = np.concatenate(texts) if len(texts) != 1 else texts[0]
    edges = np.cumsum([0, *map(len, texts)])
    kinds = classes[codes]
    begins = kinds == _UNIT
    inside = kinds == _INSIDE
    begins[1:] |= inside[1:] & (kinds[:-1] != _INSIDE)
    # A word at the start of a text is a new one even where the text before ends in a letter.
    heads = edges[:-1][np.diff(edges) > 0]
    begins[heads] |= inside[heads]
    places = np.flatnonzero(kinds)
    starts = np.flatnonzero(begins[places])
    powers, inverse = _powers()
    terms = _numbers()[codes[places]]
    terms[starts] += np.uint64(_BASE)
    terms *= powers[: len(terms)]
    sums = np.empty(len(terms) + 1, dtype=np.uint64)
    sums[0] = 0
    np.cumsum(terms, out=sums[1:])
    ends = np.append(starts, len(terms))
    return Units(
        codes=codes,
        places=places,
        starts=ends,
        firsts=np.searchsorted(places[starts], edges),
        _sums=sums[ends],
        _inverse=inverse[starts],
    )


@functools.cache
def _tables() -> tuple[CodeUnits, npt.NDArray[np.uint8]]:
    """Return, for every UTF-16 code unit, what it is folded to, and its class."""
    fold = np.arange(1 << 16, dtype=np.uint16)
    classes = np.full(1 << 16, _BREAK, dtype=np.uint8)
    for unit in range(1 << 16):
        character = chr(unit)
        if not character.isalnum():
            continue
        simple = unicodedata.normalize("NFKC", character).casefold()
        if len(simple) == 1 and simple.isalnum() and ord(simple) < 1 << 16:
            fold[unit] = ord(simple)
        single = 0x2E80 <= unit < 0xA4D0 or 0xAC00 <= unit < 0xD7B0 or 0xF900 <= unit < 0xFB00
        classes[unit] = _UNIT if single else _INSIDE
    # Beyond U+FFFF a character is a pair; its first half begins a unit.
    classes[0xD800:0xDC00] = _UNIT
    classes[0xDC00:0xE000] = _SECOND_HALF
    return fold, classes


@functools.cache
def _composed() -> npt.NDArray[np.bool_]:
    """Return, for every code unit, whether it may not be folded to what its form NFKC is folded to."""
    found = np.zeros(1 << 16, dtype=np.bool_)
    found[list(_FORMS_BEYOND)] = True
    found[_JAMO.start : _JAMO.stop] = True
    for unit in range(128, 1 << 16):
        character = chr(unit)
        normal = unicodedata.normalize("NFKC", character)
        if normal != character:
            found[unit] = _folded(normal) != _folded(character)
        found[unit] |= unicodedata.combining(character) > 0
    return found


def _folded(text: str) -> tuple[bytes, bytes]:
    """Return the folded letters and digits of a text, and their classes."""
    fold, classes = _tables()
    codes = code_units(text)
    codes = codes[classes[codes] != _BREAK]
    return fold[codes].tobytes(), classes[codes].tobytes()


@functools.cache
def _letter_codes() -> npt.NDArray[np.bool_]:
    """Return for every code unit whether it is a letter, or half of a character beyond U+FFFF."""
    return np.array([chr(unit).isalpha() or unicodedata.category(chr(unit)) == "Cs" for unit in range(1 << 16)])


@functools.cache
def _numbers() -> Hashes:
    """Return a random number for every code unit, the same for those that are folded to one."""
    fold, _ = _tables()
    return mixed(np.arange(1, (1 << 16) + 1, dtype=np.uint64) * np.uint64(_BASE))[fold]


@functools.cache
def _powers() -> tuple[Hashes, Hashes]:
    """Return the powers of an odd number modulo 2^64, and those of its inverse."""
    base = _BASE | 1
    inverse = pow(base, -1, 1 << 64)
    tables = []
    for value in (base, inverse):
        factors = np.full(MOST_CODES + 1, value, dtype=np.uint64)
        factors[0] = 1
        tables.append(np.cumprod(factors))
    return tables[0], tables[1]
