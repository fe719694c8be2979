"""Safetensors files, whole or sharded <-> named tensors, with a clear line for everything else."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from albertine.checkpoints.source import StoredTensor, TensorSource, read_all
from albertine.errors import CheckpointError
from albertine.files import atomic_path

__all__ = [
    "INDEX_FILE",
    "WEIGHTS_FILE",
    "find_weights",
    "open_tensors",
    "read_json",
    "read_tensors",
    "write_tensors",
]

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
_OTHER_FORMATS = {".h5": "Keras", ".msgpack": "Flax", ".onnx": "ONNX", ".gguf": "GGUF", ".pdparams": "Paddle"}
_PIECE_BYTES = 16 << 20
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The format's names of the types that a checkpoint of an encoder may have."""
_LFS_POINTER = b"version https://git-lfs.github.com/"
_SAFETENSORS_STEP = (
    "Convert it once with a restricted reader: albertine convert FOLDER NEW_FOLDER --to huggingface --allow-pickle"
)
_AGAIN_STEP = "Copy or download the file again, and compare its size with the original's"


class SafetensorsSource:
    """The tensors of one safetensors file.

    Pages of the file that were looked at count as memory of the process until the file is closed, so it is opened anew
    for every few megabytes; reading then takes the memory of what is read, once.

    Raises:
        CheckpointError: no such file, a pickle, another format, a truncated or damaged file, a type no encoder has.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise CheckpointError("this file does not exist", where=str(path), next_step=_list_step(path.parent))
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
        self.entries: Mapping[str, StoredTensor] = entries

    def copy(self, name: str, into: Tensor) -> None:
        """Do what `TensorSource.copy` says."""
        entry = self.entries[name]
        rows = entry.shape[0] if entry.shape else 1
        row_bytes = max(1, math.prod(entry.shape[1:]) * entry.dtype.itemsize)
        step = max(1, _PIECE_BYTES // row_bytes)
        with _damage(self.path):
            if not entry.shape or rows <= step:
                with safe_open(self.path, framework="pt") as file:
                    into.copy_(file.get_tensor(name))
                return
            for first in range(0, rows, step):
                with safe_open(self.path, framework="pt") as file:
                    into[first : first + step].copy_(file.get_slice(name)[first : first + step])


class ShardedSource:
    """The tensors of several files that belong together.

    Args:
        path: what stands for them all, for messages.
        places: the source that holds each tensor, by name.
    """

    def __init__(self, path: Path, places: Mapping[str, TensorSource]) -> None:
        self.path = path
        self._places = dict(places)
        self.entries: Mapping[str, StoredTensor] = {name: source.entries[name] for name, source in self._places.items()}

    def copy(self, name: str, into: Tensor) -> None:
        """Do what `TensorSource.copy` says."""
        self._places[name].copy(name, into)


def open_tensors(path: Path) -> TensorSource:
    """Open a safetensors file, a sharded index, or a folder that holds one of them.

    Args:
        path: `model.safetensors` (or any other safetensors file), an index, or the folder.

    Raises:
        CheckpointError: no weights, a pickle, another format, a truncated or damaged file, a missing shard.
    """
    if path.is_dir():
        path = find_weights(path)
    if path.name.endswith(".index.json"):
        return _open_shards(path)
    return SafetensorsSource(path)


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


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors` as one safetensors file, whole or not at all; two names of one storage are written twice.

    Raises:
        FailureError: the disk is full or the place cannot be written to.
    """
    ready: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        flat = tensor.detach().to("cpu").contiguous()
        storage = flat.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != flat.nbytes:
            flat = flat.clone()  # the format refuses tensors that share memory
        seen.add(flat.untyped_storage().data_ptr())
        ready[name] = flat
    with atomic_path(path) as temporary, _system_errors(path):
        save_file(ready, temporary, metadata={"format": "pt"})


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object from a file of a model folder.

    Raises:
        CheckpointError: the file is missing, is not UTF-8 JSON, or holds something else than an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError("this file does not exist", where=str(path), next_step=_list_step(path.parent)) from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(f"this is not valid JSON ({error})", where=str(path), next_step=_AGAIN_STEP) from error
    if not isinstance(value, dict):
        raise CheckpointError(
            "a JSON object is expected here", where=str(path), received=f"a JSON {type(value).__name__}"
        )
    return value


