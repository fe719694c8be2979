"""The documents of a corpus in blocks of about equal size, from any place on."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from albertine.data.corpus import CorpusFormat, Document, ReadingReport, read_documents
from albertine.data.results import BadRow

__all__ = ["BLOCK_CHARACTERS", "LONGEST_DOCUMENT", "DocumentBlock", "Position", "ReadingChoices", "read_blocks"]

BLOCK_CHARACTERS = 1 << 19
"""A block ends with the document that fills it."""
LONGEST_DOCUMENT = 1 << 20
"""Characters; longer documents count as several, so that memory stays flat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingChoices:
    """How files of text are read; see `data.corpus.read_documents`."""

    encoding: str = "utf-8"
    on_error: str = "stop"
    format: CorpusFormat = "auto"
    text_key: str | None = None
    keep_titles: bool = False


@dataclass(slots=True, kw_only=True)
class Position:
    """Where reading stands."""

    file: int = 0
    """The file that is being read, counted from 0."""
    documents: int = 0
    """How many of its documents have been read."""
    before: ReadingReport = field(default_factory=ReadingReport)
    """What was read in the files before it."""

    def to_json(self) -> str:
        """Write it down."""
        report = dataclasses.asdict(self.before)
        report["skipped"] = dict(self.before.skipped)
        return json.dumps({"file": self.file, "documents": self.documents, "before": report}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Position:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        report = values["before"]
        report["skipped"] = Counter(report["skipped"])
        report["examples"] = [BadRow(**one) for one in report["examples"]]
        return cls(file=values["file"], documents=values["documents"], before=ReadingReport(**report))


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentBlock:
    """Consecutive documents of a corpus, as read."""

    number: int
    """Of the block, from 0."""
    documents: tuple[Document, ...]
    position: str
    """Where reading goes on behind it: a `Position` as JSON."""
    cpu_seconds: float
    """Processor time that reading it took."""
    wall_seconds: float

    def to_bytes(self) -> bytes:
        """Write it down for another process."""
        texts = [[one.text, one.name, one.source, one.place] for one in self.documents]
        values = [self.number, texts, self.position, self.cpu_seconds, self.wall_seconds]
        return json.dumps(values, ensure_ascii=False).encode("utf-8", errors="surrogatepass")

    @classmethod
    def from_bytes(cls, data: bytes) -> DocumentBlock:
        """Read what `to_bytes` wrote."""
        number, texts, position, cpu_seconds, wall_seconds = json.loads(data.decode("utf-8", errors="surrogatepass"))
        return cls(
            number=number,
            documents=tuple(
                Document(text=text, name=name, source=source, place=place) for text, name, source, place in texts
            ),
            position=position,
            cpu_seconds=cpu_seconds,
            wall_seconds=wall_seconds,
        )

    @property
    def where(self) -> str:
        """The places of its first and last document, for messages."""
        first, last = self.documents[0], self.documents[-1]
        return f"{first.source}:{first.place} to {last.source}:{last.place}"


def read_blocks(
    files: Sequence[Path],
    choices: ReadingChoices,
    *,
    number: int = 0,
    position: Position | None = None,
    report: ReadingReport,
) -> Iterator[DocumentBlock]:
    """Read blocks from a position on; where one ends follows from the documents alone.

    Args:
        files: all files of the corpus, in order.
        choices: how they are read.
        number: of the first block.
        position: where it starts; None for the beginning.
        report: gets what was read in all files, those before the position too.

    Raises:
        DataError: a file, an encoding or (with on_error "stop") a place in a file is not usable.
    """
    position = position or Position()
    report.add(position.before)
    documents: list[Document] = []
    size = 0
    cpu, wall = time.thread_time(), time.perf_counter()
    first, skipped = position.file, position.documents
    for index in range(first, len(files)):
        of_file = ReadingReport()
        read = read_documents(
            [files[index]],
            encoding=choices.encoding,
            on_error=choices.on_error,
            format=choices.format,
            text_key=choices.text_key,
            keep_titles=choices.keep_titles,
            longest=LONGEST_DOCUMENT,
            report=of_file,
        )
        for count, document in enumerate(read, 1):
            if index == first and count <= skipped:
                continue
            documents.append(document)
            size += len(document.text)
            if size >= BLOCK_CHARACTERS:
                end = Position(file=index, documents=count, before=report)
                yield _block(number, documents, end, cpu, wall)
                number, documents, size = number + 1, [], 0
                cpu, wall = time.thread_time(), time.perf_counter()
        report.add(of_file)
    if documents:
        yield _block(number, documents, Position(file=len(files), before=report), cpu, wall)


def _block(number: int, documents: list[Document], end: Position, cpu: float, wall: float) -> DocumentBlock:
    return DocumentBlock(
        number=number,
        documents=tuple(documents),
        position=end.to_json(),
        cpu_seconds=time.thread_time() - cpu,
        wall_seconds=time.perf_counter() - wall,
    )
