"""The learning rate is a function of progress, and what is due a function of the budget."""

from __future__ import annotations

import itertools

import pytest

from albertine.errors import ConfigError
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


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_a_cool_down_falls_on_a_straight_line_to_zero_from_where_the_schedule_has_it(schedule: str) -> None:
    def rate(progress: float) -> float:
        return learning_rate_factor(progress, warmup=0.1, schedule=schedule, cooldown=0.2)

    begun = learning_rate_factor(0.8, warmup=0.1, schedule=schedule)
    assert rate(0.8) == begun > 0
    assert rate(0.85) == pytest.approx(0.75 * begun)
    assert rate(0.95) == pytest.approx(0.25 * begun)
    assert rate(1.0) == 0.0
    assert rate(0.5) == learning_rate_factor(0.5, warmup=0.1, schedule=schedule)


def test_warm_up_and_cool_down_may_share_the_whole_run() -> None:
    rates = [learning_rate_factor(n / 10, warmup=0.3, schedule="constant", cooldown=0.7) for n in range(11)]
    assert rates[3] == max(rates) == 1.0
    assert rates[10] == 0.0


def test_a_budget_in_tokens_is_used_by_tokens_and_the_rate_goes_by_the_middle_of_a_step() -> None:
    budget = Budget.of(TrainingConfig(tokens=1300, evaluations=7), None)
    assert budget.progress(99, 1e9, 650) == 0.5
    assert budget.progress(0, 0.0, 1301) == 1.0
    assert budget.rate_progress(3, 0.0, 600, 100) == 0.5
    assert budget.rate_progress(3, 0.0, 1200, 300) == 1250 / 1300
    assert budget.evaluations_due(3, 0.0, 1299) == 6
    assert budget.evaluations_due(3, 0.0, 1300) == 7


def test_tokens_and_steps_bound_a_run_whichever_ends_first() -> None:
    budget = Budget.of(TrainingConfig(tokens=1000, max_steps=10), 10)
    assert budget.progress(3, 0.0, 800) == 0.8
    assert budget.progress(9, 0.0, 800) == 0.9


def test_a_warm_up_as_long_as_the_run_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"warmup_steps.*13.*below 13"):
        Budget.of(TrainingConfig(warmup_steps=13), 13)
    assert Budget.of(TrainingConfig(warmup_steps=12), 13).steps == 13
