"""Documents of any length as passages that an encoder reads whole: sentences put together, with what two share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from albertine.data.corpus import corpus_files, read_documents
from albertine.data.segmentation import split_sentences
from albertine.errors import ConfigError
from albertine.records import IntArray

__all__ = ["Granularity", "Passage", "Sizes", "SourceText", "passages", "read_texts"]

Granularity = Literal["file", "paragraph", "line"]
"""What a document is: a whole file; what blank lines divide (in JSON Lines a row, in an extract a document); a line."""

Sizes = Callable[[Sequence[str]], IntArray]
"""Texts to the tokens of each, [N], special ones not counted."""

_SHARED = 4
"""Two passages of one document share up to a quarter of a passage."""


@dataclass(frozen=True, slots=True)
class SourceText:
    """A document, as it stood in a file or in memory."""

    blocks: tuple[tuple[int, str], ...]
    """The line on which each part starts, from 1 (0 from memory), and its text."""
    file: str = ""
    """Empty from memory."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document."""

    text: str
    line: int
    """On which it starts, from 1; 0 from memory."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """A sentence, or a piece of one that is too long by itself."""

    text: str
    line: int
    gap: str
    """What stands between it and the one before."""


def read_texts(
    paths: Sequence[Path | str], *, granularity: Granularity = "paragraph", encoding: str = "utf-8"
) -> Iterator[SourceText]:
    """Yield the documents of files, folders and globs, in any form that a corpus has.

    Args:
        paths: what `read_documents` takes.
        granularity: what a document is.
        encoding: of the text.

    Raises:
        ConfigError: an unknown granularity or encoding.
        DataError: a path or a place in a file is not usable; the message says where.
    """
    if granularity not in get_args(Granularity):
        allowed = ", ".join(get_args(Granularity))
        raise ConfigError("no such granularity", received=repr(granularity), allowed=allowed)
    for path in corpus_files(paths):
        # in Markdown blank lines stand between paragraphs, which a corpus takes for one document
        plain = granularity == "line" or path.suffix.lower() in (".md", ".markdown")
        read = read_documents([path], encoding=encoding, format="plain" if plain else "auto")
        blocks = ((one.place, one.text) for one in read)
        if granularity == "file":
            yield SourceText(tuple(blocks), str(path))
        elif granularity == "paragraph":
            yield from (SourceText((block,), str(path)) for block in blocks)
        else:
            for place, text in blocks:
                for number, line in enumerate(text.split("\n"), start=place):
                    yield SourceText(((number, line),), str(path))


def passages(documents: Sequence[SourceText], *, room: int, sizes: Sizes) -> list[list[Passage]]:
    """Return the passages of every document; none of one without any text.

    A document that fits is one passage. Of another every passage holds as many whole sentences as fit, the first of
    them those that end the passage before, as far as they take up no more than a quarter. A sentence that does not fit
    is cut, at a blank where there is one. Nothing of a document is left out but white space at its edges.

    Args:
        documents: any number of them.
        room: tokens that a passage may have, special ones not counted.
        sizes: how many tokens texts have.
    """
    whole = ["\n\n".join(text for _, text in one.blocks).strip() for one in documents]
    long = [size > room for size in sizes(whole).tolist()]
    return [
        _cut(document, room, sizes) if cut else [Passage(text, _first_line(document))] if text else []
        for document, text, cut in zip(documents, whole, long, strict=True)
    ]


def _first_line(document: SourceText) -> int:
    line, text = next((line, text) for line, text in document.blocks if text.strip())
    return _line_at(line, text, len(text) - len(text.lstrip()))


def _line_at(line: int, text: str, place: int) -> int:
    return line + text.count("\n", 0, place) if line else 0


def _cut(document: SourceText, room: int, sizes: Sizes) -> list[Passage]:
    units = [unit for line, text in document.blocks for unit in _sentences(line, text)]
    tokens = sizes([one.text for one in units]).tolist()
    while any(size > room and len(one.text) > 1 for one, size in zip(units, tokens, strict=True)):
        units = [
            part
            for one, size in zip(units, tokens, strict=True)
            for part in (_halves(one) if size > room and len(one.text) > 1 else (one,))
        ]
        tokens = sizes([one.text for one in units]).tolist()
    found: list[Passage] = []
    begin = 0
    while True:
        end, taken = begin + 1, tokens[begin]
        while end < len(units) and taken + tokens[end] <= room:
            taken += tokens[end]
            end += 1
        text = units[begin].text + "".join(one.gap + one.text for one in units[begin + 1 : end])
        found.append(Passage(text.strip(), units[begin].line))
        if end == len(units):
            return found
        shared, after = 0, end
        # what is shared must leave room for something new
        while (
            after - 1 > begin
            and shared + tokens[after - 1] <= room // _SHARED
            and shared + tokens[after - 1] + tokens[end] <= room
        ):
            after -= 1
            shared += tokens[after]
        begin = after


def _sentences(line: int, text: str) -> Iterator[_Unit]:
    """Yield the sentences of a block; what stands between them is kept with the one behind."""
    end = 0
    for sentence in split_sentences(text):
        start = text.index(sentence, end)
        yield _Unit(sentence, _line_at(line, text, start), text[end:start] if end else "\n\n")
        end = start + len(sentence)


def _halves(unit: _Unit) -> tuple[_Unit, _Unit]:
    """Divide a unit near its middle."""
    text = unit.text
    blank = text.rfind(" ", len(text) // 4, len(text) // 2 + 1)
    middle = blank if blank > 0 else len(text) // 2
    return _Unit(text[:middle], unit.line, unit.gap), _Unit(text[middle:], _line_at(unit.line, text, middle), "")
