"""JSON Lines, JSON and Parquet: names and, row by row, the values under them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import cast

from albertine.errors import DataError

__all__ = ["JSON_LINES", "JsonRow", "ParquetTable", "json_names", "json_rows", "read_json", "read_json_lines"]

JSON_LINES = (".jsonl", ".ndjson")
"""The extensions of JSON Lines."""

_START = re.compile(r'\s*(?:\{\s*"|\[\s*\{)')

JsonRow = tuple[int, Mapping[str, object] | str]
"""The line a row starts on, and its object, or the reason why there is none."""


def json_rows(text: str, suffix: str, *, where: str) -> list[JsonRow] | None:
    """Read JSON or JSON Lines; None where neither the file's extension nor its first characters say so.

    Raises:
        DataError: as `read_json`, or there is no object in it.
    """
    if suffix not in (".json", *JSON_LINES) and not _START.match(text):
        return None
    rows = read_json(text, where=where) if suffix == ".json" else read_json_lines(text, where=where)
    if not json_names(rows):
        reason = next((row for _, row in rows if isinstance(row, str)), "the file has no rows")
        raise DataError(reason, where=f"{where}:{rows[0][0]}" if rows else where, next_step="Pass JSON objects")
    return rows


def read_json_lines(text: str, *, where: str) -> list[JsonRow]:
    """Read one object a line; blank lines are passed over.

    A file of the same name that holds pretty-printed objects or an array is read as `read_json` does.
    """
    rows: list[JsonRow] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            if not rows and _many_lines(line):
                return read_json(text, where=where)
            rows.append((number, f"this line is not JSON ({_reason(error)})"))
            continue
        if not rows and isinstance(value, list):
            return read_json(text, where=where)
        rows.append((number, _object(value)))
    return rows


def read_json(text: str, *, where: str) -> list[JsonRow]:
    """Read an array of objects, or objects one after another in any layout.

    Raises:
        DataError: from some place on it is not JSON, so that what follows cannot be told apart.
    """
    decoder = json.JSONDecoder()
    rows: list[JsonRow] = []
    place, line = _skip(text, 0, 1, " \t\r\n")
    array = text.startswith("[", place)
    if array:
        place, line = _skip(text, place + 1, line, " \t\r\n")
    while place < len(text) and not (array and text[place] == "]"):
        try:
            value, end = decoder.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError) as error:
            at = line + text.count("\n", place, error.pos) if isinstance(error, json.JSONDecodeError) else line
            raise DataError(
                "from here on this is not JSON",
                where=f"{where}:{at}",
                received=_reason(error),
                next_step="Mend the file, or pass JSON Lines (one object a line), where a bad line can be skipped",
            ) from error
        rows.append((line, _object(value)))
        line += text.count("\n", place, end)
        place, line = _skip(text, end, line, " \t\r\n,")
    if array and place >= len(text):
        raise DataError("the array is not closed: the file is cut short", where=f"{where}:{line}")
    return rows


def json_names(rows: list[JsonRow]) -> list[str]:
    """Return every key of the objects, in order of appearance."""
    names: dict[str, None] = {}
    for _, row in rows:
        if not isinstance(row, str):
            names.update(dict.fromkeys(row))
    return list(names)


def _many_lines(line: str) -> bool:
    return line.strip()[:1] in ("{", "[") and line.strip()[-1:] in ("{", "[", ",")


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else "too many levels"


def _object(value: object) -> Mapping[str, object] | str:
    if isinstance(value, dict):
        return cast(dict[str, object], value)
    return f"a JSON object is needed here, this is a {type(value).__name__}"


def _skip(text: str, place: int, line: int, characters: str) -> tuple[int, int]:
    while place < len(text) and text[place] in characters:
        line += text[place] == "\n"
        place += 1
    return place, line


class ParquetTable:
    """An open Parquet file; only the columns that are asked for are read.

    Args:
        data: the whole file.
        where: its name, for messages.

    Raises:
        DataError: it is damaged or none.
    """

    def __init__(self, data: bytes, *, where: str) -> None:
        import pyarrow  # lazy: heavy
        import pyarrow.parquet  # lazy: heavy

        self.where = where
        try:
            self._file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise DataError(
                "this is no Parquet file, or it is cut short",
                where=where,
                received=str(error).split("\n")[0],
                next_step="Copy or download it again",
            ) from error
        self.names: list[str] = list(self._file.schema_arrow.names)

    def rows(self, positions: tuple[int, ...]) -> Iterator[tuple[int, tuple[object, ...]]]:
        """Yield the number of every row, from 1, and its values in the columns at `positions`."""
        import pyarrow  # lazy: heavy

        wanted = [self.names[position] for position in positions]
        try:
            table = self._file.read(columns=wanted)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise DataError("this Parquet file is damaged", where=self.where, received=str(error)) from error
        values = [table.column(name).to_pylist() for name in wanted]
        yield from enumerate(zip(*values, strict=True), 1)
