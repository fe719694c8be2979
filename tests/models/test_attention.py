from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from albertine.errors import ConfigError
from albertine.models.attention import attend, packed_layout, padded_layout

CPU = torch.device("cpu")


def starts_of(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def heads(rows: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = torch.randn(3, rows, 3, length, 5).unbind()
    return query, key, value


def test_attention_is_the_scaled_dot_product_of_the_paper() -> None:
    query, key, value = heads(2, 7)
    mixed, weights = attend(query, key, value, None)
    assert weights is not None
    row, head, place = 1, 2, 4
    scores = [float(query[row, head, place] @ key[row, head, other]) / math.sqrt(5) for other in range(7)]
    total = sum(math.exp(score) for score in scores)
    expected = [math.exp(score) / total for score in scores]
    torch.testing.assert_close(weights[row, head, place], torch.tensor(expected))
    torch.testing.assert_close(
        mixed[row, head, place], sum(w * value[row, head, other] for other, w in enumerate(expected))
    )


@pytest.mark.parametrize("masked", [False, True])
def test_the_fused_kernel_equals_the_plain_products(masked: bool) -> None:
    query, key, value = heads(3, 13)
    mask = None
    if masked:
        real = torch.ones(3, 13)
        real[1, 7:] = 0
        real[2] = 0
        mask = padded_layout(3, 13, real, CPU).groups[0].mask
    plain, _ = attend(query, key, value, mask, fused=False)
    fused, weights = attend(query, key, value, mask, fused=True)
    assert weights is None
    torch.testing.assert_close(fused, plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("fused", [False, True])
def test_a_row_without_any_real_token_gives_numbers_in_every_type(dtype: torch.dtype, fused: bool) -> None:
    query, key, value = (part.to(dtype) for part in heads(2, 7))
    mask = padded_layout(2, 7, torch.zeros(2, 7), CPU).groups[0].mask
    mixed, _ = attend(query, key, value, mask, fused=fused)
    assert bool(mixed.isfinite().all())


def test_dropped_weights_change_the_mix_but_not_the_reported_weights() -> None:
    query, key, value = heads(2, 7)
    mixed, weights = attend(query, key, value, None)
    dropped, reported = attend(query, key, value, None, dropout=0.5)
    assert not torch.allclose(dropped, mixed)
    assert weights is not None
    assert reported is not None
    torch.testing.assert_close(reported, weights)


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32])
def test_masks_of_every_type_hide_the_same_keys(kind: torch.dtype) -> None:
    mask = padded_layout(1, 3, torch.tensor([[1, 1, 0]]).to(kind), CPU).groups[0].mask
    assert mask is not None
    query, key, value = heads(1, 3)
    _, weights = attend(query, key, value, mask)
    assert weights is not None
    assert float(weights[..., 2].abs().max()) == 0.0


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(2, 7\).*\(2, 8\)"):
        padded_layout(2, 8, torch.ones(2, 7), CPU)


@pytest.mark.parametrize(
    "lengths",
    [[1], [13], [7, 7, 7], [1, 13, 7], [99, 1, 1, 98, 3], [300, *[7] * 40, 290, *[13] * 5], [2, *[1] * 99]],
)
def test_packed_layout_gives_every_token_a_place_of_its_own_in_its_texts_row(lengths: list[int]) -> None:
    starts = starts_of(lengths)
    layout = packed_layout(starts, int(starts[-1]), CPU)
    assert layout.positions.tolist() == [place for length in lengths for place in range(length)]
    assert layout.longest == max(lengths)
    places = sum(group.rows * group.length for group in layout.groups)
    slots = torch.arange(int(starts[-1])) if layout.slots is None else layout.slots
    assert len(set(slots.tolist())) == len(slots)

    row_of_place = torch.empty(places, dtype=torch.int64)
    seen = torch.ones(places, dtype=torch.bool)
    first = row = 0
    for group in layout.groups:
        end = first + group.rows * group.length
        row_of_place[first:end] = torch.arange(row, row + group.rows).repeat_interleave(group.length)
        if group.mask is not None:
            seen[first:end] = (group.mask == 0).flatten()
        first, row = end, row + group.rows
    assert row == len(lengths)
    rows_of_texts = [set(row_of_place[slots[starts[i] : starts[i + 1]]].tolist()) for i in range(len(lengths))]
    assert all(len(rows) == 1 for rows in rows_of_texts)
    assert len(set.union(*rows_of_texts)) == len(lengths)
    # Exactly the places of real tokens can be looked at.
    assert set(seen.nonzero().flatten().tolist()) == set(slots.tolist())


def test_very_uneven_texts_do_not_share_one_rectangle() -> None:
    lengths = [512, *[16] * 100]
    starts = starts_of(lengths)
    layout = packed_layout(starts, int(starts[-1]), CPU)
    assert [(group.rows, group.length) for group in layout.groups] == [(1, 512), (100, 16)]
    assert all(group.mask is None for group in layout.groups)


def test_a_few_short_texts_stay_in_one_rectangle() -> None:
    layout = packed_layout(starts_of([13, 7, 3]), 23, CPU)
    assert [(group.rows, group.length) for group in layout.groups] == [(3, 13)]


def test_texts_of_one_length_need_no_moving() -> None:
    layout = packed_layout(starts_of([7, 7, 7]), 21, CPU)
    assert layout.slots is None
    assert layout.groups[0].mask is None


@pytest.mark.parametrize("starts", [[0], [], [1, 5], [0, 4], [0, 3, 3, 5], [0, 4, 2, 5], [0, 6]])
def test_starts_that_do_not_divide_the_tokens_are_refused(starts: list[int]) -> None:
    with pytest.raises(ConfigError, match="sequence_starts"):
        packed_layout(torch.tensor(starts, dtype=torch.int64), 5, CPU)
