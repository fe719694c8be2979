from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.errors import ConfigError, DataError
from albertine.records import Tokens
from albertine.tokenization.albert_text import TextRules
from albertine.tokenization.normalization import Rules
from albertine.tokenization.sentencepiece_model import PieceType, write_model
from albertine.tokenization.tokenizer import Tokenizer, padded
from albertine.tokenization.unigram import UnigramModel
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

LETTERS = [*"abcdefg,.!我爱", *(f"##{letter}" for letter in "abcdefg"), "the", "##bc"]


def wordpiece(*, lowercase: bool = True) -> Tokenizer:
    rules = Rules(lowercase=lowercase, strip_accents=lowercase)
    return Tokenizer(WordPieceModel([*SPECIAL_TOKENS, *LETTERS], rules=rules))


def unigram() -> Tokenizer:
    names = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "▁", "▁the", "1,", *"abcdefg1,.!"]
    types = [PieceType.CONTROL, PieceType.UNKNOWN] + [PieceType.CONTROL] * 3 + [PieceType.NORMAL] * (len(names) - 5)
    scores = [0.0] * 5 + [-1.0 - index / 13 for index in range(len(names) - 5)]
    return Tokenizer(UnigramModel(write_model(names, scores, types, b""), rules=TextRules()))


TOKENIZERS = {"uncased": wordpiece(), "cased": wordpiece(lowercase=False), "unigram": unigram()}


def names(tokenizer: Tokenizer, tokens: Tokens, row: int) -> list[str]:
    part = tokens.ids[tokens.starts[row] : tokens.starts[row + 1]]
    return [tokenizer.id_to_token(int(index)) for index in part]


def test_a_text_stands_between_cls_and_sep() -> None:
    tokenizer = wordpiece()
    tokens = tokenizer.tokenize(["a b", "", "the"])
    assert names(tokenizer, tokens, 0) == ["[CLS]", "a", "b", "[SEP]"]
    assert names(tokenizer, tokens, 1) == ["[CLS]", "[SEP]"]
    assert names(tokenizer, tokens, 2) == ["[CLS]", "the", "[SEP]"]
    assert tokens.offsets is not None
    assert tokens.offsets.tolist()[:4] == [[0, 0], [0, 1], [2, 3], [0, 0]]
    assert (tokens.ids.dtype, tokens.token_type_ids.dtype, tokens.starts.dtype, tokens.offsets.dtype) == (
        np.int32,
        np.uint8,
        np.int64,
        np.int32,
    )
    assert len(tokens.truncated) == 0


def test_a_pair_has_types_0_and_1_and_offsets_into_each_text() -> None:
    tokenizer = wordpiece()
    tokens = tokenizer.tokenize(["a b", "c"], ["d e", None])
    assert names(tokenizer, tokens, 0) == ["[CLS]", "a", "b", "[SEP]", "d", "e", "[SEP]"]
    assert tokens.token_type_ids.tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert tokens.offsets is not None
    assert tokens.offsets.tolist()[:7] == [[0, 0], [0, 1], [2, 3], [0, 0], [0, 1], [2, 3], [0, 0]]
    assert names(tokenizer, tokens, 1) == ["[CLS]", "c", "[SEP]"]


def test_special_tokens_can_be_left_out() -> None:
    tokenizer = wordpiece()
    tokens = tokenizer.tokenize(["a b"], ["c"], special_tokens=False, offsets=False)
    assert names(tokenizer, tokens, 0) == ["a", "b", "c"]
    assert tokens.token_type_ids.tolist() == [0, 0, 1]
    assert tokens.offsets is None


def test_nothing_is_cut_unless_told() -> None:
    tokens = wordpiece().tokenize(["a " * 999])
    assert tokens.lengths.tolist() == [1001]


def test_cut_texts_are_listed_and_keep_sep() -> None:
    tokenizer = wordpiece()
    tokens = tokenizer.tokenize(["a b c d e", "a b c", "a"], max_length=5)
    assert names(tokenizer, tokens, 0) == ["[CLS]", "a", "b", "c", "[SEP]"]
    assert tokens.lengths.tolist() == [5, 5, 3]
    assert tokens.truncated.tolist() == [0]


@given(first=st.integers(0, 20), second=st.integers(0, 20), room=st.integers(1, 25))
def test_a_pair_loses_tokens_from_its_longer_text_one_by_one(first: int, second: int, room: int) -> None:
    a, b = first, second
    while a + b > room:
        if a > b:
            a -= 1
        else:
            b -= 1
    tokens = wordpiece().tokenize(["a " * first], ["b " * second], max_length=room + 3)
    types = tokens.token_type_ids.tolist()
    assert (types.count(0), types.count(1)) == (a + 2, b + 1)
    assert tokens.truncated.tolist() == ([0] if first + second > room else [])


