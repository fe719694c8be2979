"""Which documents hold a piece of an evaluation text: an index of hashed runs of 13 units, and looking them up.

Brown et al. (2020, Language Models are Few-Shot Learners, appendix C) take runs of 13 words that a document shares with
a test set as a sign that the test set is in it, of lower-cased words without punctuation. Chinese has no blanks between
words, and a segmenter would cut the same sentence in two ways beside two neighbours; so there a unit is a character.
Thirteen characters are seven to nine words: rarely said twice by chance, though long names and set phrases are.

Texts with fewer units are looked for as a whole if they have at least 8, the least that Brown et al. go down to. What
stands in many documents is a set phrase and tells nothing; which runs these are only the whole corpus shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from albertine.data.minhash import Hashes
from albertine.data.unit_runs import MOST_CODES, CodeUnits, Units, normal_code_units, split_units, together
from albertine.errors import DataError
from albertine.files import atomic_path

__all__ = [
    "COMMON",
    "LEAST_DISTINCT",
    "RUN_CHARACTERS",
    "RUN_WORDS",
    "SHORTEST",
    "OverlapIndex",
    "OverlapIndexBuilder",
    "SharedRuns",
]

RUN_WORDS = 13
"""Units of a run that is looked for."""
RUN_CHARACTERS = 13
"""The same where most units of an evaluation text are Chinese, Japanese or Korean characters."""
SHORTEST = 8
"""Units of a text that is looked for as a whole."""
COMMON = 10
"""A run, or a short text, that stands in more documents of a corpus than this tells nothing: names of institutions,
legal formulas and sentences that a program wrote are not what a model is tested on, and documents that share nothing
else with an evaluation text stay. Brown et al. (2020, appendix C) pass over runs that more than 10 documents have."""
LEAST_DISTINCT = 4
"""Different units with letters that a run must have to say anything: numbers in a row, or the same laugh many times,
stand in texts that have nothing to do with each other."""

_SHARED_CODES = 1 << 12
"""Of two parts of a text that is too long to be split at once."""
_RUNS_TOGETHER = 1 << 15
_LARGEST_TABLE = 29
"""Binary digits of a place in it."""


class OverlapIndexBuilder:
    """Takes texts in, and keeps 16 bytes at most for every different run of theirs."""

    def __init__(self) -> None:
        self._heads = _Gathered()
        self._runs = _Gathered()
        self._wholes = _Gathered()
        self._lengths: set[int] = set()

    def add(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Take texts in.

        Returns:
            [N] which of them are looked for; the others are too short, or say nothing.
        """
        parts, owners = _parts(texts)
        taken = np.zeros(len(texts), dtype=np.bool_)
        for start, end in together([len(part) for part in parts]):
            units = split_units(parts[start:end])
            names = np.where(units.lettered(), units.runs(1), np.uint64(0))
            counts = np.diff(units.firsts)
            needed = np.where(2 * units.characters() > counts, RUN_CHARACTERS, RUN_WORDS)
            found = []
            for length in sorted({RUN_WORDS, RUN_CHARACTERS}):
                of_texts = np.repeat(needed == length, counts)
                begins = np.flatnonzero(units.inside(length) & of_texts[: max(len(names) - length + 1, 0)])
                found.append(self._take(units, _telling(names, begins, length), length, self._runs))
            for length in range(SHORTEST, max(RUN_WORDS, RUN_CHARACTERS)):
                begins = units.firsts[:-1][(counts == length) & (length < needed)]
                found.append(self._take(units, _telling(names, begins, length), length, self._wholes))
            taken[owners[start + units.owners(np.concatenate(found))]] = True
        return taken

    def _take(self, units: Units, begins: npt.NDArray[np.int64], length: int, kind: _Gathered) -> npt.NDArray[np.int64]:
        """Keep some runs of a length; returns where they begin."""
        if len(begins):
            self._lengths.add(length)
            kind.add(units.run_at(begins, length))
            self._heads.add(units.run_at(begins, SHORTEST))
        return begins

    def build(self) -> OverlapIndex:
        """Return the index of everything that was taken in."""
        return OverlapIndex(self._heads.all(), self._runs.all(), self._wholes.all(), sorted(self._lengths))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SharedRuns:
    """The H runs and short texts that texts share with evaluation texts, in the order in which they stand.

    Each is given once a text (or once a part of a text that is too long to be split at once).
    """

    owners: npt.NDArray[np.int64]
    """[H] the place of the text that each stands in, ascending."""
    hashes: Hashes
    """[H] the same for the same units."""
    begins: npt.NDArray[np.int64]
    """[H] where each begins in `codes`."""
    ends: npt.NDArray[np.int64]
    """[H]."""
    codes: CodeUnits
    """[C] the stretches of the texts that are shared, one after another."""

    @property
    def texts(self) -> npt.NDArray[np.int64]:
        """The places of the texts that share anything, ascending."""
        return np.unique(self.owners)

    def passage(self, run: int) -> str:
        """Return a run as it first stands in its text, with everything between its units."""
        return self.codes[self.begins[run] : self.ends[run]].tobytes().decode("utf-16-le", errors="replace")


