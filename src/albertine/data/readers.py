"""Files of labelled texts or pairs of texts, in any of the formats, to examples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from albertine.data.answers import Answer, AnswerReader, one_label, written_number
from albertine.data.columns import Columns, Layout, has_known_header, resolve
from albertine.data.compressed import Source, read_source
from albertine.data.delimited import Record, read_sheet
from albertine.data.encodings import SURROGATE, decode
from albertine.data.results import BadRow, FileRows, ReadResult, one_of, read_result
from albertine.data.structured import JSON_LINES, JsonRow, ParquetTable, json_names, read_json, read_json_lines
from albertine.errors import DataError
from albertine.records import Example

__all__ = ["RowChange", "read_examples"]

_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_PARQUET = (".parquet", ".pq")
_SAMPLE_ROWS = 200

RowChange = Callable[[Mapping[str, object]], Mapping[str, object]]
"""The object of a row to the one that is read; a TypeError in the place of a text makes a bad row."""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    values: tuple[object, object, object] = (None, None, None)
    """Text, second text, label, as they stand in the file."""
    kind: str = ""
    problem: str | None = None


@dataclass(slots=True, kw_only=True)
class _Table:
    """A file taken apart, before its rows are looked at."""

    layout: Layout
    rows: Iterable[_Row]
    notes: list[str] = field(default_factory=list)


def read_examples(
    path: str | Path,
    *,
    columns: Columns = Columns(),  # noqa: B008  a frozen record
    encoding: str = "utf-8",
    on_error: str = "stop",
    labelled: bool = True,
    quoting: str = "auto",
    answers: AnswerReader = one_label,
    reshape: RowChange | None = None,
) -> ReadResult:
    """Read a CSV, TSV, JSON Lines, JSON, Parquet or text file, packed (.gz, .xz, .zst, one-member .zip) or not.

    Args:
        path: the file.
        columns: which columns to read; those not given are looked for by their usual names, and the notes say which.
        encoding: of the text; Parquet has its own.
        on_error: "stop" raises at the first bad row; "skip" leaves bad rows out and lists them in `bad_rows`.
        labelled: True where every row must have a label; False to take labels where there are some.
        quoting: "on" (a quote holds a field together, as in CSV), "off" (a quote is a character) or "auto" (on for CSV,
            off for TSV unless the file is written with quoted fields throughout).
        answers: what the label's column says.
        reshape: what is done to every JSON object before its columns are looked for.

    Raises:
        ConfigError: `on_error`, `quoting` or `encoding` is none of those that exist.
        DataError: the file, its encoding, its columns or (with "stop") one of its rows is not usable.
    """
    one_of("on_error", on_error, ("stop", "skip"))
    one_of("quoting", quoting, ("auto", "on", "off"))
    path = Path(path)
    source = read_source(path)
    if not source.data.strip():
        raise DataError("the file is empty", where=str(path), next_step="Pass a file with a header and rows")
    table = _table(
        source, columns, encoding, go_on=on_error == "skip", labelled=labelled, quoting=quoting, reshape=reshape
    )
    pairs = table.layout.text_pair is not None
    file = FileRows(
        rows=(_example(row, str(path), answers, pairs=pairs, labelled=labelled) for row in table.rows),
        columns=table.layout.columns,
        notes=lambda: [*table.layout.notes, *table.notes],
    )
    return read_result(file, where=str(path), name=path.name, on_error=on_error, quoted=True)


def _table(
    source: Source,
    columns: Columns,
    encoding: str,
    *,
    go_on: bool,
    labelled: bool,
    quoting: str,
    reshape: RowChange | None,
) -> _Table:
    where = str(source.path)
    if source.suffix in _PARQUET or source.data.startswith(b"PAR1"):
        return _from_parquet(ParquetTable(source.data, where=where), columns, where, labelled)
    text = decode(source.data, encoding, where=where, go_on=go_on).content
    start = text.lstrip()[:1]
    if source.suffix in JSON_LINES or (source.suffix not in (".csv", ".tsv", ".json", ".txt") and start == "{"):
        return _from_json(_reshaped(read_json_lines(text, where=where), reshape), columns, where, labelled)
    if source.suffix == ".json":
        return _from_json(_reshaped(read_json(text, where=where), reshape), columns, where, labelled)
    return _from_sheet(text, source.suffix, columns, where, labelled=labelled, quoting=quoting)


def _from_parquet(table: ParquetTable, columns: Columns, where: str, labelled: bool) -> _Table:
    layout = resolve(table.names, columns, where=where, labelled=labelled)
    order = layout.positions

    def rows() -> Iterator[_Row]:
        for line, values in table.rows(order):
            yield _Row(line, _values(layout, dict(zip(order, values, strict=True))))

    return _Table(layout=layout, rows=rows())


def _reshaped(objects: list[JsonRow], reshape: RowChange | None) -> list[JsonRow]:
    if reshape is None:
        return objects
    return [(line, row if isinstance(row, str) else reshape(row)) for line, row in objects]


def _from_json(objects: list[JsonRow], columns: Columns, where: str, labelled: bool) -> _Table:
    names = json_names(objects)
    if not names:
        if objects and isinstance(objects[0][1], str):
            raise DataError(objects[0][1], where=f"{where}:{objects[0][0]}")
        raise DataError("the file has no rows", where=where, next_step="Pass a file of JSON objects")
    layout = resolve(names, columns, where=where, labelled=labelled)
    keys = {place: names[place] for place in layout.positions}

    def rows() -> Iterator[_Row]:
        for line, row in objects:
            if isinstance(row, str):
                yield _Row(line, kind="json", problem=row)
            else:
                yield _Row(line, _values(layout, {place: row.get(key) for place, key in keys.items()}))

    return _Table(layout=layout, rows=rows())


def _values(layout: Layout, cells: Mapping[int, object] | Sequence[str]) -> tuple[object, object, object]:
    pair = None if layout.text_pair is None else cells[layout.text_pair]
    return cells[layout.text], pair, None if layout.label is None else cells[layout.label]


def _from_sheet(text: str, suffix: str, columns: Columns, where: str, *, labelled: bool, quoting: str) -> _Table:
    sheet = read_sheet(text, suffix=suffix, quoting=quoting)
    if not sheet.records:
        raise DataError("the file has no rows", where=where, next_step="Pass a file with a header and rows")
    records, notes = sheet.records, list(sheet.notes)
    first = records[0].cells
    if sheet.delimiter is None and not labelled:
        layout = resolve(first, Columns(text="1"), where=where, labelled=False, header=False)
        return _Table(layout=layout, rows=_sheet_rows(records, layout, 1, exact=True), notes=notes)
    header = not columns.by_number or has_known_header(first)
    usual = Counter(len(record.cells) for record in records).most_common(1)[0][0]
    names = first if header else [f"column {number}" for number in range(1, max(usual, len(first)) + 1)]
    rows = [] if has_known_header(first) else records[:_SAMPLE_ROWS]
    sample = [record.cells for record in rows if len(record.cells) == usual]
    layout = resolve(names, columns, where=where, labelled=labelled, header=header, sample=sample)
    if header:
        if columns.by_number:
            notes.append(f"the first line ({', '.join(first)}) was taken as a header, not as a row")
        records = records[1:]
    width = len(first) if header else usual
    if sheet.blank_lines:
        notes.append(f"{sheet.blank_lines} blank lines were passed over")
    literal = [record.line for record in records if record.literal]
    if literal:
        notes.append(f"{len(literal)} lines have stray quotes, kept as characters; the first is line {literal[0]}")
    longer = [record.line for record in records if not header and len(record.cells) > width]
    if longer:
        notes.append(
            f"{len(longer)} rows have more than the usual {width} fields; columns were counted from the left; "
            f"the first is line {longer[0]}"
        )
    return _Table(layout=layout, rows=_sheet_rows(records, layout, width, exact=header), notes=notes)


def _sheet_rows(records: list[Record], layout: Layout, width: int, *, exact: bool) -> Iterator[_Row]:
    """Yield the rows of a delimited file.

    Args:
        records: without the header.
        layout: where the columns stand.
        width: fields that a row should have.
        exact: False where more are accepted, because nothing in the file says how many there are.
    """
    for record in records:
        count = len(record.cells)
        if record.problem:
            yield _Row(record.line, kind="quotes", problem=record.problem)
        elif count != width and (exact or count < width):
            over = f", running over {record.height} lines: is a quote not closed" if record.height > 1 else ""
            fields = "1 field" if count == 1 else f"{count} fields"
            yield _Row(record.line, kind="fields", problem=f"{fields} where {width} are expected{over}")
        else:
            yield _Row(record.line, _values(layout, record.cells))


def _example(row: _Row, path: str, answers: AnswerReader, *, pairs: bool, labelled: bool) -> Example | BadRow:
    kind, reason = row.kind, row.problem
    text, pair, answer = _text(row.values[0]), _text(row.values[1]), answers(row.values[2])
    if reason is None:
        texts = [text, pair] if pairs else [text]
        named = [*answer.labels] if isinstance(answer, Answer) and answer.labels is not None else []
        named += [answer.label] if isinstance(answer, Answer) and answer.label is not None else []
        values = [value for value in (*texts, *named) if isinstance(value, str)]
        if any(value is None for value in texts) or any(
            isinstance(value, str) and not value.strip() for value in texts
        ):
            kind, reason = "empty-text", "one of the two texts is empty" if pairs else "the text is empty"
        elif wrong := next((value for value in (*texts, answer) if isinstance(value, TypeError)), None):
            kind, reason = "type", str(wrong)
        elif any(SURROGATE.search(value) for value in values):
            damaged = any(_ESCAPED_BYTE.search(value) for value in values)
            kind = "encoding"
            reason = "bytes that the encoding does not know" if damaged else "half of a surrogate pair"
        elif labelled and answer is None:
            kind, reason = "no-label", "the label is missing"
    if reason is not None:
        return BadRow(file=path, line=row.line, kind=kind, reason=reason)
    assert isinstance(text, str)  # the cases above have left nothing else
    given = answer if isinstance(answer, Answer) else Answer()
    return Example(
        text=text,
        text_pair=pair if isinstance(pair, str) else None,
        label=given.label,
        labels=given.labels,
        value=given.value,
        file=path,
        line=row.line,
    )


def _text(value: object) -> str | TypeError | None:
    if value is None or isinstance(value, str | TypeError):
        return value
    if isinstance(value, bool | int | float):
        return written_number(value)
    return TypeError(f"the text is a {type(value).__name__}, not a string")
