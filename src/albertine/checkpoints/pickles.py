"""PyTorch's pickled weights (pytorch_model.bin), read by torch's restricted loader only; nothing is executed."""

from __future__ import annotations

import math
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from albertine.checkpoints.reading import AGAIN_STEP, readable
from albertine.checkpoints.source import StoredTensor
from albertine.checkpoints.tensors import read_json
from albertine.errors import CheckpointError

__all__ = ["PickleSource", "find_pickle", "open_pickle"]

_FILE = "pytorch_model.bin"
_INDEX = "pytorch_model.bin.index.json"

_PIECE_BYTES = 16 << 20
_REOPEN_BYTES = 64 << 20
_LARGEST_PICKLE = 64 << 20
"""Of a zip archive's pickle, which holds names and shapes; the numbers lie in records of their own."""
_ZIP_START = b"PK\x03\x04"
_LFS_POINTER = b"version https://git-lfs.github.com/"
_DTYPES = frozenset(
    (
        torch.float64, torch.float32, torch.float16, torch.bfloat16,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
)  # fmt: skip
_FORBIDDEN = re.compile(r"(?:Unsupported global: GLOBAL|unsupported GLOBAL) (\S+)")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
"""What training programs call the model's dictionary, beside those of their optimizer, averages and settings."""
_HARMLESS = ("torch.", "collections.")
_STATE_DICT = (
    "Where you trust its origin, write the weights alone with the program that made it: "
    "torch.save(model.state_dict(), FILE), or save_file of safetensors"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What one file holds."""

    tensors: dict[str, Tensor]
    """Views of the file where it is a zip archive, else in memory."""
    notes: tuple[str, ...]


class PickleSource:
    """The tensors of a pickled file, or of the shards of an index.

    The numbers of a zip archive (torch 1.6 and later) are read as they are asked for. Older files are in memory whole
    from the beginning, because their loader knows no other way.

    Pages of a file that were looked at count as memory of the process until it is closed, so an archive is opened anew
    after every few dozen megabytes.

    Args:
        path: the file or the index, for messages.
        files: every file, and the names that are taken from it; None takes all.

    Raises:
        CheckpointError: as `open_pickle`.
    """

    def __init__(self, path: Path, files: Mapping[Path, frozenset[str] | None]) -> None:
        self.path = path
        self._files: dict[Path, dict[str, Tensor]] = {}
        self._place: dict[str, Path] = {}
        self._read_bytes: dict[Path, int] = dict.fromkeys(files, 0)
        notes: list[str] = []
        for file, promised in files.items():
            contents = _load(file)
            lacking = sorted((promised or frozenset()) - set(contents.tensors))
            if lacking:
                raise CheckpointError(
                    f"this shard lacks tensors that the index promises: {', '.join(lacking)}",
                    where=str(file),
                    next_step=AGAIN_STEP,
                )
            self._files[file] = contents.tensors
            self._place |= dict.fromkeys(contents.tensors, file)
            notes += contents.notes
        self.notes = tuple(notes)
        """What of the files is no tensor, and which of several dictionaries was opened."""
        self.entries: Mapping[str, StoredTensor] = {
            name: StoredTensor(shape=tuple(tensor.shape), dtype=tensor.dtype)
            for file in self._files.values()
            for name, tensor in file.items()
        }

    def copy(self, name: str, into: Tensor) -> None:
        """Do what `TensorSource.copy` says."""
        entry = self.entries[name]
        file = self._place[name]
        if not entry.shape:
            into.copy_(self._files[file][name])
            return
        row_bytes = max(1, math.prod(entry.shape[1:]) * entry.dtype.itemsize)
        step = max(1, _PIECE_BYTES // row_bytes)
        for first in range(0, entry.shape[0], step):
            rows = slice(first, min(first + step, entry.shape[0]))
            into[rows].copy_(self._files[file][name][rows])
            self._count(file, (rows.stop - rows.start) * row_bytes)

    def _count(self, file: Path, read: int) -> None:
        self._read_bytes[file] += read
        if self._read_bytes[file] < _REOPEN_BYTES or not _is_archive(file):
            return
        self._read_bytes[file] = 0
        self._files[file].clear()  # closes the file, whose pages are given back
        self._files[file].update(_load(file).tensors)


def open_pickle(path: Path) -> PickleSource:
    """Open pickled weights; call it only where the user has allowed pickles.

    Args:
        path: a file that `torch.save` wrote, an index of shards (`pytorch_model.bin.index.json`), or the folder of one.

    Returns:
        The tensors of the file's state dictionary, which may lie inside others (`{"state_dict": …}`), by the names of
        the file; `notes` says what else is there.

    Raises:
        CheckpointError: no such file, another format, a truncated or damaged file, a missing shard, a pickle that asks
            for anything else than tensors and plain values, no tensors, or several dictionaries of them.
    """
    if path.is_dir():
        found = find_pickle(path)
        if found is None:
            raise _no_pickle(path)
        path = found
    if path.name.endswith(".index.json"):
        return PickleSource(path, _shards(path))
    return PickleSource(path, {path: None})


def find_pickle(folder: Path) -> Path | None:
    """Return the pickled weights of a folder, or their index where they are sharded; None where there are none."""
    return next((folder / name for name in (_FILE, _INDEX) if (folder / name).is_file()), None)


def _no_pickle(folder: Path) -> CheckpointError:
    names = sorted(entry.name for entry in folder.iterdir())
    return CheckpointError(
        "no pickled weights in this folder",
        where=str(folder),
        received=", ".join(names) or "an empty folder",
        allowed=f"{_FILE} or {_INDEX}; a file of another name is given by its path",
    )


def _shards(index: Path) -> dict[Path, frozenset[str] | None]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(
            "this index has no weight_map from tensor names to file names", where=str(index), next_step=AGAIN_STEP
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
    return {
        index.parent / shard: frozenset(name for name, place in weight_map.items() if place == shard)
        for shard in shards
    }


def _load(path: Path) -> _Contents:
    """Read names and shapes of one file, and of an old one the numbers too."""
    _check_start(path)
    is_archive = _is_archive(path)
    if is_archive:
        _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the file, which is not the user's to change
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except Exception as error:  # a damaged pickle makes the loader raise nearly anything
        raise _refusal(path, error) from error
    found, notes = _unwrap(loaded, path)
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    size = path.stat().st_size
    for name, tensor in tensors.items():
        _check_tensor(tensor, size, f"{path}: {name}")
    others = sorted(str(name) for name in set(found) - set(tensors))
    if others:
        notes = (*notes, f"{path.name}: no tensors, left out: {_listed(others)}")
    return _Contents(tensors={name: tensor.detach() for name, tensor in tensors.items()}, notes=notes)


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ZIP_START)) == _ZIP_START


def _check_start(path: Path) -> None:
    """Refuse what is not a file, and by its first bytes what is not a pickle."""
    with readable(path) as file:
        head = file.read(64)
    if head.startswith(_LFS_POINTER):
        raise CheckpointError(
            "this is a Git LFS pointer, not the weights themselves",
            where=str(path),
            next_step="Run git lfs pull in the folder it came from, or download the file itself",
        )
    if not head.startswith((_ZIP_START, b"\x80")):
        raise CheckpointError(
            "this is not a file that torch.save wrote",
            where=str(path),
            received=f"{path.stat().st_size:,} bytes that begin with {head[:8]!r}" if head else "an empty file",
            next_step=AGAIN_STEP,
        )


def _check_archive(path: Path) -> None:
    """Refuse a zip archive whose small parts could unfold to more memory than the file has bytes.

    `torch.save` compresses nothing.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    if not any(entry.filename.endswith("/data.pkl") for entry in entries):
        raise CheckpointError(
            "this zip archive holds no data.pkl, so torch.save did not write it",
            where=str(path),
            received=_listed([entry.filename for entry in entries]) or "an empty archive",
        )
    size = path.stat().st_size
    for entry in entries:
        if entry.file_size > size:
            raise _damaged(path, f"{entry.filename} would be larger than the whole archive")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError("a record of this archive is compressed", where=f"{path}: {entry.filename}")
        if entry.filename.endswith(".pkl") and entry.file_size > _LARGEST_PICKLE:
            raise CheckpointError(
                "the names and shapes of this file take more room than those of any encoder",
                where=f"{path}: {entry.filename}",
                received=f"{entry.file_size:,} bytes",
                allowed=f"up to {_LARGEST_PICKLE:,}",
            )


def _check_tensor(tensor: Tensor, file_bytes: int, where: str) -> None:
    """Refuse a tensor that is more than plain numbers of this file."""
    if type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.layout != torch.strided or tensor.is_quantized:
        raise CheckpointError(
            "this is not a plain tensor", where=where, received=f"{type(tensor).__name__}, {tensor.layout}"
        )
    if tensor.device.type != "cpu" or tensor.dtype not in _DTYPES:
        raise CheckpointError(
            "this tensor's type or place is not one that is read here",
            where=where,
            received=f"{tensor.dtype} on {tensor.device}",
        )
    if tensor.numel() * tensor.itemsize > file_bytes:
        raise CheckpointError(
            "this tensor is larger than its file",
            where=where,
            received=f"shape {tuple(tensor.shape)} in {file_bytes:,} bytes",
            next_step=AGAIN_STEP,
        )


def _unwrap(value: object, path: Path) -> tuple[Mapping[str, object], tuple[str, ...]]:
    """Return the dictionary that has tensors, down through those that only hold dictionaries."""
    notes: tuple[str, ...] = ()
    trail: list[str] = []
    for _ in range(8):  # deeper than any program nests; a dictionary may also hold itself
        if not isinstance(value, Mapping):
            break
        inner = [key for key, one in value.items() if _holds_tensors(one)]
        usual = [key for key in inner if key in _WRAPPERS]
        if len(usual) != 1 and any(isinstance(one, Tensor) for one in value.values()):
            unnamed = [repr(name) for name in value if not isinstance(name, str)]
            if unnamed:
                raise CheckpointError("a tensor's name must be text", where=str(path), received=_listed(unnamed))
            return value, notes
        if len(usual) != 1 and len(inner) > 1:
            raise CheckpointError(
                "this file has tensors in several dictionaries, and nothing says which is the model",
                where=str(path),
                received=_listed(sorted(inner)),
                next_step=_STATE_DICT,
            )
        if not inner:
            break
        chosen = (usual or inner)[0]
        trail.append(chosen)
        notes = (*notes, f"{path.name}: opened what stands under {' > '.join(trail)}")
        others = sorted(str(key) for key in value if key != chosen)
        if others:
            notes = (*notes, f"{path.name}: beside it, left out: {_listed(others)}")
        value = value[chosen]
    names = f" of {_listed([str(name) for name in value])}" if isinstance(value, Mapping) and value else ""
    raise CheckpointError(
        "no tensors in this file",
        where=str(path),
        received=f"a {type(value).__name__}{names}",
        next_step=_STATE_DICT,
    )


def _holds_tensors(value: object, depth: int = 4) -> bool:
    """Say whether a dictionary has tensors that are named by text, at any depth that programs use.

    An optimizer's state is numbered, and is not taken for a model.
    """
    if not isinstance(value, Mapping) or depth == 0 or not all(isinstance(name, str) for name in value):
        return False
    return any(isinstance(one, Tensor) or _holds_tensors(one, depth - 1) for one in value.values())


def _refusal(path: Path, error: Exception) -> CheckpointError:
    """Tell a forbidden pickle from a damaged one."""
    text = str(error)
    named = _FORBIDDEN.search(text)
    wanted = [named.group(1)] if named else list(_globals(path))
    if wanted:
        return CheckpointError(
            f"this pickle asks for {_listed(wanted)}, which is more than tensors and plain values; nothing of it was "
            "executed",
            where=str(path),
            next_step=f"Do not open it with another loader unless you trust it. {_STATE_DICT}",
        )
    if "TorchScript" in text:
        return CheckpointError("this is a TorchScript program, not weights", where=str(path), next_step=_STATE_DICT)
    return _damaged(path, f"{type(error).__name__}: {text}")


def _damaged(path: Path, reason: str) -> CheckpointError:
    first = re.split(r"[\r\n]|\. ", reason)[0][:200].rstrip(" .:")
    return CheckpointError(
        f"this weights file is truncated or damaged ({first})",
        where=str(path),
        received=f"{path.stat().st_size:,} bytes",
        next_step=AGAIN_STEP,
    )


def _globals(path: Path) -> Iterator[str]:
    """Name the classes and functions that a pickle would look up, without looking them up; torch's own left out."""
    strings: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(_pickle_bytes(path)):
            if opcode.name in ("GLOBAL", "INST"):
                name = str(argument).replace(" ", ".")
            elif opcode.name == "STACK_GLOBAL":
                name = ".".join(strings[-2:])
            else:
                if isinstance(argument, str):
                    strings = [*strings[-1:], argument]
                continue
            if not name.startswith(_HARMLESS):
                yield name
    except Exception:  # the rest is damaged; what was named so far stands
        return


def _pickle_bytes(path: Path) -> bytes:
    if not _is_archive(path):
        with path.open("rb") as file:
            return file.read(_LARGEST_PICKLE)
    with zipfile.ZipFile(path) as archive:
        name = next(entry.filename for entry in archive.infolist() if entry.filename.endswith("/data.pkl"))
        return archive.read(name)


def _listed(names: list[str]) -> str:
    every = list(dict.fromkeys(names))
    return ", ".join(every[:8]) + (f" and {len(every) - 8} more" if len(every) > 8 else "")
