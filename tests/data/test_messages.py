"""What messages call rows, by what the files hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from albertine.data.check import check_data
from albertine.data.formats import DataFormat, valued_texts
from albertine.data.questions import QUESTIONS
from albertine.data.samples import load_splits
from albertine.data.scored_pairs import scored_pairs
from albertine.data.tagging import TAGGED_TEXTS
from albertine.data.translations import TRANSLATIONS
from albertine.errors import ConfigError, DataError


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def tagged(number: int, label: str = "PER") -> dict[str, object]:
    return {"text": f"Ada met Bob {number}", "spans": [[0, 3, label]]}


def asked(number: int, context: str) -> dict[str, object]:
    return {"question": f"who is {number} ?", "context": context, "answers": [{"text": "Ada", "start": 0}]}


def pair(one: str, other: str, score: float = 1.0) -> dict[str, object]:
    return {"text_a": one, "text_b": other, "score": score}


def found(path: Path, task: str) -> dict[str, tuple[str, str]]:
    return {one.kind: (one.severity, one.message) for one in check_data(path, task=task, near=False).findings}


def test_tagged_texts_that_disagree_are_shown_with_their_spans(tmp_path: Path) -> None:
    path = written(tmp_path / "data.jsonl", tagged(0), *(tagged(number) for number in range(4)), tagged(3, "ORG"))
    conflict = next(
        one for one in check_data(path, task="token-classification").findings if one.kind == "conflicting-labels"
    )
    assert conflict.message == "data.jsonl: texts that have other spans in another row: 1"
    assert conflict.examples[0].text == "Ada met Bob 3 (0-3:PER; line 6: 0-3:ORG)"
    notes = load_splits(path, format=TAGGED_TEXTS).notes
    assert "1 texts have other spans in another row (all rows kept)" in notes


def test_labels_and_numbers_that_disagree_are_shown(tmp_path: Path) -> None:
    path = written(tmp_path / "data.jsonl", *({"text": f"text {n % 5}", "label": str(n // 5)} for n in range(10)))
    severity, message = found(path, "text-classification")["conflicting-labels"]
    assert (severity, message) == ("warning", "data.jsonl: texts that stand under more than one label: 5")
    findings = check_data(path).findings
    assert (
        next(one for one in findings if one.kind == "conflicting-labels")
        .examples[0]
        .text.endswith("(label 0; line 6: 1)")
    )
    notes = load_splits(path, format=valued_texts()).notes
    assert "5 texts have another number in another row (all rows kept)" in notes


def test_questions_of_one_context_are_no_duplicates(tmp_path: Path) -> None:
    rows = [asked(number, f"Ada wrote the story {number % 4}.") for number in range(20)]
    path = written(tmp_path / "data.jsonl", *rows)
    findings = found(path, "question-answering")
    severity, message = findings["rows-together"]
    assert severity == "info"
    assert "20 rows hold 4 separate articles or contexts" in message
    assert "duplicates" not in findings
    assert "4 separate articles or contexts" in check_data(path, task="question-answering").render()
    notes = load_splits(path, format=QUESTIONS, duplicates="drop").notes
    expected = "20 rows hold 4 separate articles or contexts: rows that belong together stay on one side of the split"
    assert expected in notes


@pytest.mark.parametrize(
    ("format", "rows", "few"),
    [
        (QUESTIONS, [asked(number, "Ada wrote.") for number in range(9)], "separate articles or contexts"),
        (
            scored_pairs(),
            [pair("one", f"other {number}") for number in range(9)],
            "groups of pairs without a text in common",
        ),
        (TRANSLATIONS, [{"source": "one", "target": f"eins {number}"} for number in range(9)], "distinct sources"),
        (TAGGED_TEXTS, [tagged(0)] * 9, "distinct texts"),
    ],
)
def test_too_little_to_divide_is_said_in_the_terms_of_the_format(
    tmp_path: Path, format: DataFormat, rows: list[dict[str, object]], few: str
) -> None:
    path = written(tmp_path / "data.jsonl", *rows)
    with pytest.raises(DataError, match=f"there are too few {few}. Received: 1"):
        load_splits(path, format=format)


def test_what_is_in_two_files_is_named_by_what_they_share(tmp_path: Path) -> None:
    train = written(tmp_path / "train.jsonl", *(asked(n, f"Ada wrote {n % 6}.") for n in range(18)))
    test = written(tmp_path / "test.jsonl", asked(99, "Ada wrote 0."), asked(98, "Ada sang."))
    notes = load_splits(train, format=QUESTIONS, test=test).notes
    assert "3 of 18 rows of train were removed because their article or context is in test too" in notes
    again = written(tmp_path / "again.jsonl", *(asked(n, "Ada wrote 0.") for n in range(3)))
    with pytest.raises(DataError, match="no row of train is left: of each, its article or context is in test too"):
        load_splits(again, format=QUESTIONS, test=test)


def test_a_sample_is_counted_in_what_stays_together(tmp_path: Path) -> None:
    rows = [pair(f"one {n // 2}", f"other {n}", n / 40) for n in range(40)]
    path = written(tmp_path / "data.jsonl", *rows)
    notes = load_splits(path, format=scored_pairs(), limit=10).notes
    assert "a sample of 10 of 20 groups of pairs without a text in common was taken (seed 0)" in notes
    with pytest.raises(ConfigError, match=r"2 groups of pairs without a text in common\. Allowed: at least 3\."):
        load_splits(path, format=scored_pairs(), limit=2)


@pytest.mark.parametrize(
    ("format", "row"),
    [(TAGGED_TEXTS, {"text": " ", "spans": []}), (QUESTIONS, asked(0, " "))],
)
def test_quotes_are_no_way_out_where_fields_have_none(
    tmp_path: Path, format: DataFormat, row: dict[str, object]
) -> None:
    path = written(tmp_path / "data.jsonl", row)
    with pytest.raises(DataError, match="none of the 1 rows can be used") as caught:
        format.read(path, on_error="skip")
    assert "--encoding" in str(caught.value)
    assert "--quoting" not in str(caught.value)
