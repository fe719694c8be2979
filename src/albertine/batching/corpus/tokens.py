"""Sentences to token ids, and which of the tokens begin a whole word."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from albertine.data.segmentation import Segmenter, character_segmenter
from albertine.records import IntArray
from albertine.tokenization.pieces import Pieces, ragged_arange
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.unigram import BLANK

__all__ = ["SentenceTokenizer", "SentenceTokens"]

BoolArray = npt.NDArray[np.bool_]


def _han_points() -> BoolArray:
    """Return by code point whether a character belongs to the runs that segmenters look at."""
    points = np.arange(0x3000, 0x40000)
    table = np.zeros(sys.maxunicode + 1, dtype=np.bool_)
    table[points[character_segmenter().words("".join(map(chr, points.tolist())))]] = True
    return table


_IS_HAN = _han_points()


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceTokens:
    """The tokens of N sentences, without special ones."""

    ids: IntArray
    """[S] int32."""
    starts: IntArray
    """[N + 1] int64: the first token of every sentence, and S."""
    word_starts: BoolArray
    """[S] where a token begins a whole word."""
    word_seconds: tuple[float, float]
    """Processor time and time on the clock that finding words took."""


class SentenceTokenizer:
    """Cuts sentences into tokens, each on its own, and marks the tokens that begin a whole word.

    Outside of runs of Chinese characters a word begins where the vocabulary says so: at every piece without `##`, or
    with `▁`. Within such a run it begins where the segmenter says so, and the run's first character and the first piece
    behind it begin words in any case, as does the first token of a sentence.

    Args:
        tokenizer: what cuts.
        segmenter: what finds Chinese words.
    """

    def __init__(self, tokenizer: Tokenizer, segmenter: Segmenter) -> None:
        self._model = tokenizer.model
        self._segmenter = segmenter
        tokens = tokenizer.model.tokens
        if tokenizer.kind == "wordpiece":
            opens = [not token.startswith("##") for token in tokens]
            lone = [False] * len(tokens)
        else:
            opens = [token.startswith(BLANK) for token in tokens]
            lone = [token == BLANK for token in tokens]
        self._opens = np.array(opens, dtype=np.bool_)
        self._lone = np.array(lone, dtype=np.bool_)
        self._has_lone = any(lone)

    def __call__(self, sentences: Sequence[str]) -> SentenceTokens:
        """Cut sentences; one of nothing but white space has no tokens."""
        # Places in the text are needed only where words are looked for, and cost time.
        chinese = _with_han(sentences)
        if not chinese.any():
            pieces = self._model.encode(sentences, offsets=False)
            return self._marked(pieces, self._opens[pieces.ids], (0.0, 0.0))
        some = np.flatnonzero(chinese)
        with_words = [sentences[index] for index in some.tolist()]
        pieces = self._model.encode(with_words, offsets=True)
        cpu, wall = time.process_time(), time.perf_counter()
        flags = self._chinese_words(with_words, pieces)
        seconds = (time.process_time() - cpu, time.perf_counter() - wall)
        if len(some) == len(sentences):
            return self._marked(pieces, flags, seconds)
        others = np.flatnonzero(~chinese)
        plain = self._model.encode([sentences[index] for index in others.tolist()], offsets=False)
        counts = np.zeros(len(sentences), dtype=np.int64)
        counts[some], counts[others] = np.diff(pieces.starts), np.diff(plain.starts)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        ids = np.empty(int(starts[-1]), dtype=np.int32)
        merged = np.empty(len(ids), dtype=np.bool_)
        for chosen, part, marks in ((some, pieces, flags), (others, plain, self._opens[plain.ids])):
            places = ragged_arange(starts[chosen], counts[chosen])
            ids[places], merged[places] = part.ids, marks
        return self._marked(Pieces(ids=ids, starts=starts, offsets=None), merged, seconds)

    def _marked(self, pieces: Pieces, flags: BoolArray, seconds: tuple[float, float]) -> SentenceTokens:
        first = pieces.starts[:-1]
        flags[first[np.diff(pieces.starts) > 0]] = True
        return SentenceTokens(ids=pieces.ids, starts=pieces.starts, word_starts=flags, word_seconds=seconds)

    def _chinese_words(self, sentences: list[str], pieces: Pieces) -> BoolArray:
        """Return which pieces begin a word, for sentences with Chinese characters."""
        assert pieces.offsets is not None, "offsets were asked for"
        lengths = np.fromiter(map(len, sentences), dtype=np.int64, count=len(sentences))
        borders = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        found = list(map(self._segmenter.words, sentences))
        sizes = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
        offsets = np.fromiter(chain.from_iterable(found), dtype=np.int64, count=int(sizes.sum()))
        begins_word = np.zeros(int(borders[-1]) + 1, dtype=np.bool_)
        begins_word[offsets + np.repeat(borders[:-1], sizes)] = True

        # One place before the first character, so that every character has one before it.
        chinese = np.zeros(int(borders[-1]) + 1, dtype=np.bool_)
        chinese[1:] = _IS_HAN[_points(sentences)]
        begins = pieces.offsets[:, 0] + np.repeat(borders[:-1], np.diff(pieces.starts))
        here, before = chinese[begins + 1], chinese[begins]
        flags = self._opens[pieces.ids] | (before & ~here)
        flags = np.where(here, begins_word[begins] | ~before, flags)
        if self._has_lone and len(begins) > 1:
            # The blank before a word stands at the word's first character, and begins it in its place.
            flags[1:] &= ~(self._lone[pieces.ids[:-1]] & (begins[1:] == begins[:-1]))
        return np.asarray(flags, dtype=np.bool_)


def _with_han(sentences: Sequence[str]) -> BoolArray:
    """Return which sentences have a Chinese character."""
    found = np.zeros(len(sentences), dtype=np.bool_)
    some = [index for index, sentence in enumerate(sentences) if not sentence.isascii()]
    if some:
        texts = [sentences[index] for index in some]
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        found[some] = np.logical_or.reduceat(_IS_HAN[_points(texts)], np.cumsum(lengths) - lengths)
    return found


def _points(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    """Return the code points of texts, one after another."""
    return np.frombuffer("".join(texts).encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
