"""What is settled before a build starts: packages, boilerplate, and what it will take of time and disk."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from albertine.batching.corpus.choices import CorpusChoices
from albertine.batching.corpus.reading import BLOCK_CHARACTERS, DocumentBlock
from albertine.batching.corpus.report import DiskUse
from albertine.batching.corpus.sampling import CorpusSample, sample_corpus
from albertine.batching.corpus.stages import DocumentStages
from albertine.batching.corpus.workers import ask_process
from albertine.batching.shard_format import id_dtype
from albertine.data.cleaning import Cleaner, LineCounter
from albertine.data.corpus import Document
from albertine.data.segmentation import character_segmenter, rjieba_segmenter
from albertine.errors import FailureError, MissingDependencyError
from albertine.files import write_text
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

__all__ = ["Plan", "check_disk", "load_plan", "make_plan", "plan_asked", "settle_plan"]

_FILE = "plan.json"
_TOKENIZER = "tokenizer"
_HARDLY_ANY = 0.01
"""Share of Chinese characters below which Chinese words hardly matter."""
_BOILERPLATE_SHARE = 0.01
_BOILERPLATE_DOCUMENTS = 20
_BYTES_A_DOCUMENT = 16
"""Of a block, beside tokens and keys: characters, sentences, and room for its header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a build will do and take."""

    choices: CorpusChoices
    """With everything settled that depends on the machine."""
    segmenter: str
    """Its name, with the version."""
    boilerplate: tuple[str, ...]
    """Lines to take out."""
    disk: DiskUse
    cpu_seconds: float
    """Expected processor time of everything that looks at one document alone."""
    tokenizer_bytes: int
    """Of the tokenizer's files."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each without its full stop."""

    @property
    def used(self) -> dict[str, object]:
        """What was settled, for `corpus.json`."""
        return {
            "segmenter": self.segmenter,
            "mojibake": self.choices.cleaning.mojibake,
            "boilerplate": list(self.boilerplate),
        }

    def to_json(self) -> str:
        """Write it down."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        return cls(
            **values
            | {
                "choices": CorpusChoices.from_dict(values["choices"]),
                "boilerplate": tuple(values["boilerplate"]),
                "disk": DiskUse(**values["disk"]),
                "notes": tuple(values["notes"]),
            }
        )


def load_plan(work: Path) -> tuple[Plan, Tokenizer]:
    """Return the plan and the tokenizer of a build that has begun."""
    return Plan.from_json((work / _FILE).read_text(encoding="utf-8")), load_tokenizer(work / _TOKENIZER)


def settle_plan(
    work: Path, files: Sequence[Path], choices: CorpusChoices, tokenizer: Tokenizer, *, apart: bool
) -> Plan:
    """Make the plan of a build and keep it, or return the one that was kept.

    Args:
        work: the work folder, in which the tokenizer is kept too.
        files: all files, in order.
        choices: as asked for.
        tokenizer: what cuts.
        apart: whether the plan is made in a process of its own, which takes as much memory as a worker.

    Raises:
        DataError: a file cannot be read or is in another encoding.
        MissingDependencyError: a package is needed and not installed.
        FailureError: the disk is full.
    """
    path = work / _FILE
    if not path.exists():
        tokenizer.save(work / _TOKENIZER)
        if apart:
            asked = {"files": [str(path.absolute()) for path in files], "choices": choices.to_dict()}
            plan = Plan.from_json(ask_process(work, "plan", json.dumps(asked).encode(), where=str(work.parent)))
        else:
            plan = make_plan(files, choices, tokenizer, work)
        write_text(path, plan.to_json())
    return Plan.from_json(path.read_text(encoding="utf-8"))


def plan_asked(data: bytes, work: Path) -> str:
    """Make a plan in a process of its own: what `settle_plan` asks for there."""
    asked = json.loads(data)
    files = [Path(name) for name in asked["files"]]
    return make_plan(
        files, CorpusChoices.from_dict(asked["choices"]), load_tokenizer(work / _TOKENIZER), work
    ).to_json()


def make_plan(files: Sequence[Path], choices: CorpusChoices, tokenizer: Tokenizer, out: Path) -> Plan:
    """Look at documents from all over the corpus, and reckon from them.

    Duplicates are not foreseen: where there are many, less is written than is said here.

    Args:
        files: all files, in order.
        choices: as asked for.
        tokenizer: what cuts.
        out: the shard folder; it need not exist.

    Raises:
        DataError: a file cannot be read or is in another encoding.
        MissingDependencyError: a package is needed and not installed.
    """
    sample = sample_corpus(files, choices.reading)
    notes: list[str] = []
    settled, segmenter = _with_segmenter(choices, sample, notes)
    settled = _with_mojibake(settled, notes)
    boilerplate = _boilerplate(settled, sample.documents) if choices.boilerplate else ()
    disk, cpu_seconds = _predicted(sample, settled, tokenizer, out, boilerplate)
    return Plan(
        choices=settled,
        segmenter=segmenter,
        boilerplate=boilerplate,
        disk=disk,
        cpu_seconds=cpu_seconds,
        tokenizer_bytes=_tokenizer_bytes(tokenizer),
        notes=tuple(notes),
    )


def check_disk(disk: DiskUse, out: Path) -> None:
    """Refuse a build that does not fit on the disk.

    Raises:
        FailureError: it does not; the message has the numbers.
    """
    there = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) if out.is_dir() else 0
    needed = max(disk.peak_bytes - there, 0)
    free = _free_bytes(out)
    if needed > free:
        raise FailureError(
            "the corpus does not fit on this disk",
            where=str(out),
            received=f"{free / 1e6:,.2f} MB free",
            allowed=f"{needed / 1e6:,.2f} MB or more while it is built, {disk.corpus_bytes / 1e6:,.2f} MB afterwards, "
            f"for about {disk.tokens:,} tokens",
            next_step="Free some space, choose another disk with --out, or build from fewer files",
        )


def _with_segmenter(choices: CorpusChoices, sample: CorpusSample, notes: list[str]) -> tuple[CorpusChoices, str]:
    """Settle what finds Chinese words."""
    if choices.segmenter != "characters":
        try:
            return replace(choices, segmenter="rjieba"), rjieba_segmenter().name
        except MissingDependencyError:
            text = "".join(document.text for document in sample.documents)
            if choices.segmenter == "rjieba" or len(character_segmenter().words(text)) > _HARDLY_ANY * len(text):
                raise
        notes.append("the few Chinese characters count as a word each, because rjieba is not installed")
    return replace(choices, segmenter="characters"), character_segmenter().name


def _with_mojibake(choices: CorpusChoices, notes: list[str]) -> CorpusChoices:
    if choices.cleaning.mojibake and importlib.util.find_spec("ftfy") is None:
        notes.append("wrongly decoded text is not mended, because ftfy is not installed")
        return replace(choices, cleaning=replace(choices.cleaning, mojibake=False))
    return choices


def _boilerplate(choices: CorpusChoices, documents: Sequence[Document]) -> tuple[str, ...]:
    cleaner, counter = Cleaner(choices.cleaning), LineCounter()
    for document in documents:
        counter.add(cleaner(document.text))
    return tuple(counter.frequent(documents=_BOILERPLATE_DOCUMENTS, share=_BOILERPLATE_SHARE))


def _predicted(
    sample: CorpusSample, choices: CorpusChoices, tokenizer: Tokenizer, out: Path, boilerplate: Sequence[str]
) -> tuple[DiskUse, float]:
    """Put the sample through the stages and multiply."""
    stages = DocumentStages(choices, tokenizer, boilerplate=boilerplate)
    tokens = sentences = documents = keys = 0
    seconds = 0.0
    for block in _blocks(sample.documents):
        started = time.process_time()
        made = stages(block)
        with tempfile.TemporaryDirectory(prefix="albertine-") as folder:
            stages.write_keys(Path(folder, "keys"), made)
            keys += Path(folder, "keys").stat().st_size
        seconds += time.process_time() - started
        tokens += len(made.tokens)
        sentences += len(made.sentence_lengths)
        documents += len(made.document_sentences)
    factor = 1 / sample.share if sample.share else 1.0
    width = id_dtype(tokenizer.vocab_size).itemsize
    shards = (tokens * (width + 1 / 8) + 4 * sentences + 4 * documents) * factor
    blocks = shards + (keys + _BYTES_A_DOCUMENT * documents) * factor
    fixed = _tokenizer_bytes(tokenizer)
    # A block goes when all of it is in finished shards; so beside the blocks there is one split and one shard at most.
    beside = shards * choices.held_out + min(shards, choices.tokens_per_shard * (width + 1 / 4))
    disk = DiskUse(
        corpus_bytes=round(shards) + fixed,
        peak_bytes=round(blocks + beside) + 2 * fixed,
        free_bytes=_free_bytes(out),
        tokens=round(tokens * factor),
        characters=round(sum(len(document.text) for document in sample.documents) * factor),
    )
    return disk, seconds * factor


def _blocks(documents: Sequence[Document]) -> Iterator[DocumentBlock]:
    part: list[Document] = []
    size = 0
    for place, document in enumerate(documents, 1):
        part.append(document)
        size += len(document.text)
        if size >= BLOCK_CHARACTERS or place == len(documents):
            yield DocumentBlock(number=0, documents=tuple(part), position="", cpu_seconds=0.0, wall_seconds=0.0)
            part, size = [], 0


def _tokenizer_bytes(tokenizer: Tokenizer) -> int:
    with tempfile.TemporaryDirectory(prefix="albertine-") as folder:
        tokenizer.save(folder)
        return sum(path.stat().st_size for path in Path(folder).iterdir())


def _free_bytes(path: Path) -> int:
    """Return what is free on the disk of a folder that need not exist."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
