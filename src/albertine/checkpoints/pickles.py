"""PyTorch's pickled weights (pytorch_model.bin), read by torch's restricted loader only; nothing is executed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from albertine.checkpoints.pickle_refusals import STATE_DICT_STEP, check_pickle, check_tensor, is_archive, refusal
from albertine.checkpoints.pieces import PIECE_BYTES
from albertine.checkpoints.report import listed
from albertine.checkpoints.shards import ShardedSource, open_shards
from albertine.checkpoints.source import StoredTensor
from albertine.errors import CheckpointError

__all__ = ["PickleSource", "find_pickle", "open_pickle"]

_FILE = "pytorch_model.bin"
_INDEX = "pytorch_model.bin.index.json"

_REOPEN_BYTES = 64 << 20
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
"""What training programs call the model's dictionary, beside those of their optimizer, averages and settings."""
_LISTED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What one file holds."""

    tensors: dict[str, Tensor]
    """Views of the file where it is a zip archive, else in memory."""
    notes: tuple[str, ...]


class _PickleFile:
    """The tensors of one pickled file.

    The numbers of a zip archive (torch 1.6 and later) are read as they are asked for. Older files are in memory whole
    from the beginning, because their loader knows no other way.

    Pages of a file that were looked at count as memory of the process until it is closed, so an archive is opened anew
    after every few dozen megabytes.

    Raises:
        CheckpointError: as `open_pickle`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        contents = _load(path)
        self.notes = contents.notes
        self._tensors = contents.tensors
        self._read_bytes = 0
        self.entries: Mapping[str, StoredTensor] = {
            name: StoredTensor(shape=tuple(tensor.shape), dtype=tensor.dtype) for name, tensor in self._tensors.items()
        }

    def copy(self, name: str, into: Tensor) -> None:
        """Do what `TensorSource.copy` says."""
        entry = self.entries[name]
        if not entry.shape:
            into.copy_(self._tensors[name])
            return
        row_bytes = max(1, math.prod(entry.shape[1:]) * entry.dtype.itemsize)
        step = max(1, PIECE_BYTES // row_bytes)
        for first in range(0, entry.shape[0], step):
            rows = slice(first, min(first + step, entry.shape[0]))
            into[rows].copy_(self._tensors[name][rows])
            self._count((rows.stop - rows.start) * row_bytes)

    def _count(self, read: int) -> None:
        self._read_bytes += read
        if self._read_bytes < _REOPEN_BYTES or not is_archive(self.path):
            return
        self._read_bytes = 0
        self._tensors.clear()  # closes the file, whose pages are given back
        self._tensors.update(_load(self.path).tensors)


class PickleSource(ShardedSource):
    """The tensors of a pickled file, or of the shards of an index.

    Args:
        path: the file or the index, for messages.
        places: the file that holds each tensor, by name.
    """

    def __init__(self, path: Path, places: Mapping[str, _PickleFile]) -> None:
        super().__init__(path, places)
        self.notes = tuple(note for file in dict.fromkeys(places.values()) for note in file.notes)
        """What of the files is no tensor, and which of several dictionaries was opened."""


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
        return PickleSource(path, open_shards(path, _PickleFile))
    file = _PickleFile(path)
    return PickleSource(path, dict.fromkeys(file.entries, file))


def find_pickle(folder: Path) -> Path | None:
    """Return the pickled weights of a folder, or their index where they are sharded; None where there are none."""
    return next((folder / name for name in (_FILE, _INDEX) if (folder / name).is_file()), None)


def _no_pickle(folder: Path) -> CheckpointError:
    names = sorted(entry.name for entry in folder.iterdir())
    return CheckpointError(
        "no pickled weights in this folder",
        where=str(folder),
        received=listed(names, _LISTED) or "an empty folder",
        allowed=f"{_FILE} or {_INDEX}; a file of another name is given by its path",
    )


def _load(path: Path) -> _Contents:
    """Read names and shapes of one file, and of an old one the numbers too."""
    check_pickle(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the file, which is not the user's to change
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive(path))
        return _contents(loaded, path)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle makes the loader, or what it has loaded, raise nearly anything
        raise refusal(path, error) from error


def _contents(loaded: object, path: Path) -> _Contents:
    found, notes = _unwrap(loaded, path)
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    size = path.stat().st_size
    for name, tensor in tensors.items():
        check_tensor(tensor, size, f"{path}: {name}")
    others = sorted(str(name) for name in set(found) - set(tensors))
    if others:
        notes = (*notes, f"{path.name}: no tensors, left out: {listed(others, _LISTED)}")
    return _Contents(tensors={name: tensor.detach() for name, tensor in tensors.items()}, notes=notes)


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
                raise CheckpointError(
                    "a tensor's name must be text", where=str(path), received=listed(unnamed, _LISTED)
                )
            return value, notes
        if len(usual) != 1 and len(inner) > 1:
            raise CheckpointError(
                "this file has tensors in several dictionaries, and nothing says which is the model",
                where=str(path),
                received=listed(sorted(inner), _LISTED),
                next_step=STATE_DICT_STEP,
            )
        if not inner:
            break
        chosen = (usual or inner)[0]
        trail.append(chosen)
        notes = (*notes, f"{path.name}: opened what stands under {' > '.join(trail)}")
        others = sorted(str(key) for key in value if key != chosen)
        if others:
            notes = (*notes, f"{path.name}: beside it, left out: {listed(others, _LISTED)}")
        value = value[chosen]
    names = f" of {listed([str(name) for name in value], _LISTED)}" if isinstance(value, Mapping) and value else ""
    raise CheckpointError(
        "no tensors in this file",
        where=str(path),
        received=f"a {type(value).__name__}{names}",
        next_step=STATE_DICT_STEP,
    )


def _holds_tensors(value: object, depth: int = 4) -> bool:
    """Say whether a dictionary has tensors that are named by text, at any depth that programs use.

    An optimizer's state is numbered, and is not taken for a model.
    """
    if not isinstance(value, Mapping) or depth == 0 or not all(isinstance(name, str) for name in value):
        return False
    return any(isinstance(one, Tensor) or _holds_tensors(one, depth - 1) for one in value.values())
