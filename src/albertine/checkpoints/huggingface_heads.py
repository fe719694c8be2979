"""Fine-tuned heads of Hugging Face's BERT and ALBERT, with their labels: config.json <-> `TaskHead`."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from albertine.checkpoints.huggingface import ModelType
from albertine.checkpoints.report import listed
from albertine.checkpoints.state import HeadProblem, TaskHead
from albertine.errors import CheckpointError

__all__ = ["head_config", "read_head"]

_LOG = logging.getLogger("albertine")
_LISTED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeadClass:
    """A class of transformers that has a fine-tuned head."""

    suffix: str
    """What follows Bert or Albert in its name."""
    task: str
    module: Literal["classifier", "qa_outputs"]


_TEXT = _HeadClass(suffix="ForSequenceClassification", task="text-classification", module="classifier")
_TOKEN = _HeadClass(suffix="ForTokenClassification", task="token-classification", module="classifier")
_QUESTION = _HeadClass(suffix="ForQuestionAnswering", task="question-answering", module="qa_outputs")
_HEADS = {one.suffix: one for one in (_TEXT, _TOKEN, _QUESTION)}

_NO_TASK = frozenset(
    ("Model", "ForPreTraining", "ForMaskedLM", "LMHeadModel", "ForNextSentencePrediction", "PreTrainedModel")
)
"""Encoders, and those whose heads are the ones of pretraining."""
_MULTIPLE_CHOICE = "ForMultipleChoice"
_CLASS_NAME = re.compile(r"(?:TF|Flax)?(?:Bert|Albert)(\w*)")
_SPAN_LABELS = ("start", "end")
_PROBLEMS: Mapping[str, HeadProblem] = {
    "single_label_classification": "single",
    "multi_label_classification": "multi",
    "regression": "regression",
}
_PROBLEM_NAMES = {problem: name for name, problem in _PROBLEMS.items()}
_ENCODER_STEP = "The encoder alone opens with load_encoder, and converts with --encoder-only"


def read_head(
    config_json: Mapping[str, object], shapes: Mapping[str, tuple[int, ...]], *, where: str
) -> TaskHead | None:
    """Find the fine-tuned head of a model, and its labels.

    The class that config.json names (`architectures`) says what a head does. Where it names none, a `classifier` is
    taken to stand on the pooled vector where the file has a pooler, else on every token, and a warning says so.

    Args:
        config_json: the contents of config.json.
        shapes: of the file's tensors, by their canonical names.
        where: config.json, for messages.

    Returns:
        None for an encoder, with or without the heads of pretraining (masked words, next sentence, sentence order).

    Raises:
        CheckpointError: a head that does something else (multiple choice, a class that is not known), that the file
            lacks or that is no single linear layer; labels with gaps, that contradict each other or do not number the
            head's rows.
    """
    kind = _head_class(config_json, shapes, where)
    if kind is None:
        return None
    weight, bias = (shapes.get(f"{kind.module}.{last}") for last in ("weight", "bias"))
    if weight is None or bias is None or len(weight) != 2 or bias != weight[:1]:
        found = [f"{name} {list(shape)}" for name, shape in shapes.items() if name.startswith(kind.module)]
        raise CheckpointError(
            f"the head of {kind.task} is not one linear layer with its bias",
            where=where,
            received=", ".join(found) or f"no tensor named {kind.module}",
            allowed=f"{kind.module}.weight [labels, hidden] and {kind.module}.bias [labels]",
            next_step=f"Copy config.json and weights from the same place. {_ENCODER_STEP}",
        )
    rows = weight[0]
    if kind is _QUESTION:
        if rows != len(_SPAN_LABELS):
            raise CheckpointError(
                "a head that answers questions scores starts and ends",
                where=where,
                received=f"{rows} rows in qa_outputs.weight",
                allowed=str(len(_SPAN_LABELS)),
                next_step=_ENCODER_STEP,
            )
        return TaskHead(task=kind.task, labels=_SPAN_LABELS, module=kind.module)
    problem = _problem(config_json, rows, where) if kind is _TEXT else "single"
    labels = _labels(config_json, rows, where)
    return TaskHead(task=kind.task, labels=labels, module=kind.module, problem=problem)


def head_config(head: TaskHead, kind: ModelType) -> dict[str, object]:
    """Return the keys of config.json with which transformers opens a model of this head; `read_head` is the inverse.

    Args:
        head: the head.
        kind: whose code computes the encoder; for `albertine`, which transformers does not open, only the labels stand.
    """
    values: dict[str, object] = {}
    prefix = {"bert": "Bert", "albert": "Albert"}.get(kind)
    if prefix is not None:
        suffix = next(one.suffix for one in _HEADS.values() if one.task == head.task)
        values["architectures"] = [prefix + suffix]
    if head.task == _QUESTION.task:
        return values
    values["id2label"] = {str(index): label for index, label in enumerate(head.labels)}
    values["label2id"] = {label: index for index, label in enumerate(head.labels)}
    if head.task == _TEXT.task:
        values["problem_type"] = _PROBLEM_NAMES[head.problem]
    return values


def _head_class(
    config_json: Mapping[str, object], shapes: Mapping[str, tuple[int, ...]], where: str
) -> _HeadClass | None:
    """Say which class of transformers the model is; None where its head is no task's."""
    names = config_json.get("architectures")
    if names is not None and (not isinstance(names, list) or not all(isinstance(name, str) for name in names)):
        raise CheckpointError("a list of class names is expected here", where=where, received=repr(names))
    has_classifier, has_spans = (
        any(name.startswith(f"{module}.") for name in shapes) for module in ("classifier", "qa_outputs")
    )
    if names:
        return _named_class(names, has_head=has_classifier or has_spans, where=where)
    if not has_classifier and not has_spans:
        return None
    if has_spans:
        assumed = _QUESTION
    else:
        has_pooler = any(re.match(r"(?:\w+\.)?pooler\.", name) for name in shapes)
        assumed = _TEXT if has_pooler else _TOKEN
    _LOG.warning(
        "%s: config.json has no architectures; the head %s is read as that of %s", where, assumed.module, assumed.task
    )
    return assumed


