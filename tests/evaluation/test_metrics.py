from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from albertine.errors import DataError
from albertine.evaluation.metrics import (
    accuracy,
    brier_score,
    classification_metrics,
    confusion_matrix,
    expected_calibration_error,
    f1_per_class,
    log_loss,
    macro_f1,
    matthews,
)

CASES = {
    "all classes": ([0, 1, 2, 2, 1, 0, 2], [0, 2, 2, 1, 1, 0, 0]),
    "a class absent from gold": ([0, 0, 1, 1, 0], [0, 2, 1, 2, 0]),
    "a class absent from predictions": ([0, 1, 2, 1, 2], [0, 1, 1, 1, 0]),
    "gold one-sided": ([1, 1, 1, 1], [1, 0, 1, 2]),
    "predictions one-sided": ([0, 1, 2, 1], [1, 1, 1, 1]),
    "both one-sided and different": ([0, 0, 0], [1, 1, 1]),
    "both one-sided and equal": ([2, 2, 2], [2, 2, 2]),
    "one item": ([1], [1]),
}


def some_probabilities(items: int, classes: int) -> npt.NDArray[np.float32]:
    generator = np.random.default_rng(13)
    return generator.dirichlet(np.ones(classes), size=items).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_metrics_agree_with_scikit_learn(case: str) -> None:
    gold, predicted = (np.array(values) for values in CASES[case])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of absent classes, which is the point here
        expected_f1 = reference.f1_score(gold, predicted, average="macro")
        expected_matthews = reference.matthews_corrcoef(gold, predicted)
        expected_confusion = reference.confusion_matrix(gold, predicted, labels=range(3))
    assert accuracy(gold, predicted) == pytest.approx(reference.accuracy_score(gold, predicted))
    assert macro_f1(gold, predicted) == pytest.approx(expected_f1)
    assert matthews(confusion_matrix(gold, predicted, 3)) == pytest.approx(expected_matthews)
    np.testing.assert_array_equal(confusion_matrix(gold, predicted, 3), expected_confusion)


@given(
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_macro_f1_and_matthews_agree_with_scikit_learn_on_any_labels(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = np.array(pairs).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert macro_f1(gold, predicted) == pytest.approx(reference.f1_score(gold, predicted, average="macro"))
        assert matthews(confusion_matrix(gold, predicted, 5)) == pytest.approx(
            reference.matthews_corrcoef(gold, predicted)
        )


def test_probability_metrics_agree_with_scikit_learn() -> None:
    probabilities = some_probabilities(99, 4)
    gold = np.random.default_rng(7).integers(0, 4, 99)
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert log_loss(gold, exact) == pytest.approx(reference.log_loss(gold, exact, labels=range(4)))
    assert brier_score(gold, exact) == pytest.approx(
        reference.brier_score_loss(gold, exact, labels=list(range(4)), scale_by_half=False)
    )


def test_one_certain_mistake_leaves_the_log_loss_finite() -> None:
    assert log_loss(np.array([1, 0]), np.array([[1.0, 0.0], [1.0, 0.0]])) == pytest.approx(18.02, abs=0.01)


def test_brier_score_does_not_change_the_probabilities_it_is_given() -> None:
    probabilities = some_probabilities(5, 3).astype(np.float64)
    before = probabilities.copy()
    brier_score(np.array([0, 1, 2, 0, 1]), probabilities)
    np.testing.assert_array_equal(probabilities, before)


def test_calibration_error_of_a_hand_computed_case() -> None:
    # Two bins of width a half are used: (0.5, 1] holds all; mean confidence 0.75, half of it right.
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    gold = np.array([0, 1, 1, 0])
    assert expected_calibration_error(gold, probabilities, bins=2) == pytest.approx(0.25)


def test_calibration_error_is_zero_for_certain_right_answers_and_one_for_certain_wrong_ones() -> None:
    certain = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert expected_calibration_error(np.array([0, 1]), certain) == 0.0
    assert expected_calibration_error(np.array([1, 0]), certain) == 1.0


def test_a_class_nobody_mentions_has_no_f1_and_does_not_lower_the_mean() -> None:
    gold = predicted = np.array([0, 0, 2])
    f1 = f1_per_class(confusion_matrix(gold, predicted, 3))
    np.testing.assert_array_equal(f1, [1.0, np.nan, 1.0])
    found = classification_metrics(gold, predicted, some_probabilities(3, 3), ("好", "unused", "坏"))
    assert found["macro_f1"] == 1.0
    assert "f1/unused" not in found
    assert found["f1/好"] == found["f1/坏"] == 1.0


def test_every_metric_is_a_plain_finite_float() -> None:
    gold = np.random.default_rng(1).integers(0, 3, 13)
    found = classification_metrics(gold, np.roll(gold, 1), some_probabilities(13, 3), ("a", "b", "c"))
    assert set(found) == {"accuracy", "macro_f1", "matthews", "log_loss", "brier", "ece", "f1/a", "f1/b", "f1/c"}
    assert all(type(value) is float and np.isfinite(value) for value in found.values())


def test_nothing_to_evaluate_is_said_so() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    with pytest.raises(DataError, match="no items"):
        classification_metrics(nothing, nothing, np.zeros((0, 2)), ("a", "b"))
