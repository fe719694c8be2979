"""Search for the training options that suit a task and an encoder, judged on the development split (extra `tune`)."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from albertine.data.samples import Splits
from albertine.errors import ConfigError, FailureError, MissingDependencyError
from albertine.training.candidates import find_candidate
from albertine.training.progress import ProgressCallback, TrainingProgress
from albertine.training.recipe import Recipe
from albertine.training.training_run import TrainingOutcome, train

if TYPE_CHECKING:
    import optuna

__all__ = ["SEARCH_FOLDER", "search"]

logger = logging.getLogger("albertine")

SEARCH_FOLDER = "search"
"""Below the model folder: the journal of the trials, and the trial that is running."""
_WARM_TRIALS, _WARM_EVALUATIONS = 4, 1
"""No trial is given up before so many have finished, nor before so many of its own evaluations."""

# What is tried, by what the weights start as. Rates are factors of the one that would be chosen without a search.
_PRETRAINED = {"learning_rate": (1e-5, 5e-4), "batch_size": (8, 16, 32, 64), "epochs": (2.0, 3.0, 5.0, 8.0)}
_RANDOM = {"learning_rate": (1e-4, 3e-3), "batch_size": (8, 16, 32, 64), "epochs": (3.0, 6.0, 12.0)}
_LAYER_DECAYS = (1.0, 0.9, 0.8)
_WARMUPS = (0.0, 0.06, 0.2)


class _GivenUp(Exception):
    """A trial that is behind the others."""


def search(
    splits: Splits,
    recipe: Recipe,
    *,
    out: Path,
    trials: int,
    resume: bool = True,
    progress: ProgressCallback | None = None,
    lang: str | None = None,
) -> TrainingOutcome:
    """Try training options, and train with the best of them.

    Rate, batch size, epochs, warm-up and, where the encoder has several blocks, layer decay are drawn by a
    tree-structured Parzen estimator (Bergstra et al. 2011) and judged by the main metric on the development split. A
    trial that is behind the median of the others at one of its evaluations is given up. Trials leave no models behind;
    the best options are trained once more, into `out`. Interrupted, the same call goes on behind the last finished
    trial.

    Args:
        splits: the data, with a development split.
        recipe: what to train; what is searched for takes the place of its options.
        out: the model folder.
        trials: how many to finish or give up.
        resume: False forgets the trials that stand in `out`.
        progress: called after every step of every trial.
        lang: language of the model card.

    Raises:
        MissingDependencyError: the extra `tune` is not installed.
        ConfigError: no trials, no development split, or a solver that tunes itself.
        FailureError: no trial came to an end.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingDependencyError("optuna", extra="tune", feature="the search for training options") from error
    if trials < 1:
        raise ConfigError("at least one trial is needed", where="search", received=trials, allowed="1 or more")
    if not splits.dev:
        raise ConfigError("there is no development split to judge trials by", where="search")
    candidate = find_candidate(recipe.encoder)
    if candidate.fitted_by_solver:
        raise ConfigError("this baseline tunes itself", where="search", received=candidate.name)
    folder = out / SEARCH_FOLDER
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    inputs = json.loads(json.dumps(recipe.inputs(splits, candidate)))
    study = _study(folder, inputs)
    space = _PRETRAINED if candidate.folder is not None else _RANDOM
    decays = _LAYER_DECAYS if candidate.baseline is None else (1.0,)
    while (done := _done(study)) < trials:
        trial = study.ask()
        drawn = _drawn(recipe, trial, space, decays)
        logger.info("trial %d of %d: %s", done + 1, trials, _shown(trial.params))
        value = _tried(splits, drawn, trial, folder / "trial", progress)
        if value is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            logger.info("given up: behind the median of the others")
        else:
            study.tell(trial, value)
            logger.info("%.4f on the development split; the best so far %.4f", value, study.best_value)
    if not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
        raise FailureError("no trial came to an end", where=str(folder), next_step="Search again with --restart")
    logger.info("best: %s, %.4f on the development split", _shown(study.best_params), study.best_value)
    best = _with(recipe, study.best_params)
    return train(splits, best, out=out, resume=resume, progress=progress, lang=lang)


def _tried(
    splits: Splits, recipe: Recipe, trial: optuna.Trial, folder: Path, progress: ProgressCallback | None
) -> float | None:
    """Return the main metric of a trial on the development split; None where it was given up."""
    seen: list[float] = []

    def tell(standing: TrainingProgress) -> None:
        if standing.dev_metric is not None and (not seen or standing.dev_metric is not seen[-1]):
            seen.append(standing.dev_metric)
            trial.report(standing.dev_metric, step=len(seen))
            if trial.should_prune():
                raise _GivenUp
        if progress is not None:
            progress(standing)

    try:
        outcome = train(replace(splits, test=()), recipe, out=folder, resume=False, progress=tell)
        return outcome.measurements.dev_metrics[outcome.measurements.main_metric]
    except _GivenUp:
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _study(folder: Path, inputs: Mapping[str, object]) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
        study_name="search",
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_WARM_TRIALS, n_warmup_steps=_WARM_EVALUATIONS),
        direction="maximize",
        load_if_exists=True,
    )
    known: Any = study.user_attrs.get("inputs")
    if known is not None and known != inputs:
        raise ConfigError(
            "another search stands in this folder",
            where=str(folder),
            next_step="Choose another folder with --out, or --restart",
        )
    study.set_user_attr("inputs", dict(inputs))
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # interrupted: it left nothing
    return study


def _done(study: optuna.Study) -> int:
    import optuna

    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return len(study.get_trials(deepcopy=False, states=states))


def _drawn(
    recipe: Recipe, trial: optuna.Trial, space: Mapping[str, tuple[float, ...]], decays: tuple[float, ...]
) -> Recipe:
    low, high = space["learning_rate"]
    trial.suggest_float("learning_rate", low, high, log=True)
    trial.suggest_categorical("batch_size", space["batch_size"])
    trial.suggest_categorical("epochs", space["epochs"])
    trial.suggest_categorical("warmup", _WARMUPS)
    if len(decays) > 1:
        trial.suggest_categorical("layer_decay", decays)
    return _with(recipe, trial.params)


def _with(recipe: Recipe, drawn: Mapping[str, Any]) -> Recipe:
    own = {name: value for name, value in drawn.items() if name != "layer_decay"}
    own["batch_size"] = int(own["batch_size"])
    config = replace(recipe.config, **own, examples=None, tokens=None, minutes=None)
    return replace(
        recipe,
        config=config,
        methods=replace(recipe.methods, layer_decay=drawn.get("layer_decay", recipe.methods.layer_decay)),
    )


def _shown(params: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name} {value:.2g}" if isinstance(value, float) else f"{name} {value}" for name, value in params.items()
    )
