"""Which slots a step takes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.batching.step_plan import Phase, StepPlan
from albertine.errors import ConfigError


def plan(
    *phases: Phase, tokens: int = 4096, first: int | None = None, ramp: float = 0.0, total_steps: int = 100
) -> StepPlan:
    return StepPlan(
        phases or (Phase(length=128),),
        tokens_per_step=tokens,
        first_tokens_per_step=first,
        ramp=ramp,
        total_steps=total_steps,
    )


TWO = (Phase(length=128, share=0.9), Phase(length=512, share=0.1))


@settings(max_examples=100, deadline=None)
@given(
    total_steps=st.integers(1, 150),
    first=st.integers(512, 5000),
    more=st.integers(0, 9000),
    ramp=st.floats(0, 1),
    share=st.floats(0.05, 0.95),
)
def test_steps_take_slots_one_after_another(total_steps: int, first: int, more: int, ramp: float, share: float) -> None:
    phases = (Phase(length=128, share=share), Phase(length=512, share=1 - share))
    steps = plan(*phases, tokens=first + more, first=first, ramp=ramp, total_steps=total_steps)
    next_slot = {0: 0, 1: 0}
    tokens = 0
    for step in range(total_steps + 5):
        slots = steps.at(step)
        assert slots.length == phases[slots.phase].length
        assert slots.count >= 1
        assert slots.first == next_slot[slots.phase]
        next_slot[slots.phase] += slots.count
        tokens += slots.count * slots.length
    assert first * (total_steps + 5) - 2 * 512 <= tokens <= (first + more) * (total_steps + 5)


def test_a_phase_has_its_share_of_the_steps_and_the_same_tokens() -> None:
    steps = plan(*TWO)
    assert [steps.at(step).length for step in (0, 89, 90, 99, 500)] == [128, 128, 512, 512, 512]
    assert steps.at(50).count == 32
    assert steps.at(95).count == 8
    assert steps.at(90).first == 0


def test_the_batch_grows_on_a_straight_line() -> None:
    steps = plan(tokens=128 * 400, first=128 * 100, ramp=0.6, total_steps=1000)
    counts = [steps.at(step).count for step in range(1000)]
    assert counts[0] == 100
    assert counts[300] in (250, 251)
    assert set(counts[600:]) == {400}
    assert sum(counts[:600]) == 600 * 250
    assert max(abs(counts[i + 1] - counts[i]) for i in range(999)) <= 2


def test_progress_is_that_of_the_middle_of_a_step() -> None:
    steps = plan(total_steps=10)
    assert steps.progress(0) == pytest.approx(0.05)
    assert steps.progress(9) == pytest.approx(0.95)
    assert steps.progress(99) == 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tokens": 100}, "tokens_per_step"),
        ({"first": 5000, "ramp": 0.5}, "not falling"),
        ({"ramp": 1.5}, "ramp"),
        ({"total_steps": 0}, "total_steps"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(**wrong)  # type: ignore[arg-type]


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Received: 0\.95"):
        plan(Phase(length=128, share=0.9), Phase(length=512, share=0.05))


@pytest.mark.parametrize("wrong", [{"length": 7}, {"length": 128, "share": 0.0}, {"length": 128, "share": 1.1}])
def test_phases_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(reversed(wrong))):
        Phase(**wrong)  # type: ignore[arg-type]


def test_a_negative_step_is_refused() -> None:
    with pytest.raises(ConfigError, match="step"):
        plan().at(-1)
