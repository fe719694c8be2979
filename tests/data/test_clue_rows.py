"""Sets of CLUE whose rows are no plain texts with labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from albertine.data.benchmarks import BENCHMARKS, find_benchmark
from albertine.data.samples import Splits
from albertine.errors import ConfigError, DataError
from albertine.training.data_source import DataSource, named_task, task_behind

KEYWORDS = ("水体系统", "肾病", "meta 分析", "遗传")


def csl(number: int) -> dict[str, object]:
    """Return a row as CSL has it; without a label in a test file."""
    chosen = [KEYWORDS[(number + step) % 4] for step in range(1 + number % 3)]
    return {
        "id": number,
        "abst": f"为探讨第{number}例的机制，我们做了实验。",
        "keyword": chosen,
        "label": str(number % 2),
    }


def wsc(number: int, **target: object) -> dict[str, object]:
    """Return a row as WSC2020 has it."""
    text = f"第{number}天小王告诉了小李很多事，他应该多想想。"
    noun = ("小王", "小李")[number % 2]
    mentions = {
        "span2_index": text.index("他"),
        "span1_index": text.index(noun),
        "span1_text": noun,
        "span2_text": "他",
        **target,
    }
    return {"target": mentions, "idx": number, "label": ("true", "false")[number % 2], "text": text}


def write(folder: Path, name: str, rows: list[dict[str, object]]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return folder


def splits(name: str, folder: Path, on_error: str = "stop") -> Splits:
    named = named_task(name, DataSource(data=folder, on_error=on_error), {})
    assert (named.task, named.main_metric) == ("text-classification", "accuracy")
    return named.source.splits(task_behind(name), named.options, seed=0)


def test_keywords_stand_beside_the_abstract_in_one_text(tmp_path: Path) -> None:
    write(tmp_path, "csl_public/train.json", [csl(number) for number in range(40)])
    write(tmp_path, "csl_public/dev.json", [csl(number) for number in range(40, 47)])
    hidden = [{key: value for key, value in csl(number).items() if key != "label"} for number in range(50, 53)]
    write(tmp_path, "csl_public/test.json", hidden)
    found = splits("clue/csl", tmp_path)
    assert found.labels == ("0", "1")
    assert len(found.train) + len(found.dev) == 40
    assert [(one.text, one.text_pair, one.label) for one in found.test[:3]] == [
        ("水体系统 肾病", "为探讨第40例的机制，我们做了实验。", "0"),
        ("肾病 meta 分析 遗传", "为探讨第41例的机制，我们做了实验。", "1"),
        ("meta 分析", "为探讨第42例的机制，我们做了实验。", "0"),
    ]
    assert len(found.test) == 7


def test_both_mentions_are_marked_in_the_text(tmp_path: Path) -> None:
    write(tmp_path, "train.json", [wsc(number) for number in range(30)])
    write(tmp_path, "dev.json", [wsc(30), wsc(31)])
    found = splits("clue/wsc2020", tmp_path)
    assert found.labels == ("false", "true")
    assert [(one.text, one.label) for one in found.test] == [
        ("第30天_小王_告诉了小李很多事，[他]应该多想想。", "true"),
        ("第31天小王告诉了_小李_很多事，[他]应该多想想。", "false"),
    ]
    assert all(one.text_pair is None for one in found.train)


def test_a_pronoun_may_stand_before_its_noun_or_at_the_end(tmp_path: Path) -> None:
    text = "他来了，见到了小王"
    target = {"span1_index": 7, "span1_text": "小王", "span2_index": 0, "span2_text": "他"}
    rows = [wsc(number) for number in range(30)]
    write(tmp_path, "train.json", rows)
    write(tmp_path, "dev.json", [wsc(40), {"text": text, "target": target, "label": "false"}])
    assert splits("clue/wsc2020", tmp_path).test[1].text == "[他]来了，见到了_小王_"


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("clue/csl", {**csl(3), "keyword": "肾病"}, "the keywords are no list of strings"),
        ("clue/csl", {**csl(3), "keyword": ["肾病", 3]}, "the keywords are no list of strings"),
        ("clue/csl", {"abst": "实验", "label": "1"}, "the keywords are no list of strings"),
        ("clue/csl", {**csl(3), "keyword": []}, "one of the two texts is empty"),
        ("clue/wsc2020", wsc(3, span1_index=0), "at index 0 stands '第3', not '小李'"),
        ("clue/wsc2020", wsc(3, span2_index=-1), "span2 has no text or no index"),
        ("clue/wsc2020", wsc(3, span2_index=99), "at index 99 stands '', not '他'"),
        ("clue/wsc2020", wsc(3, span1_text=""), "span1 has no text or no index"),
        ("clue/wsc2020", {"text": "小王", "label": "true"}, "there is no text with a target"),
    ],
)
def test_a_row_that_is_none_is_named_and_can_be_left_out(
    tmp_path: Path, name: str, row: dict[str, object], reason: str
) -> None:
    make = csl if name == "clue/csl" else wsc
    write(tmp_path, "train.json", [make(100), row, *(make(number) for number in range(30))])
    write(tmp_path, "dev.json", [make(200), make(201)])
    with pytest.raises(DataError, match=rf"train\.json:2: {reason}"):
        splits(name, tmp_path)
    found = splits(name, tmp_path, on_error="skip")
    assert [(one.line, one.kind in ("type", "empty-text")) for one in found.bad_rows] == [(2, True)]
    assert len(found.train) + len(found.dev) == 31


@pytest.mark.parametrize("name", ["clue/chid", "clue/c3"])
def test_multiple_choice_is_refused_by_name_with_what_there_is(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is multiple choice.*clue/csl"):
        find_benchmark(name)
    with pytest.raises(ConfigError, match="multiple choice"):
        task_behind(name)
    assert name not in BENCHMARKS
