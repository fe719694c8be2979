"""Weights files <-> named tensors: safetensors only, whole or sharded, with a clear line for everything else."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from albertine.errors import CheckpointError
from albertine.files import atomic_path

__all__ = ["INDEX_FILE", "WEIGHTS_FILE", "find_weights", "read_json", "read_tensors", "write_tensors"]

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
_OTHER_FORMATS = {".h5": "Keras", ".msgpack": "Flax", ".onnx": "ONNX", ".gguf": "GGUF", ".pdparams": "Paddle"}
_LFS_POINTER = b"version https://git-lfs.github.com/"
_SAFETENSORS_STEP = (
    "Convert it once, where you trust its origin, with the library that wrote it, for example transformers: "
    "AutoModelForPreTraining.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
)
_AGAIN_STEP = "Copy or download the file again, and compare its size with the original's"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a safetensors file, a sharded index, or a folder that holds one of them.

    Args:
        path: `model.safetensors` (or any other safetensors file), an index, or the folder.

    Returns:
        Tensors on the CPU, in the dtype of the file, by the names of the file. They may be views of the file.

    Raises:
        CheckpointError: no weights, a pickle, another format, a truncated or damaged file, a missing shard.
    """
    if path.is_dir():
        path = find_weights(path)
    if not path.exists():
        raise CheckpointError("this file does not exist", where=str(path), next_step=_list_step(path.parent))
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    return _read_file(path)


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
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
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


def _read_file(path: Path) -> dict[str, Tensor]:
    _refuse_other_formats(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
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


def _read_shards(index: Path) -> dict[str, Tensor]:
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
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        found = _read_file(index.parent / shard)
        promised = [name for name, place in weight_map.items() if place == shard]
        lacking = sorted(set(promised) - set(found))
        if lacking:
            raise CheckpointError(
                f"this shard lacks tensors that the index promises: {', '.join(lacking)}",
                where=str(index.parent / shard),
                next_step=_AGAIN_STEP,
            )
        tensors.update(found)
    return tensors


def _no_weights(folder: Path) -> CheckpointError:
    """Say what the folder holds instead of weights that we open."""
    names = sorted(entry.name for entry in folder.iterdir())
    tensorflow = [name for name in names if name.endswith(".index") or ".data-0" in name]
    if tensorflow:
        return CheckpointError(
            "this is a TensorFlow checkpoint, a format that is not opened yet",
            where=str(folder),
            received=", ".join(tensorflow),
            allowed=f"{WEIGHTS_FILE} or {INDEX_FILE}",
            next_step="Convert it to Hugging Face's form first",
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
