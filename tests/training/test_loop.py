"""The loop: resumed runs equal uninterrupted ones, and what goes wrong is survived or said."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from albertine.errors import ConfigError, FailureError
from albertine.records import Batch
from albertine.tasks.task import LossPart
from albertine.training import checkpointing
from albertine.training.config import TrainingConfig
from albertine.training.log import read_log
from albertine.training.loop import TrainingResult, fit
from albertine.training.progress import TrainingProgress

VOCABULARY, CLASSES, STEPS = 23, 3, 13


class Small(nn.Module):
    """Embedding, dropout, two linear layers; logits of every text from the mean of its tokens."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 9)
        self.inner = nn.Linear(9, 9)
        self.norm = nn.LayerNorm(9)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(9, CLASSES)

    def forward(self, batch: Batch) -> Tensor:
        vectors = self.dropout(self.embedding(batch.input_ids).mean(dim=1))
        return self.outer(self.dropout(torch.relu(self.norm(self.inner(vectors)))))


def small(dropout: float = 0.2) -> Small:
    torch.manual_seed(5)
    return Small(dropout)


def loss(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
    assert batch.labels is not None
    total = functional.cross_entropy(module(batch), batch.labels, reduction="sum")
    return {"classification": LossPart(total=total, weight=total.new_tensor(len(batch)))}


def two_parts(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
    """Two parts that weigh the micro-batches differently; one of them often has nothing to count."""
    assert batch.labels is not None
    first = loss(module, batch)["classification"]
    chosen = batch.labels == 0
    second = functional.cross_entropy(module(batch)[chosen], batch.labels[chosen], reduction="sum")
    return {"all": first, "zeros": LossPart(total=second, weight=chosen.sum().float())}


def rows(step: int, count: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    ids = torch.randint(VOCABULARY, (count, 5), generator=generator)
    ids[:, 0] = labels  # something to learn
    return ids, labels


def batches(micro: int = 1, count: int = 8) -> Callable[[int], Sequence[Batch]]:
    def of_step(step: int) -> list[Batch]:
        ids, labels = rows(step, count)
        return [
            Batch(input_ids=one, token_type_ids=torch.zeros_like(one), labels=gold, attention_mask=torch.ones_like(one))
            for one, gold in zip(ids.tensor_split(micro), labels.tensor_split(micro), strict=True)
        ]

    return of_step


def accuracy(module: nn.Module) -> float:
    ids, labels = rows(999, 99)
    batch = Batch(input_ids=ids, token_type_ids=torch.zeros_like(ids))
    with torch.inference_mode():
        return float((module(batch).argmax(-1) == labels).double().mean())


def config(**options: object) -> TrainingConfig:
    return TrainingConfig.from_dict({"precision": "fp32", "log_every": 3, "evaluations": 4, **options})


def train(module: nn.Module, folder: Path, **options: object) -> TrainingResult:
    given = {"config": config(), "learning_rate": 0.02, "total_steps": STEPS, "evaluate": lambda _: accuracy(module)}
    chosen = {"loss": loss, "batches": batches(), **given, **options}
    if (evaluate := chosen.pop("evaluate")) is not None:
        chosen |= {"evaluate": lambda precision: {"accuracy": evaluate(precision)}, "main_metric": "accuracy"}
    return fit(module, chosen.pop("loss"), chosen.pop("batches"), folder=folder, **chosen)


def interrupt_after(step: int) -> Callable[[TrainingProgress], None]:
    def callback(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return callback


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def curve(folder: Path) -> list[tuple[object, ...]]:
    points = read_log(folder / "log.jsonl")
    return [(p.step, p.examples, p.tokens, p.loss, p.learning_rate, p.dev_metric) for p in points]


@pytest.mark.parametrize("step", [1, 3, 6, 12, 13])
def test_a_run_interrupted_at_any_step_and_resumed_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, step: int
) -> None:
    whole, parts = small(), small()
    options = {"loss": two_parts, "batches": batches(micro=3)}
    expected = train(whole, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        train(parts, tmp_path / "parts", progress=interrupt_after(step), **options)
    again = small()
    result = train(again, tmp_path / "parts", **options)
    assert result.resumed_from == step
    assert same(whole, again)
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")
    assert (result.best_metric, result.best_step) == (expected.best_metric, expected.best_step)
    assert result.examples == expected.examples == STEPS * 8


def test_a_run_interrupted_again_and_again_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = small()
    train(whole, tmp_path / "whole")
    for step in (2, 5, 6, 11):
        with pytest.raises(KeyboardInterrupt):
            train(small(), tmp_path / "parts", progress=interrupt_after(step))
    again = small()
    train(again, tmp_path / "parts")
    assert same(whole, again)
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")


def test_a_run_interrupted_in_an_evaluation_evaluates_again(tmp_path: Path) -> None:
    whole, again = small(), small()
    train(whole, tmp_path / "whole")

    def interrupted(precision: str) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path / "parts", evaluate=interrupted)
    result = train(again, tmp_path / "parts")
    assert result.resumed_from == 4
    assert same(whole, again)
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")


def test_a_killed_run_continues_from_its_last_evaluation(tmp_path: Path) -> None:
    whole, again = small(), small()
    train(whole, tmp_path / "whole")

    def killed(progress: TrainingProgress) -> None:
        if progress.step == 6:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(small(), tmp_path / "parts", progress=killed)
    result = train(again, tmp_path / "parts")
    assert result.resumed_from == 4
    assert same(whole, again)
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_step_waits_for_its_end_and_saves(tmp_path: Path, number: int) -> None:
    def signalled(step: int) -> Sequence[Batch]:
        if step == 5:
            os.kill(os.getpid(), number)
        return batches()(step)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path, batches=signalled)
    assert signal.getsignal(number) is before
    assert train(small(), tmp_path).resumed_from == 6


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first, second = small(), small()
    expected = train(first, tmp_path)

    def never(step: int) -> Sequence[Batch]:
        raise AssertionError("no batch is needed")

    result = train(second, tmp_path, batches=never)
    assert same(first, second)
    assert result.steps == expected.steps
    assert result.curve == expected.curve


def test_without_resume_a_run_begins_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path, progress=interrupt_after(6))
    result = train(small(), tmp_path, resume=False, config=config(seed=3))
    assert result.resumed_from is None
    assert result.steps == STEPS


def test_a_changed_configuration_is_refused_by_name_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path, progress=interrupt_after(6))
    with pytest.raises(ConfigError, match=r"training\.weight_decay: 0\.5 now.*--restart"):
        train(small(), tmp_path, config=config(weight_decay=0.5))
    with pytest.raises(ConfigError, match="data"):
        train(small(), tmp_path, identity={"data": "other"})


