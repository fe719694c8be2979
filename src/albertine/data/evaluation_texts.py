"""Every text of evaluation data, whatever its format, to keep a pretraining corpus free of them.

Nothing here knows what a column means: every string of JSON, every field of a table, every column of tokens put
together and every line is a text. A label or a number that is taken for one does no harm; a text that is missed would.
What stands in a longer text of the same object or row, such as an answer or a name in it, is a part and no text: on its
own it would be looked for in documents that have nothing but the name of a person or place in common.
"""

from __future__ import annotations

import glob
import html
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath

from albertine.data.compressed import read_members
from albertine.data.conll import join_tokens
from albertine.data.delimited import read_sheet
from albertine.data.encodings import SURROGATE, decode, recognise
from albertine.data.opinion_files import PLACE
from albertine.data.overlap import RUN_CHARACTERS, RUN_WORDS, SHORTEST
from albertine.data.structured import ParquetTable
from albertine.errors import DataError, nearest

__all__ = ["EvaluationFile", "EvaluationText", "evaluation_files", "read_evaluation_texts"]

_logger = logging.getLogger("albertine")

_ABOUT_THE_DATA = re.compile(
    r"(?:licen[cs]e|copying|notice|readme|authors|contributing|citation|changelog)"
    r"(?:[-_][\w-]+|(?:[-_.][\w-]+)*\.(?:md|txt|rst|html?|pdf))?|\..*|.*\.(?:py|sh|bib)",
    re.IGNORECASE,
)
"""Names of files that stand beside evaluation data, and hidden ones: their text may well stand in a corpus."""
_BINARY = (b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_JSON = (".json", ".jsonl", ".ndjson")
_MARKED_UP = (".xml", ".sgm", ".sgml", ".html", ".htm")
_LOOKED_AT = 1 << 13
_MOSTLY = 0.95
_LINES_TOGETHER = 200
_DIVIDERS = re.compile(r"\t|####|\|\|\|")
_LABEL = re.compile(r"(?:__label__\S+\s+)+|\d+[.)]?\s+")
"""What stands before the text of a line: labels as fastText has them, or the line's number."""
_TOKEN_LINES = 0.9
"""Share of lines with the same number of short columns from which on a file has a token a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFile:
    """A file whose texts are to be kept out."""

    path: Path
    name: str
    """What it is called in reports: its path from the file or folder on that was given."""


@dataclass(frozen=True, slots=True)
class EvaluationText:
    """One text."""

    text: str
    again: bool = False
    """Whether it was put together from texts that are given on their own as well, and so does not count."""


def evaluation_files(paths: Sequence[Path | str]) -> tuple[EvaluationFile, ...]:
    """Return the files that paths, folders and patterns stand for, sorted by name, each once.

    Folders are searched through all levels. Of a folder, licences, READMEs and hidden files are passed over, and said.

    Raises:
        DataError: a path does not exist, or a folder holds no file.
    """
    found: dict[Path, EvaluationFile] = {}
    for path in chain.from_iterable(map(_matching, paths)):
        if path.is_dir():
            for file in _folder(path):
                name = str(PurePosixPath(path.resolve().name, file.relative_to(path).as_posix()))
                found.setdefault(file.resolve(), EvaluationFile(path=file, name=name))
        elif path.is_file():
            found.setdefault(path.resolve(), EvaluationFile(path=path, name=path.name))
        else:
            beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            close = nearest(path.name, beside)
            raise DataError(
                "there is no such file or folder of evaluation texts",
                where=str(path),
                next_step=f"Beside it stands {close}" if close else "Check the path",
            )
    return tuple(sorted(found.values(), key=lambda file: (file.name, str(file.path))))


def _matching(given: Path | str) -> list[Path]:
    path = Path(given).expanduser()
    pattern = glob.has_magic(str(path)) and not path.exists()
    return sorted(map(Path, glob.glob(str(path), recursive=True))) or [path] if pattern else [path]


def _folder(folder: Path) -> list[Path]:
    found: list[Path] = []
    passed_over: list[str] = []
    for parent, folders, names in os.walk(folder):
        passed_over += [f"{name}/" for name in folders if name.startswith(".")]
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if _ABOUT_THE_DATA.fullmatch(name):
                passed_over.append(name)
            else:
                found.append(Path(parent, name))
    if passed_over:
        _logger.info("%s: no evaluation texts, passed over: %s", folder, ", ".join(sorted(passed_over)))
    if not found:
        raise DataError("this folder holds no evaluation texts", where=str(folder), next_step="Pass another folder")
    return found


def read_evaluation_texts(path: Path) -> Iterator[EvaluationText]:
    """Yield the texts of a file, of every member where it is an archive; what is no text is passed over, and said.

    Raises:
        DataError: the file cannot be read or is damaged.
    """
    for name, data in read_members(path):
        if len(PurePosixPath(name).parts) > 1 and _ABOUT_THE_DATA.fullmatch(PurePosixPath(name).name):
            _logger.info("%s: no evaluation texts, passed over: %s", path, name)
        elif data.startswith(b"PAR1"):
            yield from _table_texts(ParquetTable(data, where=f"{path}: {name}"))
        elif _is_text(data):
            suffix = PurePosixPath(name).suffix.lower()
            where = str(path) if name == path.name else f"{path}: {name}"
            yield from _texts(_decoded(data, _encoding(data), where=where), suffix)
            if _perhaps_western(data):
                for one in _texts(_decoded(data, "cp1252", where=where), suffix):
                    yield replace(one, again=True)
        else:
            _logger.warning("%s: %s is no text that can be read and was passed over", path, name)


def _is_text(data: bytes) -> bool:
    if data.startswith(_BINARY):
        return False
    guess = recognise(data[:_LOOKED_AT]) if b"\x00" in data[:_LOOKED_AT] else None
    return b"\x00" not in data[:_LOOKED_AT] or (guess is not None and _mostly_printable(data[:_LOOKED_AT], guess.name))


def _mostly_printable(data: bytes, encoding: str) -> bool:
    text = data.decode(encoding, errors="replace")
    return sum(one.isprintable() or one.isspace() for one in text) > _MOSTLY * len(text)


def _encoding(data: bytes) -> str:
    guess = recognise(data)
    return "utf-8" if guess is None else guess.name


def _perhaps_western(data: bytes) -> bool:
    """Say whether what looks like a Chinese encoding may be a western one: a few accents among very many letters."""
    ascii_bytes = len(data) - len(re.findall(rb"[\x80-\xff]", data))
    return _encoding(data) in ("gb18030", "big5") and ascii_bytes > _MOSTLY * len(data)


def _decoded(data: bytes, encoding: str, *, where: str) -> str:
    """Decode; what cannot be decoded ends a word."""
    if encoding != "utf-8":
        _logger.info("%s: read as %s", where, encoding)
    try:
        text = decode(data, encoding, where=where, go_on=True).content
    except DataError:
        text = data.decode(encoding, errors="replace")
    return SURROGATE.sub(" ", text)


def _texts(text: str, suffix: str) -> Iterator[EvaluationText]:
    """Yield the texts of a file that is not a table of its own kind."""
    if suffix in _JSON or _begins_as_json(text):
        yield from _json_texts(text)
    elif suffix in _MARKED_UP:
        bare = html.unescape(re.sub("<[^>]*>", "\n", text))
        yield from _lines([line.strip() for line in bare.split("\n") if line.strip()])
    else:
        columns = _token_columns(text)
        yield from _sheet_texts(text, suffix) if columns is None else columns


# --- objects


def _begins_as_json(text: str) -> bool:
    place = _next(text, 0)
    if text[place : place + 1] not in ("{", "["):
        return False
    try:
        json.JSONDecoder().raw_decode(text, place)
    except (json.JSONDecodeError, RecursionError):
        return False
    return True


def _json_texts(text: str) -> Iterator[EvaluationText]:
    """Yield the strings of one value, or of any number one after another; a line that is no JSON as it stands."""
    decoder = json.JSONDecoder()
    place = 0
    plain: list[str] = []
    while (place := _next(text, place)) < len(text):
        try:
            value, end = decoder.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError):
            value, end = None, place
        if not isinstance(value, dict | list) and text[end : end + 1] not in ("", ",", "\r", "\n"):
            end = text.find("\n", place)
            end = len(text) if end < 0 else end
            plain.append(text[place:end])
        else:
            yield from _strings(value)
        place = end
    yield from _lines(plain)


def _next(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n,":
        place += 1
    return place


def _strings(value: object, around: tuple[str, ...] = ()) -> Iterator[EvaluationText]:
    """Yield every string; those of a list also put together, as they may be the words or pieces of one text.

    Args:
        value: of JSON.
        around: strings of the objects that it stands in.
    """
    waiting = [(value, around)]
    while waiting:
        one, outside = waiting.pop()
        if isinstance(one, str):
            if not _part(one, outside):
                yield EvaluationText(one)
        elif isinstance(one, dict):
            beside = (*outside, *(text for text in one.values() if isinstance(text, str)))
            # A name of a field is too short to be looked for; a text that something is said of is not.
            yield from (EvaluationText(key, again=True) for key in one if not _part(key, beside))
            waiting += [(inner, beside) for inner in reversed(one.values())]
        elif isinstance(one, list | tuple):
            words = [part for part in one if isinstance(part, str)]
            pieces = [part["text"] for part in one if isinstance(part, dict) and isinstance(part.get("text"), str)]
            if len(words) > 1:
                tokens = sum(map(len, words)) < SHORTEST * len(words) and len(words) == len(one)
                yield EvaluationText(" ".join(words), again=not tokens)
            if len(pieces) > 1:
                yield EvaluationText("".join(pieces))
                yield EvaluationText(" ".join(pieces), again=True)
            waiting += [(inner, outside) for inner in reversed(one)]


def _part(text: str, others: Sequence[str]) -> bool:
    """Say whether a text stands in a longer one."""
    return any(len(text) < len(other) and text in other for other in others)


def _table_texts(table: ParquetTable) -> Iterator[EvaluationText]:
    for _, values in table.rows(tuple(range(len(table.names)))):
        beside = tuple(value for value in values if isinstance(value, str))
        for value in values:
            yield from _strings(value, beside)


# --- lines


def _token_columns(text: str) -> Iterator[EvaluationText] | None:
    """Return the columns of a file with a token a line and blank lines between sentences; None of any other."""
    blocks: list[list[list[str]]] = [[]]
    for line in text.split("\n"):
        if line.strip():
            blocks[-1].append(line.rstrip("\r\n").split("\t") if "\t" in line else line.split())
        elif blocks[-1]:
            blocks.append([])
    blocks = [block for block in blocks if block]
    widths = Counter(len(parts) for block in blocks for parts in block)
    if len(blocks) < 2:
        return None
    width, fitting = widths.most_common(1)[0]
    sizes = [0] * width
    for parts in chain.from_iterable(blocks):
        if len(parts) == width:
            sizes = [size + len(part) for size, part in zip(sizes, parts, strict=True)]
    if width < 2 or fitting < _TOKEN_LINES * widths.total() or max(sizes) >= SHORTEST * fitting:
        return None
    return _columns(blocks, width)


def _columns(blocks: Sequence[Sequence[Sequence[str]]], width: int) -> Iterator[EvaluationText]:
    for block in blocks:
        columns = list(zip(*(parts for parts in block if len(parts) == width), strict=True))
        # The tokens are the column that repeats itself least.
        tokens = max(columns, key=lambda column: len(set(column)), default=())
        for column in columns:
            letters = sum(len(token) == 1 for token in column)
            joined = join_tokens(column, by_character=2 * letters > len(column)).text
            yield EvaluationText(joined, again=column is not tokens)
        for parts in block:
            if len(parts) != width:
                yield EvaluationText(" ".join(parts), again=True)
            yield from (EvaluationText(part, again=True) for part in parts if len(part) >= SHORTEST)


def _sheet_texts(text: str, suffix: str) -> Iterator[EvaluationText]:
    sheet = read_sheet(text, suffix=suffix, quoting="auto")
    if sheet.delimiter is None:
        yield from _lines([record.cells[0] for record in sheet.records])
        return
    widths = Counter(len(record.cells) for record in sheet.records)
    usual = widths.most_common(1)[0][0] if widths else 0
    for record in sheet.records:
        if record.problem or record.literal or len(record.cells) != usual:
            # Its quotes or commas are not in order, so that its fields may be parts of one.
            yield from _lines(record.cells)
        else:
            yield from _lines([cell for cell in record.cells if not _part(cell, record.cells)], together=False)


def _lines(lines: Sequence[str], *, together: bool = True) -> Iterator[EvaluationText]:
    """Yield every line, or the fields on it, and where they may be one text many of them together."""
    for place, line in enumerate(lines):
        if PLACE in line and place + 1 < len(lines):
            yield EvaluationText(line.replace(PLACE, lines[place + 1]))
            continue
        for part in _DIVIDERS.split(line):
            yield EvaluationText(part)
            if found := _LABEL.match(part):
                yield EvaluationText(part[found.end() :], again=True)
    if together and len(lines) > 1:
        # Every run of units that goes over line ends stands in one of them.
        most = max(RUN_WORDS, RUN_CHARACTERS)
        for start in range(0, len(lines), _LINES_TOGETHER):
            yield EvaluationText("\n".join(lines[max(start - most, 0) : start + _LINES_TOGETHER]), again=True)
