"""One block of documents, cleaned and cut into tokens, in a file of its own."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file

from albertine.batching.corpus.exclusion import load_index
from albertine.batching.corpus.overlaps import write_overlaps
from albertine.batching.corpus.plan import load_plan
from albertine.batching.corpus.reading import DocumentBlock
from albertine.batching.corpus.report import StageCount, stages_from
from albertine.batching.corpus.stages import DocumentStages
from albertine.data.cleaning import CleaningReport, StepCount
from albertine.evaluation.timing import peak_memory_bytes
from albertine.files import atomic_path
from albertine.records import IntArray

__all__ = ["BLOCKS", "Block", "BlockMaker", "BlockSummary", "block_path", "keys_path", "load_block", "load_summary"]

BLOCKS = "blocks"
"""Their folder in the work folder."""

_SUMMARY = "summary"


@dataclass(slots=True, kw_only=True)
class BlockSummary:
    """What is kept of a block beside its arrays."""

    number: int
    position: str
    """Where reading goes on behind it."""
    documents: int = 0
    """With tokens; as many as the arrays have."""
    characters_read: int = 0
    tokens: int = 0
    stages: dict[str, StageCount] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    """Documents left out, by reason."""
    languages: dict[str, int] = field(default_factory=dict)
    """Characters, by language."""
    cleaning: CleaningReport = field(default_factory=CleaningReport)
    process: int = 0
    """Number of the process that made it."""
    peak_memory: int = 0
    """Of that process so far, in bytes."""

    def to_json(self) -> str:
        """Write it down."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> BlockSummary:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        cleaning = values["cleaning"]
        cleaning["steps"] = {name: StepCount(**step) for name, step in cleaning["steps"].items()}
        return cls(**values | {"stages": stages_from(values["stages"]), "cleaning": CleaningReport(**cleaning)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The tokens of a block's documents."""

    tokens: IntArray
    """[S]."""
    word_starts: npt.NDArray[np.bool_]
    """[S]."""
    sentence_lengths: npt.NDArray[np.int64]
    """Tokens of every sentence."""
    document_sentences: npt.NDArray[np.int64]
    """Sentences of every document."""


def block_path(work: Path, number: int) -> Path:
    """Return where a block lies."""
    return work / BLOCKS / f"{number:07d}.safetensors"


def keys_path(work: Path, number: int) -> Path:
    """Return where the keys lie that tell a block's duplicates."""
    return work / "keys" / f"{number:07d}.keys"


def load_block(path: Path) -> Block:
    """Read a block's tokens."""
    with safe_open(path, framework="numpy") as file:
        tokens = file.get_tensor("tokens")
        return Block(
            tokens=tokens,
            word_starts=np.unpackbits(file.get_tensor("word_bits"), count=len(tokens)).astype(np.bool_),
            sentence_lengths=file.get_tensor("sentence_lengths").astype(np.int64),
            document_sentences=file.get_tensor("document_sentences").astype(np.int64),
        )


def load_summary(path: Path) -> BlockSummary:
    """Read a block's summary."""
    with safe_open(path, framework="numpy") as file:
        return BlockSummary.from_json(file.metadata()[_SUMMARY])


class BlockMaker:
    """Takes blocks of documents through all stages that look at one document alone, and writes them.

    Args:
        work: the folder with the plan, the tokenizer and, if there are any, the index of evaluation texts; blocks are
            written there.
        process: number of this process, for the report.
    """

    def __init__(self, work: Path, *, process: int = 0) -> None:
        self._work = work
        self._process = process
        plan, tokenizer = load_plan(work)
        self._stages = DocumentStages(
            plan.choices, tokenizer, boilerplate=plan.boilerplate, evaluation=load_index(work)
        )

    def __call__(self, block: DocumentBlock) -> str:
        """Make a block, write it, and return its summary as JSON."""
        made = self._stages(block)
        self._stages.write_keys(keys_path(self._work, block.number), made)
        if made.overlaps is not None:
            with made.stages["overlap"].timed():
                write_overlaps(self._work, block.number, made.overlaps)
        summary = BlockSummary(
            number=block.number,
            position=block.position,
            documents=len(made.document_sentences),
            characters_read=made.stages["read"].characters_in,
            tokens=len(made.tokens),
            stages=made.stages,
            removed=dict(made.removed),
            languages=dict(made.languages),
            cleaning=made.cleaning,
            process=self._process,
            peak_memory=peak_memory_bytes(),
        ).to_json()
        arrays = {
            "tokens": made.tokens,
            "word_bits": np.packbits(made.word_starts),
            "sentence_lengths": made.sentence_lengths.astype(np.uint32),
            "document_sentences": made.document_sentences.astype(np.uint32),
        }
        # Last: with this file a block is finished.
        with atomic_path(block_path(self._work, block.number)) as temporary:
            save_file(arrays, temporary, metadata={_SUMMARY: summary})
        return summary
