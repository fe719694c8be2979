"""Varints and protocol-buffer fields, read strictly and written, as TensorFlow's checkpoints use them.

Facts from the public description of the protocol-buffer encoding. Only what a tensor bundle needs is here: varints,
32-bit numbers and length-delimited fields. Nothing is taken on trust: every length is held against the bytes that are
there before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "WireError",
    "WireField",
    "WireReader",
    "bytes_field",
    "fixed32_field",
    "read_fields",
    "varint",
    "varint_field",
]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_UNSIGNED = 1 << 64
_SIGNED = 1 << 63


class WireError(Exception):
    """Bytes that are not what they should be; whoever knows the file makes a `CheckpointError` of it."""


class WireReader:
    """A place in bytes that moves on as they are read.

    Args:
        data: the bytes.
        end: where to stop; the end of `data` by default.
    """

    def __init__(self, data: bytes, *, end: int | None = None) -> None:
        self._data = data
        self._end = len(data) if end is None else end
        self.position = 0

    @property
    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.position >= self._end

    def varint(self) -> int:
        """Read a number of at most 64 bits, lowest seven bits first.

        Raises:
            WireError: it does not end, or has more than 64 bits.
        """
        value = 0
        for index in range(_MAX_VARINT_BYTES):
            if self.at_end:
                raise WireError("a number is cut off")
            byte = self._data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if value >= _UNSIGNED:
                    break
                return value
        raise WireError("a number has more than 64 bits")

    def take(self, count: int) -> bytes:
        """Read `count` bytes.

        Raises:
            WireError: so many are not left.
        """
        if count > self._end - self.position:
            raise WireError(f"{count:,} bytes are announced where {self._end - self.position:,} are left")
        self.position += count
        return self._data[self.position - count : self.position]


@dataclass(frozen=True, slots=True, kw_only=True)
class WireField:
    """One field of a message as it lies on the wire; the accessors check that it is of the kind that is asked for."""

    number: int
    """The field's number in its message."""
    wire_type: int
    """How it is encoded."""
    value: int
    """The number, as unsigned; 0 for a length-delimited field."""
    data: bytes
    """The content of a length-delimited field; empty for a number."""

    def unsigned(self) -> int:
        """Return a varint as a number of 64 bits without sign."""
        return self._checked(_VARINT).value

    def signed(self) -> int:
        """Return a varint as a number of 64 bits with sign."""
        value = self.unsigned()
        return value - _UNSIGNED if value >= _SIGNED else value

    def fixed32(self) -> int:
        """Return a number of exactly 32 bits, without sign."""
        return self._checked(_FIXED32).value

    def content(self) -> bytes:
        """Return the bytes of a string or of a message inside this one."""
        return self._checked(_BYTES).data

    def _checked(self, wire_type: int) -> WireField:
        if self.wire_type != wire_type:
            raise WireError(f"field {self.number} is encoded as type {self.wire_type} instead of {wire_type}")
        return self


def read_fields(data: bytes) -> Iterator[WireField]:
    """Read the fields of a message in their order.

    Raises:
        WireError: the bytes are no message.
    """
    reader = WireReader(data)
    while not reader.at_end:
        tag = reader.varint()
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise WireError(f"there is no field number {number}")
        value, content = 0, b""
        if wire_type == _VARINT:
            value = reader.varint()
        elif wire_type == _BYTES:
            content = reader.take(reader.varint())
        elif wire_type in (_FIXED32, _FIXED64):
            value = int.from_bytes(reader.take(4 if wire_type == _FIXED32 else 8), "little")
        else:
            raise WireError(f"there is no encoding of type {wire_type}")
        yield WireField(number=number, wire_type=wire_type, value=value, data=content)


def varint(value: int) -> bytes:
    """Encode a number from 0 to 2^64 - 1, seven bits a byte."""
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def varint_field(number: int, value: int) -> bytes:
    """Encode a field that holds a number with or without sign; 0 is the default and takes no bytes."""
    return varint(number << 3 | _VARINT) + varint(value % _UNSIGNED) if value else b""


def fixed32_field(number: int, value: int) -> bytes:
    """Encode a field of exactly 32 bits; 0 is the default and takes no bytes."""
    return varint(number << 3 | _FIXED32) + value.to_bytes(4, "little") if value else b""


def bytes_field(number: int, content: bytes) -> bytes:
    """Encode a field that holds a string or another message; an empty one stays visible."""
    return varint(number << 3 | _BYTES) + varint(len(content)) + content
