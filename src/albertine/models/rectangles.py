"""Tokens brought into the rectangles in which attention treats texts of similar length together, and back.

S tokens, M chosen tokens, N texts, H hidden width, A heads, D = H / A, R rows of a rectangle, L its length, K tokens
that are looked at in a row.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # the module of that file calls those that call this one
    from albertine.models.attention import Layout

__all__ = ["Rectangles", "all_tokens", "attention_weights", "chosen_tokens"]


class Rectangles:
    """The places of tokens in rectangles that lie one after another.

    Args:
        shapes: rows and length of every rectangle.
        slots: [S] the place of every token; None where the tokens lie so already.
        heads: A.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], slots: Tensor | None, heads: int) -> None:
        self.shapes = shapes
        self.slots = slots
        self.heads = heads

    def spread(self, values: Tensor, parts: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield for every rectangle the `parts` of [S, parts * H], each [R * A, L, D]; zero where no token is."""
        if self.slots is not None:
            size = sum(rows * length for rows, length in self.shapes)
            values = values.new_zeros(size, values.shape[-1]).index_copy_(0, self.slots, values)
        first = 0
        for rows, length in self.shapes:
            last = first + rows * length
            heads_first = values[first:last].view(rows, length, parts, self.heads, -1).permute(2, 0, 3, 1, 4)
            # part by part: one copy of all five dimensions takes twice as long
            yield tuple(part.reshape(rows * self.heads, length, -1) for part in heads_first.unbind())
            first = last

    def gather(self, rectangles: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """Return [S, parts * H] of the parts of every rectangle, each [R * A, L, D]: what `spread` began with."""
        joined = []
        for parts, (rows, length) in zip(rectangles, self.shapes, strict=True):
            width = parts[0].shape[-1]
            flat = parts[0].new_empty(rows, length, len(parts), self.heads, width)
            for number, part in enumerate(parts):
                flat[:, :, number].copy_(part.view(rows, self.heads, length, width).transpose(1, 2))
            joined.append(flat.view(rows * length, -1))
        values = joined[0] if len(joined) == 1 else torch.cat(joined)
        return values if self.slots is None else values.index_select(0, self.slots)


def all_tokens(layout: Layout, heads: int) -> Rectangles:
    """Return the rectangles of a batch's tokens."""
    return Rectangles([(group.rows, group.length) for group in layout.groups], layout.slots, heads)


def chosen_tokens(layout: Layout, heads: int, rows: Tensor) -> Rectangles:
    """Return narrower rectangles for some tokens of a batch, every text in the rectangle and row that it has there.

    Args:
        layout: of the batch.
        heads: A.
        rows: [M] the tokens, counted over the flattened input, in any order.
    """
    if layout.starts is None:
        text = rows // layout.longest
        first_slots = torch.arange(layout.texts) * layout.longest
    else:
        text = torch.searchsorted(layout.starts, rows, right=True) - 1
        first = layout.starts[:-1]
        first_slots = first if layout.slots is None else layout.slots[first]
    counts = torch.bincount(text, minlength=layout.texts)
    # the place of every token among those of its text
    order = torch.argsort(text, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order)) - (counts.cumsum(0) - counts)[text[order]]
    row_starts = torch.empty(layout.texts, dtype=torch.int64)
    shapes: list[tuple[int, int]] = []
    sizes = [group.rows * group.length for group in layout.groups]
    narrow = 0
    for group, (begin, end) in zip(
        layout.groups, itertools.pairwise(itertools.accumulate(sizes, initial=0)), strict=True
    ):
        texts = ((first_slots >= begin) & (first_slots < end)).nonzero().squeeze(1)
        length = max(1, int(counts[texts].max()))
        row_starts[texts] = narrow + (first_slots[texts] - begin) // group.length * length
        shapes.append((group.rows, length))
        narrow += group.rows * length
    return Rectangles(shapes, row_starts[text] + place, heads)


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    """Return how much every token of a rectangle takes of those that it looks at, [R * A, L, K], in the type of both.

    Args:
        query: [R * A, L, D].
        key: [R * A, K, D].
        mask: added to the scores, [R, 1, 1, K] or [1, 1, L, K]; None where all is seen.
        heads: A.
    """
    if mask is None:
        shown, beta = query.new_empty(()), 0.0
    else:
        shown, beta = mask.to(query.dtype), 1.0
        # one mask for all rows stands for every head as it is
        shown = shown.squeeze(1) if len(shown) == 1 else shown.expand(-1, heads, -1, -1).flatten(0, 1)
    weights = torch.baddbmm(shown, query, key.transpose(1, 2), beta=beta, alpha=query.shape[-1] ** -0.5)
    torch.softmax(weights, dim=-1, out=weights)
    return weights
