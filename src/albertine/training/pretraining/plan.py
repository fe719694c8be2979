"""The plan of a run: how many steps of how many tokens, and what they will take in hours, memory and disk."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from albertine.batching.masking import MaskingUnit
from albertine.batching.sentence_pairs import PairObjective
from albertine.batching.step_plan import Phase
from albertine.errors import CheckpointError, ConfigError, FailureError
from albertine.files import write_json
from albertine.training.checkpointing import Checkpoints, check_identity
from albertine.training.config import TrainingConfig
from albertine.training.pretraining.choices import PretrainingConfig, default_tokens_per_step
from albertine.training.pretraining.speed import StepCost

__all__ = [
    "PLAN_FILE",
    "PretrainingPlan",
    "RunSize",
    "check_budget",
    "check_disk",
    "read_plan",
    "run_size",
    "write_plan",
]

PLAN_FILE = "plan.json"
PLAN_SCHEMA = 1

_HELD_OUT_SHARE = 1 / 200
_FEWEST_HELD_OUT, _MOST_HELD_OUT = 16_384, 131_072
_COPIES_ON_DISK = 8
"""Of the weights: the last checkpoint with both moments, the same once more while it is replaced, the best weights and
the finished encoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSize:
    """How large a run is."""

    total_steps: int
    """What lengths, masks and the growth of the batch go by; the budget itself ends the run."""
    tokens_per_step: int
    """Of a full step, counted in full rows."""
    held_out_tokens: int
    """That an evaluation reads at most."""
    tokens: int
    """Real tokens, expected."""
    seconds: float
    """Of training, expected; evaluations not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingPlan:
    """What a run is going to do, settled before its first step and kept in its folder."""

    size: RunSize
    pair: PairObjective
    pair_reason: str
    """Why, a sentence without its full stop."""
    masking: MaskingUnit
    learning_rate: float
    epochs: float
    """Passes over the corpus, expected."""
    tokens_per_second: float
    """Of all processes together, measured."""
    evaluation_seconds: float
    """Of all evaluations together, expected."""
    memory_bytes: int
    """Of one process at the most, measured."""
    disk_bytes: int
    """Of everything the run writes, at the most."""
    parameters: int
    """That are trained."""
    precision: str
    device: str
    processes: int
    phases: tuple[Phase, ...]

    def lines(self) -> list[str]:
        """Put it in lines for the person who waits."""
        size = self.size
        rows = " then ".join(f"{phase.length} ({phase.share:.0%})" for phase in self.phases)
        where = f"{self.device}, {self.precision}" + (f", {self.processes} processes" if self.processes > 1 else "")
        return [
            f"pairs: {self.pair_reason}",
            f"masks: {self.masking}; rows of {rows} tokens",
            f"steps: {size.total_steps:,} of {size.tokens_per_step:,} tokens, {_count(size.tokens)} tokens in all, "
            f"{self.epochs:.2g} times the corpus",
            f"speed: {self.tokens_per_second:,.0f} tokens/s measured on {where}; {_count(self.parameters)} parameters",
            f"time: {_duration(size.seconds)} of training and {_duration(self.evaluation_seconds)} of evaluations",
            f"memory: {self.memory_bytes / 1e9:.2f} GB a process; disk: {self.disk_bytes / 1e9:.2f} GB at the most",
        ]

    def to_dict(self) -> dict[str, object]:
        """Return every field under its name, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> PretrainingPlan:
        """Take up what `to_dict` gave.

        Raises:
            TypeError: another shape.
        """
        known = dict(values)
        known["size"] = RunSize(**known["size"])  # type: ignore[arg-type]
        known["phases"] = tuple(Phase(**one) for one in known["phases"])  # type: ignore[attr-defined]
        return cls(**known)  # type: ignore[arg-type]


def check_budget(training: TrainingConfig) -> None:
    """Make sure that the run has an end.

    Raises:
        ConfigError: no budget, or one in examples.
    """
    if training.examples is not None:
        raise ConfigError(
            "pretraining counts tokens, not examples", where="training.examples", next_step="Give --tokens instead"
        )
    if all(one is None for one in (training.epochs, training.tokens, training.minutes, training.max_steps)):
        raise ConfigError(
            "the run has no end",
            where="budget",
            allowed="--tokens, --minutes, --epochs or --max-steps",
            next_step="Give one of them; --plan shows what it takes",
        )


