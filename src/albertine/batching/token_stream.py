"""A stream of tokens with its words, sentences and documents, which examples are cut from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from albertine.errors import DataError
from albertine.records import IntArray

__all__ = ["MemoryStream", "TokenStream"]

BoolArray = npt.NDArray[np.bool_]


class TokenStream(Protocol):
    """Tokens without special ones, sentence after sentence and document after document; `Shards` is one.

    Sentences and documents are counted over the whole stream; none is empty.
    """

    @property
    def num_tokens(self) -> int:
        """Tokens in the stream."""

    @property
    def num_sentences(self) -> int:
        """Sentences in the stream."""

    @property
    def num_documents(self) -> int:
        """Documents in the stream."""

    @property
    def sentence_starts(self) -> IntArray:
        """[num_sentences + 1] int64: the first token of every sentence, and `num_tokens`."""

    @property
    def document_starts(self) -> IntArray:
        """[num_documents + 1] int64: the first sentence of every document, and `num_sentences`."""

    def tokens(self, start: int, stop: int) -> IntArray:
        """Return the ids of tokens `start` to `stop - 1`."""

    def word_starts(self, start: int, stop: int) -> BoolArray:
        """Return for tokens `start` to `stop - 1` whether each begins a whole word."""


@dataclass(frozen=True, slots=True)
class MemoryStream:
    """A stream held in arrays."""

    ids: IntArray
    """[num_tokens]."""
    sentence_starts: IntArray
    """[num_sentences + 1] int64."""
    document_starts: IntArray
    """[num_documents + 1] int64."""
    words: BoolArray
    """[num_tokens] True where a token begins a whole word."""

    @classmethod
    def of(
        cls, documents: Sequence[Sequence[Sequence[int]]], words: Sequence[Sequence[Sequence[bool]]] | None = None
    ) -> MemoryStream:
        """Take documents of sentences of token ids.

        Args:
            documents: none of them, and none of their sentences, empty.
            words: for every token whether it begins a whole word; None where each does.

        Raises:
            DataError: a document or a sentence is empty.
        """
        sentences = [sentence for document in documents for sentence in document]
        if not all(len(part) for part in (*documents, *sentences)):
            raise DataError("a document or a sentence is empty", next_step="Leave it out")
        ids = np.array([one for sentence in sentences for one in sentence], dtype=np.int64)
        begins = np.ones(len(ids), dtype=np.bool_)
        if words is not None:
            begins[:] = [one for document in words for sentence in document for one in sentence]
        return cls(
            ids,
            np.cumsum([0, *(len(sentence) for sentence in sentences)], dtype=np.int64),
            np.cumsum([0, *(len(document) for document in documents)], dtype=np.int64),
            begins,
        )

    @property
    def num_tokens(self) -> int:
        """Tokens in the stream."""
        return len(self.ids)

    @property
    def num_sentences(self) -> int:
        """Sentences in the stream."""
        return len(self.sentence_starts) - 1

    @property
    def num_documents(self) -> int:
        """Documents in the stream."""
        return len(self.document_starts) - 1

    def tokens(self, start: int, stop: int) -> IntArray:
        """Return the ids of tokens `start` to `stop - 1`."""
        return self.ids[start:stop]

    def word_starts(self, start: int, stop: int) -> BoolArray:
        """Return for tokens `start` to `stop - 1` whether each begins a whole word."""
        return self.words[start:stop]
