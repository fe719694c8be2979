"""Exact and near duplicates in a corpus of any size: which documents stay.

Memory is 8 bytes a document for the groups and some tens of megabytes besides; everything else lies in files. Every
stage leaves a file, whole or not at all, and is passed over when it is there already.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from albertine.data.duplicate_keys import DuplicateChoices, KeyFile
from albertine.data.external_grouping import PIECE, grouped
from albertine.data.minhash import Hashes
from albertine.errors import DataError
from albertine.files import atomic_path, write_json

__all__ = ["DuplicateExample", "DuplicateReport", "find_duplicates"]

_logger = logging.getLogger("albertine")

# A template shared by thousands of documents gives one bucket; each is compared with so many before it there.
_NEIGHBOURS = 3
_PAIRS = 1 << 16
_BLOCK = 1 << 18
_KEPT_EXAMPLES = 20
_Numbers = npt.NDArray[np.uint32]
_Roots = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateExample:
    """A document that goes, and the one that stays."""

    removed: int
    """Its number."""
    kept: int
    """The number of the first document of its group."""
    similarity: float
    """Estimated, of these two; 1 where they are the same. It can lie below the threshold where others connect them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateReport:
    """What was found."""

    documents: int
    exact: int
    """Documents that are the same as an earlier one."""
    near: int
    """Documents that are nearly the same as an earlier one."""
    groups: int
    """Groups of two documents or more."""
    largest_group: int
    """Documents in the largest."""
    compared: int
    """Pairs of signatures that were compared."""
    examples: tuple[DuplicateExample, ...]
    """Of near duplicates, the first 20 by number."""
    first: Path
    """A numpy file, [documents] int32: the number of the first document of each one's group, which is its own number
    where it stays or was passed over."""

    def kept(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.bool_]:
        """Return which of the documents from start to stop stay; those that were passed over do."""
        first = np.load(self.first, mmap_mode="r", allow_pickle=False)[start:stop]
        kept: npt.NDArray[np.bool_] = first == np.arange(start, start + len(first))
        return kept


@dataclass(frozen=True, slots=True)
class _Keys:
    """Several files of keys as one; documents are numbered through."""

    files: tuple[KeyFile, ...]
    starts: npt.NDArray[np.int64]
    without: npt.NDArray[np.bool_] | None

    @property
    def documents(self) -> int:
        return int(self.starts[-1])

    def column(self, band: int | None) -> Iterator[tuple[Hashes, _Numbers]]:
        first = 0
        for file in self.files:
            for keys in file.column(band):
                numbers = np.arange(first, first + len(keys), dtype=np.uint32)
                first += len(keys)
                if self.without is None:
                    yield keys, numbers
                else:
                    looked_at = ~self.without[numbers]
                    yield keys[looked_at], numbers[looked_at]

    def signatures(self, documents: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
        of_file = np.searchsorted(self.starts, documents, side="right") - 1
        parts = [
            self.files[int(index)].signatures(documents[of_file == index] - self.starts[index])
            for index in np.unique(of_file)
        ]
        return np.concatenate(parts)

    def agreement(self, first: _Numbers, second: _Numbers) -> npt.NDArray[np.float64]:
        """Return the share of equal minima of pairs of documents."""
        documents, places = np.unique(np.concatenate([first, second]).astype(np.int64), return_inverse=True)
        rows = self.signatures(documents)
        same = rows[places[: len(first)]] == rows[places[len(first) :]]
        agreement: npt.NDArray[np.float64] = same.mean(axis=1)
        return agreement


def find_duplicates(
    key_files: Sequence[Path],
    folder: Path,
    choices: DuplicateChoices | None = None,
    *,
    without: npt.NDArray[np.bool_] | None = None,
    piece: int = PIECE,
) -> DuplicateReport:
    """Find the documents that are the same, or nearly, as an earlier one.

    Documents that are pairwise nearly the same form a group, also through others; its first document stays.

    Args:
        key_files: written by `duplicate_keys.write_keys` with the same choices; their order numbers the documents.
        folder: for the stages' files. Those of another corpus or of other choices are replaced.
        choices: as the keys were made.
        without: [documents] those that are passed over, as if they were not there; at least one has to be left.
        piece: keys that are sorted at a time.

    Raises:
        DataError: a file of keys is not whole, or there are more than 2^31 documents.
    """
    choices = choices or DuplicateChoices()
    files = tuple(KeyFile(path) for path in key_files)
    keys = _Keys(files, np.concatenate([[0], np.cumsum([file.documents for file in files], dtype=np.int64)]), without)
    if keys.documents >= 1 << 31:
        raise DataError("too many documents to compare", received=keys.documents, allowed="less than 2^31")
    _begin(folder, key_files, keys, choices)
    roots = _exact_stage(folder, keys, piece)
    exact = sum(len(removed) for removed in _removed(roots))
    compared = 0
    bands = min((file.bands for file in files if file.documents), default=0) if choices.near else 0
    for band in range(bands):
        pairs = _band_stage(folder, keys, band, roots, choices.threshold, piece)
        compared += int(pairs[0, 0])
        _unite(roots, pairs[1:])
    target = folder / "first.npy"
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        np.save(file, roots, allow_pickle=False)
    return _report(keys, roots, exact, compared, target, folder)


def _begin(folder: Path, key_files: Sequence[Path], keys: _Keys, choices: DuplicateChoices) -> None:
    """Throw away what was made of other keys."""
    digest = hashlib.sha256()
    for path in key_files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    if keys.without is not None:
        digest.update(np.packbits(keys.without).tobytes())
    made_of = {"schema_version": 1, "keys": digest.hexdigest(), "documents": keys.documents, "choices": asdict(choices)}
    note = folder / "made-of.json"
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) == made_of:
        return
    for old in [*folder.glob("near-*.npy"), folder / "exact.npy", folder / "first.npy"]:
        old.unlink(missing_ok=True)
    write_json(note, made_of)