def run_size(
    config: PretrainingConfig,
    training: TrainingConfig,
    *,
    cost: StepCost,
    fills: tuple[float, ...],
    corpus_tokens: int,
    processes: int,
) -> RunSize:
    """Turn a budget into steps.

    Args:
        config: what is learnt.
        training: with the budget: tokens, minutes, epochs of the corpus, or steps alone.
        cost: what was measured.
        fills: for every phase the real tokens of a step as a share of those in full rows.
        corpus_tokens: of an epoch.
        processes: that share the work.

    Raises:
        ConfigError: no budget, or one in examples.
    """
    check_budget(training)
    per_token = (
        sum(phase.share * seconds for phase, seconds in zip(config.phases, cost.seconds_per_token, strict=True))
        / processes
    )
    fill = sum(phase.share * one for phase, one in zip(config.phases, fills, strict=True))
    tokens = budget_tokens(training, corpus_tokens)
    if tokens is None and training.minutes is not None:
        tokens = round(training.minutes * 60 / per_token)
    steps = training.max_steps
    longest = max(phase.length for phase in config.phases)
    per_step = config.tokens_per_step or default_tokens_per_step(
        tokens if tokens is not None else (steps or 1) * 4096.0, longest=longest
    )
    # the mean over the run: a batch that grows is smaller in the ramp
    grown = per_step - 0.5 * config.ramp * (per_step - (config.first_tokens_per_step or per_step))
    if tokens is not None:
        if training.minutes is not None:
            seconds_per_step = grown * fill * per_token + cost.seconds_per_update
            by_budget = max(1, round(training.minutes * 60 / seconds_per_step))
        else:
            by_budget = max(1, -(-tokens // round(grown * fill)))
        steps = by_budget if steps is None else min(steps, by_budget)
    assert steps is not None, "one of them is given"
    expected = round(steps * grown * fill)
    held_out = config.held_out_tokens or min(max(round(expected * _HELD_OUT_SHARE), _FEWEST_HELD_OUT), _MOST_HELD_OUT)
    return RunSize(
        total_steps=steps,
        tokens_per_step=per_step,
        held_out_tokens=held_out,
        tokens=expected,
        seconds=expected * per_token + steps * cost.seconds_per_update,
    )


def budget_tokens(training: TrainingConfig, corpus_tokens: int) -> int | None:
    """Return the budget in tokens; None where it is in minutes or steps.

    Args:
        training: with the budget.
        corpus_tokens: of an epoch.
    """
    if training.epochs is not None:
        return max(1, round(training.epochs * corpus_tokens))
    return training.tokens


def check_disk(folder: Path, parameters: int) -> int:
    """Return the bytes that a run writes at the most.

    Args:
        folder: of the run.
        parameters: that are trained, fp32.

    Raises:
        FailureError: there is less room.
    """
    needed = parameters * 4 * _COPIES_ON_DISK
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise FailureError(
            "the disk has too little room for this run",
            where=str(folder),
            received=f"{free / 1e9:.2f} GB free",
            allowed=f"{needed / 1e9:.2f} GB or more",
            next_step="Make room, or give an --out on another disk",
        )
    return needed


def write_plan(folder: Path, plan: PretrainingPlan, inputs: Mapping[str, object]) -> None:
    """Keep a plan with everything that decided it.

    Raises:
        FailureError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / PLAN_FILE, {"schema_version": PLAN_SCHEMA, "inputs": dict(inputs), "plan": plan.to_dict()})


def read_plan(folder: Path, inputs: Mapping[str, object]) -> PretrainingPlan | None:
    """Return the plan of a run that was begun in a folder; None where none was, or it failed before its first step.

    Raises:
        ConfigError: it is another run's.
        CheckpointError: the file is damaged.
    """
    path = folder / PLAN_FILE
    if not path.exists() or not Checkpoints(folder / "checkpoints").last.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        before, plan = values["inputs"], PretrainingPlan.from_dict(values["plan"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            "this plan of a run is damaged", where=str(path), next_step="Begin again with --restart"
        ) from error
    check_identity(before, inputs, where=str(folder))
    return plan


def _count(number: float) -> str:
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.0f}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} seconds"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} minutes"
