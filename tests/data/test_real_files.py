"""Real files, read where the shared data sets are present; the counts are those of the data's own page."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from albertine.data.check import check_data
from albertine.data.columns import Columns
from albertine.data.identity import identity
from albertine.data.readers import read_examples
from albertine.data.samples import load_splits
from albertine.errors import DataError


@pytest.mark.parametrize(
    ("name", "count", "columns"),
    [
        ("dirty/bq_corpus/dev.csv", 10_000, Columns()),
        ("dirty/mrpc_cleaned/dev_cleaned.tsv", 398, Columns()),
        ("dirty/weibo_senti/weibo_senti_100k.csv", 2_400, Columns()),
        ("dirty/stsb_original/sts-dev.tsv", 1_500, Columns(text="6", text_pair="7", label="5")),
        ("pair/mrpc/dev.tsv", 408, Columns()),
        ("pair/mrpc/train.tsv", 3_667, Columns()),
        ("pair/mrpc/msr_paraphrase_test.txt", 1_725, Columns()),
        ("pair/lcqmc/dev.txt", 8_802, Columns(text="1", text_pair="2", label="3")),
        ("pair/stsb_zh/stsb-zh-dev.csv", 1_500, Columns(text="1", text_pair="2", label="3")),
        ("classify/sst2/train.tsv.xz", 67_349, Columns()),
        ("classify/sst2/dev.tsv", 872, Columns()),
        ("classify/cola/train.tsv", 8_551, Columns(text="4", label="2")),
        ("classify/sms_spam/SMSSpamCollection", 5_574, Columns(text="2", label="1")),
        ("classify/thucnews_titles/dev.txt", 10_000, Columns(text="1", label="2")),
        ("intent/banking77/train.csv", 10_003, Columns()),
        ("fairness/cold/test.csv", 5_323, Columns()),
    ],
)
def test_files_are_read_whole(data_dir: Path, name: str, count: int, columns: Columns) -> None:
    result = read_examples(data_dir / name, columns=columns)
    assert len(result.examples) == count
    assert result.bad_rows == ()


def test_gbk_is_recognised_named_and_read(data_dir: Path) -> None:
    path = data_dir / "dirty/sim_webank/sim_webank.csv"
    with pytest.raises(DataError, match=r"sim_webank\.csv:2: .*--encoding gb18030"):
        read_examples(path)
    result = read_examples(path, encoding="gb18030")
    assert len(result.examples) == 20_019
    assert Counter(example.label for example in result.examples)["1"] == 9_934


def test_quoted_records_over_many_lines_are_ten(data_dir: Path) -> None:
    result = read_examples(data_dir / "dirty/covid_qa/docs.tsv", labelled=False)
    assert len(result.examples) == 10
    assert all(example.text.count("\n") > 5 for example in result.examples)


@pytest.mark.parametrize(
    ("name", "count", "positive"),
    [
        ("classify/online_shopping_10_cats/online_shopping_10_cats.zip", 62_774, None),
        ("classify/chnsenticorp_hotel/ChnSentiCorp_htl_all.csv.xz", 7_766, 5_322),
    ],
)
def test_the_one_empty_review_stops_or_is_left_out(data_dir: Path, name: str, count: int, positive: int | None) -> None:
    with pytest.raises(DataError, match=f"the text is empty \\(the only bad row among {count}\\)"):
        read_examples(data_dir / name)
    result = read_examples(data_dir / name, on_error="skip")
    assert len(result.examples) == count - 1
    assert [row.kind for row in result.bad_rows] == ["empty-text"]
    if positive is not None:
        assert Counter(example.label for example in result.examples)["1"] == positive


def test_sst2_works_as_a_folder(data_dir: Path) -> None:
    splits = load_splits(data_dir / "classify/sst2")
    assert len(splits.test) == 872
    assert len(splits.train) + len(splits.dev) == 67_349
    assert not {identity(e) for e in splits.train} & {identity(e) for e in (*splits.dev, *splits.test)}
    assert "dev.tsv serves as test, and a tenth of train as dev" in splits.notes


def test_cola_works_as_a_folder_of_numbered_columns(data_dir: Path) -> None:
    splits = load_splits(data_dir / "classify/cola", columns=Columns(text="4", label="2"))
    assert len(splits.test) == 1_043
    assert splits.counts.overlaps_removed == 16


def test_damaged_characters_and_marks_of_real_files_are_found(data_dir: Path) -> None:
    titles = check_data(
        data_dir / "classify/thucnews_titles/test.txt", columns=Columns(text="1", label="2"), near=False
    )
    assert {f.kind: f.count for f in titles.findings}["replacement-character"] == 27
    weibo = check_data(data_dir / "dirty/weibo_senti/weibo_senti_100k.csv", near=False)
    counts = {f.kind: f.count for f in weibo.findings}
    assert counts["byte-order-mark"] == 2
    assert counts["conflicting-labels"] == 33
