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
    "minutes": 0.5,
    "max_steps": 13,
    "batch_size": 7,
    "accumulation": 3,
    "warmup": 0.0,
    "schedule": "cosine",
    "weight_decay": 0.0,
    "beta1": 0.8,
    "beta2": 0.98,
    "epsilon": 1e-6,
    "max_grad_norm": None,
    "precision": "fp32",
    "class_weights": "balanced",
    "early_stopping": 2,
    "evaluations": 1,
    "evaluate_every": 13,
    "log_every": 1,
    "seed": 99,
}

BAD = [
    ("learning_rate", 0.0),
    ("learning_rate", float("nan")),
    ("epochs", -1),
    ("examples", 0),
    ("examples", 10.5),
    ("minutes", 0),
    ("minutes", float("inf")),
    ("max_steps", 0),
    ("batch_size", 0),
    ("batch_size", True),
    ("accumulation", 0),
    ("accumulation", 33),
    ("warmup", 1.0),
    ("warmup", -0.1),
    ("schedule", "linar"),
    ("weight_decay", -0.01),
    ("beta1", 1.0),
    ("beta2", -0.5),
    ("epsilon", 0.0),
    ("max_grad_norm", 0.0),
    ("precision", "fp16"),
    ("class_weights", "auto"),
    ("early_stopping", 0),
    ("evaluations", 0),
    ("evaluate_every", 0),
    ("log_every", 0),
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
    ],
)
def test_the_budget_in_steps_follows_from_the_training_rows(
    config: TrainingConfig, rows: int, steps: int | None
) -> None:
    assert config.total_steps(rows) == steps
