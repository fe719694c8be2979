from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.data.columns import Columns
from albertine.data.readers import read_examples
from albertine.errors import ConfigError, DataError


def write(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def rows(path: Path, **options: object) -> list[tuple[str, str | None]]:
    return [(e.text, e.label) for e in read_examples(path, **options).examples]  # type: ignore[arg-type]  # test helper


def test_csv_keeps_quoted_commas_quotes_and_line_ends_and_counts_lines_by_record(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,label\n"one, two",x\n"first\nsecond ""quoted""",y\n\nlast,x\n')
    result = read_examples(path)
    assert [(e.text, e.label, e.line) for e in result.examples] == [
        ("one, two", "x", 2),
        ('first\nsecond "quoted"', "y", 3),
        ("last", "x", 6),
    ]
    assert result.examples[0].file == str(path)
    assert result.notes == ("a.csv: 1 blank lines were passed over",)


def test_windows_and_old_macintosh_line_ends_are_read(tmp_path: Path) -> None:
    expected = [("one", "x"), ("two", "y")]
    assert rows(write(tmp_path, "windows.csv", "text,label\r\none,x\r\ntwo,y\r\n")) == expected
    assert rows(write(tmp_path, "windows.tsv", "text\tlabel\r\none\tx\r\ntwo\ty\r\n")) == expected
    assert rows(write(tmp_path, "old.csv", "text,label\rone,x\rtwo,y\r")) == expected


def test_a_byte_order_mark_at_the_start_is_taken_off_and_one_inside_is_kept_and_noted(tmp_path: Path) -> None:
    result = read_examples(write(tmp_path, "a.csv", "\ufefflabel,review\n1,\ufeff好\n0,坏\n"))
    assert [(e.text, e.label) for e in result.examples] == [("\ufeff好", "1"), ("坏", "0")]
    assert any("U+FEFF" in note and "line 2" in note for note in result.notes)


def test_quotes_are_characters_in_tsv(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", 'sentence\tlabel\n"unbalanced\t1\nhe said "no" \t0\n')
    assert rows(path) == [('"unbalanced', "1"), ('he said "no" ', "0")]


def test_a_tsv_that_is_written_with_quoted_fields_is_read_with_them(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", 'text\tlabel\n"one\ntwo\tthree"\tx\nplain\ty\n')
    result = read_examples(path)
    assert [(e.text, e.label, e.line) for e in result.examples] == [("one\ntwo\tthree", "x", 2), ("plain", "y", 4)]
    assert any("quoted" in note for note in result.notes)
    minimal = write(tmp_path, "b.tsv", 'text\tlabel\n"she said ""yes"" twice"\tx\nplain\ty\n')
    assert rows(minimal)[0] == ('she said "yes" twice', "x")
    assert rows(minimal, quoting="off")[0] == ('"she said ""yes"" twice"', "x")


def test_quoting_on_and_off_are_obeyed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,label\n"one",x\n')
    assert rows(path, quoting="off") == [('"one"', "x")]
    path = write(tmp_path, "a.tsv", 'text\tlabel\n"one"\tx\ntwo\ty\n')
    assert rows(path, quoting="on") == [("one", "x"), ("two", "y")]
    with pytest.raises(ConfigError, match="quoting"):
        read_examples(path, quoting="sometimes")


def test_a_quote_that_is_never_closed_costs_one_row_and_not_the_rest_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,label\ngood,x\n"open, and more,y\nfine,x\nalso fine,y\n')
    with pytest.raises(DataError, match=r"a\.csv:3: .*never closed"):
        read_examples(path)
    result = read_examples(path, on_error="skip")
    assert [e.text for e in result.examples] == ["good", "fine", "also fine"]
    assert [(row.line, row.kind) for row in result.bad_rows] == [(3, "quotes")]


def test_stray_quotes_are_kept_where_the_row_has_the_right_number_of_fields(tmp_path: Path) -> None:
    result = read_examples(write(tmp_path, "a.csv", 'text,label\n"credit" how,0\nplain,1\n'))
    assert result.examples[0].text == '"credit" how'
    assert any("stray quotes" in note and "line 2" in note for note in result.notes)


def test_semicolons_and_tabs_are_found_in_a_csv_and_said_aloud(tmp_path: Path) -> None:
    result = read_examples(write(tmp_path, "a.csv", "text;label\ngood, nice;1\nbad;0\n"))
    assert [(e.text, e.label) for e in result.examples] == [("good, nice", "1"), ("bad", "0")]
    assert any("semicolons" in note for note in result.notes)
    assert rows(write(tmp_path, "b.csv", "text\tlabel\ngood, nice\t1\n")) == [("good, nice", "1")]


def test_files_without_a_telling_extension_are_looked_at(tmp_path: Path) -> None:
    columns = Columns(text="2", label="1")
    assert rows(write(tmp_path, "Collection", "ham\thi, you\nspam\twin\n"), columns=columns)[1] == ("win", "spam")
    assert rows(write(tmp_path, "a.txt", "text,label\none,x\ntwo,y\n")) == [("one", "x"), ("two", "y")]
    assert rows(write(tmp_path, "b.data", '{"text": "one", "label": "x"}\n')) == [("one", "x")]


def test_plain_lines_are_texts_when_no_labels_are_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "text\nsecond, with a comma\n\nthird\n")
    result = read_examples(path, labelled=False)
    assert [(e.text, e.line) for e in result.examples] == [("text", 1), ("second, with a comma", 2), ("third", 4)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("only one field", "1 field where 2 are expected"),
        ("one,two,three", "3 fields where 2 are expected"),
        (",x", "the text is empty"),
        ("  \u3000,x", "the text is empty"),
        ("text without a label,", "the label is missing"),
    ],
)
def test_a_bad_row_stops_with_file_line_reason_and_how_many(tmp_path: Path, row: str, reason: str) -> None:
    path = write(tmp_path, "a.csv", f"text,label\none,x\n{row}\ntwo,y\n{row}\n")
    with pytest.raises(DataError) as caught:
        read_examples(path)
    message = str(caught.value)
    assert f"{path}:3: {reason} (the first of 2 bad rows among 4)" in message
    assert "--on-error skip" in message
    result = read_examples(path, on_error="skip")
    assert [e.text for e in result.examples] == ["one", "two"]
    assert [(row.line, row.reason) for row in result.bad_rows] == [(3, reason), (5, reason)]
    assert "2 of 4 rows left out" in result.notes[-1]


def test_a_record_that_runs_over_lines_with_too_few_fields_is_explained(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,label\n"one,x\ntwo,y\nthree",\n')
    with pytest.raises(DataError, match="the label is missing"):
        read_examples(path)
    path = write(tmp_path, "b.csv", 'text,label\n"one,x\ntwo,y"\n')
    with pytest.raises(DataError, match="running over 2 lines: is a quote not closed"):
        read_examples(path)


def test_empty_files_and_files_of_bad_rows_alone_are_refused(tmp_path: Path) -> None:
    for name, text in (("a.csv", ""), ("b.csv", "\n\n"), ("c.csv", "text,label\n"), ("d.jsonl", "\n")):
        with pytest.raises(DataError, match=r"the file (is empty|has no rows)"):
            read_examples(write(tmp_path, name, text))
    with pytest.raises(DataError, match="none of the 2 rows can be used"):
        read_examples(write(tmp_path, "e.csv", "text,label\n,x\n,y\n"), on_error="skip")


def test_json_lines_are_read_with_their_line_and_a_broken_line_is_a_bad_row(tmp_path: Path) -> None:
    lines = [
        '{"text": "one\u2028still one", "label": 1}',
        "",
        '{"text": "two", "label": ',
        '{"text": "three", "label": 1.0}',
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(lines))
    result = read_examples(path, on_error="skip")
    assert [(e.text, e.label, e.line) for e in result.examples] == [("one\u2028still one", "1", 1), ("three", "1", 4)]
    assert [(row.line, row.kind) for row in result.bad_rows] == [(3, "json")]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    "text",
    [
        '[{"text": "one", "label": "x"},\n {"text": "two", "label": "y"}]',
        '{\n  "text": "one",\n  "label": "x"\n}\n{\n  "text": "two",\n  "label": "y"\n}\n',
    ],
)
def test_arrays_and_pretty_printed_objects_are_read(tmp_path: Path, name: str, text: str) -> None:
    assert rows(write(tmp_path, name, text)) == [("one", "x"), ("two", "y")]


def test_a_broken_json_file_is_refused_with_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", '[{"text": "one", "label": "x"},\n{"text": "two" "label": 1}]')
    with pytest.raises(DataError, match=r"a\.json:2"):
        read_examples(path)
    with pytest.raises(DataError, match="cut short"):
        read_examples(write(tmp_path, "b.json", '[{"text": "one", "label": "x"},\n'))


def test_values_of_the_wrong_type_are_bad_rows(tmp_path: Path) -> None:
    objects: list[object] = [
        {"text": "good", "label": True},
        {"text": ["a"], "label": "x"},
        {"text": "b", "label": ["x", "y"]},
        {"label": "x"},
        {"text": "half \ud83d", "label": "x"},
        17,
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(json.dumps(value) for value in objects))
    result = read_examples(path, on_error="skip")
    assert [(e.text, e.label) for e in result.examples] == [("good", "true")]
    assert [row.kind for row in result.bad_rows] == ["type", "type", "empty-text", "encoding", "json"]


def test_parquet_labels_are_written_as_a_person_would(tmp_path: Path) -> None:
    for values, expected in (
        ([1, 0, 13], ["1", "0", "13"]),
        ([1.0, 0.5, 2.0], ["1", "0.5", "2"]),
        ([True, False, True], ["true", "false", "true"]),
        (["a", " b ", "c"], ["a", "b", "c"]),
    ):
        table = pyarrow.table({"text": ["one", "two", "three"], "label": values, "vector": [[1.0]] * 3})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        result = read_examples(tmp_path / "a.parquet")
        assert [e.label for e in result.examples] == expected
        assert [e.line for e in result.examples] == [1, 2, 3]


def test_missing_values_in_parquet_are_bad_rows(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["one", None, "three"], "label": [1.0, 2.0, float("nan")]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    result = read_examples(tmp_path / "a.parquet", on_error="skip")
    assert [row.kind for row in result.bad_rows] == ["empty-text", "no-label"]


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["one"], "label": [1]}), path)
    path.write_bytes(path.read_bytes()[:99])
    with pytest.raises(DataError, match="Parquet"):
        read_examples(path)


