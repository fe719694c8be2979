"""Texts with labelled spans: CoNLL columns, JSON with `spans`, and CLUENER's form of JSON."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from albertine.data.columns import Columns
from albertine.data.compressed import Source, read_source
from albertine.data.conll import Sentence, join_tokens, read_columns, written_by_character
from albertine.data.encodings import decode
from albertine.data.formats import DataFormat
from albertine.data.readers import BadRow, ReadResult, marks_inside, one_of, stop_at_bad_rows, summed_up
from albertine.data.structured import JsonRow, json_names, read_json, read_json_lines
from albertine.data.tag_schemes import TagReport, TagStyle, read_tag, tag_style
from albertine.errors import DataError
from albertine.evaluation.spans import OUTSIDE, Tag, chunks
from albertine.records import Example, Span

__all__ = ["TAGGED_TEXTS", "read_tagged_texts"]

_logger = logging.getLogger("albertine")

_JSON = (".json", ".jsonl", ".ndjson")
_JSON_START = re.compile(r'\s*(?:\{\s*"|\[\s*\{)')
_TEXT_KEYS = ("text", "sentence", "content")
_SPAN_KEYS = ("spans", "entities", "label", "labels")
_SURROGATE = re.compile("[\ud800-\udfff]")

_RowT = TypeVar("_RowT")

_Place = tuple[object, object, object, str | None]
"""Start, end and label as they stand in the file, and the piece of text that they are said to be."""


class _RowError(Exception):
    """A row gives no example; the kind and the reason are those of `BadRow`."""

    def __init__(self, kind: str, reason: str, line: int | None = None) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason, self.line = kind, reason, line


@dataclass(slots=True)
class _Tally:
    """What is done to rows without leaving them out, how often and where first."""

    counts: dict[str, tuple[int, int]]

    def add(self, what: str, line: int) -> None:
        count, first = self.counts.get(what, (0, line))
        self.counts[what] = count + 1, first

    def notes(self) -> Iterator[str]:
        for what, (count, line) in self.counts.items():
            yield f"{count:,} {what}; the first in line {line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A file taken apart."""

    rows: Iterable[Example | BadRow]
    columns: Columns
    notes: Callable[[], Iterable[str]]
    """Asked for once all rows are read."""


def read_tagged_texts(
    path: str | Path,
    *,
    columns: Columns = Columns(),  # noqa: B008  a frozen record
    encoding: str = "utf-8",
    on_error: str = "stop",
    labelled: bool = True,
    quoting: str = "auto",
) -> ReadResult:
    """Read texts with labelled spans, packed (.gz, .xz, .zst, one-member .zip) or not.

    JSON (one object a line, an array, or objects one after another) has a `text` and its spans: a list under `spans`
    of {start, end, label} or [start, end, label], the end one past the last character; or CLUENER's `label`:
    {type: {string: [[start, end]]}}, the end the last character. Anything else is read as CoNLL columns, see
    `albertine.data.conll`; tags are read by the rules of the CoNLL script in any scheme, see
    `albertine.data.tag_schemes`. The notes say the scheme and what was repaired.

    Args:
        path: the file.
        columns: `text` and `label`: the keys of text and spans in JSON, the numbers of token and tag in columns.
        encoding: of the text.
        on_error: "stop" raises at the first bad row; "skip" leaves bad rows out and lists them in `bad_rows`.
        labelled: True where every row must say its spans, none of them maybe; False to take them where they are said.
        quoting: has no meaning here; a quote is a character.

    Raises:
        ConfigError: `on_error` or `encoding` is none of those that exist, or there is no such column.
        DataError: the file, its encoding, its columns or (with "stop") one of its rows is not usable.
    """
    del quoting
    one_of("on_error", on_error, ("stop", "skip"))
    path = Path(path)
    source = read_source(path)
    if not source.data.strip():
        raise DataError("the file is empty", where=str(path), next_step="Pass a file with tagged texts")
    taken = _taken_apart(source, columns, encoding, go_on=on_error == "skip", labelled=labelled)
    examples: list[Example] = []
    bad_rows: list[BadRow] = []
    for row in taken.rows:
        if isinstance(row, BadRow):
            bad_rows.append(row)
        else:
            examples.append(row)
    stop_at_bad_rows(bad_rows, len(examples), str(path), on_error)
    notes = [*taken.notes(), *marks_inside(examples)]
    if bad_rows:
        notes.append(f"{len(bad_rows)} of {len(bad_rows) + len(examples)} rows left out ({summed_up(bad_rows)})")
    notes = [f"{path.name}: {note}" for note in notes]
    for note in notes:
        _logger.info(note)
    return ReadResult(examples=tuple(examples), columns=taken.columns, bad_rows=tuple(bad_rows), notes=tuple(notes))


