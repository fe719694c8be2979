"""The records in the index of a TensorFlow checkpoint: its header, its variables, their slices, as bytes and back.

Sources: TensorFlow's tensor_bundle.proto, tensor_shape.proto, tensor_slice.proto, types.proto and versions.proto, and
the ordered encoding of the keys under which slices stand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from albertine.checkpoints.bundle.wire import WireError, bytes_field, fixed32_field, read_fields, varint_field

__all__ = [
    "BUNDLE_VERSION",
    "DTYPES",
    "HEADER_KEY",
    "SLICE_KEY_START",
    "TYPE_NAMES",
    "BundleEntry",
    "BundleHeader",
    "Extent",
    "Slice",
    "decode_entry",
    "decode_header",
    "encode_entry",
    "encode_header",
    "slice_key",
]

HEADER_KEY = b""
"""The key of the header, the first of every bundle."""
SLICE_KEY_START = b"\x00"
"""How the key of a slice begins; names do not begin so."""
BUNDLE_VERSION = 1
"""The version of the format that is read and written."""

DTYPES: Mapping[int, torch.dtype] = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    4: torch.uint8,
    5: torch.int16,
    6: torch.int8,
    8: torch.complex64,
    9: torch.int64,
    10: torch.bool,
    14: torch.bfloat16,
    17: torch.uint16,
    18: torch.complex128,
    19: torch.float16,
    22: torch.uint32,
    23: torch.uint64,
}
"""TensorFlow's types of which torch has the same, by their numbers."""

_OTHER_TYPES = {
    7: "string",
    11: "qint8",
    12: "quint8",
    13: "qint32",
    15: "qint16",
    16: "quint16",
    20: "resource",
    21: "variant",
    24: "float8_e5m2",
    25: "float8_e4m3fn",
    26: "float8_e4m3fnuz",
    27: "float8_e4m3b11fnuz",
    28: "float8_e5m2fnuz",
    29: "int4",
    30: "uint4",
    31: "int2",
    32: "uint2",
}
TYPE_NAMES: Mapping[int, str] = _OTHER_TYPES | {number: str(dtype)[6:] for number, dtype in DTYPES.items()}
"""Every type of TensorFlow by its number."""

# Bounds of what a variable can be, so that no product of sizes surprises whoever allocates.
_MAX_RANK = 16
_MAX_ELEMENTS = 1 << 48
_MAX_INT32 = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleHeader:
    """What is said once for a whole bundle."""

    shards: int
    """How many data files there are."""
    big_endian: bool = False
    """Whether numbers are stored with the highest byte first."""
    min_consumer: int = 0
    """The oldest version of a reader that may read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The part of one axis that a slice takes."""

    start: int
    """Of its first index."""
    length: int | None
    """None for the whole axis."""


