"""Slots of the token stream: their order, and the texts they hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.batching.slots import SlotOrder, texts_of_slots
from albertine.batching.token_stream import MemoryStream
from albertine.errors import DataError


@settings(max_examples=100, deadline=None)
@given(num_tokens=st.integers(1, 700), width=st.integers(2, 90), seed=st.integers(0, 2**40))
def test_the_windows_of_an_epoch_cover_every_token_once(num_tokens: int, width: int, seed: int) -> None:
    order = SlotOrder(num_tokens, width, (seed, 3))
    for epoch in range(3):
        windows = np.sort(order.window_starts(epoch * order.slots_per_epoch, order.slots_per_epoch))
        assert set(np.diff(windows).tolist()) <= {width}
        assert windows[0] <= 0
        assert windows[-1] + width >= num_tokens


def test_epochs_differ_in_borders_and_in_order() -> None:
    order = SlotOrder(100_003, 61, (1,))
    epochs = [order.window_starts(epoch * order.slots_per_epoch, order.slots_per_epoch) for epoch in range(8)]
    assert len({int(windows[0]) % 61 for windows in epochs}) > 4
    ranks = [np.argsort(np.argsort(windows)) for windows in epochs]
    for one, other in itertools.pairwise(ranks):
        assert np.mean(one == other) < 0.01
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.1


def test_a_part_of_the_row_may_reach_over_epochs() -> None:
    order = SlotOrder(1000, 17, (1, 2))
    whole = order.window_starts(0, 5 * order.slots_per_epoch)
    assert np.array_equal(order.window_starts(50, 200), whole[50:250])


def test_texts_keep_to_their_slot_and_document() -> None:
    #        document 0: tokens 0-9             1: 10-12      2: 13-19
    stream = MemoryStream.of([[[1] * 4, [1] * 3, [1] * 3], [[1] * 3], [[1] * 5, [1] * 2]])
    texts = texts_of_slots(stream, np.array([8, -8]), 16, targets=np.zeros(2, dtype=np.int64), skip_single=False)
    assert texts.first_sentence.tolist() == [3, 4, 0]
    assert texts.num_sentences.tolist() == [1, 2, 3]
    assert texts.document.tolist() == [1, 2, 0]
    skipped = texts_of_slots(stream, np.array([8, -8]), 16, targets=np.zeros(2, dtype=np.int64), skip_single=True)
    assert skipped.document.tolist() == [2, 0]
    short = texts_of_slots(stream, np.array([-8, 8]), 16, targets=np.array([7, 0]), skip_single=True)
    assert short.first_sentence.tolist() == [0, 2, 4]
    assert short.num_sentences.tolist() == [2, 1, 2]


def test_windows_without_a_sentence_give_no_texts() -> None:
    stream = MemoryStream.of([[[1] * 90, [1] * 3]])
    texts = texts_of_slots(stream, np.array([20, 500, -40]), 20, targets=np.array([5, 5, 5]), skip_single=False)
    assert len(texts) == 0


def test_an_empty_sentence_or_document_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        MemoryStream.of([[[1], []]])
    with pytest.raises(DataError, match="empty"):
        MemoryStream.of([[[1]], []])
