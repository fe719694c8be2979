"""What is kept of every document to find duplicates: a hash of its letters and a MinHash signature, in files.

Documents are compared by their letters and digits alone: case, width, punctuation and white space do not count. Near
duplicates are compared by their runs of five units, a unit being a word, or a single Chinese, Japanese or Korean
character.
"""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from albertine.data.minhash import Hashes, band_keys, mixed, signatures
from albertine.errors import ConfigError, DataError
from albertine.files import atomic_path

__all__ = ["DuplicateChoices", "DuplicateKeys", "KeyFile", "document_keys", "write_keys"]

_BANDS = 12
_ROWS = 5
_SIZE = _BANDS * _ROWS
_UNITS = 5
_FORMAT = 0x31302D5359454B41
# Texts are worked on together up to so many code units; of a longer text the first so many give the signature.
_BATCH = 1 << 20
_BATCH_TEXTS = 1 << 12
_BASE = 0x9E3779B97F4A7C15
_BREAK, _INSIDE, _UNIT, _SECOND_HALF = range(4)
_Uint16 = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateChoices:
    """Which documents count as duplicates."""

    near: bool = True
    """Whether documents that are only nearly the same are found too."""
    threshold: float = 0.8
    """The Jaccard similarity of the sets of five units from which on two documents are nearly the same. It is estimated
    from 60 minima (standard deviation 0.05); of pairs with similarity 0.8 99 % are looked at, at 0.7 seven in eight."""
    shortest: int = 20
    """Units; shorter documents are only compared exactly."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.threshold <= 1:
            raise ConfigError("the similarity is out of range", received=self.threshold, allowed="0.5 to 1")
        if self.shortest < _UNITS:
            raise ConfigError("too short to be compared", received=self.shortest, allowed=f"{_UNITS} units or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateKeys:
    """What is kept of N documents."""

    exact: Hashes
    """[N] hash of the letters and digits. Of a hundred million documents two different ones share it with a probability
    of 0.03 %."""
    bands: Hashes
    """[12, N] keys of the signature's bands; all 0 where a document is too short to be compared."""
    signatures: _Uint16
    """[N, 60] lower halves of the minima."""


def document_keys(texts: Sequence[str], choices: DuplicateChoices) -> DuplicateKeys:
    """Return the keys of some documents; each depends on its text and the choices alone."""
    folded, exact = _folded(texts)
    if not choices.near:
        return DuplicateKeys(
            exact=exact, bands=np.zeros((0, len(texts)), np.uint64), signatures=np.zeros((len(texts), 0), np.uint16)
        )
    bands = np.zeros((_BANDS, len(texts)), dtype=np.uint64)
    lower = np.zeros((len(texts), _SIZE), dtype=np.uint16)
    start = 0
    while start < len(folded):
        end, total = start, 0
        while end < len(folded) and (end == start or total + len(folded[end]) <= _BATCH):
            total += len(folded[end])
            end += 1
        pieces, counts = _pieces(folded[start:end])
        compared = np.flatnonzero(counts >= choices.shortest - _UNITS + 1)
        if len(compared):
            pieces = pieces[np.repeat(counts >= choices.shortest - _UNITS + 1, counts)]
            edges = np.concatenate([[0], np.cumsum(counts[compared])])
            minima = signatures(pieces, edges, _SIZE)
            # 0 is what a document that is not compared has.
            bands[:, start + compared] = np.maximum(band_keys(minima, _BANDS), 1).T
            lower[start + compared] = minima.astype(np.uint16)
        start = end
    return DuplicateKeys(exact=exact, bands=bands, signatures=lower)


def _folded(texts: Sequence[str]) -> tuple[list[_Uint16], Hashes]:
    """Return the folded letters and digits of every text with their classes in place, and the hash of all of them."""
    fold, classes = _tables()
    folded: list[_Uint16] = []
    exact = np.empty(len(texts), dtype=np.uint64)
    for index, text in enumerate(texts):
        units = np.frombuffer(text.encode("utf-16-le", errors="surrogatepass"), dtype=np.uint16)
        letters = fold[units[classes[units] != _BREAK]].tobytes() or text.encode(errors="surrogatepass")
        exact[index] = int.from_bytes(hashlib.blake2b(letters, digest_size=8).digest(), "little")
        folded.append(units[:_BATCH])
    return folded, exact


