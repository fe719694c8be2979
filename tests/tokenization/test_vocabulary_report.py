from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertine.tokenization.learn import learn_vocabulary
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.vocabulary_report import HeldOut, UnknownText, measured
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel


def tokenizer(*tokens: str) -> Tokenizer:
    return Tokenizer(WordPieceModel([*SPECIAL_TOKENS, *tokens], rules=Rules(lowercase=True, strip_accents=True)))


def test_every_count_of_a_small_text_is_right() -> None:
    found = measured(tokenizer("new", "##er", "low", "北", "京", ","), ["Newer, low 北京x 东 东", " new"], name="v")
    # new ##er , low 北 京 [UNK] [UNK] [UNK] new
    assert (found.tokens, found.unknown_tokens) == (10, 3)
    assert (found.words, found.word_tokens, found.whole_words) == (4, 5, 2)  # newer low x new
    assert (found.chinese_characters, found.chinese_tokens) == (4, 4)
    assert (found.characters, found.known_characters) == (17, 14)
    assert found.frequent_unknowns == (UnknownText(text="东", count=2), UnknownText(text="x", count=1))
    assert found.coverage == pytest.approx(14 / 17)
    assert found.unknown_rate == pytest.approx(0.3)
    assert found.tokens_per_word == pytest.approx(1.25)
    assert found.whole_word_rate == pytest.approx(0.5)
    assert found.characters_per_token == pytest.approx(1.7)
    assert found.tokens_per_chinese_character == pytest.approx(1.0)


def test_an_unknown_word_is_not_a_whole_one() -> None:
    found = measured(tokenizer("a"), ["a b"], name="v")
    assert (found.words, found.whole_words) == (2, 1)


def test_pieces_of_several_chinese_characters_are_counted_once() -> None:
    unigram = learn_vocabulary(
        ["我们喜欢北京的天气", "我们说北京", "天气的我们", "说喜欢"] * 30, kind="unigram", size=60
    )
    found = measured(unigram, ["我们喜欢北京"], name="v")
    assert found.chinese_characters == 6
    assert found.chinese_tokens < 6
    assert found.tokens_per_chinese_character == pytest.approx(found.chinese_tokens / 6)


@given(st.lists(st.text("ab北 ,é", max_size=9), max_size=6))
def test_shares_are_shares_whatever_the_text(texts: list[str]) -> None:
    found = measured(tokenizer("a", "##b", "b"), texts, name="v")
    for share in (found.coverage, found.unknown_rate, found.whole_word_rate):
        assert share is None or 0.0 <= share <= 1.0
    assert found.characters == sum(len("".join(text.split())) for text in texts)


def test_without_texts_there_are_no_rates() -> None:
    found = measured(tokenizer("a"), [], name="v")
    assert found.coverage is None
    assert found.tokens_per_word is None
    assert found.to_dict()["unknown_rate"] is None


@given(st.integers(0, 99), st.integers(2, 7), st.integers(1, 60))
def test_a_text_is_either_set_apart_or_handed_on_and_the_rest_of_memory_is_bounded(
    number: int, every: int, most: int
) -> None:
    texts = [f"{index:03}" for index in range(number)]
    held_out = HeldOut(every, most)
    rest = list(held_out.rest(texts))
    assert sorted(rest + held_out.texts) == texts
    assert sum(map(len, held_out.texts)) <= max(most, 3)
    assert held_out.texts == texts[held_out.every - 1 :: held_out.every]
    assert held_out.every % every == 0
