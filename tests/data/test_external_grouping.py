from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from albertine.data.external_grouping import grouped


@pytest.mark.parametrize("piece", [1, 7, 100, 10_000])
def test_any_size_of_pieces_gives_the_same_order(tmp_path: Path, piece: int) -> None:
    generator = np.random.default_rng(3)
    keys = generator.integers(0, 1 << 64, size=333, dtype=np.uint64)[generator.integers(0, 333, size=999)]
    numbers = np.arange(999, dtype=np.uint32)
    blocks = [(keys[start : start + 100], numbers[start : start + 100]) for start in range(0, 999, 100)]
    groups = list(grouped(lambda: blocks, 999, tmp_path, piece=piece))
    order = np.argsort(keys, kind="stable")
    assert np.array_equal(np.concatenate([group.keys for group in groups]), keys[order])
    assert np.array_equal(np.concatenate([group.numbers for group in groups]), numbers[order])
    assert all(one.keys[-1] < other.keys[0] for one, other in pairwise(groups))
    assert list(tmp_path.iterdir()) == []


def test_nothing_gives_nothing(tmp_path: Path) -> None:
    assert list(grouped(list, 0, tmp_path)) == []
