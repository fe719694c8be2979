from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from albertine.data import minhash
from albertine.data.minhash import band_keys, signatures


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = np.random.default_rng(1).integers(0, 1 << 60, size=1001).astype(np.uint64)
    starts = np.array([0, 1, 13, 500, 501, 502, 1001])
    whole = signatures(pieces, starts, 20)
    monkeypatch.setattr(minhash, "_BLOCK", 7)
    assert np.array_equal(signatures(pieces, starts, 20), whole)
    for text, (start, stop) in enumerate(pairwise(starts)):
        alone = signatures(pieces[start:stop], np.array([0, stop - start]), 20)
        assert np.array_equal(alone[0], whole[text])


def test_order_and_repetition_of_pieces_do_not_count() -> None:
    pieces = np.arange(50, dtype=np.uint64)
    again = np.concatenate([pieces[::-1], pieces[:7]])
    assert np.array_equal(signatures(pieces, np.array([0, 50]), 12), signatures(again, np.array([0, 57]), 12))


def test_keys_agree_in_a_band_exactly_where_all_its_minima_do() -> None:
    minima = np.arange(24, dtype=np.uint32).reshape(2, 12) % 5
    minima[1, :4] = minima[0, :4]
    keys = band_keys(minima, 3)
    same = [np.array_equal(minima[0, 4 * band : 4 * band + 4], minima[1, 4 * band : 4 * band + 4]) for band in range(3)]
    assert (keys[0] == keys[1]).tolist() == same
    assert len(set(band_keys(np.zeros((1, 12), np.uint32), 3)[0].tolist())) == 3
