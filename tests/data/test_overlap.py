"""Which documents share thirteen words or characters in a row with an evaluation text."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.data import overlap
from albertine.data.overlap import LEAST_DISTINCT, SHORTEST, OverlapIndex, OverlapIndexBuilder
from albertine.errors import DataError

RUN = 13
ENGLISH = "Before the café opened, eleven small brown goats walked slowly over the first planks (nobody asked them)."
CHINESE = "渡船开走以前，十一只棕色的小山羊慢慢走过湿漉漉的木板，谁也没有叫它们来。"
WORDS = [word.strip(",.()").lower() for word in ENGLISH.split()]
CHARACTERS = [character for character in CHINESE if character.isalnum()]


def index_of(*texts: str) -> OverlapIndex:
    builder = OverlapIndexBuilder()
    builder.add(texts)
    return builder.build()


def overlaps(index: OverlapIndex, document: str) -> bool:
    return bool(len(index.find([document]).texts))


@pytest.mark.parametrize(
    "document",
    [
        ENGLISH,
        f"A title\n\nSomething else came first. {ENGLISH} And the story goes on.",
        ENGLISH.upper(),
        ENGLISH.replace(",", "").replace("(", "— “").replace(" ", "\n"),
        "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in ENGLISH),
        ENGLISH.replace("fi", "\N{LATIN SMALL LIGATURE FI}"),
        unicodedata.normalize("NFD", ENGLISH),
        " ".join(WORDS[2 : 2 + RUN]),
    ],
)
def test_a_sentence_is_found_whatever_its_case_width_and_punctuation(document: str) -> None:
    assert overlaps(index_of(ENGLISH), document)
    assert overlaps(index_of(document), ENGLISH)


@pytest.mark.parametrize(
    "document",
    [
        f"前言。{CHINESE}后记。",
        " ".join(CHINESE),
        CHINESE.replace("，", ",\n").replace("。", "！"),
        "".join(CHARACTERS[5 : 5 + RUN]),
        CHINESE.replace("十一只", "⼗⼀只"),
    ],
)
def test_a_chinese_sentence_is_found_by_its_characters(document: str) -> None:
    assert overlaps(index_of(CHINESE), document)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_twelve_units_in_a_row_are_no_overlap(language: str, place: int) -> None:
    units, blank, text = (WORDS, " ", ENGLISH) if language == "en" else (CHARACTERS, "", CHINESE)
    other = "somewhere" if language == "en" else "鹤"
    near = [other, *units[place : place + 12], other]
    assert not overlaps(index_of(text), blank.join(near))
    assert overlaps(index_of(text), blank.join([other, *units[place : place + 13], other]))


@pytest.mark.parametrize("length", range(SHORTEST, RUN))
def test_a_short_text_is_found_as_a_whole_only(length: int) -> None:
    index = index_of(" ".join(WORDS[:length]))
    assert (index.runs, index.wholes) == (0, 1)
    assert overlaps(index, f"They said: {' '.join(WORDS[:length])}; and laughed.")
    assert not overlaps(index, f"They said: {' '.join(WORDS[: length - 1])}; and laughed.")
    assert not overlaps(index, f"They said: {' '.join(WORDS[1:length])}; and laughed.")


def test_what_is_too_short_or_says_nothing_is_not_looked_for() -> None:
    numbers = " ".join(str(number) for number in range(1990, 2020))
    texts = [" ".join(WORDS[: SHORTEST - 1]), "哈" * 40, numbers, "", "…!?", "好的" * 10]
    builder = OverlapIndexBuilder()
    assert builder.add([*texts, ENGLISH, " ".join(WORDS[:SHORTEST])]).tolist() == [False] * len(texts) + [True, True]
    assert not len(builder.build().find([f"First {text} last" for text in texts]).hashes)


def test_a_run_does_not_go_on_from_one_text_into_the_next() -> None:
    half = len(WORDS) // 2
    assert not overlaps(index_of(" ".join(WORDS[:half]), " ".join(WORDS[half:])), " ".join(WORDS[half - 6 : half + 7]))
    found = index_of(ENGLISH).find([" ".join(WORDS[:9]), " ".join(WORDS[9:]), "", ENGLISH])
    assert found.texts.tolist() == [3]


def test_chinese_may_need_longer_runs_than_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "RUN_CHARACTERS", 20)
    index = index_of(CHINESE, "一只羊慢慢走过湿漉漉的木板了吗", ENGLISH)
    assert overlaps(index, "鹤" + "".join(CHARACTERS[3:23]) + "鹤")
    assert not overlaps(index, "鹤" + "".join(CHARACTERS[3:22]) + "鹤")
    assert overlaps(index, "谁说一只羊慢慢走过湿漉漉的木板了吗？")
    assert not overlaps(index, "一只羊慢慢走过湿漉漉的木板了")
    assert overlaps(index, " ".join(WORDS[2:15]))
    assert not overlaps(index, " ".join(WORDS[2:14]))


def test_the_shared_passage_is_shown_as_it_stands_in_the_document() -> None:
    document = f"It rained. {ENGLISH.upper()} It stopped."
    passage = index_of(ENGLISH).find(["nothing", document]).passage(0)
    assert passage == "BEFORE THE CAFÉ OPENED, ELEVEN SMALL BROWN GOATS WALKED SLOWLY OVER THE FIRST"
    assert index_of(CHINESE).find([f"“{CHINESE}"]).passage(0) == "渡船开走以前，十一只棕色的小"


def test_every_run_is_given_once_a_text_and_the_text_of_runs_that_overlap_is_kept_once() -> None:
    runs = len(WORDS) - RUN + 1
    short = " ".join(WORDS[3:12])
    documents = ["nothing", f"First {ENGLISH} Then: {ENGLISH.upper()}", ENGLISH, f"And {short} it was. {CHINESE}"]
    shared = index_of(ENGLISH, short).find(documents)
    assert shared.owners.tolist() == [1] * (runs + 1) + [2] * (runs + 1) + [3]
    assert len(set(shared.hashes.tolist())) == runs + 1
    assert shared.hashes[: runs + 1].tolist() == shared.hashes[runs + 1 : -1].tolist()
    assert shared.hashes[-1] in shared.hashes[: runs + 1]
    assert shared.passage(len(shared.hashes) - 1) == short
    assert [shared.passage(run).split()[0] for run in range(3)] == ["Before", "the", "café"]
    stretch = ENGLISH.removesuffix(").")
    assert shared.codes.tobytes().decode("utf-16-le") == stretch + stretch + short


LETTERS = st.lists(st.sampled_from(["a", "B", "ab", "山", "羊", "船", "7", "é", "ﬁ", "😀", "𠀀"]), max_size=60)
BLANKS = st.sampled_from([" ", ", ", "\n", "。"])


def reference(text: str) -> list[str]:
    """The units of a text whose words all stand between blanks."""
    units: list[str] = []
    for word in unicodedata.normalize("NFKC", text).lower().replace(",", " ").replace("。", " ").split():
        units += [word] if word.isascii() or word == "é" else list(word)
    return units


@given(st.lists(LETTERS, max_size=5), st.lists(LETTERS, max_size=5), BLANKS)
@settings(max_examples=150)
def test_what_is_found_is_what_a_plain_comparison_finds(
    evaluation: list[list[str]], documents: list[list[str]], blank: str
) -> None:
    texts = [blank.join(one) for one in evaluation]
    wanted: set[tuple[str, ...]] = set()
    for units in map(reference, texts):
        length = min(len(units), RUN)
        for start in range(len(units) - length + 1) if length >= SHORTEST else ():
            run = tuple(units[start : start + length])
            if len({unit for unit in run if unit != "7"}) >= LEAST_DISTINCT:
                wanted.add(run)
    joined = [blank.join([*one, *(evaluation[0] if evaluation else [])]) for one in documents]
    expected = set()
    for place, units in enumerate(map(reference, joined)):
        runs = {
            tuple(units[start : start + length])
            for length in range(SHORTEST, RUN + 1)
            for start in range(len(units) - length + 1)
        }
        expected |= {(place, run) for run in runs & wanted}
    shared = index_of(*texts).find(joined)
    found = [(owner, tuple(reference(shared.passage(run)))) for run, owner in enumerate(shared.owners.tolist())]
    assert sorted(found) == sorted(expected)


def test_a_text_of_any_length_is_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "MOST_CODES", 1000)
    monkeypatch.setattr(overlap, "_SHARED_CODES", 200)
    index = index_of(ENGLISH)
    for place in (0, 780, 870, 960, 1700, 2400):
        document = ("tin " * 700)[:place] + f" {ENGLISH} " + "tin " * 300
        assert overlaps(index, document), place
    long = "".join(f"{word} {number} " for number, word in enumerate(WORDS * 60))
    assert overlaps(index_of(long), " ".join(long.split()[500 : 500 + RUN]))


def test_an_index_is_the_same_after_it_was_written_and_read(tmp_path: Path) -> None:
    index = index_of(ENGLISH, " ".join(WORDS[:9]))
    index.save(tmp_path / "index.npy")
    again = OverlapIndex.load(tmp_path / "index.npy")
    assert (again.runs, again.wholes) == (index.runs, index.wholes) == (len(WORDS) - RUN + 1, 1)
    documents = [ENGLISH, CHINESE, " ".join(WORDS[:9])]
    one, other = index.find(documents), again.find(documents)
    assert one.texts.tolist() == [0, 2]
    assert (one.hashes.tolist(), one.codes.tolist()) == (other.hashes.tolist(), other.codes.tolist())
    content = np.load(tmp_path / "index.npy")
    np.save(tmp_path / "short.npy", content[:-1])
    (tmp_path / "none.npy").write_bytes(b"nothing of the kind")
    for name in ("short.npy", "none.npy"):
        with pytest.raises(DataError, match=name):
            OverlapIndex.load(tmp_path / name)


def test_the_order_and_number_of_texts_do_not_matter() -> None:
    texts = [f"{word} {ENGLISH} {number}" for number, word in enumerate(WORDS)]
    one, other = index_of(*texts, CHINESE), OverlapIndexBuilder()
    for text in [CHINESE, *reversed(texts), *texts]:
        other.add([text])
    assert one.runs == other.build().runs