def _exact_stage(folder: Path, keys: _Keys, piece: int) -> _Roots:
    """Return [documents] the first document with the same letters as each."""
    target = folder / "exact.npy"
    if not target.exists():
        roots = np.arange(keys.documents, dtype=np.int32)
        for group in grouped(lambda: keys.column(None), keys.documents, folder, piece=piece):
            begins = np.flatnonzero(np.concatenate([[True], group.keys[1:] != group.keys[:-1]]))
            lengths = np.diff(np.concatenate([begins, [len(group.keys)]]))
            roots[group.numbers] = np.repeat(group.numbers[begins], lengths)
        with atomic_path(target) as temporary, temporary.open("wb") as file:
            np.save(file, roots, allow_pickle=False)
        passed_over = 0 if keys.without is None else int(np.count_nonzero(keys.without))
        _logger.info("duplicates: exact ones found among %d documents", keys.documents - passed_over)
        return roots
    loaded: _Roots = np.load(target, allow_pickle=False)
    return loaded


def _band_stage(folder: Path, keys: _Keys, band: int, roots: _Roots, threshold: float, piece: int) -> _Numbers:
    """Return [1 + pairs, 2]: the number of pairs compared, then those that are nearly the same."""
    target = folder / f"near-{band:02d}.npy"
    if not target.exists():
        compared = 0
        found: list[_Numbers] = []
        for first, second in _candidates(folder, keys, band, roots, piece):
            compared += len(first)
            near = keys.agreement(first, second) >= threshold
            found.append(np.stack([first[near], second[near]], axis=1))
        with atomic_path(target) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate([np.array([[compared, 0]], np.uint32), *found]), allow_pickle=False)
        _logger.debug("duplicates: band %d done, %d pairs compared", band + 1, compared)
    loaded: _Numbers = np.load(target, allow_pickle=False)
    return loaded


def _candidates(folder: Path, keys: _Keys, band: int, roots: _Roots, piece: int) -> Iterator[tuple[_Numbers, _Numbers]]:
    """Yield pairs that agree in a band and are not yet in one group, in blocks."""
    same: _Roots = np.load(folder / "exact.npy", mmap_mode="r", allow_pickle=False)

    def column() -> Iterator[tuple[Hashes, _Numbers]]:
        for values, numbers in keys.column(band):
            # Of documents that are the same one stands for all; 0 is a document too short to be compared.
            chosen = (values != 0) & (same[numbers] == numbers)
            yield values[chosen], numbers[chosen]

    for group in grouped(column, keys.documents, folder, piece=piece):
        pairs: list[npt.NDArray[np.uint64]] = []
        for distance in range(1, _NEIGHBOURS + 1):
            equal = np.flatnonzero(group.keys[distance:] == group.keys[:-distance])
            first, second = group.numbers[equal], group.numbers[equal + distance]
            apart = roots[first] != roots[second]
            pairs.append(first[apart].astype(np.uint64) << np.uint64(32) | second[apart])
        both = np.unique(np.concatenate(pairs))
        for start in range(0, len(both), _PAIRS):
            block = both[start : start + _PAIRS]
            yield (block >> np.uint64(32)).astype(np.uint32), (block & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def _unite(roots: _Roots, pairs: _Numbers) -> None:
    """Join the groups of pairs of documents, so that every document points at the first one of its group."""
    for one, other in pairs.tolist():
        first, second = _root(roots, one), _root(roots, other)
        if first != second:
            roots[max(first, second)] = min(first, second)
    # A document's root has a smaller number, so a few rounds reach it.
    for start in range(0, len(roots), _BLOCK):
        block = roots[start : start + _BLOCK]
        while not np.array_equal(further := roots[block], block):
            block[:] = further


def _root(roots: _Roots, document: int) -> int:
    while (above := int(roots[document])) != document:
        roots[document] = roots[above]
        document = above
    return document


def _removed(roots: _Roots) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the numbers of the documents that are not the first of their group, block by block."""
    for start in range(0, len(roots), _BLOCK):
        block = roots[start : start + _BLOCK]
        yield start + np.flatnonzero(block != np.arange(start, start + len(block)))


def _report(keys: _Keys, roots: _Roots, exact: int, compared: int, target: Path, folder: Path) -> DuplicateReport:
    same: _Roots = np.load(folder / "exact.npy", mmap_mode="r", allow_pickle=False)
    others = np.zeros(len(roots), dtype=np.int32)
    near: list[int] = []
    total = 0
    for removed in _removed(roots):
        total += len(removed)
        np.add.at(others, roots[removed], 1)
        if len(near) < _KEPT_EXAMPLES:
            near += removed[same[removed] == removed][: _KEPT_EXAMPLES - len(near)].tolist()
    return DuplicateReport(
        documents=len(roots),
        exact=exact,
        near=total - exact,
        groups=int(np.count_nonzero(others)),
        largest_group=int(others.max(initial=0)) + 1 if total else 0,
        compared=compared,
        examples=tuple(_example(keys, number, int(roots[number])) for number in near),
        first=target,
    )


def _example(keys: _Keys, removed: int, kept: int) -> DuplicateExample:
    similarity = keys.agreement(np.array([kept], np.uint32), np.array([removed], np.uint32))[0]
    return DuplicateExample(removed=removed, kept=kept, similarity=float(similarity))
