"""Published benchmarks by name, from files as their authors publish them."""

from __future__ import annotations

from pathlib import Path

import pytest

import albertine as al
from albertine.data.benchmarks import BENCHMARKS, find_benchmark
from albertine.errors import ConfigError, DataError
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.config import TaskConfig
from albertine.training.data_source import DataSource, named_task, task_behind

GLUE = ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")


def write(folder: Path, files: dict[str, list[str]]) -> Path:
    for name, lines in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_all_nine_tasks_of_glue_are_there() -> None:
    assert {f"glue/{name}" for name in GLUE} <= set(BENCHMARKS)
    assert find_benchmark("glue/cola").metrics == ("matthews",)
    with pytest.raises(ConfigError, match="glue/sst2"):
        task_behind("glue/sst")


def test_a_file_without_header_and_a_test_without_labels_are_read(tmp_path: Path) -> None:
    rows = [f'gj04\t{n % 2}\t\tThe {n} sailors "left.' for n in range(30)]
    folder = write(
        tmp_path,
        {
            "CoLA/train.tsv": rows,
            "CoLA/dev.tsv": ["gj04\t1\t*\tA sailor left.", "gj04\t0\t\tSailor a left."],
            "CoLA/test.tsv": ["index\tsentence", "0\tWho left?"],
        },
    )
    named = named_task("glue/cola", DataSource(data=folder), {})
    assert (named.task, named.main_metric) == ("text-classification", "matthews")
    splits = named.source.splits(task_behind("glue/cola"), named.options, seed=0)
    assert len(splits.train) + len(splits.dev) == 30
    assert [one.text for one in splits.test] == ["A sailor left.", "Sailor a left."]
    assert splits.train[0].text.startswith("The ")
    assert '"' in splits.train[0].text


def test_numbers_and_pairs_of_stsb(tmp_path: Path) -> None:
    header = "index\tgenre\tsentence1\tsentence2\tscore"
    rows = [f"{n}\tnews\tA sailor {n} left.\tSailor {n} is gone.\t{n % 11 / 2}" for n in range(40)]
    folder = write(tmp_path, {"train.tsv": [header, *rows], "dev.tsv": [header, *(row + "5" for row in rows[:5])]})
    named = named_task("glue/stsb", DataSource(data=folder), {})
    assert named.options == {"problem": "regression"}
    task = task_behind("glue/stsb")
    splits = named.source.splits(task, named.options, seed=0)
    assert {type(one.value) for one in splits.train} == {float}
    assert splits.train[0].text_pair is not None
    assert named.main_metric in task.metrics(al_config(ClassificationOptions(problem="regression")))


def al_config(options: ClassificationOptions) -> TaskConfig:
    return TaskConfig(task="text-classification", options=options)


def test_rows_that_nobody_agreed_on_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [
        f'{{"sentence1": "句子{n}", "sentence2": "另一句{n}", "label": "{label}"}}'
        for n, label in enumerate(["neutral", "entailment", "-", "contradiction"] * 8)
    ]
    folder = write(tmp_path, {"ocnli_public/train.50k.json": rows, "ocnli_public/dev.json": rows[:3]})
    named = named_task("clue/ocnli", DataSource(data=folder), {})
    splits = named.source.splits(task_behind("clue/ocnli"), named.options, seed=0)
    assert splits.labels == ("contradiction", "entailment", "neutral")
    assert any("8 rows without an agreed label" in note for note in splits.notes)


def test_missing_files_are_named_and_nothing_is_given_beside_a_benchmark(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.tsv and dev\.tsv, here or in SST-2"):
        named_task("glue/sst2", DataSource(data=tmp_path), {})
    with pytest.raises(ConfigError, match="names its own files"):
        named_task("glue/sst2", DataSource(data=tmp_path, columns=al.Columns(label="x")), {})


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if BENCHMARKS[name].task == "text-classification"])
def test_what_the_authors_report_is_measured(name: str) -> None:
    """The metric that decides can rank models; the others are among what is scored."""
    found = BENCHMARKS[name]
    options = ClassificationOptions(**found.options)  # type: ignore[arg-type]
    config = TaskConfig(task=found.task, labels=("0", "1"), options=options)
    assert found.metrics[0] in task_behind(name).metrics(config)
