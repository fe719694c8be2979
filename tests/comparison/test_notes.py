from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from albertine.catalogue import catalogue
from albertine.comparison.candidates import contestants
from albertine.comparison.machine import core_count, machine_info
from albertine.comparison.notes import best_run, budget_sentence, data_summary, remarks
from albertine.comparison.results import CandidateSummary, RunResult
from albertine.data.columns import Columns
from albertine.data.formats import LABELLED_TEXTS
from albertine.data.results import BadRow
from albertine.data.samples import SplitCounts, Splits
from albertine.records import Example
from albertine.training.config import TrainingConfig
from albertine.training.manifest import command_line

ENGLISH = catalogue("en")
SPLITS = Splits(
    train=(Example(text="a", label="x"), Example(text="b", label="y"), Example(text="c", label="y")),
    dev=(Example(text="d", label="x"),),
    test=(Example(text="e", label="y"), Example(text="f", label="y"), Example(text="g", label="x")),
    labels=("x", "y"), notes=(), sha256={"d.csv": "77"}, source="d.csv", bad_rows=(),
    columns=Columns(text="review", label="stars"),
    counts=SplitCounts(
        rows=7, distinct=7, sampled=7, conflicting=0, duplicates_removed=0, overlaps_removed=0, outside_sample=0
    ),
)  # fmt: skip


def run(seed: int, *, learnt: bool, dev_metric: float) -> RunResult:
    return RunResult(candidate="one", seed=seed, learnt=learnt, dev_metric=dev_metric, folder=f"jobs/{seed}/model")


def test_the_data_is_described_as_the_candidates_get_it() -> None:
    summary = data_summary(SPLITS, LABELLED_TEXTS, ENGLISH, dev_as_test=False)
    assert (summary.train, summary.dev, summary.test) == (3, 1, 3)
    assert summary.label_counts == {"x": 1, "y": 2}
    assert summary.notes == (ENGLISH("note.columns", columns="review, stars"),)


@pytest.mark.parametrize(
    ("counts", "numbers"),
    [
        ({"rows": 35123, "distinct": 17405, "duplicates_removed": 17718}, ["35,123", "17,405"]),
        ({"conflicting": 47}, ["47"]),
        ({"overlaps_removed": 13}, ["13"]),
        ({"outside_sample": 9993, "distinct": 10000}, ["7 of 10,000"]),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_was_done_to_the_data_is_said_with_numbers(
    language: str, counts: dict[str, int], numbers: list[str]
) -> None:
    texts = catalogue("zh" if language == "zh" else "en")
    changed = dataclasses.replace(SPLITS, counts=dataclasses.replace(SPLITS.counts, **counts))
    told = data_summary(changed, LABELLED_TEXTS, texts, dev_as_test=False).notes[0]
    for number in numbers:
        assert all(part in told for part in (number.split(" of ") if language == "zh" else [number]))


def test_left_out_rows_and_a_development_file_that_serves_as_test_are_told() -> None:
    bad = BadRow(file="d.csv", line=3, kind="fields", reason="too few fields")
    notes = data_summary(dataclasses.replace(SPLITS, bad_rows=(bad,)), LABELLED_TEXTS, ENGLISH, dev_as_test=True).notes
    assert ENGLISH("note.bad_rows", count="1") in notes
    assert ENGLISH("note.dev_as_test") in notes


def test_the_budget_is_told_in_the_unit_it_was_given_in() -> None:
    found = contestants([], ["bag-of-words", "bilstm"], ENGLISH, possible=["bag-of-words", "bilstm"])
    three = budget_sentence(TrainingConfig(), found, train=1000, texts=ENGLISH)
    assert "3,000" in three
    assert "bag-of-words" in three
    fixed = budget_sentence(TrainingConfig(examples=500), found, train=1000, texts=ENGLISH)
    assert "500" in fixed
    assert "0.5 passes" in fixed
    timed = budget_sentence(TrainingConfig(minutes=2.5, batch_size=13), found[1:], train=1000, texts=ENGLISH)
    assert "2.5 min of training steps" in timed
    assert "13" in timed
    assert "bag-of-words" not in timed


def test_runs_that_did_not_learn_are_counted_and_the_best_folder_named() -> None:
    runs = (
        run(0, learnt=False, dev_metric=0.9),
        run(1, learnt=True, dev_metric=0.95),
        RunResult(candidate="one", seed=2, failed="broken"),
    )
    one = CandidateSummary(
        name="one", kind="bert", description="", quality=None, seeds=(0, 1, 2), failed=1, runs=runs
    )  # fmt: skip
    told = remarks([one], "one", out=Path("runs/x"), texts=ENGLISH)
    assert told[0] == ENGLISH("remark.did_not_learn", name="one", count=1, runs=2)
    assert "runs/x/jobs/1/model" in told[1]
    assert best_run(one).seed == 1
    assert remarks([one], None, out=Path("runs/x"), texts=ENGLISH) == told[:1]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["/usr/bin/albertine", "compare", "my data.csv"], "albertine compare 'my data.csv'"),
        (["/site/albertine/__main__.py", "demo"], "albertine demo"),
        (["train.py", "x"], "train.py x"),
    ],
)
def test_the_command_can_be_copied_into_a_shell(arguments: list[str], line: str) -> None:
    assert command_line(arguments) == line


def test_the_machine_is_described_in_texts() -> None:
    info = machine_info("cpu", 2)
    assert info["threads"] == "2"
    assert int(info["cores"]) == core_count() >= 1
    assert all(isinstance(value, str) and value for value in info.values())
