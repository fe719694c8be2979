"""Pairs of texts with a score that says how alike they are, to examples.

What a file may hold, seen from its columns:

* two texts and a score: any number (STS-B has 0 to 5), or a label 0 or 1;
* two texts alone: pairs that belong together, value 1;
* a text, one that belongs to it, and some that do not (anchor, positive, negative; JSON lists hold several): every
  combination with the anchor is a pair of its own, value 1 or 0;
* texts alone, for training without any scores: no value.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from albertine.data.answers import Answer, AnswerReader, number
from albertine.data.columns import Columns, plain_name, resolve
from albertine.data.compressed import Source, read_source
from albertine.data.delimited import read_sheet
from albertine.data.encodings import SURROGATE, decode
from albertine.data.formats import DataFormat
from albertine.data.identity import normalised
from albertine.data.readers import read_examples
from albertine.data.results import BadRow, ReadResult
from albertine.data.structured import JsonRow, ParquetTable, json_names, read_json, read_json_lines
from albertine.errors import DataError
from albertine.records import Example

__all__ = ["read_scored_pairs", "scored_pairs", "text_key"]

_logger = logging.getLogger("albertine")

_SCORES = (
    *("score", "similarity", "similarity_score", "sim", "relatedness_score", "relatedness", "relevance"),
    *("相似度", "分数", "得分"),
)
_LABELS = ("label", "labels", "gold_label", "target", "is_duplicate", "quality", "标签")
"""Usual names of the score; those of labels may also stand beside texts that are no pairs."""
_ANCHORS = ("anchor", "query", "question", "sent0", "title", "summary", "问题", "标题")
_PLAIN_POSITIVES = ("positive", "pos")
_POSITIVES = (
    *_PLAIN_POSITIVES,
    *("answer", "document", "passage", "reply", "response", "sent1", "sentence", "abstract", "title", "答案", "回复"),
)
_NEGATIVE = re.compile(r"(hard_?)?neg(ative)?s?(_?\d+)?")
_ORDINAL = re.compile(r"(.*_)?(id|ids|idx|index|no|nr|number|row|line|guid|uuid)|[qp]id\d?|unnamed:_0|")
_TRUTH = {"true": 1.0, "false": 0.0}
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """The columns of texts, of those that belong to them and of those that do not."""

    anchor: str
    positive: str
    negatives: tuple[str, ...]
    score: str | None


def read_scored_pairs(
    path: str | Path,
    *,
    columns: Columns = Columns(),  # noqa: B008  a frozen record
    encoding: str = "utf-8",
    on_error: str = "stop",
    labelled: bool = True,
    quoting: str = "auto",
    lowest: float = -math.inf,
    highest: float = math.inf,
) -> ReadResult:
    """Read scored pairs of texts, or one of the other shapes that the module names, in any format of `read_examples`.

    What was taken as what is said in the notes. Where nothing is said of the columns, three of them without a header
    are two texts and a score if one holds a number in the first row.

    Args:
        path: the file.
        columns: the texts, and as `label` the score; those not given are looked for by their usual names.
        encoding: as in `read_examples`.
        on_error: as there; a score that is missing, no number or out of range makes a bad row too.
        labelled: True where every pair must have a score; False to take scores where there are some.
        quoting: as there.
        lowest: scores below are out of range.
        highest: scores above are out of range.

    Raises:
        ConfigError: as `read_examples`.
        DataError: as `read_examples`, or no column can be told to be the score.
    """
    path = Path(path)
    names = _column_names(path, encoding, quoting)
    sides = _sides(names) if columns == Columns() else None
    if sides is not None and sides.score is None and (labelled or sides.negatives):
        return _read_sides(path, sides, encoding=encoding, on_error=on_error, quoting=quoting)
    if sides is not None:
        columns = Columns(text=sides.anchor, text_pair=sides.positive, label=sides.score)
    asked, notes = _with_score(columns, names, path)
    needed = labelled and asked.label is not None
    result = read_examples(
        path,
        columns=asked,
        encoding=encoding,
        on_error=on_error,
        labelled=needed,
        quoting=quoting,
        answers=_score_reader(lowest, highest, strict=needed),
    )
    if result.columns.text_pair is None:
        twice = sum(plain_name(name) in (*_ANCHORS, *_POSITIVES) for name in names) > 1
        if asked.label is not None or (twice and columns == Columns()):
            raise _no_second_text(path, names)
        texts = tuple(replace(one, value=None) for one in result.examples)
        notes.append("no second text: texts alone, for training without scores")
        return _with_notes(replace(result, examples=texts), notes)
    if asked.label is None and labelled:
        _refuse_unknown_columns(path, names, result.columns)
        result = replace(result, examples=tuple(replace(one, value=1.0) for one in result.examples))
        notes.append("no score: every pair is taken as two texts that belong together")
    return _with_notes(result, notes)


def text_key(text: str) -> bytes:
    """Return 16 bytes that two texts share when they count as the same (see `albertine.data.identity`)."""
    return hashlib.blake2b(normalised(text).encode(errors="surrogatepass"), digest_size=16).digest()


def _with_score(columns: Columns, names: Sequence[str], path: Path) -> tuple[Columns, list[str]]:
    """Add the column of the score, where its name tells or a file without a header shows it."""
    if columns.label is not None or columns.by_number:
        return columns, []
    plain = [plain_name(name) for name in names]
    score = next((names[plain.index(known)] for known in (*_SCORES, *_LABELS) if known in plain), None)
    if score is not None:
        if resolve(names, columns, where=str(path), labelled=False).text_pair is not None:
            return replace(columns, label=score), [f"the score is taken from column {score!r}"]
        if plain_name(score) in _SCORES:
            raise _no_second_text(path, names)
    numbers = [place for place, name in enumerate(names) if isinstance(number(name), Answer)]
    if columns == Columns() and len(names) == 3 and len(numbers) == 1:
        first, second = (str(place + 1) for place in range(3) if place not in numbers)
        found = str(numbers[0] + 1)
        note = f"there is no header: the texts are columns {first} and {second}, the score is column {found}"
        return Columns(text=first, text_pair=second, label=found), [note]
    return columns, []


def _no_second_text(path: Path, names: Sequence[str]) -> DataError:
    return DataError(
        "it cannot be told which columns are the two texts",
        where=str(path),
        received=", ".join(map(repr, names[:12])),
        next_step="Name both with --text-column and --text-pair-column",
    )


def _refuse_unknown_columns(path: Path, names: Sequence[str], found: Columns) -> None:
    """Refuse to take pairs as belonging together where some other column may be their score."""
    texts = {found.text, found.text_pair}
    left = [name for name in names if name not in texts and not _ORDINAL.fullmatch(plain_name(name))]
    if left and not found.by_number:
        raise DataError(
            "no column has a name by which it could be the score",
            where=str(path),
            received=", ".join(map(repr, left[:12])),
            allowed="score, similarity, label, …; no other column where all pairs belong together",
            next_step="Name it with --label-column, or the texts with --text-column and --text-pair-column",
        )


def _score_reader(lowest: float, highest: float, *, strict: bool) -> AnswerReader:
    """Return what reads a score; true and false are 1 and 0. What is none gives nothing where it need not be one."""

    def read(cell: object) -> Answer | TypeError | None:
        truth = _TRUTH.get(str(cell).strip().lower())
        answer = number(cell) if truth is None else Answer(value=truth)
        if isinstance(answer, Answer) and answer.value is not None and not lowest <= answer.value <= highest:
            answer = TypeError(f"the score {answer.value:g} is not between {lowest:g} and {highest:g}")
        return answer if strict or not isinstance(answer, TypeError) else None

    return read


def _sorted_out(result: ReadResult, made: Sequence[Example | BadRow], on_error: str) -> ReadResult:
    """Divide rows into examples and bad rows, or stop at the first bad one."""
    good = tuple(one for one in made if isinstance(one, Example))
    bad = tuple(one for one in made if isinstance(one, BadRow))
    if bad and (on_error == "stop" or not good):
        count = "the only bad row" if len(bad) == 1 else f"the first of {len(bad)} bad rows"
        raise DataError(
            f"{bad[0].reason} ({count} among {len(made)})",
            where=f"{bad[0].file}:{bad[0].line}",
            next_step="Mend the file, leave such rows out with --on-error skip, or name the score with --label-column",
        )
    notes = result.notes
    if bad:
        notes = (*notes, f"{Path(bad[0].file).name}: {len(bad)} of {len(made)} rows left out for their score or texts")
    rows = sorted((*result.bad_rows, *bad), key=lambda row: row.line)
    return replace(result, examples=good, bad_rows=tuple(rows), notes=notes)


def _with_notes(result: ReadResult, notes: Sequence[str]) -> ReadResult:
    if not result.examples:
        return result
    told = [f"{Path(result.examples[0].file).name}: {note}" for note in notes]
    for note in told:
        _logger.info(note)
    return replace(result, notes=(*result.notes, *told))


def _sides(names: Sequence[str]) -> _Sides | None:
    """Find anchor, positive and negatives among the columns, or two texts and a score.

    None where they are not there, or where nothing but their names says so and other columns stand beside them.
    """
    plain = {plain_name(name): name for name in names}
    anchor = next((plain[known] for known in _ANCHORS if known in plain), None)
    positive = next((plain[known] for known in _POSITIVES if known in plain and plain[known] != anchor), None)
    if anchor is None or positive is None:
        return None
    rest = {name: own for name, own in plain.items() if own not in (anchor, positive)}
    negatives = tuple(own for name, own in rest.items() if _NEGATIVE.fullmatch(name))
    score = next((plain[known] for known in (*_SCORES, *_LABELS) if known in plain), None)
    others = [own for name, own in rest.items() if own not in (*negatives, score) and not _ORDINAL.fullmatch(name)]
    if others and not negatives and plain_name(positive) not in _PLAIN_POSITIVES:
        return None
    return _Sides(anchor=anchor, positive=positive, negatives=negatives, score=score)


def _read_sides(path: Path, sides: _Sides, *, encoding: str, on_error: str, quoting: str) -> ReadResult:
    """Read one text, some that belong to it and any number that do not, as pairs of value 1 and 0."""
    made: list[Example | BadRow] = []
    for line, row in _rows(path, encoding, quoting, go_on=on_error == "skip"):
        if isinstance(row, BadRow):
            made.append(row)
            continue
        anchor, positives = _texts(row.get(sides.anchor)), _texts(row.get(sides.positive))
        negatives = [text for name in sides.negatives for text in _texts(row.get(name))]
        if len(anchor) != 1 or not positives:
            reason = f"{sides.anchor!r} needs one text and {sides.positive!r} at least one"
            made.append(BadRow(file=str(path), line=line, kind="empty-text", reason=reason))
        elif any(SURROGATE.search(text) for text in (*anchor, *positives, *negatives)):
            reason = "bytes that the encoding does not know"
            made.append(BadRow(file=str(path), line=line, kind="encoding", reason=reason))
        else:
            valued = [*((one, 1.0) for one in positives), *((one, 0.0) for one in negatives)]
            made += [
                Example(text=anchor[0], text_pair=other, value=value, file=str(path), line=line)
                for other, value in valued
            ]
    if not made:
        raise DataError("the file has no rows", where=str(path), next_step="Pass a file with a header and rows")
    columns = Columns(text=sides.anchor, text_pair=sides.positive)
    found = ReadResult(examples=(), columns=columns, bad_rows=(), notes=())
    against = f", against {', '.join(map(repr, sides.negatives))}" if sides.negatives else ""
    note = f"{sides.positive!r} is taken as what belongs to {sides.anchor!r}{against}"
    return _with_notes(_sorted_out(found, made, on_error), [note])


def _texts(value: object) -> list[str]:
    """Return the texts of a cell, which in JSON and Parquet may be a list; what is empty or no text is none."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and one.strip()]


