"""What stands in a SentencePiece file (`spiece.model`), read and written without the protobuf package.

The file is one protocol-buffer message; of its fields only those are kept that a unigram model needs to cut text
(`sentencepiece_model.proto` of the sentencepiece project gives the field numbers used here).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from albertine.errors import TokenizerError

__all__ = ["PieceType", "SentencePieceFile", "read_model", "write_model"]

_MODEL_TYPES = {1: "unigram", 2: "BPE", 3: "word", 4: "character"}


class PieceType(IntEnum):
    """What a piece is for."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class SentencePieceFile:
    """The parts of a SentencePiece model that cut text."""

    pieces: tuple[str, ...]
    """Every piece, by id."""
    scores: tuple[float, ...]
    """The logarithm of each piece's probability."""
    types: tuple[int, ...]
    """A `PieceType` each."""
    charsmap: bytes
    """The compiled normalisation."""
    model_type: str = "unigram"
    """unigram, BPE, word or character."""
    usual_blanks: bool = True
    """Whether blanks are merged, written as ▁ and put before the first word, as ALBERT has it."""


def read_model(data: bytes, *, where: str) -> SentencePieceFile:
    """Read a SentencePiece model.

    Raises:
        TokenizerError: the bytes are not such a model, or are cut off.
    """
    pieces: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    charsmap = b""
    model_type = 1
    blanks = True
    try:
        for number, value in _fields(data):
            if number == 1 and isinstance(value, bytes):
                entry = dict(_fields(value))
                pieces.append(_bytes(entry.get(1, b"")).decode("utf-8"))
                scores.append(struct.unpack("<f", _bytes(entry.get(2, bytes(4))))[0])
                types.append(int(entry.get(3, PieceType.NORMAL)))
            elif number == 2 and isinstance(value, bytes):
                trainer = dict(_fields(value))
                model_type = int(trainer.get(3, 1))
                blanks = blanks and not trainer.get(24, 0)
            elif number == 3 and isinstance(value, bytes):
                normalizer = dict(_fields(value))
                charsmap = _bytes(normalizer.get(2, b""))
                blanks = blanks and all(normalizer.get(field, 1) for field in (3, 4, 5))
    except (IndexError, ValueError, TypeError, struct.error) as error:
        raise TokenizerError(
            "not a SentencePiece model, or cut off", where=where, next_step="Fetch the file again and compare its size"
        ) from error
    if not pieces:
        raise TokenizerError("not a SentencePiece model: it holds no pieces", where=where)
    return SentencePieceFile(
        pieces=tuple(pieces),
        scores=tuple(scores),
        types=tuple(types),
        charsmap=charsmap,
        model_type=_MODEL_TYPES.get(model_type, f"type {model_type}"),
        usual_blanks=blanks,
    )


def write_model(pieces: Sequence[str], scores: Sequence[float], types: Sequence[int], charsmap: bytes) -> bytes:
    """Write a unigram model that treats blanks as ALBERT's does."""
    out = bytearray()
    for piece, score, kind in zip(pieces, scores, types, strict=True):
        entry = _bytes_field(1, piece.encode("utf-8")) + b"\x15" + struct.pack("<f", score) + _number_field(3, kind)
        out += _bytes_field(1, entry)
    unknown = pieces[list(types).index(PieceType.UNKNOWN)]
    out += _bytes_field(2, _number_field(3, 1) + _bytes_field(45, unknown.encode("utf-8")))
    out += _bytes_field(3, _bytes_field(2, charsmap) + b"".join(_number_field(field, 1) for field in (3, 4, 5)))
    return bytes(out)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a message: numbers as int, everything else as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(data):
            raise ValueError("cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("number too long")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise TypeError("a number where bytes belong")
    return value


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes_field(number: int, value: bytes) -> bytes:
    return _encoded(number << 3 | 2) + _encoded(len(value)) + value


def _number_field(number: int, value: int) -> bytes:
    return _encoded(number << 3) + _encoded(value)
