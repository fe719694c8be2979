"""Whether a model's confidence can be trusted, what makes it so, and from where on it should keep silent.

N items, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from albertine.errors import ConfigError, DataError
from albertine.records import IntArray

__all__ = ["Reliability", "Silence", "auroc", "false_alarms", "fit_temperature", "reliability", "silence_for"]

FloatArray = npt.NDArray[np.floating]

_COLDEST, _HOTTEST = 0.05, 20.0
"""Temperatures beyond are those of a model that is never right or never wrong on the items."""
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How often a model is right at every level of confidence; bins of equal width from 0 to 1."""

    confidence: tuple[float, ...]
    """Mean confidence in every bin; the middle of the bin where it is empty."""
    accuracy: tuple[float, ...]
    """Share of right answers in every bin; 0 where it is empty."""
    counts: tuple[int, ...]
    """Items in every bin."""
    error: float
    """Expected calibration error: the mean distance of the two, by items (Guo et al. 2017, equation 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """From where on a model should answer so that its answers are as good as wanted."""

    below: float
    """Confidence below which it keeps silent."""
    coverage: float
    """Share of the items that it still answers."""
    error: float
    """Share of wrong answers among them."""


def fit_temperature(logits: FloatArray, gold: IntArray) -> float:
    """Return what logits are to be divided by so that their softmax is as probable as can be (Guo et al. 2017, 4.2).

    The order of the classes stays, and with it every label that is answered. The mean negative logarithm of the gold
    label's probability has a single minimum along the temperature, which is found to four digits.

    Args:
        logits: [N, C] of items that the model did not learn from.
        gold: [N] their labels.

    Raises:
        DataError: there are no items.
    """
    if not len(gold):
        raise DataError("there are no items to fit a temperature on", next_step="Give development data")
    exact = logits.astype(np.float64)
    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = _loss(exact, gold, left), _loss(exact, gold, right)
    while high - low > 1e-4:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = _loss(exact, gold, left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = _loss(exact, gold, right)
    return math.exp((low + high) / 2)


def reliability(confidence: FloatArray, right: IntArray, *, bins: int = 15) -> Reliability:
    """Return how often answers are right at every level of confidence.

    Args:
        confidence: [N] probability of the answer.
        right: [N] 1 where it is right, 0 where it is not.
        bins: how many; a bin contains its upper edge.

    Raises:
        DataError: there are no items.
    """
    if not len(confidence):
        raise DataError("there are no items to measure calibration on", next_step="Give a file with labelled rows")
    exact = confidence.astype(np.float64)
    place = np.clip(np.ceil(exact * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    sums, hits = (np.bincount(place, weights=one, minlength=bins) for one in (exact, right.astype(np.float64)))
    filled = counts > 0
    middles = (np.arange(bins) + 0.5) / bins
    return Reliability(
        confidence=tuple(np.divide(sums, counts, out=middles, where=filled).tolist()),
        accuracy=tuple(np.divide(hits, counts, out=np.zeros(bins), where=filled).tolist()),
        counts=tuple(counts.tolist()),
        error=float(np.abs(sums - hits).sum() / len(exact)),
    )


def silence_for(confidence: FloatArray, right: IntArray, *, max_error: float) -> Silence | None:
    """Return the lowest confidence from which on at most a share of `max_error` of the answers is wrong.

    Args:
        confidence: [N] probability of the answer.
        right: [N] 1 where it is right, 0 where it is not.
        max_error: the share that may be wrong.

    Returns:
        None where no part of the items, however confident, is answered that well.

    Raises:
        ConfigError: no share.
    """
    if not 0 <= max_error < 1:
        raise ConfigError("not a share", where="max_error", received=max_error, allowed="from 0 to below 1")
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order].astype(np.float64)
    errors = np.cumsum(1 - right[order]) / np.arange(1, len(order) + 1)
    # items of equal confidence are answered together or not at all
    ends = np.flatnonzero(np.diff(sorted_confidence, append=-1.0) < 0)
    good = ends[errors[ends] <= max_error]
    if not len(good):
        return None
    last = int(good[-1])
    return Silence(below=float(sorted_confidence[last]), coverage=(last + 1) / len(order), error=float(errors[last]))


def auroc(known: FloatArray, strange: FloatArray) -> float:
    """Return the chance that an item of a known kind gets a higher score than a strange one, ties counted half.

    Args:
        known: scores of items that the model should answer.
        strange: of items that it should not.

    Raises:
        DataError: one of the two is empty.
    """
    if not len(known) or not len(strange):
        raise DataError("both kinds of items are needed", received=f"{len(known)} known, {len(strange)} strange")
    ranked = np.sort(strange)
    below = np.searchsorted(ranked, known, side="left") + np.searchsorted(ranked, known, side="right")
    return float(below.mean() / 2 / len(strange))


def false_alarms(known: FloatArray, strange: FloatArray, *, kept: float = 0.95) -> float:
    """Return the share of strange items that pass where a share of `kept` of the known ones does.

    Args:
        known: scores of items that the model should answer.
        strange: of items that it should not.
        kept: share of the known ones to be answered.

    Raises:
        DataError: one of the two is empty.
    """
    if not len(known) or not len(strange):
        raise DataError("both kinds of items are needed", received=f"{len(known)} known, {len(strange)} strange")
    threshold = np.sort(known)[::-1][max(0, math.ceil(kept * len(known)) - 1)]
    return float(np.mean(strange >= threshold))


def _loss(logits: FloatArray, gold: IntArray, log_temperature: float) -> float:
    scaled = logits / math.exp(log_temperature)
    highest = scaled.max(axis=1)
    totals = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
    return float((totals - scaled[np.arange(len(gold)), gold]).mean())
