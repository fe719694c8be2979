"""The loop ends where its budget says, the learning rate with it, and it asks of a batch no more than it must."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from albertine.errors import FailureError
from albertine.tasks.task import LossPart
from albertine.training.config import TrainingConfig
from albertine.training.log import LogPoint
from albertine.training.loop import TrainingResult, fit
from albertine.training.progress import TrainingProgress

RATE = 0.01


@dataclass(frozen=True)
class Numbers:
    """A micro-batch of no kind that the loop knows."""

    inputs: Tensor
    tokens: int

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def example_count(self) -> int:
        return len(self)

    @property
    def token_count(self) -> int:
        return self.tokens

    def to(self, device: str | torch.device) -> Numbers:
        return Numbers(self.inputs.to(device), self.tokens)


class Lazy(Sequence[Numbers]):
    """Makes a micro-batch when it is asked for, and remembers which were."""

    def __init__(self, step: int, micro: int) -> None:
        self.step, self.micro = step, micro
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.micro

    def __getitem__(self, place: int) -> Numbers:
        if place >= self.micro:
            raise IndexError(place)
        self.asked.append(place)
        generator = torch.Generator().manual_seed(100 * self.step + place)
        return Numbers(torch.rand(3 + place, 5, generator=generator), tokens=10 + self.step % 3)


def small() -> nn.Module:
    torch.manual_seed(5)
    return nn.Linear(5, 2)


def loss(module: nn.Module, batch: Numbers) -> dict[str, LossPart]:
    found = (module(batch.inputs) - batch.inputs[:, :2] ** 2).square()
    chosen = (batch.inputs[:, 0] > 0.5).float()
    return {
        "all": LossPart(total=found.sum(), weight=found.new_tensor(len(batch))),
        "high": LossPart(total=(found.sum(1) * chosen).sum(), weight=chosen.sum()),
    }


def weigh(batch: Numbers) -> Mapping[str, float]:
    return {"all": float(len(batch)), "high": float((batch.inputs[:, 0] > 0.5).sum())}


def train(module: nn.Module, folder: Path, micro: int = 1, **options: object) -> TrainingResult:
    chosen = dict(options)
    config = TrainingConfig.from_dict({"precision": "fp32", "log_every": 1, **chosen.pop("config", {})})
    given = {"learning_rate": RATE, "total_steps": config.max_steps, **chosen}
    batches: Callable[[int], Sequence[Numbers]] = given.pop("batches", lambda step: Lazy(step, micro))
    return fit(module, loss, batches, config=config, folder=folder, **given)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_budget_in_tokens_ends_the_run_and_the_rate_falls_with_the_tokens_seen(tmp_path: Path) -> None:
    result = train(small(), tmp_path, config={"tokens": 220, "warmup": 0.25})
    assert (result.tokens, result.steps) == (231, 21)
    seen = 0
    for point in result.curve:
        middle = (seen + min(point.tokens, 220)) / 2 / 220
        assert point.learning_rate == pytest.approx(RATE * (middle / 0.25 if middle < 0.25 else (1 - middle) / 0.75))
        seen = point.tokens
    assert result.curve[-1].learning_rate > 0


def test_a_run_in_tokens_ends_at_the_most_steps_it_may_take(tmp_path: Path) -> None:
    result = train(small(), tmp_path, config={"tokens": 220, "max_steps": 7})
    assert result.steps == 7
    assert result.curve[-1].learning_rate < 0.1 * RATE


def test_an_interrupted_run_in_tokens_with_warm_up_in_steps_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.step == 5:
            raise KeyboardInterrupt

    config = {"tokens": 220, "warmup_steps": 4, "cooldown": 0.3, "schedule": "cosine", "optimizer": "lamb"}
    whole, parts = small(), small()
    expected = train(whole, tmp_path / "whole", micro=3, config=config)
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path / "parts", micro=3, config=config, progress=interrupt)
    result = train(parts, tmp_path / "parts", micro=3, config=config)
    assert same(whole, parts)
    assert [point.learning_rate for point in result.curve] == [point.learning_rate for point in expected.curve]


def test_warm_up_in_steps_rises_for_so_many_steps_and_meets_its_schedule(tmp_path: Path) -> None:
    by_steps = train(small(), tmp_path / "steps", config={"max_steps": 20, "warmup_steps": 5}, total_steps=20)
    by_share = train(small(), tmp_path / "share", config={"max_steps": 20, "warmup": 0.25}, total_steps=20)
    rates = [point.learning_rate for point in by_steps.curve]
    assert rates == pytest.approx([point.learning_rate for point in by_share.curve])
    assert rates[:5] == pytest.approx([RATE * (step + 0.5) / 5 for step in range(5)])
    at_once = train(small(), tmp_path / "none", config={"max_steps": 20, "warmup_steps": 0}, total_steps=20)
    assert at_once.curve[0].learning_rate == pytest.approx(RATE * (1 - 0.5 / 20))


@pytest.mark.parametrize("step_seconds", [0.5, 2.0])
def test_a_budget_in_minutes_reaches_its_cool_down_however_fast_the_machine_is(
    tmp_path: Path, step_seconds: float
) -> None:
    now = [0.0]

    def slowly(step: int) -> Sequence[Numbers]:
        now[0] += step_seconds
        return Lazy(step, 1)

    config = {"minutes": 1.0, "schedule": "constant", "cooldown": 0.4, "warmup": 0.0}
    result = train(small(), tmp_path, config=config, batches=slowly, total_steps=None, clock=lambda: now[0])
    rates = [point.learning_rate / RATE for point in result.curve]
    assert len(rates) == 60 / step_seconds
    assert rates[: int(36 / step_seconds)] == [1.0] * int(36 / step_seconds)
    assert rates[-1] == pytest.approx(step_seconds / 24)


@pytest.mark.parametrize("micro", [1, 2, 5])
def test_weights_that_are_known_before_give_the_same_gradients(tmp_path: Path, micro: int) -> None:
    one, other = small(), small()
    found = train(one, tmp_path / "known", micro, config={"max_steps": 9}, weigh=weigh)
    expected = train(other, tmp_path / "found", micro, config={"max_steps": 9})
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
    for left, right in zip(found.curve, expected.curve, strict=True):
        assert left.loss == pytest.approx(right.loss, rel=1e-6)
        assert left.parts == pytest.approx(right.parts, rel=1e-6)


def test_weights_that_are_announced_wrongly_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match=r"all: a part of the loss weighs something else.*Received: 3.*Allowed: 4"):
        train(small(), tmp_path, config={"max_steps": 3}, weigh=lambda batch: {**weigh(batch), "all": 4.0})


def test_the_parts_of_the_loss_are_means_over_what_they_count_since_the_last_point(tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    shown: list[LogPoint] = []
    module = small()
    options = {"progress": told.append, "observers": [shown.append], "learning_rate": 1e-12}
    result = train(module, tmp_path, 2, config={"max_steps": 6, "log_every": 3}, **options)
    assert tuple(shown) == result.curve
    for point, first in zip(result.curve, (0, 3), strict=True):
        with torch.inference_mode():
            parts = [loss(module, batch) for step in range(first, first + 3) for batch in Lazy(step, 2)]
        for name in ("all", "high"):
            total = sum(float(part[name].total) for part in parts)
            assert point.parts[name] == pytest.approx(total / sum(float(part[name].weight) for part in parts), rel=1e-4)
    assert told[1].parts.keys() == {"all", "high"}
    assert f"(all {told[1].parts['all']:.3f}, high {told[1].parts['high']:.3f})" in told[1].describe()


def test_every_micro_batch_is_made_once(tmp_path: Path) -> None:
    made: list[Lazy] = []

    def noted(step: int) -> Lazy:
        made.append(Lazy(step, 4))
        return made[-1]

    train(small(), tmp_path, config={"max_steps": 3}, batches=noted)
    assert [one.asked for one in made] == [[0, 1, 2, 3]] * 3


def test_checkpoints_are_written_every_so_many_steps_or_seconds(tmp_path: Path) -> None:
    def killed(progress: TrainingProgress) -> None:
        if progress.step == 8:
            raise RuntimeError("killed")

    for name, config, reached in (
        ("steps", {"checkpoint_steps": 3}, 6),
        ("seconds", {"checkpoint_seconds": 1e-9}, 7),
    ):
        config = {**config, "max_steps": 9}
        with pytest.raises(RuntimeError, match="killed"):
            train(small(), tmp_path / name, config=config, progress=killed)
        assert train(small(), tmp_path / name, config={"max_steps": 9}).resumed_from == reached
