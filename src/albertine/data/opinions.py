"""Texts with opinions: what is spoken of, the words that say what is thought of it, its category and the polarity."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from albertine.data.columns import Columns
from albertine.data.compressed import Source, read_source
from albertine.data.encodings import decode
from albertine.data.formats import DataFormat
from albertine.data.marked_rows import RowError, Tally, found_key, rows_made
from albertine.data.opinion_files import (
    PLACE,
    in_order,
    json_example,
    record_example,
    record_words,
    records,
    triplet_example,
)
from albertine.data.readers import read_examples
from albertine.data.results import FileRows, ReadResult, noted, one_of, read_result
from albertine.data.structured import JsonRow, json_names, json_rows
from albertine.errors import DataError
from albertine.evaluation.opinions import opinion_key
from albertine.records import Example, Opinion

__all__ = ["OPINIONS", "read_opinions"]

_TRIPLET = re.compile(r"####\s*\[")
_TEXT_KEYS = ("text", "sentence", "review", "content")
_OPINION_KEYS = ("opinions",)


def read_opinions(
    path: str | Path,
    *,
    columns: Columns = Columns(),  # noqa: B008  a frozen record
    encoding: str = "utf-8",
    on_error: str = "stop",
    labelled: bool = True,
    quoting: str = "auto",
) -> ReadResult:
    """Read texts with opinions, packed (.gz, .xz, .zst, one-member .zip) or not; the format shows in the file.

    Sentences with triplets (`triplet_example`), records of three lines (`record_example`; those of one text become one
    example), or JSON, one object a line, an array, or objects one after another (`json_example`). Polarities and
    categories are kept as they are written. Without `labelled`, a file of another kind is read as texts alone, as
    `read_examples` does.

    Args:
        path: the file.
        columns: `text` and `label`: the keys of text and opinions in JSON.
        encoding: of the text.
        on_error: "stop" raises at the first bad row; "skip" leaves bad rows out and lists them in `bad_rows`.
        labelled: True where every row must say its opinions, none of them maybe, with their polarities.
        quoting: of a file of texts alone.

    Raises:
        ConfigError: `on_error`, `quoting` or `encoding` is none of those that exist.
        DataError: the file, its encoding, its keys or (with "stop") one of its rows is not usable.
    """
    one_of("on_error", on_error, ("stop", "skip"))
    path = Path(path)
    source = read_source(path)
    if not source.data.strip():
        raise DataError("the file is empty", where=str(path), next_step="Pass a file with texts and opinions")
    taken = _taken_apart(source, columns, encoding, go_on=on_error == "skip", labelled=labelled)
    if taken is None:
        return read_examples(
            path, columns=columns, encoding=encoding, on_error=on_error, labelled=False, quoting=quoting
        )
    file, by_record = taken
    read = read_result(file, where=str(path), name=path.name, on_error=on_error)
    if not by_record:
        return read
    tally = Tally({})
    examples = _by_text(read.examples, tally)
    return replace(read, examples=tuple(examples), notes=read.notes + noted(path.name, tally.notes()))


def _taken_apart(
    source: Source, columns: Columns, encoding: str, *, go_on: bool, labelled: bool
) -> tuple[FileRows, bool] | None:
    """Read the rows of a file, and say whether rows of one text are one example; None where it has texts alone."""
    where = str(source.path)
    allowed = f"sentence####[triplets], records of three lines with {PLACE}, JSON or JSON Lines"
    if source.suffix in (".parquet", ".pq") or source.data.startswith(b"PAR1"):
        if not labelled:
            return None
        raise DataError(
            "opinions are not read from Parquet",
            where=where,
            allowed=allowed,
            next_step="Write the table as JSON Lines with text and opinions",
        )
    text = decode(source.data, encoding, where=where, go_on=go_on).content.replace("\r\n", "\n")
    rows = json_rows(text, source.suffix, where=where)
    if rows is not None:
        return _from_json(rows, columns, where, labelled=labelled), False
    if _TRIPLET.search(text):
        lines = ((number, (number, line)) for number, line in enumerate(text.split("\n"), 1) if line.strip())
        made = rows_made(lambda row: triplet_example(row[1], row[0], where, labelled=labelled), lines, where)
        return FileRows(rows=made, columns=Columns(), notes=list), False
    if PLACE in text:
        return _from_records(text, where, labelled=labelled), True
    if not labelled:
        return None
    raise DataError(
        "this file has no opinions",
        where=where,
        received=f"{text.lstrip()[:60]!r}",
        allowed=allowed,
        next_step="See the page on tasks for what such a file looks like",
    )


def _from_records(text: str, where: str, *, labelled: bool) -> FileRows:
    found, tally = records(text), Tally({})
    by_character = record_words(found)

    def notes() -> Iterator[str]:
        yield f"{len(found):,} records of three lines, put together " + (
            "by characters, without blanks" if by_character else "by words, with blanks"
        )
        yield from tally.notes()

    made = rows_made(
        lambda one: record_example(one, where, tally, by_character=by_character, labelled=labelled),
        ((one.line, one) for one in found),
        where,
    )
    return FileRows(rows=made, columns=Columns(), notes=notes)


def _from_json(rows: list[JsonRow], columns: Columns, where: str, *, labelled: bool) -> FileRows:
    names = json_names(rows)
    text_key = found_key(names, columns.text, _TEXT_KEYS, "the text", "--text-column", where)
    wanted = labelled or columns.label is not None or any(name in names for name in _OPINION_KEYS)
    opinions_key = (
        found_key(names, columns.label, _OPINION_KEYS, "the opinions", "--label-column", where) if wanted else None
    )
    tally = Tally({})

    def example(row: JsonRow) -> Example:
        line, values = row
        if isinstance(values, str):
            raise RowError("json", values)
        return json_example(values, line, where, tally, keys=(text_key, opinions_key), labelled=labelled)

    made = rows_made(example, ((row[0], row) for row in rows), where)
    return FileRows(rows=made, columns=Columns(text=text_key, label=opinions_key), notes=lambda: list(tally.notes()))


def _by_text(examples: Sequence[Example], tally: Tally) -> list[Example]:
    """Gather the opinions of every text, each once."""
    opinions: dict[str, dict[Opinion, None]] = {}
    first: dict[str, Example] = {}
    polarities: dict[tuple[str, tuple[object, ...]], str] = {}
    for example in examples:
        known = opinions.setdefault(example.text, {})
        first.setdefault(example.text, example)
        for opinion in example.opinions or ():
            if opinion in known:
                tally.add("opinions stand in the file before, and count once", example.line)
                continue
            known[opinion] = None
            said = polarities.setdefault((example.text, opinion_key(opinion)), opinion.polarity)
            if said != opinion.polarity:
                tally.add("opinions contradict one before, of the same aspect of the same text", example.line)
    return [replace(example, opinions=in_order(list(opinions[text]))) for text, example in first.items()]


def _answer(example: Example) -> str:
    said = (f"{opinion_key(one)}:{one.polarity}" for one in example.opinions or ())
    return " ".join(sorted(said)) or "none"


OPINIONS = DataFormat(
    read=read_opinions,
    answered=lambda example: example.opinions is not None and all(opinion.polarity for opinion in example.opinions),
    answer=_answer,
    labels=lambda example: tuple(sorted({one.polarity for one in example.opinions or ()} - {""})),
    contradiction="have other opinions in another row",
)
"""Texts with opinions."""
