"""Weights in fewer bits than they are computed with: bfloat16 numbers, or integers of eight bits and a scale a row.

As int8, every matrix of more than 4,096 numbers is kept as integers from -127 to 127 with one float32 scale for each
output channel, which is a row of ours (of a word table: each word): a weight is its integer times the scale of its row,
at most half a scale from what it was. Vectors and small matrices stay float32. A scale has 16 significant bits, so that
the product is exact in float32, and storing what was read again gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from albertine.checkpoints.report import listed
from albertine.checkpoints.source import StoredTensor, TensorSource, read_tensor
from albertine.errors import CheckpointError, ConfigError, unknown_name

__all__ = ["INT8_METADATA", "Storage", "check_storage", "pack", "read_back", "unpacked"]

Storage = Literal["fp32", "bf16", "int8"]

SCALE = ".scale"
"""What the name of a scale has behind that of its weight."""
_STORAGE_KEY, _VERSION_KEY = "albertine.storage", "albertine.storage_version"
INT8_METADATA: Mapping[str, str] = {_STORAGE_KEY: "int8", _VERSION_KEY: "1"}
"""What the header of such a safetensors file says."""

_MOST_UNPACKED = 4096
"""Numbers of a matrix up to which its values stay as they are: nothing would be gained."""
_LARGEST = 127
_DROPPED_BITS = 0xFF
"""Of the 24 significant bits of a scale, which times an integer of 7 bits is then exact in 24."""
_LEAST_SCALE = 2.0**-100
"""Rows that would need a smaller one are stored as zeros."""
_ROWS_AT_ONCE = 1024
"""Rows that are rounded at a time, in float64."""
_DAMAGED = "Copy the file again from where it was written; a program that rewrites safetensors may have changed it"


def check_storage(storage: str, *, format: str) -> None:
    """Refuse a storage that there is none of, or that the readers of a format do not know.

    Raises:
        ConfigError: one of the two.
    """
    if storage not in get_args(Storage):
        raise unknown_name("storage", storage, get_args(Storage), where="storage")
    if storage == "int8" and format != "albertine":
        raise ConfigError(
            "weights of eight bits are read by Albertine alone",
            where="storage",
            received=f"int8 for the format {format}",
            allowed="int8 for the format albertine; fp32 or bf16 for the others",
            next_step="Take the format albertine now, and convert to another when it is needed: that expands them",
        )
    if storage == "bf16" and format == "tensorflow":
        raise ConfigError(
            "float32 is the only type that Google's code takes",
            where="storage",
            received="bf16 for the format tensorflow",
            allowed="fp32",
        )


def pack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what an int8 file holds for these weights: integers with their scales, and float32 for the small ones.

    Args:
        tensors: of floating-point numbers, by name.

    Raises:
        CheckpointError: a weight is not a finite number, which no integer stands for.
    """
    packed = {}
    for name, tensor in tensors.items():
        if _is_packed(tensor):
            packed[name], packed[name + SCALE] = _quantized(name, tensor.detach().cpu())
        else:
            packed[name] = tensor.float()
    return packed


def read_back(tensors: Mapping[str, Tensor], storage: Storage) -> dict[str, Tensor]:
    """Return the values that reading a file with these weights will give, bit for bit.

    Args:
        tensors: by name.
        storage: of the file.

    Raises:
        CheckpointError: as `pack`.
    """
    if storage != "int8":
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[storage]
        return {name: tensor.to(dtype) for name, tensor in tensors.items()}
    values = {}
    for name, tensor in tensors.items():
        one = pack({name: tensor})
        values[name] = one[name]
        if name + SCALE in one:
            values[name] = torch.empty(tensor.shape)
            _expand(one[name], one[name + SCALE], values[name])
    return values


def unpacked(source: TensorSource, metadata: Mapping[str, str]) -> TensorSource:
    """Return a file's tensors as floating-point numbers, whatever its header says that they are stored as.

    Args:
        source: the file as it stands.
        metadata: of its header.

    Raises:
        CheckpointError: a storage that is not known here; a scale that is missing, of another shape, not a positive
            number, or of no weight.
    """
    if _STORAGE_KEY not in metadata:
        return source
    if any(metadata.get(key) != value for key, value in INT8_METADATA.items()):
        raise CheckpointError(
            "the weights of this file are stored in a way that is not known here",
            where=str(source.path),
            received=f"{metadata[_STORAGE_KEY]}, version {metadata.get(_VERSION_KEY)}",
            allowed=f"{INT8_METADATA[_STORAGE_KEY]}, version {INT8_METADATA[_VERSION_KEY]}",
            next_step="Open it with the version of Albertine that wrote it, or a newer one",
        )
    return _Int8Source(source)


