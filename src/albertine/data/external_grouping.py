"""Equal keys among more numbers than memory holds: spread over files by their first bits, then sorted file by file."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from albertine.data.minhash import Hashes

__all__ = ["Group", "grouped"]

PIECE = 1 << 20
"""Keys that are sorted at a time; about 50 bytes of memory each."""
_MOST_FILES = 256
_RECORD = np.dtype([("key", "<u8"), ("number", "<u4")])
_Numbers = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Keys in ascending order with the numbers that have them; equal keys stand in one and the same `Group`."""

    keys: Hashes
    """[K] ascending."""
    numbers: _Numbers
    """[K] of documents; ascending where keys are equal."""


def grouped(
    blocks: Callable[[], Iterable[tuple[Hashes, _Numbers]]], total: int, folder: Path, *, piece: int = PIECE
) -> Iterator[Group]:
    """Sort keys in bounded memory; the outcome depends on nothing but the keys and their order.

    Args:
        blocks: gives the keys and the numbers that have them, block by block, numbers ascending.
        total: how many keys there are at most; it decides how many files they are spread over.
        folder: for temporary files, 12 bytes a key.
        piece: keys that are sorted at a time, on average.
    """
    bits = max(0, (max(1, total) - 1) // piece).bit_length()
    if 1 << bits > _MOST_FILES:
        bits = _MOST_FILES.bit_length() - 1
    if not bits:
        parts = list(blocks())
        if parts:
            keys = np.concatenate([keys for keys, _ in parts])
            numbers = np.concatenate([numbers for _, numbers in parts])
            yield _sorted(keys, numbers)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="keys-", dir=folder) as temporary:
        paths = [Path(temporary, f"{index:03d}") for index in range(1 << bits)]
        with contextlib.ExitStack() as opened:
            files = [opened.enter_context(path.open("wb")) for path in paths]
            for keys, numbers in blocks():
                spread = (keys >> np.uint64(64 - bits)).astype(np.int64)
                order = np.argsort(spread, kind="stable")
                edges = np.searchsorted(spread[order], np.arange((1 << bits) + 1))
                records = np.empty(len(keys), dtype=_RECORD)
                records["key"], records["number"] = keys[order], numbers[order]
                for index, file in enumerate(files):
                    file.write(records[edges[index] : edges[index + 1]].tobytes())
        for path in paths:
            records = np.fromfile(path, dtype=_RECORD)
            path.unlink()
            if len(records):
                yield _sorted(records["key"], records["number"])


def _sorted(keys: Hashes, numbers: _Numbers) -> Group:
    order = np.argsort(keys, kind="stable")
    return Group(keys=keys[order], numbers=numbers[order])
