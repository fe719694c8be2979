"""Fitting the bag of words: sparse TF-IDF rows, logistic regression, C and features chosen on the dev split."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from albertine.models.logistic import LogisticFit, label_quality, logistic_fits
from albertine.models.ngrams import BagOfWordsConfig, Block, block_features
from albertine.records import IntArray

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["Solution", "Tuning", "solve"]

# From strongly to weakly held back; wider grids chose no better on six thousand to fifty thousand texts.
GRID = (1.0, 4.0, 16.0)
UNTUNED = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The development split that chooses."""

    texts: Sequence[str]
    labels: IntArray
    metric: str
    """A key of `classification_metrics`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """What was fitted."""

    config: BagOfWordsConfig
    """With the chosen features and C."""
    blocks: tuple[dict[str, int], ...]
    """The features of every block, each with its index."""
    idf: npt.NDArray[np.float64]
    """[F]"""
    weights: npt.NDArray[np.float64]
    """[F, C]"""
    intercept: npt.NDArray[np.float64]
    """[C]"""
    dev_metric: float | None
    """The metric on the development split; None without one."""
    message: str
    """What was chosen, for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _BlockRows:
    """One block of features with the rows of both splits."""

    block: Block
    vocabulary: dict[str, int]
    idf: npt.NDArray[np.float64]
    train: sparse.csr_matrix
    dev: sparse.csr_matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """One fitted model of the search."""

    quality: tuple[float, float]
    """The metric on the development split and, for ties, the log loss below zero."""
    rows: Sequence[_BlockRows]
    linear: LogisticFit


def solve(
    config: BagOfWordsConfig,
    learnt: Sequence[dict[str, int]],
    texts: Sequence[str],
    labels: IntArray,
    classes: int,
    tuning: Tuning,
    *,
    class_weights: Sequence[float] | None,
    seed: int,
) -> Solution:
    """Fit the linear model; choose C with all features first, then whether one kind of them alone does better.

    Args:
        config: which features there are.
        learnt: for every block the kept features with their document frequencies.
        texts: N training texts.
        labels: [N].
        classes: C.
        tuning: the development split; empty for none.
        class_weights: [C].
        seed: of the solver.
    """
    rows = [
        _rows(block, frequencies, config, texts, tuning.texts)
        for block, frequencies in zip(config.blocks, learnt, strict=True)
    ]
    tuned = len(tuning.labels) > 0
    fixed = config.inverse_regularization
    grid: tuple[float, ...] = (fixed,) if fixed else GRID if tuned else (UNTUNED,)
    fits = list(_fits(rows, grid, labels, classes, tuning, class_weights, seed))
    best = max(fits, key=lambda fit: fit.quality)
    if tuned and len(rows) > 1:
        for one in rows:
            fits += _fits([one], (best.linear.strength,), labels, classes, tuning, class_weights, seed)
        best = max(fits, key=lambda fit: fit.quality)
    return _solution(config, best, tuning)


def _fits(
    rows: Sequence[_BlockRows],
    grid: Sequence[float],
    labels: IntArray,
    classes: int,
    tuning: Tuning,
    class_weights: Sequence[float] | None,
    seed: int,
) -> Iterator[_Fit]:
    """Fit one choice of features for every C, each from where the last one ended."""
    from scipy import sparse  # lazy: heavy

    train = sparse.hstack([one.train for one in rows], format="csr")
    dev = sparse.hstack([one.dev for one in rows], format="csr")
    for fit in logistic_fits(train, labels, classes, grid=grid, class_weights=class_weights, seed=seed):
        quality = (0.0, 0.0)
        if len(tuning.labels):
            quality = label_quality(tuning.labels, dev @ fit.weights + fit.intercept, tuning.metric)
        yield _Fit(quality=quality, rows=rows, linear=fit)


def _solution(config: BagOfWordsConfig, best: _Fit, tuning: Tuning) -> Solution:
    linear, kinds = best.linear, tuple(one.block for one in best.rows)
    chosen = f"{' and '.join(kinds)}, {len(linear.weights):,} features, C = {linear.strength:g}"
    if len(tuning.labels):
        chosen += f", {tuning.metric} {best.quality[0]:.4f} on the development split"
    return Solution(
        config=replace(config, blocks=kinds, inverse_regularization=linear.strength),
        blocks=tuple(one.vocabulary for one in best.rows),
        idf=np.concatenate([one.idf for one in best.rows]),
        weights=linear.weights,
        intercept=linear.intercept,
        dev_metric=best.quality[0] if len(tuning.labels) else None,
        message=chosen,
    )


def _rows(
    block: Block,
    frequencies: dict[str, int],
    config: BagOfWordsConfig,
    texts: Sequence[str],
    dev_texts: Sequence[str],
) -> _BlockRows:
    """Weigh the features of both splits; idf = ln((1 + N) / (1 + df)) + 1, scikit-learn's smoothed form."""
    vocabulary = {feature: index for index, feature in enumerate(frequencies)}
    counts = np.fromiter(frequencies.values(), dtype=np.float64, count=len(frequencies))
    idf = np.log((1.0 + len(texts)) / (1.0 + counts)) + 1.0
    train, dev = (_matrix(part, block, vocabulary, idf, config) for part in (texts, dev_texts))
    return _BlockRows(block=block, vocabulary=vocabulary, idf=idf, train=train, dev=dev)


def _matrix(
    texts: Sequence[str],
    block: Block,
    vocabulary: dict[str, int],
    idf: npt.NDArray[np.float64],
    config: BagOfWordsConfig,
) -> sparse.csr_matrix:
    """[N, F] rows of unit length: (1 + ln tf) idf."""
    from scipy import sparse  # lazy: heavy

    indices, times, starts = array("i"), array("i"), array("q", [0])
    for text in texts:
        counted = Counter(block_features(text, block, config))
        known = [(vocabulary[feature], count) for feature, count in counted.items() if feature in vocabulary]
        indices.extend(index for index, _ in known)
        times.extend(count for _, count in known)
        starts.append(len(indices))
    columns = np.frombuffer(indices, dtype=np.int32) if indices else np.zeros(0, dtype=np.int32)
    counts = np.frombuffer(times, dtype=np.int32) if times else np.zeros(0, dtype=np.int32)
    values = (1.0 + np.log(counts)) * idf[columns]
    pointers = np.frombuffer(starts, dtype=np.int64)
    lengths = np.sqrt(np.add.reduceat(np.append(values**2, 0.0), pointers[:-1])) if len(texts) else np.zeros(0)
    # reduceat gives an empty row the value at its start instead of zero; such a row has nothing to divide
    per_value = np.repeat(lengths, np.diff(pointers))
    return sparse.csr_matrix(
        ((values / per_value).astype(np.float32), columns, pointers), shape=(len(texts), len(vocabulary))
    )
