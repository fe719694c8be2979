"""Named tensors that lie in files: their shapes are known at once, their values are read one at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["MemorySource", "StoredTensor", "TensorSource", "read_all", "read_tensor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """What is known of a tensor before it is read."""

    shape: tuple[int, ...]
    """As it lies in the file."""
    dtype: torch.dtype
    """As it is read."""
    packed_bytes: int | None = None
    """Bytes in the file, where the values lie there in fewer bits than `dtype` has; None where they lie as they are."""

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) * self.dtype.itemsize if self.packed_bytes is None else self.packed_bytes


class TensorSource(Protocol):
    """Tensors by the names of a file, or of several that belong together."""

    @property
    def path(self) -> Path:
        """The file or folder, for messages."""

    @property
    def entries(self) -> Mapping[str, StoredTensor]:
        """Every tensor, by name."""

    def copy(self, name: str, into: Tensor) -> None:
        """Read a tensor into memory that is there already, in pieces, so that nothing is held twice.

        Args:
            name: one of `entries`.
            into: on the CPU, of the entry's shape, in any dtype and memory layout; a transposed view transposes.

        Raises:
            CheckpointError: the file is truncated or damaged.
        """


def read_tensor(source: TensorSource, name: str) -> Tensor:
    """Return a tensor of a file in memory of its own, in the file's dtype."""
    entry = source.entries[name]
    tensor = torch.empty(entry.shape, dtype=entry.dtype)
    source.copy(name, tensor)
    return tensor


def read_all(source: TensorSource) -> dict[str, Tensor]:
    """Return every tensor of a file in memory of its own, by name, in the file's dtype."""
    return {name: read_tensor(source, name) for name in source.entries}


class MemorySource:
    """Tensors that are in memory already, seen as a source.

    Args:
        tensors: by name.
        path: where they came from, for messages.
    """

    def __init__(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        self.path = path
        self._tensors = dict(tensors)
        self.entries: Mapping[str, StoredTensor] = {
            name: StoredTensor(shape=tuple(tensor.shape), dtype=tensor.dtype) for name, tensor in tensors.items()
        }

    def copy(self, name: str, into: Tensor) -> None:
        """Do what `TensorSource.copy` says."""
        into.copy_(self._tensors[name])
