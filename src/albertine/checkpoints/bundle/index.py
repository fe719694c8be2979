"""The index of a TensorFlow checkpoint, read and held against the files it speaks of: variables and their places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from albertine.checkpoints.bundle.records import (
    BUNDLE_VERSION,
    DTYPES,
    HEADER_KEY,
    SLICE_KEY_START,
    BundleEntry,
    BundleHeader,
    Slice,
    decode_entry,
    decode_header,
    slice_key,
)
from albertine.checkpoints.bundle.sorted_table import read_table
from albertine.checkpoints.bundle.wire import WireError
from albertine.checkpoints.reading import AGAIN_STEP, readable
from albertine.errors import CheckpointError

__all__ = ["BundleIndex", "BundlePart", "BundleVariable", "data_path", "index_path", "read_index", "shown"]

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_OBJECT_NAME = "/.ATTRIBUTES/"
_SHOWN = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePart:
    """Bytes in a data file: a variable, or the indices along one axis of a variable that lies in slices."""

    entry: BundleEntry
    """Where the bytes lie, their shape and their checksum."""
    start: int = 0
    """The first index along the axis; the entry's shape tells how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleVariable:
    """A variable whose place in the data files has been verified."""

    type_number: int
    """A key of `TYPE_NAMES`."""
    shape: tuple[int, ...]
    """Whole."""
    parts: tuple[BundlePart, ...]
    """One, or the slices in their order, which cover the variable exactly once."""
    axis: int = 0
    """Along which the slices follow each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleIndex:
    """What an index says."""

    path: Path
    """The `.index` file."""
    shards: Mapping[int, Path]
    """The data files that something lies in, by number."""
    variables: Mapping[str, BundleVariable]
    """By name, sorted."""


def index_path(prefix: Path) -> Path:
    """Return the index of the checkpoint with this prefix."""
    return prefix.with_name(f"{prefix.name}.index")


def data_path(prefix: Path, shard: int, shards: int) -> Path:
    """Return one of the data files of the checkpoint with this prefix."""
    return prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")


def shown(name: str) -> str:
    """Return a name from a file as a message shows it: quoted, and not longer than a line."""
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")


def read_index(prefix: Path) -> BundleIndex:
    """Read the index of a checkpoint and verify every number in it against the data files.

    Raises:
        CheckpointError: a file is missing, truncated, damaged or of another kind; an entry lies outside its file or
            over another; slices leave a gap or overlap; an object-based checkpoint; numbers in big-endian order.
    """
    path = index_path(prefix)
    header: BundleHeader | None = None
    slices: dict[bytes, BundleEntry] = {}
    variables: dict[str, BundleVariable] = {}
    for item in read_table(path):
        where = str(path)
        try:
            if header is None:
                header = _header(item.key, item.value, path)
            elif item.key.startswith(SLICE_KEY_START):
                where = f"{path}, a slice"
                slices[item.key] = decode_entry(item.value, most_slices=0)
            else:
                name = _name(item.key)
                where = f"{path}, {shown(name)}"
                _refuse_objects(name, path)
                entry = decode_entry(item.value, most_slices=len(slices))
                variables[name] = _variable(name, entry, slices)
        except WireError as error:
            raise CheckpointError(
                f"the index is damaged or was altered: {error}", where=where, next_step=AGAIN_STEP
            ) from error
    if header is None:
        raise CheckpointError("the index is empty", where=str(path), next_step=AGAIN_STEP)
    shards = _check_places(prefix, header.shards, variables)
    return BundleIndex(path=path, shards=shards, variables=variables)


def _header(key: bytes, value: bytes, path: Path) -> BundleHeader:
    if key != HEADER_KEY:
        raise WireError("it does not start with a header")
    header = decode_header(value)
    if header.big_endian:
        raise CheckpointError(
            "this checkpoint was written on a big-endian machine",
            where=str(path),
            received="numbers with the highest byte first",
            allowed="little-endian numbers",
            next_step="Take the original checkpoint, or export the values on the machine that wrote this one",
        )
    if header.min_consumer > BUNDLE_VERSION:
        raise CheckpointError(
            "this checkpoint asks for a newer reader of its format",
            where=str(path),
            received=f"version {header.min_consumer}",
            allowed=f"version {BUNDLE_VERSION}",
            next_step="Save it again with tf.compat.v1.train.Saver",
        )
    return header


def _name(key: bytes) -> str:
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"the name {key[:_SHOWN]!r} is not UTF-8") from error


def _refuse_objects(name: str, path: Path) -> None:
    if name == _OBJECT_GRAPH or _OBJECT_NAME in name:
        raise CheckpointError(
            "this is an object-based checkpoint of TensorFlow 2, whose names follow the program that wrote it, not the "
            "model",
            where=str(path),
            received=shown(name),
            allowed="a checkpoint with variables by name, as the original BERT and ALBERT code writes",
            next_step="Take the original checkpoint or the same model in Hugging Face's form, or save the variables by "
            "name with tf.compat.v1.train.Saver",
        )


def _variable(name: str, entry: BundleEntry, slices: dict[bytes, BundleEntry]) -> BundleVariable:
    """Return a variable, whole or put together from `slices`, from which its own are taken out."""
    if not entry.slices:
        _check_size(entry)
        return BundleVariable(type_number=entry.type_number, shape=entry.shape, parts=(BundlePart(entry=entry),))
    axis = _sliced_axis(entry)
    parts: list[BundlePart] = []
    for extents in entry.slices:
        lengths = _lengths(extents, entry.shape)
        stored = slices.pop(slice_key(name, extents), None)
        if stored is None:
            raise WireError(f"the slice from {extents[axis].start:,} on along axis {axis} is missing")
        if stored.type_number != entry.type_number or stored.shape != lengths:
            raise WireError(f"a slice is {stored.shape} where {lengths} is announced, or of another type")
        _check_size(stored)
        parts.append(BundlePart(entry=stored, start=extents[axis].start))
    parts.sort(key=lambda part: (part.start, part.entry.shape[axis]))
    reached = 0
    for part in parts:
        if part.start != reached:
            raise WireError(f"its slices {'overlap' if part.start < reached else 'leave a gap'} at index {reached:,}")
        reached += part.entry.shape[axis]
    if reached != entry.shape[axis]:
        raise WireError(f"its slices end at index {reached:,} of {entry.shape[axis]:,}")
    return BundleVariable(type_number=entry.type_number, shape=entry.shape, parts=tuple(parts), axis=axis)


def _sliced_axis(entry: BundleEntry) -> int:
    """Return the one axis along which the slices cut a variable; TensorFlow's partitioned variables have one."""
    axes: set[int] = set()
    for part in entry.slices:
        lengths = _lengths(part, entry.shape)
        axes.update(axis for axis, size in enumerate(entry.shape) if part[axis].start or lengths[axis] != size)
    if len(axes) > 1:
        raise WireError(f"it is cut along {len(axes)} axes, where TensorFlow cuts variables along one")
    if not entry.shape:
        raise WireError("it has no axes and lies in slices")
    return axes.pop() if axes else 0


