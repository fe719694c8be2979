"""Batches by tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.batching.token_batches import TokenBatches
from albertine.errors import ConfigError, DataError
from albertine.records import Encoded, EncodedExamples


def texts(lengths: list[int]) -> EncodedExamples:
    return EncodedExamples.one_each(
        [
            Encoded(input_ids=np.full(length, index, dtype=np.int32), token_type_ids=np.zeros(length, dtype=np.uint8))
            for index, length in enumerate(lengths)
        ]
    )


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=80), budget=st.integers(1, 90), seed=st.integers(0, 99)
)
def test_every_text_comes_once_an_epoch_and_no_batch_is_over_the_budget(
    lengths: list[int], budget: int, seed: int
) -> None:
    batches = TokenBatches(texts(lengths), max_tokens=budget, seed=seed)
    for epoch in range(3):
        first, last = batches.steps(epoch) if epoch else 0, batches.steps(epoch + 1)
        found = [batches.batch_indices(step) for step in range(first, last)]
        assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
        for indices in found:
            tokens = sum(lengths[index] for index in indices)
            assert tokens <= budget or len(indices) == 1


def test_a_step_is_the_same_whatever_was_asked_for_before() -> None:
    lengths = [1 + index * 7 % 31 for index in range(99)]
    straight = TokenBatches(texts(lengths), max_tokens=64, seed=5)
    expected = [straight.batch_indices(step).tolist() for step in range(80)]
    jumping = TokenBatches(texts(lengths), max_tokens=64, seed=5)
    for step in [79, 7, 8, 0, 23, 60, 7]:
        assert jumping.batch_indices(step).tolist() == expected[step]
    assert TokenBatches(texts(lengths), max_tokens=64, seed=6).batch_indices(0).tolist() != expected[0]


def test_most_batches_are_nearly_full() -> None:
    lengths = [1 + index * 7 % 31 for index in range(999)]
    batches = TokenBatches(texts(lengths), max_tokens=256, seed=5)
    filled = [sum(lengths[index] for index in batches.batch_indices(step)) for step in range(batches.steps(1))]
    assert np.median(filled) > 225
    assert batches.steps(0.5) == round(batches.steps(1) / 2)


def test_a_budget_below_one_and_no_texts_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch_tokens"):
        TokenBatches(texts([3]), max_tokens=0, seed=0)
    with pytest.raises(DataError, match="no texts"):
        TokenBatches(texts([]), max_tokens=9, seed=0)
    with pytest.raises(ConfigError, match="step"):
        TokenBatches(texts([3]), max_tokens=9, seed=0).batch_indices(-1)
