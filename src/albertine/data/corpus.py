"""Raw text of any size as a stream of documents: plain text, JSON Lines, <doc> extracts, folders, globs."""

from __future__ import annotations

import html
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from albertine.data.corpus_streams import Line, TextStream, corpus_files, open_lines
from albertine.data.encodings import SURROGATE
from albertine.data.results import BadRow
from albertine.data.structured import JSON_LINES
from albertine.errors import ConfigError, DataError

__all__ = ["CorpusFormat", "Document", "ReadingReport", "corpus_files", "read_documents"]

_logger = logging.getLogger("albertine")

CorpusFormat = Literal["auto", "plain", "whole", "jsonl", "extract"]
"""auto: seen from the file's name and start; plain: blank lines between documents; whole: a file is one document;
jsonl: one object a line; extract: lines `<doc …>` and `</doc>` around every document."""

_TEXT_KEYS = ("text", "content", "body", "article", "document")
_NAME_KEYS = ("title", "name", "id", "url")
_OPENING = re.compile(r"\s*<doc(?:\s[^\n]*)?>\s*\Z")
_CLOSING = re.compile(r"</doc>\s*\Z")
# Values may hold quotes and angle brackets that the extractor left as they were, so the end is told by what follows.
_ATTRIBUTE = re.compile(r'([\w-]+)="(.*?)"(?=\s+[\w-]+="|\s*/?>\s*\Z)')
_KEPT_EXAMPLES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a corpus."""

    text: str
    """Lines end with a line feed; neither blank lines nor blanks stand at its start or end."""
    name: str
    """Its title, else its id, else file:line."""
    source: str
    """The file it came from."""
    place: int
    """The line it starts on, from 1."""


@dataclass(slots=True, kw_only=True)
class ReadingReport:
    """What was read and what was left out; `read_documents` fills it while it goes."""

    files: int = 0
    documents: int = 0
    characters: int = 0
    """Of the documents handed on."""
    empty: int = 0
    """Documents without any text (or with nothing but their title), left out."""
    cut: int = 0
    """Documents longer than the limit, handed on in parts."""
    nul_characters: int = 0
    """Zero characters, removed."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Bad places left out, by kind: encoding, json, type, no-text, too-long, unclosed, outside, archive."""
    examples: list[BadRow] = field(default_factory=list)
    """The first 20 of them."""

    def add(self, other: ReadingReport) -> None:
        """Add the counts of another report, for files that were read apart."""
        for name in ("files", "documents", "characters", "empty", "cut", "nul_characters"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.skipped.update(other.skipped)
        self.examples = [*self.examples, *other.examples][:_KEPT_EXAMPLES]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What holds for every file of one call."""

    on_error: str
    text_key: str | None
    keep_titles: bool
    longest: int
    report: ReadingReport

    def bad(self, bad: BadRow, next_step: str) -> None:
        """Stop at a bad place, or count it."""
        if self.on_error == "stop":
            raise DataError(bad.reason, where=f"{bad.file}:{bad.line}", next_step=next_step)
        self.report.skipped[bad.kind] += 1
        if len(self.report.examples) < _KEPT_EXAMPLES:
            self.report.examples.append(bad)


def read_documents(
    paths: Sequence[Path | str],
    *,
    encoding: str = "utf-8",
    on_error: str = "stop",
    format: CorpusFormat = "auto",
    text_key: str | None = None,
    keep_titles: bool = False,
    longest: int = 1 << 23,
    report: ReadingReport | None = None,
) -> Iterator[Document]:
    """Read files, folders and globs one document after another; memory stays flat whatever their size.

    Packed files (.gz, .xz, .zst, one-member .zip) are unpacked on the way. Files come in the order of `corpus_files`.

    Args:
        paths: files, folders (read recursively) and globs.
        encoding: of the text.
        on_error: "stop" raises at the first bad place; "skip" leaves out the bad line, row or document and counts it.
        format: see `CorpusFormat`.
        text_key: the key of the text in JSON Lines; looked for by its usual names where it is not given.
        keep_titles: whether an extract's title stays where it is repeated as the first line of the text.
        longest: characters; a longer document is handed on in parts, cut at line ends where there are any. A longer row
            of JSON Lines is a bad one.
        report: filled while reading.

    Raises:
        ConfigError: an option has a value that does not exist.
        DataError: a path, an encoding or (with "stop") a place in a file is not usable; the message says where.
    """
    if on_error not in ("stop", "skip"):
        raise ConfigError("unknown value of on_error", received=repr(on_error), allowed="stop, skip")
    if format not in get_args(CorpusFormat):
        allowed = ", ".join(get_args(CorpusFormat))
        raise ConfigError("unknown corpus format", received=repr(format), allowed=allowed)
    if longest < 1000:
        raise ConfigError("the limit of a document is too low", received=longest, allowed="1000 characters or more")
    report = ReadingReport() if report is None else report
    reading = _Reading(on_error=on_error, text_key=text_key, keep_titles=keep_titles, longest=longest, report=report)
    for path in corpus_files(paths):
        yield from _read_file(path, encoding, format, reading)


def _read_file(path: Path, encoding: str, format: CorpusFormat, reading: _Reading) -> Iterator[Document]:
    report = reading.report
    with open_lines(path, encoding=encoding, longest=reading.longest, go_on=reading.on_error == "skip") as stream:
        chosen = _seen_format(stream) if format == "auto" else format
        for document in _FORMATS[chosen](stream, reading):
            if document.text:
                report.documents += 1
                report.characters += len(document.text)
                yield document
            else:
                report.empty += 1
        report.nul_characters += stream.nul_characters
        if stream.damage:
            reading.bad(
                BadRow(file=str(path), line=stream.line, kind="archive", reason=stream.damage),
                "Copy or download it again, or go on with what came before by --on-error skip",
            )
    report.files += 1
    _logger.debug("%s: read as %s", path, chosen)


def _seen_format(stream: TextStream) -> CorpusFormat:
    start = stream.start.lstrip()
    if stream.suffix in JSON_LINES:
        return "jsonl"
    if re.match(r"<doc[\s>]", start):
        return "extract"
    if re.match(r'\{\s*["}]', start):
        return "jsonl"
    if stream.suffix == ".json":
        raise DataError(
            "JSON that is not one object a line cannot be read piece by piece",
            where=str(stream.path),
            next_step="Write it as JSON Lines (one object a line, .jsonl)",
        )
    # In Markdown blank lines stand between paragraphs.
    return "whole" if stream.suffix in (".md", ".markdown") else "plain"


@dataclass(slots=True, kw_only=True)
class _Gathering:
    """The lines of the document that is being read."""

    stream: TextStream
    reading: _Reading
    name: str = ""
    place: int = 0
    lines: list[str] = field(default_factory=list)
    size: int = 0
    part: int = 1

    def open(self, place: int, name: str = "") -> None:
        self.name, self.place, self.lines, self.size, self.part = name, place, [], 0, 1

    def add(self, line: Line) -> Iterator[Document]:
        """Take a line in; yields the part of the document before it where that has become too long."""
        if self.size and self.size + len(line.text) > self.reading.longest:
            if self.part == 1:
                self.reading.report.cut += 1
            yield self.document()
            self.place, self.lines, self.size, self.part = line.number, [], 0, self.part + 1
        self.lines.append(line.text)
        self.size += len(line.text) + 1

    def document(self) -> Document:
        lines = self.lines
        if self.name and not self.reading.keep_titles and self.part == 1:
            first = next((index for index, line in enumerate(lines) if line.strip()), None)
            if first is not None and lines[first].strip() == self.name:
                lines = lines[first + 1 :]
        name = self.name or f"{self.stream.path.name}:{self.place}"
        return Document(
            text="\n".join(lines).strip(),
            name=name if self.part == 1 else f"{name} (part {self.part})",
            source=str(self.stream.path),
            place=self.place,
        )


def _good_lines(stream: TextStream, reading: _Reading) -> Iterator[Line]:
    for line in stream.lines():
        if line.damaged:
            reading.bad(_undecoded(stream, line), "Pass the right --encoding, or leave it out with --on-error skip")
        else:
            yield line


def _undecoded(stream: TextStream, line: Line) -> BadRow:
    reason = f"a line with bytes that are not {stream.encoding}"
    return BadRow(file=str(stream.path), line=line.number, kind="encoding", reason=reason)


def _read_plain(stream: TextStream, reading: _Reading) -> Iterator[Document]:
    current = _Gathering(stream=stream, reading=reading)
    for line in _good_lines(stream, reading):
        if line.text and not line.text.isspace():
            if not current.lines:
                current.open(line.number)
            yield from current.add(line)
        elif current.lines:
            yield current.document()
            current.lines = []
    if current.lines and not stream.damage:
        yield current.document()


def _read_whole(stream: TextStream, reading: _Reading) -> Iterator[Document]:
    current = _Gathering(stream=stream, reading=reading)
    current.open(1)
    for line in _good_lines(stream, reading):
        yield from current.add(line)
    if not stream.damage:
        yield current.document()


def _read_extract(stream: TextStream, reading: _Reading) -> Iterator[Document]:
    current: _Gathering | None = None
    outside = False
    mend = "Mend the file, or leave it out with --on-error skip"
    path = str(stream.path)
    for line in _good_lines(stream, reading):
        text = line.text
        if text.lstrip().startswith("<doc") and _OPENING.match(text):
            if current is not None:
                reading.bad(_unclosed(path, current.place), mend)
            current = _Gathering(stream=stream, reading=reading)
            current.open(line.number, _title(text))
            outside = False
        elif current is None:
            if text.strip() and not outside:
                outside = True
                reason = "text outside of <doc …> and </doc>"
                reading.bad(BadRow(file=path, line=line.number, kind="outside", reason=reason), mend)
        elif text.endswith(("</doc>", " ", "\t")) and _CLOSING.search(text):
            yield from current.add(Line(number=line.number, text=_CLOSING.sub("", text)))
            yield current.document()
            current = None
        else:
            yield from current.add(line)
    if current is not None and not stream.damage:
        reading.bad(_unclosed(path, current.place), mend)


def _unclosed(path: str, place: int) -> BadRow:
    return BadRow(file=path, line=place, kind="unclosed", reason="this <doc …> is not closed by a line </doc>")


def _title(opening: str) -> str:
    attributes = {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(opening)}
    return next((attributes[key].strip() for key in _NAME_KEYS if attributes.get(key, "").strip()), "")


def _read_json_lines(stream: TextStream, reading: _Reading) -> Iterator[Document]:
    key = reading.text_key
    mend = "Mend the line, or leave such lines out with --on-error skip"
    long_line = 0
    for line in stream.lines():
        bad: tuple[str, str] | None = None
        value: object = None
        if line.number == long_line:
            continue
        if line.cut:
            long_line = line.number
            bad = "too-long", f"a row longer than {reading.longest} characters"
        elif line.damaged:
            bad = "encoding", f"a row with bytes that are not {stream.encoding}"
        elif not line.text.strip():
            continue
        else:
            try:
                value = json.loads(line.text)
            except (json.JSONDecodeError, RecursionError) as error:
                bad = "json", f"this line is not JSON ({getattr(error, 'msg', 'nested too deeply')})"
        if bad is None and not isinstance(value, dict):
            bad = "json", f"this line is no JSON object but a {type(value).__name__}"
        if bad is None:
            row = cast("Mapping[str, object]", value)
            key = key or _text_key(row, f"{stream.path}:{line.number}")
            text = row.get(key)
            if isinstance(text, str):
                yield _from_row(row, text, stream, line.number)
                continue
            bad = ("no-text", f"there is no key {key!r}") if text is None else ("type", f"{key!r} is no string")
        kind, reason = bad
        reading.bad(BadRow(file=str(stream.path), line=line.number, kind=kind, reason=reason), mend)


def _text_key(row: Mapping[str, object], where: str) -> str:
    for key in _TEXT_KEYS:
        if isinstance(row.get(key), str):
            return key
    strings = [key for key, value in row.items() if isinstance(value, str)]
    if len(strings) == 1:
        return strings[0]
    raise DataError(
        "it is not plain which key holds the text",
        where=where,
        received=", ".join(row) or "an object without keys",
        next_step="Name it with --text-key",
    )


def _from_row(row: Mapping[str, object], text: str, stream: TextStream, number: int) -> Document:
    names = (row.get(key) for key in _NAME_KEYS)
    name = next((str(name).strip() for name in names if isinstance(name, str | int) and str(name).strip()), "")
    # A lone half of a surrogate pair can be written in JSON but in no encoding.
    whole = text.encode("utf-8", errors="ignore").decode() if SURROGATE.search(text) else text
    return Document(
        text=whole.replace("\r\n", "\n").replace("\x00", "").strip(),
        name=name or f"{stream.path.name}:{number}",
        source=str(stream.path),
        place=number,
    )


_FORMATS: Mapping[str, Callable[[TextStream, _Reading], Iterable[Document]]] = {
    "plain": _read_plain,
    "whole": _read_whole,
    "extract": _read_extract,
    "jsonl": _read_json_lines,
}
