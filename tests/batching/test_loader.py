"""The texts of a training step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.batching.loader import TrainingBatches
from albertine.errors import ConfigError, DataError
from albertine.records import Encoded, EncodedExamples


def texts(lengths: list[int]) -> EncodedExamples:
    return EncodedExamples.one_each(
        [
            Encoded(input_ids=np.full(length, index, dtype=np.int32), token_type_ids=np.zeros(length, dtype=np.uint8))
            for index, length in enumerate(lengths)
        ]
    )


def row(batches: TrainingBatches, steps: int) -> list[int]:
    return np.concatenate([batches.batch_indices(step) for step in range(steps)]).tolist()


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=80),
    batch_size=st.integers(1, 17),
    seed=st.integers(0, 2**40),
    window=st.integers(1, 5),
)
def test_every_text_comes_exactly_once_an_epoch(lengths: list[int], batch_size: int, seed: int, window: int) -> None:
    batches = TrainingBatches(texts(lengths), batch_size=batch_size, seed=seed, window=window)
    count = len(lengths)
    seen = row(batches, 4 * count // batches.batch_size + 2)
    for epoch in range(4):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_every_batch_has_the_same_size() -> None:
    batches = TrainingBatches(texts([5] * 99), batch_size=13, seed=3)
    assert {len(batches.batch_indices(step)) for step in range(40)} == {13}


def test_fewer_texts_than_a_batch_are_one_batch() -> None:
    batches = TrainingBatches(texts([5, 6, 7]), batch_size=13, seed=3)
    assert batches.batch_size == 3
    assert [sorted(batches.batch_indices(step).tolist()) for step in range(3)] == [[0, 1, 2]] * 3


def test_a_step_is_the_same_whatever_was_asked_for_before() -> None:
    lengths = [1 + index * 7 % 31 for index in range(99)]
    straight = TrainingBatches(texts(lengths), batch_size=13, seed=5)
    expected = [straight.batch_indices(step).tolist() for step in range(50)]
    jumping = TrainingBatches(texts(lengths), batch_size=13, seed=5)
    for step in [49, 7, 8, 0, 23, 22, 7]:
        assert jumping.batch_indices(step).tolist() == expected[step]


def test_seeds_and_epochs_give_different_orders() -> None:
    lengths = [4] * 39
    first = row(TrainingBatches(texts(lengths), batch_size=13, seed=0), 6)
    assert first[:39] != first[39:]
    assert first != row(TrainingBatches(texts(lengths), batch_size=13, seed=1), 6)


def test_batches_of_a_window_are_sorted_by_length_but_come_in_any_order() -> None:
    generator = np.random.default_rng(1)
    lengths = generator.integers(1, 200, size=400).tolist()
    batches = TrainingBatches(texts(lengths), batch_size=10, seed=2, window=40)
    spreads = [np.ptp(batches.lengths[batches.batch_indices(step)]) for step in range(40)]
    means = [batches.lengths[batches.batch_indices(step)].mean() for step in range(40)]
    assert max(spreads) < 30
    assert means != sorted(means)
    drawn = TrainingBatches(texts(lengths), batch_size=10, seed=2, window=1)
    assert np.mean([np.ptp(drawn.lengths[drawn.batch_indices(step)]) for step in range(40)]) > 100


def test_windows_keep_to_batches_in_later_epochs_too() -> None:
    lengths = np.random.default_rng(1).integers(1, 200, size=403).tolist()
    batches = TrainingBatches(texts(lengths), batch_size=10, seed=2, window=40)
    spreads = [np.ptp(batches.lengths[batches.batch_indices(step)]) for step in range(41, 80)]
    assert max(spreads) < 30


def test_batch_returns_the_texts_of_the_indices() -> None:
    batches = TrainingBatches(texts([3, 4, 5, 6, 7]), batch_size=2, seed=2)
    assert [int(one.input_ids[0]) for one in batches.batch(4)] == batches.batch_indices(4).tolist()


def test_no_texts_are_refused() -> None:
    with pytest.raises(DataError, match="no texts to train on"):
        TrainingBatches(texts([]), batch_size=3, seed=0)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"seed": -1}, {"window": 0}])
def test_values_out_of_range_are_refused_by_name(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TrainingBatches(texts([3, 4]), **{"batch_size": 2, "seed": 0, **wrong})


def test_a_negative_step_is_refused() -> None:
    with pytest.raises(ConfigError, match="step"):
        TrainingBatches(texts([3, 4]), batch_size=2, seed=0).batch_indices(-1)


def test_all_windows_of_a_long_text_come_in_one_batch() -> None:
    items = [
        Encoded(input_ids=np.full(5, owner), token_type_ids=np.zeros(5, dtype=np.uint8), example=owner)
        for owner in (0, 1, 1, 1, 2, 3, 3)
    ]
    batches = TrainingBatches(EncodedExamples.windows(items, 4), batch_size=2, seed=3)
    assert len(batches) == 4
    found = [sorted(one.example for one in batches.batch(step)) for step in range(2)]
    assert sorted(found[0] + found[1]) == [0, 1, 1, 1, 2, 3, 3]
    assert not set(found[0]) & set(found[1])
