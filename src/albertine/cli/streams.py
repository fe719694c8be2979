"""Texts for `predict`, from a file or a pipe, in pieces that are answered as soon as they are there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from albertine.data.columns import Columns
from albertine.data.formats import DataFormat
from albertine.errors import DataError
from albertine.records import Example

__all__ = ["file_examples", "piped_examples"]

# Read at most so many bytes before answering: large enough for full batches, small enough to stay flat in memory.
_PIECE = 1 << 18


def piped_examples(encoding: str) -> Iterator[list[Example]]:
    """Yield the lines of standard input, one text each, as they arrive; empty lines count as empty texts."""
    return _line_examples(sys.stdin.fileno(), "standard input", encoding)


def file_examples(
    path: Path, format: DataFormat, columns: Columns, *, encoding: str, on_error: str, quoting: str
) -> Iterator[list[Example]]:
    """Yield the texts of a file: the lines of a plain text file, or the rows of anything else that can be read.

    Args:
        path: the file.
        format: what files of the model's task look like.
        columns: which columns to read.
        encoding: of the text.
        on_error: what a bad row does, "stop" or "skip".
        quoting: whether a quote holds a field together.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    if columns == Columns() and _is_plain_text(path):
        with path.open("rb") as file:
            yield from _line_examples(file.fileno(), str(path), encoding)
        return
    read = format.read(path, columns=columns, encoding=encoding, on_error=on_error, labelled=False, quoting=quoting)
    yield list(read.examples)


def _is_plain_text(path: Path) -> bool:
    """Say whether every line is a text: named as text, not packed, and without tabs between fields."""
    if path.suffix.lower() not in ("", ".txt") or not path.is_file():
        return False
    with path.open("rb") as file:
        return b"\t" not in file.read(_PIECE)


def _line_examples(descriptor: int, name: str, encoding: str) -> Iterator[list[Example]]:
    rest, number = b"", 0
    while True:
        piece = os.read(descriptor, _PIECE)
        lines = (rest + piece).split(b"\n")
        rest = lines.pop() if piece else b""
        if not piece and lines[-1:] == [b""]:
            lines.pop()
        examples = []
        for line in lines:
            number += 1
            examples.append(Example(text=_decoded(line, name, number, encoding), file=name, line=number))
        if examples:
            yield examples
        if not piece:
            return


def _decoded(line: bytes, name: str, number: int, encoding: str) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 and encoding == "utf-8" else encoding).rstrip("\r")
    except UnicodeDecodeError as error:
        raise DataError(
            f"this line is not {encoding}",
            where=f"{name}:{number}",
            received=f"byte 0x{line[error.start]:02x} at position {error.start}",
            next_step="Give the file's encoding, for example --encoding gb18030",
        ) from error
    except LookupError as error:
        raise DataError(
            "unknown encoding", received=repr(encoding), allowed="a name Python knows, such as gb18030"
        ) from error
