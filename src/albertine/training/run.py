"""Whole runs: from a data file and the name of an encoder to a model folder, and the measuring of a model."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from albertine import registry
from albertine.data.columns import Columns
from albertine.data.samples import Splits, load_splits
from albertine.data.split_files import find_split_files
from albertine.errors import ConfigError
from albertine.inference.model import Model, load
from albertine.progress import ProgressBar
from albertine.settings import language
from albertine.tasks.task import Task
from albertine.tokenization.tokenizer import Tokenizer
from albertine.training.candidates import Candidate, find_candidate, tokenizer_fingerprint
from albertine.training.card import model_card
from albertine.training.config import TrainingConfig
from albertine.training.devices import find_device
from albertine.training.evaluation import EvaluationResult
from albertine.training.learning import learn_by_loop, learn_by_solver
from albertine.training.log import LogPoint, read_log
from albertine.training.manifest import (
    Measurements,
    check_folder,
    check_not_foreign,
    command_line,
    forget_finished,
    make_manifest,
    read_measurements,
)
from albertine.training.progress import ProgressCallback

__all__ = ["TrainingOutcome", "evaluate", "find_task", "finetune", "train"]

logger = logging.getLogger("albertine")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOutcome:
    """A trained model, and what was measured on the way."""

    model: Model
    measurements: Measurements
    curve: tuple[LogPoint, ...]
    """The learning curve; empty for a solver."""


def finetune(
    task: str,
    data: str | Path,
    *,
    encoder: str | Path,
    out: str | Path,
    dev: str | Path | None = None,
    test: str | Path | None = None,
    columns: Columns | None = None,
    config: TrainingConfig | None = None,
    max_length: int | None = None,
    tokenizer: Tokenizer | str | Path | None = None,
    vocabulary_size: int = 8000,
    encoding: str = "utf-8",
    on_error: str = "stop",
    quoting: str = "auto",
    resume: bool = True,
    progress: ProgressCallback | None = None,
    lang: str | None = None,
    device: str = "auto",
) -> Model:
    """Train a model on labelled data and write its folder; called again after an interruption, go on where it stopped.

    Args:
        task: the task's name, such as text-classification.
        data: a file (split 80/10/10 by `config.seed`) or a folder with train, dev and test.
        encoder: a checkpoint folder, `preset:NAME` for random weights, or a baseline's name.
        out: the model folder; the checkpoints and the learning curve of the training lie in it too.
        dev: a development file.
        test: a test file.
        columns: which columns to read; None to look for their usual names.
        config: how to train; None for the defaults.
        max_length: tokens a text is cut to; None to choose from the training texts, which is said aloud.
        tokenizer: for random weights, instead of a vocabulary learnt from the training split; or for a checkpoint
            without one.
        vocabulary_size: of a learnt vocabulary, at most.
        encoding: of the data files.
        on_error: what a bad row does, "stop" or "skip".
        quoting: whether a quote holds a field together: "on", "off" or "auto".
        resume: False begins again, whatever this training left in `out` before.
        progress: called after every step; None draws a bar on stderr.
        lang: language of the model card, en or zh; None by the environment.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.

    Returns:
        The model as it stands in `out`.

    Raises:
        ConfigError: a name that does not exist, an option out of range, or another model in `out`.
        DataError: the data cannot be used.
        FailureError: the training diverged, or the disk or the memory is full; the last checkpoint stays.
        KeyboardInterrupt: Ctrl-C or SIGTERM; everything is saved, the same call continues.
    """
    config = config or TrainingConfig()
    find_task(task)
    find_candidate(encoder)
    splits = load_splits(
        data,
        dev=dev,
        test=test,
        columns=columns or Columns(),
        seed=config.seed,
        encoding=encoding,
        on_error=on_error,
        quoting=quoting,
    )
    return train(
        splits,
        task=task,
        encoder=encoder,
        out=out,
        config=config,
        max_length=max_length,
        tokenizer=tokenizer,
        vocabulary_size=vocabulary_size,
        resume=resume,
        progress=progress,
        lang=lang,
        device=device,
    ).model


def train(
    splits: Splits,
    *,
    task: str,
    encoder: str | Path,
    out: str | Path,
    config: TrainingConfig,
    max_length: int | None = None,
    tokenizer: Tokenizer | str | Path | None = None,
    vocabulary_size: int = 8000,
    main_metric: str | None = None,
    resume: bool = True,
    progress: ProgressCallback | None = None,
    lang: str | None = None,
    device: str = "auto",
    command: str | None = None,
) -> TrainingOutcome:
    """Do what `finetune` does, on splits that are made already, and give the measurements too.

    Arguments and errors are those of `finetune`; `main_metric` is what the kept weights are chosen by, None for the
    task's own; `command` is what the manifest says trains it again, None for this process's own line.
    """
    record, candidate, folder = find_task(task), find_candidate(encoder), Path(out)
    card_language = language(lang)
    inputs = _inputs(splits, task, candidate, config, max_length, tokenizer, vocabulary_size)
    inputs |= {} if main_metric is None else {"main_metric": main_metric}
    if resume and check_folder(folder, inputs):
        logger.info("this training is finished already: %s", folder)
        return _finished(folder)
    check_not_foreign(folder)
    forget_finished(folder)
    place = find_device(device)
    if candidate.fitted_by_solver:
        learnt = learn_by_solver(record, splits, candidate, config, main_metric=main_metric)
    else:
        bar = ProgressBar() if progress is None else None
        try:
            learnt = learn_by_loop(
                record,
                splits,
                candidate,
                config,
                folder=folder,
                device=place,
                inputs=inputs,
                max_length=max_length,
                tokenizer=tokenizer,
                vocabulary_size=vocabulary_size,
                main_metric=main_metric,
                resume=resume,
                progress=progress or bar,
            )
        finally:
            if bar is not None:
                bar.close()
    learnt = learnt.measured(splits)
    model = learnt.model
    model.manifest = make_manifest(
        inputs=inputs,
        data=_data_summary(splits),
        measurements=learnt.measurements,
        parameters={"unique": model.parameters_info.unique, "executed": model.parameters_info.executed},
        command=command or command_line(sys.argv),
    )
    model.card = model_card(model, learnt.measurements, splits, encoder=candidate.shown, language=card_language)
    model.save(folder)
    return TrainingOutcome(model=model, measurements=learnt.measurements, curve=learnt.curve)


def evaluate(
    model: Model | str | Path,
    data: str | Path,
    *,
    columns: Columns | None = None,
    encoding: str = "utf-8",
    on_error: str = "stop",
    quoting: str = "auto",
) -> EvaluationResult:
    """Measure a model on a labelled file.

    Args:
        model: a model, or the folder of one.
        data: the file; or a folder, whose test file is taken, its development file where it has none.
        columns: which columns to read; None to look for their usual names.
        encoding: of the file.
        on_error: what a bad row does, "stop" or "skip".
        quoting: whether a quote holds a field together: "on", "off" or "auto".

    Raises:
        DataError: the file cannot be used, has no labels, or has one that the model does not know.
        CheckpointError: the folder is no model's.
    """
    opened = model if isinstance(model, Model) else load(model)
    path = Path(data)
    if path.is_dir():
        files = find_split_files(path)
        path = files.test or files.dev or files.train
        logger.info("measuring on %s", path.name)
    read = opened.task.read(
        path, columns=columns or Columns(), encoding=encoding, on_error=on_error, labelled=True, quoting=quoting
    )
    return EvaluationResult.of(opened, read.examples, notes=read.notes)


def find_task(name: str) -> Task:
    """Return the record of a task.

    Raises:
        ConfigError: no such task.
    """
    record = registry.tasks.get(name)
    if not isinstance(record, Task):
        raise ConfigError(f"what is registered as the task {name!r} is not a task", received=type(record).__name__)
    return record


def _inputs(
    splits: Splits,
    task: str,
    candidate: Candidate,
    config: TrainingConfig,
    max_length: int | None,
    tokenizer: Tokenizer | str | Path | None,
    vocabulary_size: int,
) -> dict[str, object]:
    """Return everything that decides a training, by value or by hash."""
    return {
        "task": task,
        "encoder": candidate.fingerprint(),
        "tokenizer": None if tokenizer is None else tokenizer_fingerprint(tokenizer),
        "vocabulary_size": vocabulary_size,
        "max_length": max_length,
        "data": {"files": dict(splits.sha256), "examples": splits.content_hash()},
        "training": config.to_dict(),
    }


def _data_summary(splits: Splits) -> dict[str, object]:
    return {
        "source": splits.source,
        "train": len(splits.train),
        "dev": len(splits.dev),
        "test": len(splits.test),
        "labels": list(splits.labels),
        "notes": list(splits.notes),
    }


def _finished(folder: Path) -> TrainingOutcome:
    model = load(folder)
    curve = folder / "log.jsonl"
    return TrainingOutcome(
        model=model,
        measurements=read_measurements(model.manifest, where=str(folder / "manifest.json")),
        curve=read_log(curve) if curve.exists() else (),
    )
