"""CSV, TSV and plain lines: text to records, each with the line it starts on."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from albertine.data.columns import has_known_header

__all__ = ["Record", "Sheet", "read_sheet"]

_SNIFFED_ROWS = 50
# Quoted fields from end to end: each field is bare, or in quotes with the quotes inside doubled. Possessive, so that
# the time is linear in the text. In the second, a quoted field holds no tab and no line end.
_WELL_QUOTED = re.compile(r'(?:(?:"(?:[^"]++|"")*+"|[^"\t\n]*+)(?:\t|\r?\n|\r?\Z))*+')
_WELL_QUOTED_LINES = re.compile(r'(?:(?:"(?:[^"\t\n]++|"")*+"|[^"\t\n]*+)(?:\t|\r?\n|\r?\Z))*+')
# What only a writer that quotes leaves behind: a doubled quote within a field.
_DOUBLED = re.compile(r'[^\t\n"]""|""[^\t\r\n"]')


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a delimited file."""

    line: int
    """Line it starts on, counted from 1."""
    cells: list[str]
    height: int = 1
    """Lines it runs over."""
    problem: str | None = None
    """What is wrong with its quotes; None for nearly all."""
    literal: bool = False
    """True where its quotes were not in order and it was read as if they were ordinary characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Every record of a file, the header line (where there is one) among them."""

    records: list[Record]
    delimiter: str | None
    """None for plain lines."""
    quoted: bool
    """Whether quotes held fields together."""
    blank_lines: int
    """Empty lines between records, passed over."""
    notes: tuple[str, ...]


def read_sheet(text: str, *, suffix: str, quoting: str) -> Sheet:
    """Take a file apart.

    The delimiter goes by the extension (.csv comma, .tsv tab) and by what the first rows agree on. In CSV quotes hold
    a field together; in TSV they are ordinary characters, unless the whole file is written with quoted fields.

    Args:
        text: the whole file.
        suffix: its extension; any other than .csv and .tsv is looked at more closely.
        quoting: "auto", "on" or "off".
    """
    lines = text.split("\n")
    if len(lines) == 1 and "\r" in text:
        lines = text.split("\r")
    if lines and lines[-1] == "":
        lines.pop()
    notes: list[str] = []
    delimiter = _delimiter(lines, suffix, quoting)
    usual = {".csv": ",", ".tsv": "\t"}.get(suffix)
    if usual and delimiter != usual:
        notes.append(f"the fields are divided by {_named(delimiter)}, not by {_named(usual)}")
    if delimiter is None:
        records = [Record(number, [line.removesuffix("\r")]) for number, line in enumerate(lines, 1) if line.strip()]
        return Sheet(records=records, delimiter=None, quoted=False, blank_lines=len(lines) - len(records), notes=())
    quoted = quoting == "on" or (quoting == "auto" and (delimiter != "\t" or _quoted_tsv(text, lines)))
    if quoted and delimiter == "\t" and quoting == "auto":
        notes.append("the fields are quoted, so quotes were read as CSV does (--quoting off keeps them)")
    if quoted:
        records, blank = _quote_aware(lines, delimiter)
    else:
        records = [
            Record(number, line.removesuffix("\r").split(delimiter))
            for number, line in enumerate(lines, 1)
            if line not in ("", "\r")
        ]
        blank = len(lines) - len(records)
    return Sheet(records=records, delimiter=delimiter, quoted=quoted, blank_lines=blank, notes=tuple(notes))


def _named(delimiter: str | None) -> str:
    return {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", None: "line ends only"}[delimiter]


def _delimiter(lines: list[str], suffix: str, quoting: str) -> str | None:
    order = [",", "\t", ";", "|"] if suffix == ".csv" else ["\t", ","]
    for place, candidate in enumerate(order):
        widths, first = _widths(lines, candidate, quoting)
        if len(widths) == 1 and min(widths) > 1 and (place == 0 or suffix == ".csv" or has_known_header(first)):
            return candidate
    if suffix in (".csv", ".tsv"):
        return order[0]
    # Without a telling extension: a tab in nearly every line, or plain lines.
    tabbed = sum(1 for line in lines[:_SNIFFED_ROWS] if "\t" in line)
    return "\t" if tabbed and tabbed > 0.9 * len(lines[:_SNIFFED_ROWS]) else None


def _widths(lines: list[str], delimiter: str, quoting: str) -> tuple[set[int], list[str]]:
    """Return the numbers of fields that the first records have, and the cells of the first."""
    if delimiter != "\t" and quoting != "off":
        records = []
        for record in _records(lines, delimiter):
            records.append(record.cells)
            if len(records) == _SNIFFED_ROWS:
                break
    else:
        records = [line.removesuffix("\r").split(delimiter) for line in lines[:_SNIFFED_ROWS] if line.strip()]
    return {len(cells) for cells in records}, records[0] if records else []


def _quoted_tsv(text: str, lines: list[str]) -> bool:
    """Say whether a TSV is written with quoted fields: all quotes are in order, and some could not be otherwise."""
    if '"' not in text:
        return False
    filled = [line for line in lines if line not in ("", "\r")]
    if len({line.count("\t") for line in filled}) > 1:
        if not _WELL_QUOTED.fullmatch(text):
            return False
        return len({len(record.cells) for record in _quote_aware(lines, "\t")[0]}) == 1
    # Every line has as many tabs as the others, so no field runs over a line's end or holds a tab.
    written = bool(_DOUBLED.search(text)) or all(line.startswith('"') for line in filled[1:])
    return written and bool(_WELL_QUOTED_LINES.fullmatch(text))


def _quote_aware(lines: list[str], delimiter: str) -> tuple[list[Record], int]:
    everything = list(_records(lines, delimiter))
    records = [record for record in everything if record.cells]
    return _literal_where_it_fits(records), len(everything) - len(records)


def _records(lines: list[str], delimiter: str) -> Iterator[Record]:
    """Yield the records, a blank line as one without cells.

    Where the quotes of a record are not in order, it ends with its first line, and reading goes on after that.
    """
    # The library's limit is one for the whole process; it only ever goes up.
    csv.field_size_limit(max(csv.field_size_limit(), sum(map(len, lines)) + len(lines) + 1))
    start = 0
    while start < len(lines):
        reader = csv.reader(_ended(lines, start), delimiter=delimiter, strict=True)
        while True:
            line = start + reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Record(line, lines[line - 1].removesuffix("\r").split(delimiter), problem=_reason(str(error)))
                start = line
                break
            blank = len(cells) == 1 and not lines[line - 1].strip()
            yield Record(line, [] if blank else cells, height=start + reader.line_num - line + 1)


def _ended(lines: list[str], start: int) -> Iterator[str]:
    for place in range(start, len(lines)):
        yield lines[place] + "\n"


def _reason(message: str) -> str:
    if "unexpected end of data" in message:
        return "a quote is opened and never closed"
    if "new-line character" in message:
        return "a bare carriage return outside of quotes"
    return "text follows a closing quote"


def _literal_where_it_fits(records: list[Record]) -> list[Record]:
    """Accept a line with stray quotes as it stands where that gives it as many fields as the others have."""
    if not any(record.problem for record in records):
        return records
    widths = Counter(len(record.cells) for record in records if not record.problem)
    usual = widths.most_common(1)[0][0] if widths else 0
    return [
        replace(record, problem=None, literal=True) if record.problem and len(record.cells) == usual else record
        for record in records
    ]
