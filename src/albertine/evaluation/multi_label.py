"""Metrics where any number of labels applies to an item, pure functions of arrays.

N items, C labels. Answers are [N, C] of zeros and ones, the evidence [N, 2C]: first those of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from albertine.errors import DataError
from albertine.evaluation.metrics import FloatArray, Metric
from albertine.records import IntArray

__all__ = ["best_thresholds", "label_rankings", "multi_label_metrics"]


def multi_label_metrics(gold: IntArray, predicted: IntArray, labels: Sequence[str]) -> dict[str, float]:
    """Return every metric.

    Args:
        gold: [N, C] labels in the data.
        predicted: [N, C] predicted ones.
        labels: the C names.

    Returns:
        micro_f1 (over all decisions), macro_f1 (the mean over the labels that occur in the data or the predictions),
        exact_match (the share of items with all labels right), hamming_loss (the share of wrong decisions) and, for
        every label that occurs, `f1/LABEL`.

    Raises:
        DataError: there are no items.
    """
    if not len(gold):
        raise DataError("there are no items to evaluate", next_step="Give a file with at least one labelled row")
    evidence = np.concatenate([gold, predicted], axis=1).astype(np.float64)
    ranked = {name: metric.of(evidence) for name, metric in label_rankings(len(labels)).items()}
    right, present = (gold * predicted).sum(axis=0), gold.sum(axis=0) + predicted.sum(axis=0)
    single = {
        f"f1/{label}": float(2 * hits / total)
        for label, hits, total in zip(labels, right, present, strict=True)
        if total
    }
    return {**ranked, "hamming_loss": float(np.mean(gold != predicted)), **single}


def label_rankings(classes: int) -> dict[str, Metric]:
    """Return the metrics by which candidates can be ranked, by their key in `multi_label_metrics`.

    Args:
        classes: C, how many labels there are.
    """

    def statistics(evidence: FloatArray) -> FloatArray:
        """Return [N, 3C+2]: hits, gold and predicted ones of every label, whether all are right, and one."""
        gold, predicted = evidence[:, :classes], evidence[:, classes:]
        exact = (gold == predicted).all(axis=1, keepdims=True)
        return np.concatenate([gold * predicted, gold, predicted, exact, np.ones((len(gold), 1))], axis=1)

    def micro(sums: FloatArray) -> FloatArray:
        parts = [sums[:, part * classes : (part + 1) * classes].sum(axis=1) for part in range(3)]
        present = parts[1] + parts[2]
        f1: FloatArray = np.divide(2 * parts[0], present, out=np.zeros(len(sums)), where=present > 0)
        return f1

    def macro(sums: FloatArray) -> FloatArray:
        present = (sums[:, classes : 2 * classes] + sums[:, 2 * classes : 3 * classes]).astype(np.float64)
        f1 = np.divide(2 * sums[:, :classes], present, out=np.zeros(present.shape), where=present > 0)
        mean: FloatArray = f1.sum(axis=1) / np.maximum((present > 0).sum(axis=1), 1)
        return mean

    def exact(sums: FloatArray) -> FloatArray:
        share: FloatArray = sums[:, -2] / sums[:, -1]
        return share

    def metric(name: str, of_sums: Callable[[FloatArray], FloatArray]) -> Metric:
        return Metric(
            name=name,
            of=lambda evidence: float(of_sums(statistics(evidence).sum(axis=0, keepdims=True))[0]),
            statistics=statistics,
            of_sums=of_sums,
        )

    return {
        name: metric(name, of_sums)
        for name, of_sums in (("micro_f1", micro), ("macro_f1", macro), ("exact_match", exact))
    }


def best_thresholds(gold: IntArray, probabilities: FloatArray) -> tuple[float, ...]:
    """Return, for every label, the probability from which on saying it gives the best F1 on these items.

    It lies halfway between two probabilities that occur; among equally good ones the one nearest to 0.5, and 0.5 for
    a label that no item has.

    Args:
        gold: [N, C] labels in the data.
        probabilities: [N, C].
    """
    return tuple(_best(gold[:, column], probabilities[:, column]) for column in range(gold.shape[1]))


def _best(gold: IntArray, probabilities: FloatArray) -> float:
    if not gold.any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    sorted_probabilities = probabilities[order].astype(np.float64)
    hits = np.cumsum(gold[order])
    f1 = 2 * hits / (np.arange(1, len(gold) + 1) + gold.sum())
    # items of equal probability fall on one side of a threshold together
    cuts = np.flatnonzero(np.diff(sorted_probabilities, append=-1.0) < 0)
    following = np.append(sorted_probabilities[1:], 0.0)[cuts]
    thresholds = (sorted_probabilities[cuts] + following) / 2
    best = np.flatnonzero(f1[cuts] >= f1[cuts].max() - 1e-12)
    return float(thresholds[best[np.abs(thresholds[best] - 0.5).argmin()]])
