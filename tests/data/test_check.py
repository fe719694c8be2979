from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from albertine.data.check import DataCheck, check_data
from albertine.data.columns import Columns
from albertine.data.findings import Finding, snippet
from albertine.errors import ConfigError, DataError
from albertine.records import Tokens


def write(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    path.write_text("\n".join(["text\tlabel", *("\t".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def rows(good: int, bad: int) -> list[tuple[str, str]]:
    return [(f"{'好' * (n % 7)} good {n * n}", "good") for n in range(good)] + [
        (f"bad {n * n}", "bad") for n in range(bad)
    ]


def finding(check: DataCheck, kind: str) -> Finding:
    found = [finding for finding in check.findings if finding.kind == kind]
    assert len(found) == 1, [finding.kind for finding in check.findings]
    return found[0]


class Letters:
    """A tokenizer for the test: one token a character, digits unknown, two special tokens a text, three a pair."""

    unk_id = 1

    def tokenize(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        special_tokens: bool = True,
        offsets: bool = True,
    ) -> Tokens:
        del max_length, special_tokens, offsets
        wholes = list(texts) if pairs is None else [a + " " + b for a, b in zip(texts, pairs, strict=True)]
        ids = [[2, *(1 if c.isdigit() else 5 for c in whole), 3] for whole in wholes]
        starts = np.cumsum([0, *map(len, ids)])
        flat = np.array([token for row in ids for token in row], dtype=np.int32)
        return Tokens(ids=flat, token_type_ids=np.zeros(len(flat), dtype=np.uint8), starts=starts)


def test_clean_data_has_nothing_but_the_remark_that_no_tokenizer_was_given(tmp_path: Path) -> None:
    check = check_data(write(tmp_path / "a.tsv", rows(13, 9)))
    assert [finding.kind for finding in check.findings] == ["not-measured"]
    assert check.worst == "info"
    assert check.files[0].label_counts == {"bad": 9, "good": 13}
    kinds = [finding.kind for finding in check_data(tmp_path / "a.tsv", tokenizer=Letters()).findings]
    assert "length" in kinds
    assert "not-measured" not in kinds


def test_bad_rows_are_errors_with_their_lines(tmp_path: Path) -> None:
    check = check_data(write(tmp_path / "a.tsv", [*rows(13, 9), ("", "good"), ("no label", ""), ("one\ttwo", "good")]))
    assert finding(check, "empty-text").examples[0].line == 24
    assert finding(check, "no-label").examples[0].line == 25
    assert finding(check, "fields").examples[0].line == 26
    assert finding(check, "fields").severity == "error"
    assert check.files[0].bad_rows == 3


def test_imbalance_names_what_always_answering_one_label_would_get(tmp_path: Path) -> None:
    check = check_data(write(tmp_path / "a.tsv", rows(130, 10)))
    found = finding(check, "imbalance")
    assert found.severity == "warning"
    assert "'good' has 130 rows, 'bad' 10" in found.message
    assert "92.9%" in found.message
    assert finding(check_data(write(tmp_path / "b.tsv", rows(40, 10))), "imbalance").severity == "info"


def test_labels_that_cannot_be_learnt_are_errors(tmp_path: Path) -> None:
    found = finding(check_data(write(tmp_path / "a.tsv", rows(13, 0))), "one-label")
    assert found.severity == "error"
    found = finding(check_data(write(tmp_path / "b.tsv", [*rows(13, 9), ("x one", "rare")])), "rare-label")
    assert "'rare'" in found.message
    assert found.examples[0].line == 24


def test_what_nothing_is_trained_on_may_lack_labels(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(13)))
    (tmp_path / "test.csv").write_text("text,label\nanother,1\n")
    kinds = {finding.kind for finding in check_data(tmp_path).findings}
    assert not kinds & {"rare-label", "one-label"}


def test_labels_that_differ_in_case_alone_are_pointed_out(tmp_path: Path) -> None:
    check = check_data(write(tmp_path / "a.tsv", [*rows(13, 9), *((f"more {n}", "Good") for n in range(9))]))
    assert "'good' and 'Good'" in finding(check, "labels-alike").message


def test_duplicates_and_contradicting_labels_are_counted(tmp_path: Path) -> None:
    check = check_data(write(tmp_path / "a.tsv", [*rows(13, 9), ("BAD  64", "good"), ("bad 64", "bad")]))
    assert finding(check, "duplicates").count == 2
    assert "(3 times)" in finding(check, "duplicates").examples[0].text
    conflict = finding(check, "conflicting-labels")
    assert conflict.count == 1
    assert "label bad; line 24: good" in conflict.examples[0].text


def test_texts_in_two_files_and_labels_of_one_alone_are_found(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", rows(13, 9))
    test = write(tmp_path / "test.tsv", [("Bad 64", "bad"), ("something else", "unheard of")])
    for paths in (tmp_path, [train, test]):
        check = check_data(paths)
        assert finding(check, "split-overlap").count == 1
        assert "line 2" in finding(check, "split-overlap").examples[0].text
        assert finding(check, "unknown-label").count == 1
    assert [file.name for file in check_data(tmp_path).files] == ["train", "test"]


def test_near_duplicates_are_found_within_and_between_files(tmp_path: Path) -> None:
    long = "the room was clean and the breakfast was very good indeed, we shall come back"
    train = write(tmp_path / "a.tsv", [*rows(13, 9), (long, "good"), (long + "!", "good")])
    test = write(tmp_path / "b.tsv", [*[(f"other {n * n}", "bad") for n in range(5)], (long + " soon", "good")])
    check = check_data([train, test])
    assert finding(check, "near-duplicates").count == 3
    assert finding(check, "near-duplicates-across").count >= 1
    assert not [f for f in check_data([train, test], near=False).findings if f.kind.startswith("near")]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("lost \ufffd character", "replacement-character"),
        ("\ufeffmark", "byte-order-mark"),
        ("a bell \x07 rings", "control-character"),
        ("cafÃ© au lait", "mojibake"),
        ("itâ€™s", "mojibake"),
        ("这家店的东西很好吃，服务也不错".encode().decode("gb18030", errors="ignore"), "mojibake"),
        ("价格便宜，质量很好".encode().decode("gb18030", errors="replace").replace("\ufffd", ""), "mojibake"),
        ("这家店".encode().decode("latin-1"), "mojibake"),
        ("锟斤拷锟斤拷", "mojibake"),
        ("one<br />two&nbsp;three", "markup"),
        ("word " * 500, "very-long-text"),
    ],
)
def test_odd_texts_are_found(tmp_path: Path, text: str, kind: str) -> None:
    check = check_data(write(tmp_path / "a.tsv", [*rows(13, 9), (text, "good")]))
    found = finding(check, kind)
    assert found.count == 1
    assert found.examples[0].line == 24


@pytest.mark.parametrize(
    "text",
    [
        "Ça va très bien à Noël, señor",
        "数据和文字都没有问题，一切正常",
        "ÄÖÜ äöüß",
        "一" * 13,
        "厚！" * 13,
        "x < y > z & more",
    ],
)
def test_healthy_texts_are_left_alone(tmp_path: Path, text: str) -> None:
    check = check_data(write(tmp_path / "a.tsv", [*rows(13, 9), (text, "good")]))
    assert [finding.kind for finding in check.findings] == ["not-measured"]


def test_lengths_truncation_and_unknown_tokens_are_measured_with_a_tokenizer(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", [("a" * 11, "x"), ("b" * 12, "y"), ("c" * 28, "x"), ("d7" * 4, "y")])
    check = check_data(path, tokenizer=Letters(), max_length=14)
    truncated = finding(check, "truncated")
    assert truncated.count == 1
    assert "25.0%" in truncated.message
    assert "(30 tokens)" in truncated.examples[0].text
    assert "the longest 30" in finding(check, "length").message
    unknown = finding(check, "unknown-tokens")
    assert unknown.count == 4
    assert "5.97%" in unknown.message
    assert "wrong tokenizer" in unknown.message
    with pytest.raises(ConfigError):
        check_data(path, max_length=0)


def test_an_unlabelled_test_file_is_read_and_noted(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", rows(13, 9))
    (tmp_path / "test.tsv").write_text("index\tsentence\n0\ta text\n1\tanother\n", encoding="utf-8")
    check = check_data(tmp_path)
    assert finding(check, "no-labels").severity == "info"
    assert check.files[1].label_counts == {}


def test_a_file_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    good = write(tmp_path / "a.tsv", rows(13, 9))
    wrong = tmp_path / "b.tsv"
    wrong.write_bytes("text\tlabel\n这家店的东西很好吃\t好\n".encode("gb18030"))
    check = check_data([good, wrong])
    assert "--encoding gb18030" in finding(check, "unreadable").message
    assert len(check.files) == 1
    with pytest.raises(DataError, match="--encoding gb18030"):
        check_data(wrong)
    with pytest.raises(DataError, match="no such file"):
        check_data([good, tmp_path / "c.tsv"])
    with pytest.raises(DataError, match="no file"):
        check_data([])


def test_the_result_goes_into_json_and_into_lines(tmp_path: Path) -> None:
    check = check_data(write(tmp_path / "a.tsv", [*rows(13, 9), ("", "good")]), columns=Columns(text="text"))
    document = json.loads(json.dumps(check.to_dict()))
    assert document["schema_version"] == 1
    assert document["worst"] == "error"
    assert document["files"][0]["columns"] == {"text": "text", "text_pair": None, "label": "label"}
    assert document["findings"][0]["kind"] == "empty-text"
    lines = check.render().splitlines()
    assert lines[0].startswith("a.tsv: 22 examples")
    assert "  2 labels: bad 9 (40.9%), good 13 (59.1%)" in lines
    assert "         a.tsv:24  the text is empty" in lines
    assert lines[-1] == "1 error, 0 warnings, 1 remark"


def test_snippets_escape_what_cannot_be_printed() -> None:
    assert snippet("a\x07b\ufeffc") == "a\\x07b\\ufeffc"
    assert snippet("x" * 99) == "x" * 60 + "…"
    assert snippet("x" * 99 + "\ufffd", at=99) == "…" + "x" * 30 + "\ufffd"