def _named_class(names: list[str], *, has_head: bool, where: str) -> _HeadClass | None:
    found = [_CLASS_NAME.fullmatch(name) for name in names]
    suffixes = sorted({match.group(1) for match in found if match is not None})
    if len(suffixes) == 1 and suffixes[0] in _HEADS:
        return _HEADS[suffixes[0]]
    if _MULTIPLE_CHOICE in suffixes:
        raise CheckpointError(
            "this head chooses between several texts, a task that is not among those here",
            where=where,
            received=", ".join(names),
            allowed=", ".join(_HEADS),
            next_step=_ENCODER_STEP,
        )
    if not has_head or (suffixes and set(suffixes) <= _NO_TASK):
        return None
    raise CheckpointError(
        "the weights have a head, and what this class does with it is not known here",
        where=f"{where}: architectures",
        received=", ".join(names),
        allowed=", ".join(f"Bert{suffix} and Albert{suffix}" for suffix in _HEADS),
        next_step=f"If it computes what one of these does, write that name instead. {_ENCODER_STEP}",
    )


def _problem(config_json: Mapping[str, object], rows: int, where: str) -> HeadProblem:
    """Say what the scores of a text are; without a word about it transformers reads a single one as regression."""
    problem = config_json.get("problem_type")
    if problem is None:
        return "regression" if rows == 1 else "single"
    if problem not in _PROBLEMS:
        raise CheckpointError(
            "unknown kind of classification",
            where=f"{where}: problem_type",
            received=repr(problem),
            allowed=", ".join(_PROBLEMS),
            next_step=_ENCODER_STEP,
        )
    return _PROBLEMS[str(problem)]


