from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from albertine.data.columns import Columns
from albertine.data.samples import load_splits
from albertine.data.translations import TRANSLATIONS, find_translation_files, read_translations
from albertine.errors import ConfigError, DataError

PAIRS = [("ein Hund", "a dog"), ("zwei Hunde", "two dogs")]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def rows(path: Path, **options: object) -> list[tuple[str, str | None]]:
    found = read_translations(path, **options).examples  # type: ignore[arg-type]  # test helper
    assert all(one.text_pair is None and one.label is None for one in found)
    return [(one.text, one.target) for one in found]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "pretty", "parquet", "gz"])
def test_every_kind_of_table_gives_sources_and_targets(tmp_path: Path, kind: str) -> None:
    objects = [{"source": source, "target": target, "id": place} for place, (source, target) in enumerate(PAIRS)]
    if kind == "csv":
        path = write(tmp_path, "a.csv", "source,target,id\nein Hund,a dog,0\nzwei Hunde,two dogs,1\n")
    elif kind == "tsv":
        path = write(tmp_path, "a.tsv", "id\tsource\ttarget\n0\tein Hund\ta dog\n1\tzwei Hunde\ttwo dogs\n")
    elif kind == "jsonl":
        path = write(tmp_path, "a.jsonl", "".join(json.dumps(one) + "\n" for one in objects))
    elif kind == "json":
        path = write(tmp_path, "a.json", json.dumps(objects))
    elif kind == "pretty":
        # more lines than are looked at for the names
        path = write(tmp_path, "a.jsonl", json.dumps([*objects, *objects * 50], indent=2))
        assert rows(path)[:2] == PAIRS
        assert len(rows(path)) == 102
        return
    elif kind == "parquet":
        path = tmp_path / "a.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(objects), path)
    else:
        path = write(tmp_path, "a.csv.gz", "source,target\nein Hund,a dog\nzwei Hunde,two dogs\n")
    assert rows(path) == PAIRS


def test_texts_stay_as_they_stand(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'source,target\n" zwei, drei ","two\nthree "\n')
    (example,) = read_translations(path).examples
    assert (example.text, example.target, example.line) == (" zwei, drei ", "two\nthree ", 2)
    assert example.file == str(path)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("src,tgt", Columns()),
        ("Document,Summary", Columns()),
        ("原文,译文", Columns()),
        ("de,en", Columns(text="de", label="en")),
        ("de,en", Columns(text="1", text_pair="2")),
        ("source,english", Columns(text="source", label="english")),
        ("source,target", Columns(text="source")),
        ("source,target", Columns(text="1", label="2")),
    ],
)
def test_columns_are_found_by_name_or_as_asked(tmp_path: Path, header: str, columns: Columns) -> None:
    path = write(tmp_path, "a.csv", f"{header}\nein Hund,a dog\nzwei Hunde,two dogs\n")
    result = read_translations(path, columns=columns)
    found = [(one.text, one.target) for one in result.examples]
    # by number, the first line is a row where it is not a usual header
    assert found[-2:] == PAIRS
    assert result.columns.text is not None
    assert result.columns.label is not None


def test_a_file_without_a_header_is_read_by_number(tmp_path: Path) -> None:
    path = write(tmp_path, "titles.tsv", "x\tein Hund\ta dog\nx\tzwei Hunde\ttwo dogs\n")
    assert rows(path, columns=Columns(text="2", label="3")) == PAIRS
    with pytest.raises(DataError, match=r"no columns have names of source and target.*--label-column"):
        read_translations(path)


def test_columns_that_could_be_several_things_are_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "document,text,summary\none,two,three\n")
    with pytest.raises(DataError, match="several columns could be source and target"):
        read_translations(path)
    assert rows(path, columns=Columns(text="document")) == [("one", "three")]
    with pytest.raises(ConfigError, match="two columns for the target"):
        read_translations(path, columns=Columns(text="document", text_pair="text", label="summary"))


def test_rows_without_a_source_or_a_target_are_named_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "source,target\nein Hund,a dog\n ,nothing\nnichts,\nzwei Hunde,two dogs\n")
    with pytest.raises(DataError, match=r"a\.csv:3: .*empty.*first of 2 bad rows among 4"):
        read_translations(path)
    result = read_translations(path, on_error="skip")
    assert [(one.text, one.target) for one in result.examples] == PAIRS
    assert [(row.line, row.kind) for row in result.bad_rows] == [(3, "empty-text"), (4, "empty-text")]
    assert any("2 of 4 rows left out" in note for note in result.notes)


