"""Texts without a label against texts with one, by the model's confidence."""

from __future__ import annotations

import numpy as np
import pytest

from albertine.evaluation.out_of_scope import out_of_scope_metrics


def test_a_model_that_is_surer_of_what_it_knows_tells_all_apart() -> None:
    metrics = out_of_scope_metrics(np.linspace(0.7, 1.0, 37), np.linspace(0.1, 0.6, 13), threshold=0.65)
    assert metrics == {"out_of_scope_auroc": 1.0, "out_of_scope_fpr95": 0.0, "out_of_scope_noticed": 1.0}


def test_the_area_is_the_chance_that_a_known_text_scores_higher() -> None:
    generator = np.random.default_rng(3)
    known, foreign = generator.integers(3, 10, 41) / 10, generator.integers(0, 8, 23) / 10
    pairs = [(a > b) + 0.5 * (a == b) for a in known for b in foreign]
    metrics = out_of_scope_metrics(known, foreign, threshold=None)
    assert metrics["out_of_scope_auroc"] == pytest.approx(np.mean(pairs))
    assert "out_of_scope_noticed" not in metrics


def test_answered_foreign_texts_are_counted_where_95_percent_of_the_known_are_answered() -> None:
    known = np.arange(1, 101) / 100  # the bound is 0.06: 95 of these lie on it or above
    foreign = np.array([0.01, 0.05, 0.06, 0.5])
    metrics = out_of_scope_metrics(known, foreign, threshold=0.5)
    assert metrics["out_of_scope_fpr95"] == 0.5
    assert metrics["out_of_scope_noticed"] == 0.75