def _column_names(path: Path, encoding: str, quoting: str) -> list[str]:
    """Return the names of a file's columns, or the cells of its first row where it has no header."""
    source = read_source(path)
    if _is_parquet(source):
        return ParquetTable(source.data, where=str(path)).names
    data = source.data
    if len(data) > _HEAD_BYTES and not _is_json(source, data) and not re.search("16|32", encoding):
        data = data[: data.rfind(b"\n", 0, _HEAD_BYTES) + 1] or data
    text = decode(data, encoding, where=str(path), go_on=True).content
    if _is_json(source, data):
        return json_names(_json_rows(source, text))
    records = read_sheet(text, suffix=source.suffix, quoting=quoting).records
    return records[0].cells if records else []


def _rows(
    path: Path, encoding: str, quoting: str, *, go_on: bool
) -> Iterator[tuple[int, Mapping[str, object] | BadRow]]:
    """Yield the line of every row of a file with a header, and its cells by the names of their columns."""

    def bad(line: int, kind: str, reason: str) -> tuple[int, BadRow]:
        return line, BadRow(file=str(path), line=line, kind=kind, reason=reason)

    source = read_source(path)
    if _is_parquet(source):
        table = ParquetTable(source.data, where=str(path))
        for line, cells in table.rows(tuple(range(len(table.names)))):
            yield line, dict(zip(table.names, cells, strict=True))
        return
    text = decode(source.data, encoding, where=str(path), go_on=go_on).content
    if _is_json(source, source.data):
        for line, row in _json_rows(source, text):
            yield bad(line, "json", row) if isinstance(row, str) else (line, row)
        return
    header, *records = read_sheet(text, suffix=source.suffix, quoting=quoting).records
    for record in records:
        if record.problem:
            yield bad(record.line, "quotes", record.problem)
        elif len(record.cells) != len(header.cells):
            reason = f"{len(record.cells)} fields where {len(header.cells)} are expected"
            yield bad(record.line, "fields", reason)
        else:
            yield record.line, dict(zip(header.cells, record.cells, strict=True))


