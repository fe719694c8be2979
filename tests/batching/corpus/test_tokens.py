"""Which tokens begin a whole word, held against a slow reference that looks at one token at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from albertine.batching.corpus.tokens import SentenceTokenizer
from albertine.data.segmentation import Segmenter, character_segmenter
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

HAN = "我们在北京大学学习语言模型二〇二四年的春天"
WORDS = {"我们", "北京", "大学", "学习", "语言", "模型", "二〇二四年", "春天"}

SENTENCES = [
    "我们在北京大学学习语言模型。",
    "The unbelievable playing, he said: don't!",
    "二〇二四年的春天，我们playing在北京。",
    "  ",
    "BERT模型(2018)",
    "a",
    "北",
    "\x07",
    "我们 在 北京，学习。\u3000语言",
    "深度学习 unbelievable 龘龘",
]


@dataclass(frozen=True)
class Longest:
    """Takes the longest word of a list, else a character."""

    name: str = "longest"

    def words(self, sentence: str) -> list[int]:
        found, place = [], 0
        han = set(character_segmenter().words(sentence))
        while place < len(sentence):
            length = 1
            if place in han:
                found.append(place)
                length = next((size for size in range(5, 1, -1) if sentence[place : place + size] in WORDS), 1)
            place += length
        return found


def wordpiece() -> Tokenizer:
    pieces = ["un", "##believ", "##able", "play", "##ing", "the", "he", "said", "don", "t", "a", "bert", "20", "##18"]
    tokens = [*SPECIAL_TOKENS, *pieces, *"，。,.!:'()", *dict.fromkeys(HAN)]
    return Tokenizer(WordPieceModel(tokens, rules=Rules(lowercase=True, strip_accents=True)))


def expected_marks(tokenizer: Tokenizer, segmenter: Segmenter, sentence: str) -> list[bool]:
    """The rules one by one: the reference."""
    tokens = tokenizer.tokenize([sentence], special_tokens=False)
    assert tokens.offsets is not None
    words = set(segmenter.words(sentence))
    han = set(character_segmenter().words(sentence))
    marks: list[bool] = []
    before: tuple[str, int] = ("", -1)
    for index, begin in zip(tokens.ids.tolist(), tokens.offsets[:, 0].tolist(), strict=True):
        token = tokenizer.id_to_token(index)
        if not marks:
            mark = True
        elif before == ("▁", begin):
            mark = False
        elif begin in han:
            mark = begin in words or begin - 1 not in han
        else:
            own = token.startswith("▁") if tokenizer.kind == "unigram" else not token.startswith("##")
            mark = own or begin - 1 in han
        marks.append(mark)
        before = (token, begin)
    return marks


@pytest.mark.parametrize("segmenter", [Longest(), character_segmenter()], ids=["words", "characters"])
def test_words_of_wordpiece_are_those_of_the_reference(segmenter: Segmenter) -> None:
    check(wordpiece(), segmenter)


@pytest.mark.parametrize("segmenter", [Longest(), character_segmenter()], ids=["words", "characters"])
def test_words_of_unigram_are_those_of_the_reference(data_dir: Path, segmenter: Segmenter) -> None:
    check(load_tokenizer(data_dir / "vocab" / "albert_en"), segmenter)


def check(tokenizer: Tokenizer, segmenter: Segmenter) -> None:
    found = SentenceTokenizer(tokenizer, segmenter)(SENTENCES)
    assert len(found.starts) == len(SENTENCES) + 1
    for place, sentence in enumerate(SENTENCES):
        part = slice(int(found.starts[place]), int(found.starts[place + 1]))
        ids = tokenizer.tokenize([sentence], special_tokens=False).ids
        np.testing.assert_array_equal(found.ids[part], ids)
        assert found.word_starts[part].tolist() == expected_marks(tokenizer, segmenter, sentence), sentence


def test_chinese_words_and_english_words_are_whole() -> None:
    tokenizer = wordpiece()
    found = SentenceTokenizer(tokenizer, Longest())([SENTENCES[2]])
    words: list[str] = []
    for index, begins in zip(found.ids.tolist(), found.word_starts.tolist(), strict=True):
        token = tokenizer.id_to_token(index).removeprefix("##")
        if begins:
            words.append(token)
        else:
            words[-1] += token
    assert words == ["二〇二四年", "的", "春天", "，", "我们", "playing", "在", "北京", "。"]


def test_a_sentence_is_cut_alike_whatever_stands_around_it() -> None:
    tokenize = SentenceTokenizer(wordpiece(), Longest())
    together = tokenize(SENTENCES)
    alone = [tokenize([sentence]) for sentence in SENTENCES]
    np.testing.assert_array_equal(together.ids, np.concatenate([one.ids for one in alone]))
    np.testing.assert_array_equal(together.word_starts, np.concatenate([one.word_starts for one in alone]))


def test_no_sentences_give_no_tokens() -> None:
    found = SentenceTokenizer(wordpiece(), Longest())([])
    assert found.starts.tolist() == [0]
    assert len(found.ids) == len(found.word_starts) == 0
