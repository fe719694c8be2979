"""Safetensors files, whole or sharded <-> named tensors, with a clear line for everything else."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from albertine.checkpoints.pieces import PIECE_BYTES, row_major_pieces
from albertine.checkpoints.reading import damaged, read_head
from albertine.checkpoints.report import listed
from albertine.checkpoints.shards import ShardedSource, open_shards
from albertine.checkpoints.source import StoredTensor, TensorSource, read_all
from albertine.checkpoints.storage import unpacked
from albertine.errors import CheckpointError
from albertine.files import atomic_path

__all__ = [
    "INDEX_FILE",
    "WEIGHTS_FILE",
    "find_weights",
    "open_tensors",
    "read_tensors",
    "write_tensors",
]

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_SUFFIX = ".safetensors"
_PICKLE_FILES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
"""The names under which pickles are found; any other has to be renamed."""
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
_OTHER_FORMATS = {".h5": "Keras", ".msgpack": "Flax", ".gguf": "GGUF", ".pdparams": "Paddle"}
_EXPORTED = {".onnx", ".xml"}
"""Graphs with weights of their own, an OpenVINO graph's beside it in a .bin that is no pickle."""
_ALLOWED = (
    f"{WEIGHTS_FILE} or {INDEX_FILE}; an encoder is also opened from a TensorFlow checkpoint (*.index and its data), "
    "tf_model.h5, and with --allow-pickle from pytorch_model.bin or its index"
)
_DTYPES = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The format's names of the types that a checkpoint of an encoder may have, in the order in which the library lays out
the tensors of a file."""
_ALIGNMENT = 8
"""The numbers of a file begin at a multiple of so many bytes, for which spaces follow its header."""
_LISTED = 20
_LARGEST_HEADER = 16 << 20
"""Names, types and shapes of an encoder take a few dozen kilobytes."""


class SafetensorsSource:
    """The tensors of one safetensors file.

    Pages of the file that were looked at count as memory of the process until the file is closed, so it is opened anew
    for every few megabytes; reading then takes the memory of what is read, once.

    Raises:
        CheckpointError: no such file, a pickle, another format, a truncated or damaged file, a type no encoder has.
    """

    def __init__(self, path: Path) -> None:
        _refuse_other_formats(path)
        self.path = path
        entries = {}
        with _damage(path), safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                found = file.get_slice(name)
                dtype = _DTYPES.get(found.get_dtype())
                if dtype is None:
                    raise CheckpointError(
                        "this tensor is of a type that is not read here",
                        where=f"{path}: {name}",
                        received=found.get_dtype(),
                        allowed=", ".join(_DTYPES),
                    )
                entries[name] = StoredTensor(shape=tuple(found.get_shape()), dtype=dtype)
            self.metadata: Mapping[str, str] = file.metadata() or {}
        self.entries: Mapping[str, StoredTensor] = entries

    def copy(self, name: str, into: Tensor) -> None:
        """Do what `TensorSource.copy` says."""
        entry = self.entries[name]
        rows = entry.shape[0] if entry.shape else 1
        row_bytes = max(1, math.prod(entry.shape[1:]) * entry.dtype.itemsize)
        step = max(1, PIECE_BYTES // row_bytes)
        with _damage(self.path):
            if not entry.shape or rows <= step:
                with safe_open(self.path, framework="pt") as file:
                    into.copy_(file.get_tensor(name))
                return
            for first in range(0, rows, step):
                with safe_open(self.path, framework="pt") as file:
                    into[first : first + step].copy_(file.get_slice(name)[first : first + step])


def open_tensors(path: Path) -> TensorSource:
    """Open a safetensors file, a sharded index, or a folder that holds one of them; weights of eight bits as float32.

    Args:
        path: `model.safetensors` (or any other safetensors file), an index, or the folder.

    Raises:
        CheckpointError: no weights, a pickle, another format, a truncated or damaged file, a missing shard, scales that
            do not fit their weights.
    """
    if path.is_dir():
        path = find_weights(path)
    if path.name.endswith(".index.json"):
        return ShardedSource(path, open_shards(path, _open_file))
    return _open_file(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor that `open_tensors` finds into memory of its own, in the dtype of the file.

    Raises:
        CheckpointError: as `open_tensors`.
    """
    return read_all(open_tensors(path))


