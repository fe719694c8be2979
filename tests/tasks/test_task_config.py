"""task.json."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from albertine.errors import CheckpointError, ConfigError
from albertine.tasks.task import TaskConfig

CONFIG = TaskConfig(
    task="text-classification",
    labels=("坏", "好"),
    max_length=64,
    pairs=True,
    class_weights=(0.5, 2.0),
    main_metric="macro_f1",
    temperature=1.5,
)


@pytest.mark.parametrize("config", [CONFIG, TaskConfig(task="text-classification", labels=("a", "b", "c"))])
def test_a_configuration_survives_json(config: TaskConfig) -> None:
    assert TaskConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_field_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="max_length"):
        TaskConfig.from_dict({**CONFIG.to_dict(), "maxlength": 3}, where="runs/x/task.json")


def test_a_missing_field_is_named_with_its_file() -> None:
    values = CONFIG.to_dict()
    del values["labels"]
    with pytest.raises(CheckpointError, match=r"runs/x/task\.json: labels"):
        TaskConfig.from_dict(values, where="runs/x/task.json")


@pytest.mark.parametrize("version", [None, 0, 2, "1", True])
def test_a_file_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(CheckpointError, match="schema_version"):
        TaskConfig.from_dict({**CONFIG.to_dict(), "schema_version": version})


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": 3},
        {"labels": "ab"},
        {"labels": [1, 2]},
        {"max_length": "64"},
        {"max_length": True},
        {"pairs": 1},
        {"class_weights": ["a", "b"]},
        {"temperature": "warm"},
    ],
)
def test_a_value_of_another_type_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match=next(iter(wrong))):
        TaskConfig.from_dict({**CONFIG.to_dict(), **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": ("a",)},
        {"labels": ("a", "a")},
        {"max_length": 2},
        {"class_weights": (1.0,)},
        {"class_weights": (-1.0, 1.0)},
        {"class_weights": (float("nan"), 1.0)},
        {"class_weights": (0.0, 0.0)},
        {"temperature": 0.0},
        {"temperature": float("inf")},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)