def _taken_apart(source: Source, columns: Columns, encoding: str, *, go_on: bool, labelled: bool) -> _Table:
    where = str(source.path)
    if source.suffix in (".parquet", ".pq") or source.data.startswith(b"PAR1"):
        raise DataError(
            "spans are not read from Parquet",
            where=where,
            allowed="CoNLL columns, JSON or JSON Lines",
            next_step="Write the table as JSON Lines with text and spans (start, end, label)",
        )
    text = decode(source.data, encoding, where=where, go_on=go_on).content
    if source.suffix in _JSON or _JSON_START.match(text):
        rows = read_json(text, where=where) if source.suffix == ".json" else read_json_lines(text, where=where)
        return _from_json(rows, columns, where, labelled=labelled)
    return _from_columns(text, columns, where, labelled=labelled)


# --- columns


def _from_columns(text: str, columns: Columns, where: str, *, labelled: bool) -> _Table:
    file = read_columns(text, columns=columns, where=where, labelled=labelled)
    by_character = written_by_character(file.sentences)
    written = {value for sentence in file.sentences for value in sentence.tags} if file.tagged else set()
    style = tag_style(written)
    known = {value: read_tag(value, style) for value in written}
    report, tally = TagReport(written), _Tally({})

    def example(sentence: Sentence) -> Example:
        if sentence.problem is not None:
            raise _RowError("fields", sentence.problem[1], sentence.problem[0])
        joined = join_tokens(sentence.tokens, by_character=by_character)
        _check_text(joined.text)
        for place, token in enumerate(sentence.tokens):
            if not token:
                tally.add("tokens are empty", sentence.line + place)
        spans = None
        if file.tagged:
            tags = _tags(sentence, known, style)
            report.add(tags, sentence.line)
            spans = _spans(joined.text, _places(tags, joined.starts, sentence), sentence.line, tally)
        return Example(text=joined.text, spans=spans, file=where, line=sentence.line)

    def notes() -> Iterator[str]:
        yield from file.notes
        yield "tokens were put together to texts " + ("without blanks" if by_character else "with blanks")
        if file.tagged:
            yield from report.notes()
        yield from tally.notes()

    rows = _made(example, ((one.line, one) for one in file.sentences), where)
    return _Table(rows=rows, columns=file.columns, notes=notes)


def _tags(sentence: Sentence, known: Mapping[str, Tag | None], style: TagStyle) -> list[Tag]:
    tags: list[Tag] = []
    for place, value in enumerate(sentence.tags):
        tag = known[value]
        if tag is None:
            forms = {"prefixed": "O, B-TYPE, I-TYPE, …", "letters": "O, B, I, …", "labels": "O or a type"}[style]
            raise _RowError("tag", f"{value!r} is no tag, such as {forms}", sentence.line + place)
        tags.append(tag)
    return tags


def _places(tags: Sequence[Tag], starts: Sequence[int], sentence: Sentence) -> list[_Place]:
    if all(tag is OUTSIDE for tag in tags):
        return []
    return [
        (starts[chunk.first], starts[chunk.end - 1] + len(sentence.tokens[chunk.end - 1]), chunk.label, None)
        for chunk in chunks(tags)
    ]


# --- JSON


def _from_json(rows: list[JsonRow], columns: Columns, where: str, *, labelled: bool) -> _Table:
    names = json_names(rows)
    if not names:
        reason = next((row for _, row in rows if isinstance(row, str)), "the file has no rows")
        raise DataError(reason, where=f"{where}:{rows[0][0]}" if rows else where, next_step="Pass JSON objects")
    text_key = _key(names, columns.text, _TEXT_KEYS, "the text", "--text-column", where)
    wanted = labelled or columns.label is not None
    span_key = None
    if wanted or any(name in names for name in _SPAN_KEYS):
        span_key = _key(names, columns.label, _SPAN_KEYS, "the spans", "--label-column", where)
    tally = _Tally({})

    def example(row: JsonRow) -> Example:
        line, values = row
        if isinstance(values, str):
            raise _RowError("json", values)
        text, said = values.get(text_key), None if span_key is None else values.get(span_key)
        if not wanted and not _of_spans(said):
            said = None  # an answer to another question
        if text is not None and not isinstance(text, str):
            raise _RowError("type", f"the text is a {type(text).__name__}, not a string")
        _check_text(text or "")
        if said is None and labelled:
            raise _RowError("no-label", "the spans are missing")
        spans = None if said is None else _spans(text or "", _said_places(said), line, tally)
        identifier = values.get("id")
        return Example(
            text=text or "",
            spans=spans,
            identifier=str(identifier) if isinstance(identifier, str | int) else "",
            file=where,
            line=line,
        )

    made = _made(example, ((row[0], row) for row in rows), where)
    return _Table(rows=made, columns=Columns(text=text_key, label=span_key), notes=lambda: list(tally.notes()))


