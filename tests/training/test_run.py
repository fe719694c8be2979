"""Whole runs on small data: a model folder comes out, it is what it says, and nothing of a user's is overwritten."""

from __future__ import annotations

import csv
import errno
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from albertine.batching.loader import TrainingBatches
from albertine.checkpoints.writing import save_encoder
from albertine.errors import ConfigError, DataError, FailureError
from albertine.inference.loading import load
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.records import Encoded, EncodedExamples
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tokenization.learn import learn_vocabulary
from albertine.training.config import TrainingConfig
from albertine.training.learning import MicroBatches
from albertine.training.log import read_log
from albertine.training.progress import TrainingProgress
from albertine.training.run import evaluate, finetune

GOOD = ["lovely", "bright", "warm", "gentle", "quick", "tasty", "fresh", "clever", "calm", "soft"]
BAD = ["broken", "stale", "noisy", "rude", "slow", "bitter", "cold", "sticky", "dull", "torn"]
EITHER = ["the", "box", "arrived", "on", "a", "table", "with", "my", "order", "and", "it", "was", "there", "when"]


def rows(count: int, seed: int = 7) -> list[tuple[str, str]]:
    """Sentences in which the good or the bad words are in the majority."""
    generator = random.Random(seed)
    made: list[tuple[str, str]] = []
    while len(made) < count:
        label = generator.choice(["good", "bad"])
        words = generator.sample(GOOD if label == "good" else BAD, 3) + generator.sample(
            EITHER, generator.randint(2, 6)
        )
        generator.shuffle(words)
        if (" ".join(words), label) not in made:
            made.append((" ".join(words), label))
    return made


