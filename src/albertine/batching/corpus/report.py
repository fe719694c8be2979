"""What a corpus build did: documents, characters, tokens and time of every stage, sizes, memory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from albertine.batching.shard_format import Split
from albertine.data.cleaning import StepCount
from albertine.data.overlap import COMMON
from albertine.errors import DataError
from albertine.files import write_json

__all__ = [
    "OVERLAPS_KEPT",
    "REPORT_FILE",
    "STAGES",
    "CommonRun",
    "CorpusReport",
    "DiskUse",
    "ExcludedFile",
    "Exclusion",
    "Overlap",
    "SplitSize",
    "StageCount",
]

REPORT_SCHEMA = 1
REPORT_FILE = "report.json"
OVERLAPS_KEPT = 10
"""Documents left out for evaluation texts that are named."""
STAGES = ("read", "clean", "language", "sentences", "words", "tokens", "overlap", "duplicates", "held-out", "shards")
"""In the order in which they take documents out; overlap only where there are evaluation texts."""


@dataclass(slots=True, kw_only=True)
class StageCount:
    """What went into a stage and what came out of it."""

    documents_in: int = 0
    documents_out: int = 0
    characters_in: int = 0
    characters_out: int = 0
    tokens_in: int = 0
    """0 before there are tokens."""
    tokens_out: int = 0
    cpu_seconds: float = 0.0
    """Processor time, of all processes together."""
    wall_seconds: float = 0.0
    """Time on the clock, added up over processes that worked at the same time."""

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time that the block takes."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.cpu_seconds += time.process_time() - cpu
        self.wall_seconds += time.perf_counter() - wall

    def passed(self, before: Sequence[str], after: Sequence[str], *, tokens_out: int = 0) -> None:
        """Count the texts that went in and came out."""
        self.documents_in, self.documents_out = len(before), len(after)
        self.characters_in, self.characters_out = sum(map(len, before)), sum(map(len, after))
        self.tokens_out = tokens_out

    def add(self, other: StageCount) -> None:
        """Add what another process or an earlier run counted."""
        for item in dataclasses.fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSize:
    """How large a split is."""

    documents: int
    sentences: int
    words: int
    tokens: int
    shards: int
    bytes: int
    """Of its files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUse:
    """What the build was expected to take, before it started."""

    corpus_bytes: int
    """Of the finished folder."""
    peak_bytes: int
    """At the most, while it is built."""
    free_bytes: int
    """On the disk of the folder, when it was predicted."""
    tokens: int
    """Expected in both splits together."""
    characters: int
    """Expected to be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedFile:
    """A file of evaluation texts."""

    name: str
    bytes: int
    sha256: str
    texts: int = 0
    """That were looked for."""
    ignored: int = 0
    """Labels, names, numbers and short texts, which were not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """A document that was left out."""

    document: str
    """Its title, id or place."""
    source: str
    """The file it stands in."""
    line: int
    shared: str
    """The first passage in it that stands in an evaluation text and is not common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonRun:
    """A set phrase that stands in an evaluation text."""

    passage: str
    """As it first stands in the corpus."""
    documents: int
    """That it stands in; those that are the same, or nearly, count as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """What was left out because it overlaps with evaluation texts; see `data.overlap`."""

    files: tuple[ExcludedFile, ...]
    runs: int
    """Different runs of words or characters that were looked for."""
    short_texts: int
    """Different shorter texts that were looked for as a whole."""
    documents: int = 0
    characters: int = 0
    """Of these documents, cleaned."""
    tokens: int = 0
    examples: tuple[Overlap, ...] = ()
    """The first of them in the order of the corpus."""
    common: int = 0
    """Different runs and short texts that stand in more than `data.overlap.COMMON` documents and take none out."""
    common_examples: tuple[CommonRun, ...] = ()
    """The most frequent of them that do not overlap."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Exclusion:
        """Read what `dataclasses.asdict` made of it."""
        files = tuple(ExcludedFile(**one) for one in values["files"])
        examples = tuple(Overlap(**one) for one in values["examples"])
        common = tuple(CommonRun(**one) for one in values.get("common_examples", ()))
        return cls(**{**values, "files": files, "examples": examples, "common_examples": common})

    def render(self) -> list[str]:
        """Return lines for a terminal."""
        texts = sum(file.texts for file in self.files)
        files = f"{len(self.files):,} file{'s' * (len(self.files) != 1)}"
        documents = f"{self.documents:,} document{'s' * (self.documents != 1)}"
        lines = [
            f"left out for {texts:,} evaluation texts of {files} ({self.runs:,} different runs, "
            f"{self.short_texts:,} short texts): {documents} with {self.characters:,} characters",
            *(
                f"  {one.source}:{one.line} ({one.document}): {' '.join(one.shared.split())}"
                for one in self.examples[:3]
            ),
        ]
        if self.common:
            lines.append(
                f"passed over: {self.common:,} run{'s' * (self.common != 1)} of evaluation texts in more than {COMMON} "
                "documents each"
            )
            lines += [f"  {one.documents:,} documents: {' '.join(one.passage.split())}" for one in self.common_examples]
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusReport:
    """The result of `build_corpus`, kept as `report.json` in the shard folder."""

    folder: str
    stages: Mapping[str, StageCount]
    """By name, in order; what an interrupted build did before counts."""
    removed: Mapping[str, int]
    """Documents that were left out, by reason."""
    cleaning: Mapping[str, StepCount]
    """What the steps of cleaning changed."""
    languages: Mapping[str, int]
    """Characters after cleaning, by language."""
    splits: Mapping[Split, SplitSize]
    notes: tuple[str, ...]
    """What is worth knowing, one sentence each without its full stop."""
    predicted: DiskUse
    corpus_bytes: int
    """Of the finished folder."""
    seconds: float
    """On the clock, from start to end; of an interrupted build without the time between its runs."""
    workers: int
    peak_memory: int
    """Bytes; the highest of every process, added up."""
    dtype: str
    vocab_size: int
    excluded: Exclusion | None = None
    """None where no evaluation texts were given."""

    def to_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return {"schema_version": REPORT_SCHEMA, **dataclasses.asdict(self)}

    def save(self) -> None:
        """Write `report.json`."""
        write_json(Path(self.folder) / REPORT_FILE, self.to_dict())

    @classmethod
    def load(cls, folder: Path) -> CorpusReport:
        """Read `report.json`.

        Raises:
            DataError: there is none, or one of another version.
        """
        path = folder / REPORT_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("schema_version") != REPORT_SCHEMA:
                raise ValueError("another version")
            content["stages"] = {name: StageCount(**value) for name, value in content["stages"].items()}
            content["cleaning"] = {name: StepCount(**value) for name, value in content["cleaning"].items()}
            content["splits"] = {name: SplitSize(**value) for name, value in content["splits"].items()}
            content["notes"] = tuple(content["notes"])
            content["predicted"] = DiskUse(**content["predicted"])
            if content.get("excluded") is not None:
                content["excluded"] = Exclusion.from_dict(content["excluded"])
            return cls(**content | {"folder": str(folder)})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                "the report of this corpus cannot be read",
                where=str(path),
                received=str(error),
                next_step="Build the corpus again with --restart",
            ) from error

    def render(self) -> str:
        """Return the stages and splits as tables for a terminal."""
        rows: list[tuple[str, ...]] = [("stage", "documents", "characters", "tokens", "cpu s", "wall s")]
        for name, stage in self.stages.items():
            rows.append(
                (
                    name,
                    _flow(stage.documents_in, stage.documents_out),
                    _flow(stage.characters_in, stage.characters_out),
                    _flow(stage.tokens_in, stage.tokens_out),
                    f"{stage.cpu_seconds:,.1f}",
                    f"{stage.wall_seconds:,.1f}",
                )
            )
        lines = _table(rows)
        sizes: list[tuple[str, ...]] = [("split", "documents", "sentences", "words", "tokens", "shards", "MB")]
        for split, size in self.splits.items():
            counts = (size.documents, size.sentences, size.words, size.tokens, size.shards)
            sizes.append((split, *(f"{count:,}" for count in counts), f"{size.bytes / 1e6:,.1f}"))
        lines += ["", *_table(sizes)]
        if self.removed:
            parts = ", ".join(f"{reason} {count:,}" for reason, count in self.removed.items() if count)
            lines += ["", f"left out: {parts or 'nothing'}"]
        if self.excluded is not None:
            lines += self.excluded.render()
        if self.cleaning:
            parts = ", ".join(f"{name} {step.documents:,}" for name, step in self.cleaning.items())
            lines.append(f"changed by cleaning, in documents: {parts}")
        if total := sum(self.languages.values()):
            parts = ", ".join(f"{name} {100 * count / total:.1f} %" for name, count in self.languages.items())
            lines.append(f"languages by characters: {parts}")
        lines += [f"note: {note}" for note in self.notes]
        speed = sum(size.tokens for size in self.splits.values()) / max(self.seconds, 1e-9)
        lines.append(
            f"{self.seconds:,.1f} s with {self.workers} worker{'s' * (self.workers != 1)}, {speed:,.0f} tokens/s, "
            f"{self.peak_memory / 1e6:,.0f} MB of memory at the most, {self.corpus_bytes / 1e6:,.1f} MB written "
            f"({self.predicted.corpus_bytes / 1e6:,.1f} MB predicted)"
        )
        return "\n".join(lines)


def _flow(before: int, after: int) -> str:
    if before == after:
        return f"{after:,}" if after else ""
    return f"{before:,} > {after:,}" if before else f"{after:,}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def stages_from(values: Mapping[str, Mapping[str, float]]) -> dict[str, StageCount]:
    """Read stages from JSON."""
    return {name: StageCount(**cast("dict[str, int]", dict(value))) for name, value in values.items()}
