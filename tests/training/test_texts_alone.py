"""Sentence similarity learnt from texts alone, or from pairs that belong together, and measured on scored pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import albertine as al
from albertine.comparison.plan import Plan
from albertine.data.samples import load_splits
from albertine.data.scored_pairs import scored_pairs
from albertine.errors import DataError
from albertine.records import Example
from albertine.tasks.config import TaskConfig
from albertine.tasks.sentence_similarity import TASK
from albertine.tasks.similarity_options import SimilarityOptions
from albertine.tokenization.learn import learn_vocabulary

WORDS = ["bird", "sings", "lamp", "burns", "boat", "leaves", "child", "runs", "door", "opens", "dog", "barks", "cat"]
CONFIG = al.TrainingConfig(epochs=2, batch_size=16, learning_rate=1e-3, precision="fp32")


def sentence(generator: np.random.Generator) -> str:
    return " ".join(generator.choice(WORDS, size=6))


def texts_file(folder: Path, count: int = 60, name: str = "texts.txt") -> Path:
    generator = np.random.default_rng(1)
    path = folder / name
    path.write_text("".join(f"{sentence(generator)} {n}\n" for n in range(count)), encoding="utf-8")
    return path


def pairs_file(folder: Path, name: str = "scored.tsv", count: int = 40, seed: int = 2) -> Path:
    """Write pairs that share more words the higher their score is; no text stands in two of them."""
    generator = np.random.default_rng(seed)
    lines = ["text_a\ttext_b\tscore"]
    for n in range(count):
        first, other = sentence(generator).split(), sentence(generator).split()
        shared = n % 7
        lines.append(f"{' '.join(first)} a{n}\t{' '.join(first[:shared] + other[shared:])} b{n}\t{5 * shared / 6}")
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    generator = np.random.default_rng(0)
    tokenizer = learn_vocabulary([sentence(generator) for _ in range(200)], size=120, lowercase=True)
    torch.manual_seed(0)
    config = al.EncoderConfig.preset(
        "bert-tiny", vocab_size=tokenizer.vocab_size, hidden_size=16, embedding_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32, max_position_embeddings=32, pad_token_id=tokenizer.pad_id,
        initializer_range=0.2,
    )  # fmt: skip
    al.save_encoder(al.Encoder(config), tokenizer, folder)
    return folder


def test_texts_alone_are_trained_on_and_scored_pairs_measured_on(encoder: Path, tmp_path: Path) -> None:
    model = al.finetune(
        "sentence-similarity",
        texts_file(tmp_path),
        dev=pairs_file(tmp_path),
        encoder=encoder,
        out=tmp_path / "out",
        config=CONFIG,
        options={"loss": "contrastive", "pooling": "mean"},
    )
    data = model.manifest["data"]
    assert isinstance(data, dict)
    assert (data["train"], data["dev"], data["test"]) == (60, 20, 20)
    assert any("one half of dev is what is chosen by, the other is tested on" in note for note in data["notes"])
    results = al.evaluate(model, pairs_file(tmp_path, "again.tsv"))
    # random vectors of the same words are near already; what matters is that it can be measured
    assert results.metrics["spearman"] > 0.3
    # the scale is the one of the pairs, of which the texts knew nothing
    own = model.task_config.own(SimilarityOptions)
    assert (own.lowest, own.highest) == (0.0, 5.0)
    same, other = model.predict([("a bird sings", "a bird sings"), ("a bird sings", "rain falls door")])
    assert same.value is not None
    assert other.value is not None
    assert 5.0 >= same.value > other.value >= 0.0
    assert same.value > 1.5


def test_both_files_of_pairs_stay_as_they_are(tmp_path: Path) -> None:
    dev, test = pairs_file(tmp_path, "dev.tsv", 12), pairs_file(tmp_path, "test.tsv", 40, seed=3)
    splits = load_splits(texts_file(tmp_path), format=scored_pairs(), dev=dev, test=test)
    assert (len(splits.train), len(splits.dev), len(splits.test), splits.halved) == (60, 12, 40, False)


@pytest.mark.parametrize("given", ["dev", "test"])
def test_one_file_of_pairs_is_divided_without_a_text_on_two_sides(tmp_path: Path, given: str) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"text_a": f"one {n // 3}", "text_b": f"other {n}", "score": n % 5} for n in range(60)]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    splits = load_splits(texts_file(tmp_path), format=scored_pairs(), **{given: path})  # type: ignore[arg-type]
    assert splits.halved
    assert {len(splits.dev), len(splits.test)} == {30}
    assert not {one.text for one in splits.dev} & {one.text for one in splits.test}
    assert len(splits.train) == 60
    again = load_splits(texts_file(tmp_path), format=scored_pairs(), **{given: path})  # type: ignore[arg-type]
    assert [one.text_pair for one in again.dev] == [one.text_pair for one in splits.dev]


def test_texts_that_are_measured_on_are_not_learnt_from(tmp_path: Path) -> None:
    pairs = pairs_file(tmp_path)
    texts = texts_file(tmp_path)
    known = pairs.read_text(encoding="utf-8").splitlines()[1].split("\t")[1]
    texts.write_text(texts.read_text(encoding="utf-8") + known + "\n", encoding="utf-8")
    splits = load_splits(texts, format=scored_pairs(), dev=pairs)
    assert known not in {one.text for one in splits.train}
    assert any("because one of their texts is in dev or test too" in note for note in splits.notes)


def test_texts_alone_without_pairs_to_measure_on_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"texts alone can be learnt from.*--dev"):
        load_splits(texts_file(tmp_path), format=scored_pairs())
    with pytest.raises(DataError, match=r"other\.txt: texts alone can be learnt from"):
        load_splits(texts_file(tmp_path), format=scored_pairs(), dev=texts_file(tmp_path, 20, "other.txt"))
    with pytest.raises(DataError, match=r"train: pairs, (dev|test): single texts"):
        load_splits(pairs_file(tmp_path), format=scored_pairs(), dev=texts_file(tmp_path))


def measured(*values: float) -> list[Example]:
    return [Example(text=f"a{n}", text_pair=f"b{n}", value=value) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("options", "values", "metric"),
    [
        (SimilarityOptions(), (1.0, 1.0, 1.0), "mrr"),
        (SimilarityOptions(), (1.0, 0.0, 1.0), "spearman"),
        (SimilarityOptions(loss="contrastive"), (1.0, 0.0, 1.0), "mrr"),
        (SimilarityOptions(loss="contrastive"), (5.0, 2.5, 1.0), "spearman"),
        (SimilarityOptions(loss="cosent"), (1.0, 1.0), "spearman"),
        (SimilarityOptions(architecture="cross-encoder"), (1.0, 1.0), "spearman"),
    ],
)
def test_a_comparison_goes_by_what_its_pairs_can_tell(
    options: SimilarityOptions, values: tuple[float, ...], metric: str
) -> None:
    config = TaskConfig(task=TASK.name, options=options)
    assert TASK.ranking_metric(config, {}, measured(*values)) == metric
    assert metric in TASK.metrics(config)


def test_pairs_that_belong_together_are_compared_by_how_soon_partners_are_found(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(5)
    sentences = [sentence(generator).split() for _ in range(80)]
    rows = [f"{' '.join(words)} {n}\t{' '.join(reversed(words))} {n}" for n, words in enumerate(sentences)]
    path = tmp_path / "together.tsv"
    path.write_text("\n".join(["anchor\tpositive", *rows]) + "\n", encoding="utf-8")
    plans: list[Plan] = []

    def noted(workspace: object, plan: Plan, *others: object) -> None:
        plans.append(plan)
        raise InterruptedError

    monkeypatch.setattr("albertine.comparison.compare.run_all", noted)
    with pytest.raises(InterruptedError):
        al.compare(path, task=TASK.name, encoders=[str(encoder)], baselines=[], out=tmp_path / "out", config=CONFIG)
    (plan,) = plans
    assert plan.main_metric == "mrr"
    model = al.finetune(TASK.name, path, encoder=encoder, out=tmp_path / "model", config=CONFIG)
    assert model.task_config.main_metric == "mrr"
    assert al.evaluate(model, path).metrics["mrr"] > 0.3
