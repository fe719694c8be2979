"""Any number of labels, numbers, and rare labels: what text classification does beside giving one label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from albertine.batching.packing import packed
from albertine.data.columns import Columns
from albertine.data.samples import load_splits
from albertine.errors import ConfigError, DataError
from albertine.models.word_vectors import WordVectorsConfig
from albertine.records import Encoded, Example
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.classification_problems import PROBLEMS
from albertine.tasks.config import TaskConfig, TaskRequest, options_from
from albertine.tasks.text_classification import TASK

BODY = WordVectorsConfig(vocab_size=99, embedding_size=6, bigram_buckets=13)
MULTI = TaskConfig(
    task="text-classification", labels=("cold", "dirty", "loud"), options=ClassificationOptions(problem="multi")
)
NUMBER = TaskConfig(
    task="text-classification",
    options=ClassificationOptions(problem="regression", value_mean=3.0, value_spread=2.0),
)


def encoded(*targets: np.ndarray) -> list[Encoded]:
    generator = np.random.default_rng(5)
    return [
        Encoded(
            input_ids=generator.integers(4, 99, size=3 + place).astype(np.int32),
            token_type_ids=np.zeros(3 + place, dtype=np.uint8),
            target=target,
            example=place,
        )
        for place, target in enumerate(targets)
    ]


def rows(*labels: tuple[str, ...]) -> list[Example]:
    return [Example(text=f"text {place}", labels=one, file="a.csv", line=place + 2) for place, one in enumerate(labels)]


# --- any number of labels


def test_the_loss_of_several_labels_is_the_mean_cross_entropy_of_each() -> None:
    torch.manual_seed(0)
    module = TASK.build(BODY, MULTI).eval()
    targets = [np.array([[1, 0, 1]], dtype=np.float32), np.array([[0, 0, 0]], dtype=np.float32)]
    batch = packed(encoded(*targets))
    part = TASK.loss(module, batch)["classification"]
    expected = functional.binary_cross_entropy_with_logits(module(batch), torch.from_numpy(np.concatenate(targets)))
    torch.testing.assert_close(part.total / part.weight, expected)


def test_labels_apply_from_their_thresholds_on() -> None:
    logits = [np.array([2.0, -1.0, 0.0], dtype=np.float32), np.array([-3.0, -3.0, -3.0], dtype=np.float32)]
    first, second = TASK.decode(logits, rows((), ()), MULTI)
    assert first.labels == ("cold", "loud")
    assert first.label is None
    assert first.scores["dirty"] == pytest.approx(1 / (1 + np.e))
    assert second.labels == ()
    strict = replace(MULTI, options=ClassificationOptions(problem="multi", thresholds=(0.9, 0.2, 0.6)))
    assert TASK.decode(logits, rows((), ()), strict)[0].labels == ("dirty",)


def test_thresholds_are_fitted_on_the_development_split_and_remembered() -> None:
    assert TASK.tune is not None
    logits = [np.array([place - 6.0, 6.0 - place, -9.0], dtype=np.float32) for place in range(12)]
    examples = rows(*[(("cold",) if place >= 3 else ()) + (("dirty",) if place < 2 else ()) for place in range(12)])
    before = TASK.score(logits, examples, MULTI)["micro_f1"]
    tuned = TASK.tune(logits, examples, MULTI)
    assert TASK.score(logits, examples, tuned)["micro_f1"] == 1.0 > before
    again = TaskConfig.from_dict(tuned.to_dict(), ClassificationOptions)
    assert again == tuned
    assert tuned.own(ClassificationOptions).thresholds is not None


def test_a_model_that_says_the_same_of_every_text_has_not_learnt() -> None:
    examples = rows(("cold",), ("dirty",), ())
    same = [np.array([3.0, -3.0, -3.0], dtype=np.float32)] * 3
    assert TASK.did_not_learn(TASK.evidence(same, examples, MULTI), MULTI)
    other = [*same[:2], -same[0]]
    assert not TASK.did_not_learn(TASK.evidence(other, examples, MULTI), MULTI)


def test_files_of_several_labels_are_read_split_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "rooms.csv"
    lines = [f"room {place},{'cold;dirty' if place % 3 else ''}" for place in range(40)]
    file.write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    options = options_from(
        ClassificationOptions, {"problem": "multi", "label_separator": ";"}, task="text-classification"
    )
    splits = load_splits(file, format=TASK.format(options))
    assert splits.labels == ("cold", "dirty")
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (32, 4, 4)
    assert {one.labels for one in splits.train} == {("cold", "dirty"), ()}
    config = TASK.prepare(splits.train, TaskRequest(options={"problem": "multi", "label_separator": ";"}))
    assert config.labels == ("cold", "dirty")
    assert config.main_metric == "micro_f1"
    with pytest.raises(ConfigError, match="micro_f1"):
        TASK.prepare(splits.train, TaskRequest(options={"problem": "multi"}, main_metric="accuracy"))


# --- numbers


def test_numbers_are_learnt_by_their_distance_from_the_mean_and_given_in_their_own_units() -> None:
    examples = [Example(text=str(value), value=value) for value in (1.0, 5.0, 3.0)]
    targets = PROBLEMS["regression"].targets(examples, NUMBER)
    assert [float(one[0, 0]) for one in targets] == [-1.0, 1.0, 0.0]
    answers = [np.array([value], dtype=np.float32) for value in (-1.0, 0.5, 0.25)]
    assert [one.value for one in TASK.decode(answers, examples, NUMBER)] == [1.0, 4.0, 3.5]
    scores = TASK.score(answers, examples, NUMBER)
    assert scores["mae"] == pytest.approx(0.5)
    assert scores["rmse"] == pytest.approx(np.sqrt(1.25 / 3))
    assert scores["spearman"] == pytest.approx(1.0)
    evidence = TASK.evidence(answers, examples, NUMBER)
    for name, metric in TASK.metrics(NUMBER).items():
        assert metric.of(evidence) == pytest.approx(scores[name])
    assert TASK.probabilities is not None
    with pytest.raises(ConfigError, match="probability"):
        TASK.probabilities(answers, NUMBER)


def test_mean_and_spread_come_from_the_training_examples() -> None:
    examples = [Example(text=str(value), value=float(value)) for value in (2, 4, 9)]
    config = TASK.prepare(examples, TaskRequest(options={"problem": "regression"}))
    own = config.own(ClassificationOptions)
    assert (own.value_mean, own.value_spread) == (pytest.approx(5.0), pytest.approx(np.std([2, 4, 9])))
    assert config.labels == ()
    with pytest.raises(DataError, match="same number"):
        TASK.prepare([replace(one, value=1.0) for one in examples], TaskRequest(options={"problem": "regression"}))


def test_a_row_whose_number_is_none_is_a_bad_row(tmp_path: Path) -> None:
    file = tmp_path / "stars.tsv"
    file.write_text("text\tlabel\n" + "".join(f"film {n}\t{n / 2}\n" for n in range(9)) + "a film\tmany\n", "utf-8")
    format = TASK.format(ClassificationOptions(problem="regression"))
    with pytest.raises(DataError, match=r"stars\.tsv:11.*") as caught:
        format.read(file, columns=Columns(), on_error="stop", labelled=True)
    assert "'many' is not a number" in str(caught.value)
    assert len(format.read(file, columns=Columns(), on_error="skip", labelled=True).examples) == 9


# --- rare labels


def of_one_label(**options: object) -> TaskConfig:
    return TaskConfig(task="text-classification", labels=("a", "b"), options=ClassificationOptions(**options))


def single_loss(**options: object) -> tuple[float, torch.Tensor]:
    logits = torch.tensor([[2.0, 0.0], [0.5, 0.0]])
    part = PROBLEMS["single"].loss(logits, torch.tensor([0, 1]), ClassificationOptions(**options))
    return float(part.total / part.weight), logits


def test_focal_loss_without_its_exponent_is_cross_entropy_and_with_it_looks_at_mistakes() -> None:
    plain, logits = single_loss()
    assert single_loss(imbalance="focal", focal_gamma=0.0)[0] == pytest.approx(plain)
    right = logits.softmax(dim=-1)[[0, 1], [0, 1]]
    expected = float((-((1 - right) ** 2) * right.log()).mean())
    assert single_loss(imbalance="focal", focal_gamma=2.0)[0] == pytest.approx(expected)


def test_smoothed_labels_are_those_of_pytorch() -> None:
    found, logits = single_loss(label_smoothing=0.2)
    assert found == pytest.approx(float(functional.cross_entropy(logits, torch.tensor([0, 1]), label_smoothing=0.2)))


def test_one_flag_weighs_the_labels_or_draws_the_rare_ones_more_often() -> None:
    examples = [Example(text=f"t{place}", label="ab"[place % 5 == 0]) for place in range(20)]
    weighed = TASK.prepare(examples, TaskRequest(options={"imbalance": "weights"})).own(ClassificationOptions)
    assert weighed.class_weights == pytest.approx((0.625, 2.5))
    assert TASK.example_weights is not None
    assert TASK.example_weights(examples, of_one_label()) is None
    drawn = TASK.example_weights(examples, of_one_label(imbalance="sampling"))
    assert drawn is not None
    rare = np.array([one.label == "b" for one in examples])
    assert drawn[rare].sum() == pytest.approx(drawn[~rare].sum())


@pytest.mark.parametrize(
    "wrong",
    [
        {"label_smoothing": 1.0},
        {"focal_gamma": -1.0},
        {"label_separator": ""},
        {"problem": "regression", "imbalance": "focal"},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)) if len(wrong) == 1 else "problem"):
        ClassificationOptions(**wrong)