class _Int8Source:
    """The tensors of an int8 file, as float32.

    Raises:
        CheckpointError: weights and scales do not belong together.
    """

    def __init__(self, source: TensorSource) -> None:
        self._source = source
        found = source.entries
        weights = [name for name, entry in found.items() if entry.dtype == torch.int8]
        scales = {name + SCALE for name in weights}
        if stray := sorted(name for name in found if name.endswith(SCALE) and name not in scales):
            raise CheckpointError(
                "these scales belong to no weight of eight bits",
                where=str(source.path),
                received=listed(stray),
                next_step=_DAMAGED,
            )
        self._scales = {name: _read_scale(source, name) for name in weights}
        self.entries: Mapping[str, StoredTensor] = {
            name: _expanded_entry(entry) if name in self._scales else entry
            for name, entry in found.items()
            if name not in scales
        }

    @property
    def path(self) -> Path:
        """The file."""
        return self._source.path

    def copy(self, name: str, into: Tensor) -> None:
        """Do what `TensorSource.copy` says."""
        if name not in self._scales:
            self._source.copy(name, into)
            return
        _expand(read_tensor(self._source, name), self._scales[name], into)


def _is_packed(tensor: Tensor) -> bool:
    return tensor.dim() >= 2 and tensor.numel() > _MOST_UNPACKED


def _quantized(name: str, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the integers of a weight [rows, …] and the scale of each row, float32 [rows]."""
    values = torch.empty(weight.shape, dtype=torch.int8)
    scales = torch.empty(weight.shape[0])
    for first in range(0, weight.shape[0], _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        part = weight[rows].to(torch.float64)
        largest = part.flatten(1).abs().amax(1)
        if not largest.isfinite().all():
            raise CheckpointError(
                "a weight is not a finite number, and cannot be stored in eight bits", where=name, received="NaN or inf"
            )
        scale = (largest / _LARGEST).to(torch.float32)
        # Rounded up to 16 significant bits: the largest weight of the row is 127 whenever it is stored.
        scale = ((scale.view(torch.int32) + _DROPPED_BITS) & ~_DROPPED_BITS).view(torch.float32)
        scale[scale < _LEAST_SCALE] = 1.0
        scales[rows] = scale
        values[rows] = (part / _beside(scale.to(torch.float64), part)).round().to(torch.int8)
    return values, scales


def _expand(values: Tensor, scale: Tensor, into: Tensor) -> None:
    into.copy_(values)  # exact in every floating-point type
    into.mul_(_beside(scale, into))


def _beside(scale: Tensor, weight: Tensor) -> Tensor:
    """Return [rows] as [rows, 1, …]."""
    return scale.view(-1, *[1] * (weight.dim() - 1))


def _expanded_entry(entry: StoredTensor) -> StoredTensor:
    packed = entry.nbytes + entry.shape[0] * torch.float32.itemsize
    return StoredTensor(shape=entry.shape, dtype=torch.float32, packed_bytes=packed)


def _read_scale(source: TensorSource, name: str) -> Tensor:
    """Read the scale of a weight, and hold it against the weight."""
    weight, entry = source.entries[name], source.entries.get(name + SCALE)
    if entry is None:
        raise CheckpointError(
            "this weight of eight bits has no scale",
            where=f"{source.path}: {name}",
            received=f"no {name}{SCALE}",
            next_step=_DAMAGED,
        )
    where = f"{source.path}: {name}{SCALE}"
    if entry.dtype != torch.float32 or entry.shape != weight.shape[:1] or not entry.shape:
        raise CheckpointError(
            "this scale does not fit its weight",
            where=where,
            received=f"{str(entry.dtype).removeprefix('torch.')} {list(entry.shape)}",
            allowed=f"float32 {list(weight.shape[:1])}, one number for each row of {list(weight.shape)}",
            next_step=_DAMAGED,
        )
    scale = read_tensor(source, name + SCALE)
    wrong = ~(scale.isfinite() & (scale > 0))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise CheckpointError(
            f"{int(wrong.sum()):,} of these scales are not positive numbers",
            where=where,
            received=f"{float(scale[row])} in row {row}",
            next_step=_DAMAGED,
        )
    return scale
