"""Confidence: what fits it, how far off it is, and from where on to keep silent."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from albertine.errors import ConfigError, DataError
from albertine.evaluation.calibration import auroc, false_alarms, fit_temperature, reliability, silence_for
from albertine.evaluation.metrics import expected_calibration_error


def honest(items: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, and labels drawn by their softmax: a model whose confidence is right."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (items, 3))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return logits.astype(np.float32), (shares.cumsum(axis=1) > generator.random((items, 1))).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_used_is_found_again(temperature: float) -> None:
    logits, gold = honest(20_000)
    assert fit_temperature(logits * temperature, gold) == pytest.approx(temperature, rel=0.05)


def test_a_fitted_temperature_makes_confidence_honest() -> None:
    logits, gold = honest(5_000)
    found = fit_temperature(logits * 3, gold)

    def error(scale: float) -> float:
        powers = np.exp(logits * 3 / scale - (logits * 3 / scale).max(axis=1, keepdims=True))
        return expected_calibration_error(gold, powers / powers.sum(axis=1, keepdims=True))

    assert error(found) < 0.03 < 0.1 < error(1.0)


def test_a_model_that_is_never_wrong_gets_a_finite_temperature() -> None:
    gold = np.array([0, 1, 2, 0])
    assert fit_temperature(np.eye(3, dtype=np.float32)[gold], gold) == pytest.approx(0.05, rel=0.01)
    with pytest.raises(DataError, match="no items"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int))


def test_reliability_is_that_of_the_calibration_error() -> None:
    logits, gold = honest(700)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = reliability(shares.max(axis=1), (shares.argmax(axis=1) == gold).astype(int))
    assert found.error == pytest.approx(expected_calibration_error(gold, shares))
    assert sum(found.counts) == 700
    assert found.counts[0] == 0
    by_hand = sum(
        count * abs(one - other)
        for one, other, count in zip(found.confidence, found.accuracy, found.counts, strict=True)
    )
    assert by_hand / 700 == pytest.approx(found.error)


def test_silence_is_kept_below_the_confidence_that_is_good_enough() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([1, 1, 0, 1, 0])
    found = silence_for(confidence, right, max_error=0.25)
    assert found is not None
    assert (found.below, found.coverage, found.error) == (0.6, 0.8, 0.25)
    strict = silence_for(confidence, right, max_error=0.0)
    assert strict is not None
    assert (strict.below, strict.coverage) == (0.8, 0.4)
    assert silence_for(confidence, 1 - right, max_error=0.0) is None
    with pytest.raises(ConfigError, match="max_error"):
        silence_for(confidence, right, max_error=1.0)


def test_items_of_equal_confidence_are_answered_together_or_not_at_all() -> None:
    found = silence_for(np.array([0.9, 0.5, 0.5, 0.5]), np.array([1, 1, 1, 0]), max_error=0.1)
    assert found is not None
    assert (found.below, found.coverage) == (0.9, 0.25)


def test_strange_items_are_told_by_their_scores() -> None:
    generator = np.random.default_rng(1)
    known, strange = generator.normal(1, 1, 300).round(1), generator.normal(0, 1, 200).round(1)
    expected = roc_auc_score([1] * 300 + [0] * 200, np.concatenate([known, strange]))
    assert auroc(known, strange) == pytest.approx(expected)
    assert false_alarms(np.arange(100.0), np.array([4.0, 5.0, 99.0, -1.0])) == 0.5
    with pytest.raises(DataError, match="both kinds"):
        auroc(known, strange[:0])
