"""One fine-tuning of splits that are made: trained, measured, written; or taken as it stands where it is finished."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

from albertine.data.samples import Splits
from albertine.files import write_json
from albertine.inference.loading import load
from albertine.inference.model import Model
from albertine.progress import ProgressBar
from albertine.settings import language
from albertine.training.candidates import Candidate, find_candidate
from albertine.training.card import model_card
from albertine.training.devices import find_device
from albertine.training.learning import Learnt, learn_by_loop, learn_by_solver
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
from albertine.training.recipe import Recipe, find_task
from albertine.training.trackers import Tracker, open_trackers

__all__ = ["TrainingOutcome", "train"]

logger = logging.getLogger("albertine")

RESTARTS = 2
"""How often a run that learnt nothing is begun again with other random numbers."""
_RESTARTS_FILE = "restarts.json"
_ENOUGH = 30
"""Examples of a development split below which nothing can be said of what was learnt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOutcome:
    """A trained model, and what was measured on the way."""

    model: Model
    measurements: Measurements
    curve: tuple[LogPoint, ...]
    """The learning curve; empty for a solver."""


def train(
    splits: Splits,
    recipe: Recipe,
    *,
    out: str | Path,
    resume: bool = True,
    progress: ProgressCallback | None = None,
    lang: str | None = None,
    command: str | None = None,
    trackers: Sequence[str] = (),
) -> TrainingOutcome:
    """Train a model and write its folder; called again after an interruption, go on where it stopped.

    A run whose answers to the development split do not depend on what it reads (small data and wide encoders end so now
    and then; Mosbach et al. 2021) is begun again with other random numbers, twice at most, and the measurements count
    how often.

    Args:
        splits: the data.
        recipe: what to do with them.
        out: the model folder.
        resume: False begins again, whatever this training left in `out` before.
        progress: called after every step; None draws a bar on stderr.
        lang: language of the model card; None by the environment.
        command: what the manifest says trains it again; None for this process's own line.
        trackers: programs that are shown the learning curve as well: tensorboard (in `out/tensorboard`), mlflow.

    Raises:
        ConfigError: a name that does not exist, an option out of range, or another model in `out`.
        DataError: the data cannot be used.
        FailureError: the training diverged, or the disk or the memory is full; the last checkpoint stays.
        KeyboardInterrupt: Ctrl-C or SIGTERM; everything is saved, the same call continues.
    """
    candidate, folder = find_candidate(recipe.encoder), Path(out)
    card_language = language(lang)
    inputs = recipe.inputs(splits, candidate)
    if resume and check_folder(folder, inputs):
        logger.info("this training is finished already: %s", folder)
        return _finished(folder)
    check_not_foreign(folder)
    forget_finished(folder)
    if candidate.fitted_by_solver:
        learnt = learn_by_solver(
            find_task(recipe.task), splits, candidate, recipe.config, request=recipe.request(splits)
        )
    else:
        with ExitStack() as stack:
            bar = stack.enter_context(closing(ProgressBar())) if progress is None else None
            observers = stack.enter_context(open_trackers(trackers, folder, inputs))
            learnt = _learn(
                splits, recipe, candidate, folder, inputs, resume=resume, progress=progress or bar, observers=observers
            )
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
    (folder / _RESTARTS_FILE).unlink(missing_ok=True)
    return TrainingOutcome(model=model, measurements=learnt.measurements, curve=learnt.curve)


def _learn(
    splits: Splits,
    recipe: Recipe,
    candidate: Candidate,
    folder: Path,
    inputs: Mapping[str, object],
    *,
    resume: bool,
    progress: ProgressCallback | None,
    observers: Sequence[Tracker],
) -> Learnt:
    """Train by the loop, and again with another seed where nothing was learnt."""
    task = find_task(recipe.task)
    restarts = _restarts(folder, inputs) if resume else 0
    going_on = resume
    while True:
        # far from the seeds that a person would choose for other runs
        config = replace(recipe.config, seed=recipe.config.seed + 1_000_003 * restarts)
        learnt = learn_by_loop(
            task,
            splits,
            candidate,
            config,
            folder=folder,
            device=find_device(recipe.device),
            inputs={**inputs, "restarts": restarts} if restarts else inputs,
            request=recipe.request(splits),
            methods=recipe.methods,
            tokenizer=recipe.tokenizer,
            vocabulary_size=recipe.vocabulary_size,
            resume=going_on,
            progress=progress,
            observers=observers,
        )
        learnt = replace(learnt, measurements=replace(learnt.measurements, restarts=restarts))
        if restarts == RESTARTS or len(splits.dev) < _ENOUGH or _has_learnt(learnt, splits):
            return learnt
        restarts, going_on = restarts + 1, False
        logger.warning(
            "nothing was learnt: what is answered does not depend on the texts; the run begins again with other random "
            "numbers (%d of at most %d times)",
            restarts,
            RESTARTS,
        )
        write_json(folder / _RESTARTS_FILE, {"inputs": dict(inputs), "restarts": restarts})


def _has_learnt(learnt: Learnt, splits: Splits) -> bool:
    model = learnt.model
    evidence = model.task.evidence(model.answer_examples(splits.dev), splits.dev, model.task_config)
    return not model.task.did_not_learn(evidence, model.task_config)


def _restarts(folder: Path, inputs: Mapping[str, object]) -> int:
    """Return how often this training was begun again before it was interrupted."""
    try:
        found = json.loads((folder / _RESTARTS_FILE).read_text(encoding="utf-8"))
        same = found["inputs"] == json.loads(json.dumps(dict(inputs)))
        return int(found["restarts"]) if same else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


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