def test_dropout_does_not_depend_on_the_evaluations_between(tmp_path: Path) -> None:
    often, never = small(), small()

    def noisy(precision: str) -> float:
        torch.rand(13)
        return 0.5

    train(often, tmp_path / "often", evaluate=noisy, config=config(evaluate_every=1))
    # the best evaluation is the first one, so that the last weights are looked at in the last checkpoint
    train(never, tmp_path / "never", evaluate=None)
    last = small()
    checkpointing.Checkpoints(tmp_path / "often" / "checkpoints").load_last(
        last, torch.optim.AdamW(last.parameters(), fused=True)
    )
    assert same(last, never)


def test_training_leaves_the_random_numbers_of_its_caller_alone(tmp_path: Path) -> None:
    module = small()
    torch.manual_seed(99)
    expected = torch.rand(3)
    torch.manual_seed(99)
    train(module, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_another_seed_gives_other_dropout(tmp_path: Path) -> None:
    one, other = small(), small()
    train(one, tmp_path / "one")
    train(other, tmp_path / "other", config=config(seed=1))
    assert not same(one, other)


@pytest.mark.parametrize("micro", [2, 3, 8])
@pytest.mark.parametrize("parts", [loss, two_parts])
def test_micro_batches_give_the_gradients_of_one_batch(tmp_path: Path, micro: int, parts: object) -> None:
    whole, cut = small(dropout=0.0), small(dropout=0.0)
    options = {"loss": parts, "evaluate": None, "config": config(log_every=1)}
    train(whole, tmp_path / "whole", **options)
    train(cut, tmp_path / "cut", batches=batches(micro=micro), **options)
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-5)
    for one, other in zip(curve(tmp_path / "whole"), curve(tmp_path / "cut"), strict=True):
        assert one[3] == pytest.approx(other[3], rel=1e-4)


def poisoned(bad_steps: set[int]) -> Callable[[int], Sequence[Batch]]:
    def of_step(step: int) -> list[Batch]:
        made = list(batches()(step))
        return (
            [made[0]]
            if step not in bad_steps
            else [Batch(input_ids=made[0].input_ids, token_type_ids=made[0].token_type_ids)]
        )

    return of_step


