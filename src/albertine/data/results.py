"""What a file held: its examples, the rows that cannot be used, and what was noticed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from albertine.data.columns import Columns
from albertine.errors import ConfigError, DataError
from albertine.records import Example

__all__ = [
    "BadRow",
    "FileRows",
    "ReadResult",
    "left_out",
    "marks_inside",
    "noted",
    "one_of",
    "read_result",
    "sorted_rows",
]

_logger = logging.getLogger("albertine")


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that gave no example."""

    file: str
    line: int
    """The line it starts on, from 1; in Parquet the row."""
    kind: str
    """fields (wrong number of them), quotes, empty-text, no-label, encoding, json, type, unknown-label; in tagged texts
    tag, spans; of questions answer, duplicate-id; in corpora no-text, too-long, outside, unclosed, archive."""
    reason: str
    """A sentence without its full stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadResult:
    """What a file held."""

    examples: tuple[Example, ...]
    columns: Columns
    """The columns that were read, by name; by number where the file has no header."""
    bad_rows: tuple[BadRow, ...]
    """The rows left out; always empty with on_error="stop"."""
    notes: tuple[str, ...]
    """What was guessed or noticed, one sentence each without its full stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRows:
    """A file taken apart."""

    rows: Iterable[Example | BadRow]
    columns: Columns
    notes: Callable[[], Iterable[str]]
    """Asked for once all rows are read."""


def read_result(file: FileRows, *, where: str, name: str, on_error: str, quoted: bool = False) -> ReadResult:
    """Read the rows of a file, and put what is noticed into the log.

    Args:
        file: taken apart.
        where: its path.
        name: what notes call it by.
        on_error: "stop" or "skip".
        quoted: whether fields of the format may stand in quotes.

    Raises:
        DataError: as `sorted_rows`.
    """
    examples, bad_rows = sorted_rows(file.rows, where, on_error, quoted=quoted)
    notes = noted(name, [*file.notes(), *marks_inside(examples), *left_out(bad_rows, len(examples))])
    return ReadResult(examples=tuple(examples), columns=file.columns, bad_rows=tuple(bad_rows), notes=notes)


def sorted_rows(
    rows: Iterable[Example | BadRow], where: str, on_error: str, *, quoted: bool = False
) -> tuple[list[Example], list[BadRow]]:
    """Tell the rows that can be used from those that cannot.

    Raises:
        DataError: rows are bad and that is not to be passed over (`on_error` is "stop"), or no row can be used.
    """
    examples: list[Example] = []
    bad_rows: list[BadRow] = []
    for row in rows:
        if isinstance(row, BadRow):
            bad_rows.append(row)
        else:
            examples.append(row)
    _stop_at(bad_rows, len(examples), where, on_error, quoted=quoted)
    return examples, bad_rows


def _stop_at(bad_rows: Sequence[BadRow], good: int, where: str, on_error: str, *, quoted: bool) -> None:
    if not bad_rows and not good:
        raise DataError("the file has no rows", where=where, next_step="Pass a file with rows")
    if bad_rows and on_error == "stop":
        first, total = bad_rows[0], len(bad_rows) + good
        count = "the only bad row" if len(bad_rows) == 1 else f"the first of {len(bad_rows)} bad rows"
        raise DataError(
            f"{first.reason} ({count} among {total})",
            where=f"{first.file}:{first.line}",
            next_step="Mend the file, or leave such rows out with --on-error skip",
        )
    if not good:
        raise DataError(
            f"none of the {len(bad_rows)} rows can be used; the first: {bad_rows[0].reason}",
            where=f"{bad_rows[0].file}:{bad_rows[0].line}",
            next_step="Check the columns (--text-column, --label-column)"
            + (", --encoding and --quoting" if quoted else " and --encoding"),
        )


def left_out(bad_rows: Sequence[BadRow], good: int, what: str = "rows") -> Iterator[str]:
    """Say how many rows were left out and why, the most frequent reason first."""
    if bad_rows:
        counts = Counter(row.kind for row in bad_rows).most_common()
        kinds = ", ".join(f"{kind} {count}" for kind, count in counts)
        yield f"{len(bad_rows)} of {len(bad_rows) + good} {what} left out ({kinds})"


def marks_inside(examples: Sequence[Example]) -> Iterator[str]:
    """Say how many texts have a byte order mark inside."""
    marked = [e for e in examples if "\ufeff" in e.text or (e.text_pair is not None and "\ufeff" in e.text_pair)]
    if marked:
        count = "1 text has" if len(marked) == 1 else f"{len(marked)} texts have"
        yield f"{count} a byte order mark (U+FEFF) inside, kept as it is; the first in line {marked[0].line}"


def noted(name: str, notes: Iterable[str]) -> tuple[str, ...]:
    """Return the notes with the name of their file before them, and put them into the log."""
    named = tuple(f"{name}: {note}" for note in notes)
    for note in named:
        _logger.info(note)
    return named


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise a ConfigError where an option has none of its values."""
    if value not in allowed:
        raise ConfigError(f"unknown value of {option}", received=repr(value), allowed=", ".join(allowed))
