"""Whole runs: from a data file and the name of an encoder to a model folder, and the measuring of a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from albertine.data.columns import Columns
from albertine.data.samples import Splits
from albertine.errors import ConfigError
from albertine.evaluation.out_of_scope import out_of_scope_metrics
from albertine.inference.loading import load
from albertine.inference.model import Model
from albertine.tokenization.tokenizer import Tokenizer
from albertine.training.config import TrainingConfig
from albertine.training.data_source import DataSource, named_task
from albertine.training.default_encoder import AUTO, default_encoder
from albertine.training.evaluation import EvaluationResult
from albertine.training.methods.choices import Methods
from albertine.training.progress import ProgressCallback
from albertine.training.recipe import Recipe, find_task
from albertine.training.repeats import RepeatedResult, repeat_folds, repeat_seeds
from albertine.training.search import search as search_options
from albertine.training.training_run import train

__all__ = ["evaluate", "finetune", "finetune_recipe", "repeat", "repeat_recipe"]

logger = logging.getLogger("albertine")


def finetune(
    task: str,
    data: str | Path,
    *,
    encoder: str | Path = AUTO,
    out: str | Path,
    dev: str | Path | None = None,
    test: str | Path | None = None,
    columns: Columns | None = None,
    config: TrainingConfig | None = None,
    methods: Methods | None = None,
    max_length: int | None = None,
    overlap: int | None = None,
    max_error: float | None = None,
    options: Mapping[str, object] | None = None,
    tokenizer: Tokenizer | str | Path | None = None,
    vocabulary_size: int = 8000,
    encoding: str = "utf-8",
    on_error: str = "stop",
    quoting: str = "auto",
    hold_out: Sequence[str] | int = (),
    search: int | None = None,
    trackers: Sequence[str] = (),
    resume: bool = True,
    progress: ProgressCallback | None = None,
    lang: str | None = None,
    device: str = "auto",
) -> Model:
    """Train a model on labelled data and write its folder; called again after an interruption, go on where it stopped.

    Args:
        task: the task's name, such as text-classification; or a benchmark's, such as glue/sst2.
        data: a file (split 80/10/10 by `config.seed`) or a folder with train, dev and test; the folder of a
            benchmark's files.
        encoder: a checkpoint folder, the name of an encoder that ships with the package, `preset:NAME` for random
            weights, or a baseline's name; auto: the encoder that ships for the language of the data.
        out: the model folder; the checkpoints and the learning curve of the training lie in it too.
        dev: a development file.
        test: a test file.
        columns: which columns to read; None to look for their usual names.
        config: how to train; None for the defaults.
        methods: R-Drop, low-rank adaptation and the like; None for none.
        max_length: tokens that the model reads at a time; None to choose from the training texts, which is said aloud.
        overlap: tokens that two windows of a longer text share; None for a quarter of `max_length`.
        max_error: share of the answers that may be wrong: the model keeps silent where it is too unsure, by what it
            knew of the development split; None: it always answers.
        options: what can be asked of this task alone, by name.
        tokenizer: for random weights, instead of a vocabulary learnt from the training split; or for a checkpoint
            without one.
        vocabulary_size: of a learnt vocabulary, at most.
        encoding: of the data files.
        on_error: what a bad row does, "stop" or "skip".
        quoting: whether a quote holds a field together: "on", "off" or "auto".
        hold_out: labels that are not learnt, or how many of them (drawn by `config.seed`): the measurements then say
            how well the model notices texts that belong to none of its labels.
        search: try training options so many times, judged on the development split, and train with the best.
        trackers: programs that are shown the learning curve as well: tensorboard (in `out/tensorboard`), mlflow.
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
    source = DataSource(
        data=data,
        dev=dev,
        test=test,
        columns=columns or Columns(),
        encoding=encoding,
        on_error=on_error,
        quoting=quoting,
        hold_out=hold_out if isinstance(hold_out, int) else tuple(hold_out),
    )
    recipe = Recipe(
        task=task,
        encoder=encoder,
        config=config or TrainingConfig(),
        methods=methods or Methods(),
        max_length=max_length,
        overlap=overlap,
        max_error=max_error,
        options=options or {},
        tokenizer=tokenizer,
        vocabulary_size=vocabulary_size,
        device=device,
    )
    return finetune_recipe(
        recipe, source, out=Path(out), search=search, trackers=trackers, resume=resume, progress=progress, lang=lang
    )


def finetune_recipe(
    recipe: Recipe,
    source: DataSource,
    *,
    out: Path,
    search: int | None = None,
    trackers: Sequence[str] = (),
    resume: bool = True,
    progress: ProgressCallback | None = None,
    lang: str | None = None,
) -> Model:
    """Do what `finetune` does, of records."""
    recipe, splits = _with_data(recipe, source)
    if search is not None:
        found = search_options(splits, recipe, out=out, trials=search, resume=resume, progress=progress, lang=lang)
        return found.model
    return train(splits, recipe, out=out, resume=resume, progress=progress, lang=lang, trackers=trackers).model