def test_a_maximum_length_without_room_for_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="4 or more"):
        wordpiece().tokenize(["a"], ["b"], max_length=3)
    with pytest.raises(ConfigError, match="3 or more"):
        wordpiece().tokenize(["a"], max_length=2)


def test_what_is_not_a_text_is_named_by_its_place() -> None:
    with pytest.raises(DataError, match=r"text 1: .*Received: nan"):
        wordpiece().tokenize(["a", float("nan")])  # type: ignore[list-item]  # the mistake under test
    with pytest.raises(DataError, match="one string"):
        wordpiece().tokenize("a")
    with pytest.raises(DataError, match="2 and 1"):
        wordpiece().tokenize(["a", "b"], ["c"])
    with pytest.raises(DataError, match="two texts"):
        wordpiece()([("a", "b", "c")])  # type: ignore[list-item]  # the mistake under test


def test_a_call_pads_texts_and_pairs_to_one_batch() -> None:
    tokenizer = wordpiece()
    batch = tokenizer(["a", ("b", "c d")])
    assert batch.input_ids.shape == (2, 6)
    assert batch.attention_mask is not None
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6]
    assert batch.input_ids[0, 3:].tolist() == [tokenizer.pad_id] * 3
    assert batch.token_type_ids.tolist() == [[0] * 6, [0, 0, 0, 1, 1, 1]]
    assert tokenizer("a").input_ids.shape == (1, 3)


def test_no_texts_give_no_rows() -> None:
    tokenizer = wordpiece()
    tokens = tokenizer.tokenize([])
    assert len(tokens) == 0
    assert padded(tokens, 0).input_ids.shape == (0, 0)
    assert len(tokenizer.tokenize([], [], max_length=13)) == 0


def test_ids_and_tokens_translate_both_ways() -> None:
    tokenizer = wordpiece()
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert tokenizer.token_to_id("nowhere") is None
    assert tokenizer.id_to_token(tokenizer.vocab_size - 1) == "##bc"
    for wrong in (-1, tokenizer.vocab_size):
        with pytest.raises(ConfigError, match="no such token id"):
            tokenizer.decode([wrong])


TEXT = st.text(
    st.one_of(st.sampled_from(" abcdefg,.1!\t\n我爱\u0301Éé\u200b\x00…``''Σ한"), st.characters()), max_size=99
)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@settings(max_examples=200, deadline=None)
@given(texts=st.lists(TEXT, max_size=4))
def test_any_text_has_offsets_in_order_that_cover_something(name: str, texts: list[str]) -> None:
    tokenizer = TOKENIZERS[name]
    tokens = tokenizer.tokenize(texts, special_tokens=False)
    assert tokens.offsets is not None
    assert len(tokens) == len(texts)
    assert tokens.ids.tolist() == tokenizer.tokenize(texts, special_tokens=False, offsets=False).ids.tolist()
    for text, row in zip(texts, tokens.rows(), strict=True):
        assert row.offsets is not None
        starts, ends = row.offsets[:, 0], row.offsets[:, 1]
        assert (starts >= 0).all()
        assert (starts < ends).all()
        assert (ends <= len(text)).all()
        assert (np.diff(starts) >= 0).all()
        assert (np.diff(ends) >= 0).all()
        assert row.input_ids.tolist() == tokenizer.tokenize([text], special_tokens=False).ids.tolist()
    assert isinstance(tokenizer.decode(tokens.ids), str)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@pytest.mark.parametrize("character", ["a", " ", "我", "\u0301", "\x00", "\U0001f600", ",", "'"])
def test_100000_characters_of_one_kind_are_no_trouble(name: str, character: str) -> None:
    tokens = TOKENIZERS[name].tokenize([character * 100_000, "a"])
    assert tokens.offsets is not None
    assert tokens.offsets.max() <= 100_000
    assert tokens.lengths[1] == (4 if name == "unigram" else 3)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
@pytest.mark.parametrize("text", ["", " ", "\t\n \u3000", "\ud800", "a\udfffb", "\ud83d\ude00"])
def test_empty_and_broken_texts_give_no_error(name: str, text: str) -> None:
    tokens = TOKENIZERS[name].tokenize([text, "a"])
    assert len(tokens) == 2
    if not text.strip():
        assert tokens.lengths[0] == 2
