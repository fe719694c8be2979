"""Layouts of a batch, and groups within a token budget."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from albertine.batching.packing import packed, padded, token_budget_batches
from albertine.errors import ConfigError
from albertine.records import Encoded


def text(*ids: int, label: int | None = None, second: int = 0) -> Encoded:
    types = np.zeros(len(ids), dtype=np.uint8)
    types[len(ids) - second :] = 1
    return Encoded(
        input_ids=np.array(ids, dtype=np.int32),
        token_type_ids=types,
        target=None if label is None else np.array([label]),
    )


def test_a_packed_batch_lays_texts_one_after_another() -> None:
    batch = packed([text(7, 8, 9, label=2), text(5, label=0), text(3, 4, label=1, second=1)])
    assert batch.input_ids.tolist() == [7, 8, 9, 5, 3, 4]
    assert batch.token_type_ids.tolist() == [0, 0, 0, 0, 0, 1]
    assert batch.sequence_starts is not None
    assert batch.sequence_starts.tolist() == [0, 3, 4, 6]
    assert batch.labels is not None
    assert batch.labels.tolist() == [2, 0, 1]
    assert batch.attention_mask is None
    assert batch.position_ids is None
    assert len(batch) == 3
    assert batch.token_count == 6
    assert {batch.input_ids.dtype, batch.token_type_ids.dtype, batch.sequence_starts.dtype} == {torch.int64}


def test_a_padded_batch_fills_rows_up_with_the_pad_id_and_masks_it() -> None:
    batch = padded([text(7, 8, 9), text(5), text(3, 4, second=1)], pad_id=98)
    assert batch.input_ids.tolist() == [[7, 8, 9], [5, 98, 98], [3, 4, 98]]
    assert batch.token_type_ids.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert batch.attention_mask is not None
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert batch.sequence_starts is None
    assert batch.labels is None
    assert len(batch) == 3
    assert batch.token_count == 6


@pytest.mark.parametrize("layout", [packed, lambda texts: padded(texts, pad_id=0)])
def test_a_batch_has_labels_only_where_every_text_has_one(layout) -> None:
    assert layout([text(1, label=0), text(2)]).labels is None


def test_a_batch_keeps_its_own_copy_of_the_ids() -> None:
    one = text(7, 8)
    batch = packed([one])
    batch.input_ids[0] = 1
    assert one.input_ids.tolist() == [7, 8]


@given(
    lengths=st.lists(st.integers(1, 700), max_size=60),
    max_tokens=st.integers(1, 900),
    max_rows=st.none() | st.integers(1, 9),
)
def test_budget_groups_hold_every_text_once_within_the_budget_and_sorted(
    lengths: list[int], max_tokens: int, max_rows: int | None
) -> None:
    groups = token_budget_batches(lengths, max_tokens, max_rows)
    order = [index for group in groups for index in group.tolist()]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[index] for index in order] == sorted(lengths)
    for group in groups:
        assert len(group) == 1 or max(lengths[index] for index in group) * len(group) <= max_tokens
        assert max_rows is None or len(group) <= max_rows


def test_budget_groups_are_as_large_as_the_budget_allows() -> None:
    assert [group.tolist() for group in token_budget_batches([3] * 7, 9)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_long_text_is_not_grouped_with_many_short_ones() -> None:
    groups = token_budget_batches([512] + [10] * 99, 4096)
    assert all(len(group) <= 8 for group in groups if 0 in group)


@pytest.mark.parametrize(("tokens", "rows"), [(0, None), (7, 0)])
def test_an_impossible_budget_is_refused(tokens: int, rows: int | None) -> None:
    with pytest.raises(ConfigError, match="too small"):
        token_budget_batches([1, 2], tokens, rows)
