"""The three kinds of answer that text classification gives: one label, any number of labels, a number.

N examples, C outputs (labels, or one for a number).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from albertine.data.formats import LABELLED_TEXTS, DataFormat, multi_labelled_texts, valued_texts
from albertine.errors import DataError, did_you_mean
from albertine.evaluation.calibration import fit_temperature
from albertine.evaluation.correlation import correlation_rankings, pearson, spearman
from albertine.evaluation.metrics import (
    GOLD,
    PREDICTED,
    Metric,
    accuracy,
    classification_metrics,
    classification_rankings,
    expected_calibration_error,
    macro_f1,
)
from albertine.evaluation.multi_label import best_thresholds, label_rankings, multi_label_metrics
from albertine.records import Example, IntArray, Prediction, Target
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.config import TaskConfig
from albertine.tasks.silence import with_silence
from albertine.tasks.task import Evidence, FloatArray, LossPart

__all__ = [
    "IMBALANCE",
    "PROBLEMS",
    "Problem",
    "balanced_weights",
    "label_indices",
    "label_matrix",
    "probabilities_of",
]

_LISTED = 20
"""Labels listed in a message."""
_ENOUGH = 50
"""Examples of a development split below which a temperature would be fitted to their noise."""
IMBALANCE = 3.0
"""From this ratio between the largest and the smallest class on, macro-F1 ranks the candidates instead of accuracy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What text classification does differently for each kind of answer."""

    format: Callable[[ClassificationOptions], DataFormat]
    """What its files look like."""
    targets: Callable[[Sequence[Example], TaskConfig], list[Target]]
    """What is to be learnt of every example. Raises a DataError where one does not say."""
    loss: Callable[[Tensor, Tensor, ClassificationOptions], LossPart]
    """Of outputs [N, C] and the targets of as many examples."""
    probabilities: Callable[[FloatArray, TaskConfig], FloatArray] | None
    """Outputs [N, C] to calibrated probabilities; None for numbers."""
    decode: Callable[[FloatArray, TaskConfig], list[Prediction]]
    """Outputs [N, C] to predictions."""
    score: Callable[[FloatArray, Sequence[Example], TaskConfig], dict[str, float]]
    """Every metric."""
    evidence: Callable[[FloatArray, Sequence[Example], TaskConfig], Evidence]
    columns: Callable[[TaskConfig], tuple[str, ...]]
    metrics: Callable[[TaskConfig], Mapping[str, Metric]]
    main_metric: str
    ranking_metric: Callable[[Mapping[str, int]], str]
    did_not_learn: Callable[[Evidence, TaskConfig], bool]
    tune: Callable[[FloatArray, Sequence[Example], TaskConfig], TaskConfig] | None = None


# --- one label


def label_indices(examples: Sequence[Example], labels: Sequence[str]) -> IntArray:
    """Return the index of every example's label, [N] int64.

    Raises:
        DataError: an example has no label, or one that is not among `labels`.
    """
    index_of = {label: index for index, label in enumerate(labels)}
    indices = np.empty(len(examples), dtype=np.int64)
    for place, example in enumerate(examples):
        index = None if example.label is None else index_of.get(example.label)
        if index is None:
            raise _label_error(example, example.label, labels)
        indices[place] = index
    return indices


def balanced_weights(counts: IntArray) -> tuple[float, ...]:
    """Return the weight of every label, the inverse of its frequency, so that the mean over the examples is 1.

    Args:
        counts: [C] how often each label occurs.

    Returns:
        N / (C * count) for every label; 0 for a label that does not occur.
    """
    present = np.count_nonzero(counts)
    return tuple(counts.sum() / (present * count) if count else 0.0 for count in counts.tolist())


def probabilities_of(logits: FloatArray, task_config: TaskConfig) -> FloatArray:
    """Return the probability of every label where one applies, [N, C]; divided by the temperature first."""
    scaled = logits / np.float32(task_config.temperature or 1.0)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=0.0))
    shares: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _single_loss(logits: Tensor, labels: Tensor, options: ClassificationOptions) -> LossPart:
    weights = None if options.class_weights is None else logits.new_tensor(options.class_weights)
    weight = logits.new_tensor(len(labels)) if weights is None else weights[labels].sum()
    if options.imbalance == "focal":
        logarithms = functional.log_softmax(logits, dim=-1)
        right = logarithms.gather(1, labels[:, None])[:, 0]
        losses = functional.cross_entropy(
            logits, labels, weight=weights, label_smoothing=options.label_smoothing, reduction="none"
        )
        return LossPart(total=(losses * (1 - right.exp()) ** options.focal_gamma).sum(), weight=weight)
    total = functional.cross_entropy(
        logits, labels, weight=weights, label_smoothing=options.label_smoothing, reduction="sum"
    )
    return LossPart(total=total, weight=weight)


def _single_decode(logits: FloatArray, task_config: TaskConfig) -> list[Prediction]:
    """Return the most probable label of every example; of equal ones the first."""
    labels, rows = task_config.labels, probabilities_of(logits, task_config)
    predictions = []
    for row, best in zip(rows.tolist(), rows.argmax(axis=1).tolist(), strict=True):
        scores = dict(zip(labels, row, strict=True))
        silent = task_config.abstain_below is not None and row[best] < task_config.abstain_below
        predictions.append(Prediction(label=labels[best], score=row[best], scores=scores, abstained=silent))
    return predictions


def _single_score(logits: FloatArray, examples: Sequence[Example], task_config: TaskConfig) -> dict[str, float]:
    gold = label_indices(examples, task_config.labels)
    found = probabilities_of(logits, task_config)
    metrics = classification_metrics(gold, found.argmax(axis=1), found.astype(np.float64), task_config.labels)
    if task_config.temperature is not None:
        before = probabilities_of(logits, replace(task_config, temperature=None)).astype(np.float64)
        metrics["ece_uncalibrated"] = expected_calibration_error(gold, before)
    if task_config.abstain_below is None:
        return metrics
    answered = found.max(axis=1) >= task_config.abstain_below
    wrong = (found.argmax(axis=1) != gold)[answered]
    return {**metrics, "coverage": float(answered.mean()), "answered_error": float(wrong.mean()) if len(wrong) else 0.0}


def _single_tune(logits: FloatArray, examples: Sequence[Example], task_config: TaskConfig) -> TaskConfig:
    """Fit the temperature, and the confidence below which the model keeps silent where an error rate is wanted."""
    gold = label_indices(examples, task_config.labels)
    tuned = task_config
    if len(gold) >= _ENOUGH:
        tuned = replace(tuned, temperature=round(fit_temperature(logits, gold), 4))
    found = probabilities_of(logits, tuned)
    return with_silence(found.max(axis=1), found.argmax(axis=1) == gold, tuned)


def _single_evidence(logits: FloatArray, examples: Sequence[Example], task_config: TaskConfig) -> Evidence:
    found = probabilities_of(logits, task_config)
    gold = label_indices(examples, task_config.labels)
    columns: Evidence = np.stack([gold.astype(np.float64), found.argmax(axis=1), found.max(axis=1).round(5)], axis=1)
    return columns


def _single_ranking(label_counts: Mapping[str, int]) -> str:
    counts = list(label_counts.values())
    return "macro_f1" if counts and max(counts) > IMBALANCE * min(counts) else "accuracy"


def _always_the_same(evidence: Evidence, task_config: TaskConfig) -> bool:
    """Say whether always answering the most frequent label would have been as good, by accuracy and by macro F1."""
    gold, predicted = (evidence[:, column].astype(np.int64) for column in (GOLD, PREDICTED))
    usual = np.full(len(gold), np.bincount(gold).argmax())
    return all(metric(gold, predicted) <= metric(gold, usual) for metric in (accuracy, macro_f1))


# --- any number of labels


def label_matrix(examples: Sequence[Example], labels: Sequence[str]) -> IntArray:
    """Return which labels every example has, [N, C] int64 of zeros and ones.

    Raises:
        DataError: an example does not say, or has a label that is not among `labels`.
    """
    index_of = {label: index for index, label in enumerate(labels)}
    matrix = np.zeros((len(examples), len(labels)), dtype=np.int64)
    for place, example in enumerate(examples):
        if example.labels is None:
            raise _label_error(example, None, labels)
        for label in example.labels:
            if label not in index_of:
                raise _label_error(example, label, labels)
            matrix[place, index_of[label]] = 1
    return matrix


def _chances(logits: FloatArray, task_config: TaskConfig) -> FloatArray:
    scaled: FloatArray = logits / np.float32(task_config.temperature or 1.0)
    chances: FloatArray = (1 / (1 + np.exp(-scaled))).astype(np.float32)
    return chances


def _said(chances: FloatArray, task_config: TaskConfig) -> IntArray:
    thresholds = task_config.own(ClassificationOptions).thresholds or (0.5,) * len(task_config.labels)
    return (chances >= np.array(thresholds, dtype=np.float32)).astype(np.int64)


def _multi_loss(logits: Tensor, targets: Tensor, options: ClassificationOptions) -> LossPart:
    wanted = targets * (1 - options.label_smoothing) + options.label_smoothing / 2
    weights = None if options.class_weights is None else logits.new_tensor(options.class_weights)
    losses = functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weights, reduction="none")
    if options.imbalance == "focal":
        chances = torch.sigmoid(logits)
        losses = losses * torch.where(targets > 0.5, 1 - chances, chances) ** options.focal_gamma
    return LossPart(total=losses.mean(dim=1).sum(), weight=logits.new_tensor(len(logits)))


def _multi_decode(logits: FloatArray, task_config: TaskConfig) -> list[Prediction]:
    labels, chances = task_config.labels, _chances(logits, task_config)
    predictions = []
    for row, said in zip(chances.tolist(), _said(chances, task_config).tolist(), strict=True):
        chosen = tuple(label for label, one in zip(labels, said, strict=True) if one)
        predictions.append(Prediction(labels=chosen, scores=dict(zip(labels, row, strict=True))))
    return predictions


def _multi_score(logits: FloatArray, examples: Sequence[Example], task_config: TaskConfig) -> dict[str, float]:
    gold = label_matrix(examples, task_config.labels)
    return multi_label_metrics(gold, _said(_chances(logits, task_config), task_config), task_config.labels)


def _multi_evidence(logits: FloatArray, examples: Sequence[Example], task_config: TaskConfig) -> Evidence:
    said = _said(_chances(logits, task_config), task_config)
    both: Evidence = np.concatenate([label_matrix(examples, task_config.labels), said], axis=1).astype(np.float64)
    return both


def _same_labels_for_all(evidence: Evidence, task_config: TaskConfig) -> bool:
    predicted = evidence[:, len(task_config.labels) :]
    return bool((predicted == predicted[:1]).all())


def _multi_tune(logits: FloatArray, examples: Sequence[Example], task_config: TaskConfig) -> TaskConfig:
    gold = label_matrix(examples, task_config.labels)
    fitted = best_thresholds(gold, _chances(logits, task_config))
    return replace(task_config, options=replace(task_config.own(ClassificationOptions), thresholds=fitted))


# --- a number


def _values(examples: Sequence[Example]) -> FloatArray:
    for example in examples:
        if example.value is None:
            raise DataError("a row has no number", where=example.where, next_step="Give every row its number")
    return np.array([example.value for example in examples], dtype=np.float32)


def _number_targets(examples: Sequence[Example], task_config: TaskConfig) -> list[Target]:
    options = task_config.own(ClassificationOptions)
    scaled = ((_values(examples) - options.value_mean) / options.value_spread).astype(np.float32)
    return [scaled[place : place + 1, None] for place in range(len(scaled))]


def _number_loss(outputs: Tensor, targets: Tensor, options: ClassificationOptions) -> LossPart:
    return LossPart(total=((outputs - targets) ** 2).sum(), weight=outputs.new_tensor(len(outputs)))


def _numbers(outputs: FloatArray, task_config: TaskConfig) -> Evidence:
    options = task_config.own(ClassificationOptions)
    found: Evidence = outputs[:, 0].astype(np.float64) * options.value_spread + options.value_mean
    return found


def _number_decode(outputs: FloatArray, task_config: TaskConfig) -> list[Prediction]:
    return [Prediction(value=value) for value in _numbers(outputs, task_config).tolist()]


def _number_score(outputs: FloatArray, examples: Sequence[Example], task_config: TaskConfig) -> dict[str, float]:
    gold, found = _values(examples).astype(np.float64), _numbers(outputs, task_config)
    return {
        "spearman": spearman(gold, found),
        "pearson": pearson(gold, found),
        "rmse": float(np.sqrt(np.mean((gold - found) ** 2))),
        "mae": float(np.mean(np.abs(gold - found))),
    }


def _number_evidence(outputs: FloatArray, examples: Sequence[Example], task_config: TaskConfig) -> Evidence:
    both: Evidence = np.stack([_values(examples).astype(np.float64), _numbers(outputs, task_config)], axis=1)
    return both


def _label_error(example: Example, label: str | None, labels: Sequence[str]) -> DataError:
    listed = ", ".join(labels[:_LISTED]) + (f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else "")
    if label is None:
        return DataError("a row has no label", where=example.where, allowed=listed)
    return DataError(
        "a label that the training data does not have",
        where=example.where,
        received=repr(label),
        allowed=listed,
        next_step=did_you_mean(label, labels) or "Correct the row, or train on data that has this label",
    )


def _single_targets(examples: Sequence[Example], task_config: TaskConfig) -> list[Target]:
    indices = label_indices(examples, task_config.labels).astype(np.int64)
    return [indices[place : place + 1] for place in range(len(indices))]


def _multi_targets(examples: Sequence[Example], task_config: TaskConfig) -> list[Target]:
    matrix = label_matrix(examples, task_config.labels).astype(np.float32)
    return [matrix[place : place + 1] for place in range(len(matrix))]


PROBLEMS: Mapping[str, Problem] = {
    "single": Problem(
        format=lambda options: LABELLED_TEXTS,
        targets=_single_targets,
        loss=_single_loss,
        probabilities=probabilities_of,
        decode=_single_decode,
        score=_single_score,
        evidence=_single_evidence,
        columns=lambda config: ("gold_label", "predicted_label", "confidence"),
        metrics=lambda config: classification_rankings(len(config.labels)),
        main_metric="accuracy",
        ranking_metric=_single_ranking,
        did_not_learn=_always_the_same,
        tune=_single_tune,
    ),
    "multi": Problem(
        format=lambda options: multi_labelled_texts(options.label_separator),
        targets=_multi_targets,
        loss=_multi_loss,
        probabilities=_chances,
        decode=_multi_decode,
        score=_multi_score,
        evidence=_multi_evidence,
        columns=lambda config: tuple(f"{kind}/{label}" for kind in ("gold", "predicted") for label in config.labels),
        metrics=lambda config: label_rankings(len(config.labels)),
        main_metric="micro_f1",
        ranking_metric=lambda counts: "micro_f1",
        did_not_learn=_same_labels_for_all,
        tune=_multi_tune,
    ),
    "regression": Problem(
        format=lambda options: valued_texts(),
        targets=_number_targets,
        loss=_number_loss,
        probabilities=None,
        decode=_number_decode,
        score=_number_score,
        evidence=_number_evidence,
        columns=lambda config: ("gold_value", "predicted_value"),
        metrics=lambda config: correlation_rankings(),
        main_metric="spearman",
        ranking_metric=lambda counts: "spearman",
        did_not_learn=lambda evidence, config: bool(np.ptp(evidence[:, 1]) < 1e-6),
    ),
}
"""By the name of the option."""