def test_without_labels_targets_are_taken_where_there_are_some(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "source,target\nein Hund,a dog\nzwei Hunde,\n")
    assert rows(path, labelled=False) == [("ein Hund", "a dog"), ("zwei Hunde", None)]
    path = write(tmp_path, "b.jsonl", '{"source": "ein Hund"}\n{"source": "zwei Hunde"}\n')
    assert rows(path, labelled=False) == [("ein Hund", None), ("zwei Hunde", None)]
    path = write(tmp_path, "c.txt", "ein Hund\nzwei Hunde\n")
    assert rows(path, labelled=False) == [("ein Hund", None), ("zwei Hunde", None)]
    with pytest.raises(DataError):
        read_translations(path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_parallel_files_belong_together_line_by_line(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, f"train.de{suffix}", "ein Hund\r\nzwei Hunde\r\n")
    write(tmp_path, f"train.en{suffix}", "a dog\ntwo dogs\n")
    write(tmp_path, f"val.en{suffix}", "another file\n")
    result = read_translations(path)
    assert [(one.text, one.target, one.line) for one in result.examples] == [(*PAIRS[0], 1), (*PAIRS[1], 2)]
    assert result.examples[0].file == str(path)
    assert result.columns == Columns(text="de", label="en")
    assert any(f"the targets are the lines of train.en{suffix}" in note for note in result.notes)


def test_the_twin_may_be_packed_otherwise(tmp_path: Path) -> None:
    path = write(tmp_path, "train.de", "ein Hund\n")
    write(tmp_path, "train.en.gz", "a dog\n")
    assert rows(path) == PAIRS[:1]


def test_of_several_languages_one_has_to_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "train.de", "ein Hund\n")
    write(tmp_path, "train.en", "a dog\n")
    write(tmp_path, "train.fr", "un chien\n")
    with pytest.raises(DataError, match=r"several files could hold the targets.*train\.en, train\.fr"):
        read_translations(path)
    assert rows(path, columns=Columns(label="fr", text="de")) == [("ein Hund", "un chien")]
    assert rows(path, labelled=False) == [("ein Hund", None)]
    path = write(tmp_path, "train.src", "ein Hund\n")
    write(tmp_path, "train.tgt", "a dog\n")
    assert rows(path) == PAIRS[:1]


def test_a_source_file_without_its_twin_is_good_for_prediction_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "test.de", "ein Hund\nzwei Hunde\n")
    assert rows(path, labelled=False) == [("ein Hund", None), ("zwei Hunde", None)]
    with pytest.raises(DataError, match=r"no file of targets.*test\.\(another language\)"):
        read_translations(path)
    with pytest.raises(DataError, match=r"test\.en"):
        read_translations(path, columns=Columns(text="de", label="en"))


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_files_of_different_lengths_are_refused_whatever_is_asked(tmp_path: Path, on_error: str) -> None:
    path = write(tmp_path, "train.de", "ein Hund\nzwei Hunde\n")
    write(tmp_path, "train.en", "a dog\n")
    with pytest.raises(DataError, match=r"train\.de and train\.en: .*2 and 1 lines"):
        read_translations(path, on_error=on_error)


def test_an_empty_line_is_a_bad_row_of_the_file_it_stands_in(tmp_path: Path) -> None:
    path = write(tmp_path, "train.de", "ein Hund\nnichts\n\nzwei Hunde\n")
    twin = write(tmp_path, "train.en", "a dog\n \nnothing\ntwo dogs\n")
    with pytest.raises(DataError, match=r"train\.en:2: the target is empty \(the first of 2 bad rows among 4\)"):
        read_translations(path)
    result = read_translations(path, on_error="skip")
    assert [(one.text, one.target, one.line) for one in result.examples] == [(*PAIRS[0], 1), (*PAIRS[1], 4)]
    assert [(row.file, row.line) for row in result.bad_rows] == [(str(twin), 2), (str(path), 3)]
    assert any("2 of 4 rows left out (empty-text 2)" in note for note in result.notes)


