"""One recipe several times: with several seeds, or on the folds of a data set; what comes out, with its interval."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from albertine.data.formats import DataFormat
from albertine.data.samples import Splits
from albertine.data.splitting import TextGroup, divide, group_texts
from albertine.errors import ConfigError
from albertine.evaluation.significance import Interval, bootstrap_interval
from albertine.files import write_json
from albertine.records import Example
from albertine.tasks.config import TaskConfig, options_from
from albertine.tasks.task import Evidence
from albertine.training.progress import ProgressCallback
from albertine.training.recipe import Recipe, find_task
from albertine.training.training_run import TrainingOutcome, train

__all__ = ["REPEATS_FILE", "RepeatedResult", "repeat_folds", "repeat_seeds"]

logger = logging.getLogger("albertine")

REPEATS_SCHEMA = 1
REPEATS_FILE = "repeats.json"
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedResult:
    """What several runs of one recipe came to."""

    main_metric: str
    interval: Interval
    """The main metric on what was tested: the mean of the seeds with its interval over items and seeds; or, of folds,
    that of all folds' answers together, each example being tested once."""
    runs: tuple[dict[str, float], ...]
    """Every metric of every run on what it was tested on."""
    folders: tuple[str, ...]
    """The models, below the folder of them all."""
    kind: str
    """seeds or folds."""
    schema_version: int = REPEATS_SCHEMA

    @property
    def spread(self) -> float:
        """Standard deviation of the main metric over the runs."""
        return float(np.std([one[self.main_metric] for one in self.runs], ddof=1))

    def to_dict(self) -> dict[str, object]:
        """Return every field under its name, ready for JSON."""
        return {**dataclasses.asdict(self), "spread": self.spread}

    def render(self) -> str:
        """Return the result as lines for a terminal."""
        value = self.interval
        lines = [
            f"{self.main_metric} {value.value:.4f}, 95 % interval {value.low:.4f} to {value.high:.4f}; "
            f"standard deviation over {len(self.runs)} {self.kind} {self.spread:.4f}"
        ]
        lines += [
            f"  {folder}  {one[self.main_metric]:.4f}" for folder, one in zip(self.folders, self.runs, strict=True)
        ]
        return "\n".join(lines)


def repeat_seeds(
    splits: Splits,
    recipe: Recipe,
    *,
    out: Path,
    seeds: int,
    resume: bool = True,
    progress: ProgressCallback | None = None,
    lang: str | None = None,
) -> RepeatedResult:
    """Train with the recipe's seed and those after it, on the same splits, each into a folder of its own.

    Args:
        splits: the data.
        recipe: what to do with them.
        out: the folder of all runs; what is finished there is not repeated.
        seeds: how many, at least 2.
        resume: False begins again.
        progress: as in `train`.
        lang: as in `train`.

    Raises:
        ConfigError: fewer than two seeds, or no test split.
    """
    _several(seeds, "seeds")
    if not splits.test:
        raise ConfigError("there is no test split to measure the seeds on", where="seeds")
    outcomes, folders = [], []
    for seed in range(recipe.config.seed, recipe.config.seed + seeds):
        folders.append(f"seed-{seed}")
        logger.info("seed %d", seed)
        one = replace(recipe, config=replace(recipe.config, seed=seed))
        outcomes.append(train(splits, one, out=out / folders[-1], resume=resume, progress=progress, lang=lang))
    evidence = np.stack([_evidence(outcome, splits.test) for outcome in outcomes])
    return _result(recipe, outcomes, folders, evidence, kind="seeds", out=out)


def repeat_folds(
    splits: Splits,
    recipe: Recipe,
    *,
    out: Path,
    folds: int,
    resume: bool = True,
    progress: ProgressCallback | None = None,
    lang: str | None = None,
) -> RepeatedResult:
    """Train once a fold: every fold is tested by a model that learnt from the others, of which one serves as dev.

    All rows of the splits are divided anew, each label in proportion, no text in two folds.

    Args:
        splits: the data; which row was in which split does not matter.
        recipe: what to do with them.
        out: the folder of all runs; what is finished there is not repeated.
        folds: how many, at least 3.
        resume: False begins again.
        progress: as in `train`.
        lang: as in `train`.

    Raises:
        ConfigError: fewer than three folds, or a label with fewer distinct texts than folds.
    """
    if folds <= _FEWEST:
        raise ConfigError("one fold is tested, one chosen by", where="folds", received=folds, allowed="3 or more")
    task = find_task(recipe.task)
    format = task.format(options_from(task.options, recipe.options, task=recipe.task))
    examples = (*splits.train, *splits.dev, *splits.test)
    parts = _folds(examples, format, folds, recipe.config.seed)
    outcomes, folders, found = [], [], []
    for fold, test in enumerate(parts):
        folders.append(f"fold-{fold + 1}")
        logger.info("fold %d of %d", fold + 1, folds)
        dev = parts[(fold + 1) % folds]
        rest = tuple(one for place, part in enumerate(parts) if part is not test and part is not dev for one in part)
        divided = replace(splits, train=rest, dev=dev, test=test)
        outcomes.append(train(divided, recipe, out=out / folders[-1], resume=resume, progress=progress, lang=lang))
        found.append(_evidence(outcomes[-1], test))
    return _result(recipe, outcomes, folders, np.concatenate(found), kind="folds", out=out)


def _folds(examples: Sequence[Example], format: DataFormat, folds: int, seed: int) -> list[tuple[Example, ...]]:
    groups = group_texts(examples, format)
    smallest = min(sum(group.label == label for group in groups) for label in {group.label for group in groups})
    if smallest < folds:
        raise ConfigError(
            "a label has fewer different texts than there are folds",
            where="folds",
            received=folds,
            allowed=f"up to {smallest}",
        )
    parts: list[list[TextGroup]] = divide(groups, shares=[1 / folds] * (folds - 1), seed=seed)
    return [tuple(examples[row] for row in sorted(row for group in part for row in group.rows)) for part in parts]


def _evidence(outcome: TrainingOutcome, examples: Sequence[Example]) -> Evidence:
    model = outcome.model
    return model.task.evidence(model.answer_examples(examples), examples, model.task_config)


def _result(
    recipe: Recipe,
    outcomes: Sequence[TrainingOutcome],
    folders: Sequence[str],
    evidence: Evidence,
    *,
    kind: str,
    out: Path,
) -> RepeatedResult:
    task, first = find_task(recipe.task), outcomes[0]
    config: TaskConfig = first.model.task_config
    name = first.measurements.main_metric
    result = RepeatedResult(
        main_metric=name,
        interval=bootstrap_interval(evidence, task.metrics(config)[name]),
        runs=tuple(dict(one.measurements.test_metrics) for one in outcomes),
        folders=tuple(folders),
        kind=kind,
    )
    write_json(out / REPEATS_FILE, result.to_dict())
    return result


def _several(number: int, name: str) -> None:
    if number < _FEWEST:
        raise ConfigError("one run has no spread", where=name, received=number, allowed="2 or more")
