from __future__ import annotations

from pathlib import Path

import pytest

from albertine.data.columns import Columns, has_known_header, resolve
from albertine.data.readers import read_examples
from albertine.errors import ConfigError, DataError


def found(names: str, columns: Columns | None = None, *, labelled: bool = True) -> tuple[int, int | None, int | None]:
    layout = resolve(names.split(","), columns or Columns(), where="a.csv", labelled=labelled)
    return layout.text, layout.text_pair, layout.label


@pytest.mark.parametrize(
    ("names", "places"),
    [
        ("text,label", (0, None, 1)),
        ("label,text_a,text_b", (1, 2, 0)),
        ("cat,label,review", (2, None, 1)),
        ("sentence,label", (0, None, 1)),
        (",split,topic,label,TEXT", (4, None, 3)),
        ("Quality,#1 ID,#2 ID,#1 String,#2 String", (3, 4, 0)),
        ("sentence1,sentence2,label", (0, 1, 2)),
        ("text,category", (0, None, 1)),
        ("id,title,class", (1, None, 2)),
        ("评论,标签", (0, None, 1)),
        ("words,label", (0, None, 1)),
        ("text,mood", (0, None, 1)),
        ("text,title,label", (0, None, 2)),
    ],
)
def test_usual_names_are_found(names: str, places: tuple[int, int | None, int | None]) -> None:
    assert found(names) == places


def test_what_was_guessed_is_said() -> None:
    layout = resolve(["cat", "label", "review"], Columns(), where="a.csv", labelled=True)
    assert "the label is column 'label'; --label-column cat would take that one" in layout.notes
    assert "the text is taken from column 'review'" in layout.notes
    assert layout.columns == Columns(text="review", label="label")
    assert resolve(["text", "label"], Columns(), where="a.csv", labelled=True).notes == ()


@pytest.mark.parametrize(
    ("names", "what", "received"),
    [
        ("title,content,label", "several columns could be the text", "'title', 'content'"),
        ("question,sentence,label", "several columns could be the text", "'question', 'sentence'"),
        ("text,category,sentiment", "several columns could be the label", "'category', 'sentiment'"),
        ("alpha,beta,gamma", "no column has a name by which it could be the text", "'alpha', 'beta', 'gamma'"),
        ("index,sentence", "no column has a name by which it could be the label", "'index', 'sentence'"),
        ("doc_id,doc", "no column has a name by which it could be the label", "'doc_id', 'doc'"),
    ],
)
def test_what_cannot_be_guessed_names_the_candidates_and_the_option(names: str, what: str, received: str) -> None:
    with pytest.raises(DataError) as caught:
        found(names)
    assert what in str(caught.value)
    assert received in str(caught.value)
    assert "-column" in str(caught.value.next_step)


def test_columns_are_taken_by_name_without_regard_to_case() -> None:
    assert found("Review Text,Stars,id", Columns(text="review text", label="stars")) == (0, None, 1)
    assert found("a,b,c", Columns(text="c", text_pair="a", label="b")) == (2, 0, 1)


def test_a_missing_column_names_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no column 'reveiw'.*Did you mean --text-column 'review'\?$"):
        found("review,label", Columns(text="reveiw"))
    with pytest.raises(DataError, match=r"Name one of these with --label-column\.$"):
        found("review,label", Columns(label="?"))


def test_a_label_is_optional_where_none_is_needed() -> None:
    assert found("index,sentence", labelled=False) == (1, None, None)
    assert found("sentence,label", labelled=False) == (0, None, 1)
    assert found("index,sentence", Columns(label="label"), labelled=False) == (1, None, None)


def test_columns_given_by_number_mean_that_there_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("ham\tsee you\t2\nspam\twin a prize\t1\n", encoding="utf-8")
    result = read_examples(path, columns=Columns(text="2", label="1"))
    assert [(e.text, e.label, e.line) for e in result.examples] == [("see you", "ham", 1), ("win a prize", "spam", 2)]
    assert result.columns == Columns(text="2", label="1")
    # A cell of the first row that happens to be such a number is no header either.
    assert [e.label for e in read_examples(path, columns=Columns(text="2", label="3")).examples] == ["2", "1"]


def test_a_header_of_usual_names_is_seen_even_if_columns_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("label,review\n1,good\n0,bad\n", encoding="utf-8")
    result = read_examples(path, columns=Columns(text="2", label="1"))
    assert [e.text for e in result.examples] == ["good", "bad"]
    assert any("taken as a header" in note for note in result.notes)
    assert has_known_header(["index", "sentence"])
    assert not has_known_header(["ham", "text"])


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("ham\tsee you\nspam\twin\n", encoding="utf-8")
    with pytest.raises(DataError, match="column 3 was asked for"):
        read_examples(path, columns=Columns(text="3", label="1"))
    with pytest.raises(DataError, match="--label-column"):
        read_examples(path, columns=Columns(text="2"))
    with pytest.raises(DataError, match="--text-column"):
        read_examples(path, columns=Columns(label="1"))


def test_a_file_without_a_header_gets_the_right_numbers_suggested(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"{'ham' if n % 3 else 'spam'}\tmessage number {n}\n" for n in range(13)), encoding="utf-8")
    with pytest.raises(DataError, match="--text-column 2 --label-column 1"):
        read_examples(path)


def test_rows_with_more_fields_than_usual_are_counted_from_the_left_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("1\tone\n0\ttwo\n1\tthree\tlicence\n", encoding="utf-8")
    result = read_examples(path, columns=Columns(text="2", label="1"))
    assert [e.text for e in result.examples] == ["one", "two", "three"]
    assert any("1 rows have more than the usual 2 fields" in note and "line 3" in note for note in result.notes)


def test_contradicting_columns_are_refused() -> None:
    with pytest.raises(ConfigError, match="without a first"):
        Columns(text_pair="b")
    with pytest.raises(ConfigError, match="twice"):
        Columns(text="a", label="a")