def repeat(
    task: str,
    data: str | Path,
    *,
    encoder: str | Path = AUTO,
    out: str | Path,
    seeds: int | None = None,
    folds: int | None = None,
    dev: str | Path | None = None,
    test: str | Path | None = None,
    columns: Columns | None = None,
    config: TrainingConfig | None = None,
    methods: Methods | None = None,
    max_length: int | None = None,
    overlap: int | None = None,
    max_error: float | None = None,
    options: Mapping[str, object] | None = None,
    tokenizer: Tokenizer | str | Path | None = None,
    vocabulary_size: int = 8000,
    encoding: str = "utf-8",
    on_error: str = "stop",
    quoting: str = "auto",
    hold_out: Sequence[str] | int = (),
    resume: bool = True,
    progress: ProgressCallback | None = None,
    lang: str | None = None,
    device: str = "auto",
) -> RepeatedResult:
    """Do what `finetune` does several times, and say what comes of it with its interval.

    Args:
        task: as in `finetune`, like everything that is not said here.
        data: as there.
        encoder: as there.
        out: the folder of all models, and of the result as repeats.json.
        seeds: train so many times, with the seed of the configuration and those after it; or
        folds: divide all the data so many times, and test each part by a model that learnt from the others.
        dev: as there.
        test: as there.
        columns: as there.
        config: as there.
        methods: as there.
        max_length: as there.
        overlap: as there.
        max_error: as there.
        options: as there.
        tokenizer: as there.
        vocabulary_size: as there.
        encoding: as there.
        on_error: as there.
        quoting: as there.
        hold_out: as there.
        resume: as there.
        progress: as there.
        lang: as there.
        device: as there.

    Raises:
        ConfigError: neither seeds nor folds or both, or what `finetune` raises.
        DataError: the data cannot be used.
        FailureError: as there.
        KeyboardInterrupt: what is finished is saved, the same call continues.
    """
    source = DataSource(
        data=data,
        dev=dev,
        test=test,
        columns=columns or Columns(),
        encoding=encoding,
        on_error=on_error,
        quoting=quoting,
        hold_out=hold_out if isinstance(hold_out, int) else tuple(hold_out),
    )
    recipe = Recipe(
        task=task,
        encoder=encoder,
        config=config or TrainingConfig(),
        methods=methods or Methods(),
        max_length=max_length,
        overlap=overlap,
        max_error=max_error,
        options=options or {},
        tokenizer=tokenizer,
        vocabulary_size=vocabulary_size,
        device=device,
    )
    return repeat_recipe(
        recipe, source, out=Path(out), seeds=seeds, folds=folds, resume=resume, progress=progress, lang=lang
    )


def repeat_recipe(
    recipe: Recipe,
    source: DataSource,
    *,
    out: Path,
    seeds: int | None = None,
    folds: int | None = None,
    resume: bool = True,
    progress: ProgressCallback | None = None,
    lang: str | None = None,
) -> RepeatedResult:
    """Do what `repeat` does, of records."""
    if (seeds is None) == (folds is None):
        raise ConfigError("say what is repeated", received=f"seeds={seeds}, folds={folds}", allowed="one of the two")
    recipe, splits = _with_data(recipe, source)
    if seeds is not None:
        return repeat_seeds(splits, recipe, out=out, seeds=seeds, resume=resume, progress=progress, lang=lang)
    assert folds is not None, "one of the two was given"
    return repeat_folds(splits, recipe, out=out, folds=folds, resume=resume, progress=progress, lang=lang)


def _with_data(recipe: Recipe, source: DataSource) -> tuple[Recipe, Splits]:
    """Look up what the recipe names, then read and divide the data; a benchmark says what its recipe lacks."""
    named = named_task(recipe.task, source, recipe.options)
    found = replace(recipe, task=named.task, options=named.options, main_metric=recipe.main_metric or named.main_metric)
    found.check()
    splits = named.source.splits(find_task(found.task), found.options, seed=found.config.seed)
    if found.encoder == AUTO:
        found = replace(found, encoder=default_encoder(splits.train))
    return found, splits


def evaluate(
    model: Model | str | Path,
    data: str | Path,
    *,
    columns: Columns | None = None,
    encoding: str = "utf-8",
    on_error: str = "stop",
    quoting: str = "auto",
    out_of_scope: str | Path | None = None,
) -> EvaluationResult:
    """Measure a model on a labelled file.

    Args:
        model: a model, or the folder of one.
        data: the file; or a folder, whose test file is taken, its development file where it has none.
        columns: which columns to read; None to look for their usual names.
        encoding: of the file.
        on_error: what a bad row does, "stop" or "skip".
        quoting: whether a quote holds a field together: "on", "off" or "auto".
        out_of_scope: a file of texts that belong to none of the model's labels; the metrics then say how well it
            notices them.

    Raises:
        UserError: `out_of_scope`, and the task has no one label a text.
        DataError: the file cannot be used, has no labels, or has one that the model does not know.
        CheckpointError: the folder is no model's.
    """
    opened = model if isinstance(model, Model) else load(model)
    format = opened.task.format(opened.task_config.options)
    path = Path(data)
    if path.is_dir():
        files = format.files(path, columns=columns or Columns())
        path = files.test or files.dev or files.train
        logger.info("measuring on %s", path.name)
    read = format.read(
        path, columns=columns or Columns(), encoding=encoding, on_error=on_error, labelled=True, quoting=quoting
    )
    result = EvaluationResult.of(opened, read.examples, notes=read.notes)
    if out_of_scope is None:
        return result
    foreign = format.read(
        Path(out_of_scope),
        columns=columns or Columns(),
        encoding=encoding,
        on_error=on_error,
        labelled=False,
        quoting=quoting,
    )
    known, unknown = (opened.confidences(part) for part in (read.examples, foreign.examples))
    found = out_of_scope_metrics(known, unknown, opened.task_config.abstain_below)
    return replace(result, metrics={**result.metrics, **found})
