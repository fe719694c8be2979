"""`compare`: candidates trained and measured on the same splits, seeds and budget, one at a time."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from albertine.catalogue import catalogue
from albertine.comparison.candidates import able, contestants
from albertine.comparison.machine import machine_info
from albertine.comparison.notes import budget_sentence, data_summary, remarks
from albertine.comparison.plan import Plan
from albertine.comparison.recommendation import recommend
from albertine.comparison.report import HTML_FILE, SCHEMA_VERSION, write_report
from albertine.comparison.results import ComparisonReport, DataSummary, RunResult
from albertine.comparison.runs import run_all, set_up
from albertine.comparison.summary import summarise
from albertine.comparison.workspace import Workspace
from albertine.data.columns import Columns
from albertine.data.formats import DataFormat
from albertine.data.samples import Splits
from albertine.errors import ConfigError, FailureError
from albertine.inference.precision import choose_precision
from albertine.settings import language
from albertine.tasks.config import TaskConfig, options_from
from albertine.training.config import TrainingConfig
from albertine.training.data_source import DataSource, named_task
from albertine.training.default_encoder import default_encoders
from albertine.training.manifest import command_line
from albertine.training.methods.choices import Methods
from albertine.training.progress import ProgressCallback
from albertine.training.recipe import find_task

__all__ = ["compare"]


def compare(
    data: str | Path,
    *,
    encoders: Sequence[str | Path] | None = None,
    baselines: Sequence[str] | None = None,
    out: str | Path,
    seeds: int = 3,
    task: str = "text-classification",
    dev: str | Path | None = None,
    test: str | Path | None = None,
    columns: Columns | None = None,
    encoding: str = "utf-8",
    on_error: str = "stop",
    quoting: str = "auto",
    duplicates: str = "drop",
    limit: int | None = None,
    split_seed: int = 0,
    vocabulary_size: int = 8000,
    max_length: int | None = None,
    options: Mapping[str, object] | None = None,
    epochs: float | None = None,
    examples: int | None = None,
    minutes: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    config: TrainingConfig | None = None,
    methods: Methods | None = None,
    title: str | None = None,
    lang: str | None = None,
    device: str = "auto",
    resume: bool = True,
    progress: ProgressCallback | None = None,
) -> ComparisonReport:
    """Train and measure candidates on the same data, and write a report that says which to take.

    All candidates get the same splits, seeds and budget; those with random weights read one vocabulary, learnt from
    the training split. Each is trained in one process and measured in another, one at a time. Called again after an
    interruption it goes on where it stopped, and tries failed runs again; candidates and seeds may be added.

    Args:
        data: a file (split 80/10/10) or a folder with train, dev and test.
        encoders: folders, names of encoders that ship with the package, or `preset:NAME` for random weights; None for
            those that ship for the language of the data, or else a BERT and an ALBERT of 4 layers of 312.
        baselines: bag-of-words, overlap (of pairs), word-vectors, bilstm; None for all that can do the task with these
            data, an empty list for none.
        out: a folder of its own for the comparison: report.html, report.json, and under jobs/ every trained model.
        seeds: trainings of every candidate.
        task: the task's name, or a benchmark's, such as glue/sst2.
        dev: a development file.
        test: a test file.
        columns: which columns to read; None to look for their usual names.
        encoding: of the data files.
        on_error: what a bad row does, "stop" or "skip".
        quoting: whether a quote holds a field together: "on", "off" or "auto".
        duplicates: "drop" keeps one row of every distinct text, "group" keeps all of them, on one side of the split.
        limit: use a sample of so many distinct texts.
        split_seed: chooses the split and the sample.
        vocabulary_size: of the learnt vocabulary, at most.
        max_length: tokens that a model reads at a time; None to choose for each tokenizer from the training texts.
        options: what can be asked of this task alone, by name.
        epochs: the budget of a run in passes over the training split; instead of the one in `config`.
        examples: the budget in training examples, instead.
        minutes: the budget in minutes of training, instead.
        batch_size: instead of the one in `config`.
        learning_rate: for every candidate; None for the one that suits each.
        config: how to train; None for the defaults.
        methods: R-Drop, elastic depth and the like, for the encoders; with elastic depth the report shows what every
            depth is worth.
        title: heading of the report; None for the name of the data.
        lang: language of the report, en or zh; None by the environment.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        resume: False throws away what an earlier comparison left in `out`.
        progress: called after the steps of each training; None draws a bar on stderr.

    Returns:
        What is in report.json.

    Raises:
        ConfigError: a name that does not exist, an option out of range, or another comparison in `out`.
        DataError: the data cannot be used.
        FailureError: every run of every candidate failed, or the disk is full.
        KeyboardInterrupt: Ctrl-C; what is finished is saved, the same call continues.
    """
    texts = catalogue(language(lang))
    source = DataSource(
        data=data,
        dev=dev,
        test=test,
        columns=columns or Columns(),
        encoding=encoding,
        on_error=on_error,
        quoting=quoting,
    )
    named = named_task(task, source, options or {})
    record = find_task(named.task)
    task_options = options_from(record.options, named.options, task=named.task)
    training = _training(
        config,
        epochs=epochs,
        examples=examples,
        minutes=minutes,
        batch_size=batch_size,
        learning_rate=learning_rate,
    )
    if seeds < 1:
        raise ConfigError("at least one training is needed", where="seeds", received=seeds, allowed="1 or more")
    named_ones = contestants(encoders, baselines, texts, possible=record.baselines(task_options, ()))
    splits = named.source.splits(record, named.options, seed=split_seed, duplicates=duplicates, limit=limit)
    if encoders is None and (shipped := default_encoders(splits.train)):
        named_ones = contestants(shipped, baselines, texts, possible=record.baselines(task_options, ()))
    candidates = able(named_ones, record.baselines(task_options, splits.test), asked=baselines is not None)
    told = TaskConfig(task=named.task, labels=splits.labels, options=task_options)
    format = named.source.format(record, named.options)
    summary = data_summary(splits, format, texts, dev_as_test=_dev_as_test(named.source, format, splits))
    place = _device(device)
    plan = Plan(
        task=named.task,
        contestants=candidates,
        seeds=tuple(range(seeds)),
        training=training,
        methods=methods or Methods(),
        max_length=max_length,
        options=named.options,
        vocabulary_size=vocabulary_size,
        main_metric=named.main_metric or record.ranking_metric(told, summary.label_counts, splits.test),
        data_sha256=dict(splits.sha256),
        splits_hash=splits.content_hash(),
        device=place,
        threads=torch.get_num_threads(),
        precision=choose_precision(place, training.precision),
        language=texts.language,
    )
    workspace = Workspace(Path(out).resolve())
    vocabulary = set_up(workspace, plan, splits, resume=resume)
    results = run_all(workspace, plan, vocabulary, progress)
    report = _report(plan, results, summary, title or splits.source, Path(out))
    write_report(report, workspace.path)
    if report.recommended is None:
        raise FailureError(
            "every run of every candidate failed",
            where=str(Path(out) / HTML_FILE),
            received=results[0].failed,
            next_step=f"Look into the log.txt of a run under {Path(out) / 'jobs'}, then run the same command again",
        )
    return report


def _report(plan: Plan, results: Sequence[RunResult], data: DataSummary, title: str, out: Path) -> ComparisonReport:
    """Sum up the runs and say which candidate to take."""
    texts, task = catalogue(plan.language), find_task(plan.task)
    told = options_from(task.options, plan.options, task=plan.task)
    config = TaskConfig(task=plan.task, labels=data.labels, options=told)
    metric = task.metrics(config)[plan.main_metric]
    summaries = summarise(results, candidates=[one.info for one in plan.contestants], metric=metric)
    found = recommend(summaries, main_metric=plan.main_metric, test_items=data.test, texts=texts)
    return ComparisonReport(
        schema_version=SCHEMA_VERSION,
        title=title,
        task=plan.task,
        main_metric=plan.main_metric,
        greater_is_better=task.greater_is_better,
        evidence_columns=task.evidence_columns(config),
        data=data,
        candidates=summaries,
        recommended=found.name,
        reasons=(*found.reasons, *remarks(summaries, found.name, out=out, texts=texts)),
        budget=budget_sentence(plan.training, plan.contestants, train=data.train, texts=texts),
        command=command_line(sys.argv),
        machine=machine_info(plan.device, plan.threads),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        language=plan.language,
    )


def _training(
    config: TrainingConfig | None,
    *,
    epochs: float | None,
    examples: int | None,
    minutes: float | None,
    batch_size: int | None,
    learning_rate: float | None,
) -> TrainingConfig:
    """Put the options that were given in place of the configuration's fields; a budget takes the place of any other."""
    base = config or TrainingConfig()
    if epochs is not None or examples is not None or minutes is not None:
        base = replace(base, epochs=epochs, examples=examples, minutes=minutes)
    return replace(
        base,
        batch_size=base.batch_size if batch_size is None else batch_size,
        learning_rate=base.learning_rate if learning_rate is None else learning_rate,
    )


def _dev_as_test(source: DataSource, format: DataFormat, splits: Splits) -> bool:
    """Say whether the development file is what is measured on: there is no test file, or it has no labels."""
    files = format.files(
        Path(source.data),
        dev=None if source.dev is None else Path(source.dev),
        test=None if source.test is None else Path(source.test),
        columns=source.columns,
    )
    used = {Path(name).name for name in splits.sha256}
    return (
        not splits.halved
        and files.dev is not None
        and (files.test is None or len(splits.sha256) < 3)
        and files.dev.name in used
    )


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu" or (name.partition(":")[0] == "cuda" and torch.cuda.is_available()):
        return name
    raise ConfigError("this device cannot be used here", where="device", received=repr(name), allowed="auto, cpu, cuda")