def _key(names: Sequence[str], asked: str | None, usual: Sequence[str], what: str, option: str, where: str) -> str:
    found = [name for name in ((asked,) if asked else usual) if name in names]
    if not found:
        raise DataError(
            f"{what} cannot be found",
            where=where,
            received=f"the keys {', '.join(names)}",
            allowed=asked or ", ".join(usual),
            next_step=f"Name the key with {option}",
        )
    return found[0]


def _of_spans(said: object) -> bool:
    """Say whether a value can be about spans; a label, a number or a list of labels is not."""
    return isinstance(said, Mapping) or (isinstance(said, list) and not any(isinstance(one, str) for one in said))


def _said_places(said: object) -> list[_Place]:
    """Read the spans of a row: a list of objects or of triples, or CLUENER's objects in objects."""
    if isinstance(said, Mapping):
        return _cluener_places(said)
    if not isinstance(said, list):
        raise _RowError("type", f"the spans are a {type(said).__name__}, not a list")
    places: list[_Place] = []
    for one in said:
        if isinstance(one, Mapping):
            piece = one.get("text")
            places.append(
                (one.get("start"), one.get("end"), one.get("label"), piece if isinstance(piece, str) else None)
            )
        elif isinstance(one, list) and len(one) == 3:
            places.append((one[0], one[1], one[2], None))
        else:
            raise _RowError("type", f"a span is {{start, end, label}} or [start, end, label], not {one!r:.60}")
    return places


def _cluener_places(said: Mapping[str, object]) -> list[_Place]:
    places: list[_Place] = []
    for label, strings in said.items():
        if not isinstance(strings, Mapping):
            raise _RowError("type", f"under {label!r} an object {{string: [[start, end]]}} is needed")
        for piece, ranges in strings.items():
            if not isinstance(ranges, list):
                raise _RowError("type", f"under {piece!r} a list [[start, end]] is needed")
            for one in ranges:
                if not isinstance(one, list) or len(one) != 2 or not isinstance(one[1], int):
                    raise _RowError("type", f"under {piece!r} stands {one!r:.60} where [start, end] is needed")
                places.append((one[0], one[1] + 1, label, piece))
    return places


# --- both


def _made(
    make: Callable[[_RowT], Example], rows: Iterable[tuple[int, _RowT]], where: str
) -> Iterator[Example | BadRow]:
    """Make an example of every row, or say why there is none; rows come with the lines they start on."""
    for line, row in rows:
        try:
            yield make(row)
        except _RowError as error:
            yield BadRow(file=where, line=error.line or line, kind=error.kind, reason=error.reason)


def _check_text(text: str) -> None:
    if not text.strip():
        raise _RowError("empty-text", "the text is empty")
    if _SURROGATE.search(text):
        raise _RowError("encoding", "bytes that the encoding does not know")


def _spans(text: str, places: Sequence[_Place], line: int, tally: _Tally) -> tuple[Span, ...]:
    """Make spans, in the order of the text; blanks at their ends are left out.

    Raises:
        _RowError: a span is none, lies outside of the text, is empty, or overlaps another.
    """
    spans: list[Span] = []
    for start, end, label, piece in places:
        if type(start) is not int or type(end) is not int or not isinstance(label, str) or not label.strip():
            raise _RowError("type", f"a span needs two whole numbers and a label, not {start!r}, {end!r}, {label!r}")
        if not 0 <= start <= end <= len(text):
            raise _RowError("spans", f"a span from {start} to {end} in a text of {len(text)} characters")
        found = text[start:end]
        if piece is not None and found != piece:
            other = "; the end may be meant as the last character" if text[start : end + 1] == piece else ""
            raise _RowError("spans", f"at {start} to {end} stands {found!r:.60}, not {piece!r:.60}{other}")
        if not found.strip():
            raise _RowError("spans", f"the span from {start} to {end} is empty")
        if found != found.strip():
            tally.add("spans began or ended with a blank, which is left out", line)
            start += len(found) - len(found.lstrip())
            found = found.strip()
        spans.append(Span(start=start, end=start + len(found), label=label.strip(), text=found))
    spans.sort(key=lambda span: (span.start, span.end))
    for before, behind in pairwise(spans):
        if behind.start < before.end:
            both = (f"{span.text!r:.60} at {span.start}" for span in (before, behind))
            raise _RowError("spans", f"two spans overlap: {', '.join(both)}")
    return tuple(spans)


def _answer(example: Example) -> str:
    return " ".join(f"{span.start}-{span.end}:{span.label}" for span in example.spans or ()) or "none"


TAGGED_TEXTS = DataFormat(
    read=read_tagged_texts,
    answered=lambda example: example.spans is not None,
    answer=_answer,
    labels=lambda example: tuple(sorted({span.label for span in example.spans or ()})),
)
"""Texts with labelled spans that do not overlap."""
