from __future__ import annotations

from pathlib import Path

import pytest

from albertine.data.encodings import decode, recognise
from albertine.data.readers import read_examples
from albertine.errors import ConfigError, DataError

CHINESE = (
    "标签,评论\n好,这家店的东西很好吃，服务也不错，下次还会再来的\n差,等了一个小时才上菜，味道也很一般，不会再去了\n"
)
TRADITIONAL = "這家店的東西很好吃，服務也不錯，下次還會再來的。等了一個小時才上菜，味道也很一般，不會再去了\n"
FRENCH = "text,label\nUn café très agréable à côté de l'hôtel,bon\nLe dîner était froid et cher,mauvais\n"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (CHINESE.encode("gbk"), "gb18030"),
        (CHINESE.encode("utf-8"), "utf-8"),
        (CHINESE.encode("utf-16"), "utf-16"),
        (CHINESE.encode("utf-16-le"), "utf-16-le"),
        (CHINESE.encode("utf-16-be"), "utf-16-be"),
        (FRENCH.encode("utf-16-le"), "utf-16-le"),
        (FRENCH.encode("utf-16-be"), "utf-16-be"),
        (TRADITIONAL.encode("big5"), "big5"),
        (FRENCH.encode("cp1252"), "cp1252"),
    ],
)
def test_encodings_are_recognised(data: bytes, name: str) -> None:
    guess = recognise(data)
    assert guess is not None
    assert guess.name == name


def test_ascii_and_noise_are_not_taken_for_anything() -> None:
    assert recognise(b"plain text") is None
    assert recognise(bytes(range(0x80, 0x100)) * 3) is None


def test_utf8_with_a_damaged_letter_is_not_taken_for_chinese() -> None:
    text = "canción, corazón, niño, mañana, São Paulo, ".encode() * 5
    assert recognise(text + b"caf\xe9, fin") is None


@pytest.mark.parametrize(
    ("written", "advice"),
    [("gb18030", "GBK"), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("big5", "Big5"), ("cp1252", "Windows-1252")],
)
def test_a_wrong_encoding_is_named_with_the_option_to_pass(tmp_path: Path, written: str, advice: str) -> None:
    text = {"big5": "label,text\n1," + TRADITIONAL, "cp1252": FRENCH}.get(written, CHINESE)
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(written))
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert advice in str(caught.value)
    name = str(caught.value.next_step).split("--encoding ")[1]
    assert read_examples(path, encoding=name).examples


def test_the_line_and_the_byte_of_the_first_bad_byte_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\none,x\ntwo,y\n" + "三,x\n".encode("gbk"))
    with pytest.raises(DataError, match=r"a\.csv:4: .*byte 0xc8"):
        read_examples(path)


def test_utf8_that_is_to_be_read_as_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CHINESE.encode())
    for wrong in ("latin-1", "gb18030", "cp1252"):
        with pytest.raises(DataError, match="--encoding utf-8"):
            read_examples(path, encoding=wrong)
    assert decode("naïve".encode("latin-1"), "latin-1", where="a").content == "naïve"


def test_a_few_damaged_lines_are_bad_rows_and_the_rest_is_read(tmp_path: Path) -> None:
    good = "".join(f"这是第{number}条评论，写得很清楚,好\n" for number in range(99))
    path = tmp_path / "a.csv"
    path.write_bytes(f"评论,标签\n{good}".encode() + b"\xff\xfe broken,\xe5\xa5\xbd\n" + "最后一条,坏\n".encode())
    with pytest.raises(DataError, match=r"a\.csv:101"):
        read_examples(path)
    result = read_examples(path, on_error="skip")
    assert len(result.examples) == 100
    assert [(row.line, row.kind) for row in result.bad_rows] == [(101, "encoding")]


def test_skipping_bad_rows_does_not_hide_a_wrong_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CHINESE.encode("gb18030"))
    with pytest.raises(DataError, match="--encoding gb18030"):
        read_examples(path, on_error="skip")


def test_an_encoding_that_does_not_exist_is_refused() -> None:
    for name in ("utf-99", "base64", "a\0b"):
        with pytest.raises(ConfigError, match="unknown encoding"):
            decode(b"text", name, where="a")
