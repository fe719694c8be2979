"""Questions with the texts that answer them: SQuAD's JSON (versions 1 and 2, CMRC 2018), JSON Lines, JSON, Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from albertine.data.answer_places import locate_answer
from albertine.data.columns import Columns
from albertine.data.compressed import read_source
from albertine.data.encodings import SURROGATE
from albertine.data.formats import DataFormat
from albertine.data.identity import normalised
from albertine.data.marked_rows import RowError, rows_made
from albertine.data.question_rows import ANSWERS, CONTEXT, QUESTION, QuestionRow, question_rows
from albertine.data.results import ReadResult, left_out, noted, one_of, sorted_rows
from albertine.errors import DataError
from albertine.records import Example, Span

__all__ = ["ANSWER", "QUESTIONS", "article_marks", "read_questions"]

ANSWER = "answer"
"""The label of every span that answers a question."""

_SHOWN = 40
"""Characters of an answer that a message shows."""


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What was met on the way."""

    answers: dict[str, list[int]] = field(default_factory=lambda: {"moved": [], "rewritten": [], "lost": []})
    """The lines of the answers that stand elsewhere, elsewhere in another spelling, and nowhere."""
    identifiers: dict[str, int] = field(default_factory=dict)
    """Of the rows so far, with their lines."""
    flagged: bool = False
    """Whether a row says of itself that it can or cannot be answered."""


def read_questions(
    path: str | Path,
    *,
    columns: Columns = Columns(),  # noqa: B008  a frozen record
    encoding: str = "utf-8",
    on_error: str = "stop",
    labelled: bool = True,
    quoting: str = "auto",
) -> ReadResult:
    """Read questions, their contexts and the acceptable answers, packed (.gz, .xz, .zst, one-member .zip) or not.

    SQuAD's JSON has articles of paragraphs of questions. A row of JSON Lines, JSON or Parquet has `question`,
    `context` and `answers` (a list of {text, start}, or {text: […], answer_start: […]}), and may have `id`, `title` and
    `is_impossible`. A question whose list of answers is empty has no answer; plausible answers are not read.

    Answers that do not stand where the file says are searched for (`locate_answer`). A question keeps those that are
    found; the notes count the others.

    Args:
        path: the file.
        columns: in a file of rows, the names of question (`text`), context (`text_pair`) and answers (`label`).
        encoding: of the text; Parquet has its own.
        on_error: "stop" raises at the first bad row; "skip" leaves bad rows out and lists them in `bad_rows`.
        labelled: True where every row must say what answers it, or that nothing does; False to take answers where there
            are some that can be used.
        quoting: not used, these formats have no quotes around fields.

    Raises:
        ConfigError: `on_error` or `encoding` is none of those that exist.
        DataError: the file, its encoding, its columns or (with "stop") one of its rows is not usable.
    """
    del quoting
    one_of("on_error", on_error, ("stop", "skip"))
    path = Path(path)
    source = read_source(path)
    if not source.data.strip():
        raise DataError("the file is empty", where=str(path), next_step="Pass a file with questions and contexts")
    names = Columns(
        text=columns.text or QUESTION, text_pair=columns.text_pair or CONTEXT, label=columns.label or ANSWERS
    )
    tally = _Tally()

    def example(row: QuestionRow) -> Example:
        try:
            return _example(row, str(path), tally, labelled=labelled)
        except RowError as error:
            raise RowError(error.kind, f"{row.place}: {error.reason}" if row.place else error.reason) from error

    read = question_rows(source, names, encoding, go_on=on_error == "skip")
    rows = rows_made(example, ((row.line, row) for row in read), str(path))
    examples, bad_rows = sorted_rows(rows, str(path), on_error)
    notes = list(_repairs(tally))
    if not tally.flagged and all(example.spans == () for example in examples):
        if labelled:
            raise DataError(
                "no question of this file has an answer",
                where=str(path),
                next_step='Pass a file with answers; if none of them can be answered, let "is_impossible": true say so',
            )
        examples = [replace(example, spans=None) for example in examples]
        notes.append("no question has an answer, so the file is taken as one without answers")
    notes += left_out(bad_rows, len(examples), "questions")
    return ReadResult(examples=tuple(examples), columns=names, bad_rows=tuple(bad_rows), notes=noted(path.name, notes))


def article_marks(example: Example) -> tuple[bytes, ...]:
    """Return what questions must not share across a split: their article where they name one, and their context."""
    marks = [f"context {normalised(example.text_pair or '')}"]
    if example.group:
        marks.append(f"article {normalised(example.group)}")
    return tuple(hashlib.blake2b(one.encode(errors="surrogatepass"), digest_size=16).digest() for one in marks)