def find_weights(folder: Path) -> Path:
    """Return the weights file of a folder, or its index where the weights are sharded.

    Raises:
        CheckpointError: there is neither; the message says what the folder holds instead.
    """
    for name in (WEIGHTS_FILE, INDEX_FILE):
        if (folder / name).is_file():
            return folder / name
    raise _no_weights(folder)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` as one safetensors file, whole or not at all; two names of one storage are written twice.

    The file is byte for byte the one that the library's `save_file` writes, but a tensor passes piece by piece, so that
    tensors that share memory, lie in it in another order or on a device take no more of it.

    Args:
        path: the file.
        tensors: by name.
        metadata: what the header says beside them.

    Raises:
        CheckpointError: a tensor of a type that is not read here either.
        FailureError: the disk is full or the place cannot be written to.
    """
    types = {dtype: name for name, dtype in _DTYPES.items()}
    for name, tensor in tensors.items():
        if tensor.dtype not in types:
            raise CheckpointError(
                "a tensor of this type is not written",
                where=f"{path}: {name}",
                received=str(tensor.dtype),
                allowed=", ".join(_DTYPES),
            )
    ranks = {dtype: rank for rank, dtype in enumerate(types)}
    ordered = sorted(tensors, key=lambda name: (ranks[tensors[name].dtype], name))
    header: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    offset = 0
    for name in ordered:
        tensor = tensors[name]
        end = offset + tensor.numel() * tensor.itemsize
        header[name] = {"dtype": types[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % _ALIGNMENT)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            _write_values(file, tensors[name])


def _open_file(path: Path) -> TensorSource:
    source = SafetensorsSource(path)
    return unpacked(source, source.metadata)


def _write_values(file: BinaryIO, tensor: Tensor) -> None:
    for piece in row_major_pieces(tensor.detach(), PIECE_BYTES // tensor.itemsize):
        values = torch.empty(piece.shape, dtype=piece.dtype).copy_(piece)
        file.write(values.view(-1).view(torch.uint8).numpy().data)


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Say of a file that the library cannot read that it is damaged."""
    try:
        yield
    except SafetensorError as error:
        raise damaged(path, str(error)) from error


def _refuse_other_formats(path: Path) -> None:
    """Look at the first bytes: a wrong kind of file is told apart from a damaged one."""
    head = read_head(path)
    # A safetensors file starts with the length of its header, which may look like a pickle's first bytes, then a brace.
    is_safetensors = head[8:9] == b"{"
    if path.suffix in _PICKLES or (head.startswith(_PICKLE_STARTS) and not is_safetensors):
        raise _pickle(path.parent, path.name)
    if path.suffix in _EXPORTED:
        raise _exported(path.parent, [path.name])
    if path.suffix in _OTHER_FORMATS:
        raise _other_format(path.parent, [path.name])
    header_bytes = int.from_bytes(head[:8], "little")
    if is_safetensors and header_bytes > _LARGEST_HEADER:
        raise damaged(path, f"its header would have {header_bytes:,} bytes")


def _no_weights(folder: Path) -> CheckpointError:
    """Say what the folder holds instead of weights that are opened."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    safe = [name for name in names if name.endswith(_SUFFIX)]
    pickles = [name for name in names if name in _PICKLE_FILES]
    exported = [name for name in names if Path(name).suffix in _EXPORTED]
    if exported and not safe and not pickles:
        return _exported(folder, exported)
    pickles = pickles or [name for name in names if Path(name).suffix in _PICKLES]
    if pickles and (not safe or pickles[0] in _PICKLE_FILES):
        return _pickle(folder, pickles[0])
    others = [name for name in names if Path(name).suffix in _OTHER_FORMATS]
    if others and not safe:
        return _other_format(folder, others)
    step = None
    if len(safe) == 1:
        step = f"If {safe[0]} holds the weights of the whole model, rename it to {WEIGHTS_FILE}"
    elif safe:
        step = f"If these files are the shards of one model, put its {INDEX_FILE} beside them"
    return CheckpointError(
        "no weights in this folder" + (" under a name that is looked for" if safe else ""),
        where=str(folder),
        received=listed(names, _LISTED) or "an empty folder",
        allowed=_ALLOWED,
        next_step=step,
    )


def _pickle(folder: Path, name: str) -> CheckpointError:
    known = name in _PICKLE_FILES
    renamed = "" if known else f", renamed to {_PICKLE_FILES[0]} if it holds the weights of the whole model"
    return CheckpointError(
        "these weights are a pickle, which can run any program when it is opened, and is not read",
        where=str(folder / name),
        allowed=_ALLOWED,
        next_step=f"Convert it once with a restricted reader{renamed}: "
        "albertine convert FOLDER NEW_FOLDER --to huggingface --allow-pickle",
    )


def _exported(folder: Path, names: list[str]) -> CheckpointError:
    return CheckpointError(
        "this model was exported: it is run by ONNX Runtime or OpenVINO, and has no weights to open",
        where=str(folder),
        received=listed(names),
        allowed=_ALLOWED,
        next_step="Open the folder that it was exported from",
    )


def _other_format(folder: Path, names: list[str]) -> CheckpointError:
    kinds = sorted({_OTHER_FORMATS[Path(name).suffix] for name in names})
    return CheckpointError(
        f"weights in the format of {' and '.join(kinds)} are not opened",
        where=str(folder),
        received=listed(names),
        allowed=_ALLOWED,
        next_step="Convert them to Hugging Face's form first",
    )
