"""MinHash signatures of sets of hashed pieces, and the keys of their bands."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Hashes", "Signatures", "band_keys", "least_agreement", "mixed", "signatures"]

Hashes = npt.NDArray[np.uint64]
Signatures = npt.NDArray[np.uint32]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# So many pieces at a time stay in the processor's cache through all hash functions.
_BLOCK = 1 << 15


def mixed(values: Hashes) -> Hashes:
    """Scramble 64-bit numbers (the finalizer of splitmix64, Steele et al. 2014)."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def signatures(pieces: Hashes, starts: npt.NDArray[np.int64], size: int) -> Signatures:
    """Return [N, size] minima, one a hash function (Broder 1997).

    Args:
        pieces: [P] hashed pieces of N texts, one text after another; repeated ones do no harm.
        starts: [N+1] where each text's pieces start, and the end; no text may be without pieces.
        size: how many hash functions.
    """
    seeds = mixed(np.arange(1, 2 * size + 1, dtype=np.uint64) * _GOLDEN)
    factors = (seeds[:size] >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    offsets = (seeds[size:] >> np.uint64(32)).astype(np.uint32)
    # The upper half of a scrambled number; an odd factor and an offset make another order of all 32-bit numbers of it.
    short = (mixed(pieces) >> np.uint64(32)).astype(np.uint32)
    result = np.full((len(starts) - 1, size), np.iinfo(np.uint32).max, dtype=np.uint32)
    hashed = np.empty(min(_BLOCK, len(short)), dtype=np.uint32)
    for start in range(0, len(short), _BLOCK):
        part = short[start : start + _BLOCK]
        stop = start + len(part)
        # The texts of this block; the first and the last may go on in its neighbours.
        first = int(np.searchsorted(starts, start, side="right")) - 1
        last = int(np.searchsorted(starts, stop, side="left"))
        edges = np.maximum(starts[first:last] - start, 0)
        room = hashed[: len(part)]
        for column in range(size):
            np.multiply(part, factors[column], out=room)
            np.add(room, offsets[column], out=room)
            minima = np.minimum.reduceat(room, edges)
            np.minimum(result[first:last, column], minima, out=result[first:last, column])
    return result


def band_keys(minima: Signatures, bands: int) -> npt.NDArray[np.uint64]:
    """Return [N, bands] numbers that two texts share in a band where all their minima are the same there."""
    rows = minima.shape[1] // bands
    keys = np.zeros((len(minima), bands), dtype=np.uint64)
    for band in range(bands):
        key = np.full(len(minima), band + 1, dtype=np.uint64)
        for column in range(band * rows, (band + 1) * rows):
            key = mixed(key * _GOLDEN + minima[:, column].astype(np.uint64))
        keys[:, band] = key
    return keys


def least_agreement(threshold: float, size: int) -> float:
    """Return the share of equal minima below which a similarity of `threshold` is out of the question.

    Four standard deviations below it.
    """
    return float(threshold - 4 * (threshold * (1 - threshold) / size) ** 0.5)
