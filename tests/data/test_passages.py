"""Long documents cut into passages: nothing is lost, everything fits, and each knows its line."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from albertine.data.passages import Passage, SourceText, passages, read_texts
from albertine.errors import ConfigError, DataError


def words(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """A token a word."""
    return np.array([len(text.split()) for text in texts], dtype=np.int64)


def characters(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.array([len(text) for text in texts], dtype=np.int64)


def cut(text: str, room: int, *, line: int = 1) -> list[Passage]:
    return passages([SourceText(((line, text),))], room=room, sizes=words)[0]


def sentences(count: int) -> list[str]:
    return [f"Sentence number {place} is here." for place in range(count)]


def test_what_fits_is_one_passage() -> None:
    assert cut("  One text.\nTwo lines. ", 4, line=7) == [Passage("One text.\nTwo lines.", 7)]
    assert cut("\n\n  One text.", 4, line=7) == [Passage("One text.", 9)]


def test_a_text_without_any_words_has_no_passage() -> None:
    assert passages([SourceText(((1, " \n "),)), SourceText(())], room=5, sizes=words) == [[], []]
    assert passages([], room=5, sizes=words) == []


@pytest.mark.parametrize("room", [5, 10, 12, 23, 40])
def test_passages_are_whole_sentences_that_overlap_and_lose_nothing(room: int) -> None:
    every = sentences(31)
    found = cut(" ".join(every), room)
    assert all(words([one.text])[0] <= room for one in found)
    held = [[one for one in every if one in passage.text] for passage in found]
    assert all(" ".join(part) == passage.text for part, passage in zip(held, found, strict=True))
    assert {one for part in held for one in part} == set(every)
    shared = [len(set(before) & set(behind)) for before, behind in itertools.pairwise(held)]
    assert all(count * 5 <= room // 4 for count in shared)
    if room >= 20:
        assert all(count >= 1 for count in shared)


def test_passages_know_the_line_on_which_they_start() -> None:
    text = "First line here. It goes on.\nSecond line here.\n\nFourth line here, at last."
    found = cut(text, 4, line=10)
    assert [(one.text.split()[0], one.line) for one in found] == [
        ("First", 10),
        ("It", 10),
        ("Second", 11),
        ("Fourth", 13),
        ("here,", 13),
    ]


def test_a_sentence_that_is_too_long_is_cut_at_blanks_and_kept_whole() -> None:
    text = " ".join(f"word{place}" for place in range(53))
    found = cut(text, 7)
    assert all(words([one.text])[0] <= 7 for one in found)
    assert {word for one in found for word in one.text.split()} == set(text.split())


def test_text_without_blanks_is_cut_between_characters() -> None:
    text = "".join(chr(0x4E00 + place) for place in range(100))
    found = passages([SourceText(((0, text),))], room=9, sizes=characters)[0]
    assert all(len(one.text) <= 9 and one.line == 0 for one in found)
    assert set("".join(one.text for one in found)) == set(text)


def test_chinese_sentences_stand_together_without_blanks() -> None:
    found = passages([SourceText(((0, "今天下雨。他在家。她出门了。"),))], room=10, sizes=characters)[0]
    assert [one.text for one in found] == ["今天下雨。他在家。", "她出门了。"]


# --- files


def files(folder: Path) -> Path:
    (folder / "b.txt").write_text("\nOne line.\nTwo lines.\n\n\nAnother paragraph.\n", encoding="utf-8")
    (folder / "a.md").write_text("# Title\n\nSome words.\n", encoding="utf-8")
    (folder / "c.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in ("row one", "row two")))
    return folder


def test_paragraphs_lines_and_files_are_documents_with_their_lines(tmp_path: Path) -> None:
    folder = files(tmp_path)

    def read(granularity: str) -> list[tuple[str, tuple[tuple[int, str], ...]]]:
        return [(Path(one.file).name, one.blocks) for one in read_texts([folder], granularity=granularity)]  # type: ignore[arg-type]

    assert read("paragraph") == [
        ("a.md", ((1, "# Title"),)),
        ("a.md", ((3, "Some words."),)),
        ("b.txt", ((2, "One line.\nTwo lines."),)),
        ("b.txt", ((6, "Another paragraph."),)),
        ("c.jsonl", ((1, "row one"),)),
        ("c.jsonl", ((2, "row two"),)),
    ]
    assert read("file")[1] == ("b.txt", ((2, "One line.\nTwo lines."), (6, "Another paragraph.")))
    assert [blocks[0][0] for name, blocks in read("line") if name == "b.txt"] == [2, 3, 6]


def test_a_file_is_cut_into_passages_that_know_their_lines(tmp_path: Path) -> None:
    documents = list(read_texts([files(tmp_path) / "b.txt"], granularity="file"))
    found = passages(documents, room=4, sizes=words)
    assert found == [[Passage("One line.\nTwo lines.", 2), Passage("Another paragraph.", 6)]]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="paragraph"):
        list(read_texts([tmp_path], granularity="page"))  # type: ignore[arg-type]
    (tmp_path / "bad.txt").write_bytes("好的。\n".encode("gb18030") * 20)
    with pytest.raises(DataError, match=r"bad\.txt.*gb18030"):
        list(read_texts([tmp_path / "bad.txt"]))
