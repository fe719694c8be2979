"""Texts of evaluation data in every format: a long and a short one of each file are found in documents."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import logging
import lzma
import tarfile
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from albertine.data.evaluation_texts import EvaluationText, evaluation_files, read_evaluation_texts
from albertine.data.overlap import OverlapIndex, OverlapIndexBuilder
from albertine.errors import DataError

LONG = 'The old clockmaker said "never, never again" and carried eleven broken watches down to the river bank.'
SHORT = "Who carried the eleven watches to the river?"
LONG_ZH = "老钟表匠说再也不修了，然后把十一块坏掉的手表带到河边，埋在柳树下面。"
SHORT_ZH = "谁把手表带到了河边？"
"""Nine characters, of which a label beside them would make ten."""


def tokens(text: str) -> list[str]:
    return text.replace('"', "").replace(",", " ,").replace(".", " .").replace("?", " ?").split()


def index_of(path: Path) -> OverlapIndex:
    builder = OverlapIndexBuilder()
    builder.add([text.text for text in read_evaluation_texts(path)])
    return builder.build()


def found(path: Path, *texts: str) -> bool:
    """Whether every text is found within a document."""
    documents = [f"A document begins. {text} And it ends in another way." for text in texts]
    return len(index_of(path).find(documents).texts) == len(texts)


def squad() -> str:
    answer = {"text": "the river bank", "answer_start": 60}
    question = {"id": "q1", "question": SHORT, "answers": [answer], "is_impossible": False}
    return json.dumps(
        {"version": "2.0", "data": [{"title": "T", "paragraphs": [{"context": LONG, "qas": [question]}]}]}
    )


def snips() -> str:
    cut = LONG.index("ven broken")
    pieces = [{"text": LONG[:cut]}, {"text": LONG[cut : cut + 12], "entity": "thing"}, {"text": LONG[cut + 12 :]}]
    short = [{"text": "Who carried the "}, {"text": "eleven watches", "entity": "thing"}, {"text": " to the river?"}]
    return json.dumps({"Carry": [{"data": pieces}, {"data": short}]})


def columns(divider: str, *, numbered: bool = False) -> str:
    blocks = []
    for text in (LONG, SHORT):
        rows = [[token, "NN", "O" if place else "B-X"] for place, token in enumerate(tokens(text))]
        if numbered:
            rows = [[str(place), token, *rest] for place, (token, *rest) in enumerate(rows, 1)]
        blocks.append("\n".join(divider.join(row) for row in rows))
    return "\n\n".join(blocks) + "\n"


def aste() -> str:
    return "".join(f"{' '.join(tokens(text))}####[([2], [4, 5], 'NEG')]\n" for text in (LONG, SHORT))


def opinions() -> str:
    long, short = LONG.replace("eleven", "$T$"), SHORT.replace("eleven", "$T$")
    return f"{long}\neleven\n-1\n{short}\neleven\n1\n"


FORMATS: dict[str, str] = {
    "quoted.csv": 'text,label\n"{}",1\n{},0\n'.format(LONG.replace('"', '""'), SHORT),
    "torn.csv": f"text,label\n{LONG},1\n{SHORT},0\n",
    "lines.csv": 'id,text\n7,"{}"\n8,{}\n'.format(LONG.replace('"', '""').replace(" and ", "\nand\n"), SHORT),
    "table.tsv": f"index\tsentence\tlabel\n0\t{LONG}\t1\n1\t{SHORT}\t0\n",
    "no_header.txt": f"pos\t{LONG}\nneg\t{SHORT}\n",
    "blank_lines.tsv": f"{LONG}\t1\n\n{SHORT}\t0\n",
    "rows.jsonl": f"{json.dumps({'text': LONG, 'label': 1})}\n{json.dumps({'text': SHORT, 'label': 0})}\n",
    "rows.json": json.dumps([{"a": LONG, "b": SHORT, "score": 3.5}], indent=2),
    "one_after_another.json": "".join(json.dumps({"t": text}, indent=1) + "\n" for text in (LONG, SHORT)),
    "damaged.jsonl": f'{{"text": "{LONG[:-5]}\n{json.dumps({"text": SHORT})}\n{json.dumps({"text": LONG})}\n',
    "named.json": json.dumps({LONG: "pos", SHORT: "neg"}),
    "words.jsonl": "".join(json.dumps({"tokens": tokens(text), "tags": [0, 1]}) + "\n" for text in (LONG, SHORT)),
    "nested": json.dumps([[[LONG], {"turns": [{"text": "Hello."}, {"text": SHORT}]}]]),
    "squad.json": squad(),
    "snips.json": snips(),
    "plain.txt": f"{LONG}\n{SHORT}\n",
    "seq.in": f"{' '.join(tokens(LONG)).lower()}\n{' '.join(tokens(SHORT)).lower()}\n",
    "wrapped": f"{textwrap.fill(LONG, 30)}\n\n{SHORT}\n",
    "numbered.txt.test": f"1 {LONG}\n2 {SHORT}\n",
    "fasttext.txt": f"__label__a __label__b {LONG}\n__label__c {SHORT}\n",
    "pairs.txt": f"{LONG} ||| {SHORT}\n",
    "two.conll": columns("\t"),
    "blanks.conll": columns(" "),
    "universal.conllu": columns("\t", numbered=True),
    "triplets.txt": aste(),
    "opinions.raw": opinions(),
    "markup.xml": f'<doc id="1">\n <seg id="1">{LONG}</seg><seg id="2">{SHORT}</seg>\n</doc>\n',
}


@pytest.mark.parametrize("name", FORMATS)
def test_long_and_short_texts_of_every_format_are_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(FORMATS[name], encoding="utf-8")
    assert found(path, LONG, SHORT)


def characters(text: str) -> str:
    return "".join(f"{character} {'B-X' if place == 1 else 'O'}\n" for place, character in enumerate(text))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("characters.txt", f"{characters(LONG_ZH)}\n{characters(SHORT_ZH)}"),
        ("names.json", "\n".join(json.dumps({"text": text, "label": {"钟": 1}}) for text in (LONG_ZH, SHORT_ZH))),
        ("divided.raw", f"{' '.join(LONG_ZH.replace('手表', '$'))}\n手 表\n-1\n{SHORT_ZH}\n".replace("$", "$T$")),
        ("titles.txt", f"{LONG_ZH}\t3\n{SHORT_ZH}\t5\n"),
        ("pairs.csv", f"{LONG_ZH},{SHORT_ZH},0.5\n"),
    ],
)  # fmt: skip
def test_chinese_texts_are_found(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert found(tmp_path / name, LONG_ZH, SHORT_ZH)


def zipped(data: bytes, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__MACOSX/._rubbish", b"\x00\x05")
        for name in names:
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("part/1/README.md", "part/1/texts.tsv"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zstd(data: bytes) -> bytes:
    return bytes(pyarrow.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize(
    ("suffix", "packed"),
    [
        (".gz", gzip.compress),
        (".xz", lzma.compress),
        (".zst", zstd),
        (".zip", lambda data: zipped(data, "texts.tsv")),
        (".zip", lambda data: zipped(gzip.compress(data), "a/texts.tsv.gz", "b/texts.tsv.gz")),
        (".tar", tarred),
        (".tar.xz", lambda data: lzma.compress(tarred(data))),
    ],
)
def test_packed_files_are_unpacked(tmp_path: Path, suffix: str, packed: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"texts.tsv{suffix}"
    path.write_bytes(packed(FORMATS["table.tsv"].encode()))
    assert found(path, LONG, SHORT)


def test_a_parquet_table_is_read_with_lists_in_its_fields(tmp_path: Path) -> None:
    table = pyarrow.table({"id": [1, 2], "tokens": [tokens(LONG), tokens("a b")], "question": ["none", SHORT]})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert found(tmp_path / "rows.parquet", LONG, SHORT)


@pytest.mark.parametrize("encoding", ["gb18030", "big5", "utf-16", "utf-8-sig"])
def test_other_encodings_are_recognised(tmp_path: Path, encoding: str) -> None:
    text = "河邊的老人說：今年的雨水比往年多，山上的茶樹長得很好。" * 30 + "\n誰在河邊的柳樹下面埋了十一塊手錶呢\n"
    (tmp_path / "texts.txt").write_bytes(text.encode(encoding))
    assert found(tmp_path / "texts.txt", "誰在河邊的柳樹下面埋了十一塊手錶呢")


def test_a_few_accents_of_a_western_encoding_are_read_right(tmp_path: Path) -> None:
    rows = [{"text": f"{number} {SHORT}"} for number in range(50)]
    rows.append({"text": "Play the café déjà vu song by Beyoncé on my new kitchen speaker tonight please"})
    path = tmp_path / "songs.json"
    path.write_bytes(json.dumps(rows, ensure_ascii=False).encode("latin-1"))
    assert found(path, "the café déjà vu song by Beyoncé on my new kitchen speaker tonight please")


def test_texts_are_counted_once_however_often_they_are_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "wrapped.txt"
    path.write_text("one\ntwo\nthree\n", encoding="utf-8")
    texts = list(read_evaluation_texts(path))
    assert [text.text for text in texts if not text.again] == ["one", "two", "three"]
    assert EvaluationText("one\ntwo\nthree", again=True) in texts


@pytest.mark.parametrize("name", ["squad.json", "rows.jsonl", "rows.tsv", "rows.parquet"])
def test_an_answer_is_a_part_of_its_text_and_not_looked_for_alone(tmp_path: Path, name: str) -> None:
    answer = "never again and carried eleven broken watches down to"
    row = {
        "context": LONG.replace('"', "").replace(",", ""),
        "answers": {"text": [answer], "start": [3]},
        "question": SHORT,
    }
    if name == "squad.json":
        question = {"question": SHORT, "answers": [{"text": answer}]}
        content = json.dumps({"data": [{"paragraphs": [{"qas": [question], "context": row["context"]}]}]})
        (tmp_path / name).write_text(content, encoding="utf-8")
    elif name == "rows.jsonl":
        (tmp_path / name).write_text(json.dumps(row | {"labels": {answer: 1}}), encoding="utf-8")
    elif name == "rows.tsv":
        (tmp_path / name).write_text(f"a\tb\tc\n{row['context']}\t{answer}\t{SHORT}\n", encoding="utf-8")
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / name)
    assert found(tmp_path / name, LONG, SHORT)
    assert not found(tmp_path / name, answer)


def test_a_long_file_has_all_runs_that_go_over_line_ends(tmp_path: Path) -> None:
    words = [f"word{number:04d}" for number in range(997)]
    path = tmp_path / "one_word_a_line.txt"
    path.write_text("\n".join(words), encoding="utf-8")
    runs = [" ".join(words[start : start + 13]) for start in range(len(words) - 12)]
    assert len(index_of(path).find(runs).texts) == len(runs)


def test_a_folder_is_read_through_all_levels_without_what_is_about_the_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("en/test/seq.in", "en/test/label", "readme_texts.tsv", "license.csv", "zh/dev.json"):
        (tmp_path / "sets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sets" / name).write_text("x", encoding="utf-8")
    about = ("README.md", "en/LICENSE", "en/LICENCE.txt", "zh/.cache.json", "load.py", "Citation.bib")
    for name in about:
        (tmp_path / "sets" / name).write_text("x", encoding="utf-8")
    (tmp_path / "sets" / ".git").mkdir()
    (tmp_path / "sets" / ".git" / "config").write_text("x", encoding="utf-8")
    with caplog.at_level(logging.INFO, logger="albertine"):
        files = evaluation_files([tmp_path / "sets", tmp_path / "sets" / "zh" / "dev.json"])
    assert [file.name for file in files] == [
        "sets/en/test/label",
        "sets/en/test/seq.in",
        "sets/license.csv",
        "sets/readme_texts.tsv",
        "sets/zh/dev.json",
    ]
    for name in (*about, ".git/"):
        assert name.split("/")[-1] in caplog.text
    assert [file.name for file in evaluation_files([tmp_path / "sets" / "README.md"])] == ["README.md"]
    assert len(evaluation_files([str(tmp_path / "sets" / "**" / "*.json")])) == 1


def test_what_is_no_text_is_passed_over_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    contents = {
        "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "weights.bin": bytes(range(256)) * 9,
        "a.pdf": b"%PDF-1.7 text",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        assert list(read_evaluation_texts(tmp_path / name)) == []
        assert name in caplog.text
    (tmp_path / "packed.bz2").write_bytes(bz2.compress(b"text " * 5000))
    assert list(read_evaluation_texts(tmp_path / "packed.bz2")) == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cut.gz", gzip.compress(LONG.encode() * 9)[:-20]),
        ("cut.zip", zipped(LONG.encode() * 9, "a.txt")[:-40]),
        ("cut.tar", tarred(LONG.encode() * 99)[:-11000]),
        ("cut.parquet", b"PAR1 and no more"),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=name):
        list(read_evaluation_texts(tmp_path / name))


def test_what_is_not_there_is_an_error_that_names_what_is(tmp_path: Path) -> None:
    (tmp_path / "test.tsv").write_text("x", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"tests\.tsv.*test\.tsv"):
        evaluation_files([tmp_path / "tests.tsv"])
    with pytest.raises(DataError, match="holds no evaluation texts"):
        evaluation_files([tmp_path / "empty"])
    with pytest.raises(DataError, match="no such file"):
        evaluation_files([tmp_path / "*.json"])


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("answer/cmrc2018/cmrc2018_dev.json.xz", 848 + 2500),
        ("answer/squad2_dev_half/dev-v2.0.json.xz", 646 + 5000),
        ("classify/sst2/dev.tsv", 750),
        ("pair/mrpc/msr_paraphrase_test.txt", 2 * 1700),
        ("tag/wnut17/emerging.test.annotated", 1000),
        ("tag/cluener/dev.json", 1300),
        ("intent/atis/test/seq.in", 650),
        ("opinion/aste_14lap/test_triplets.txt", 250),
        ("fairness/winobias/pro_stereotyped_type1.txt.test", 396),
        ("translate/multi30k_en_de/test_2016_flickr.en.gz", 900),
    ],
)
def test_the_texts_of_real_files_are_looked_for(data_dir: Path, name: str, least: int) -> None:
    texts = list(read_evaluation_texts(data_dir / name))
    taken = OverlapIndexBuilder().add([text.text for text in texts])
    assert sum(one and not text.again for one, text in zip(taken.tolist(), texts, strict=True)) >= least
