from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from albertine import registry
from albertine.comparison.measure import FEWEST_REQUESTS, REQUESTS, bytes_on_disk, measure
from albertine.errors import DataError
from albertine.inference.model import Model
from albertine.models.bag_of_words import BagOfWords
from albertine.models.ngrams import BagOfWordsConfig
from albertine.records import Example
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import Task

TEXTS = ["good food", "bad food", "lovely phone", "awful phone"]
EXAMPLES = [Example(text=TEXTS[index % 4], label="ab"[index % 2]) for index in range(13)]


@pytest.fixture(scope="module")
def model() -> Model:
    task = registry.tasks.get("text-classification")
    assert isinstance(task, Task)
    bag = BagOfWords(BagOfWordsConfig()).fit(TEXTS, [0, 1, 0, 1], 2)
    labels = TaskConfig(task=task.name, labels=("a", "b"))
    return Model(bag, config=bag.config, tokenizer=None, task=task, task_config=labels)


def ticking(seconds: float) -> object:
    """Return a clock that moves on by `seconds` at every look."""
    ticks = itertools.count()
    return lambda: next(ticks) * seconds


def test_requests_are_timed_one_by_one_in_milliseconds(model: Model, tmp_path: Path) -> None:
    found = measure(model, EXAMPLES, tmp_path, clock=ticking(0.003))  # type: ignore[arg-type]
    assert found.cost.requests == REQUESTS
    assert found.cost.latency_ms_p50 == pytest.approx(3.0)
    assert found.cost.latency_ms_p99 == pytest.approx(3.0)


def test_a_slow_model_is_asked_the_fewest_times(model: Model, tmp_path: Path) -> None:
    found = measure(model, EXAMPLES, tmp_path, clock=ticking(9.0))  # type: ignore[arg-type]
    assert found.cost.requests == FEWEST_REQUESTS


def test_throughput_counts_every_pass_over_the_texts(model: Model, tmp_path: Path) -> None:
    found = measure(model, EXAMPLES, tmp_path, clock=ticking(0.25))  # type: ignore[arg-type]
    # looks at 0.25, 0.5 and 0.75 s find less than a second passed, the one at 1 s ends the round, 1.25 s is taken
    assert found.cost.texts_per_second == pytest.approx(4 * 13 / 1.25)


def test_the_answers_are_the_models_own(model: Model, tmp_path: Path) -> None:
    found = measure(model, EXAMPLES, tmp_path)
    assert [int(one.argmax()) for one in found.answers] == [index % 2 for index in range(13)]
    assert found.flops_per_token is None
    assert found.cost.tokens_per_second == 0.0
    assert found.cost.peak_memory_bytes > 0
    assert found.cost.precision == "fp32"


def test_only_files_needed_to_predict_count_as_the_models_size(tmp_path: Path) -> None:
    for name, size in (("model.safetensors", 99), ("config.json", 13), ("README.md", 500), ("manifest.json", 500)):
        (tmp_path / name).write_bytes(b"x" * size)
    for name, size in (("checkpoints/last.safetensors", 500), ("source/vocab.txt", 7)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    assert bytes_on_disk(tmp_path) == 99 + 13 + 7


def test_without_texts_there_is_nothing_to_measure(model: Model, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no test texts"):
        measure(model, [], tmp_path)
