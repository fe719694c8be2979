"""Published benchmarks by name, read from a local folder of their files as their authors publish them.

A name such as glue/sst2 stands for a task, its options, which file is which split, which columns are read, and the
metrics that its authors report.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from albertine.data.clue_rows import KEYWORDS, MARKED_TEXT, keywords_in_one_text, mentions_marked
from albertine.data.columns import Columns
from albertine.data.formats import DataFormat
from albertine.data.readers import RowChange, read_examples
from albertine.data.results import ReadResult
from albertine.errors import ConfigError, DataError, unknown_name

__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkFiles", "find_benchmark"]

UNDECIDED = "-"
"""What stands for a label where the people who were asked did not agree (MNLI, CMNLI, OCNLI)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkFiles:
    """The files of a benchmark that were found."""

    train: Path
    dev: Path
    test: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A published benchmark."""

    name: str
    task: str
    """The task's name."""
    train: tuple[str, ...]
    """Names that the training file goes by, the published one first; packed ones are found as well."""
    dev: tuple[str, ...]
    test: tuple[str, ...] = ()
    """Empty where none is published; one without labels is passed over when the data are divided."""
    columns: Columns = field(default_factory=Columns)
    quoting: str = "auto"
    options: Mapping[str, object] = field(default_factory=dict)
    """Of the task."""
    metrics: tuple[str, ...] = ("accuracy",)
    """What the authors report, the one that decides first."""
    folder: tuple[str, ...] = ()
    """Names of the benchmark's own folder, where the files do not lie in the given one."""
    reshape: RowChange | None = None
    """What is done to a row's object before its columns are read; of texts with one label each."""

    def files(self, folder: Path) -> BenchmarkFiles:
        """Find the files in a folder, or in the benchmark's own folder below it.

        Raises:
            DataError: one of them is missing; the message says what it is called.
        """
        places = [folder, *(folder / name for name in self.folder)]
        for place in places:
            train, dev = (_found(place, names) for names in (self.train, self.dev))
            if train is not None and dev is not None:
                return BenchmarkFiles(train=train, dev=dev, test=_found(place, self.test))
        raise DataError(
            f"the files of {self.name} are not here",
            where=str(folder),
            allowed=f"{self.train[0]} and {self.dev[0]}" + (f", here or in {self.folder[0]}" if self.folder else ""),
            next_step="Give the folder in which they lie as they were published",
        )

    def format(self, format: DataFormat) -> DataFormat:
        """Return the format of the task with the benchmark's own rows.

        Rows on whose label nobody agreed are left out, as the benchmarks' authors do.
        """
        if self.reshape is not None:
            format = replace(format, read=functools.partial(read_examples, reshape=self.reshape))
        return _without_undecided(format)


