from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from albertine.data.columns import Columns
from albertine.data.identity import identity, normalised
from albertine.data.samples import Splits, load_splits
from albertine.data.splitting import divide, group_texts, label_order, sample
from albertine.errors import ConfigError, DataError
from albertine.records import Example


def write(path: Path, rows: Sequence[tuple[str, str]], header: str = "text\tlabel") -> Path:
    path.write_text("\n".join([header, *("\t".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def reviews(good: int, bad: int, *, prefix: str = "") -> list[tuple[str, str]]:
    return [(f"{prefix}good review {n}", "good") for n in range(good)] + [
        (f"{prefix}bad one {n}", "bad") for n in range(bad)
    ]


def keys(examples: Sequence[Example]) -> set[bytes]:
    return {identity(example) for example in examples}


def assert_apart(splits: Splits) -> None:
    train, dev, test = keys(splits.train), keys(splits.dev), keys(splits.test)
    assert not train & dev
    assert not train & test
    assert not dev & test


def test_texts_are_the_same_whatever_their_case_width_and_blanks() -> None:
    assert normalised("\ufeffＡｂｃ  Straße\n\u200bx ") == "abc strasse x"
    assert identity(Example(text="好 吃")) == identity(Example(text="好\u3000吃", label="1"))
    assert identity(Example(text="a", text_pair="b")) != identity(Example(text="b", text_pair="a"))
    assert identity(Example(text="a", text_pair="b")) != identity(Example(text="a b"))


def test_one_file_is_split_80_10_10_with_each_label_in_proportion(tmp_path: Path) -> None:
    splits = load_splits(write(tmp_path / "a.tsv", reviews(130, 70)))
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (160, 20, 20)
    assert Counter(e.label for e in splits.test) == {"good": 13, "bad": 7}
    assert Counter(e.label for e in splits.dev) == {"good": 13, "bad": 7}
    assert_apart(splits)
    assert splits.labels == ("bad", "good")
    assert splits.source == "a.tsv"
    assert set(splits.sha256) == {"a.tsv"}
    assert splits.notes == ()


def test_another_seed_is_another_split_and_the_same_seed_the_same_whatever_the_order_of_rows(tmp_path: Path) -> None:
    rows = reviews(60, 39)
    first = load_splits(write(tmp_path / "a.tsv", rows), seed=7)
    again = load_splits(write(tmp_path / "b.tsv", rows[::-1]), seed=7)
    other = load_splits(tmp_path / "a.tsv", seed=8)
    assert keys(first.test) == keys(again.test)
    assert keys(first.dev) == keys(again.dev)
    assert keys(first.test) != keys(other.test)
    lines = [example.line for example in first.train]
    assert lines == sorted(lines)


def test_the_split_does_not_depend_on_pythons_hash_seed(tmp_path: Path) -> None:
    write(tmp_path / "a.tsv", reviews(30, 13))
    code = (
        "from albertine.data.samples import load_splits\n"
        "print([example.line for example in load_splits('a.tsv', limit=31).test])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "13")
    ]
    assert runs[0] == runs[1] != ""


def test_the_rows_of_one_text_stay_on_one_side(tmp_path: Path) -> None:
    rows = reviews(30, 30)
    rows += [(text.upper() + "  ", label) for text, label in rows[:40]]
    splits = load_splits(write(tmp_path / "a.tsv", rows))
    assert_apart(splits)
    assert len(splits.train) + len(splits.dev) + len(splits.test) == 100
    assert splits.counts.distinct == 60
    assert any("100 rows hold 60 distinct texts" in note for note in splits.notes)


def test_drop_keeps_one_row_of_each_text_with_the_label_most_have(tmp_path: Path) -> None:
    rows = [*reviews(20, 20), ("Good Review 1", "bad"), ("good review 1", "bad"), ("good review 2", "bad")]
    splits = load_splits(write(tmp_path / "a.tsv", rows), duplicates="drop")
    kept = {normalised(e.text): e.label for part in (splits.train, splits.dev, splits.test) for e in part}
    assert len(kept) == len(splits.train) + len(splits.dev) + len(splits.test) == 40
    assert kept["good review 1"] == "bad"
    assert kept["good review 2"] == "good"
    assert splits.counts.duplicates_removed == 3
    assert splits.counts.conflicting == 2
    assert any("2 texts stand under more than one label" in note for note in splits.notes)
    with pytest.raises(ConfigError, match="duplicates"):
        load_splits(tmp_path / "a.tsv", duplicates="remove")


def test_a_folder_with_three_files_keeps_its_splits(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", reviews(13, 7))
    write(tmp_path / "validation.tsv", reviews(3, 2, prefix="dev "))
    write(tmp_path / "test.tsv", reviews(4, 5, prefix="test "))
    (tmp_path / "README.md").write_text("not data", encoding="utf-8")
    (tmp_path / "train.log").write_text("not data", encoding="utf-8")
    splits = load_splits(tmp_path)
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (20, 5, 9)
    assert splits.source == "train.tsv, validation.tsv, test.tsv"


def test_texts_that_are_measured_on_are_removed_from_what_is_learnt_from(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", reviews(13, 7))
    dev = write(tmp_path / "d.tsv", [("Good review 1", "good"), ("shared", "bad"), ("own", "bad")])
    test = write(tmp_path / "t.tsv", [("bad  one 2", "bad"), ("shared", "bad")])
    splits = load_splits(train, dev=dev, test=test)
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (18, 2, 2)
    assert_apart(splits)
    assert splits.counts.overlaps_removed == 3
    assert any("2 of 20 rows of train were removed" in note for note in splits.notes)
    assert any("1 of 3 rows of dev were removed" in note for note in splits.notes)


def test_where_test_has_no_labels_dev_serves_as_test_and_a_tenth_of_train_as_dev(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", reviews(60, 40))
    write(tmp_path / "dev.tsv", reviews(3, 2, prefix="dev "))
    write(tmp_path / "test.tsv", [("0", "a text")], header="index\ttext")
    for _ in range(2):
        splits = load_splits(tmp_path)
        assert (len(splits.train), len(splits.dev), len(splits.test)) == (90, 10, 5)
        assert splits.notes == (
            "test.tsv has no labels, so it is not used",
            "dev.tsv serves as test, and a tenth of train as dev",
        )
        assert set(splits.sha256) == {"train.tsv", "dev.tsv"}
        # The same once more with the label by which published test files hide theirs.
        write(tmp_path / "test.tsv", [("a text", "-1"), ("another", "-1")])


def test_a_test_file_whose_label_is_told_by_trains_column_is_used(tmp_path: Path) -> None:
    for name, (good, bad) in {"train": (30, 20), "dev": (3, 2), "test": (4, 3)}.items():
        write(tmp_path / f"{name}.tsv", reviews(good, bad, prefix=f"{name} "), header="text\ty")
    splits = load_splits(tmp_path)
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (50, 5, 7)
    assert len(splits.sha256) == 3


def test_counts_are_those_of_the_training_file_where_others_are_given(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", [*reviews(30, 20), *reviews(13, 7)])
    write(tmp_path / "dev.tsv", reviews(3, 2, prefix="dev "))
    write(tmp_path / "test.tsv", reviews(4, 3, prefix="test "))
    counts = load_splits(tmp_path, duplicates="drop", limit=37).counts
    assert (counts.rows, counts.distinct, counts.sampled) == (70, 50, 37)


def test_a_test_file_alone_gets_a_dev_from_train(tmp_path: Path) -> None:
    train = write(tmp_path / "a.tsv", reviews(60, 40))
    test = write(tmp_path / "b.tsv", reviews(3, 2, prefix="test "))
    splits = load_splits(train, test=test)
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (90, 10, 5)


def test_an_unlabelled_test_file_by_number_does_not_disturb(tmp_path: Path) -> None:
    columns = Columns(text="4", label="2")
    for name, prefix in (("train", ""), ("dev", "dev ")):
        rows = [f"source\t{int(label == 'good')}\t*\t{text}" for text, label in reviews(13, 7, prefix=prefix)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "test.tsv").write_text("index\tsentence\n0\tone\n", encoding="utf-8")
    splits = load_splits(tmp_path, columns=columns)
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (18, 2, 20)


def test_a_label_seen_once_is_refused_with_its_name_and_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", [*reviews(13, 7), ("odd one", "strange")])
    with pytest.raises(DataError) as caught:
        load_splits(path)
    assert "the label 'strange' is seen once" in str(caught.value)
    assert f"{path}:22" in str(caught.value)
    assert caught.value.next_step
    # The same text three times is one text.
    path = write(tmp_path / "b.tsv", [*reviews(13, 7), *[("odd one", "strange")] * 3])
    with pytest.raises(DataError, match="seen once"):
        load_splits(path)


def test_one_label_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every row has the label 'good'"):
        load_splits(write(tmp_path / "a.tsv", reviews(13, 0)))


def test_labels_that_train_does_not_have_are_bad_rows(tmp_path: Path) -> None:
    train = write(tmp_path / "a.tsv", reviews(13, 7))
    test = write(tmp_path / "b.tsv", [("one", "good"), ("two", "unheard of")])
    with pytest.raises(DataError, match=r"b\.tsv:3: 1 of 2 rows of test have a label that train does not have"):
        load_splits(train, test=test)
    splits = load_splits(train, test=test, on_error="skip")
    assert len(splits.test) == 1
    assert [(row.kind, row.line) for row in splits.bad_rows] == [("unknown-label", 3)]


def test_a_file_of_pairs_does_not_go_with_one_of_single_texts(tmp_path: Path) -> None:
    train = write(tmp_path / "a.tsv", reviews(13, 7))
    (tmp_path / "b.tsv").write_text("sentence1\tsentence2\tlabel\na\tb\tgood\n", encoding="utf-8")
    with pytest.raises(DataError, match="pairs"):
        load_splits(train, test=tmp_path / "b.tsv")


def test_folders_that_do_not_say_which_file_is_what_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        load_splits(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no training file"):
        load_splits(tmp_path)
    write(tmp_path / "train.tsv", reviews(13, 7))
    write(tmp_path / "train.csv", reviews(13, 7))
    with pytest.raises(DataError, match=r"several files could be train.*train\.csv, train\.tsv"):
        load_splits(tmp_path)


def test_names_with_more_words_are_found_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "hotel-train.tsv", reviews(13, 7))
    write(tmp_path / "hotel-dev.tsv", reviews(3, 2, prefix="dev "))
    write(tmp_path / "hotel-test.tsv", reviews(4, 5, prefix="test "))
    assert len(load_splits(tmp_path).test) == 9


def test_a_limit_takes_a_sample_with_each_label_in_proportion(tmp_path: Path) -> None:
    rows = reviews(300, 100)
    rows += rows[:99]
    path = write(tmp_path / "a.tsv", rows)
    splits = load_splits(path, limit=100, duplicates="drop")
    parts = [*splits.train, *splits.dev, *splits.test]
    assert Counter(e.label for e in parts) == {"good": 75, "bad": 25}
    assert any("a sample of 100 of 400 distinct texts" in note for note in splits.notes)
    assert keys(load_splits(path, limit=100, seed=3).train) != keys(splits.train)
    assert len(load_splits(path, limit=10_000).train) == len(load_splits(path).train)
    with pytest.raises(ConfigError, match="the sample is too small"):
        load_splits(path, limit=5)


def test_a_sample_keeps_enough_of_rare_labels() -> None:
    examples = [
        Example(text=f"{label} {n}", label=label) for label, size in (("a", 990), ("b", 7)) for n in range(size)
    ]
    chosen = sample(group_texts(examples), 13, smallest=3, seed=0)
    assert Counter(group.label for group in chosen) == {"a": 10, "b": 3}


def test_every_part_gets_a_text_of_every_label() -> None:
    examples = [Example(text=f"{label} {n}", label=label) for label in "abc" for n in range(3)]
    test, dev, train = divide(group_texts(examples), shares=[0.1, 0.1], seed=0)
    for part in (test, dev, train):
        assert Counter(group.label for group in part) == {"a": 1, "b": 1, "c": 1}


def test_labels_are_sorted_by_value_where_they_are_numbers(tmp_path: Path) -> None:
    rows = [(f"text {label} {n}", label) for label in ("10", "2", "1", "-1", "b", "a", "nan") for n in range(3)]
    assert load_splits(write(tmp_path / "a.tsv", rows)).labels == ("-1", "1", "2", "10", "a", "b", "nan")
    assert sorted(["01", "1", "1.0"], key=label_order) == ["01", "1", "1.0"]
