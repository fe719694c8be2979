"""Which documents go where: evaluation texts and duplicates out, a few held out, the rest for training."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from albertine.batching.corpus.blocks import keys_path
from albertine.batching.corpus.choices import CorpusChoices
from albertine.batching.corpus.overlaps import leave_out, remove_overlaps
from albertine.batching.corpus.report import Exclusion, StageCount
from albertine.data.corpus_duplicates import DuplicateReport, find_duplicates
from albertine.data.duplicate_keys import KeyFile
from albertine.data.minhash import Hashes, mixed
from albertine.files import atomic_path, write_json

__all__ = ["DUPLICATE", "HELD_OUT", "OVERLAP", "TRAIN", "Selection", "hold_out", "select"]

TRAIN, HELD_OUT, DUPLICATE, OVERLAP = range(4)
"""What the selection says of a document."""

_CODES = "selection.bin"
_FILE = "selection.json"
_MOST_HELD_OUT = 0.1
_PIECE = 1 << 20
_ALL, _REMAINING = "all", "remaining"
"""Folders of the search for duplicates: among all documents, and among those that do not overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What becomes of every document."""

    codes: npt.NDArray[np.uint8]
    """[documents] `TRAIN`, `HELD_OUT`, `DUPLICATE` or `OVERLAP`."""
    removed: Mapping[str, int]
    """Documents that overlap with evaluation texts, and duplicates, by kind."""
    excluded: Exclusion | None
    """What was left out for evaluation texts; None where none were given."""
    share: float
    """Below which hashes are held out, as a share of all."""
    overlap: StageCount
    """Time that choosing them took, as in the next two."""
    duplicates: StageCount
    held_out: StageCount

    @property
    def kept(self) -> int:
        """Documents that are written."""
        return int(np.count_nonzero((self.codes == TRAIN) | (self.codes == HELD_OUT)))


def select(
    work: Path, block_documents: Sequence[int], choices: CorpusChoices, exclusion: Exclusion | None = None
) -> Selection:
    """Leave evaluation texts and duplicates out, hold documents out; what was chosen before is not chosen again.

    Duplicates are looked for twice where documents overlap with evaluation texts: among all documents, so that copies
    count as one where it is counted how many documents have a run, and among those that remain, so that these are
    chosen as if the others had never been there.

    Args:
        work: the folder of the blocks' keys and of what they share with evaluation texts, which are removed in the end.
        block_documents: how many documents each block has.
        choices: of the build.
        exclusion: the evaluation texts that were looked for; None where none were given.

    Raises:
        FailureError: the disk is full.
    """
    note = work / _FILE
    if not note.exists():
        codes = np.zeros(sum(block_documents), dtype=np.uint8)
        overlap, duplicates, held_out = StageCount(), StageCount(), StageCount()
        removed: dict[str, int] = {}
        keys = [keys_path(work, number) for number in range(len(block_documents))]
        found: DuplicateReport | None = None
        if choices.duplicates != "keep" or exclusion is not None:
            with duplicates.timed():
                found = find_duplicates(keys, _folder(work, _ALL), choices.keys)
        if found is not None and exclusion is not None:
            with overlap.timed():
                left_out, exclusion = leave_out(work, block_documents, found.first, exclusion)
                codes[left_out] = OVERLAP
                removed["overlapping evaluation texts"] = exclusion.documents
        remain = codes == TRAIN
        if found is not None and choices.duplicates != "keep" and remain.any():
            with duplicates.timed():
                if not remain.all():
                    found = find_duplicates(keys, _folder(work, _REMAINING), choices.keys, without=~remain)
                removed |= _mark_duplicates(codes, found, choices)
        with held_out.timed():
            share = hold_out(codes, keys, share=choices.held_out, least=choices.held_out_documents, seed=choices.seed)
        with atomic_path(work / _CODES) as temporary:
            codes.tofile(temporary)
        values = {
            "removed": removed,
            "share": share,
            "excluded": exclusion and dataclasses.asdict(exclusion),
            "overlap": dataclasses.asdict(overlap),
            "duplicates": dataclasses.asdict(duplicates),
            "held_out": dataclasses.asdict(held_out),
        }
        write_json(note, values)
    shutil.rmtree(work / "keys", ignore_errors=True)
    shutil.rmtree(work / "duplicates", ignore_errors=True)
    remove_overlaps(work)
    values = json.loads(note.read_text(encoding="utf-8"))
    return Selection(
        codes=np.fromfile(work / _CODES, dtype=np.uint8),
        removed=values["removed"],
        excluded=values["excluded"] and Exclusion.from_dict(values["excluded"]),
        share=values["share"],
        overlap=StageCount(**values["overlap"]),
        duplicates=StageCount(**values["duplicates"]),
        held_out=StageCount(**values["held_out"]),
    )


def _folder(work: Path, name: str) -> Path:
    folder = work / "duplicates" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _mark_duplicates(codes: npt.NDArray[np.uint8], found: DuplicateReport, choices: CorpusChoices) -> dict[str, int]:
    for start in range(0, len(codes), _PIECE):
        part = codes[start : start + _PIECE]
        part[~found.kept(start, start + len(part))] = DUPLICATE
    return {"exact duplicates": found.exact, **({"near duplicates": found.near} if choices.keys.near else {})}


def hold_out(codes: npt.NDArray[np.uint8], key_files: Sequence[Path], *, share: float, least: int, seed: int) -> float:
    """Mark the held-out documents among those marked for training.

    A document is held out if the hash of its text and the seed lies below a threshold; so the choice depends on no
    other document, equal texts stay together, and files that are added move nothing. The threshold is `share`; where
    that gives fewer than `least` documents it is doubled until it does, up to a tenth. As a corpus grows out of that, a
    document may go from held out to training, never the other way.

    Args:
        codes: of every document; changed in place.
        key_files: of the documents, in order; see `data.duplicate_keys`.
        share: of the documents that is to be held out; 0 for none.
        least: documents to hold out, if a tenth is that many.
        seed: of the choice.

    Returns:
        The threshold as a share.
    """
    if share <= 0:
        return 0.0
    steps = [share]
    while steps[-1] * 2 <= _MOST_HELD_OUT:
        steps.append(steps[-1] * 2)
    if steps[-1] < _MOST_HELD_OUT:
        steps.append(_MOST_HELD_OUT)
    counts = np.zeros(len(steps), dtype=np.int64)
    smallest = np.uint64(np.iinfo(np.uint64).max)
    candidates = 0
    for keys, part in _keys(codes, key_files, seed):
        mine = keys[part == TRAIN]
        counts += [int(np.count_nonzero(mine < _threshold(step))) for step in steps]
        candidates += len(mine)
        smallest = min(smallest, mine.min()) if len(mine) else smallest
    chosen = next((step for step, count in zip(steps, counts.tolist(), strict=True) if count >= least), steps[-1])
    threshold = _threshold(chosen)
    if candidates > 1 and not counts[steps.index(chosen)]:
        threshold = np.uint64(smallest + np.uint64(1))  # a handful of documents: one of them all the same
    for keys, part in _keys(codes, key_files, seed):
        part[(part == TRAIN) & (keys < threshold)] = HELD_OUT
    return chosen


def _threshold(share: float) -> np.uint64:
    return np.uint64(int(share * 2**64))


def _keys(
    codes: npt.NDArray[np.uint8], key_files: Sequence[Path], seed: int
) -> Iterator[tuple[Hashes, npt.NDArray[np.uint8]]]:
    """Yield piece by piece what decides about documents, and their part of the codes (a view)."""
    border = 0
    salt = mixed(np.array([seed + 1], dtype=np.uint64))
    for path in key_files:
        for exact in KeyFile(path).column(None):
            yield mixed(exact ^ salt), codes[border : border + len(exact)]
            border += len(exact)
