"""Metrics of classification, pure functions of arrays.

N items, C classes. Labels are class indices in 0 … C-1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from albertine.errors import DataError
from albertine.evaluation.calibration import FloatArray, reliability
from albertine.records import IntArray

__all__ = [
    "FloatArray",
    "Metric",
    "accuracy",
    "brier_score",
    "classification_metrics",
    "classification_rankings",
    "confusion_matrix",
    "expected_calibration_error",
    "f1_per_class",
    "log_loss",
    "macro_f1",
    "matthews",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number that ranks candidates, computed from the evidence: what is kept of every item, a row of K numbers.

    Most metrics are functions of sums over the items (counts of right answers, of spans, of n-grams); those say so,
    and thousands of resamples of the items become one matrix product. The others are computed anew for each.
    """

    name: str
    """Its key among the metrics of its task."""
    of: Callable[[FloatArray], float]
    """Evidence [N, K] to the number."""
    statistics: Callable[[FloatArray], FloatArray] | None = None
    """Evidence [N, K] to what is summed up over the items, [N, S]; None where the metric is no function of sums."""
    of_sums: Callable[[FloatArray], FloatArray] | None = None
    """Sums [R, S] to the numbers [R]."""
    bounded: bool = True
    """Whether it lies between 0 and 1 by definition."""
    greater_is_better: bool = True


def confusion_matrix(gold: IntArray, predicted: IntArray, classes: int) -> IntArray:
    """Count the items of every gold class by their predicted class.

    Args:
        gold: [N] gold labels.
        predicted: [N] predicted labels.
        classes: how many classes there are, C.

    Returns:
        [C, C] int64; row: gold, column: predicted.
    """
    assert gold.shape == predicted.shape, "gold and predicted labels differ in number"
    pairs = gold.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def accuracy(gold: IntArray, predicted: IntArray) -> float:
    """Return the share of items whose predicted label is the gold one."""
    _refuse_empty(gold)
    return float(np.mean(gold == predicted))


def f1_per_class(confusion: IntArray) -> FloatArray:
    """Return F1 of every class, [C]; NaN for a class that neither gold nor predictions contain.

    Args:
        confusion: [C, C], as from `confusion_matrix`.
    """
    true_positives = np.diag(confusion).astype(np.float64)
    present = confusion.sum(axis=0) + confusion.sum(axis=1)
    f1 = np.full(len(confusion), np.nan)
    np.divide(2 * true_positives, present, out=f1, where=present > 0)
    return f1


def macro_f1(gold: IntArray, predicted: IntArray) -> float:
    """Return the mean F1 of the classes that occur in the gold labels or in the predictions."""
    _refuse_empty(gold)
    classes = int(max(gold.max(), predicted.max())) + 1
    return float(np.nanmean(f1_per_class(confusion_matrix(gold, predicted, classes))))


def matthews(confusion: IntArray) -> float:
    """Return the Matthews correlation for any number of classes (Gorodkin 2004); 0 where it is undefined.

    Args:
        confusion: [C, C], as from `confusion_matrix`.
    """
    gold = confusion.sum(axis=1).astype(np.float64)
    predicted = confusion.sum(axis=0).astype(np.float64)
    total = gold.sum()
    covariance = np.trace(confusion) * total - gold @ predicted
    spread = (total**2 - gold @ gold) * (total**2 - predicted @ predicted)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def log_loss(gold: IntArray, probabilities: FloatArray) -> float:
    """Return the mean negative logarithm of the gold label's probability, in nats.

    Probabilities are kept away from 0 by the smallest float64 step, so that one certain mistake stays finite.
    """
    _refuse_empty(gold)
    chosen = probabilities[np.arange(len(gold)), gold].astype(np.float64)
    return float(-np.log(np.clip(chosen, np.finfo(np.float64).eps, 1.0)).mean())


def brier_score(gold: IntArray, probabilities: FloatArray) -> float:
    """Return the mean squared distance between probabilities and truth, summed over classes (Brier 1950): 0 to 2."""
    _refuse_empty(gold)
    distance = probabilities.astype(np.float64)
    distance[np.arange(len(gold)), gold] -= 1.0
    return float((distance**2).sum(axis=1).mean())


def expected_calibration_error(gold: IntArray, probabilities: FloatArray, *, bins: int = 15) -> float:
    """Return how far confidence is from accuracy on average, over bins of equal width (Guo et al. 2017).

    Args:
        gold: [N] gold labels.
        probabilities: [N, C].
        bins: how many bins between confidence 0 and 1; a bin contains its upper edge.
    """
    right = (probabilities.argmax(axis=1) == gold).astype(np.int64)
    return reliability(probabilities.max(axis=1), right, bins=bins).error


