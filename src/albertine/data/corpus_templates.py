"""Paragraphs that stand word for word in several documents of a corpus of any size, and texts without them."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from albertine.data.external_grouping import PIECE, grouped
from albertine.data.minhash import Hashes
from albertine.errors import ConfigError
from albertine.files import atomic_path

__all__ = ["TemplateChoices", "Templates", "find_templates", "write_paragraphs"]

_RECORD = np.dtype([("key", "<u8"), ("document", "<u4")])
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateChoices:
    """Which paragraphs count as templates."""

    characters: int = 30
    """Shorter paragraphs (lines) are not looked at."""
    documents: int = 3
    """A paragraph that stands in so many documents is a template."""

    def __post_init__(self) -> None:
        if self.characters < 1:
            raise ConfigError("the shortest template is out of range", received=self.characters, allowed="1 or more")
        if self.documents < 2:
            raise ConfigError("a template stands in several documents", received=self.documents, allowed="2 or more")


def write_paragraphs(
    target: Path, texts: Iterable[str], choices: TemplateChoices | None = None, *, first: int = 0
) -> int:
    """Write the hashes of the paragraphs of documents, whole or not at all; return how many documents there were.

    Args:
        target: the file, 12 bytes a paragraph.
        texts: the documents.
        choices: which paragraphs are looked at.
        first: the number of the first document.
    """
    choices = choices or TemplateChoices()
    number = first
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        for number, text in enumerate(texts, first + 1):
            keys = np.unique(_keys(_long_lines(text, choices)))
            records = np.empty(len(keys), dtype=_RECORD)
            records["key"], records["document"] = keys, number - 1
            file.write(records.tobytes())
    return number - first


def _long_lines(text: str, choices: TemplateChoices) -> list[str]:
    return [line for line in text.split("\n") if len(line) >= choices.characters]


def _keys(lines: Sequence[str]) -> Hashes:
    encoded = (line.strip().encode(errors="surrogatepass") for line in lines)
    joined = b"".join(hashlib.blake2b(line, digest_size=8).digest() for line in encoded)
    return np.frombuffer(joined, dtype="<u8")


def find_templates(
    paragraph_files: Sequence[Path], target: Path, choices: TemplateChoices | None = None, *, piece: int = PIECE
) -> Templates:
    """Find the paragraphs that stand in several documents; the file of them is written whole or not at all.

    Args:
        paragraph_files: written by `write_paragraphs`, in the order of documents.
        target: the file that is written, 12 bytes a template.
        choices: how many documents make a template.
        piece: keys that are sorted at a time.
    """
    choices = choices or TemplateChoices()

    def blocks() -> Iterator[tuple[Hashes, npt.NDArray[np.uint32]]]:
        for path in paragraph_files:
            with path.open("rb") as file:
                while data := file.read(_BLOCK * _RECORD.itemsize):
                    records = np.frombuffer(data, dtype=_RECORD)
                    yield records["key"], records["document"]

    total = sum(path.stat().st_size for path in paragraph_files) // _RECORD.itemsize
    with (
        atomic_path(target) as temporary,
        temporary.open("wb") as file,
        tempfile.TemporaryFile(dir=target.parent) as documents,
    ):
        for group in grouped(blocks, total, target.parent, piece=piece):
            begins = np.flatnonzero(np.concatenate([[True], group.keys[1:] != group.keys[:-1]]))
            counts = np.diff(np.concatenate([begins, [len(group.keys)]]))
            chosen = begins[counts >= choices.documents]
            file.write(group.keys[chosen].astype("<u8").tobytes())
            documents.write(group.numbers[chosen].astype("<u4").tobytes())
        # All keys stand together, so that they can be searched where they lie.
        documents.seek(0)
        shutil.copyfileobj(documents, file)
    return Templates(target, choices)


class Templates:
    """The templates of a corpus, read from their file as they are needed.

    Args:
        path: written by `find_templates`.
        choices: with which they were found.
    """

    def __init__(self, path: Path, choices: TemplateChoices | None = None) -> None:
        self.choices = choices or TemplateChoices()
        count = path.stat().st_size // _RECORD.itemsize
        self._keys: Hashes = np.zeros(0, np.uint64)
        self._documents: npt.NDArray[np.uint32] = np.zeros(0, np.uint32)
        if count:
            self._keys = np.memmap(path, dtype="<u8", mode="r", shape=(count,))
            self._documents = np.memmap(path, dtype="<u4", mode="r", offset=8 * count, shape=(count,))
        self.removed_paragraphs = 0
        self.removed_characters = 0
        self.examples: dict[str, int] = {}
        """The first 20 templates that were removed, cut to 200 characters, and how often."""

    def __len__(self) -> int:
        return len(self._keys)

    def without(self, text: str, document: int) -> str:
        """Return a document without its templates; the first document of a template keeps it."""
        lines = text.split("\n")
        places = [place for place, line in enumerate(lines) if len(line) >= self.choices.characters]
        if not places or not len(self._keys):
            return text
        keys = _keys([lines[place] for place in places])
        found = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        gone = (self._keys[found] == keys) & (self._documents[found] != document)
        removed = {places[index] for index in np.flatnonzero(gone)}
        if not removed:
            return text
        for place in sorted(removed):
            self._count(lines[place])
        return "\n".join(line for place, line in enumerate(lines) if place not in removed)

    def _count(self, line: str) -> None:
        self.removed_paragraphs += 1
        self.removed_characters += len(line)
        shown = line[:200]
        if shown in self.examples or len(self.examples) < 20:
            self.examples[shown] = self.examples.get(shown, 0) + 1