def _labels(config_json: Mapping[str, object], rows: int, where: str) -> tuple[str, ...]:
    """Return the labels in the order of the head's rows."""
    by_id = _read_id2label(config_json.get("id2label"), f"{where}: id2label")
    inverse = config_json.get("label2id")
    if by_id is None and isinstance(inverse, Mapping):
        by_id = _read_id2label({index: label for label, index in inverse.items()}, f"{where}: label2id")
    if by_id is None:
        by_id = {index: f"LABEL_{index}" for index in range(rows)}
        _LOG.warning("%s: config.json has no id2label; the labels are LABEL_0 … LABEL_%d", where, rows - 1)
    absent = max(by_id) + 1 - len(by_id)
    if absent:
        # A hole is among the first labels, however large the largest number is.
        first = [str(index) for index in range(min(max(by_id), len(by_id) + _LISTED)) if index not in by_id]
        raise CheckpointError(
            "these labels are missing between the others",
            where=f"{where}: id2label",
            received=f"no label {listed(first, _LISTED, total=absent)}",
            allowed=f"every number from 0 to {rows - 1}",
            next_step="Name them in config.json",
        )
    stated = config_json.get("num_labels")
    if len(by_id) != rows or (stated is not None and stated != rows):
        raise CheckpointError(
            "the labels of config.json are not as many as the head has rows",
            where=f"{where}: id2label",
            received=f"{len(by_id)} labels"
            + (f" (num_labels {stated})" if stated is not None else "")
            + f", {rows} rows in classifier.weight",
            next_step="Use the config.json that was saved with these weights, or name every label in it",
        )
    labels = tuple(by_id[index] for index in range(rows))
    _compare_label2id(inverse, labels, where)
    return labels


def _read_id2label(value: object, where: str) -> dict[int, str] | None:
    """Read labels by number; JSON's keys are text."""
    if value is None:
        return None
    found: dict[int, str] = {}
    if not isinstance(value, Mapping) or not value:
        raise CheckpointError("an object from numbers to labels is expected here", where=where, received=repr(value))
    for key, label in value.items():
        if not re.fullmatch(r"\d{1,9}", str(key)) or not isinstance(label, str | int | float | bool):
            raise CheckpointError(
                "a number and its label are expected here", where=where, received=f"{key!r}: {label!r}"
            )
        if any("\ud800" <= letter <= "\udfff" for letter in str(label)):
            raise CheckpointError("this label is no text (half a character)", where=where, received=ascii(label))
        if int(key) in found:
            raise CheckpointError("this number has two labels", where=where, received=repr(key))
        found[int(key)] = str(label)
    double = sorted(label for label, count in Counter(found.values()).items() if count > 1)
    if double:
        raise CheckpointError(
            "two numbers have the same label",
            where=where,
            received=listed(double, _LISTED),
            next_step="Give every label a name of its own in config.json",
        )
    return found


def _compare_label2id(value: object, labels: tuple[str, ...], where: str) -> None:
    """Refuse a label2id that says otherwise than id2label."""
    if value is None:
        return
    where = f"{where}: label2id"
    if not isinstance(value, Mapping):
        raise CheckpointError("an object from labels to numbers is expected here", where=where, received=repr(value))
    expected = {label: str(index) for index, label in enumerate(labels)}
    found = {str(label): str(index) for label, index in value.items()}
    wrong = [f"{label}: {index}" for label, index in found.items() if expected.get(label) != index]
    wrong += [f"no {label}" for label in expected if label not in found]
    if wrong:
        raise CheckpointError(
            "label2id contradicts id2label, and nothing says which is right",
            where=where,
            received=listed(wrong, _LISTED),
            allowed=listed([f"{label}: {index}" for label, index in expected.items()], _LISTED),
            next_step="Correct the wrong one in config.json, or remove label2id to follow id2label",
        )