def find_benchmark(name: str) -> Benchmark:
    """Return a benchmark.

    Raises:
        ConfigError: no such name, or one of a benchmark that no task here can do; the message says which there are.
    """
    if name in _MULTIPLE_CHOICE:
        raise ConfigError(
            f"{name} is multiple choice ({_MULTIPLE_CHOICE[name]}), which no task here does",
            allowed=", ".join(known for known in BENCHMARKS if known.startswith("clue/")),
        )
    if name not in BENCHMARKS:
        raise unknown_name("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name]


def _without_undecided(format: DataFormat) -> DataFormat:
    def read(path: Path, **options: object) -> ReadResult:
        result = format.read(path, **options)  # type: ignore[arg-type]  # passed on as they came
        kept = tuple(one for one in result.examples if one.label != UNDECIDED)
        left_out = len(result.examples) - len(kept)
        if not left_out:
            return result
        note = f"{path.name}: {left_out} rows without an agreed label ({UNDECIDED!r}) left out"
        return replace(result, examples=kept, notes=(*result.notes, note))

    return replace(format, read=read)


def _found(folder: Path, names: tuple[str, ...]) -> Path | None:
    for name in names:
        for packed in ("", ".xz", ".gz", ".zst", ".zip"):
            path = folder / (name + packed)
            if path.is_file():
                return path
    return None


def _glue(
    name: str, folder: str, columns: Columns, *, metrics: tuple[str, ...] = ("accuracy",), **own: object
) -> Benchmark:
    files: dict[str, object] = {"train": ("train.tsv",), "dev": ("dev.tsv",), "test": ("test.tsv",)}
    return Benchmark(
        name=f"glue/{name}",
        task="text-classification",
        columns=columns,
        quoting="off",
        metrics=metrics,
        folder=(folder,),
        **{**files, **own},  # type: ignore[arg-type]  # fields of the record
    )


def _clue(name: str, folder: str, columns: Columns, **own: object) -> Benchmark:
    files: dict[str, object] = {"train": ("train.json",), "dev": ("dev.json",), "test": ("test.json",)}
    return Benchmark(
        name=f"clue/{name}",
        task="text-classification",
        columns=columns,
        folder=(folder, f"{folder}_public", folder.upper()),
        **{**files, **own},  # type: ignore[arg-type]  # fields of the record
    )


_MULTIPLE_CHOICE = {
    "clue/chid": "an idiom of ten for every gap of a text",
    "clue/c3": "an answer of up to four for every question",
}
"""Benchmarks in which several rows make one item of which one is right, by name."""

_SENTENCES = Columns(text="sentence1", text_pair="sentence2", label="label")

BENCHMARKS: Mapping[str, Benchmark] = {
    one.name: one
    for one in (
        # GLUE (Wang et al. 2019, table 1); the files have no quoting, and CoLA's no header
        _glue(
            "cola",
            "CoLA",
            Columns(text="4", label="2"),
            metrics=("matthews",),
        ),
        _glue("sst2", "SST-2", Columns(text="sentence", label="label")),
        _glue(
            "mrpc",
            "MRPC",
            Columns(text="#1 String", text_pair="#2 String", label="Quality"),
            metrics=("accuracy", "f1/1"),
        ),
        _glue(
            "qqp",
            "QQP",
            Columns(text="question1", text_pair="question2", label="is_duplicate"),
            metrics=("accuracy", "f1/1"),
        ),
        _glue(
            "stsb",
            "STS-B",
            Columns(text="sentence1", text_pair="sentence2", label="score"),
            metrics=("spearman", "pearson"),
            options={"problem": "regression"},
        ),
        _glue(
            "mnli",
            "MNLI",
            Columns(text="sentence1", text_pair="sentence2", label="gold_label"),
            dev=("dev_matched.tsv",),
            test=("test_matched.tsv",),
        ),
        _glue(
            "mnli-mismatched",
            "MNLI",
            Columns(text="sentence1", text_pair="sentence2", label="gold_label"),
            dev=("dev_mismatched.tsv",),
            test=("test_mismatched.tsv",),
        ),
        _glue("qnli", "QNLI", Columns(text="question", text_pair="sentence", label="label")),
        _glue("rte", "RTE", _SENTENCES),
        _glue("wnli", "WNLI", _SENTENCES),
        # CLUE (Xu et al. 2020, table 1)
        _clue("afqmc", "afqmc", _SENTENCES),
        _clue("tnews", "tnews", Columns(text="sentence", label="label")),
        _clue("iflytek", "iflytek", Columns(text="sentence", label="label")),
        _clue("cmnli", "cmnli", _SENTENCES),
        _clue("ocnli", "ocnli", _SENTENCES, train=("train.50k.json", "train.json")),
        _clue(
            "csl",
            "csl",
            Columns(text=KEYWORDS, text_pair="abst", label="label"),
            reshape=keywords_in_one_text,
        ),
        _clue(
            "wsc2020",
            "cluewsc2020",
            Columns(text=MARKED_TEXT, label="label"),
            reshape=mentions_marked,
        ),
        Benchmark(
            name="clue/cmrc2018",
            task="question-answering",
            train=("train.json", "cmrc2018_train.json"),
            dev=("dev.json", "cmrc2018_dev.json"),
            test=("trial.json", "cmrc2018_trial.json"),
            options={"answer_rule": "cmrc"},
            metrics=("f1", "exact_match"),
            folder=("cmrc2018", "cmrc2018_public"),
        ),
        Benchmark(
            name="clue/cluener",
            task="token-classification",
            train=("train.json",),
            dev=("dev.json",),
            test=("test.json",),
            metrics=("f1",),
            folder=("cluener", "cluener_public"),
        ),
        # Rajpurkar et al. 2016, 2018
        Benchmark(
            name="squad/1.1",
            task="question-answering",
            train=("train-v1.1.json",),
            dev=("dev-v1.1.json",),
            options={"answer_rule": "squad"},
            metrics=("f1", "exact_match"),
        ),
        Benchmark(
            name="squad/2.0",
            task="question-answering",
            train=("train-v2.0.json",),
            dev=("dev-v2.0.json",),
            options={"answer_rule": "squad"},
            metrics=("f1", "exact_match"),
        ),
        # Tjong Kim Sang and De Meulder 2003
        Benchmark(
            name="conll2003",
            task="token-classification",
            train=("eng.train", "train.txt"),
            dev=("eng.testa", "valid.txt", "dev.txt"),
            test=("eng.testb", "test.txt"),
            metrics=("f1",),
        ),
    )
}
"""By name."""
