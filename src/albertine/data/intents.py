"""Texts with an intent and slots each: JSON, parallel files, tagged characters, and the files of Snips."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from albertine.data.answers import Answer, one_label
from albertine.data.columns import Columns
from albertine.data.compressed import read_source
from albertine.data.conll import Sentence, read_columns
from albertine.data.encodings import decode
from albertine.data.formats import DataFormat
from albertine.data.intent_files import (
    ParallelFiles,
    find_intent_files,
    intent_members,
    parallel_files,
    tagged_file,
)
from albertine.data.marked_rows import RowError, Tally, check_text, checked_spans, found_key, rows_made, said_places
from albertine.data.readers import read_examples
from albertine.data.results import BadRow, FileRows, ReadResult, one_of, read_result
from albertine.data.snips import looks_like_snips, snips_rows
from albertine.data.structured import JsonRow, json_names, json_rows
from albertine.data.tagging import sentence_rows
from albertine.errors import DataError
from albertine.records import Example

__all__ = ["INTENTS_AND_SLOTS", "read_intents"]

_TABLES = (".csv", ".tsv", ".parquet", ".pq")
_BLANKS = re.compile("[ \t]+")
_TEXT_KEYS = ("text", "sentence", "utterance", "query", "content")
_INTENT_KEYS = ("intent", "label")
_SLOT_KEYS = ("slots", "spans", "entities")
_JOINED = "#"
"""What stands between two intents of one text in parallel files."""


def read_intents(
    path: str | Path,
    *,
    columns: Columns = Columns(),  # noqa: B008  a frozen record
    encoding: str = "utf-8",
    on_error: str = "stop",
    labelled: bool = True,
    quoting: str = "auto",
) -> ReadResult:
    """Read texts with their intent (`Example.label`) and slots (`Example.spans`), packed or not.

    Four forms give the same examples:

    * JSON (one object a line, or an array) with `text`, `intent` and `slots`: a list of {start, end, label} or [start,
      end, label], the end one past the last character; a `text` beside them is checked.
    * A folder with seq.in, seq.out and label: tokens, their tags and the intent, on line i of each (Goo et al. 2018).
      Intents joined by # are one label.
    * A file with a character and its tag a line and blank lines between texts, beside it NAME.intent with an intent a
      line; or the folder of the two.
    * Snips' {intent: [{"data": [{"text", "slot_name" or "entity"}]}]}, whose pieces make the text; one file, or several
      named by a pattern with `*`.

    Tags may be in any scheme and are repaired as in token classification. The notes say what was repaired, and how
    many intents are joined.

    Args:
        path: a file, a folder that is one split, or a pattern.
        columns: `text` and `label`: the keys of text and intent in JSON; the number of the tokens' column in columns.
        encoding: of the text.
        on_error: "stop" raises at the first bad row; "skip" leaves bad rows out and lists them in `bad_rows`. Files
            that are not in step are refused in either case.
        labelled: True where every row must have its intent and its slots, none of them maybe; False to take them where
            they are said. Then tables with a text column are read too, without slots.
        quoting: of such tables.

    Raises:
        ConfigError: `on_error` or `encoding` is none of those that exist.
        DataError: a file, its encoding or (with "stop") one of its rows is not usable, or files are not in step.
    """
    one_of("on_error", on_error, ("stop", "skip"))
    path = Path(path)
    parallel, tagged = parallel_files(path), tagged_file(path)
    if parallel is not None:
        return _from_parallel(parallel, encoding, on_error=on_error, labelled=labelled)
    if tagged is not None:
        return _from_columns(*tagged, columns, encoding, on_error=on_error, labelled=labelled)
    files = intent_members(path)
    if len(files) == 1 and not labelled and files[0].suffix.lower() in _TABLES:
        return read_examples(
            path, columns=columns, encoding=encoding, on_error=on_error, labelled=False, quoting=quoting
        )
    parts = [_from_json(file, columns, encoding, on_error=on_error, labelled=labelled) for file in files]
    return ReadResult(
        examples=tuple(example for part in parts for example in part.examples),
        columns=parts[0].columns,
        bad_rows=tuple(row for part in parts for row in part.bad_rows),
        notes=tuple(note for part in parts for note in part.notes),
    )


# --- files in step


def _lines(path: Path, encoding: str, *, go_on: bool) -> list[str]:
    lines = decode(read_source(path).data, encoding, where=str(path), go_on=go_on).content.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _in_step(counts: Mapping[Path, int], what: str) -> None:
    """Raise a DataError where files do not have as many lines, at the first that one of them lacks."""
    if len(set(counts.values())) == 1:
        return
    shortest = min(counts, key=lambda path: counts[path])
    raise DataError(
        f"{what} {shortest.name} ends before the others, so that it cannot be told what belongs together",
        where=f"{shortest}:{counts[shortest] + 1}",
        received=", ".join(f"{count:,} in {path.name}" for path, count in counts.items()),
        next_step="Mend the files; line i of each is about the same text",
    )


def _with_intents(
    rows: Iterable[Example | BadRow], intents: Sequence[str], *, labelled: bool
) -> Iterator[Example | BadRow]:
    """Give row i the intent i; a row without one is bad where it is needed."""
    for row, intent in zip(rows, intents, strict=True):
        if isinstance(row, BadRow):
            yield row
        elif not intent.strip() and labelled:
            yield BadRow(file=row.file, line=row.line, kind="no-label", reason="the intent is missing")
        else:
            yield replace(row, label=intent.strip() or None)


def _from_parallel(files: ParallelFiles, encoding: str, *, on_error: str, labelled: bool) -> ReadResult:
    """Read seq.in, seq.out and label."""
    for file, name in ((files.tags, "seq.out"), (files.intents, "label")):
        if file is None and labelled:
            raise DataError(
                f"there is no file {name}", where=str(files.tokens.parent), allowed="seq.in, seq.out, label"
            )
    read = {
        file: _lines(file, encoding, go_on=on_error == "skip")
        for file in (files.tokens, files.tags, files.intents)
        if file is not None
    }
    if not any(line.strip() for line in read[files.tokens]):
        raise DataError("the file is empty", where=str(files.tokens), next_step="Pass a file with tokens")
    _in_step({file: len(lines) for file, lines in read.items()}, "the file")
    sentences = []
    for line, tokens in enumerate(read[files.tokens], 1):
        one = Sentence(line, _parts(tokens), [], step=0)
        if files.tags is not None:
            one.tags = _parts(read[files.tags][line - 1])
            if len(one.tags) != len(one.tokens):
                one.problem = line, f"{len(one.tokens)} tokens, and {len(one.tags)} tags in {files.tags.name}"
        sentences.append(one)
    rows, notes = sentence_rows(sentences, tagged=files.tags is not None, where=str(files.tokens))
    intents = [""] * len(sentences) if files.intents is None else read[files.intents]
    joined = sum(_JOINED in intent for intent in intents)

    def all_notes() -> Iterator[str]:
        yield from notes()
        if joined:
            yield f"{joined:,} texts have several intents joined by {_JOINED}, each combination is one label"

    made = _with_intents(rows, intents, labelled=labelled)
    name = f"{files.tokens.parent.name}/{files.tokens.name}"
    in_step = FileRows(rows=made, columns=Columns(), notes=all_notes)
    return read_result(in_step, where=str(files.tokens), name=name, on_error=on_error)


def _parts(line: str) -> list[str]:
    return [part for part in _BLANKS.split(line) if part]


def _from_columns(
    path: Path, beside: Path, columns: Columns, encoding: str, *, on_error: str, labelled: bool
) -> ReadResult:
    """Read tagged characters and the intents beside them."""
    text = decode(read_source(path).data, encoding, where=str(path), go_on=on_error == "skip").content
    file = read_columns(text, columns=replace(columns, label=None), where=str(path), labelled=labelled)
    intents = _lines(beside, encoding, go_on=on_error == "skip")
    _in_step({path: len(file.sentences), beside: len(intents)}, "counted in texts,")
    rows, notes = sentence_rows(file.sentences, tagged=file.tagged, where=str(path))
    tagged = FileRows(
        rows=_with_intents(rows, intents, labelled=labelled),
        columns=file.columns,
        notes=lambda: [*file.notes, *notes()],
    )
    return read_result(tagged, where=str(path), name=path.name, on_error=on_error)


# --- JSON


def _from_json(path: Path, columns: Columns, encoding: str, *, on_error: str, labelled: bool) -> ReadResult:
    """Read rows, or a file of Snips."""
    where, source = str(path), read_source(path)
    if not source.data.strip():
        raise DataError("the file is empty", where=where, next_step="Pass a file with texts, intents and slots")
    text = decode(source.data, encoding, where=where, go_on=on_error == "skip").content
    if looks_like_snips(text):
        rows, notes = snips_rows(text, where=where)
        file = FileRows(rows=rows, columns=Columns(), notes=notes)
        return read_result(file, where=where, name=path.name, on_error=on_error)
    found = json_rows(text, source.suffix, where=where)
    if found is not None:
        file = _from_rows(found, columns, where, labelled=labelled)
        return read_result(file, where=where, name=path.name, on_error=on_error)
    raise DataError(
        "intents and slots are not read from a file like this",
        where=where,
        allowed="JSON or JSON Lines with text, intent and slots; a folder with seq.in, seq.out and label; "
        "characters and tags beside a file NAME.intent; Snips' JSON",
    )


def _from_rows(rows: list[JsonRow], columns: Columns, where: str, *, labelled: bool) -> FileRows:
    names = json_names(rows)
    text_key = found_key(names, columns.text, _TEXT_KEYS, "the text", "--text-column", where)
    intent_key = slot_key = None
    if labelled or columns.label is not None or any(name in names for name in _INTENT_KEYS):
        intent_key = found_key(names, columns.label, _INTENT_KEYS, "the intent", "--label-column", where)
    if labelled or any(name in names for name in _SLOT_KEYS):
        slot_key = found_key(names, None, _SLOT_KEYS, "the slots", "one of these names", where)
    tally = Tally({})

    def example(row: JsonRow) -> Example:
        line, values = row
        if isinstance(values, str):
            raise RowError("json", values)
        text = values.get(text_key)
        if text is not None and not isinstance(text, str):
            raise RowError("type", f"the text is a {type(text).__name__}, not a string")
        check_text(text or "")
        intent = one_label(None if intent_key is None else values.get(intent_key))
        if isinstance(intent, TypeError):
            raise RowError("type", str(intent).replace("label", "intent"))
        if intent is None and labelled:
            raise RowError("no-label", "the intent is missing")
        said = None if slot_key is None else values.get(slot_key)
        if said is None and labelled:
            raise RowError("no-label", "the slots are missing")
        identifier = values.get("id")
        return Example(
            text=text or "",
            label=intent.label if isinstance(intent, Answer) else None,
            spans=None if said is None else checked_spans(text or "", said_places(said), line, tally),
            identifier=str(identifier) if isinstance(identifier, str | int) else "",
            file=where,
            line=line,
        )

    made = rows_made(example, ((row[0], row) for row in rows), where)
    found = Columns(text=text_key, label=intent_key)
    return FileRows(rows=made, columns=found, notes=tally.notes)


def _labels(example: Example) -> tuple[str, ...]:
    return () if example.label is None else (example.label,)


INTENTS_AND_SLOTS = DataFormat(
    read=read_intents,
    files=find_intent_files,
    answered=lambda example: example.label is not None and example.spans is not None,
    answer=lambda example: example.label or "",
    labels=_labels,
    stratified=True,
    closed=False,
)
"""Texts with one intent and any number of slots each, divided by intent.

Rows of dev or test whose intent train does not have stay: answers to them are wrong, as published figures count them.
"""
