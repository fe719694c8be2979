"""TensorFlow checkpoints (`.index` and `.data-00000-of-00001`) as named tensors, read without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from albertine.checkpoints.bundle.checksums import extend_checksum, masked
from albertine.checkpoints.bundle.index import BundleIndex, BundleVariable, read_index, shown
from albertine.checkpoints.bundle.records import DTYPES, TYPE_NAMES, BundleEntry
from albertine.checkpoints.bundle.training_variables import SkippedVariables, VariableKind, variable_kind
from albertine.checkpoints.pieces import PIECE_BYTES, row_major_pieces
from albertine.checkpoints.reading import AGAIN_STEP, readable
from albertine.checkpoints.source import StoredTensor
from albertine.errors import CheckpointError

__all__ = ["BundleSource", "open_bundle"]

_GLOBAL_STEP = "global_step"


class BundleSource:
    """The model's variables in a TensorFlow checkpoint, without those of its training; made by `open_bundle`.

    Args:
        index: verified.
        entries: the model's variables.
        skipped: what else the index holds.
    """

    def __init__(self, index: BundleIndex, entries: Mapping[str, StoredTensor], skipped: SkippedVariables) -> None:
        self.path = index.path
        self.entries = MappingProxyType(dict(entries))
        self.skipped = skipped
        self._index = index

    @property
    def global_step(self) -> int | None:
        """The number of training steps behind the checkpoint; None where it does not say.

        Raises:
            CheckpointError: the data file is truncated or damaged.
        """
        variable = self._index.variables.get(_GLOBAL_STEP)
        if variable is None or variable.shape or DTYPES.get(variable.type_number) not in (torch.int64, torch.int32):
            return None
        value = torch.empty((), dtype=torch.int64)
        self._copy(_GLOBAL_STEP, variable, value)
        return int(value)

    def copy(self, name: str, into: Tensor) -> None:
        """Do what `TensorSource.copy` says; the checksum of the bytes is verified as they pass."""
        if name not in self.entries:
            raise KeyError(name)
        self._copy(name, self._index.variables[name], into)

    def _copy(self, name: str, variable: BundleVariable, into: Tensor) -> None:
        if tuple(into.shape) != variable.shape:
            raise ValueError(f"{name} has shape {variable.shape}, the memory for it {tuple(into.shape)}")
        for part in variable.parts:
            rows = into.detach()
            if len(variable.parts) > 1:
                rows = rows.narrow(variable.axis, part.start, part.entry.shape[variable.axis])
            path = self._index.shards[part.entry.shard]
            checksum = _read_values(path, name, part.entry, rows)
            if checksum != part.entry.checksum:
                raise CheckpointError(
                    f"the checksum of {shown(name)} does not match: the file is truncated, was altered, or does not "
                    "belong to its index",
                    where=f"{path}, byte {part.entry.offset:,}",
                    received=f"{checksum:#010x}",
                    allowed=f"{part.entry.checksum:#010x}",
                    next_step=AGAIN_STEP,
                )


def open_bundle(prefix: Path) -> BundleSource:
    """Open a TensorFlow checkpoint; its values are read when they are copied.

    The format is TensorFlow's tensor bundle: a sorted table says of every variable where in which data file its bytes
    lie and what their checksum is. Every number of it is held against the sizes of the files before it is used.

    Args:
        prefix: the path without `.index`, such as `bert_model.ckpt`.

    Raises:
        CheckpointError: a file is missing, truncated, damaged or of another kind; a variable lies where no data is, or
            has a type that torch lacks; an object-based checkpoint of TensorFlow 2; numbers in big-endian order.
    """
    index = read_index(prefix)
    names: dict[VariableKind, list[str]] = {"model": [], "slot": [], "average": [], "state": []}
    for name, variable in index.variables.items():
        counter = _is_counter(variable)
        names[variable_kind(name, index.variables.keys(), counter=counter)].append(name)
    if not names["model"]:
        raise CheckpointError(
            "this checkpoint holds no variables of a model",
            where=str(index.path),
            received=", ".join(shown(name) for name in list(index.variables)[:5]) or "no variables",
            next_step="Take the checkpoint that holds the model's own variables",
        )
    entries = {name: _stored(name, index.variables[name], index.path) for name in names["model"]}
    skipped = SkippedVariables(slots=len(names["slot"]), averages=len(names["average"]), state=tuple(names["state"]))
    return BundleSource(index, entries, skipped)


def _is_counter(variable: BundleVariable) -> bool:
    """Say whether a variable is text or a single whole number, as no weight of a model is."""
    dtype = DTYPES.get(variable.type_number)
    if dtype is None:
        return TYPE_NAMES[variable.type_number] == "string"
    return not variable.shape and not (dtype.is_floating_point or dtype.is_complex)


def _stored(name: str, variable: BundleVariable, path: Path) -> StoredTensor:
    dtype = DTYPES.get(variable.type_number)
    if dtype is None:
        raise CheckpointError(
            f"{shown(name)} has a type that is not read here",
            where=str(path),
            received=TYPE_NAMES[variable.type_number],
            allowed="float32, float16, bfloat16, float64 or whole numbers",
            next_step="Load the checkpoint with TensorFlow, cast its variables to float32 and save them by name",
        )
    return StoredTensor(shape=variable.shape, dtype=dtype)


def _read_values(path: Path, name: str, entry: BundleEntry, into: Tensor) -> int:
    """Read an entry's values into memory of its shape; return the masked checksum of the bytes that passed."""
    dtype = DTYPES[entry.type_number]
    buffer = bytearray(min(entry.size, PIECE_BYTES))
    checksum = 0
    with readable(path) as file:
        file.seek(entry.offset)
        for piece in row_major_pieces(into, PIECE_BYTES // dtype.itemsize):
            data = memoryview(buffer)[: piece.numel() * dtype.itemsize]
            if not _fill(file, data):
                raise CheckpointError(
                    f"the values of {shown(name)} are cut off: the file became shorter after it was opened",
                    where=str(path),
                    next_step=AGAIN_STEP,
                )
            checksum = extend_checksum(checksum, bytes(data))
            piece.copy_(_numbers(buffer, dtype, piece.numel()).view(piece.shape))
    return masked(checksum)


def _numbers(buffer: bytearray, dtype: torch.dtype, count: int) -> Tensor:
    """Return the first numbers in a buffer, of which the tensor is a view, except for truth values."""
    if dtype == torch.bool:
        return torch.frombuffer(buffer, dtype=torch.uint8, count=count) != 0  # any other byte than 0 and 1 is no bool
    return torch.frombuffer(buffer, dtype=dtype, count=count)


def _fill(file: FileIO, data: memoryview) -> bool:
    """Read until `data` is full; say whether the file was long enough."""
    while data:
        count = file.readinto(data)
        if not count:
            return False
        data = data[count:]
    return True
