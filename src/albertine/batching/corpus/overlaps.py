"""Documents that share runs with evaluation texts, and which of them are left out.

A run that many documents have tells nothing (`data.overlap.COMMON`), and how many have it is known only when all blocks
are made. So each block keeps the runs of its documents, and the choice is made over all of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file

from albertine.batching.corpus.report import OVERLAPS_KEPT, CommonRun, Exclusion, Overlap
from albertine.data.corpus import Document
from albertine.data.external_grouping import grouped
from albertine.data.minhash import Hashes
from albertine.data.overlap import COMMON, SharedRuns
from albertine.files import atomic_path

__all__ = ["BlockOverlaps", "leave_out", "remove_overlaps", "write_overlaps"]

_FOLDER = "overlaps"
_DOCUMENTS = "documents"
_RUN_BYTES = 20
"""Of a run in a block's file, beside its passage."""
_SHOWN = 200
"""Characters of a shared passage that are told."""
_COMMON_SHOWN = 3
_CANDIDATES = 1000
"""The most frequent runs, among which those that are told are looked for: many are one phrase, a unit further on."""

_Booleans = npt.NDArray[np.bool_]
_Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockOverlaps:
    """What the documents of a block share with evaluation texts."""

    shared: SharedRuns
    """Its owners are numbers of documents in the block."""
    documents: tuple[Document, ...]
    """[D] those that share anything, in order, without their texts."""
    characters: _Integers
    """[D] of their texts, cleaned."""
    tokens: _Integers
    """[D]."""


def write_overlaps(work: Path, number: int, found: BlockOverlaps) -> None:
    """Keep what a block's documents share: 20 bytes a run, and the shared stretches of their texts.

    Raises:
        FailureError: the disk is full.
    """
    shared = found.shared
    arrays: dict[str, npt.NDArray[Any]] = {
        "owners": shared.owners.astype(np.uint32),
        "hashes": shared.hashes,
        "begins": shared.begins.astype(np.uint32),
        "ends": shared.ends.astype(np.uint32),
        "codes": shared.codes,
        "characters": found.characters,
        "tokens": found.tokens,
    }
    named = [[one.name, one.source, one.place] for one in found.documents]
    with atomic_path(_path(work, number)) as temporary:
        save_file(arrays, temporary, metadata={_DOCUMENTS: json.dumps(named)})


def remove_overlaps(work: Path) -> None:
    """Remove what was kept of all blocks."""
    shutil.rmtree(work / _FOLDER, ignore_errors=True)


def leave_out(work: Path, block_documents: Sequence[int], first: Path, asked: Exclusion) -> tuple[_Booleans, Exclusion]:
    """Choose the documents that are left out: those that share a run which is not common.

    Documents that are the same, or nearly, count as one where it is counted how many have a run; else an evaluation
    text would become a common phrase by being copied often, and stay. All of them are left out.

    Args:
        work: the folder in which the blocks keep their runs.
        block_documents: how many documents each block has.
        first: a numpy file, [documents]: the first document of each one's group; see `corpus_duplicates`.
        asked: what was looked for.

    Returns:
        [documents] which are left out, and what there is to tell of it.

    Raises:
        FailureError: the disk is full.
    """
    blocks = len(block_documents)
    borders = np.concatenate([[0], np.cumsum(block_documents, dtype=np.int64)])
    common, frequencies = _common_runs(work, blocks, borders, np.load(first, mmap_mode="r", allow_pickle=False))
    left_out = np.zeros(int(borders[-1]), dtype=np.bool_)
    characters = tokens = 0
    named: list[Overlap] = []
    phrases = _Phrases(common, frequencies)
    for number in range(blocks):
        found = _read(work, number)
        shared = found.shared
        telling = np.flatnonzero(~_among(shared.hashes, common))
        owners, places = np.unique(shared.owners[telling], return_index=True)
        left_out[borders[number] + owners] = True
        chosen = np.searchsorted(shared.texts, owners)
        characters += int(found.characters[chosen].sum())
        tokens += int(found.tokens[chosen].sum())
        missing = OVERLAPS_KEPT - len(named)
        for document, run in zip(chosen[:missing].tolist(), telling[places[:missing]].tolist(), strict=True):
            named.append(_overlap(found.documents[document], shared.passage(run)))
        phrases.look(number, shared)
    return left_out, replace(
        asked,
        documents=int(np.count_nonzero(left_out)),
        characters=characters,
        tokens=tokens,
        examples=tuple(named),
        common=len(common),
        common_examples=phrases.examples(),
    )