def nan_without_labels(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
    if batch.labels is None:
        total = module(batch).sum() * float("nan")
        return {"classification": LossPart(total=total, weight=total.new_tensor(8.0))}
    return loss(module, batch)


def test_steps_that_are_not_finite_are_skipped_and_counted(tmp_path: Path) -> None:
    module = small()
    result = train(module, tmp_path, batches=poisoned({2, 3, 7}), loss=nan_without_labels)
    assert result.skipped_steps == 3
    assert all(torch.isfinite(value).all() for value in module.parameters())
    assert all(0 < point.loss < 10 for point in result.curve)


def test_too_many_such_steps_in_a_row_end_the_run_with_a_clear_line(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match=r"5 steps in a row.*--learning-rate"):
        train(small(), tmp_path, batches=poisoned(set(range(4, 99))), loss=nan_without_labels)
    assert (tmp_path / "checkpoints" / "last.safetensors").exists()


def test_early_stopping_waits_for_its_patience_and_keeps_the_later_of_equals(tmp_path: Path) -> None:
    metrics = iter([0.5, 0.7, 0.6, 0.7, 0.9])
    result = train(
        small(), tmp_path, evaluate=lambda _: next(metrics), config=config(evaluate_every=2, early_stopping=2)
    )
    assert result.stopped_early
    assert (result.best_metric, result.best_step, result.steps) == (0.7, 8, 8)


def test_a_metric_that_should_fall_is_kept_at_its_lowest(tmp_path: Path) -> None:
    metrics = iter([3.0, 1.0, 2.0, 5.0])
    result = train(small(), tmp_path, evaluate=lambda _: next(metrics), greater_is_better=False)
    assert result.best_metric == 1.0


def test_the_weights_at_the_end_are_those_of_the_best_evaluation(tmp_path: Path) -> None:
    module = small()
    seen: list[tuple[float, Tensor]] = []

    def evaluate(precision: str) -> float:
        seen.append((float(len(seen) == 1), module.outer.weight.detach().clone()))
        return seen[-1][0]

    train(module, tmp_path, evaluate=evaluate)
    assert torch.equal(module.outer.weight, seen[1][1])
    assert not torch.equal(module.outer.weight, seen[-1][1])


def test_an_evaluation_that_cannot_work_fails_before_the_first_step(tmp_path: Path) -> None:
    def broken(precision: str) -> float:
        raise RuntimeError("broken evaluation")

    def never(step: int) -> Sequence[Batch]:
        raise AssertionError("training had begun")

    with pytest.raises(RuntimeError, match="broken evaluation"):
        train(small(), tmp_path, batches=never, sanity_check=broken)


def test_a_budget_in_minutes_ends_by_the_clock_and_the_rate_falls_with_it(tmp_path: Path) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.5
        return now[0]

    options = {"config": config(minutes=0.2, log_every=1), "total_steps": None, "clock": clock}
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path, progress=interrupt_after(7), **options)
    result = train(small(), tmp_path, **options)
    assert result.resumed_from == 7
    assert 12.0 <= result.seconds < 13.0
    rates = [point.learning_rate for point in result.curve]
    assert rates.index(max(rates)) < 5
    assert rates[-1] < 0.1 * max(rates)
    assert [point.seconds for point in result.curve] == sorted(point.seconds for point in result.curve)


def test_time_spent_on_evaluations_is_counted_apart(tmp_path: Path) -> None:
    now = [0.0]

    def slow(precision: str) -> float:
        now[0] += 1000.0
        return 0.5

    result = train(small(), tmp_path, evaluate=slow, clock=lambda: now[0])
    assert result.seconds == 0.0
    assert result.evaluation_seconds == 4000.0


def test_a_full_disk_is_a_clear_line_and_the_checkpoint_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path, progress=interrupt_after(6))
    whole = checkpointing.write_tensors

    def full(path: Path, tensors: dict[str, Tensor]) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpointing, "write_tensors", full)
    with pytest.raises(FailureError, match="disk is full"):
        train(small(), tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "best.safetensors",
        "last.safetensors",
    ]
    monkeypatch.setattr(checkpointing, "write_tensors", whole)
    resumed, uninterrupted = small(), small()
    assert train(resumed, tmp_path).resumed_from == 6
    train(uninterrupted, tmp_path / "other")
    assert same(resumed, uninterrupted)


def test_a_damaged_checkpoint_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path, progress=interrupt_after(6))
    last = tmp_path / "checkpoints" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-99])
    with pytest.raises(Exception, match="truncated or damaged"):
        train(small(), tmp_path)


def test_nothing_but_the_best_and_the_last_checkpoint_is_kept_and_neither_is_a_pickle(tmp_path: Path) -> None:
    train(small(), tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "best.safetensors",
        "last.safetensors",
        "log.jsonl",
    ]


def test_the_loop_learns(tmp_path: Path) -> None:
    module = small()
    result = train(module, tmp_path, total_steps=120, batches=batches(count=33))
    assert result.best_metric is not None
    assert result.best_metric > 0.9
    assert accuracy(module) == result.best_metric
    assert result.tokens == 120 * 33 * 5


def test_progress_is_told_after_every_step(tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    train(small(), tmp_path, progress=told.append)
    assert [one.step for one in told] == list(range(1, STEPS + 1))
    assert told[-1].fraction == 1.0
    assert told[-1].seconds_left == 0.0
    assert told[0].loss is not None
    assert told[0].dev_metric is None
    assert told[-1].dev_metric is not None
    assert "tokens/s" in told[-1].describe()
