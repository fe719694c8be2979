"""Texts with labelled spans: CoNLL columns, JSON with `spans`, and CLUENER's form of JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from albertine.data.columns import Columns
from albertine.data.compressed import Source, read_source
from albertine.data.conll import Sentence, join_tokens, read_columns, written_by_character
from albertine.data.encodings import decode
from albertine.data.formats import DataFormat
from albertine.data.marked_rows import (
    Place,
    RowError,
    Tally,
    check_text,
    checked_spans,
    found_key,
    rows_made,
    said_places,
)
from albertine.data.results import BadRow, FileRows, ReadResult, one_of, read_result
from albertine.data.structured import JsonRow, json_names, json_rows
from albertine.data.tag_schemes import TagReport, TagStyle, read_tag, tag_style
from albertine.data.token_rows import TAG_KEYS, TOKEN_KEYS, holds_tokens, token_sentences
from albertine.errors import DataError
from albertine.evaluation.spans import OUTSIDE, Tag, chunks
from albertine.records import Example

__all__ = [
    "TAGGED_TEXTS",
    "read_tagged_texts",
    "sentence_rows",
]

_TEXT_KEYS = ("text", "sentence", "content")
_SPAN_KEYS = ("spans", "entities", "label", "labels")


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
    {type: {string: [[start, end]]}}, the end the last character. Or it has `tokens` and `ner_tags` (or `tags`), a list
    of strings each, which become a text and its spans as columns do. Anything else is read as CoNLL columns, see
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
    return read_result(taken, where=str(path), name=path.name, on_error=on_error)


def _taken_apart(source: Source, columns: Columns, encoding: str, *, go_on: bool, labelled: bool) -> FileRows:
    where = str(source.path)
    if source.suffix in (".parquet", ".pq") or source.data.startswith(b"PAR1"):
        raise DataError(
            "spans are not read from Parquet",
            where=where,
            allowed="CoNLL columns, JSON or JSON Lines",
            next_step="Write the table as JSON Lines with text and spans (start, end, label)",
        )
    text = decode(source.data, encoding, where=where, go_on=go_on).content
    rows = json_rows(text, source.suffix, where=where)
    if rows is not None:
        return _from_json(rows, columns, where, labelled=labelled)
    return _from_columns(text, columns, where, labelled=labelled)


# --- columns


def _from_columns(text: str, columns: Columns, where: str, *, labelled: bool) -> FileRows:
    file = read_columns(text, columns=columns, where=where, labelled=labelled)
    rows, notes = sentence_rows(file.sentences, tagged=file.tagged, where=where)
    return FileRows(rows=rows, columns=file.columns, notes=lambda: [*file.notes, *notes()])


def sentence_rows(
    sentences: Sequence[Sentence], *, tagged: bool, where: str
) -> tuple[Iterator[Example | BadRow], Callable[[], Iterator[str]]]:
    """Make an example of every sentence, with its spans where it is tagged, or say why there is none.

    Args:
        sentences: of a file.
        tagged: whether they have tags.
        where: the file.

    Returns:
        One row a sentence, in their order; and what gives the notes, once all rows are read.
    """
    by_character = written_by_character(sentences)
    written = {value for sentence in sentences for value in sentence.tags} if tagged else set()
    style = tag_style(written)
    known = {value: read_tag(value, style) for value in written}
    report, tally = TagReport(written), Tally({})

    def example(sentence: Sentence) -> Example:
        if sentence.problem is not None:
            raise RowError("fields", sentence.problem[1], sentence.problem[0])
        joined = join_tokens(sentence.tokens, by_character=by_character)
        check_text(joined.text)
        for place, token in enumerate(sentence.tokens):
            if not token:
                tally.add("tokens are empty", sentence.line_of(place))
        spans = None
        if tagged:
            tags = _tags(sentence, known, style)
            report.add(tags, sentence.line, step=sentence.step)
            spans = checked_spans(joined.text, _places(tags, joined.starts, sentence), sentence.line, tally)
        return Example(text=joined.text, spans=spans, file=where, line=sentence.line)

    def notes() -> Iterator[str]:
        yield "tokens were put together to texts " + ("without blanks" if by_character else "with blanks")
        if tagged:
            yield from report.notes()
        yield from tally.notes()

    return rows_made(example, ((one.line, one) for one in sentences), where), notes


def _tags(sentence: Sentence, known: Mapping[str, Tag | None], style: TagStyle) -> list[Tag]:
    tags: list[Tag] = []
    for place, value in enumerate(sentence.tags):
        tag = known[value]
        if tag is None:
            forms = {"prefixed": "O, B-TYPE, I-TYPE, …", "letters": "O, B, I, …", "labels": "O or a type"}[style]
            raise RowError("tag", f"{value!r} is no tag, such as {forms}", sentence.line_of(place))
        tags.append(tag)
    return tags


def _places(tags: Sequence[Tag], starts: Sequence[int], sentence: Sentence) -> list[Place]:
    if all(tag is OUTSIDE for tag in tags):
        return []
    return [
        (starts[chunk.first], starts[chunk.end - 1] + len(sentence.tokens[chunk.end - 1]), chunk.label, None)
        for chunk in chunks(tags)
    ]


# --- JSON


def _from_json(rows: list[JsonRow], columns: Columns, where: str, *, labelled: bool) -> FileRows:
    names = json_names(rows)
    tokens = next((name for name in (columns.text, *TOKEN_KEYS) if name in names and holds_tokens(rows, name)), None)
    if tokens is not None and (tokens == columns.text or not _has_spans(names)):
        return _from_tokens(rows, tokens, names, columns, where, labelled=labelled)
    text_key = found_key(names, columns.text, _TEXT_KEYS, "the text", "--text-column", where)
    wanted = labelled or columns.label is not None
    span_key = None
    if wanted or any(name in names for name in _SPAN_KEYS):
        span_key = found_key(names, columns.label, _SPAN_KEYS, "the spans", "--label-column", where)
    tally = Tally({})

    def example(row: JsonRow) -> Example:
        line, values = row
        if isinstance(values, str):
            raise RowError("json", values)
        text, said = values.get(text_key), None if span_key is None else values.get(span_key)
        if not wanted and not _of_spans(said):
            said = None  # an answer to another question
        if text is not None and not isinstance(text, str):
            raise RowError("type", f"the text is a {type(text).__name__}, not a string")
        check_text(text or "")
        if said is None and labelled:
            raise RowError("no-label", "the spans are missing")
        spans = None if said is None else checked_spans(text or "", said_places(said), line, tally)
        identifier = values.get("id")
        return Example(
            text=text or "",
            spans=spans,
            identifier=str(identifier) if isinstance(identifier, str | int) else "",
            file=where,
            line=line,
        )

    made = rows_made(example, ((row[0], row) for row in rows), where)
    return FileRows(rows=made, columns=Columns(text=text_key, label=span_key), notes=lambda: list(tally.notes()))


def _has_spans(names: Sequence[str]) -> bool:
    return any(name in names for name in _TEXT_KEYS) and any(name in names for name in _SPAN_KEYS)


def _from_tokens(
    rows: list[JsonRow], tokens: str, names: Sequence[str], columns: Columns, where: str, *, labelled: bool
) -> FileRows:
    tags: str | None = next((name for name in TAG_KEYS if name in names), None)
    if labelled or columns.label is not None:
        tags = found_key(names, columns.label, TAG_KEYS, "the tags", "--label-column", where)
    found, tagged = token_sentences(rows, tokens, tags, where=where, labelled=labelled)
    made, notes = sentence_rows([one for one in found if isinstance(one, Sentence)], tagged=tagged, where=where)
    in_order = (one if isinstance(one, BadRow) else next(made) for one in found)
    return FileRows(rows=in_order, columns=Columns(text=tokens, label=tags if tagged else None), notes=notes)


def _of_spans(said: object) -> bool:
    """Say whether a value can be about spans; a label, a number or a list of labels is not."""
    return isinstance(said, Mapping) or (isinstance(said, list) and not any(isinstance(one, str) for one in said))


def _answer(example: Example) -> str:
    return " ".join(f"{span.start}-{span.end}:{span.label}" for span in example.spans or ()) or "none"


TAGGED_TEXTS = DataFormat(
    read=read_tagged_texts,
    answered=lambda example: example.spans is not None,
    answer=_answer,
    labels=lambda example: tuple(sorted({span.label for span in example.spans or ()})),
    contradiction="have other spans in another row",
)
"""Texts with labelled spans that do not overlap."""