def write(path: Path, data: list[tuple[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *data])
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return write(tmp_path / "reviews.csv", rows(120))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A checkpoint of 2 layers x 32 with a vocabulary of the words above."""
    tokenizer = learn_vocabulary([text for text, _ in rows(99)], size=300)
    config = EncoderConfig.preset(
        "bert-tiny",
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        embedding_size=32,
        intermediate_size=64,
        max_position_embeddings=24,
    )
    torch.manual_seed(3)
    folder = tmp_path / "tiny"
    save_encoder(Encoder(config), tokenizer, folder)
    return folder


def quick(**options: object) -> TrainingConfig:
    return TrainingConfig.from_dict(
        {"precision": "fp32", "batch_size": 13, "learning_rate": 5e-3, "epochs": 8, "evaluations": 3, **options}
    )


def silent(progress: TrainingProgress) -> None:
    """Show nothing."""


def interrupt_after(step: int) -> Callable[[TrainingProgress], None]:
    def callback(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return callback


def same_weights(one: Path, other: Path) -> bool:
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def test_a_tiny_encoder_learns_separable_texts_and_its_folder_answers_alike(
    reviews: Path, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    model = finetune("text-classification", reviews, encoder=tiny, out=out, config=quick(), progress=silent)
    fresh = [text for text, _ in rows(99, seed=13)]
    gold = [label for _, label in rows(99, seed=13)]
    predicted = [one.label for one in model.predict(fresh)]
    assert sum(map(str.__eq__, gold, map(str, predicted))) > 0.9 * len(gold)
    opened = load(out, precision="fp32")
    assert [one.label for one in opened.predict(fresh)] == predicted
    assert {path.name for path in out.iterdir()} >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "task.json",
        "manifest.json",
        "README.md",
        "log.jsonl",
        "checkpoints",
    }


def test_the_manifest_and_the_card_say_what_was_measured(reviews: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finetune("text-classification", reviews, encoder=tiny, out=out, config=quick(epochs=2), progress=silent)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    measured = manifest["measurements"]
    assert manifest["inputs"]["training"]["seed"] == 0
    assert manifest["inputs"]["data"]["files"]["reviews.csv"]
    assert manifest["data"]["train"] + manifest["data"]["dev"] + manifest["data"]["test"] == 120
    assert manifest["versions"]["torch"] == torch.__version__
    assert measured["learning_rate"] == 5e-3
    assert measured["examples"] == measured["steps"] * 13 >= 2 * manifest["data"]["train"]
    assert 0 <= measured["test_metrics"]["accuracy"] <= 1
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"{measured['test_metrics']['accuracy']:.4f}" in card
    assert "reviews.csv" in card
    assert f"{manifest['parameters']['unique']:,}" in card
    curve = read_log(out / "log.jsonl")
    assert curve[-1].step == measured["steps"]
    assert curve[-1].dev_metric is not None


def test_the_card_is_chinese_where_that_is_asked_for(reviews: Path, tmp_path: Path) -> None:
    finetune("text-classification", reviews, encoder="bag-of-words", out=tmp_path / "out", lang="zh", progress=silent)
    assert "重新训练" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["bag-of-words", "word-vectors", "bilstm", "preset:albert-chinese-tiny"])
def test_every_kind_of_candidate_becomes_a_model_folder(name: str, reviews: Path, tmp_path: Path) -> None:
    config = quick(epochs=1, learning_rate=None, evaluations=1)
    model = finetune("text-classification", reviews, encoder=name, out=tmp_path / "out", config=config, progress=silent)
    opened = load(tmp_path / "out", precision="fp32")
    texts = ["lovely box", "broken table"]
    assert [one.scores for one in opened.predict(texts)] == [one.scores for one in model.predict(texts)]
    assert opened.body_kind == {"preset:albert-chinese-tiny": "albert"}.get(name, name)
    assert opened.manifest["inputs"]["encoder"]["name"] == name


def test_a_learnt_vocabulary_keeps_the_size_it_was_given(reviews: Path, tmp_path: Path) -> None:
    model = finetune(
        "text-classification",
        reviews,
        encoder="word-vectors",
        out=tmp_path / "out",
        config=quick(epochs=1),
        vocabulary_size=99,
        progress=silent,
    )
    assert model.tokenizer is not None
    assert model.tokenizer.vocab_size <= 99


def test_the_rate_is_chosen_by_the_kind_of_model_and_said(
    reviews: Path, tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = quick(epochs=1, learning_rate=None)
    with caplog.at_level("INFO", logger="albertine"):
        finetune("text-classification", reviews, encoder=tiny, out=tmp_path / "a", config=config, progress=silent)
    assert "learning rate: 0.0001, chosen for pretrained weights, width 32" in caplog.text


def test_an_interrupted_finetuning_ends_as_one_that_was_not(reviews: Path, tiny: Path, tmp_path: Path) -> None:
    options = {"encoder": tiny, "config": quick(epochs=3, accumulation=2, early_stopping=9)}
    finetune("text-classification", reviews, out=tmp_path / "whole", progress=silent, **options)
    with pytest.raises(KeyboardInterrupt):
        finetune("text-classification", reviews, out=tmp_path / "parts", progress=interrupt_after(11), **options)
    assert not (tmp_path / "parts" / "config.json").exists()
    told: list[TrainingProgress] = []
    finetune("text-classification", reviews, out=tmp_path / "parts", progress=told.append, **options)
    assert told[0].step == 12
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    for one, other in zip(read_log(tmp_path / "whole/log.jsonl"), read_log(tmp_path / "parts/log.jsonl"), strict=True):
        assert (one.step, one.loss, one.dev_metric) == (other.step, other.loss, other.dev_metric)


def test_a_finished_training_is_opened_and_not_run_again(reviews: Path, tiny: Path, tmp_path: Path) -> None:
    options = {"encoder": tiny, "out": tmp_path / "out", "config": quick(epochs=1)}
    finetune("text-classification", reviews, progress=silent, **options)
    written = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    told: list[TrainingProgress] = []
    finetune("text-classification", reviews, progress=told.append, **options)
    assert not told
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == written


@pytest.mark.parametrize("name", ["bag-of-words", "word-vectors"])
def test_a_model_of_other_data_or_settings_is_never_overwritten_silently(
    name: str, reviews: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    finetune("text-classification", reviews, encoder=name, out=out, config=quick(epochs=1), progress=silent)
    before = (out / "model.safetensors").read_bytes()
    other = write(tmp_path / "other.csv", rows(99, seed=3))
    with pytest.raises(ConfigError, match=r"data\..*--restart"):
        finetune("text-classification", other, encoder=name, out=out, config=quick(epochs=1), progress=silent)
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        finetune("text-classification", reviews, encoder=name, out=out, config=quick(epochs=2), progress=silent)
    assert (out / "model.safetensors").read_bytes() == before
    options = {"encoder": name, "out": out, "config": quick(epochs=1), "resume": False}
    finetune("text-classification", other, progress=silent, **options)
    assert (out / "model.safetensors").read_bytes() != before


def test_files_that_are_no_trainings_are_not_overwritten(reviews: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my notes", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"README\.md"):
        finetune("text-classification", reviews, encoder="word-vectors", out=tmp_path / "mine", progress=silent)
    assert (tmp_path / "mine" / "README.md").read_text(encoding="utf-8") == "my notes"
    with pytest.raises(ConfigError, match="a file stands"):
        finetune("text-classification", reviews, encoder="word-vectors", out=reviews, progress=silent)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bert-bsae", "bert-base"),
        ("preset:bert-tinny", "bert-tiny"),
        ("runs/none", "no such encoder folder"),
        ("bag-of-word", "bag-of-words"),
    ],
)
def test_a_name_that_stands_for_nothing_is_an_error_before_the_data_is_read(
    name: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        finetune("text-classification", tmp_path / "absent.csv", encoder=name, out=tmp_path / "out")
    with pytest.raises(ConfigError, match="text-classification"):
        finetune("text-classificaton", tmp_path / "absent.csv", encoder="bilstm", out=tmp_path / "out")


def test_a_full_disk_leaves_no_half_written_model_and_the_same_call_ends_the_work(
    reviews: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    options = {"encoder": tiny, "out": tmp_path / "out", "config": quick(epochs=1)}
    with monkeypatch.context() as patch:
        patch.setattr("albertine.checkpoints.native.write_tensors", full)
        with pytest.raises(FailureError, match="disk is full"):
            finetune("text-classification", reviews, progress=silent, **options)
    assert not (tmp_path / "out" / "config.json").exists()
    told: list[TrainingProgress] = []
    finetune("text-classification", reviews, progress=told.append, **options)
    assert not told
    load(tmp_path / "out")


def test_micro_batches_are_packed_hold_every_text_of_the_step_and_are_never_empty() -> None:
    encoded = EncodedExamples.one_each(
        [
            Encoded(input_ids=np.full(length, length), token_type_ids=np.zeros(length), target=np.array([0]))
            for length in range(1, 8)
        ]
    )
    of_step = MicroBatches(TrainingBatches(encoded, batch_size=5, seed=1), 13)
    made = of_step(0)
    assert [len(batch) for batch in made] == [1] * 5
    assert all(batch.sequence_starts is not None for batch in made)
    whole = MicroBatches(TrainingBatches(encoded, batch_size=5, seed=1), 1)(0)
    assert torch.equal(torch.cat([batch.input_ids for batch in made]), whole[0].input_ids)


def test_evaluating_gives_metrics_counts_and_a_confusion_matrix(reviews: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finetune("text-classification", reviews, encoder="bag-of-words", out=out, progress=silent)
    result = evaluate(out, write(tmp_path / "new.csv", rows(13, seed=99)))
    assert result.examples == 13
    assert sum(map(sum, result.confusion)) == 13
    correct = sum(result.confusion[place][place] for place in range(2))
    assert result.metrics["accuracy"] == pytest.approx(correct / 13)
    assert result.to_dict()["schema_version"] == 1
    assert "accuracy" in result.render()
    json.dumps(result.to_dict())


def test_evaluating_without_labels_or_with_unknown_ones_is_an_error(reviews: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finetune("text-classification", reviews, encoder="bag-of-words", out=out, progress=silent)
    (tmp_path / "bare.csv").write_text("text\nlovely box\nbroken table\n", encoding="utf-8")
    with pytest.raises(DataError, match="label"):
        evaluate(out, tmp_path / "bare.csv")
    with pytest.raises(DataError, match="godo"):
        evaluate(out, write(tmp_path / "odd.csv", [("lovely box", "godo"), ("dull box", "bad")]))


def test_class_weights_reach_the_loss(reviews: Path, tiny: Path, tmp_path: Path) -> None:
    skewed = write(
        tmp_path / "skewed.csv",
        [row for row in rows(200) if row[1] == "good"][:80] + [row for row in rows(200) if row[1] == "bad"][:20],
    )
    config = quick(epochs=1, class_weights="balanced")
    model = finetune("text-classification", skewed, encoder=tiny, out=tmp_path / "out", config=config, progress=silent)
    assert model.task_config.own(ClassificationOptions).class_weights == pytest.approx((2.5, 0.625), rel=0.05)
