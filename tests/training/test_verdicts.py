"""What the one who watches a run asks for is carried out, logged, kept and remembered by a resumed run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from albertine.errors import ConfigError
from albertine.records import Batch
from albertine.tasks.task import LossPart
from albertine.training.config import TrainingConfig
from albertine.training.log import LogPoint, read_log
from albertine.training.loop import TrainingResult, fit
from albertine.training.progress import TrainingProgress
from albertine.training.verdicts import Intervention, Verdict

STEPS, RATE = 24, 0.02
LOWER = Verdict(action="lower", reason="the loss rises", factor=0.5)
BACK = Verdict(action="roll_back", reason="a spike", factor=0.25)


def small() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(5, 7), nn.Dropout(0.1), nn.Tanh(), nn.Linear(7, 3))


def batches(step: int) -> Sequence[Batch]:
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(3, (9,), generator=generator)
    ids = torch.randint(99, (9, 5), generator=generator)
    return [Batch(input_ids=ids, token_type_ids=torch.zeros_like(ids), labels=labels)]


def loss(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
    total = functional.cross_entropy(module(batch.input_ids / 99), batch.labels, reduction="sum")
    return {"classification": LossPart(total=total, weight=total.new_tensor(len(batch)))}


def train(module: nn.Module, folder: Path, **options: object) -> TrainingResult:
    config = TrainingConfig.from_dict(
        {"precision": "fp32", "log_every": 2, "checkpoint_steps": 5, "schedule": "constant", "warmup": 0.0}
    )
    given = {"config": config, "learning_rate": RATE, "total_steps": STEPS, "batches": batches}
    chosen = {**given, **options}
    return fit(module, loss, chosen.pop("batches"), folder=folder, **chosen)


def saying(verdicts: dict[int, Verdict], seen: list[LogPoint] | None = None) -> Callable[[LogPoint], Verdict | None]:
    """A watch that has something to say the first time it meets certain steps."""
    left = dict(verdicts)

    def watch(point: LogPoint) -> Verdict | None:
        if seen is not None:
            seen.append(point)
        return left.pop(point.step, None)

    return watch


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def rates(folder: Path) -> dict[int, float]:
    return {point.step: point.learning_rate / RATE for point in read_log(folder / "log.jsonl")}


def interrupt_after(count: int) -> Callable[[TrainingProgress], None]:
    def callback(progress: TrainingProgress) -> None:
        nonlocal count
        count -= 1
        if count == 0:
            raise KeyboardInterrupt

    return callback


def test_a_watch_that_says_nothing_changes_nothing_and_sees_every_point(tmp_path: Path) -> None:
    watched, alone = small(), small()
    seen: list[LogPoint] = []
    result = train(watched, tmp_path / "watched", watch=saying({}, seen))
    train(alone, tmp_path / "alone")
    assert same(watched, alone)
    assert tuple(seen) == result.curve == read_log(tmp_path / "watched" / "log.jsonl")
    assert all(point.gradient_norm is not None and point.gradient_norm > 0 for point in seen)
    assert all(point.parts == {"classification": pytest.approx(point.loss)} for point in seen)
    assert result.interventions == ()


def test_a_word_without_consequence_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module, alone = small(), small()
    verdict = Verdict(action="continue", reason="the loss is flat")
    result = train(module, tmp_path / "watched", watch=saying({8: verdict}))
    train(alone, tmp_path / "alone")
    assert same(module, alone)
    assert "step 8: the loss is flat" in caplog.text
    assert result.interventions == (
        Intervention(step=8, action="continue", reason="the loss is flat", rate_factor=1.0),
    )


def test_the_rate_is_lowered_from_the_next_step_on_and_factors_multiply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = train(small(), tmp_path, watch=saying({6: LOWER, 14: LOWER}))
    found = rates(tmp_path)
    assert [found[step] for step in (6, 8, 14, 16, 24)] == pytest.approx([1.0, 0.5, 0.5, 0.25, 0.25])
    assert "step 6: the loss rises: the learning rate is lowered to 0.5 of its schedule" in caplog.text
    assert [one.rate_factor for one in result.interventions] == [0.5, 0.25]
    notes = {point.step: point.note for point in result.curve if point.note}
    assert notes.keys() == {8, 16}
    assert "the loss rises" in notes[8]


def test_going_back_takes_weights_moments_and_step_of_the_last_checkpoint_and_a_lower_rate(tmp_path: Path) -> None:
    stepped: list[int] = []

    def noted(step: int) -> Sequence[Batch]:
        stepped.append(step)
        return batches(step)

    module = small()
    result = train(module, tmp_path / "back", watch=saying({12: BACK}), batches=noted)
    assert stepped == [*range(12), *range(10, STEPS)]
    assert result.steps == STEPS
    assert result.examples == STEPS * 9
    assert result.interventions == (
        Intervention(step=12, action="roll_back", reason="a spike", rate_factor=0.25, back_to=10),
    )
    steps = [point.step for point in result.curve]
    assert steps == [2, 4, 6, 8, 10, 12, 12, 14, 16, 18, 20, 22, 24]
    assert [point.learning_rate / RATE for point in result.curve[4:8]] == pytest.approx([1.0, 1.0, 0.25, 0.25])
    assert [point.note is not None for point in result.curve] == [number == 6 for number in range(13)]

    # a run whose rate is lowered at step 10, without any trouble, comes to the same weights
    other = small()
    train(other, tmp_path / "lowered", watch=saying({10: Verdict(action="lower", reason="so", factor=0.25)}))
    assert same(module, other)


def test_before_the_first_checkpoint_the_run_goes_back_to_its_beginning(tmp_path: Path) -> None:
    module, other = small(), small()
    result = train(module, tmp_path / "back", watch=saying({4: BACK}))
    assert result.interventions[0].back_to == 0
    train(other, tmp_path / "other", learning_rate=RATE * 0.25)
    assert same(module, other)


def test_going_back_again_and_again_to_one_step_ends_the_run(tmp_path: Path) -> None:
    result = train(small(), tmp_path, watch=lambda point: BACK if point.step == 12 else None)
    assert result.stopped_early
    assert result.stop_reason == "going back to step 10 3 times did not help: a spike"
    assert [one.back_to for one in result.interventions] == [10] * 4


def test_going_back_to_ever_other_steps_ends_the_run_once_hardly_any_rate_is_left(tmp_path: Path) -> None:
    back = Verdict(action="roll_back", reason="one vector", factor=0.1)
    result = train(small(), tmp_path, watch=saying({4: back, 12: back, 22: back}))
    assert result.stop_reason == "going back 3 times did not help: one vector"
    assert [one.back_to for one in result.interventions] == [0, 10, 20]


def test_a_run_that_is_stopped_says_why_and_stays_stopped(tmp_path: Path) -> None:
    stop = Verdict(action="stop", reason="the loss stays at the unigram entropy: the labels are likely shifted")
    result = train(small(), tmp_path, watch=saying({10: stop}), evaluate=lambda _: {"half": 0.5}, main_metric="half")
    assert (result.steps, result.stopped_early, result.stop_reason) == (10, True, stop.reason)

    def never(step: int) -> Sequence[Batch]:
        raise AssertionError("no batch is needed")

    again = train(
        small(), tmp_path, watch=saying({}), evaluate=lambda _: {"half": 0.5}, main_metric="half", batches=never
    )
    assert (again.steps, again.stop_reason, again.interventions) == (10, stop.reason, result.interventions)


@pytest.mark.parametrize("steps", [7, 15, 17])
def test_a_resumed_run_remembers_what_was_done_to_it_and_what_its_watch_saw(tmp_path: Path, steps: int) -> None:
    def watch() -> Callable[[LogPoint], Verdict | None]:
        return saying({6: LOWER, 14: BACK})

    whole, parts = small(), small()
    expected = train(whole, tmp_path / "whole", watch=watch())
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path / "parts", watch=watch(), progress=interrupt_after(steps))
    result = train(parts, tmp_path / "parts", watch=watch())
    assert same(whole, parts)
    assert result.interventions == expected.interventions
    assert [(p.step, p.loss, p.learning_rate, p.note) for p in result.curve] == [
        (p.step, p.loss, p.learning_rate, p.note) for p in expected.curve
    ]


def test_a_verdict_is_checked() -> None:
    with pytest.raises(ConfigError, match="roll_back"):
        Verdict(action="rollback", reason="so")
    with pytest.raises(ConfigError, match=r"verdict\.factor"):
        Verdict(action="lower", reason="so", factor=0.0)
    with pytest.raises(ConfigError, match="says why"):
        Verdict(action="stop", reason="")
