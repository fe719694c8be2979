"""Heads and labels out of config.json, and into it."""

from __future__ import annotations

import json
import logging

import pytest

from albertine.checkpoints.huggingface_heads import head_config, read_head
from albertine.checkpoints.state import TaskHead
from albertine.errors import CheckpointError

WHERE = "folder/config.json"
Shapes = dict[str, tuple[int, ...]]
Config = dict[str, object]


def shapes(module: str | None = "classifier", rows: int = 3, *, pooler: bool = True) -> Shapes:
    found: Shapes = {"bert.embeddings.word_embeddings.weight": (99, 12)}
    if pooler:
        found["bert.pooler.dense.weight"] = (12, 12)
    if module is not None:
        found |= {f"{module}.weight": (rows, 12), f"{module}.bias": (rows,)}
    return found


def labelled(architecture: str = "BertForSequenceClassification", **others: object) -> Config:
    labels = {"0": "bad", "1": "fair", "2": "good"}
    inverse = {label: int(index) for index, label in labels.items()}
    return {"architectures": [architecture], "id2label": labels, "label2id": inverse, **others}


def without(config: Config, *keys: str) -> Config:
    return {key: value for key, value in config.items() if key not in keys}


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertForSequenceClassification", "text-classification"),
        ("AlbertForSequenceClassification", "text-classification"),
        ("TFBertForSequenceClassification", "text-classification"),
        ("BertForTokenClassification", "token-classification"),
        ("AlbertForTokenClassification", "token-classification"),
    ],
)
@pytest.mark.parametrize("pooler", [True, False])
def test_the_architecture_says_what_a_classifier_does(architecture: str, task: str, pooler: bool) -> None:
    head = read_head(labelled(architecture), shapes(pooler=pooler), where=WHERE)
    assert head == TaskHead(task=task, labels=("bad", "fair", "good"), module="classifier")


@pytest.mark.parametrize("architecture", ["BertForQuestionAnswering", "AlbertForQuestionAnswering"])
def test_questions_are_answered_by_starts_and_ends_whatever_the_labels_say(architecture: str) -> None:
    head = read_head(labelled(architecture), shapes("qa_outputs", 2), where=WHERE)
    assert head == TaskHead(task="question-answering", labels=("start", "end"), module="qa_outputs")
    with pytest.raises(CheckpointError, match=r"5 rows in qa_outputs\.weight"):
        read_head(labelled(architecture), shapes("qa_outputs", 5), where=WHERE)


@pytest.mark.parametrize(
    "architecture",
    ["BertModel", "BertForPreTraining", "AlbertForMaskedLM", "BertForNextSentencePrediction", "BertLMHeadModel"],
)
def test_an_encoder_has_no_tasks_head(architecture: str) -> None:
    assert read_head({"architectures": [architecture]}, shapes(None), where=WHERE) is None
    assert read_head({"architectures": [architecture]}, shapes(), where=WHERE) is None


def test_a_class_of_no_head_is_not_asked_for_its_name() -> None:
    assert read_head({"architectures": ["SomethingNew"]}, shapes(None), where=WHERE) is None
    assert read_head({}, shapes(None), where=WHERE) is None


@pytest.mark.parametrize(
    ("module", "rows", "pooler", "task"),
    [
        ("classifier", 3, True, "text-classification"),
        ("classifier", 3, False, "token-classification"),
        ("qa_outputs", 2, False, "question-answering"),
    ],
)
@pytest.mark.parametrize("architectures", [{}, {"architectures": None}, {"architectures": []}])
def test_without_architectures_it_is_said_what_is_assumed(
    caplog: pytest.LogCaptureFixture, architectures: Config, module: str, rows: int, pooler: bool, task: str
) -> None:
    with caplog.at_level(logging.WARNING, logger="albertine"):
        config = without(labelled(), "architectures") | architectures
        head = read_head(config, shapes(module, rows, pooler=pooler), where=WHERE)
    assert head is not None
    assert head.task == task
    assert "no architectures" in caplog.text
    assert task in caplog.text


