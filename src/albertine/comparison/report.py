"""The report of a comparison as files: report.json, from which it can be read again, and report.html to look at."""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import TypeVar, cast, get_args, get_origin, get_type_hints

from albertine.comparison.page import render_page
from albertine.comparison.results import ComparisonReport
from albertine.comparison.table import terminal_table
from albertine.errors import DataError
from albertine.files import write_text

__all__ = ["HTML_FILE", "JSON_FILE", "SCHEMA_VERSION", "read_report", "report_json", "terminal_table", "write_report"]

SCHEMA_VERSION = 2
"""Of report.json; it changes when a field changes its name or meaning."""
JSON_FILE = "report.json"
HTML_FILE = "report.html"

_NUMBERS = re.compile(r"\[\n[-+0-9.eE\s,]+\]")
_ROWS = re.compile(r"\[\n(?:\s*\[[-+0-9.eE, ]*\],?\n)+\s*\]")

Record = TypeVar("Record")


def report_json(report: ComparisonReport) -> str:
    """Return the whole report as a JSON document; numbers that JSON has no name for (NaN, infinity) become null."""
    text = json.dumps(_finite(asdict(report)), ensure_ascii=False, indent=2, allow_nan=False)
    # Thousands of predictions, one a line, would bury the rest. JSON strings hold no line breaks, so none is touched.
    text = _NUMBERS.sub(lambda found: "[" + ", ".join(found.group()[1:-1].replace(",", " ").split()) + "]", text)
    return _ROWS.sub(lambda found: " ".join(found.group().split()), text) + "\n"


def write_report(report: ComparisonReport, folder: Path) -> None:
    """Write report.json and report.html into `folder`, each whole or not at all.

    The page needs no other file and no network.

    Args:
        report: what was measured.
        folder: made where it does not exist.
    """
    write_text(folder / JSON_FILE, report_json(report))
    write_text(folder / HTML_FILE, render_page(report))


def read_report(folder: Path) -> ComparisonReport:
    """Read the report.json of a folder (or the file itself) back.

    Raises:
        DataError: there is no such file, it is damaged, or another version of Albertine wrote it.
    """
    path = folder / JSON_FILE if folder.is_dir() else folder
    next_step = "Run albertine compare again; finished runs are not repeated"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError("there is no report here", where=str(path), next_step=next_step) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"the report is damaged ({error})", where=str(path), next_step=next_step) from error
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            "the report has another schema version",
            where=str(path),
            received=repr(version),
            allowed=str(SCHEMA_VERSION),
            next_step=next_step,
        )
    try:
        return _record(ComparisonReport, value)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the report is damaged ({error})", where=str(path), next_step=next_step) from error


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def _record(kind: type[Record], value: Mapping[str, object]) -> Record:
    """Build a record, and the records in it, from what JSON gave back."""
    hints = get_type_hints(kind)
    assert is_dataclass(kind), "only records are read"
    names = {one.name for one in fields(kind)}
    if unknown := value.keys() - names:
        raise TypeError(f"unknown field {sorted(unknown)[0]!r} of {kind.__name__}")
    return cast(Record, kind(**{name: _typed(hints[name], one) for name, one in value.items()}))


def _typed(hint: object, value: object) -> object:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _typed(next(one for one in inner if one is not type(None)), value)
    if origin is tuple:
        return tuple(_typed(inner[0], one) for one in cast(list[object], value))
    if origin is dict:
        return {key: _typed(inner[1], one) for key, one in cast(dict[str, object], value).items()}
    if is_dataclass(hint):
        return _record(cast(type[object], hint), cast(dict[str, object], value))
    if hint is float:
        # null stands for a number that was not finite.
        return math.nan if value is None else float(cast(float, value))
    return value
