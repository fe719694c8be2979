"""The documents nearest to queries, by exact dot products, block by block.

Q queries, P passages, W width of a vector; the passages of a document stand one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from albertine.records import IntArray

__all__ = ["Nearest", "nearest"]

_DECIMALS = 6
"""Of a cosine; what float32 has beyond is rounding, which would put equal texts in any order."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest documents to a query, the nearest first, equally near ones by their numbers."""

    similarities: npt.NDArray[np.float32]
    """[K] rounded to six decimals."""
    documents: IntArray
    """[K] their numbers, each once."""
    passages: IntArray
    """[K] the row of the nearest passage of each, the first among equals."""


def nearest(
    queries: npt.NDArray[np.float32],
    blocks: Sequence[npt.NDArray[np.floating]],
    owners: IntArray,
    k: int,
    *,
    rows: int = 1 << 12,
) -> list[Nearest]:
    """Return, for every query, the k documents of which a passage is nearest; all of them where there are no more.

    Args:
        queries: [Q, W].
        blocks: [P, W] in all, a part in each; float32 or (writable) float16, compared in float32.
        owners: [P] the document of every passage, ascending.
        k: how many, at least one.
        rows: passages that are compared at a time, as many as the processor's cache holds; memory grows with it and
            with Q, not with P.
    """
    none = np.zeros(0, dtype=np.int64)
    found = [Nearest(np.zeros(0, dtype=np.float32), none, none) for _ in queries]
    offset = 0
    for block in blocks:
        for begin in range(0, len(block), rows):
            part = _single(block[begin : begin + rows])
            similarities = np.round(queries @ part.T, _DECIMALS)
            own = owners[offset : offset + len(part)]
            starts = np.flatnonzero(np.diff(own, prepend=-1))
            ends = np.append(starts[1:], len(part))
            alone = len(starts) == len(part)
            best = similarities if alone else np.maximum.reduceat(similarities, starts, axis=1)
            for query, (known, of_documents) in enumerate(zip(found, best, strict=True)):
                if len(known.documents) == k and of_documents.max() <= known.similarities[-1]:
                    continue  # as near as the last is not enough for a document that comes later
                kept = _largest(of_documents, k)
                first = [
                    start + int(similarities[query, start:end].argmax())
                    for start, end in zip(starts[kept].tolist(), ends[kept].tolist(), strict=True)
                ]
                found[query] = _ranked(
                    np.concatenate([known.similarities, of_documents[kept]]),
                    np.concatenate([known.documents, own[starts[kept]]]),
                    np.concatenate([known.passages, offset + np.array(first, dtype=np.int64)]),
                    k,
                )
            offset += len(part)
    return found


def _single(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return values in float32; PyTorch converts halves several times faster than NumPy."""
    if values.dtype != np.float16:
        return np.asarray(values, dtype=np.float32)
    single: npt.NDArray[np.float32] = torch.from_numpy(values).float().numpy()
    return single


def _largest(values: npt.NDArray[np.float32], k: int) -> IntArray:
    """Return the places of the k largest values, ascending, the first ones among equals."""
    if len(values) <= k:
        return np.arange(len(values))
    least = np.partition(values, -k)[-k]
    above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
    return np.sort(np.concatenate([above, equal[: k - len(above)]]))


def _ranked(similarities: npt.NDArray[np.float32], documents: IntArray, passages: IntArray, k: int) -> Nearest:
    """Put documents in order, one whose passages came in two parts once."""
    order = np.lexsort((passages, documents, -similarities))
    _, first = np.unique(documents[order], return_index=True)
    order = order[np.sort(first)][:k]
    return Nearest(similarities[order], documents[order], passages[order])