def _lengths(part: Slice, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a slice."""
    if len(part) != len(shape):
        raise WireError(f"a slice has {len(part)} axes, the variable {len(shape)}")
    lengths = tuple(size if extent.length is None else extent.length for extent, size in zip(part, shape, strict=True))
    for extent, length, size in zip(part, lengths, shape, strict=True):
        if extent.start + length > size:
            raise WireError(f"a slice reaches to {extent.start + length:,} on an axis of {size:,}")
    return lengths


def _check_size(entry: BundleEntry) -> None:
    dtype = DTYPES.get(entry.type_number)
    if dtype is not None and entry.size != entry.elements * dtype.itemsize:
        raise WireError(
            f"shape {entry.shape} of type {str(dtype)[6:]} takes {entry.elements * dtype.itemsize:,} bytes, "
            f"not {entry.size:,}"
        )


def _check_places(prefix: Path, count: int, variables: Mapping[str, BundleVariable]) -> dict[int, Path]:
    """Hold every place against the sizes of the data files; return those that something lies in."""
    placed = [(part.entry, name) for name, variable in variables.items() for part in variable.parts]
    placed.sort(key=lambda place: (place[0].shard, place[0].offset, place[0].size))
    paths: dict[int, Path] = {}
    size = reached = 0
    for entry, name in placed:
        if entry.shard >= count:
            raise CheckpointError(
                f"the index is damaged or was altered: {shown(name)} lies in a data file that does not exist",
                where=str(index_path(prefix)),
                received=f"number {entry.shard:,}",
                allowed=f"0 to {count - 1:,}",
                next_step=AGAIN_STEP,
            )
        path = data_path(prefix, entry.shard, count)
        if entry.shard not in paths:
            paths[entry.shard] = path
            reached = 0
            with readable(path) as file:
                size = file.seek(0, 2)
        if entry.offset + entry.size > size:
            raise CheckpointError(
                f"{shown(name)} lies beyond the end of this file, which is truncated or does not belong to its index",
                where=str(path),
                received=f"a file of {size:,} bytes",
                allowed=f"at least {entry.offset + entry.size:,} bytes",
                next_step=AGAIN_STEP,
            )
        if entry.size and entry.offset < reached:
            raise CheckpointError(
                f"the index is damaged or was altered: the values of {shown(name)} overlap those of another variable",
                where=f"{path}, byte {entry.offset:,}",
                next_step=AGAIN_STEP,
            )
        reached = max(reached, entry.offset + entry.size)
    return paths