class _Phrases:
    """Passages of the most frequent common runs, and those of them that say different things.

    Args:
        common: hashes of all common runs, ascending.
        frequencies: how many documents have each.
    """

    def __init__(self, common: Hashes, frequencies: _Integers) -> None:
        chosen = np.sort(np.argsort(-frequencies, kind="stable")[:_CANDIDATES])
        self._hashes = common[chosen]
        self._frequencies = frequencies[chosen]
        self._places: dict[int, tuple[int, int, int, str]] = {}

    def look(self, block: int, shared: SharedRuns) -> None:
        """Keep where candidates stand first: the block, from where to where, the passage."""
        runs = np.flatnonzero(_among(shared.hashes, self._hashes))
        names, firsts = np.unique(np.searchsorted(self._hashes, shared.hashes[runs]), return_index=True)
        for name, run in zip(names.tolist(), runs[firsts].tolist(), strict=True):
            if name not in self._places:
                place = (block, int(shared.begins[run]), int(shared.ends[run]))
                self._places[name] = (*place, shared.passage(run)[:_SHOWN])

    def examples(self) -> tuple[CommonRun, ...]:
        """Return the most frequent ones of which none overlaps with another where it stands first."""
        told: list[tuple[int, int, int]] = []
        examples = []
        for name in sorted(self._places, key=lambda name: (-int(self._frequencies[name]), self._places[name])):
            block, begin, end, passage = self._places[name]
            if len(told) == _COMMON_SHOWN:
                break
            if not any(block == of and begin < stop and start < end for of, start, stop in told):
                told.append((block, begin, end))
                examples.append(CommonRun(passage=passage, documents=int(self._frequencies[name])))
        return tuple(examples)


def _common_runs(work: Path, blocks: int, borders: _Integers, first: npt.NDArray[np.int32]) -> tuple[Hashes, _Integers]:
    """Return the hashes of common runs, ascending, and how many documents have each."""

    def runs() -> Iterator[tuple[Hashes, npt.NDArray[np.uint32]]]:
        for number in range(blocks):
            shared = _read(work, number).shared
            yield shared.hashes, (borders[number] + shared.owners).astype(np.uint32)

    total = sum(_path(work, number).stat().st_size for number in range(blocks)) // _RUN_BYTES
    hashes = [np.zeros(0, dtype=np.uint64)]
    frequencies = [np.zeros(0, dtype=np.int64)]
    for group in grouped(runs, total, work / _FOLDER):
        groups = first[group.numbers]
        order = np.lexsort((groups, group.keys))
        once = np.ones(len(order), dtype=np.bool_)
        once[1:] = (np.diff(group.keys[order]) != 0) | (np.diff(groups[order]) != 0)
        values, counts = np.unique(group.keys[order][once], return_counts=True)
        hashes.append(values[counts > COMMON])
        frequencies.append(counts[counts > COMMON])
    return np.concatenate(hashes), np.concatenate(frequencies)


def _among(values: Hashes, some: Hashes) -> _Booleans:
    """Return which values are among some others, which are ascending."""
    if not len(some):
        return np.zeros(len(values), dtype=np.bool_)
    found: _Booleans = some[np.minimum(np.searchsorted(some, values), len(some) - 1)] == values
    return found


def _overlap(document: Document, passage: str) -> Overlap:
    return Overlap(document=document.name, source=document.source, line=document.place, shared=passage[:_SHOWN])


def _path(work: Path, number: int) -> Path:
    return work / _FOLDER / f"{number:07d}.safetensors"


def _read(work: Path, number: int) -> BlockOverlaps:
    with safe_open(_path(work, number), framework="numpy") as file:
        named = json.loads(file.metadata()[_DOCUMENTS])
        return BlockOverlaps(
            shared=SharedRuns(
                owners=file.get_tensor("owners").astype(np.int64),
                hashes=file.get_tensor("hashes"),
                begins=file.get_tensor("begins").astype(np.int64),
                ends=file.get_tensor("ends").astype(np.int64),
                codes=file.get_tensor("codes"),
            ),
            documents=tuple(Document(text="", name=name, source=source, place=place) for name, source, place in named),
            characters=file.get_tensor("characters"),
            tokens=file.get_tensor("tokens"),
        )