QUESTIONS = DataFormat(
    read=read_questions,
    answered=lambda example: example.spans is not None,
    answer=lambda example: "",
    labels=lambda example: (),
    marks=article_marks,
    closed=False,
    units="separate articles or contexts",
    shared="their article or context",
)
"""Questions about contexts, answered by pieces of these."""


def _repairs(tally: _Tally) -> Iterator[str]:
    texts = {
        "moved": "answers found elsewhere in their context than the file says",
        "rewritten": "answers found in another spelling (width, accents, white space, a stop at the end)",
        "lost": "answers left out that do not stand in their context (their questions have others)",
    }
    for kind, text in texts.items():
        if lines := tally.answers[kind]:
            yield f"{text}: {len(lines)}, the first in line {lines[0]}"


def _example(row: QuestionRow, path: str, tally: _Tally, *, labelled: bool) -> Example:
    if row.problem is not None:
        raise RowError("json", row.problem)
    question, context = _text(row.question, "question"), _text(row.context, "context")
    identifier = "" if row.identifier is None else str(row.identifier)
    if identifier in tally.identifiers:
        line = tally.identifiers[identifier]
        raise RowError("duplicate-id", f"the id {identifier!r} was given already, in line {line}")
    try:
        spans = _spans(row, context, tally)
    except RowError:
        if labelled:
            raise
        spans = None
    if labelled and spans is None:
        raise RowError("no-label", "the answers are missing")
    if identifier:
        tally.identifiers[identifier] = row.line
    return Example(
        text=question,
        text_pair=context,
        spans=spans,
        identifier=identifier,
        group="" if row.group is None else str(row.group).strip(),
        file=path,
        line=row.line,
    )


def _text(value: object, what: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowError("empty-text", f"the {what} is empty")
    if not isinstance(value, str):
        raise RowError("type", f"the {what} is a {type(value).__name__}, not a string")
    if SURROGATE.search(value):
        raise RowError("encoding", f"the {what} has bytes that the encoding does not know, or half a character")
    return value


def _spans(row: QuestionRow, context: str, tally: _Tally) -> tuple[Span, ...] | None:
    """Return the acceptable answers of a question, each once; None where the row does not say."""
    stated = _stated(row.answers)
    if row.impossible is not None:
        tally.flagged = True
        if row.impossible not in (True, False):
            raise RowError("type", f"is_impossible is neither true nor false, it is {row.impossible!r}")
        if row.impossible:
            if stated:
                raise RowError("answer", "by is_impossible it has no answer, and there are answers")
            return ()
        if stated == []:
            raise RowError("answer", "by is_impossible it has an answer, and there is none")
    if stated is None:
        return None
    places = [locate_answer(context, text, start) for text, start in stated]
    found = [place for place in places if place is not None]
    if stated and not found:
        text = stated[0][0].strip()
        shown = f"{text[:_SHOWN]}…" if len(text) > _SHOWN else text
        raise RowError("answer", f"the answer {shown!r} does not stand in the context")
    tally.answers["lost"] += [row.line] * (len(places) - len(found))
    for place in found:
        if place.how != "stated":
            tally.answers[place.how].append(row.line)
    return tuple(
        Span(start=start, end=end, label=ANSWER, text=context[start:end])
        for start, end in dict.fromkeys((place.start, place.end) for place in found)
    )


def _stated(answers: object) -> list[tuple[str, int | None]] | None:
    """Return the answers by the file, each with its start where that is given; None where nothing is said."""
    if answers is None:
        return None
    pairs: list[tuple[object, object]]
    if isinstance(answers, Mapping):
        texts, starts = answers.get("text"), answers.get("answer_start", answers.get("start"))
        if isinstance(texts, str):
            texts, starts = [texts], [starts]
        if not isinstance(texts, list) or (starts is not None and not isinstance(starts, list)):
            raise RowError("type", "the answers are no lists of texts and starts")
        if starts is not None and len(starts) != len(texts):
            raise RowError("type", f"there are {len(texts)} texts of answers and {len(starts)} starts")
        pairs = list(zip(texts, starts or [None] * len(texts), strict=True))
    elif isinstance(answers, list):
        pairs = [
            (one.get("text"), one.get("answer_start", one.get("start"))) if isinstance(one, Mapping) else (one, None)
            for one in answers
        ]
    else:
        raise RowError("type", f"the answers are a {type(answers).__name__}, not a list")
    for text, start in pairs:
        if not isinstance(text, str):
            raise RowError("type", f"the text of an answer is a {type(text).__name__}, not a string")
        if start is not None and (not isinstance(start, int) or isinstance(start, bool)):
            raise RowError("type", f"the start of an answer is {start!r}, not a whole number")
    return cast("list[tuple[str, int | None]]", pairs)
