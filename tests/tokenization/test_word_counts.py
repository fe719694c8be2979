from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertine.tokenization import word_counts
from albertine.tokenization.normalization import Rules, basic_words
from albertine.tokenization.word_counts import count_words, cut_text, runs_of_text

LOWER = Rules(lowercase=True, strip_accents=True)
CASED = Rules(lowercase=False, strip_accents=False)


def test_words_are_counted_as_the_tokenizer_sees_them() -> None:
    counted = count_words(["Café, café!", "北京北 x1\tx1", "", "ﬁn\u0000e"], LOWER)
    assert counted.words == Counter(
        {"cafe": 2, ",": 1, "!": 1, "北": 2, "京": 1, "x1": 2, "ﬁne": 1}  # NFC keeps the ligature
    )
    assert counted.characters["北"] == 2
    assert counted.characters["1"] == 2
    assert counted.forgotten_words == 0
    assert count_words(["Café"], CASED).words == Counter({"Café": 1})


def test_words_the_tokenizer_gives_up_on_are_left_out_but_their_characters_count() -> None:
    counted = count_words(["q" * 101 + " r"], LOWER)
    assert counted.words == Counter({"r": 1})
    assert counted.characters["q"] == 101


@given(
    st.lists(st.text("abÉ北京., \n\u3000", max_size=30), max_size=8),
    st.integers(1, 40),
)
def test_the_size_of_the_runs_changes_nothing_but_for_words_cut_where_there_is_no_white_space(
    texts: list[str], size: int
) -> None:
    assert "".join(part for text in texts for part in cut_text(text, size)) == "".join(texts)
    words = Counter(
        word.text
        for text in texts
        for part in text.split()
        for letter in _split(part)
        for word in basic_words(letter, LOWER)
    )
    assert count_words(texts, LOWER).words == words


def _split(part: str) -> list[str]:
    """Split Chinese characters off."""
    return "".join(f" {letter} " if letter in "北京" else letter for letter in part).split()


def test_long_texts_are_cut_at_white_space() -> None:
    text = "word " * 1000
    runs = list(runs_of_text([text, "short"], 333))
    assert all(len(run) <= 2 * 333 for run in runs)
    assert all(set(run.split()) <= {"word", "short"} for run in runs)
    assert max(map(len, cut_text("北" * 1000, 99))) == 99


def test_memory_is_bounded_and_what_is_forgotten_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "CHARACTERS_AT_ONCE", 500)
    generator = random.Random(3)
    rare = [f"rare{generator.getrandbits(60)}" for _ in range(7000)]
    words = [word for index, word in enumerate(rare) for word in (word, "often", f"some{index % 5}")]
    counted = count_words(
        [" ".join(words[start : start + 9]) for start in range(0, len(words), 9)], LOWER, most_words=300
    )
    assert len(counted.words) <= 300
    assert counted.words["often"] == 7000
    assert [counted.words[f"some{index}"] for index in range(5)] == [1400] * 5
    kept = counted.words.total()
    assert kept + counted.forgotten_occurrences == len(words)
    assert counted.forgotten_words > 6000
    assert counted.characters.total() == sum(map(len, words))


def test_a_count_is_too_low_by_no_more_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "CHARACTERS_AT_ONCE", 300)
    generator = random.Random(8)
    words = [f"w{min(int(generator.paretovariate(0.6)), 99999)}" for _ in range(20_000)]
    counted = count_words(words, LOWER, most_words=200)
    right = Counter(words)
    assert counted.largest_error > 0
    for word, count in counted.words.items():
        assert right[word] - counted.largest_error <= count <= right[word]