def test_a_damaged_line_costs_its_row_and_a_wrong_encoding_is_named(tmp_path: Path) -> None:
    good = "".join(f"Zeile {number}\n" for number in range(30)).encode()
    (tmp_path / "a.de").write_bytes(good + b"Stra\xdfe\n")
    (tmp_path / "a.en").write_bytes(good + b"street\n")
    with pytest.raises(DataError, match=r"a\.de:31: the bytes are not utf-8"):
        read_translations(tmp_path / "a.de")
    result = read_translations(tmp_path / "a.de", on_error="skip")
    assert len(result.examples) == 30
    assert [(row.line, row.kind) for row in result.bad_rows] == [(31, "encoding")]
    assert rows(tmp_path / "a.de", encoding="latin-1")[-1] == ("Straße", "street")


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_translations(tmp_path / "train.de")
    path = write(tmp_path, "train.de", "")
    write(tmp_path, "train.en", "")
    with pytest.raises(DataError, match="no rows"):
        read_translations(path)
    with pytest.raises(ConfigError, match="on_error"):
        read_translations(path, on_error="perhaps")


def test_the_files_of_a_folder_are_found_by_the_sources_language(tmp_path: Path) -> None:
    for name in ("train", "val", "test_2016", "test_2017"):
        for language in ("de", "en"):
            write(tmp_path, f"{name}.{language}.gz", "x\n")
    write(tmp_path, "README.md", "what this is\n")
    with pytest.raises(DataError, match=r"cannot be told which are the sources.*--text-column de"):
        find_translation_files(tmp_path)
    columns = Columns(text="en")
    with pytest.raises(DataError, match=r"several files could be test.*test_2016\.en\.gz"):
        find_translation_files(tmp_path, columns=columns)
    found = find_translation_files(tmp_path, columns=columns, test=tmp_path / "test_2017.en.gz")
    assert found.train.name == "train.en.gz"
    assert found.dev is not None
    assert found.dev.name == "val.en.gz"
    assert found.test is not None
    assert found.test.name == "test_2017.en.gz"
    with pytest.raises(DataError, match=r"no training file.*'fr'.*de, en"):
        find_translation_files(tmp_path, columns=Columns(text="fr"))


def test_sources_that_are_named_so_need_no_hint_and_tables_are_found_as_ever(tmp_path: Path) -> None:
    parallel, tables = tmp_path / "parallel", tmp_path / "tables"
    parallel.mkdir()
    tables.mkdir()
    for language in ("src", "tgt"):
        write(parallel, f"train.{language}", "x\n")
    assert find_translation_files(parallel).train.name == "train.src"
    assert find_translation_files(parallel / "train.src").train == parallel / "train.src"
    for name in ("train.csv", "dev.csv", "train.log"):
        write(tables, name, "source,target\n")
    found = find_translation_files(tables)
    assert (found.train.name, found.dev and found.dev.name) == ("train.csv", "dev.csv")


def test_translations_of_one_source_stay_on_one_side_of_a_split(tmp_path: Path) -> None:
    lines = [f"Quelle {number // 2},target {number}" for number in range(200)]
    path = write(tmp_path, "a.csv", "source,target\n" + "\n".join(lines) + "\n")
    splits = load_splits(path, format=TRANSLATIONS)
    sides = [{one.text for one in part} for part in (splits.train, splits.dev, splits.test)]
    assert sum(map(len, sides)) == 100
    assert not sides[0] & sides[1]
    assert not (sides[0] | sides[1]) & sides[2]
    assert sum(map(len, (splits.train, splits.dev, splits.test))) == 200
    assert splits.labels == ()
    assert splits.counts.conflicting == 0


def test_parallel_files_can_be_split_and_given_by_name(tmp_path: Path) -> None:
    for name, count in (("train", 60), ("val", 7)):
        write(tmp_path, f"{name}.de", "".join(f"Satz {name} {number}\n" for number in range(count)))
        write(tmp_path, f"{name}.en", "".join(f"sentence {name} {number}\n" for number in range(count)))
    splits = load_splits(tmp_path / "train.de", format=TRANSLATIONS, dev=tmp_path / "val.de")
    assert {one.target for one in splits.test} == {f"sentence val {number}" for number in range(7)}


def test_multi30k_is_read_whole(data_dir: Path) -> None:
    folder = data_dir / "translate/multi30k_en_de"
    found = find_translation_files(folder, columns=Columns(text="en"), test=folder / "test_2016_flickr.en.gz")
    counts = {name: len(read_translations(path).examples) for name, path in found.named()}
    assert counts == {"train": 29_000, "dev": 1_014, "test": 1_000}
