"""The evaluation texts that a build keeps out of a corpus: read once, then an index that all its processes share."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from albertine.batching.corpus.report import ExcludedFile, Exclusion
from albertine.data.cleaning import Cleaner, CleaningChoices
from albertine.data.evaluation_texts import EvaluationFile, EvaluationText, evaluation_files, read_evaluation_texts
from albertine.data.overlap import SHORTEST, OverlapIndex, OverlapIndexBuilder
from albertine.errors import DataError
from albertine.files import sha256, write_json

__all__ = ["Excluded", "excluded_files", "load_index", "settle_exclusion"]

_logger = logging.getLogger("albertine")

_INDEX = "evaluation.npy"
_FILE = "evaluation.json"
_TEXTS_TOGETHER = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """A file of evaluation texts, as it decides what is written."""

    file: EvaluationFile
    bytes: int
    sha256: str

    def to_dict(self) -> dict[str, object]:
        """Return it for JSON; where it lies does not matter."""
        return {"name": self.file.name, "bytes": self.bytes, "sha256": self.sha256}


def excluded_files(paths: Sequence[Path | str]) -> tuple[Excluded, ...]:
    """Return the files that paths stand for, with their hashes.

    Raises:
        DataError: a path does not exist, holds nothing or cannot be read.
    """
    found = []
    for file in evaluation_files(paths):
        try:
            found.append(Excluded(file=file, bytes=file.path.stat().st_size, sha256=sha256(file.path)))
        except OSError as error:
            raise DataError(
                "this file of evaluation texts cannot be read", where=str(file.path), received=str(error)
            ) from error
    return tuple(found)


def settle_exclusion(work: Path, files: Sequence[Excluded], cleaning: CleaningChoices) -> Exclusion | None:
    """Make the index of evaluation texts, or find the one that was made; None where there are no files.

    The texts are looked for as they are and as they would be if they stood in the corpus, cleaned.

    Args:
        work: the work folder, in which the index is kept.
        files: all of them.
        cleaning: what is done to documents.

    Raises:
        DataError: a file cannot be read, or none holds a text that is long enough.
        FailureError: the disk is full.
    """
    if not files:
        return None
    note = work / _FILE
    if not note.exists():
        _logger.info("reading the evaluation texts of %d files", len(files))
        builder = OverlapIndexBuilder()
        cleaner = Cleaner(replace(cleaning, minimum=0))
        counted = tuple(_taken(one, builder, cleaner) for one in files)
        index = builder.build()
        if not index.runs and not index.wholes:
            raise DataError(
                "no evaluation text is long enough to be looked for",
                where=", ".join(str(one.file.path) for one in files[:3]),
                allowed=f"texts of {SHORTEST} units or more; a unit is a word, or a Chinese character",
                next_step="Check the files that are excluded",
            )
        index.save(work / _INDEX)
        write_json(note, dataclasses.asdict(Exclusion(files=counted, runs=index.runs, short_texts=index.wholes)))
    exclusion = Exclusion.from_dict(json.loads(note.read_text(encoding="utf-8")))
    _logger.info(
        f"left out are documents that overlap with {sum(one.texts for one in exclusion.files):,} evaluation texts "
        f"({exclusion.runs:,} different runs, {exclusion.short_texts:,} shorter texts as a whole)"
    )
    return exclusion


def load_index(work: Path) -> OverlapIndex | None:
    """Return the index of a build that has begun; None where nothing is excluded."""
    path = work / _INDEX
    return OverlapIndex.load(path) if path.exists() else None


def _taken(one: Excluded, builder: OverlapIndexBuilder, cleaner: Cleaner) -> ExcludedFile:
    """Take the texts of a file in, and count them."""
    texts = ignored = 0
    for batch in _batches(read_evaluation_texts(one.file.path)):
        given = [text.text for text in batch]
        taken = builder.add(given) | builder.add([cleaner(text) for text in given])
        for text, is_taken in zip(batch, taken.tolist(), strict=True):
            texts += is_taken and not text.again
            ignored += not is_taken and not text.again
    say = _logger.info if texts else _logger.warning
    say(f"{one.file.name}: {texts:,} evaluation texts, {ignored:,} labels, numbers and short texts ignored")
    return ExcludedFile(name=one.file.name, bytes=one.bytes, sha256=one.sha256, texts=texts, ignored=ignored)


def _batches(texts: Iterator[EvaluationText]) -> Iterator[list[EvaluationText]]:
    batch: list[EvaluationText] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _TEXTS_TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch
