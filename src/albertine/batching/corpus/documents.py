"""The long part of a build: every block of documents read, made by workers and counted, from wherever it stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from albertine.batching.corpus.blocks import BLOCKS, BlockMaker, BlockSummary, block_path, load_summary
from albertine.batching.corpus.choices import CorpusChoices
from albertine.batching.corpus.reading import DocumentBlock, Position, read_blocks
from albertine.batching.corpus.report import StageCount, stages_from
from albertine.batching.corpus.workers import make_blocks
from albertine.data.cleaning import CleaningReport
from albertine.data.corpus import ReadingReport
from albertine.errors import DataError
from albertine.files import write_json

__all__ = ["DocumentTotals", "check_some_left", "make_documents"]

_TOTALS = "documents.json"
_logger = logging.getLogger("albertine")


@dataclass(slots=True, kw_only=True)
class DocumentTotals:
    """What was counted over all blocks."""

    blocks: dict[int, int] = field(default_factory=dict)
    """Documents of every block, by its number."""
    characters: int = 0
    """As read."""
    tokens: int = 0
    stages: dict[str, StageCount] = field(default_factory=dict)
    removed: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    cleaning: CleaningReport = field(default_factory=CleaningReport)
    reading: ReadingReport = field(default_factory=ReadingReport)
    peaks: dict[int, int] = field(default_factory=dict)
    """The most memory of every process, by its number."""

    @property
    def documents(self) -> int:
        """Documents of all blocks."""
        return sum(self.blocks.values())

    @property
    def block_documents(self) -> list[int]:
        """Documents of every block, in order."""
        return [self.blocks[number] for number in range(len(self.blocks))]

    def add(self, block: BlockSummary) -> None:
        """Add a block."""
        self.blocks[block.number] = block.documents
        self.characters += block.characters_read
        self.tokens += block.tokens
        for name, stage in block.stages.items():
            self.stages.setdefault(name, StageCount()).add(stage)
        self.removed.update(block.removed)
        self.languages.update(block.languages)
        self.cleaning.add(block.cleaning)
        self.peaks[block.process] = max(self.peaks.get(block.process, 0), block.peak_memory)

    def save(self, work: Path) -> None:
        """Write it down: with it, all blocks are known to be there."""
        # asdict makes something else of counters.
        plain = {"removed": dict(self.removed), "languages": dict(self.languages)}
        values = dataclasses.asdict(self) | plain | {"reading": Position(before=self.reading).to_json()}
        write_json(work / _TOTALS, values)

    @classmethod
    def load(cls, work: Path) -> DocumentTotals | None:
        """Read what `save` wrote; None where it did not yet."""
        path = work / _TOTALS
        if not path.exists():
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        totals = BlockSummary.from_json(
            json.dumps({"number": 0, "position": "", "stages": values["stages"], "cleaning": values["cleaning"]})
        )
        return cls(
            blocks={int(number): count for number, count in values["blocks"].items()},
            characters=values["characters"],
            tokens=values["tokens"],
            stages=stages_from(values["stages"]),
            removed=Counter(values["removed"]),
            languages=Counter(values["languages"]),
            cleaning=totals.cleaning,
            reading=Position.from_json(values["reading"]).before,
            peaks={int(number): peak for number, peak in values["peaks"].items()},
        )


def make_documents(
    files: Sequence[Path],
    choices: CorpusChoices,
    *,
    work: Path,
    workers: int,
    progress: Callable[[DocumentTotals], None],
) -> DocumentTotals:
    """Make the blocks that are not there yet.

    Args:
        files: all files of the corpus, in order.
        choices: what to do.
        work: the folder with what workers need to know.
        workers: processes; with 1 the work is done in this one.
        progress: called after every block.

    Raises:
        DataError: a file cannot be used, or no document is left.
        FailureError: the disk is full or a worker died; the blocks that are finished stay.
    """
    finished = DocumentTotals.load(work)
    if finished is not None:
        return finished
    totals, first, position = _found(work)
    if totals.blocks:
        _logger.info("going on behind %d finished blocks of documents", len(totals.blocks))
        progress(totals)
    report = ReadingReport()

    def missing() -> Iterator[DocumentBlock]:
        for block in read_blocks(files, choices.reading, number=first, position=position, report=report):
            if block.number not in totals.blocks:
                yield block

    def done(summary: str) -> None:
        totals.add(BlockSummary.from_json(summary))
        progress(totals)

    if workers == 1:
        maker = BlockMaker(work)
        for block in missing():
            done(maker(block))
    else:
        make_blocks(missing(), work=work, workers=workers, done=done)
    totals.reading = report
    check_some_left(totals.documents, totals, files, work=work)
    totals.save(work)
    return totals


def _found(work: Path) -> tuple[DocumentTotals, int, Position | None]:
    """Return what is finished, the first block that is not, and where it starts."""
    folder = work / BLOCKS
    folder.mkdir(parents=True, exist_ok=True)
    totals = DocumentTotals()
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            with contextlib.suppress(OSError):
                path.unlink()  # half a block of a process that was killed
        else:
            totals.add(load_summary(path))
    first = next(number for number in range(len(totals.blocks) + 1) if number not in totals.blocks)
    if not first:
        return totals, 0, None
    return totals, first, Position.from_json(load_summary(block_path(work, first - 1)).position)


def check_some_left(
    left: int, totals: DocumentTotals, files: Sequence[Path], *, work: Path, selected: Mapping[str, int] | None = None
) -> None:
    """Refuse a corpus of which nothing is left, and say which step took it.

    The blocks are removed then, so that the same folder will do for other options.

    Args:
        left: how many documents are left.
        totals: what was counted over all blocks.
        files: all files of the corpus.
        work: the folder of the blocks.
        selected: documents that the selection left out, by reason.

    Raises:
        DataError: no document is left.
    """
    if left:
        return
    shutil.rmtree(work / BLOCKS)
    reading = totals.reading
    where = str(files[0]) if len(files) == 1 else f"{len(files)} files from {files[0]} on"
    if not reading.documents:
        lost = [f"{count} {kind}" for kind, count in reading.skipped.items()]
        lost += [f"{reading.empty} empty"] if reading.empty else []
        raise DataError(
            "these files hold no documents",
            where=where,
            received=", ".join(lost) or "nothing but blank lines",
            next_step="Check the files, --format and --text-key",
        )
    removed = totals.removed + Counter(selected or {})
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in removed.most_common())
    worst = removed.most_common(1)[0][0] if removed else ""
    advice = {
        "too short": "Lower --min-characters, or check that blank lines stand between documents and not between lines",
        "another language": "Check --language, or leave it out",
        "overlapping evaluation texts": "Check what --exclude names: is it the corpus itself?",
    }
    raise DataError(
        f"none of the {reading.documents:,} documents is left",
        where=where,
        received=reasons,
        next_step=advice.get(worst, "Check the texts and the tokenizer"),
    )
