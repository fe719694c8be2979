"""The learning rate is a function of progress, and what is due a function of the budget."""

from __future__ import annotations

import itertools

import pytest

from albertine.training.config import TrainingConfig
from albertine.training.schedule import Budget, learning_rate_factor


@pytest.mark.parametrize(
    ("progress", "schedule", "factor"),
    [
        (0.0, "linear", 0.0),
        (0.05, "linear", 0.5),
        (0.1, "linear", 1.0),
        (0.55, "linear", 0.5),
        (1.0, "linear", 0.0),
        (1.3, "linear", 0.0),
        (0.55, "cosine", 0.5),
        (1.0, "cosine", 0.0),
        (0.05, "constant", 0.5),
        (0.99, "constant", 1.0),
    ],
)
def test_the_rate_rises_and_falls_as_its_schedule_says(progress: float, schedule: str, factor: float) -> None:
    assert learning_rate_factor(progress, warmup=0.1, schedule=schedule) == pytest.approx(factor)


def test_without_warm_up_the_first_step_has_the_highest_rate() -> None:
    assert learning_rate_factor(0.0, warmup=0.0, schedule="linear") == 1.0


def test_neither_the_first_nor_the_last_step_has_a_rate_of_zero() -> None:
    budget = Budget.of(TrainingConfig(), 13)
    rates = [learning_rate_factor(budget.rate_progress(step, 0.0), warmup=0.1, schedule="linear") for step in range(13)]
    assert min(rates) > 0


@pytest.mark.parametrize("total", [1, 3, 7, 13, 99, 1000])
def test_evaluations_are_spread_over_the_run_and_the_last_one_is_at_its_end(total: int) -> None:
    budget = Budget.of(TrainingConfig(evaluations=7), total)
    due = [budget.evaluations_due(step, 0.0) for step in range(total + 1)]
    assert due[0] == 0
    assert due[-1] == 7
    assert due == sorted(due)
    if total >= 7:
        assert max(later - earlier for earlier, later in itertools.pairwise(due)) == 1


def test_a_fixed_distance_between_evaluations_and_points_is_kept() -> None:
    budget = Budget.of(TrainingConfig(evaluate_every=5, log_every=2), 13)
    assert [budget.evaluations_due(step, 0.0) for step in (4, 5, 9, 10, 13)] == [0, 1, 1, 2, 2]
    assert [budget.logs_due(step, 0.0) for step in (1, 2, 13)] == [0, 1, 6]


def test_time_and_steps_bound_a_run_whichever_ends_first() -> None:
    budget = Budget.of(TrainingConfig(minutes=2, max_steps=100), 100)
    assert budget.progress(10, 60.0) == 0.5
    assert budget.progress(80, 60.0) == 0.8
    assert budget.progress(10, 500.0) == 1.0