@contextlib.contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusals, of which safetensors gives only the text and number, back into OSError."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number.group(1))
        raise OSError(code, os.strerror(code), str(path)) from error


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Say of a file that the library cannot read that it is damaged."""
    try:
        yield
    except SafetensorError as error:
        raise CheckpointError(
            f"this weights file is truncated or damaged ({error})",
            where=str(path),
            received=f"{path.stat().st_size:,} bytes",
            next_step=_AGAIN_STEP,
        ) from error


def _refuse_other_formats(path: Path) -> None:
    """Look at the first bytes: a wrong kind of file is told apart from a damaged one."""
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(_LFS_POINTER):
        raise CheckpointError(
            "this is a Git LFS pointer, not the weights themselves",
            where=str(path),
            next_step="Run git lfs pull in the folder it came from, or download the file itself",
        )
    # A safetensors file starts with the length of its header, which may look like a pickle's first bytes, then a brace.
    is_safetensors = head[8:9] == b"{"
    if path.suffix in _PICKLES or (head.startswith(_PICKLE_STARTS) and not is_safetensors):
        raise _pickle(path)
    if path.suffix in _OTHER_FORMATS:
        raise _other_format(path.parent, [path.name])


def _open_shards(index: Path) -> TensorSource:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(
            "this index has no weight_map from tensor names to file names", where=str(index), next_step=_AGAIN_STEP
        )
    shards = sorted(set(weight_map.values()))
    for shard in shards:
        if Path(shard).name != shard:
            raise CheckpointError("a shard must lie in the folder of its index", where=str(index), received=repr(shard))
    absent = [shard for shard in shards if not (index.parent / shard).is_file()]
    if absent:
        raise CheckpointError(
            f"{len(absent)} of {len(shards)} shards are missing: {', '.join(absent)}",
            where=str(index.parent),
            next_step="Copy the missing files into the folder",
        )
    places: dict[str, TensorSource] = {}
    for shard in shards:
        source = SafetensorsSource(index.parent / shard)
        promised = [name for name, place in weight_map.items() if place == shard]
        lacking = sorted(set(promised) - set(source.entries))
        if lacking:
            raise CheckpointError(
                f"this shard lacks tensors that the index promises: {', '.join(lacking)}",
                where=str(index.parent / shard),
                next_step=_AGAIN_STEP,
            )
        places |= dict.fromkeys(source.entries, source)
    return ShardedSource(index, places)


def _no_weights(folder: Path) -> CheckpointError:
    """Say what the folder holds instead of weights that we open."""
    names = sorted(entry.name for entry in folder.iterdir())
    tensorflow = [name for name in names if name.endswith(".index") or ".data-0" in name]
    if tensorflow:
        return CheckpointError(
            "this is a TensorFlow checkpoint, which holds an encoder and not a model folder",
            where=str(folder),
            received=", ".join(tensorflow),
            allowed=f"{WEIGHTS_FILE} or {INDEX_FILE}",
            next_step=f"Convert it first: albertine convert {folder} NEW_FOLDER --to albertine",
        )
    pickles = [name for name in names if Path(name).suffix in _PICKLES or ".bin.index" in name]
    if pickles:
        return _pickle(folder / pickles[0])
    others = [name for name in names if Path(name).suffix in _OTHER_FORMATS]
    if others:
        return _other_format(folder, others)
    return CheckpointError(
        "no weights in this folder",
        where=str(folder),
        received=", ".join(names) or "an empty folder",
        allowed=f"{WEIGHTS_FILE} or {INDEX_FILE}",
    )


def _pickle(path: Path) -> CheckpointError:
    return CheckpointError(
        "these weights are a pickle, which can run any program when it is opened, and is not read",
        where=str(path),
        allowed=f"{WEIGHTS_FILE} or {INDEX_FILE}",
        next_step=_SAFETENSORS_STEP,
    )


def _other_format(folder: Path, names: list[str]) -> CheckpointError:
    kinds = sorted({_OTHER_FORMATS[Path(name).suffix] for name in names})
    return CheckpointError(
        f"weights in the format of {' and '.join(kinds)} are not opened",
        where=str(folder),
        received=", ".join(names),
        allowed=f"{WEIGHTS_FILE} or {INDEX_FILE}",
        next_step="Convert them to Hugging Face's form first",
    )


def _list_step(folder: Path) -> str | None:
    """Name what stands where something was looked for."""
    if not folder.is_dir():
        return None
    names = sorted(entry.name for entry in folder.iterdir())
    return f"The folder holds: {', '.join(names) or 'nothing'}"
