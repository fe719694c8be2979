from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

from albertine.errors import ConfigError, DataError
from albertine.tokenization.learn import learn_vocabulary
from albertine.tokenization.tokenizer import load_tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS

SENTENCES = [
    "the lower the newer, the lowest the newest",
    "new and low, newer and lower: widest wider wide",
    "这家店很好吃，服务也好",
    "太慢了，不好吃！",
    "Café ÀÉ 2023 2024",
]


def texts(seed: int = 0) -> list[str]:
    chosen = SENTENCES * 13
    random.Random(seed).shuffle(chosen)
    return chosen


def test_special_tokens_come_first_and_no_token_comes_twice() -> None:
    tokens = learn_vocabulary(texts()).model.tokens
    assert tokens[:5] == SPECIAL_TOKENS
    assert len(set(tokens)) == len(tokens)


def test_the_same_texts_in_any_order_give_the_same_vocabulary() -> None:
    assert learn_vocabulary(texts(0), size=99).model.tokens == learn_vocabulary(iter(texts(7)), size=99).model.tokens


def test_chinese_stays_by_character() -> None:
    tokenizer = learn_vocabulary(texts())
    tokens = tokenizer.tokenize(["很好吃"], special_tokens=False)
    assert [tokenizer.id_to_token(int(index)) for index in tokens.ids] == ["很", "好", "吃"]
    assert not any(len(token) > 1 and "好" in token for token in tokenizer.model.tokens)


def test_frequent_words_become_one_piece_and_new_words_are_spelt() -> None:
    tokenizer = learn_vocabulary(texts())
    tokens = tokenizer.tokenize(["newest lowwide"], special_tokens=False)
    pieces = [tokenizer.id_to_token(int(index)) for index in tokens.ids]
    assert pieces[0] == "newest"
    assert len(pieces) > 2
    assert tokenizer.unk_id not in tokens.ids


def test_the_size_is_kept() -> None:
    assert learn_vocabulary(texts(), size=29).vocab_size == 29
    assert learn_vocabulary(texts(), size=60).vocab_size == 60


def test_case_and_accents_are_kept_when_asked() -> None:
    lowered, kept = learn_vocabulary(texts()), learn_vocabulary(texts(), lowercase=False)
    assert lowered.token_to_id("cafe") is not None
    assert kept.token_to_id("Café") is not None
    assert (lowered.lowercase, kept.lowercase) == (True, False)


def test_the_rarest_characters_are_left_out_and_the_coverage_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="albertine"):
        tokenizer = learn_vocabulary(["好" * 99, "坏"], coverage=0.99)
    assert tokenizer.token_to_id("好") is not None
    assert tokenizer.token_to_id("坏") is None
    assert "1 characters, which cover 99.000 % of 100" in caplog.text


def test_what_is_learnt_loads_again(tmp_path: Path) -> None:
    tokenizer = learn_vocabulary(texts())
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.model.tokens == tokenizer.model.tokens
    assert again.tokenize(SENTENCES).ids.tolist() == tokenizer.tokenize(SENTENCES).ids.tolist()


@pytest.mark.parametrize("empty", [[], [""], [" \n", "\x00"]])
def test_no_text_is_refused(empty: list[str]) -> None:
    with pytest.raises(DataError, match="no text"):
        learn_vocabulary(empty)


def test_sizes_and_coverages_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="10 or more"):
        learn_vocabulary(texts(), size=9)
    with pytest.raises(ConfigError, match="coverage"):
        learn_vocabulary(texts(), coverage=0.0)