def classification_metrics(
    gold: IntArray, predicted: IntArray, probabilities: FloatArray, labels: Sequence[str]
) -> dict[str, float]:
    """Return every metric of single-label classification.

    Args:
        gold: [N] gold labels.
        predicted: [N] predicted labels (the most probable ones, unless a threshold moved them).
        probabilities: [N, C].
        labels: the C names.

    Returns:
        accuracy, macro_f1, matthews, log_loss, brier, ece and, for every label that gold or predictions contain,
        `f1/LABEL`.

    Raises:
        DataError: there are no items.
    """
    _refuse_empty(gold)
    assert probabilities.shape == (len(gold), len(labels)), "one probability an item and label is needed"
    confusion = confusion_matrix(gold, predicted, len(labels))
    f1 = f1_per_class(confusion)
    return {
        "accuracy": accuracy(gold, predicted),
        "macro_f1": float(np.nanmean(f1)),
        "matthews": matthews(confusion),
        "log_loss": log_loss(gold, probabilities),
        "brier": brier_score(gold, probabilities),
        "ece": expected_calibration_error(gold, probabilities),
        **{f"f1/{label}": float(value) for label, value in zip(labels, f1, strict=True) if not np.isnan(value)},
    }


GOLD, PREDICTED = 0, 1
"""Columns of the evidence of classification: the index of the label in the data, and of the predicted one."""


def classification_rankings(classes: int) -> dict[str, Metric]:
    """Return the metrics by which classifiers can be ranked, by their key in `classification_metrics`.

    Args:
        classes: C, how many labels there are.
    """

    def right(evidence: FloatArray) -> FloatArray:
        return np.stack([evidence[:, GOLD] == evidence[:, PREDICTED], np.ones(len(evidence))], axis=1)

    def counts(evidence: FloatArray) -> FloatArray:
        """Return [N, 3C]: whether an item is right, by its class, and its gold and its predicted class."""
        gold, predicted = (evidence[:, column].astype(np.int64) for column in (GOLD, PREDICTED))
        found = np.zeros((len(evidence), 3 * classes), dtype=np.float32)
        items = np.arange(len(evidence))
        found[items, gold] = gold == predicted
        found[items, classes + gold] = 1
        found[items, 2 * classes + predicted] = 1
        return found

    def mean_f1(sums: FloatArray) -> FloatArray:
        true_positives, gold, predicted = np.split(sums.astype(np.float64), 3, axis=1)
        present = gold + predicted
        f1 = np.divide(2 * true_positives, present, out=np.zeros_like(present), where=present > 0)
        mean: FloatArray = f1.sum(axis=1) / (present > 0).sum(axis=1)
        return mean

    def correlation(sums: FloatArray) -> FloatArray:
        true_positives, gold, predicted = np.split(sums.astype(np.float64), 3, axis=1)
        total = gold.sum(axis=1)
        covariance = true_positives.sum(axis=1) * total - (gold * predicted).sum(axis=1)
        spread = (total**2 - (predicted**2).sum(axis=1)) * (total**2 - (gold**2).sum(axis=1))
        found: FloatArray = np.divide(covariance, np.sqrt(spread), out=np.zeros(len(sums)), where=spread > 0)
        return found

    def labels(evidence: FloatArray) -> tuple[IntArray, IntArray]:
        return evidence[:, GOLD].astype(np.int64), evidence[:, PREDICTED].astype(np.int64)

    return {
        "accuracy": Metric(
            name="accuracy",
            of=lambda evidence: accuracy(*labels(evidence)),
            statistics=right,
            of_sums=lambda sums: sums[:, 0] / sums[:, 1],
        ),
        "macro_f1": Metric(
            name="macro_f1", of=lambda evidence: macro_f1(*labels(evidence)), statistics=counts, of_sums=mean_f1
        ),
        "matthews": Metric(
            name="matthews",
            of=lambda evidence: matthews(confusion_matrix(*labels(evidence), classes)),
            statistics=counts,
            of_sums=correlation,
            bounded=False,
        ),
    }


def _refuse_empty(gold: IntArray) -> None:
    if len(gold) == 0:
        raise DataError("there are no items to evaluate", next_step="Give a file with at least one labelled row")