def test_pairs_need_both_texts(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "sentence1,sentence2,label\nfirst,second,1\nalone,,0\n")
    result = read_examples(path, on_error="skip")
    assert [(e.text, e.text_pair, e.label) for e in result.examples] == [("first", "second", "1")]
    assert result.bad_rows[0].reason == "one of the two texts is empty"


def test_unknown_ways_to_treat_bad_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="on_error"):
        read_examples(tmp_path / "a.csv", on_error="ignore")


def test_a_text_of_300000_characters_is_read_whole(tmp_path: Path) -> None:
    long = "字" * 300_000
    assert rows(write(tmp_path, "a.csv", f'text,label\n"{long}",x\n'))[0][0] == long


# Anything but lone surrogates, which no file can hold, and texts that are nothing but white space, which are bad rows.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: bool(text.strip()))
labels = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1).filter(lambda t: t == t.strip() != "")
examples = st.lists(st.tuples(texts, labels), min_size=1, max_size=13)


@settings(deadline=None)
@given(examples)
def test_whatever_is_written_as_csv_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[str, str]]
) -> None:
    written = io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerow(["text", "label"])
    writer.writerows(items)
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(written.getvalue().encode())
    assert rows(path) == items


@settings(deadline=None)
@given(examples)
def test_whatever_is_written_as_json_lines_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.jsonl"
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in items]
    path.write_bytes("\n".join(lines).encode())
    assert rows(path) == items
