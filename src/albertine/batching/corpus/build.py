"""The whole way from raw text to a folder of token shards, from wherever it stopped."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from albertine.batching.corpus.assembly import Assembly, assemble
from albertine.batching.corpus.choices import CorpusChoices
from albertine.batching.corpus.documents import DocumentTotals, check_some_left, make_documents
from albertine.batching.corpus.exclusion import excluded_files, settle_exclusion
from albertine.batching.corpus.plan import Plan, check_disk, settle_plan
from albertine.batching.corpus.progress import CorpusProgress, CorpusProgressCallback
from albertine.batching.corpus.reading import LONGEST_DOCUMENT
from albertine.batching.corpus.report import STAGES, CorpusReport, SplitSize, StageCount
from albertine.batching.corpus.selection import HELD_OUT, TRAIN, Selection, select
from albertine.batching.corpus.workspace import Inputs, Workspace
from albertine.batching.shard_format import (
    PARTS,
    ShardRecord,
    Split,
    id_dtype,
    tokenizer_fingerprint,
    write_index,
)
from albertine.data.corpus import corpus_files
from albertine.errors import ConfigError, DataError
from albertine.evaluation.timing import peak_memory_bytes
from albertine.files import sha256
from albertine.progress import ProgressBar
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

__all__ = ["build_corpus"]

_logger = logging.getLogger("albertine")


def build_corpus(
    corpus: Sequence[Path | str] | Path | str,
    *,
    tokenizer: Tokenizer | Path | str,
    out: Path | str,
    choices: CorpusChoices | None = None,
    exclude: Sequence[Path | str] | Path | str = (),
    workers: int | None = None,
    resume: bool = True,
    progress: CorpusProgressCallback | None = None,
) -> CorpusReport:
    """Clean raw text, leave duplicates out, set documents apart, cut everything into tokens, write shards.

    Called again after an interruption it goes on where it stopped; what is written does not depend on interruptions or
    on the number of workers. Memory does not grow with the corpus.

    Args:
        corpus: files, folders and globs of text; see `data.corpus.read_documents`.
        tokenizer: what cuts, or the folder or file of one.
        out: the shard folder, read by `Shards`.
        choices: everything else that decides what is written; None for the defaults.
        exclude: files and folders of evaluation data; documents that overlap with a text of theirs are left out. See
            `data.overlap` for what overlaps and `data.evaluation_texts` for what is read.
        workers: processes; None for one a processor core.
        resume: False begins again, whatever an earlier build left in `out`.
        progress: called often; None draws a bar on stderr.

    Returns:
        What was done; the same as `report.json` in `out`.

    Raises:
        ConfigError: an option is out of range, or something else stands in `out`.
        DataError: the corpus or evaluation data cannot be read, or nothing of the corpus is left.
        TokenizerError: the tokenizer cannot be loaded.
        MissingDependencyError: an optional package is needed and not installed.
        FailureError: the disk is or would be full, or a worker died; what was finished stays.
        KeyboardInterrupt: Ctrl-C; what was finished stays, the same call goes on.
    """
    paths = [corpus] if isinstance(corpus, str | Path) else list(corpus)
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if workers < 1:
        raise ConfigError("value out of range", where="workers", received=workers, allowed="1 or more")
    cutter = tokenizer if isinstance(tokenizer, Tokenizer) else load_tokenizer(tokenizer)
    inputs = Inputs(
        files=corpus_files(paths),
        choices=choices or CorpusChoices(),
        fingerprint=tokenizer_fingerprint(cutter),
        exclude=excluded_files([exclude] if isinstance(exclude, str | Path) else list(exclude)),
    )
    _warn_of_neighbours(inputs)
    space = Workspace(Path(out))
    space.check_apart(inputs.files)
    space.check_not_foreign()
    if resume and space.finished(inputs):
        space.finish()
        _logger.info("this corpus is finished already: %s", out)
        return CorpusReport.load(Path(out))
    bar = ProgressBar(doing="building the corpus") if progress is None else None
    try:
        with space.locked():
            if not resume:
                space.clear()
            build = _Build(inputs=inputs, tokenizer=cutter, space=space, workers=workers, progress=progress or bar)
            report = build.run()
        space.finish()
    finally:
        if bar is not None:
            bar.close()
    return report


@dataclass(slots=True, kw_only=True)
class _Build:
    """One run of a build."""

    inputs: Inputs
    tokenizer: Tokenizer
    space: Workspace
    workers: int
    progress: CorpusProgressCallback | None
    _stage: str = ""
    _begun: float = 0.0
    _at: float = 0.0

    def run(self) -> CorpusReport:
        space, files = self.space, self.inputs.files
        space.begin(self.inputs)
        plan = settle_plan(space.work, files, self.inputs.choices, self.tokenizer, apart=self.workers > 1)
        _say_plan(plan, self.workers)
        check_disk(plan.disk, space.out)
        exclusion = settle_exclusion(space.work, self.inputs.exclude, plan.choices.cleaning)
        hashes = _Hashes(files)
        totals = make_documents(
            files,
            plan.choices,
            work=space.work,
            workers=self.workers,
            progress=lambda totals: self._tell("documents", totals.characters / max(plan.disk.characters, 1), totals),
        )
        self._tell("duplicates", 0.0, totals)
        selection = select(space.work, totals.block_documents, plan.choices, exclusion)
        check_some_left(selection.kept, totals, files, work=space.work, selected=selection.removed)
        if selection.excluded is not None:
            totals.stages["overlap"].add(selection.overlap)
        totals.stages["duplicates"].add(selection.duplicates)
        totals.stages["held-out"] = selection.held_out
        splits = self._assemble(plan, totals, selection)
        report = self._report(plan, totals, selection, splits)
        sources = hashes.wait()
        report.save()
        write_index(
            space.out,
            tokenizer=self.tokenizer,
            splits=splits,
            sources=sources,
            choices={
                "asked": self.inputs.choices.to_dict(),
                "used": plan.used,
                **({"exclude": [one.to_dict() for one in self.inputs.exclude]} if self.inputs.exclude else {}),
            },
        )
        return report

    def _assemble(
        self, plan: Plan, totals: DocumentTotals, selection: Selection
    ) -> dict[Split, tuple[ShardRecord, ...]]:
        with totals.stages.setdefault("shards", StageCount()).timed():
            return assemble(
                Assembly(
                    out=self.space.out,
                    work=self.space.work,
                    block_documents=totals.block_documents,
                    selection=selection.codes,
                    codes={"held-out": HELD_OUT, "train": TRAIN},
                    dtype=id_dtype(self.tokenizer.vocab_size),
                    tokens_per_shard=plan.choices.tokens_per_shard,
                ),
                progress=lambda fraction: self._tell("shards", fraction, totals),
            )

    def _tell(self, stage: str, fraction: float, totals: DocumentTotals) -> None:
        self.space.note_time()
        if self.progress is None:
            return
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._begun, self._at = stage, now, fraction
        gained = fraction - self._at
        self.progress(
            CorpusProgress(
                stage=stage,
                # The number of characters was only reckoned.
                fraction=min(fraction, 0.99 if stage == "documents" else 1.0),
                documents=totals.documents,
                characters=totals.characters,
                tokens=totals.tokens,
                seconds=self.space.seconds,
                seconds_left=(now - self._begun) * max(1 - fraction, 0) / gained if gained > 0 else None,
            )
        )

    def _report(
        self,
        plan: Plan,
        totals: DocumentTotals,
        selection: Selection,
        splits: Mapping[Split, tuple[ShardRecord, ...]],
    ) -> CorpusReport:
        dtype = id_dtype(self.tokenizer.vocab_size)
        sizes = {
            split: SplitSize(
                documents=sum(record.documents for record in records),
                sentences=sum(record.sentences for record in records),
                words=sum(record.words for record in records),
                tokens=sum(record.tokens for record in records),
                shards=len(records),
                bytes=sum(record.size(part, dtype) for record in records for part in PARTS),
            )
            for split, records in splits.items()
        }
        stages = _flow(totals, selection, sizes)
        stages["read"].documents_in += totals.reading.empty + sum(totals.reading.skipped.values())
        own = {0: peak_memory_bytes()}
        return CorpusReport(
            folder=str(self.space.out),
            stages=stages,
            removed={**_left_out(totals), **selection.removed},
            cleaning=totals.cleaning.steps,
            languages=dict(totals.languages.most_common()),
            splits=sizes,
            notes=(*plan.notes, *_notes(plan.choices, totals, selection, sizes)),
            predicted=plan.disk,
            corpus_bytes=sum(size.bytes for size in sizes.values()) + plan.tokenizer_bytes,
            seconds=self.space.seconds,
            workers=self.workers,
            peak_memory=sum((totals.peaks | {0: max(own[0], totals.peaks.get(0, 0))}).values()),
            dtype=dtype.name,
            vocab_size=self.tokenizer.vocab_size,
            excluded=selection.excluded,
        )


class _Hashes:
    """The SHA-256 of every file of text, worked out beside everything else."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._found: list[dict[str, object]] = []
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> list[dict[str, object]]:
        """Return name, bytes and sha256 of every file."""
        self._thread.join()
        if self._error is not None:
            raise DataError(
                "a file of the corpus can no longer be read", where=str(self._error.filename), received=str(self._error)
            ) from self._error
        return self._found

    def _run(self) -> None:
        try:
            for path in self._files:
                self._found.append({"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)})
        except OSError as error:
            self._error = error


def _warn_of_neighbours(inputs: Inputs) -> None:
    """Warn where a shell may have made corpus files of evaluation data."""
    folders = {one.file.path.resolve().parent for one in inputs.exclude}
    beside = next((path for path in inputs.files if path.resolve().parent in folders), None)
    if beside is not None:
        _logger.warning(
            "%s is read as a part of the corpus and stands beside evaluation data: of a pattern without quotes behind "
            "--exclude the shell gives only the first file to it",
            beside,
        )


def _say_plan(plan: Plan, workers: int) -> None:
    for note in plan.notes:
        _logger.warning(note)
    disk = plan.disk
    minutes = plan.cpu_seconds / workers / 60
    _logger.info(
        f"expected: {disk.tokens:,} tokens from {disk.characters:,} characters, about {max(minutes, 0.1):.1f} minutes "
        f"with {workers} worker{'s' * (workers != 1)}; disk: {disk.corpus_bytes / 1e6:,.1f} MB in the end, "
        f"{disk.peak_bytes / 1e6:,.1f} MB on the way, {disk.free_bytes / 1e6:,.0f} MB free"
    )


def _flow(totals: DocumentTotals, selection: Selection, sizes: Mapping[Split, SplitSize]) -> dict[str, StageCount]:
    """Return all stages, those that look at the whole corpus filled in."""
    done = [name for name in STAGES if name != "overlap" or name in totals.stages]
    stages = {name: totals.stages.get(name, StageCount()) for name in done}
    made = stages["tokens"]
    tokens = {split: size.tokens for split, size in sizes.items()}
    kept, kept_tokens = selection.kept, sum(tokens.values())
    documents, remaining = totals.documents, made.tokens_out
    if (excluded := selection.excluded) is not None:
        documents, remaining = documents - excluded.documents, remaining - excluded.tokens
        overlap = stages["overlap"]
        overlap.documents_in, overlap.documents_out = totals.documents, documents
        overlap.characters_in, overlap.characters_out = made.characters_out, made.characters_out - excluded.characters
        overlap.tokens_in, overlap.tokens_out = made.tokens_out, remaining
    for name, before, after in (("duplicates", remaining, kept_tokens), ("held-out", kept_tokens, kept_tokens)):
        stages[name].tokens_in, stages[name].tokens_out = before, after
    stages["duplicates"].documents_in, stages["duplicates"].documents_out = documents, kept
    stages["held-out"].documents_in, stages["held-out"].documents_out = kept, kept
    stages["shards"].documents_in, stages["shards"].documents_out = kept, kept
    stages["shards"].tokens_in = stages["shards"].tokens_out = kept_tokens
    return stages


def _left_out(totals: DocumentTotals) -> dict[str, int]:
    reading = totals.reading
    bad = {f"unreadable ({kind})": count for kind, count in reading.skipped.items()}
    return {**bad, **({"empty": reading.empty} if reading.empty else {}), **dict(totals.removed)}


def _notes(
    choices: CorpusChoices, totals: DocumentTotals, selection: Selection, sizes: Mapping[Split, SplitSize]
) -> Iterator[str]:
    reading = totals.reading
    for row in reading.examples[:3]:
        yield f"left out: {row.file}:{row.line}: {row.reason}"
    if reading.cut:
        yield f"{reading.cut} documents were longer than {LONGEST_DOCUMENT:,} characters and count as several"
    if selection.share > choices.held_out:
        yield (
            f"{100 * selection.share:.3g} % of the documents are held out, because {100 * choices.held_out:.3g} % are "
            "too few to measure on"
        )
    held = sizes.get("held-out")
    if held is not None and 0 < held.documents < 30:
        yield f"only {held.documents} documents are held out: measurements on them will be rough"