class OverlapIndex:
    """Looks for the runs of evaluation texts; two different runs share a hash with a probability of 5e-20.

    Beside the hashes, which processes share when they are loaded from a file, tables take 4 to 8 bytes a run, up to
    128 MB.

    Args:
        heads: hashes of the first 8 units of everything that is looked for, sorted, each once.
        runs: hashes of runs of 13 units, likewise.
        wholes: of all units of short texts, likewise.
        lengths: how many units the runs and short texts have, in ascending order.
    """

    def __init__(self, heads: Hashes, runs: Hashes, wholes: Hashes, lengths: Sequence[int]) -> None:
        self._heads = _HashSet(heads)
        self._runs = _HashSet(runs)
        self._wholes = _HashSet(wholes)
        self._lengths = tuple(lengths)

    @property
    def runs(self) -> int:
        """How many different runs of 13 units are looked for."""
        return len(self._runs.hashes)

    @property
    def wholes(self) -> int:
        """How many different texts are looked for as a whole."""
        return len(self._wholes.hashes)

    def find(self, texts: Sequence[str]) -> SharedRuns:
        """Find what texts share with evaluation texts."""
        parts, owners = _parts(texts)
        found: list[SharedRuns] = []
        size = 0
        for start, end in together([len(part) for part in parts]):
            units = split_units(parts[start:end])
            begins, lengths, hashes = self._found(units)
            if len(begins):
                found.append(_shared(units, begins, lengths, hashes, owners[start:end], size))
                size += len(found[-1].codes)
        return SharedRuns(
            owners=np.concatenate([owners[:0], *(one.owners for one in found)]),
            hashes=np.concatenate([np.zeros(0, dtype=np.uint64), *(one.hashes for one in found)]),
            begins=np.concatenate([owners[:0], *(one.begins for one in found)]),
            ends=np.concatenate([owners[:0], *(one.ends for one in found)]),
            codes=np.concatenate([np.zeros(0, dtype=np.uint16), *(one.codes for one in found)]),
        )

    def _found(self, units: Units) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Hashes]:
        """Return where shared runs and texts begin, how many units they have, and their hashes."""
        heads = self._heads.places(units.runs(SHORTEST))
        begins, lengths, hashes = [heads[:0]], [heads[:0]], [np.zeros(0, dtype=np.uint64)]
        for length in self._lengths if len(heads) else ():
            possible = heads[heads + length <= units.firsts[-1]]
            named = units.run_at(possible, length)
            for kind in (self._runs, self._wholes):
                places = kind.places(named)
                begins.append(possible[places])
                lengths.append(np.full(len(places), length))
                hashes.append(named[places])
        found, of, names = np.concatenate(begins), np.concatenate(lengths), np.concatenate(hashes)
        inside = np.flatnonzero(found + of <= units.firsts[units.owners(found) + 1])
        order = inside[np.argsort(found[inside], kind="stable")]
        return found[order], of[order], names[order]

    def save(self, path: Path) -> None:
        """Write it down.

        Raises:
            FailureError: the disk is full.
        """
        parts = [np.array(self._lengths), self._heads.hashes, self._runs.hashes, self._wholes.hashes]
        sizes = np.array([len(part) for part in parts])
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate([part.astype("<u8") for part in (sizes, *parts)]))

    @classmethod
    def load(cls, path: Path) -> OverlapIndex:
        """Open what `save` wrote.

        Raises:
            DataError: it is damaged.
        """
        try:
            content = np.load(path, mmap_mode="r", allow_pickle=False)
            edges = 4 + np.cumsum([0, *content[:4].tolist()])
            if content.dtype != np.dtype("<u8") or edges[-1] != len(content):
                raise ValueError("another size")
        except (OSError, ValueError) as error:
            raise DataError("this is no index of evaluation texts", where=str(path), received=str(error)) from error
        lengths, heads, runs, wholes = (content[edges[part] : edges[part + 1]] for part in range(4))
        return cls(heads, runs, wholes, lengths.tolist())


