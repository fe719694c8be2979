"""Rows of tokens and tags, as Hugging Face's data sets are written to JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from albertine.data.columns import Columns
from albertine.data.results import ReadResult
from albertine.data.samples import load_splits
from albertine.data.tagging import TAGGED_TEXTS, read_tagged_texts
from albertine.errors import DataError
from albertine.records import Example

ADA = {
    "id": "0",
    "tokens": ["Ada", "Lovelace", "met", "Babbage", "."],
    "ner_tags": ["B-PER", "I-PER", "O", "B-PER", "O"],
}
NOBODY = {"id": "1", "tokens": ["So", "it", "is"], "ner_tags": ["O", "O", "O"]}


def read(folder: Path, *rows: object, name: str = "data.jsonl", **options: object) -> ReadResult:
    path = folder / name
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    return read_tagged_texts(path, **options)  # type: ignore[arg-type]


def said(example: Example) -> list[tuple[str, str]]:
    assert example.spans is not None
    for span in example.spans:
        assert example.text[span.start : span.end] == span.text
    return [(span.text, span.label) for span in example.spans]


def test_tokens_and_tags_become_a_text_and_its_spans(tmp_path: Path) -> None:
    result = read(tmp_path, ADA, NOBODY)
    first, second = result.examples
    assert (first.text, second.text) == ("Ada Lovelace met Babbage .", "So it is")
    assert said(first) == [("Ada Lovelace", "PER"), ("Babbage", "PER")]
    assert second.spans == ()
    assert (first.line, second.line) == (1, 2)
    assert result.columns == Columns(text="tokens", label="ner_tags")
    assert any("the tags are BIO" in note for note in result.notes)


def test_an_array_and_other_usual_keys(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    rows = [{"words": ADA["tokens"], "tags": ADA["ner_tags"]}, {"words": NOBODY["tokens"], "tags": NOBODY["ner_tags"]}]
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    assert said(read_tagged_texts(path).examples[0]) == [("Ada Lovelace", "PER"), ("Babbage", "PER")]


def test_characters_are_joined_as_in_columns(tmp_path: Path) -> None:
    text = "他2008年在NBA打过7.7分"
    tags = ["O"] * len(text)
    tags[7:10] = ["B-ORG", "I-ORG", "I-ORG"]
    result = read(tmp_path, {"tokens": list(text), "ner_tags": tags})
    assert result.examples[0].text == text
    assert said(result.examples[0]) == [("NBA", "ORG")]


def test_other_keys_are_asked_for_by_name(tmp_path: Path) -> None:
    row = {**ADA, "pos_tags": ["B-NP", "I-NP", "O", "B-NP", "O"], "forms": ["a", "b", "c", "d", "e"]}
    result = read(tmp_path, row, columns=Columns(text="forms", label="pos_tags"))
    assert said(result.examples[0]) == [("a b", "NP"), ("d", "NP")]
    with pytest.raises(DataError, match=r"the tags cannot be found.*id, tokens.*--label-column"):
        read(tmp_path, {"id": 0, "tokens": ["a"]})
    with pytest.raises(DataError, match=r"the tags cannot be found.*Allowed: other"):
        read(tmp_path, ADA, columns=Columns(text="tokens", label="other"))


def test_repairs_name_the_line_of_the_row(tmp_path: Path) -> None:
    broken = {"tokens": ["x", "y", "z"], "ner_tags": ["O", "O", "I-PER"]}
    result = read(tmp_path, ADA, NOBODY, broken)
    assert said(result.examples[2]) == [("z", "PER")]
    assert any(note.endswith("begins a span: 1, the first in line 3") for note in result.notes)


def test_numbers_for_tags_are_refused_with_the_way_out(tmp_path: Path) -> None:
    rows = [{"tokens": ["a"], "ner_tags": []}, {**ADA, "ner_tags": [1, 2, 0, 1, 0]}]
    with pytest.raises(DataError, match=r"jsonl:2: the tags are numbers.*\[1, 2, 0, 1, 0\].*feature\.names"):
        read(tmp_path, *rows, on_error="skip")
    # without answers the texts can be read all the same
    result = read(tmp_path, rows[1], labelled=False)
    assert (result.examples[0].text, result.examples[0].spans) == ("Ada Lovelace met Babbage .", None)


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [
        ({"tokens": ["a", "b"], "ner_tags": ["O"]}, "fields", "2 tokens and 1 tags"),
        ({"tokens": ["a"]}, "no-label", "the tags are missing"),
        ({"tokens": "a b", "ner_tags": ["O"]}, "type", "'tokens' is no list of strings"),
        ({"tokens": ["a", None], "ner_tags": ["O", "O"]}, "type", "'tokens' is no list of strings"),
        ({"tokens": ["a"], "ner_tags": "O"}, "type", "'ner_tags' is no list of strings"),
        ({"tokens": ["a"], "ner_tags": ["0"]}, "tag", "'0' is no tag"),
        ({"tokens": [], "ner_tags": []}, "empty-text", "the text is empty"),
        ("no object", "json", "a JSON object is needed here"),
    ],
)
def test_a_row_that_is_none_is_named_and_can_be_left_out(tmp_path: Path, row: object, kind: str, reason: str) -> None:
    with pytest.raises(DataError, match=rf"data\.jsonl:2: {reason}"):
        read(tmp_path, ADA, row, NOBODY)
    result = read(tmp_path, ADA, row, NOBODY, on_error="skip")
    assert [(one.kind, one.line) for one in result.bad_rows] == [(kind, 2)]
    assert [one.line for one in result.examples] == [1, 3]
    assert said(result.examples[0]) == [("Ada Lovelace", "PER"), ("Babbage", "PER")]


def test_rows_without_tags_are_read_where_none_are_needed(tmp_path: Path) -> None:
    result = read(tmp_path, {"tokens": ["a", "b"]}, {"tokens": ["c"]}, labelled=False)
    assert [(one.text, one.spans) for one in result.examples] == [("a b", None), ("c", None)]
    assert result.columns == Columns(text="tokens")
    assert said(read(tmp_path, ADA, labelled=False).examples[0])[0] == ("Ada Lovelace", "PER")


def test_a_text_with_spans_is_read_as_that_though_there_are_tokens(tmp_path: Path) -> None:
    row = {"text": "Ada sang", "tokens": ["Ada", "sang"], "spans": [[0, 3, "PER"]]}
    result = read(tmp_path, row)
    assert (result.examples[0].text, said(result.examples[0])) == ("Ada sang", [("Ada", "PER")])
    row = {"text": "Ada   sang", "tokens": ["Ada", "sang"], "ner_tags": ["B-PER", "O"]}
    assert said(read(tmp_path, row).examples[0]) == [("Ada", "PER")]


def test_a_folder_of_such_files_is_split_like_any_other(tmp_path: Path) -> None:
    for name, count in (("train", 30), ("test", 5)):
        rows = [{"tokens": ["Ada", name, str(number)], "ner_tags": ["B-PER", "O", "O"]} for number in range(count)]
        read(tmp_path, *rows, name=f"{name}.jsonl")
    found = load_splits(tmp_path, format=TAGGED_TEXTS)
    assert (len(found.train), len(found.dev), len(found.test)) == (27, 3, 5)
    assert found.labels == ("PER",)