def test_alberts_pooler_is_one_too() -> None:
    found = {"albert.pooler.weight": (12, 12), "classifier.weight": (3, 12), "classifier.bias": (3,)}
    head = read_head(without(labelled(), "architectures"), found, where=WHERE)
    assert head is not None
    assert head.task == "text-classification"


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("BertForMultipleChoice", "chooses between several texts.*BertForMultipleChoice.*load_encoder"),
        ("BertCrfForNer", "not known here.*BertCrfForNer.*BertForTokenClassification"),
        ("BertForTokenClassificationWithCrf", "not known here"),
    ],
)
def test_heads_that_do_something_else_are_refused_by_name(architecture: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_head(labelled(architecture), shapes(), where=WHERE)


def test_two_architectures_with_different_heads_are_not_chosen_between() -> None:
    names = ["BertForSequenceClassification", "BertForTokenClassification"]
    with pytest.raises(CheckpointError, match="not known here"):
        read_head(labelled() | {"architectures": names}, shapes(), where=WHERE)


@pytest.mark.parametrize("names", ["BertModel", [3], {"a": 1}])
def test_architectures_are_a_list_of_names(names: object) -> None:
    with pytest.raises(CheckpointError, match="list of class names"):
        read_head({"architectures": names}, shapes(), where=WHERE)


@pytest.mark.parametrize(
    ("name", "problem"), [("regression", "regression"), ("multi_label_classification", "multi"), (None, "single")]
)
def test_what_the_scores_mean_comes_along(name: str | None, problem: str) -> None:
    head = read_head(labelled(problem_type=name), shapes(), where=WHERE)
    assert head is not None
    assert head.problem == problem
    written = head_config(head, "bert")["problem_type"]
    assert written == (name or "single_label_classification")


def test_another_problem_is_refused_with_what_is_possible() -> None:
    with pytest.raises(CheckpointError, match=r"something.*single_label_classification.*load_encoder"):
        read_head(labelled(problem_type="something"), shapes(), where=WHERE)


def test_a_label_that_is_half_a_character_is_refused() -> None:
    labels = {"0": "O", "1": "\ud800", **{str(index): f"L{index}" for index in range(2, 5)}}
    with pytest.raises(CheckpointError, match="half a character"):
        read_head({"architectures": ["BertForSequenceClassification"], "id2label": labels}, shapes(), where=WHERE)


def test_one_label_is_regression() -> None:
    config: Config = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    head = read_head(config, shapes(rows=1), where=WHERE)
    assert head is not None
    assert (head.problem, head.labels) == ("regression", ("LABEL_0",))


@pytest.mark.parametrize("problem", [None, "single_label_classification"])
def test_one_of_several_labels_opens(problem: str | None) -> None:
    assert read_head(labelled(problem_type=problem), shapes(), where=WHERE) is not None


@pytest.mark.parametrize(
    "id2label",
    [
        {"2": "good", "0": "bad", "1": "fair"},
        {2: "good", 1: "fair", 0: "bad"},
    ],
)
def test_labels_stand_in_the_order_of_their_numbers(id2label: object) -> None:
    head = read_head(labelled(id2label=id2label), shapes(), where=WHERE)
    assert head is not None
    assert head.labels == ("bad", "fair", "good")


def test_more_than_ten_labels_are_sorted_as_numbers() -> None:
    labels = {str(index): f"L{index}" for index in sorted(range(23), key=str)}
    config = {"architectures": ["BertForTokenClassification"], "id2label": labels}
    head = read_head(config, shapes(rows=23), where=WHERE)
    assert head is not None
    assert head.labels == tuple(f"L{index}" for index in range(23))


def test_labels_without_names_keep_their_default(caplog: pytest.LogCaptureFixture) -> None:
    config = without(labelled(), "id2label", "label2id")
    with caplog.at_level(logging.WARNING, logger="albertine"):
        head = read_head(config, shapes(), where=WHERE)
    assert head is not None
    assert head.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert "no id2label" in caplog.text


def test_labels_that_stand_only_the_other_way_round_are_read() -> None:
    head = read_head(without(labelled(), "id2label"), shapes(), where=WHERE)
    assert head is not None
    assert head.labels == ("bad", "fair", "good")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id2label": {"0": "a", "3": "b"}}, "missing between the others.*no label 1, 2"),
        ({"id2label": {"1": "a", "2": "b", "3": "c"}}, "no label 0"),
        ({"id2label": {"0": "a", "5": "b", "999999999": "c"}}, "no label 1, 2, 3, 4, 6, 7, 8, 9 and 999,999,989 more"),
        ({"id2label": {"0": "a", "1": "b"}}, r"2 labels, 3 rows in classifier\.weight"),
        ({"id2label": {str(n): f"L{n}" for n in range(5)}}, "5 labels, 3 rows"),
        ({"num_labels": 7}, "num_labels 7.*3 rows"),
        ({"id2label": {"0": "a", "1": "b", "2": "b"}}, "two numbers have the same label.*b"),
        ({"id2label": {"0": "a", 0: "b"}}, "this number has two labels"),
        ({"id2label": {"x": "a"}}, "a number and its label.*'x'"),
        ({"id2label": {"-1": "a"}}, "a number and its label"),
        ({"id2label": {"0": ["a"]}}, "a number and its label"),
        ({"id2label": ["a", "b"]}, "object from numbers to labels"),
        ({"id2label": {}}, "object from numbers to labels"),
        ({"label2id": {"bad": 0, "fair": 2, "good": 1}}, "contradicts id2label.*fair: 2, good: 1.*fair: 1, good: 2"),
        ({"label2id": {"bad": 0, "fair": 1}}, "no good"),
        ({"label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}}, "contradicts"),
        ({"label2id": 3}, "object from labels to numbers"),
        ({"id2label": {"999999999": "a"}}, "missing between"),
    ],
)
def test_labels_that_cannot_be_right_are_refused(change: Config, message: str) -> None:
    config = labelled()
    if "id2label" in change:
        del config["label2id"]
    with pytest.raises(CheckpointError, match=message) as caught:
        read_head(config | change, shapes(), where=WHERE)
    assert WHERE in str(caught.value)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (shapes(None), "no tensor named classifier"),
        ({"classifier.weight": (3, 12)}, r"classifier\.weight \[3, 12\]"),
        ({"classifier.weight": (3, 12), "classifier.bias": (5,)}, r"classifier\.bias \[5\]"),
        ({"classifier.weight": (3, 12, 1), "classifier.bias": (3,)}, "not one linear layer"),
        ({"classifier.dense.weight": (12, 12), "classifier.out_proj.weight": (3, 12)}, r"out_proj\.weight"),
    ],
)
def test_a_head_that_is_no_linear_layer_is_refused(found: Shapes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_head(labelled(), found, where=WHERE)


@pytest.mark.parametrize("kind", ["bert", "albert"])
@pytest.mark.parametrize(
    "head",
    [
        TaskHead(task="text-classification", labels=("差", "好", "很好"), module="classifier"),
        TaskHead(task="token-classification", labels=("O", "B-PER"), module="classifier"),
        TaskHead(task="question-answering", labels=("start", "end"), module="qa_outputs"),
    ],
)
def test_what_is_written_is_read_back(kind: str, head: TaskHead) -> None:
    config = json.loads(json.dumps(head_config(head, kind)))  # type: ignore[arg-type]
    assert read_head(config, shapes(head.module, len(head.labels)), where=WHERE) == head


def test_a_form_that_transformers_refuses_names_no_class() -> None:
    head = TaskHead(task="text-classification", labels=("a", "b"), module="classifier")
    assert "architectures" not in head_config(head, "albertine")
    assert head_config(head, "albertine")["label2id"] == {"a": 0, "b": 1}
