"""Hugging Face's tf_model.h5, opened by the names and shapes that the PyTorch file of the model has."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from albertine.checkpoints.names import Place
from albertine.checkpoints.pieces import PIECE_BYTES
from albertine.checkpoints.reading import AGAIN_STEP, check_start, damaged
from albertine.checkpoints.report import listed
from albertine.checkpoints.source import StoredTensor
from albertine.errors import CheckpointError, MissingDependencyError

if TYPE_CHECKING:
    import h5py

__all__ = ["KERAS_FILE", "KerasSource", "open_keras", "torch_name"]

KERAS_FILE = "tf_model.h5"

_MOST_OBJECTS = 100_000
_DEEPEST = 32
_MAGIC = b"\x89HDF\r\n\x1a\n"
_DTYPES = {
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
    "int32": torch.int32,
    "int64": torch.int64,
}
_BASES = ("bert", "albert")
_ROOTS = frozenset((*_BASES, "cls", "predictions", "sop_classifier", "classifier", "qa_outputs"))
"""Where the names of the PyTorch model begin; what stands before them is the name of the Keras object."""
_LAST = {"kernel": "weight", "gamma": "weight", "embeddings": "weight", "beta": "bias"}
_WHOLE_MODEL = b"model_weights"
_SKIPPED_GROUPS = (b"optimizer_weights",)
"""Names of groups, as the file has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A data set of the file, and what it is to PyTorch."""

    dataset: str
    """Its path in the file."""
    transposed: bool
    shape: tuple[int, ...]
    """As PyTorch has it."""
    dtype: torch.dtype


class KerasSource:
    """The weights of a `tf_model.h5`; kernels are transposed as they are read.

    Raises:
        CheckpointError: as `open_keras`.
        MissingDependencyError: h5py is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_start(path, (_MAGIC,), "this is not an HDF5 file")
        with _opened(path) as file:
            self._stored = _weights(file, path)
        self.entries: Mapping[str, StoredTensor] = {
            name: StoredTensor(shape=one.shape, dtype=one.dtype) for name, one in self._stored.items()
        }

    def copy(self, name: str, into: Tensor) -> None:
        """Do what `TensorSource.copy` says."""
        stored = self._stored[name]
        target = into.t() if stored.transposed else into
        with _opened(self.path) as file:
            dataset = file[stored.dataset]
            if tuple(dataset.shape) != tuple(target.shape):
                raise damaged(self.path, "it changed while it was read")
            if not target.shape:
                target.copy_(torch.from_numpy(np.asarray(dataset[()])))
                return
            row_bytes = max(1, math.prod(target.shape[1:]) * stored.dtype.itemsize)
            step = max(1, min(PIECE_BYTES // row_bytes, target.shape[0]))
            piece = np.empty((step, *target.shape[1:]), dtype=dataset.dtype.newbyteorder("="))
            for first in range(0, target.shape[0], step):
                count = min(step, target.shape[0] - first)
                dataset.read_direct(piece, np.s_[first : first + count], np.s_[:count])
                target[first : first + count].copy_(torch.from_numpy(piece[:count]))


def open_keras(path: Path) -> KerasSource:
    """Open the weights that transformers (2.0 to 4) saved from its TensorFlow classes of BERT and ALBERT.

    Args:
        path: `tf_model.h5`, or the folder that holds it.

    Returns:
        Every weight by the name, and in the shape, that the PyTorch class of the same model gives it. The embeddings
        that the file repeats under its heads are there once. ALBERT's masked-word bias is the one that TensorFlow adds
        (`predictions/decoder/bias`), not the one that it keeps unused beside it (`predictions/bias`).

    Raises:
        CheckpointError: no such file, not HDF5, truncated or damaged, data that lies in other files, compressed data,
            or weights that are not those of transformers' BERT or ALBERT.
        MissingDependencyError: h5py is not installed.
    """
    return KerasSource(path / KERAS_FILE if path.is_dir() else path)


def torch_name(name: str) -> Place | None:
    """Return what PyTorch calls a weight of Keras, and whether it lies the other way round; None for other weights.

    The rule, from the classes' own names: `/` and `_._` separate levels (`layer_._0` is `layer.0`), `nsp___cls` is a
    second layer for PyTorch's `cls`, a dense layer's `kernel` is its transposed `weight`, a LayerNorm's `gamma` and
    `beta` are `weight` and `bias`, an embedding's `embeddings` is its `weight`.

    Args:
        name: such as `tf_bert_model/bert/encoder/layer_._0/attention/self/query/kernel:0`.
    """
    levels = re.sub(r":\d+$", "", name).replace("_._", "/").split("/")
    levels = [level.rpartition("___")[2] for level in levels if level]
    first = next((index for index, level in enumerate(levels) if level in _ROOTS), None)
    if first is None or first == len(levels) - 1:
        return None
    levels = levels[first:]
    while levels[0] in _BASES and levels[1] in _ROOTS:  # the Keras object had the name of the model
        levels = levels[1:]
    last = levels[-1]
    return Place(name=".".join((*levels[:-1], _LAST.get(last, last))), transposed=last == "kernel")


def _weights(file: h5py.File, path: Path) -> dict[str, _Stored]:
    """Find every weight, by PyTorch's name."""
    import h5py  # lazy: optional

    root: h5py.Group = file
    if file.id.links.exists(_WHOLE_MODEL):  # a whole Keras model, of which these are the weights
        weights = _child(file, _WHOLE_MODEL, path)
        root = weights if isinstance(weights, h5py.Group) else file
    found: dict[str, _Stored] = {}
    unknown: list[str] = []
    for dataset in _datasets(root, path):
        # The first level is Keras' layer, whose name begins that of its own weights; what it shares stands there again.
        layer, _, weight = str(dataset.name).removeprefix(str(root.name)).lstrip("/").partition("/")
        place = torch_name(weight)
        if place is None:
            unknown.append(f"{layer}/{weight}")
            continue
        own = place.name.partition(".")[0] == layer.rpartition("___")[2]
        if place.name in found and not own:
            continue
        found[place.name] = _stored(dataset, place, path)
    if unknown or not found:
        raise CheckpointError(
            "these are not the weights of transformers' BERT or ALBERT",
            where=str(path),
            received=listed(unknown) or "no weights",
            next_step="Open it with the program that wrote it, and save it as safetensors there",
        )
    # ALBERT in TensorFlow has two biases over the vocabulary and adds this one; in PyTorch they are one.
    used = found.pop("predictions.decoder.bias", None)
    if used is not None:
        found["predictions.bias"] = used
    return found


def _datasets(root: h5py.Group, path: Path) -> Iterator[h5py.Dataset]:
    """Walk the groups of this file and of no other."""
    import h5py  # lazy: optional

    waiting = [(root, 0)]
    visited = 0
    while waiting:
        group, depth = waiting.pop()
        for name in group.id:
            visited += 1
            if visited > _MOST_OBJECTS or depth > _DEEPEST:
                raise CheckpointError(
                    "this file has more or deeper groups than any model", where=_shown(path, group, name)
                )
            if depth == 0 and name in _SKIPPED_GROUPS:
                continue
            child = _child(group, name, path)
            if isinstance(child, h5py.Group):
                waiting.append((child, depth + 1))
            elif isinstance(child, h5py.Dataset):
                yield child


def _child(group: h5py.Group, name: bytes, path: Path) -> object:
    """Open what a group holds under a name, and follow no link: it may lead to another file, or to a pipe.

    h5py's own look at a link (`get` with `getlink`) opens what it leads to.
    """
    import h5py  # lazy: optional

    kind = group.id.links.get_info(name).type
    if kind != h5py.h5l.TYPE_HARD:
        other = f" to {os.fsdecode(group.id.links.get_val(name)[0])}" if kind == h5py.h5l.TYPE_EXTERNAL else ""
        raise CheckpointError(f"this is a link{other}, which is not followed", where=_shown(path, group, name))
    return group[name]


def _shown(path: Path, group: h5py.Group, name: bytes) -> str:
    return f"{path}: {group.name.rstrip('/')}/{name.decode('utf-8', 'replace')}"


def _stored(dataset: h5py.Dataset, place: Place, path: Path) -> _Stored:
    """Check that a data set is plain numbers that lie in this file, before anything is made of its size."""
    where = f"{path}: {dataset.name}"
    if dataset.external or dataset.is_virtual:
        raise CheckpointError("these numbers lie in another file, which is not read", where=where)
    if dataset.id.get_create_plist().get_nfilters() or dataset.chunks is not None:
        raise CheckpointError(
            "these numbers are compressed or in chunks, which transformers never writes",
            where=where,
            next_step="Save the model again with the program that wrote it",
        )
    dtype = _DTYPES.get(dataset.dtype.newbyteorder("=").name)
    if dtype is None or dataset.shape is None:
        raise CheckpointError(
            "this type is not read here", where=where, received=str(dataset.dtype), allowed=", ".join(_DTYPES)
        )
    shape = tuple(int(size) for size in dataset.shape)
    if math.prod(shape) * dtype.itemsize != dataset.id.get_storage_size():
        raise CheckpointError(
            "the file does not hold all numbers of this weight",
            where=where,
            received=f"shape {shape} in {dataset.id.get_storage_size():,} bytes",
            next_step=AGAIN_STEP,
        )
    if place.transposed and len(shape) != 2:
        raise CheckpointError("a kernel must have two dimensions", where=where, received=f"shape {shape}")
    if place.transposed:
        shape = (shape[1], shape[0])
    return _Stored(dataset=str(dataset.name), transposed=place.transposed, shape=shape, dtype=dtype)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open the file for reading, and turn what h5py raises about a damaged one into one clear line."""
    try:
        import h5py  # lazy: optional
    except ImportError as error:
        raise MissingDependencyError("h5py", extra="keras", feature=f"reading {path.name}") from error
    try:
        with h5py.File(path, "r") as file:
            yield file
    except CheckpointError:
        raise
    except Exception as error:  # h5py passes on whatever its C library says, in half a dozen types
        raise damaged(path, str(error)) from error
