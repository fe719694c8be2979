"""task.json."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from albertine.errors import CheckpointError, ConfigError
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.config import TaskConfig, parse_options

CONFIG = TaskConfig(
    task="text-classification",
    labels=("坏", "好"),
    max_length=64,
    pairs=True,
    main_metric="macro_f1",
    temperature=1.5,
    options=ClassificationOptions(class_weights=(0.5, 2.0), long_texts="head"),
)


def read(values: dict[str, object]) -> TaskConfig:
    return TaskConfig.from_dict(values, ClassificationOptions, where="runs/x/task.json")


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        TaskConfig(task="text-classification", labels=("a", "b", "c"), options=ClassificationOptions()),
    ],
)
def test_a_configuration_survives_json(config: TaskConfig) -> None:
    assert read(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_field_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="max_length"):
        read({**CONFIG.to_dict(), "maxlength": 3})


def test_a_missing_field_is_named_with_its_file() -> None:
    values = CONFIG.to_dict()
    del values["task"]
    with pytest.raises(CheckpointError, match=r"runs/x/task\.json: task"):
        read(values)


@pytest.mark.parametrize("version", [None, 0, 3, "1", True])
def test_a_file_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(CheckpointError, match="schema_version"):
        read({**CONFIG.to_dict(), "schema_version": version})


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
        {"long_texts": "tail"},
    ],
)
def test_a_value_of_another_type_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match=next(iter(wrong))):
        read({**CONFIG.to_dict(), **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": ("a", "a")},
        {"max_length": 2},
        {"overlap": 33},
        {"abstain_below": 1.5},
        {"temperature": 0.0},
        {"temperature": float("inf")},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)


@pytest.mark.parametrize("weights", [(-1.0, 1.0), (float("nan"), 1.0), (0.0, 0.0)])
def test_class_weights_out_of_range_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="class_weights"):
        ClassificationOptions(class_weights=weights)


def test_a_file_of_the_first_version_is_read() -> None:
    """What version 0.2 wrote: class_weights stood there already, the newer fields did not."""
    values = {
        "task": "text-classification", "labels": ["坏", "好"], "max_length": 64, "pairs": False,
        "class_weights": [0.5, 2.0], "main_metric": None, "temperature": None, "schema_version": 1,
    }  # fmt: skip
    config = read(values)
    assert config.own(ClassificationOptions).class_weights == (0.5, 2.0)
    assert config.own(ClassificationOptions).long_texts == "windows"


def test_options_are_read_from_a_command_line_by_their_types() -> None:
    found = parse_options(ClassificationOptions, ["class_weights=1,2.5", "long_texts=head"], of="text-classification")
    assert found == {"class_weights": (1.0, 2.5), "long_texts": "head"}
    assert parse_options(ClassificationOptions, ["class_weights=none"], of="x") == {"class_weights": None}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("long_texts", "NAME=VALUE"),
        ("long_text=head", "long_texts"),
        ("long_texts=tail", "windows, head"),
        ("class_weights=heavy", "numbers divided by commas or none"),
    ],
)
def test_an_option_that_cannot_be_is_refused_with_what_can(pair: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_options(ClassificationOptions, [pair], of="text-classification")