Slice = tuple[Extent, ...]
"""One extent an axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleEntry:
    """A variable, a slice of one, or a variable that lies in slices."""

    type_number: int
    """A key of `TYPE_NAMES`."""
    shape: tuple[int, ...]
    """Whole; that of the slice for a slice."""
    shard: int = 0
    """Which data file it lies in."""
    offset: int = 0
    """Of its first byte in that file."""
    size: int = 0
    """In bytes; 0 where it lies in slices."""
    checksum: int = 0
    """The masked CRC-32C of its bytes."""
    slices: tuple[Slice, ...] = ()
    """Not empty where it lies in slices; each has an entry of its own under its `slice_key`."""

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def decode_header(data: bytes) -> BundleHeader:
    """Read the header.

    Raises:
        WireError: the bytes are no header.
    """
    shards, endianness, min_consumer = 0, 0, 0
    for field in read_fields(data):
        if field.number == 1:
            shards = _in_range(field.signed(), 1, _MAX_INT32, "number of data files")
        elif field.number == 2:
            endianness = _in_range(field.unsigned(), 0, 1, "byte order")
        elif field.number == 3:
            versions = [item.signed() for item in read_fields(field.content()) if item.number == 2]
            min_consumer = versions[-1] if versions else 0
    _in_range(shards, 1, _MAX_INT32, "number of data files")
    return BundleHeader(shards=shards, big_endian=endianness == 1, min_consumer=min_consumer)


def encode_header(header: BundleHeader) -> bytes:
    """Return the bytes of a header, with the version of this writer."""
    return (
        varint_field(1, header.shards)
        + varint_field(2, int(header.big_endian))
        + bytes_field(3, varint_field(1, BUNDLE_VERSION) + varint_field(2, header.min_consumer))
    )


def decode_entry(data: bytes, *, most_slices: int) -> BundleEntry:
    """Read a variable's or slice's record.

    Args:
        data: as it stands in the index.
        most_slices: how many slices the index has that are not another variable's.

    Raises:
        WireError: the bytes are no such record, or a number in it is impossible.
    """
    numbers = {1: 0, 3: 0, 4: 0, 5: 0}
    names = {1: "type", 3: "data file's number", 4: "offset", 5: "size"}
    shape: tuple[int, ...] = ()
    checksum = 0
    slices: list[Slice] = []
    for field in read_fields(data):
        if field.number in numbers:
            limit = _MAX_INT32 if field.number in (1, 3) else 1 << 62
            numbers[field.number] = _in_range(field.signed(), 0, limit, names[field.number])
        elif field.number == 2:
            shape = _decode_shape(field.content())
        elif field.number == 6:
            checksum = field.fixed32()
        elif field.number == 7:
            if len(slices) >= most_slices:
                raise WireError(f"slices are missing: it lies in more than the {most_slices:,} that the index has left")
            slices.append(_decode_slice(field.content()))
    if numbers[1] not in TYPE_NAMES:
        raise WireError(f"there is no type with the number {numbers[1]}")
    return BundleEntry(
        type_number=numbers[1],
        shape=shape,
        shard=numbers[3],
        offset=numbers[4],
        size=numbers[5],
        checksum=checksum,
        slices=tuple(slices),
    )


def encode_entry(entry: BundleEntry) -> bytes:
    """Return the bytes of a record that does not lie in slices."""
    shape = b"".join(bytes_field(2, varint_field(1, size)) for size in entry.shape)
    return (
        varint_field(1, entry.type_number)
        + bytes_field(2, shape)
        + varint_field(3, entry.shard)
        + varint_field(4, entry.offset)
        + varint_field(5, entry.size)
        + fixed32_field(6, entry.checksum)
    )


def slice_key(name: str, part: Slice) -> bytes:
    """Return the key under which a slice of the variable `name` stands.

    It is a sequence of values in an encoding that sorts as they do: 0, the name, the rank, and start and length of
    every axis, with -1 for the length of a whole one.
    """
    escaped = name.encode("utf-8").replace(b"\x00", b"\x00\xff")
    rank = bytes((1, len(part))) if part else b"\x00"
    extents = b"".join(
        _ordered_signed(extent.start) + _ordered_signed(-1 if extent.length is None else extent.length)
        for extent in part
    )
    return SLICE_KEY_START + escaped + b"\x00\x01" + rank + extents


def _ordered_signed(value: int) -> bytes:
    """Encode a number so that the bytes sort as the numbers do.

    As many leading bits as there are bytes tell the length; they are 1 for a number from 0 on, and all bits are
    inverted for a negative one.
    """
    magnitude = ~value if value < 0 else value
    length = 1
    while magnitude >> (7 * length - 1):
        length += 1
    lead = ((1 << length) - 1) << (7 * length)
    encoded = (lead | magnitude).to_bytes(length, "big")
    return bytes(byte ^ 0xFF for byte in encoded) if value < 0 else encoded


def _decode_shape(data: bytes) -> tuple[int, ...]:
    sizes: list[int] = []
    elements = 1
    for field in read_fields(data):
        if field.number == 3 and field.unsigned():
            raise WireError("its shape is not known")
        if field.number != 2:
            continue
        size = 0
        for item in read_fields(field.content()):
            if item.number == 1:
                size = _in_range(item.signed(), 0, _MAX_ELEMENTS, "size of an axis")
        sizes.append(size)
        elements *= max(size, 1)
        if len(sizes) > _MAX_RANK or elements > _MAX_ELEMENTS:
            raise WireError(
                f"its shape is impossible: at most {_MAX_RANK} axes and {_MAX_ELEMENTS:,} elements are accepted"
            )
    return tuple(sizes)


def _decode_slice(data: bytes) -> Slice:
    extents: list[Extent] = []
    for field in read_fields(data):
        if field.number != 1:
            continue
        start, length = 0, None
        for item in read_fields(field.content()):
            if item.number == 1:
                start = _in_range(item.signed(), 0, _MAX_ELEMENTS, "start of a slice")
            elif item.number == 2:
                length = _in_range(item.signed(), 0, _MAX_ELEMENTS, "length of a slice")
        extents.append(Extent(start=start, length=length))
        if len(extents) > _MAX_RANK:
            raise WireError(f"a slice has more than {_MAX_RANK} axes")
    return tuple(extents)


def _in_range(value: int, low: int, high: int, name: str) -> int:
    if not low <= value <= high:
        raise WireError(f"its {name} is {value:,}, not one from {low:,} to {high:,}")
    return value
