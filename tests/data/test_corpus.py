from __future__ import annotations

import gzip
import io
import json
import lzma
import random
import tracemalloc
import zipfile
from itertools import islice
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.data import corpus_streams
from albertine.data.corpus import Document, ReadingReport, corpus_files, read_documents
from albertine.errors import ConfigError, DataError

PLAIN = "First line.\nSecond line.\n\n\n \nAnother document.\r\nIts end.\n\n"


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts(*paths: Path | str, **options: object) -> list[str]:
    return [document.text for document in read_documents(paths, **options)]  # type: ignore[arg-type]


def test_blank_lines_stand_between_documents(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", PLAIN)
    documents = list(read_documents([path]))
    assert documents == [
        Document(text="First line.\nSecond line.", name="a.txt:1", source=str(path), place=1),
        Document(text="Another document.\nIts end.", name="a.txt:6", source=str(path), place=6),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_one(tmp_path: Path, end: str) -> None:
    path = written(tmp_path / "a.txt", f"\ufeffone{end}two{end}{end}three")
    assert [(one.text, one.place) for one in read_documents([path])] == [("one\ntwo", 1), ("three", 4)]


def test_extracts_lose_the_repeated_title_and_keep_odd_attributes(tmp_path: Path) -> None:
    extract = (
        '<doc id="1" url="http://x/?a=1" title="A &quot;B&quot; &amp; C">\n'
        'A "B" & C\n\nThe text.\nA "B" & C\n\n</doc>\n'
        '\n<doc id="7" url="u" title="He said "go" > 5">\nHe said "go" > 5\n\n\n</doc>\n'
        '<doc id="9">\nNo title.</doc>\n'
        '<doc title="T">\nNot the title\n</doc>\n'
    )
    path = written(tmp_path / "wiki_00", extract)
    report = ReadingReport()
    documents = list(read_documents([path], report=report))
    assert [(one.name, one.text, one.place) for one in documents] == [
        ('A "B" & C', 'The text.\nA "B" & C', 1),
        ("9", "No title.", 14),
        ("T", "Not the title", 16),
    ]
    assert (report.documents, report.empty, report.files) == (3, 1, 1)
    assert report.characters == sum(len(one.text) for one in documents)
    assert texts(path, keep_titles=True)[1] == 'He said "go" > 5'


def test_json_lines_are_read_by_their_usual_key_or_the_one_given(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "text": "one\r\ntwo", "x": 1},
        {"title": "T", "text": " three "},
        {"text": ""},
        {"text": "f\ud800"},
    ]
    path = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    documents = list(read_documents([path]))
    assert [(one.name, one.text) for one in documents] == [("7", "one\ntwo"), ("T", "three"), ("a.jsonl:4", "f")]
    other = written(tmp_path / "b.txt", '{"raw": "four", "n": 5}\n{"raw": "six", "note": "x"}\n')
    assert texts(other) == ["four", "six"]
    both = written(tmp_path / "c.jsonl", '{"one": "1", "two": "2"}\n')
    with pytest.raises(DataError, match=r"c\.jsonl:1.*--text-key"):
        texts(both)
    assert texts(both, text_key="two") == ["2"]


def test_markdown_files_are_whole_documents(tmp_path: Path) -> None:
    assert texts(written(tmp_path / "a.md", "# Title\n\nOne.\n\nTwo.\n")) == ["# Title\n\nOne.\n\nTwo."]
    assert texts(written(tmp_path / "a.txt", "One.\n\nTwo.\n"), format="whole") == ["One.\n\nTwo."]


@pytest.mark.parametrize("packing", ["gz", "xz", "zst", "zip", "gz twice"])
def test_packed_files_are_unpacked_on_the_way(tmp_path: Path, packing: str) -> None:
    data = PLAIN.encode()
    path = tmp_path / "a.txt.packed"
    if packing == "gz":
        path.write_bytes(gzip.compress(data))
    elif packing == "gz twice":
        path.write_bytes(gzip.compress(data[:20]) + gzip.compress(data[20:]))
    elif packing == "xz":
        path.write_bytes(lzma.compress(data))
    elif packing == "zst":
        path.write_bytes(pyarrow.compress(data, codec="zstd", asbytes=True))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inner.txt", data)
    assert texts(path) == ["First line.\nSecond line.", "Another document.\nIts end."]


def test_a_zip_of_several_files_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1.txt", "1")
        archive.writestr("2.txt", "2")
    with pytest.raises(DataError, match="holds 2 files"):
        texts(tmp_path / "a.zip")
    for content, kind in ((b"PAR1xxxx", "Parquet"), (b"%PDF-1.4", "PDF"), (b"x" * 257 + b"ustar\x00", "archive")):
        with pytest.raises(DataError, match=kind):
            texts(written(tmp_path / "b", content))
    with pytest.raises(DataError, match="JSON Lines"):
        texts(written(tmp_path / "a.json", '[\n{"text": "x"}]'))


@pytest.mark.parametrize("packing", [gzip.compress, lzma.compress])
def test_a_truncated_archive_stops_or_gives_what_came_before(tmp_path: Path, packing: object) -> None:
    generator = random.Random(1)
    parts = [" ".join(str(generator.random()) for _ in range(500)) for _ in range(60)]
    data = packing("\n\n".join(parts).encode())  # type: ignore[operator]
    path = written(tmp_path / "a.txt.gz", data[: len(data) * 3 // 4])
    with pytest.raises(DataError, match=r"a\.txt\.gz:\d+: the file is damaged or cut short from here on"):
        texts(path)
    report = ReadingReport()
    found = texts(path, on_error="skip", report=report)
    assert found == parts[: len(found)]
    assert 10 < len(found) < 60
    assert report.skipped == {"archive": 1}
    assert report.examples[0].line > 10


def test_an_archive_that_is_damaged_from_the_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged"):
        texts(written(tmp_path / "a.zip", b"PK\x03\x04 and then nothing"))
    with pytest.raises(DataError, match="damaged"):
        texts(written(tmp_path / "a.xz", b"\xfd7zXZ\x00"))


@pytest.mark.parametrize(
    ("encoding", "name"), [("gb18030", "gb18030"), ("big5", "big5"), ("utf-16", "utf-16"), ("cp1252", "cp1252")]
)
def test_a_wrong_encoding_is_recognised_and_the_right_one_read(tmp_path: Path, encoding: str, name: str) -> None:
    text = "café à Zürich, naïve déjà vu\n" * 20 if encoding == "cp1252" else "這是一個例子，我們來看看。\n" * 20
    text = "这是一个例子，我们来看看。\n" * 20 if encoding == "gb18030" else text
    path = written(tmp_path / "a.txt", text.encode(encoding))
    for on_error in ("stop", "skip"):
        with pytest.raises(DataError, match=f"--encoding {name}"):
            texts(path, on_error=on_error)
    assert texts(path, encoding=encoding) == [text.strip()]


def test_a_damaged_line_is_named_or_left_out(tmp_path: Path) -> None:
    lines = [f"文字 {number}".encode() for number in range(300)]
    lines[200] = b"\xff\xfe broken"
    path = written(tmp_path / "a.txt", b"\n".join(lines))
    with pytest.raises(DataError, match=r"a\.txt:201"):
        texts(path)
    report = ReadingReport()
    found = texts(path, on_error="skip", report=report)
    assert len(found[0].split("\n")) == 299
    assert report.skipped == {"encoding": 1}
    assert (report.examples[0].line, report.examples[0].kind) == (201, "encoding")


def test_damage_beyond_the_first_block_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_streams, "_BLOCK", 64)
    lines = [f"文字 {number}".encode() for number in range(300)]
    lines[250] = b"abc \xff def"
    path = written(tmp_path / "a.txt", b"\n".join(lines))
    with pytest.raises(DataError, match=r"a\.txt:251: a line with bytes that are not utf-8"):
        texts(path)
    report = ReadingReport()
    assert texts(path, on_error="skip", report=report)[0].count("\n") == 298
    assert report.skipped == {"encoding": 1}


def test_an_unclosed_document_and_text_outside_are_named(tmp_path: Path) -> None:
    extract = '<doc id="1">\nlost\n<doc id="2">\nkept\n</doc>\nstray\nmore\n<doc id="3">\nlost too\n'
    path = written(tmp_path / "a.txt", extract)
    with pytest.raises(DataError, match=r"a\.txt:1: this <doc …> is not closed"):
        texts(path)
    report = ReadingReport()
    assert texts(path, on_error="skip", report=report) == ["kept"]
    assert report.skipped == {"unclosed": 2, "outside": 1}
    assert [(bad.kind, bad.line) for bad in report.examples] == [("unclosed", 1), ("outside", 6), ("unclosed", 8)]


def test_bad_rows_of_json_lines_are_named_or_left_out(tmp_path: Path) -> None:
    rows = [
        '{"text": "good"}',
        "{bad",
        "[1]",
        '{"other": 1}',
        '{"text": 5}',
        '{"text": "%s"}' % ("x" * 3000),
        '{"text": "end"}',
    ]
    path = written(tmp_path / "a.jsonl", "\n".join(rows))
    with pytest.raises(DataError, match=r"a\.jsonl:2: this line is not JSON"):
        texts(path)
    report = ReadingReport()
    assert texts(path, on_error="skip", report=report, longest=2000) == ["good", "end"]
    assert report.skipped == {"json": 2, "no-text": 1, "type": 1, "too-long": 1}
    assert [bad.line for bad in report.examples] == [2, 3, 4, 5, 6]


def test_zero_characters_are_taken_out_and_counted(tmp_path: Path) -> None:
    report = ReadingReport()
    assert texts(written(tmp_path / "a.txt", "a\x00b, and a longer text\x00\n" * 3), report=report)[0].startswith(
        "ab, and"
    )
    assert report.nul_characters == 6


def test_giant_lines_come_in_parts_and_nothing_is_lost(tmp_path: Path) -> None:
    line = " ".join(f"word{number}." for number in range(5000))
    path = written(tmp_path / "a.txt", f"before\n\n{line}\n\nafter")
    report = ReadingReport()
    documents = list(read_documents([path], longest=3000, report=report))
    parts = documents[1:-1]
    assert " ".join(part.text for part in parts) == line
    assert all(len(part.text) <= 3000 and part.text.endswith(".") for part in parts)
    assert [part.name for part in parts[:2]] == ["a.txt:3", "a.txt:3 (part 2)"]
    assert {part.place for part in parts} == {3}
    assert (documents[-1].text, documents[-1].place) == ("after", 5)
    assert report.cut == 1


def test_long_documents_are_cut_between_lines(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(900)]
    path = written(tmp_path / "a.txt", '<doc id="1" title="T">\n' + "\n".join(lines) + "\n</doc>\n")
    documents = list(read_documents([path], longest=1000))
    assert "\n".join(one.text for one in documents).split("\n") == lines
    assert documents[1].name == "T (part 2)"
    assert documents[1].text.split("\n")[0] == lines[documents[1].place - 2]


def test_folders_are_read_sorted_and_without_what_is_no_text(tmp_path: Path) -> None:
    for name in (
        "b/2.txt",
        "b/1.txt",
        "a.txt",
        "B/wiki_00",
        "c.jsonl.gz",
        "d.001",
        ".hidden",
        "picture.png",
        ".git/x.txt",
    ):
        content = gzip.compress(b'{"text": "packed"}') if name.endswith(".gz") else name.encode()
        written(tmp_path / name, content)
    found = [str(path.relative_to(tmp_path)) for path in corpus_files([tmp_path])]
    assert found == ["B/wiki_00", "a.txt", "b/1.txt", "b/2.txt", "c.jsonl.gz", "d.001"]
    assert texts(tmp_path)[-2:] == ["packed", "d.001"]


def test_globs_are_sorted_and_a_file_counts_once(tmp_path: Path) -> None:
    for name in ("2.txt", "10.txt", "sub/3.txt"):
        written(tmp_path / name, name)
    assert texts(str(tmp_path / "*.txt")) == ["10.txt", "2.txt"]
    assert texts(tmp_path / "2.txt", str(tmp_path / "**" / "*.txt"), tmp_path) == ["2.txt", "10.txt", "sub/3.txt"]
    literal = written(tmp_path / "[x].txt", "literal")
    assert texts(literal) == ["literal"]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    written(tmp_path / "corpus.txt", "x")
    written(tmp_path / "pictures" / "a.png", "x")
    for path, message in (
        (tmp_path / "corpsu.txt", r"Beside it stands corpus\.txt"),
        (tmp_path / "*.csv", "no file fits"),
        (tmp_path / "pictures", r"no text files.*\.png"),
    ):
        with pytest.raises(DataError, match=message):
            corpus_files([path])
    with pytest.raises(DataError, match="no corpus"):
        corpus_files([])


@pytest.mark.parametrize(
    "options",
    [{"on_error": "x"}, {"format": "csv"}, {"longest": 5}, {"encoding": "utf-9"}],
    ids=lambda one: next(iter(one)),
)
def test_options_that_do_not_exist_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        texts(written(tmp_path / "a.txt", "x"), **options)


def test_empty_files_give_nothing(tmp_path: Path) -> None:
    report = ReadingReport()
    assert texts(written(tmp_path / "a.txt", ""), written(tmp_path / "b.txt", "\n \n"), report=report) == []
    assert report.files == 2


def test_reports_add_up(tmp_path: Path) -> None:
    total = ReadingReport()
    for name in ("a", "b"):
        report = ReadingReport()
        texts(written(tmp_path / f"{name}.jsonl", '{"text": "x"}\nbad\n'), on_error="skip", report=report)
        total.add(report)
    assert (total.files, total.documents, total.characters, total.skipped["json"], len(total.examples)) == (
        2,
        2,
        2,
        2,
        2,
    )


@given(st.lists(st.text(alphabet="ab 文\n\r\t。<>", max_size=30), max_size=6), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_blocks_of_any_size_give_the_same_lines(parts: list[str], size: int) -> None:
    data = "\n\n".join(parts).encode()
    found = []
    for block in (size, 1 << 20):
        stream = corpus_streams.TextStream(
            path=Path("x"),
            encoding="utf-8",
            suffix="",
            longest=1000,
            binary=Reader(data[size:], block),
            first=data[:size],
            start="",
        )
        found.append([(line.number, line.text) for line in stream.lines()])
    assert found[0] == found[1]
    normal = data.decode().replace("\r\n", "\n").replace("\r", "\n")
    assert [text for _, text in found[0]] == normal.removesuffix("\n").split("\n")[: len(found[0])]


class Reader(io.BytesIO):
    def __init__(self, data: bytes, block: int) -> None:
        super().__init__(data)
        self.block = block

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self.block)


def test_memory_stays_flat(tmp_path: Path) -> None:
    peaks = []
    for count in (2_000, 8_000):
        path = tmp_path / f"{count}.txt.xz"
        with lzma.open(path, "wt", preset=0) as file:
            for number in range(count):
                file.write(f"Document {number}. " + "文字 and text. " * 60 + "\n\n")
        for _ in islice(read_documents([path]), 5):
            pass
        tracemalloc.start()
        assert sum(1 for _ in read_documents([path])) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 1_000_000
    assert peaks[1] < 32_000_000


@pytest.mark.parametrize(
    ("name", "documents", "empty"),
    [("en_wiki_0", 3000, 10), ("zh_wiki_0", 2000, 400), ("zh_lctt", 300, 0), ("zh_laws", 200, 0)],
)
def test_the_shared_corpora_are_read(data_dir: Path, name: str, documents: int, empty: int) -> None:
    report = ReadingReport()
    found = list(islice(read_documents([data_dir / "corpus" / f"{name}.txt.xz"], report=report), documents))
    assert len(found) == documents
    assert report.empty >= empty
    assert not any("<doc " in one.text or "</doc>" in one.text for one in found)
    if "wiki" in name:
        assert sum(one.text.startswith(one.name + "\n") for one in found) == 0
    assert len({one.name for one in found}) > 0.95 * documents
