"""Several seeds, several folds, a search, and runs that begin again: one recipe, more than one training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import albertine as al
from albertine.data.samples import Splits, load_splits
from albertine.errors import ConfigError
from albertine.tasks.text_classification import TASK
from albertine.training import recipe as recipes
from albertine.training.config import TrainingConfig
from albertine.training.methods.choices import Methods
from albertine.training.progress import TrainingProgress
from albertine.training.recipe import Recipe
from albertine.training.repeats import repeat_folds, repeat_seeds
from albertine.training.search import search
from albertine.training.training_run import RESTARTS, train

GOOD, BAD = ("lovely", "warm", "kind", "bright"), ("dull", "cold", "rude", "broken")


def silent(progress: TrainingProgress) -> None:
    """Draw nothing."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(5)
    lines = [
        f"{generator.choice(words)} {generator.choice(('box', 'lamp', 'room'))} {place},{label}"
        for place in range(70)
        for label, words in (("good", GOOD), ("bad", BAD))
    ]
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def splits(data: Path) -> Splits:
    return load_splits(data)


def some_recipe(**changes: object) -> Recipe:
    config = TrainingConfig(epochs=2.0, learning_rate=0.02, batch_size=16, evaluations=2, precision="fp32")
    return replace(Recipe(task="text-classification", encoder="word-vectors", config=config), **changes)


def test_seeds_are_trained_side_by_side_and_summed_up(splits: Splits, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    result = repeat_seeds(splits, some_recipe(), out=out, seeds=3, progress=silent)
    assert result.folders == ("seed-0", "seed-1", "seed-2")
    values = [one["accuracy"] for one in result.runs]
    assert result.interval.value == pytest.approx(np.mean(values))
    assert result.interval.low <= result.interval.value <= result.interval.high
    assert result.spread == pytest.approx(np.std(values, ddof=1))
    assert json.loads((out / "repeats.json").read_text("utf-8"))["kind"] == "seeds"
    told: list[TrainingProgress] = []
    again = repeat_seeds(splits, some_recipe(), out=out, seeds=3, progress=told.append)
    assert again == result
    assert told == []
    assert "3 seeds" in result.render()


def test_folds_test_every_example_once(splits: Splits, tmp_path: Path) -> None:
    result = repeat_folds(splits, some_recipe(), out=tmp_path / "runs", folds=4, progress=silent)
    tested = [
        json.loads((tmp_path / "runs" / folder / "manifest.json").read_text("utf-8"))["data"]["test"]
        for folder in result.folders
    ]
    assert sum(tested) == len(splits.train) + len(splits.dev) + len(splits.test)
    shares = np.array(tested) / sum(tested)
    assert result.interval.value == pytest.approx(np.sum(shares * [one["accuracy"] for one in result.runs]))


def test_what_cannot_be_repeated_is_refused(data: Path, splits: Splits, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folds"):
        repeat_folds(splits, some_recipe(), out=tmp_path, folds=2)
    with pytest.raises(ConfigError, match="up to"):
        repeat_folds(splits, some_recipe(), out=tmp_path, folds=99)
    with pytest.raises(ConfigError, match="seeds"):
        repeat_seeds(splits, some_recipe(), out=tmp_path, seeds=1)
    with pytest.raises(ConfigError, match="one of the two"):
        al.repeat("text-classification", data, encoder="word-vectors", out=tmp_path / "x", seeds=2, folds=3)


def test_a_search_tries_options_on_the_development_split_and_trains_with_the_best(
    splits: Splits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("optuna")
    out = tmp_path / "found"
    with caplog.at_level("INFO", logger="albertine"):
        outcome = search(splits, some_recipe(), out=out, trials=3, progress=silent)
    assert caplog.text.count("trial ") == 3
    best = next(record.getMessage() for record in caplog.records if record.getMessage().startswith("best: "))
    assert f"batch_size {outcome.model.manifest['inputs']['training']['batch_size']}" in best  # type: ignore[index]
    assert (out / "model.safetensors").is_file()
    assert sorted(path.name for path in (out / "search").iterdir()) == ["journal.log"]
    caplog.clear()
    with caplog.at_level("INFO", logger="albertine"):
        search(splits, some_recipe(), out=out, trials=3, progress=silent)
    assert "trial " not in caplog.text
    with pytest.raises(ConfigError, match="another search"):
        search(splits, some_recipe(vocabulary_size=99), out=out, trials=3)
    with pytest.raises(ConfigError, match="tunes itself"):
        search(splits, some_recipe(encoder="bag-of-words"), out=tmp_path / "bag", trials=3)


def never(evidence: object, config: object) -> bool:
    return True


def test_a_run_that_learnt_nothing_begins_again_with_other_random_numbers(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    many = load_splits(data)
    enough = replace(many, dev=many.train[:40])
    answers = iter([True, False])
    task = replace(TASK, did_not_learn=lambda evidence, config: next(answers))
    monkeypatch.setattr(recipes.registry.tasks, "get", lambda name: task)
    outcome = train(enough, some_recipe(), out=tmp_path / "out", progress=silent)
    assert outcome.measurements.restarts == 1
    assert "begins again" in caplog.text
    assert not (tmp_path / "out" / "restarts.json").exists()
    hopeless = replace(TASK, did_not_learn=never)
    monkeypatch.setattr(recipes.registry.tasks, "get", lambda name: hopeless)
    outcome = train(enough, some_recipe(), out=tmp_path / "hopeless", progress=silent)
    assert outcome.measurements.restarts == RESTARTS


def test_a_restarted_run_that_is_interrupted_goes_on_with_the_numbers_it_had(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = load_splits(data)
    enough = replace(many, dev=many.train[:40])
    answers = iter([True, False, False, False])
    task = replace(TASK, did_not_learn=lambda evidence, config: next(answers))
    monkeypatch.setattr(recipes.registry.tasks, "get", lambda name: task)
    seen: list[int] = []

    def interrupt(progress: TrainingProgress) -> None:
        seen.append(progress.step)
        if seen.count(3) == 2:
            raise KeyboardInterrupt

    recipe = some_recipe(config=replace(some_recipe().config, checkpoint_steps=1))
    with pytest.raises(KeyboardInterrupt):
        train(enough, recipe, out=tmp_path / "out", progress=interrupt)
    outcome = train(enough, recipe, out=tmp_path / "out", progress=silent)
    assert outcome.measurements.restarts == 1


def test_methods_of_a_finetuning_are_kept_in_its_manifest(data: Path, tmp_path: Path) -> None:
    model = al.finetune(
        "text-classification", data, encoder="bilstm", out=tmp_path / "out", progress=silent,
        config=TrainingConfig(epochs=1.0, batch_size=16, precision="fp32"), methods=Methods(average=0.9),
    )  # fmt: skip
    assert model.manifest["inputs"]["methods"] == {"average": 0.9}  # type: ignore[index]