def _pieces(texts: Sequence[_Uint16]) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Return the hashed runs of five units of all texts, one text after another, and how many each has.

    With H the running sum of c[i] * B^i modulo 2^64, the letters from a to b hash to (H[b] - H[a]) * B^-a.
    """
    fold, classes = _tables()
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    units = np.concatenate(texts)
    kinds = classes[units]
    letters = kinds != _BREAK
    begins = kinds == _UNIT
    inside = kinds == _INSIDE
    begins[1:] |= inside[1:] & (kinds[:-1] != _INSIDE)
    begins[:1] |= inside[:1]
    edges = np.concatenate([[0], np.cumsum(lengths)])
    # A word at the start of a text is a new one even where the text before ends in a letter.
    heads = edges[:-1][lengths > 0]
    begins[heads] |= inside[heads]
    powers, inverse = _powers()
    terms = _characters()[fold[units[letters]]]
    terms[begins[letters]] += np.uint64(_BASE)
    terms *= powers[: len(terms)]
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
    # Where the units start among the letters, and how many units every text has.
    starts = np.flatnonzero(begins[letters])
    counts = np.diff(np.concatenate([[0], np.cumsum(begins)])[edges])
    ends = np.concatenate([starts, [len(terms)]])
    firsts = np.concatenate([[0], np.cumsum(counts)])
    place = np.arange(len(starts)) - np.repeat(firsts[:-1], counts)
    fits = np.flatnonzero(place + _UNITS <= np.repeat(counts, counts))
    begin = starts[fits]
    return (running[ends[fits + _UNITS]] - running[begin]) * inverse[begin], np.maximum(counts - _UNITS + 1, 0)


@functools.cache
def _tables() -> tuple[_Uint16, npt.NDArray[np.uint8]]:
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
def _characters() -> Hashes:
    """Return a random number for every code unit."""
    return mixed(np.arange(1, (1 << 16) + 1, dtype=np.uint64) * np.uint64(_BASE))


@functools.cache
def _powers() -> tuple[Hashes, Hashes]:
    """Return the powers of an odd number modulo 2^64, and those of its inverse."""
    base = _BASE | 1
    inverse = pow(base, -1, 1 << 64)
    tables = []
    for value in (base, inverse):
        factors = np.full(_BATCH + 1, value, dtype=np.uint64)
        factors[0] = 1
        tables.append(np.cumprod(factors))
    return tables[0], tables[1]


def write_keys(target: Path, texts: Iterable[str], choices: DuplicateChoices | None = None) -> int:
    """Write the keys of documents, in their order, whole or not at all; return how many there were.

    Takes 224 bytes a document (8 where near duplicates are not asked for); memory does not grow with their number.
    """
    choices = choices or DuplicateChoices()
    written = 0
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        for batch in _batches(texts):
            _write_chunk(file, document_keys(batch, choices))
            written += len(batch)
    return written


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH or len(batch) >= _BATCH_TEXTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_chunk(file: BinaryIO, keys: DuplicateKeys) -> None:
    header = np.array([_FORMAT, len(keys.exact), len(keys.bands), keys.signatures.shape[1]], dtype="<u8")
    for part in (header, keys.exact, keys.bands, keys.signatures):
        file.write(np.ascontiguousarray(part).tobytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    offset: int
    """Of its first key in the file."""
    first: int
    """The number of its first document in the file."""
    count: int
    bands: int
    size: int


class KeyFile:
    """A file of keys, read column by column.

    Raises:
        DataError: it is not whole, or no file of keys.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._chunks: list[_Chunk] = []
        self.documents = 0
        end = path.stat().st_size
        with path.open("rb") as file:
            place = 0
            while place < end:
                file.seek(place)
                header = np.frombuffer(file.read(32), dtype="<u8")
                if len(header) < 4 or int(header[0]) != _FORMAT:
                    raise DataError("this is no file of duplicate keys, or not a whole one", where=str(path))
                count, bands, size = (int(value) for value in header[1:])
                self._chunks.append(
                    _Chunk(offset=place + 32, first=self.documents, count=count, bands=bands, size=size)
                )
                self.documents += count
                place += 32 + count * (8 + 8 * bands + 2 * size)
        if place != end:
            raise DataError("this file of duplicate keys is not whole", where=str(path))
        self.bands = self._chunks[0].bands if self._chunks else 0

    def column(self, band: int | None) -> Iterator[Hashes]:
        """Yield the keys of one band, or (None) the exact hashes, piece by piece in the order of documents."""
        with self.path.open("rb") as file:
            for chunk in self._chunks:
                file.seek(chunk.offset + (0 if band is None else 8 * chunk.count * (1 + band)))
                yield np.frombuffer(file.read(8 * chunk.count), dtype="<u8")

    def signatures(self, documents: npt.NDArray[np.int64]) -> _Uint16:
        """Return [M, 60] the signatures of some documents of this file, given in ascending order."""
        parts = []
        firsts = np.array([chunk.first for chunk in self._chunks])
        with self.path.open("rb") as file:
            of_chunk = np.searchsorted(firsts, documents, side="right") - 1
            for index in np.unique(of_chunk):
                chunk = self._chunks[int(index)]
                file.seek(chunk.offset + 8 * chunk.count * (1 + chunk.bands))
                rows = np.frombuffer(file.read(2 * chunk.size * chunk.count), dtype="<u2")
                parts.append(rows.reshape(chunk.count, chunk.size)[documents[of_chunk == index] - chunk.first])
        return np.concatenate(parts)
