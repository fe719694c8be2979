"""The baseline for pairs of texts from file to answers: in every task that reads pairs, saved, opened, measured."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from albertine.errors import ConfigError, UserError
from albertine.inference.info import info
from albertine.inference.loading import load
from albertine.inference.model import Model
from albertine.training.run import evaluate, finetune

WORDS = ["lamp", "river", "stone", "window", "horse", "paper", "cloud", "garden", "bread", "glass", "coat", "song"]
MORE = ["door", "train", "apple", "north", "sand", "wheel", "iron", "moon", "fence", "salt", "silk", "flute"]


def pairs(count: int, seed: int = 7) -> list[tuple[str, str, int]]:
    """Five words and five others, of which 0 to 5 are the same."""
    generator = random.Random(seed)
    made: dict[tuple[str, str], int] = {}
    while len(made) < count:
        common = generator.randint(0, 5)
        first = generator.sample(WORDS, 5)
        second = first[:common] + generator.sample(MORE, 5 - common)
        generator.shuffle(second)
        made[" ".join(first), " ".join(second)] = common
    return [(*texts, common) for texts, common in made.items()]


def write(path: Path, answer: str, rows: list[tuple[str, str, object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text_a", "text_b", answer), *rows])
    return path


def labelled(path: Path, *, labels: tuple[str, ...] = ("other", "same"), seed: int = 7) -> Path:
    parts = 6 / len(labels)
    return write(path, "label", [(one, two, labels[int(common / parts)]) for one, two, common in pairs(240, seed)])


def scored(path: Path, answer: str = "score", seed: int = 7) -> Path:
    return write(path, answer, list(pairs(240, seed)))


def splits(folder: Path, make: Callable[..., Path] = scored, **options: object) -> dict[str, Any]:
    """Three files, as the same words in most texts would bring all of one file to one side."""
    names = ("data", "dev", "test")
    return {name: make(folder / f"{name}.csv", seed=seed, **options) for seed, name in enumerate(names)}


def fitted(folder: Path, task: str, options: Mapping[str, object] | None = None, **files: Any) -> Model:
    return finetune(task, encoder="overlap", out=folder / "out", options=options or {}, **files)


@pytest.mark.parametrize("labels", [("other", "same"), ("far", "near", "same")])
def test_pairs_are_labelled_saved_opened_and_measured(labels: tuple[str, ...], tmp_path: Path) -> None:
    files = splits(tmp_path, labelled, labels=labels)
    model = fitted(tmp_path, "text-classification", **files)
    opened = load(tmp_path / "out")
    texts = [(one, two) for one, two, _ in pairs(31, seed=99)]
    assert opened.predict(texts) == model.predict(texts)
    assert opened.body_kind == "overlap"
    assert opened.labels == labels
    assert not list((tmp_path / "out").glob("*.p*k*l*"))
    measured = evaluate(tmp_path / "out", files["test"])
    assert measured.metrics["accuracy"] > 0.9
    assert json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    found = info(tmp_path / "out")
    assert found.parameters.unique == opened.parameters_info.unique > 100
    assert found.flops_per_token is None


def test_the_model_card_names_the_baseline_and_its_quality(tmp_path: Path) -> None:
    for language, said in (("en", "Trained from | overlap"), ("zh", "overlap")):
        files = splits(tmp_path, labelled)
        finetune("text-classification", encoder="overlap", out=tmp_path / language, lang=language, **files)
        card = (tmp_path / language / "README.md").read_text(encoding="utf-8")
        assert said in card
        assert "| accuracy * |" in card


def test_confidences_are_calibrated_and_the_model_may_keep_silent(tmp_path: Path) -> None:
    model = finetune(
        "text-classification", encoder="overlap", out=tmp_path / "out", max_error=0.1, **splits(tmp_path, labelled)
    )
    assert model.task_config.temperature is not None
    assert model.task_config.abstain_below is not None


def test_numbers_are_in_the_units_of_the_data(tmp_path: Path) -> None:
    files = splits(tmp_path, scored, answer="label")
    model = fitted(tmp_path, "text-classification", {"problem": "regression"}, **files)
    metrics = evaluate(tmp_path / "out", files["test"]).metrics
    assert metrics["spearman"] > 0.95
    assert metrics["mae"] < 0.5
    ends = model.predict([("lamp river stone", "lamp river stone"), ("lamp river stone", "door train apple")])
    assert ends[0].value is not None
    assert ends[1].value is not None
    assert ends[0].value > 3.5 > 1.5 > ends[1].value


@pytest.mark.parametrize("architecture", ["bi-encoder", "cross-encoder"])
def test_similarity_is_in_the_range_of_the_scores(architecture: str, tmp_path: Path) -> None:
    files = splits(tmp_path)
    model = fitted(tmp_path, "sentence-similarity", {"architecture": architecture}, **files)
    opened = load(tmp_path / "out")
    texts = [(one, two) for one, two, _ in pairs(31, seed=99)]
    values = [one.value for one in opened.predict(texts)]
    assert values == [one.value for one in model.predict(texts)]
    assert all(value is not None and 0 <= value <= 5 for value in values)
    metrics = evaluate(opened, files["test"]).metrics
    assert metrics["spearman"] > 0.95
    gold = [common for *_, common in pairs(31, seed=99)]
    assert np.abs(np.array(values, dtype=float) - gold).mean() < 0.6


def test_similarity_that_says_yes_or_no_gets_a_threshold(tmp_path: Path) -> None:
    def decided(path: Path, seed: int) -> Path:
        return write(path, "score", [(one, two, int(common > 2)) for one, two, common in pairs(240, seed)])

    fitted(tmp_path, "sentence-similarity", {"loss": "cosent"}, **splits(tmp_path, decided))
    metrics = evaluate(tmp_path / "out", tmp_path / "test.csv").metrics
    assert metrics["accuracy"] > 0.9
    assert metrics["f1"] > 0.9


def test_texts_alone_and_pairs_that_all_belong_together_give_the_cosine(tmp_path: Path) -> None:
    files = splits(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join(one for one, *_ in pairs(90)) + "\n", encoding="utf-8")
    alone = {"data": tmp_path / "texts.txt", "dev": files["dev"], "test": files["test"]}
    model = fitted(tmp_path, "sentence-similarity", **alone)
    assert evaluate(model, files["test"]).metrics["spearman"] > 0.9
    positive = write(tmp_path / "positive.csv", "score", [(one, two, 1) for one, two, _ in pairs(90)])
    model = finetune(
        "sentence-similarity",
        positive,
        encoder="overlap",
        out=tmp_path / "positive",
        dev=files["dev"],
        test=files["test"],
    )
    assert evaluate(model, files["test"]).metrics["spearman"] > 0.9


def test_single_texts_are_refused_in_training_and_in_prediction(tmp_path: Path) -> None:
    single = tmp_path / "single.csv"
    rows = [f"{one},{'a' if common > 2 else 'b'}" for one, _, common in pairs(60)]
    single.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="what two texts share") as refused:
        finetune("text-classification", single, encoder="overlap", out=tmp_path / "single")
    assert "bag-of-words, word-vectors, bilstm" in str(refused.value)
    assert not (tmp_path / "single" / "model.safetensors").exists()
    model = fitted(tmp_path, "text-classification", **splits(tmp_path, labelled))
    with pytest.raises(UserError, match="pairs"):
        model.predict(["alone"])


@pytest.mark.parametrize(
    ("task", "options"),
    [("text-classification", {"problem": "multi"}), ("sentence-similarity", {"loss": "contrastive"})],
)
def test_what_it_cannot_do_is_refused(task: str, options: dict[str, object], tmp_path: Path) -> None:
    def answered(path: Path, seed: int) -> Path:
        name = "label" if task == "text-classification" else "score"
        return write(path, name, [(one, two, int(common > 2)) for one, two, common in pairs(60, seed)])

    with pytest.raises(ConfigError, match="overlap"):
        fitted(tmp_path, task, options, **splits(tmp_path, answered))
    with pytest.raises(ConfigError, match="bag-of-words for sentence-similarity"):
        finetune("sentence-similarity", encoder="bag-of-words", out=tmp_path / "bag", **splits(tmp_path))
