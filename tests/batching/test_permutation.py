"""The keyed order: a bijection, different for every key, computed in any part."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.batching.permutation import KeyedPermutation
from albertine.errors import ConfigError


@settings(max_examples=120, deadline=None)
@given(size=st.integers(1, 3000), key=st.lists(st.integers(0, 2**70), min_size=1, max_size=4))
def test_every_value_comes_exactly_once(size: int, key: list[int]) -> None:
    values = KeyedPermutation(size, key)(np.arange(size))
    assert sorted(values.tolist()) == list(range(size))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 97, 1009, 65537, 99991])
def test_odd_and_prime_sizes_are_bijections_too(size: int) -> None:
    values = KeyedPermutation(size, [3])(np.arange(size))
    assert np.array_equal(np.sort(values), np.arange(size))


def test_a_part_is_the_same_as_in_the_whole() -> None:
    permutation = KeyedPermutation(1013, [1, 2])
    whole = permutation(np.arange(1013))
    places = np.array([1012, 0, 517, 518, 3])
    assert np.array_equal(KeyedPermutation(1013, [1, 2])(places), whole[places])


def test_billions_of_things_take_no_memory() -> None:
    size = 3_000_000_019
    values = KeyedPermutation(size, [7])(np.arange(size - 5000, size))
    assert len(set(values.tolist())) == 5000
    assert values.min() >= 0
    assert values.max() < size
    assert abs(values.mean() / size - 0.5) < 0.02  # six times the standard error of 5000 uniform values


def test_keys_give_different_orders_and_small_orders_are_all_met() -> None:
    orders = Counter(tuple(KeyedPermutation(4, [key])(np.arange(4)).tolist()) for key in range(4800))
    assert len(orders) == 24
    assert min(orders.values()) > 120  # 200 expected, standard deviation 14
    assert max(orders.values()) < 280


def test_neighbours_do_not_stay_neighbours() -> None:
    values = KeyedPermutation(9973, [0])(np.arange(9973))
    assert np.sum(np.abs(np.diff(values)) == 1) < 15  # 2 expected
    assert abs(np.corrcoef(np.arange(9973), values)[0, 1]) < 0.05


def test_a_size_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="size"):
        KeyedPermutation(0, [1])
