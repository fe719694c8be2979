"""Regularised logistic regression over rows of features, for one strength after another, and how good each is.

N rows, F features, C classes. scikit-learn is needed to fit, and for nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from albertine.errors import DataError
from albertine.evaluation.metrics import classification_metrics
from albertine.records import IntArray

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["FloatArray", "LogisticFit", "label_quality", "logistic_fits", "refuse_one_label", "shares_of"]

FloatArray = npt.NDArray[np.floating]

MAX_ITERATIONS = 200
TOLERANCE = 1e-4
# The intercept of a class that no training text has: a probability of about 1e-13.
ABSENT = -30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogisticFit:
    """A fitted linear model: its logits are rows @ weights + intercept."""

    strength: float
    """C, the inverse of the regularisation."""
    weights: npt.NDArray[np.float64]
    """[F, C]; of two classes one side is all zeros."""
    intercept: npt.NDArray[np.float64]
    """[C]"""


def refuse_one_label(labels: Sequence[int] | IntArray) -> None:
    """Make sure that there is something to tell apart.

    Raises:
        DataError: fewer than two classes among the training labels.
    """
    if len(set(labels)) < 2:
        raise DataError(
            "the training split has only one label",
            received=f"{len(labels):,} texts",
            allowed="two or more labels",
            next_step="Check the label column, or give more data",
        )


def logistic_fits(
    rows: sparse.csr_matrix | FloatArray,
    labels: IntArray,
    classes: int,
    *,
    grid: Sequence[float],
    class_weights: Sequence[float] | None,
    seed: int,
) -> Iterator[LogisticFit]:
    """Fit multinomial logistic regression for every C, each from where the last one ended.

    Args:
        rows: [N, F].
        labels: [N], at least two different ones.
        classes: C; some of them may not occur.
        grid: the values of C.
        class_weights: [C] the weight of every class in the loss.
        seed: where the solver starts; the problem is convex, so that seeds agree up to its tolerance.
    """
    from sklearn.exceptions import ConvergenceWarning  # lazy: heavy
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    weighting = None if class_weights is None else {label: class_weights[label] for label in present.tolist()}
    solver = LogisticRegression(
        max_iter=MAX_ITERATIONS, tol=TOLERANCE, warm_start=True, class_weight=weighting, random_state=seed
    )
    columns = present[1:] if len(present) == 2 else present
    for strength in grid:
        solver.set_params(C=strength)
        with warnings.catch_warnings():
            # The search stops well before the last digit; what it reached is measured on the development split.
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver.fit(rows, labels)
        weights = np.zeros((rows.shape[1], classes))
        intercept = np.full(classes, ABSENT)
        intercept[present] = 0.0
        weights[:, columns] = solver.coef_.T
        intercept[columns] = solver.intercept_
        yield LogisticFit(strength=strength, weights=weights, intercept=intercept)


def shares_of(logits: FloatArray) -> npt.NDArray[np.float64]:
    """Return the probability of every class, [N, C] float64."""
    unscaled = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf))
    shares: npt.NDArray[np.float64] = unscaled / unscaled.sum(axis=1, keepdims=True)
    return shares


def label_quality(gold: IntArray, logits: FloatArray, metric: str) -> tuple[float, float]:
    """Return a metric of `classification_metrics` and, for ties, the log loss below zero.

    Args:
        gold: [N].
        logits: [N, C].
        metric: its key.
    """
    shares = shares_of(logits)
    names = [str(index) for index in range(logits.shape[1])]
    measured = classification_metrics(gold, shares.argmax(axis=1), shares, names)
    return measured[metric], -measured["log_loss"]
