"""What is kept of every document to find duplicates: a hash of its letters and a MinHash signature, in files.

Documents are compared by their letters and digits alone: case, width, punctuation and white space do not count. Near
duplicates are compared by their runs of five units, a unit being a word, or a single Chinese, Japanese or Korean
character.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from albertine.data.minhash import Hashes, band_keys, signatures
from albertine.data.unit_runs import MOST_CODES, CodeUnits, code_units, letters, split_units, together
from albertine.errors import ConfigError, DataError
from albertine.files import atomic_path

__all__ = ["DuplicateChoices", "DuplicateKeys", "KeyFile", "document_keys", "write_keys"]

_BANDS = 12
_ROWS = 5
_SIZE = _BANDS * _ROWS
_UNITS = 5
_FORMAT = 0x31302D5359454B41
# Of a longer text the first so many code units give the signature.
_BATCH = MOST_CODES
_BATCH_TEXTS = 1 << 12
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
    codes, exact = _exact(texts)
    if not choices.near:
        return DuplicateKeys(
            exact=exact, bands=np.zeros((0, len(texts)), np.uint64), signatures=np.zeros((len(texts), 0), np.uint16)
        )
    bands = np.zeros((_BANDS, len(texts)), dtype=np.uint64)
    lower = np.zeros((len(texts), _SIZE), dtype=np.uint16)
    for start, end in together([len(one) for one in codes]):
        units = split_units(codes[start:end])
        enough = np.diff(units.firsts) >= choices.shortest
        compared = np.flatnonzero(enough)
        if len(compared):
            inside = units.inside(_UNITS)
            counts = np.maximum(np.diff(units.firsts) - _UNITS + 1, 0)
            pieces = units.runs(_UNITS)[inside][np.repeat(enough, counts)]
            edges = np.concatenate([[0], np.cumsum(counts[compared])])
            minima = signatures(pieces, edges, _SIZE)
            # 0 is what a document that is not compared has.
            bands[:, start + compared] = np.maximum(band_keys(minima, _BANDS), 1).T
            lower[start + compared] = minima.astype(np.uint16)
    return DuplicateKeys(exact=exact, bands=bands, signatures=lower)


def _exact(texts: Sequence[str]) -> tuple[list[CodeUnits], Hashes]:
    """Return the code units of every text that give its signature, and the hash of all its letters and digits."""
    found: list[CodeUnits] = []
    exact = np.empty(len(texts), dtype=np.uint64)
    for index, text in enumerate(texts):
        codes = code_units(text)
        said = letters(codes).tobytes() or text.encode(errors="surrogatepass")
        exact[index] = int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "little")
        found.append(codes[:_BATCH])
    return found, exact


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
