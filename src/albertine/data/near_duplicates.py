"""Texts that are nearly the same: MinHash signatures of character n-grams, found by locality-sensitive hashing.

The similarity of two texts is the Jaccard similarity of their sets of three-character pieces. A signature of 60 minima
(Broder 1997) is cut into 12 bands of 5 (Leskovec et al., Mining of Massive Datasets, chapter 3): texts that agree in a
band are candidates, and each candidate pair is measured exactly before it counts. Of pairs with similarity 0.8, 99 %
become candidates; time and memory are linear in the characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from albertine.data.identity import normalised
from albertine.data.minhash import Hashes, Signatures, band_keys, least_agreement, signatures

__all__ = ["NearDuplicates", "near_duplicates"]

_PIECE = 3
_BANDS = 12
_ROWS = 5
# A template shared by thousands of texts gives one bucket; each text is compared with so many before it there.
_NEIGHBOURS = 3
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDuplicates:
    """What was found."""

    pairs: tuple[tuple[int, int], ...]
    """Indices of two texts that are nearly the same, the smaller first, ascending. Within a group of more than two not
    every pair is listed, but all its texts are connected."""
    texts: int
    """How many texts are nearly the same as another."""
    groups: int
    """How many connected groups they form."""
    skipped: int
    """Texts too short to be compared."""


def near_duplicates(texts: Sequence[str], *, threshold: float = 0.8, shortest: int = 10) -> NearDuplicates:
    """Find the pairs of texts whose sets of three-character pieces are alike.

    Case, width and white space do not count. Texts that are the same under `normalised` are pairs too, so pass distinct
    ones to find what is only nearly the same.

    Args:
        texts: the texts.
        threshold: the Jaccard similarity from which on two texts are nearly the same. The bands are made for 0.8 and
            higher; further down, pairs are missed (at 0.7 one in eight).
        shortest: shorter texts (in characters, white space not counted) are not compared.
    """
    plain = ["".join(normalised(text).split()) for text in texts]
    chosen = [index for index, text in enumerate(plain) if len(text) >= max(shortest, _PIECE)]
    if len(chosen) < 2:
        return NearDuplicates(pairs=(), texts=0, groups=0, skipped=len(texts) - len(chosen))
    pieces = [_pieces(plain[index]) for index in chosen]
    minima = _signatures(pieces)
    found = [
        (chosen[first], chosen[second])
        for first, second in _candidates(minima, threshold)
        if _jaccard(pieces[first], pieces[second]) >= threshold
    ]
    return NearDuplicates(
        pairs=tuple(sorted(found)),
        texts=len({index for pair in found for index in pair}),
        groups=_connected(found),
        skipped=len(texts) - len(chosen),
    )


def _pieces(text: str) -> Hashes:
    """Return the distinct three-character pieces of a text as sorted numbers; 21 bits a character, so none collide."""
    points = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32).astype(np.uint64)
    shift = np.uint64(21)
    return np.unique((points[:-2] << shift << shift) | (points[1:-1] << shift) | points[2:])


def _signatures(pieces: Sequence[Hashes]) -> Signatures:
    """Return [N, 60] minima, one a hash function; works through so many texts at a time that memory stays small."""
    size = _BANDS * _ROWS
    result = np.empty((len(pieces), size), dtype=np.uint32)
    start = 0
    while start < len(pieces):
        end, total = start, 0
        while end < len(pieces) and (end == start or total + len(pieces[end]) <= _BLOCK):
            total += len(pieces[end])
            end += 1
        edges = np.cumsum([0, *(len(part) for part in pieces[start:end])])
        result[start:end] = signatures(np.concatenate(pieces[start:end]), edges, size)
        start = end
    return result


def _candidates(minima: Signatures, threshold: float) -> list[tuple[int, int]]:
    """Return the pairs that agree in a band and in enough of the whole signature."""
    count = len(minima)
    bands = band_keys(minima, _BANDS)
    keys = []
    for band in range(_BANDS):
        key = bands[:, band]
        order = np.argsort(key, kind="stable")
        for distance in range(1, _NEIGHBOURS + 1):
            same = key[order[distance:]] == key[order[:-distance]]
            first, second = order[:-distance][same], order[distance:][same]
            keys.append(np.minimum(first, second) * count + np.maximum(first, second))
    pairs = np.unique(np.concatenate(keys))
    first, second = pairs // count, pairs % count
    agreement = np.empty(len(pairs))
    for start in range(0, len(pairs), _BLOCK // 16):
        block = slice(start, start + _BLOCK // 16)
        agreement[block] = (minima[first[block]] == minima[second[block]]).mean(axis=1)
    near = agreement >= least_agreement(threshold, minima.shape[1])
    return list(zip(first[near].tolist(), second[near].tolist(), strict=True))


def _jaccard(first: Hashes, second: Hashes) -> float:
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)


def _connected(pairs: Sequence[tuple[int, int]]) -> int:
    """Count the connected groups, with union by path halving."""
    parent = {index: index for pair in pairs for index in pair}

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, second in pairs:
        parent[root(first)] = root(second)
    return sum(1 for index in parent if root(index) == index)