class _HashSet:
    """Sorted hashes, and a table by their first binary digits, by which nearly all others are told at once."""

    def __init__(self, hashes: Hashes) -> None:
        digits = min(max(16 * len(hashes), 1 << 10).bit_length(), _LARGEST_TABLE)
        self.hashes = hashes
        self._shift = np.uint64(64 - digits)
        self._table = np.zeros(1 << (digits - 3), dtype=np.uint8)
        if len(hashes):
            place = hashes >> self._shift
            # The hashes are sorted, so those of one byte stand side by side.
            filled, firsts = np.unique(place >> np.uint64(3), return_index=True)
            bits = np.uint8(1) << (place.astype(np.uint8) & np.uint8(7))
            self._table[filled.view(np.int64)] = np.bitwise_or.reduceat(bits, firsts)

    def places(self, values: Hashes) -> npt.NDArray[np.int64]:
        """Return where the values are that are in the set."""
        place = values >> self._shift
        bits = self._table[(place >> np.uint64(3)).view(np.int64)] >> (place.astype(np.uint8) & np.uint8(7))
        possible = np.flatnonzero(bits & np.uint8(1))
        at = np.searchsorted(self.hashes, values[possible])
        at[at == len(self.hashes)] = 0
        if len(possible):
            possible = possible[self.hashes[at] == values[possible]]
        return possible


class _Gathered:
    """Hashes that are put in order when there are as many new ones as old ones."""

    def __init__(self) -> None:
        self._old: Hashes = np.zeros(0, dtype=np.uint64)
        self._new: list[Hashes] = []
        self._waiting = 0

    def add(self, hashes: Hashes) -> None:
        self._new.append(hashes)
        self._waiting += len(hashes)
        if self._waiting > max(len(self._old), MOST_CODES):
            self.all()

    def all(self) -> Hashes:
        self._old = np.unique(np.concatenate([self._old, *self._new]))
        self._new, self._waiting = [], 0
        return self._old


def _telling(names: Hashes, begins: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Return those runs, by where they begin, that have enough different units; 0 names all units without letters."""
    telling = [begins[:0]]
    for start in range(0, len(begins), _RUNS_TOGETHER):
        part = begins[start : start + _RUNS_TOGETHER]
        units = np.sort(names[part[:, None] + np.arange(length)], axis=1)
        distinct = np.count_nonzero(np.diff(units, axis=1), axis=1) + (units[:, 0] != 0)
        telling.append(part[distinct >= LEAST_DISTINCT])
    return np.concatenate(telling)


def _shared(
    units: Units,
    begins: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    hashes: Hashes,
    owners: npt.NDArray[np.int64],
    size: int,
) -> SharedRuns:
    """Return runs, in the order of their places, with the stretches of text that they cover, behind `size` others."""
    of = owners[units.owners(begins)]
    order = np.lexsort((hashes, of))
    again = np.zeros(len(order), dtype=np.bool_)
    again[1:] = (np.diff(of[order]) == 0) & (np.diff(hashes[order]) == 0)
    each = np.sort(order[~again])
    first = units.places[units.starts[begins[each]]]
    last = units.places[units.starts[begins[each] + lengths[each]] - 1] + 1
    # Runs that overlap make up one stretch, which is kept once.
    reached = np.maximum.accumulate(last)
    opens = np.ones(len(each), dtype=np.bool_)
    opens[1:] = first[1:] > reached[:-1]
    froms, tos = first[opens], reached[np.append(np.flatnonzero(opens)[1:] - 1, len(each) - 1)]
    moved = (size + np.cumsum(tos - froms) - tos)[np.cumsum(opens) - 1]
    return SharedRuns(
        owners=of[each],
        hashes=hashes[each],
        begins=first + moved,
        ends=last + moved,
        codes=np.concatenate([units.codes[begin:end] for begin, end in zip(froms, tos, strict=True)]),
    )


def _parts(texts: Sequence[str]) -> tuple[list[CodeUnits], npt.NDArray[np.int64]]:
    """Return texts as code units, very long ones in parts that share their ends, and which text each part is of."""
    parts: list[CodeUnits] = []
    owners: list[int] = []
    for owner, text in enumerate(texts):
        codes = normal_code_units(text)
        step = MOST_CODES - _SHARED_CODES
        for start in range(0, max(len(codes) - _SHARED_CODES, 1), step):
            parts.append(codes[start : start + MOST_CODES])
            owners.append(owner)
    return parts, np.array(owners, dtype=np.int64)
