"""Every field of the training configuration is checked, and a wrong one is named."""

from __future__ import annotations

import dataclasses

import pytest

from albertine.errors import ConfigError
from albertine.training.config import TrainingConfig

GOOD = {
    "learning_rate": 3e-4,
    "epochs": 1.5,
    "examples": 999,
    "tokens": 200_000_000,
    "minutes": 0.5,
    "max_steps": 13,
    "batch_size": 7,
    "batch_tokens": 4096,
    "accumulation": 3,
    "warmup": 0.0,
    "warmup_steps": 0,
    "schedule": "cosine",
    "cooldown": 0.2,
    "optimizer": "lamb",
    "weight_decay": 0.0,
    "beta1": 0.8,
    "beta2": 0.98,
    "epsilon": 1e-6,
    "max_grad_norm": None,
    "precision": "fp32",
    "dropout": 0.3,
    "class_weights": "balanced",
    "early_stopping": 2,
    "evaluations": 1,
    "evaluate_every": 13,
    "log_every": 1,
    "checkpoint_seconds": 0.5,
    "checkpoint_steps": 7,
    "seed": 99,
}

BAD = [
    ("learning_rate", 0.0),
    ("learning_rate", float("nan")),
    ("epochs", -1),
    ("examples", 0),
    ("examples", 10.5),
    ("tokens", 0),
    ("tokens", 2e8),
    ("minutes", 0),
    ("minutes", float("inf")),
    ("max_steps", 0),
    ("batch_size", 0),
    ("batch_tokens", 0),
    ("batch_size", True),
    ("accumulation", 0),
    ("accumulation", 33),
    ("warmup", 1.0),
    ("warmup", -0.1),
    ("warmup_steps", -1),
    ("warmup_steps", 0.1),
    ("schedule", "linar"),
    ("cooldown", 1.0),
    ("cooldown", 0.95),
    ("optimizer", "lamp"),
    ("weight_decay", -0.01),
    ("beta1", 1.0),
    ("beta2", -0.5),
    ("epsilon", 0.0),
    ("max_grad_norm", 0.0),
    ("precision", "fp16"),
    ("dropout", 1.0),
    ("dropout", -0.1),
    ("class_weights", "auto"),
    ("early_stopping", 0),
    ("evaluations", 0),
    ("evaluate_every", 0),
    ("log_every", 0),
    ("checkpoint_seconds", 0.0),
    ("checkpoint_steps", 0),
    ("seed", -1),
    ("seed", 1.5),
]


def test_every_field_is_covered_here() -> None:
    names = {field.name for field in dataclasses.fields(TrainingConfig)}
    assert names == set(GOOD) == {name for name, _ in BAD}


@pytest.mark.parametrize(("name", "value"), list(GOOD.items()))
def test_every_field_takes_another_value_alone(name: str, value: object) -> None:
    assert getattr(TrainingConfig.from_dict({name: value}), name) == value


@pytest.mark.parametrize(("name", "value"), BAD)
def test_every_field_refuses_a_value_out_of_range_and_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        TrainingConfig.from_dict({name: value})


def test_an_unknown_option_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        TrainingConfig.from_dict({"learning_rat": 1e-3})


def test_two_budgets_at_once_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"epochs = 2, minutes = 1"):
        TrainingConfig(epochs=2, minutes=1)
    with pytest.raises(ConfigError, match=r"examples = 7, tokens = 99"):
        TrainingConfig(examples=7, tokens=99)


def test_a_configuration_survives_a_round_trip() -> None:
    config = TrainingConfig(examples=999, schedule="cosine", max_grad_norm=None)
    assert TrainingConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("config", "rows", "steps"),
    [
        (TrainingConfig(), 65, 7),
        (TrainingConfig(epochs=1), 64, 2),
        (TrainingConfig(epochs=1 / 3), 99, 2),
        (TrainingConfig(epochs=7), 13, 7),
        (TrainingConfig(examples=65), 65, 3),
        (TrainingConfig(examples=65), 999, 3),
        (TrainingConfig(examples=1), 999, 1),
        (TrainingConfig(max_steps=4), 65, 4),
        (TrainingConfig(minutes=1), 65, None),
        (TrainingConfig(minutes=1, max_steps=7), 65, 7),
        (TrainingConfig(tokens=999), 65, None),
        (TrainingConfig(tokens=999, max_steps=7), 65, 7),
    ],
)
def test_the_budget_in_steps_follows_from_the_training_rows(
    config: TrainingConfig, rows: int, steps: int | None
) -> None:
    assert config.total_steps(rows) == steps


def test_each_optimizer_has_an_epsilon_of_its_own() -> None:
    assert TrainingConfig().optimizer_epsilon == 1e-8
    assert TrainingConfig(optimizer="lamb").optimizer_epsilon == 1e-6
    assert TrainingConfig(optimizer="lamb", epsilon=1e-3).optimizer_epsilon == 1e-3


def test_how_often_a_run_is_saved_does_not_decide_whether_it_may_be_continued() -> None:
    assert TrainingConfig(checkpoint_steps=7, checkpoint_seconds=9.0).identity() == TrainingConfig().identity()
    assert TrainingConfig(cooldown=0.1).identity() != TrainingConfig().identity()
