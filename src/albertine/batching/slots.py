"""The token stream cut into slots of a row, and slots into texts that keep to one document.

Shapes: K slots, N texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from albertine.batching.permutation import KeyedPermutation
from albertine.batching.token_stream import TokenStream
from albertine.records import IntArray
from albertine.tokenization.pieces import ragged_arange

__all__ = ["SlotOrder", "Texts", "texts_of_slots"]

Int64Array = npt.NDArray[np.int64]


class SlotOrder:
    """The slots of all epochs in one endless row.

    A slot is a window of `width` tokens, and holds the sentences whose first token lies in it; so every sentence is in
    exactly one slot of an epoch. Where the windows begin is drawn anew for every epoch, and so is their order.

    Args:
        num_tokens: of the stream, at least 1.
        width: tokens of a window.
        key: numbers that the draws follow from.
    """

    def __init__(self, num_tokens: int, width: int, key: tuple[int, ...]) -> None:
        self.width = width
        self.key = key
        # One more than needed for the tokens, as the first window begins up to a window's width before them.
        self.slots_per_epoch = (num_tokens + width - 2) // width + 1

    def window_starts(self, first: int, count: int) -> Int64Array:
        """Return [count] the first tokens of the windows at places `first`, `first + 1`, … of the row; some below 0."""
        places = np.arange(first, first + count)
        epochs, places = np.divmod(places, self.slots_per_epoch)
        windows = np.empty(count, dtype=np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            inside = epochs == epoch
            order = KeyedPermutation(self.slots_per_epoch, (*self.key, epoch))
            shift = int(np.random.default_rng([*self.key, epoch]).integers(self.width))
            windows[inside] = order(places[inside]) * self.width - shift
        return windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Runs of sentences of one document each, in the order of their slots."""

    first_sentence: Int64Array
    """[N] in the stream."""
    num_sentences: Int64Array
    """[N] 1 or more."""
    document: Int64Array
    """[N] in the stream."""

    def __len__(self) -> int:
        return len(self.document)


def texts_of_slots(
    stream: TokenStream, window_starts: IntArray, width: int, *, targets: IntArray, skip_single: bool
) -> Texts:
    """Return the texts that the slots hold.

    Args:
        stream: where they are cut from.
        window_starts: [K] the first token of every slot's window.
        width: tokens of a window.
        targets: [K] 0, or the length in tokens at which the slot's texts are cut into shorter ones: a text then holds
            the sentences that begin in the same `target` tokens, counted from the beginning of the document's part.
        skip_single: leave documents of one sentence out.
    """
    sentence_starts, document_starts = stream.sentence_starts, stream.document_starts
    first = np.searchsorted(sentence_starts, window_starts)
    counts = np.minimum(np.searchsorted(sentence_starts, window_starts + width), stream.num_sentences) - first
    counts = np.maximum(counts, 0)
    sentences = ragged_arange(first, counts)
    slots = np.repeat(np.arange(len(counts)), counts)
    documents = np.searchsorted(document_starts, sentences, side="right") - 1
    if skip_single:
        kept = document_starts[documents + 1] - document_starts[documents] > 1
        sentences, slots, documents = sentences[kept], slots[kept], documents[kept]
    begins = np.ones(len(sentences), dtype=np.bool_)
    begins[1:] = (slots[1:] != slots[:-1]) | (documents[1:] != documents[:-1])
    if targets.any() and len(sentences):
        starts = sentence_starts[sentences]
        offsets = starts - starts[begins][np.cumsum(begins) - 1]
        target = targets[slots]
        part = np.where(target > 0, offsets // np.maximum(target, 1), 0)
        begins[1:] |= part[1:] != part[:-1]
    heads = np.flatnonzero(begins)
    return Texts(
        first_sentence=sentences[heads],
        num_sentences=np.diff(heads, append=len(sentences)),
        document=documents[heads],
    )
