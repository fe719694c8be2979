"""Tensors cut into pieces that follow each other in row-major order, so that none is ever held twice."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

__all__ = ["PIECE_BYTES", "row_major_pieces"]

PIECE_BYTES = 1 << 22
"""How much of a tensor is read or written at once: enough to be fast, little beside any model."""


def row_major_pieces(tensor: Tensor, limit: int) -> Iterator[Tensor]:
    """Yield views of a tensor, of any layout in memory, that together are its elements in row-major order.

    Args:
        tensor: of any shape; nothing is yielded where it has no elements.
        limit: most elements a piece, at least 1.
    """
    count = tensor.numel()
    if count <= limit:
        if count:
            yield tensor
        return
    rows = tensor.shape[0]
    row = count // rows
    if row > limit:
        for index in range(rows):
            yield from row_major_pieces(tensor[index], limit)
    else:
        for start in range(0, rows, limit // row):
            yield tensor[start : start + limit // row]
