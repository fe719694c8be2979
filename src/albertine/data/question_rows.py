"""The questions of a file as they stand in it: SQuAD's JSON, JSON Lines, JSON and Parquet, with nothing checked yet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from albertine.data.columns import Columns
from albertine.data.compressed import Source
from albertine.data.encodings import decode
from albertine.data.structured import JSON_LINES, ParquetTable, read_json, read_json_lines
from albertine.errors import DataError

__all__ = ["ANSWERS", "CONTEXT", "QUESTION", "QuestionRow", "question_rows"]

QUESTION, CONTEXT, ANSWERS = "question", "context", "answers"
_PARQUET = (".parquet", ".pq")
_TABLES = (".csv", ".tsv")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRow:
    """A question as it stands in the file."""

    line: int
    place: str = ""
    """Its path in a JSON document; empty in a file with a row a line."""
    problem: str | None = None
    """Why nothing could be read."""
    identifier: object = None
    group: object = None
    question: object = None
    context: object = None
    answers: object = None
    impossible: object = None


def question_rows(source: Source, names: Columns, encoding: str, *, go_on: bool) -> Iterator[QuestionRow]:
    """Yield the questions of a file in their order.

    Args:
        source: the unpacked file.
        names: of the fields in a file of rows: question, context (`text_pair`) and answers (`label`).
        encoding: of the text.
        go_on: keep damaged bytes as lone surrogates instead of stopping at the first.

    Raises:
        ConfigError: there is no such encoding.
        DataError: the file is in another encoding or form, or its rows have no questions or no contexts.
    """
    where = str(source.path)
    if source.suffix in _PARQUET or source.data.startswith(b"PAR1"):
        table = ParquetTable(source.data, where=where)
        _check_names(table.names, names, where)
        for line, values in table.rows(tuple(range(len(table.names)))):
            yield _flat(dict(zip(table.names, values, strict=True)), names, line)
        return
    if source.suffix in _TABLES:
        raise DataError(
            "questions are not read from tables",
            where=where,
            received=source.suffix,
            allowed="SQuAD's JSON, JSON Lines, JSON, Parquet",
        )
    text = decode(source.data, encoding, where=where, go_on=go_on).content
    objects = (read_json_lines if source.suffix in JSON_LINES else read_json)(text, where=where)
    lines = _Lines(text)
    checked = False
    for index, (line, value) in enumerate(objects):
        if isinstance(value, str):
            yield QuestionRow(line=line, problem=value)
        elif "data" in value:
            articles = value["data"]
            if not isinstance(articles, list):
                yield QuestionRow(line=line, place="data", problem="a list of articles is needed here")
                continue
            for number, article in enumerate(articles):
                yield from _from_article(article, f"data[{number}]", lines)
        elif "paragraphs" in value:
            yield from _from_article(value, f"[{index}]", lines)
        else:
            if not checked:
                _check_names(list(value), names, where)
                checked = True
            yield _flat(value, names, line)


def _check_names(found: Sequence[str], names: Columns, where: str) -> None:
    for what, name in ((QUESTION, names.text), (CONTEXT, names.text_pair)):
        if name not in found:
            raise DataError(
                f"there is no {what} in this file",
                where=where,
                received=", ".join(found),
                allowed=f"a field named {name}; or SQuAD's form: data, paragraphs, context, qas",
                next_step="Name the fields with --text-column, --text-pair-column (context), --label-column (answers)",
            )


def _flat(row: Mapping[str, object], names: Columns, line: int) -> QuestionRow:
    assert names.text is not None
    assert names.text_pair is not None
    assert names.label is not None
    return QuestionRow(
        line=line,
        identifier=row.get("id"),
        group=row.get("title"),
        question=row.get(names.text),
        context=row.get(names.text_pair),
        answers=row.get(names.label),
        impossible=row.get("is_impossible"),
    )


def _from_article(article: object, place: str, lines: _Lines) -> Iterator[QuestionRow]:
    """Yield the questions of an article in SQuAD's form."""
    paragraphs = article.get("paragraphs") if isinstance(article, Mapping) else None
    if not isinstance(article, Mapping) or not isinstance(paragraphs, list):
        yield QuestionRow(line=lines.line, place=place, problem="an article with its paragraphs is needed here")
        return
    for number, paragraph in enumerate(paragraphs):
        at = f"{place}.paragraphs[{number}]"
        questions = paragraph.get("qas") if isinstance(paragraph, Mapping) else None
        if not isinstance(paragraph, Mapping) or not isinstance(questions, list):
            yield QuestionRow(line=lines.line, place=at, problem="a paragraph with its questions (qas) is needed here")
            continue
        group = article.get("title") or article.get("id") or paragraph.get("document_id")
        for index, one in enumerate(questions):
            here = f"{at}.qas[{index}]"
            if not isinstance(one, Mapping):
                yield QuestionRow(line=lines.line, place=here, problem="a question is needed here, an object")
                continue
            yield QuestionRow(
                line=lines.of(one.get(QUESTION)),
                place=here,
                identifier=one.get("id"),
                group=group,
                question=one.get(QUESTION),
                context=paragraph.get(CONTEXT),
                answers=one.get(ANSWERS),
                impossible=one.get("is_impossible"),
            )


class _Lines:
    """Finds the line of each question of a JSON document; asked for in their order.

    A parser does not say where its values stood, so their literals are looked for from the last one on.

    Args:
        text: the document.
    """

    def __init__(self, text: str) -> None:
        self.line = 1
        self._text = text
        self._ascii = text.isascii()
        self._place = 0
        self._known = "\n" in text

    def of(self, question: object) -> int:
        """Return the line of a question; that of the last one found, from the first that is written unusually on."""
        if self._known and isinstance(question, str):
            place = self._text.find(json.dumps(question, ensure_ascii=self._ascii), self._place)
            self._known = place >= 0
            if self._known:
                self.line += self._text.count("\n", self._place, place)
                self._place = place + 1
        return self.line