def _is_parquet(source: Source) -> bool:
    return source.suffix in (".parquet", ".pq") or source.data.startswith(b"PAR1")


def _is_json(source: Source, data: bytes) -> bool:
    """Say whether a file holds JSON; of others than those named so, what begins like an object."""
    named = source.suffix in (".json", ".jsonl", ".ndjson")
    return named or (source.suffix not in (".csv", ".tsv", ".txt") and data.lstrip().startswith(b"{"))


def _json_rows(source: Source, text: str) -> list[JsonRow]:
    where = str(source.path)
    return read_json(text, where=where) if source.suffix == ".json" else read_json_lines(text, where=where)


def scored_pairs(lowest: float = -math.inf, highest: float = math.inf) -> DataFormat:
    """Return the format of pairs of texts with a score; `read_scored_pairs` says what else may stand in a file.

    All pairs of one first text stay together; `connected_texts` says which pairs would have to so that no text at all
    is on two sides.

    Args:
        lowest: scores below make bad rows.
        highest: scores above make bad rows.
    """
    return DataFormat(
        read=functools.partial(read_scored_pairs, lowest=lowest, highest=highest),
        answered=lambda example: example.value is not None,
        answer=lambda example: "",
        labels=lambda example: (),
        # the same question stands in many pairs, and one that was learnt from is no test
        marks=lambda example: tuple(text_key(one) for one in (example.text, example.text_pair) if one is not None),
        closed=False,
        texts_alone=True,
        units="groups of pairs without a text in common",
        shared="one of their texts",
    )
