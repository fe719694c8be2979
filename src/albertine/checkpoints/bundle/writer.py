"""Named tensors written as a TensorFlow checkpoint, byte for byte as TensorFlow's own saver lays it out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from albertine.checkpoints.bundle.checksums import extend_checksum, masked
from albertine.checkpoints.bundle.index import data_path, index_path
from albertine.checkpoints.bundle.records import (
    DTYPES,
    HEADER_KEY,
    SLICE_KEY_START,
    BundleEntry,
    BundleHeader,
    encode_entry,
    encode_header,
)
from albertine.checkpoints.bundle.sorted_table import TableEntry, write_table
from albertine.checkpoints.pieces import PIECE_BYTES, row_major_pieces
from albertine.errors import CheckpointError
from albertine.files import atomic_path, write_text

__all__ = ["write_bundle", "write_checkpoint_state"]

_TYPE_NUMBERS = {dtype: number for number, dtype in DTYPES.items()}
_STATE_FILE = "checkpoint"


def write_bundle(prefix: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as `{prefix}.index` and `{prefix}.data-00000-of-00001`, each whole or not at all.

    A tensor is never copied whole: views, transposed ones too, are written piece by piece in row-major order. The index
    takes its place last, so that where writing fails, what stood there before still opens.

    Args:
        prefix: such as `bert_model.ckpt`; its folder is made.
        tensors: by name, on any device.

    Raises:
        CheckpointError: a name or a type that a checkpoint cannot have.
        FailureError: the disk is full or the place cannot be written to.
    """
    index, data = index_path(prefix), data_path(prefix, 0, 1)
    names = sorted(tensors, key=lambda name: name.encode("utf-8"))
    for name in names:
        _check(name, tensors[name], index)
    with atomic_path(index) as new_index, atomic_path(data) as new_data:
        entries = [TableEntry(key=HEADER_KEY, value=encode_header(BundleHeader(shards=1)))]
        with new_data.open("wb") as file:
            offset = 0
            for name in names:
                entry = _write_tensor(file, tensors[name], offset)
                offset += entry.size
                entries.append(TableEntry(key=name.encode("utf-8"), value=encode_entry(entry)))
        with new_index.open("wb") as file:
            write_table(file, entries)
            file.flush()
            os.fsync(file.fileno())  # a full disk must show before the data file is replaced


def write_checkpoint_state(prefix: Path) -> None:
    """Write the small text file `checkpoint`, by which `tf.train.latest_checkpoint` finds the checkpoint of a folder.

    Raises:
        FailureError: the disk is full or the place cannot be written to.
    """
    name = json.dumps(prefix.name, ensure_ascii=False)  # the text form of protocol buffers escapes strings like JSON
    write_text(prefix.with_name(_STATE_FILE), f"model_checkpoint_path: {name}\nall_model_checkpoint_paths: {name}\n")


def _check(name: str, tensor: Tensor, index: Path) -> None:
    if not name or name.startswith(SLICE_KEY_START.decode("ascii")):
        raise CheckpointError(
            "a variable of a TensorFlow checkpoint cannot have this name", where=str(index), received=repr(name)
        )
    if tensor.dtype not in _TYPE_NUMBERS:
        raise CheckpointError(
            "a TensorFlow checkpoint cannot hold a tensor of this type",
            where=f"{index}, {name!r}",
            received=str(tensor.dtype)[6:],
            allowed=", ".join(str(dtype)[6:] for dtype in _TYPE_NUMBERS),
            next_step="Convert the tensor to one of these types",
        )


def _write_tensor(file: BinaryIO, tensor: Tensor, offset: int) -> BundleEntry:
    """Append a tensor's numbers; return its entry in the index."""
    checksum = 0
    for piece in row_major_pieces(tensor.detach(), PIECE_BYTES // tensor.dtype.itemsize):
        values = torch.empty(piece.shape, dtype=piece.dtype).copy_(piece)
        data = values.view(-1).view(torch.uint8).numpy().tobytes()
        checksum = extend_checksum(checksum, data)
        file.write(data)
    return BundleEntry(
        type_number=_TYPE_NUMBERS[tensor.dtype],
        shape=tuple(tensor.shape),
        offset=offset,
        size=tensor.numel() * tensor.dtype.itemsize,
        checksum=masked(checksum),
    )
