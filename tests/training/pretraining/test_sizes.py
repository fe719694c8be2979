"""How a budget becomes steps: a pure function of budget, speed and corpus."""

from __future__ import annotations

import pytest

import albertine as al
from albertine.batching.step_plan import Phase, StepPlan
from albertine.errors import ConfigError
from albertine.training.pretraining.choices import default_tokens_per_step
from albertine.training.pretraining.plan import RunSize, run_size
from albertine.training.pretraining.speed import StepCost

PHASES = (Phase(length=128, share=0.9), Phase(length=512, share=0.1))
COST = StepCost(seconds_per_token=(1e-3, 2e-3), seconds_per_update=0.5, memory_bytes=1)
FILLS = (0.8, 0.6)
FILL = 0.9 * 0.8 + 0.1 * 0.6
PER_TOKEN = 0.9 * 1e-3 + 0.1 * 2e-3
CORPUS = 400_000


def size_of(*, processes: int = 1, config: dict[str, object] | None = None, **budget: object) -> RunSize:
    return run_size(
        al.PretrainingConfig(**{"phases": PHASES, "tokens_per_step": 10_000, **(config or {})}),
        al.pretraining_defaults(**budget),
        cost=COST,
        fills=FILLS,
        corpus_tokens=CORPUS,
        processes=processes,
    )


def test_a_budget_in_tokens_is_counted_in_real_ones() -> None:
    size = size_of(tokens=1_000_000)
    assert size.tokens_per_step == 10_000
    assert size.total_steps == 129  # of 7,800 real tokens
    assert size.tokens == 129 * 7800
    assert size.seconds == pytest.approx(129 * 7800 * PER_TOKEN + 129 * 0.5)


def test_a_budget_in_epochs_is_one_in_tokens_of_the_corpus() -> None:
    assert size_of(epochs=2.5) == size_of(tokens=1_000_000)


@pytest.mark.parametrize(("processes", "steps"), [(1, 66), (2, 125), (4, 227)])
def test_a_budget_in_minutes_is_used_up_by_steps_and_updates(processes: int, steps: int) -> None:
    size = size_of(minutes=10, processes=processes)
    assert size.total_steps == steps
    assert size.seconds == pytest.approx(600, rel=0.02)


def test_a_budget_in_steps_bounds_every_other() -> None:
    assert size_of(max_steps=50).total_steps == 50
    assert size_of(max_steps=50).tokens == 50 * 7800
    assert size_of(tokens=1_000_000, max_steps=50).total_steps == 50
    assert size_of(tokens=1_000_000, max_steps=500).total_steps == 129
    assert size_of(minutes=10, max_steps=50).total_steps == 50


@pytest.mark.parametrize("ramp", [0.25, 0.5, 1.0])
def test_a_batch_that_grows_means_more_steps_of_the_same_budget(ramp: float) -> None:
    config = {"first_tokens_per_step": 2000, "ramp": ramp}
    size = size_of(tokens=10_000_000, config=config)
    assert size.total_steps > size_of(tokens=10_000_000).total_steps
    assert size.tokens == pytest.approx(10_000_000, rel=0.01)
    plan = StepPlan(PHASES, tokens_per_step=10_000, first_tokens_per_step=2000, ramp=ramp, total_steps=size.total_steps)
    steps = [plan.at(step) for step in range(size.total_steps)]
    assert sum(one.count * one.length for one in steps) * FILL == pytest.approx(size.tokens, rel=0.01)


@pytest.mark.parametrize(("tokens", "held_out"), [(100_000, 16_384), (10_000_000, 50_000), (1_000_000_000, 131_072)])
def test_an_evaluation_reads_a_little_of_the_budget_within_bounds(tokens: int, held_out: int) -> None:
    assert size_of(tokens=tokens).held_out_tokens == pytest.approx(held_out, rel=0.01)
    assert size_of(tokens=tokens, config={"held_out_tokens": 777}).held_out_tokens == 777


@pytest.mark.parametrize("budget", [30e6, 100e6, 250e6, 600e6])
def test_steps_are_chosen_so_that_a_run_has_some_thousand(budget: float) -> None:
    tokens = default_tokens_per_step(budget, longest=512)
    assert tokens & (tokens - 1) == 0
    assert 3000 <= budget / tokens <= 9000


def test_chosen_steps_stay_within_bounds() -> None:
    assert default_tokens_per_step(1000, longest=32) == 4096
    assert default_tokens_per_step(1000, longest=1024) == 8192
    assert default_tokens_per_step(1e12, longest=512) == 131_072
    chosen = [default_tokens_per_step(2.0**power, longest=128) for power in range(10, 45)]
    assert chosen == sorted(chosen)


def test_a_run_without_steps_that_were_asked_for_gets_those_that_suit_it() -> None:
    size = size_of(tokens=100_000_000, config={"tokens_per_step": None})
    assert size.tokens_per_step == default_tokens_per_step(100_000_000, longest=512)
    assert size_of(max_steps=7, config={"tokens_per_step": None}).tokens_per_step == 4096


def test_a_run_needs_an_end_and_is_told_the_four_ways() -> None:
    with pytest.raises(ConfigError) as refused:
        size_of()
    for option in ("--tokens", "--minutes", "--epochs", "--max-steps"):
        assert option in str(refused.value)


def test_examples_are_no_budget_here() -> None:
    with pytest.raises(ConfigError, match=r"tokens, not examples.*--tokens"):
        size_of(examples=1000)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("objective", "masked-word"),
        ("pair", "sob"),
        ("tokens_per_step", 0),
        ("tokens_per_micro_batch", 2.5),
        ("held_out_tokens", True),
        ("short_share", 1.5),
        ("phases", ()),
    ],
)
def test_a_field_out_of_range_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        al.PretrainingConfig(**{field: value})


def test_training_defaults_are_those_of_pretraining_and_may_be_changed() -> None:
    chosen = al.pretraining_defaults(tokens=1000, beta2=0.95)
    assert (chosen.beta2, chosen.epsilon, chosen.warmup, chosen.evaluations) == (0.95, 1e-6, 0.06, 20)
    with pytest.raises(ConfigError, match="beta_2"):
        al.pretraining_defaults(beta_2=0.9)
