"""Finished blocks into shards: the chosen documents in their order, one split after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from albertine.batching.corpus.blocks import Block, block_path, load_block
from albertine.batching.shard_format import ShardRecord, Split, record_from_json, record_to_json
from albertine.batching.shard_writing import ShardWriter
from albertine.files import write_json
from albertine.tokenization.pieces import ragged_arange

__all__ = ["Assembly", "assemble"]

_JOURNAL = "shards.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """What shards are to be made of."""

    out: Path
    """The shard folder."""
    work: Path
    """The folder of the blocks."""
    block_documents: Sequence[int]
    """How many documents each block has."""
    selection: npt.NDArray[np.uint8]
    """Of every document of all blocks: what becomes of it."""
    codes: Mapping[Split, int]
    """What `selection` says for each split, in the order in which they are written."""
    dtype: npt.DTypeLike
    """Of the ids."""
    tokens_per_shard: int


def assemble(
    assembly: Assembly, *, progress: Callable[[float], None] = lambda _: None
) -> dict[Split, tuple[ShardRecord, ...]]:
    """Write the shards of every split; those that are there already are not written again.

    A block is removed as soon as everything in it is in finished shards, so that little more than the corpus itself has
    to be on the disk.

    Args:
        assembly: what to write.
        progress: called with the share of blocks that are done.

    Raises:
        FailureError: the disk is full; the finished shards stay.
    """
    journal = _Journal(assembly.work)
    splits = list(assembly.codes)
    for place, split in enumerate(splits):
        last = place == len(splits) - 1
        _assemble_split(assembly, split, journal, remove=last, progress=progress if last else lambda _: None)
    return {split: journal.records.get(split, ()) for split in splits}


class _Journal:
    """Which shards are finished, kept in the work folder."""

    def __init__(self, work: Path) -> None:
        self._path = work / _JOURNAL
        self.records: dict[Split, tuple[ShardRecord, ...]] = {}
        if self._path.exists():
            content = json.loads(self._path.read_text(encoding="utf-8"))
            self.records = {split: tuple(map(record_from_json, entries)) for split, entries in content.items()}

    def note(self, split: Split, records: Sequence[ShardRecord]) -> None:
        self.records[split] = tuple(records)
        write_json(self._path, {name: [record_to_json(one) for one in done] for name, done in self.records.items()})


def _assemble_split(
    assembly: Assembly,
    split: Split,
    journal: _Journal,
    *,
    remove: bool,
    progress: Callable[[float], None],
) -> None:
    done = journal.records.get(split, ())
    finished = sum(record.documents for record in done)
    used: list[tuple[Path, int]] = []

    def on_shard(records: Sequence[ShardRecord]) -> None:
        journal.note(split, records)
        if remove:
            complete = sum(record.documents for record in records)
            while used and used[0][1] <= complete:
                used.pop(0)[0].unlink(missing_ok=True)

    writer = ShardWriter(
        assembly.out, split, assembly.dtype, tokens_per_shard=assembly.tokens_per_shard, done=done, on_shard=on_shard
    )
    border = seen = 0
    try:
        for number, count in enumerate(assembly.block_documents):
            chosen = np.flatnonzero(assembly.selection[border : border + count] == assembly.codes[split])
            missing = chosen[max(finished - seen, 0) :]
            border, seen = border + count, seen + len(chosen)
            path = block_path(assembly.work, number)
            used.append((path, seen))
            if len(missing):
                _add_documents(writer, load_block(path), missing)
            progress((number + 1) / len(assembly.block_documents))
        writer.close()
    finally:
        writer.abandon()


def _add_documents(writer: ShardWriter, block: Block, chosen: npt.NDArray[np.intp]) -> None:
    """Add some documents of a block to a split."""
    tokens, words = block.tokens, block.word_starts
    sentences, documents = block.sentence_lengths, block.document_sentences
    if len(chosen) < len(documents):
        first = np.cumsum(documents) - documents
        places = ragged_arange(first[chosen], documents[chosen])
        starts = np.cumsum(sentences) - sentences
        taken = ragged_arange(starts[places], sentences[places])
        tokens, words, sentences, documents = tokens[taken], words[taken], sentences[places], documents[chosen]
    zero = np.zeros(1, dtype=np.int64)
    writer.add(
        tokens,
        sentence_starts=np.concatenate([zero, np.cumsum(sentences)]),
        document_starts=np.concatenate([zero, np.cumsum(documents)]),
        word_starts=words,
    )
