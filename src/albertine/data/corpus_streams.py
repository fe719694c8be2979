"""Which files make up a corpus, and each of them as a stream of lines, unpacked and decoded piece by piece."""

from __future__ import annotations

import codecs
import contextlib
import glob
import gzip
import io
import logging
import lzma
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from albertine.data.encodings import decode
from albertine.errors import DataError, nearest

__all__ = ["Line", "TextStream", "corpus_files", "open_lines"]

_logger = logging.getLogger("albertine")

_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_PACKED = (".gz", ".xz", ".zst", ".zip")
_TEXT = (".txt", ".text", ".md", ".markdown", ".jsonl", ".ndjson", ".json", ".doc_extract", ".extract", ".xml")
_FOREIGN = {b"PAR1": "a Parquet table", b"%PDF": "a PDF", b"\x89PNG": "a picture", b"SQLi": "a database"}
_BLOCK = 1 << 20
_STEP = 1 << 16
_DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, NotImplementedError)
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_GOOD_CUT = re.compile(r".*[。！？.!?\s]", re.DOTALL)


@dataclass(slots=True, kw_only=True)
class Line:
    """A line without its end; not frozen, because millions are made."""

    number: int
    """From 1."""
    text: str
    damaged: bool = False
    """It holds bytes that could not be decoded, as lone surrogates."""
    cut: bool = False
    """A part of a line longer than the limit; the parts share their number."""


@dataclass(slots=True, kw_only=True)
class TextStream:
    """A file of a corpus while it is being read."""

    path: Path
    encoding: str
    """As the user named it."""
    suffix: str
    """The extension inside of the packing, lower case, with its dot; empty where there is none."""
    longest: int
    """Characters of a line beyond which it comes in parts."""
    binary: IO[bytes]
    first: bytes
    """The bytes that were read to recognise the file."""
    start: str
    """The same as text; may end in the middle of a line."""
    nul_characters: int = 0
    """Zero characters that were taken out so far."""
    line: int = 1
    """The line that is being read."""
    damage: str = ""
    """Why the rest of the file cannot be unpacked; the line that was being read is then left out."""

    def lines(self) -> Iterator[Line]:
        """Yield every line; line feed, carriage return and both together end one."""
        carry, cut = "", False
        for block in self._blocks():
            parts = block.split("\n")
            parts[0] = carry + parts[0]
            carry = parts.pop()
            damaged = bool(_ESCAPED_BYTE.search(block)) or (bool(parts) and bool(_ESCAPED_BYTE.search(parts[0])))
            for text in parts:
                # The parts of a line that is too long all have its number.
                while len(text) > self.longest:
                    cut = True
                    end = self._good_cut(text)
                    yield Line(number=self.line, text=text[:end], damaged=damaged, cut=True)
                    text = text[end:]
                damaged_line = damaged and bool(_ESCAPED_BYTE.search(text))
                yield Line(number=self.line, text=text, damaged=damaged_line, cut=cut)
                self.line += 1
                cut = False
            while len(carry) > self.longest:
                cut = True
                end = self._good_cut(carry)
                yield Line(number=self.line, text=carry[:end], damaged=bool(_ESCAPED_BYTE.search(carry)), cut=True)
                carry = carry[end:]
        if carry and not self.damage:
            yield Line(number=self.line, text=carry, damaged=bool(_ESCAPED_BYTE.search(carry)), cut=cut)

    def _good_cut(self, text: str) -> int:
        """Return where a line that is too long is cut: behind a stop or a blank, if there is one."""
        found = _GOOD_CUT.match(text, self.longest // 2, self.longest)
        return found.end() if found else self.longest

    def _blocks(self) -> Iterator[str]:
        name = codecs.lookup(self.encoding).name
        # The signature at the start of UTF-8 files is no text.
        make = codecs.getincrementaldecoder("utf-8-sig" if name == "utf-8" else name)
        decoder = io.IncrementalNewlineDecoder(make(errors="surrogateescape"), translate=True)
        data = self.first
        while data:
            yield self._cleared(decoder.decode(data))
            if self.damage:
                return
            data, self.damage = _read(self.binary)
        try:
            yield self._cleared(decoder.decode(b"", final=True))
        except UnicodeDecodeError:
            self.damage = f"the file ends in the middle of a character of {self.encoding}"

    def _cleared(self, block: str) -> str:
        zeros = block.count("\x00")
        if zeros:
            self.nul_characters += zeros
            return block.replace("\x00", "")
        return block


def corpus_files(paths: Sequence[Path | str]) -> tuple[Path, ...]:
    """Return the files that paths, folders and globs stand for, in an order that only their names decide.

    The order of `paths` is kept; inside a folder (searched through all levels, hidden files left out) and a glob,
    files come sorted by the parts of their path. A file that is met twice counts once. In a folder only files that
    look like text are taken, by extension (.txt, .md, .jsonl, .json, .xml, packed or not; none; a number).

    Raises:
        DataError: a path does not exist, a folder or a glob yields no file, or nothing was given.
    """
    if not paths:
        raise DataError("no corpus was given", next_step="Pass files, folders or globs")
    found: dict[Path, Path] = {}
    for given in paths:
        for path in _files_of(given):
            found.setdefault(path.resolve(), path)
    return tuple(found.values())


def _files_of(given: Path | str) -> list[Path]:
    path = Path(given).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.exists():
        return [path]
    if glob.has_magic(str(path)):
        matched = sorted((Path(name) for name in glob.glob(str(path), recursive=True)), key=lambda one: one.parts)
        files = [file for one in matched for file in (_folder(one, empty=True) if one.is_dir() else [one])]
        if not files:
            raise DataError("no file fits this pattern", where=str(path), next_step="Check the folder and the pattern")
        return files
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, beside)
    raise DataError(
        "there is no such file or folder",
        where=str(path),
        next_step=f"Beside it stands {close}" if close else "Check the path",
    )


def _folder(folder: Path, *, empty: bool = False) -> list[Path]:
    found: list[Path] = []
    passed_over: Counter[str] = Counter()
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
            suffix = _inner_suffix(suffixes)
            if suffix in _TEXT or not suffix.strip(".0123456789") or (suffixes and suffixes[-1] in _PACKED):
                found.append(Path(parent, name))
            else:
                passed_over[suffix] += 1
    if passed_over:
        kinds = ", ".join(f"{suffix} ({count})" for suffix, count in sorted(passed_over.items()))
        _logger.info("%s: files that are no text were passed over: %s", folder, kinds)
    if not found and not empty:
        kinds = ", ".join(sorted(passed_over)) or "nothing"
        raise DataError(
            "this folder holds no text files",
            where=str(folder),
            received=kinds,
            allowed="files with one of " + ", ".join(_TEXT[:6]) + ", packed or not, or without an extension",
            next_step="Pass the files themselves if they are text all the same",
        )
    return sorted(found, key=lambda path: path.parts)


def _inner_suffix(suffixes: list[str]) -> str:
    inner = suffixes[:-1] if suffixes and suffixes[-1] in _PACKED else suffixes
    return inner[-1] if inner else ""


@contextlib.contextmanager
def open_lines(path: Path, *, encoding: str, longest: int, go_on: bool = False) -> Iterator[TextStream]:
    """Open a file for reading line by line; the packing is seen from its first bytes.

    Args:
        path: the file.
        encoding: of the text; it is held against the file's first mebibyte.
        longest: characters of a line beyond which it comes in parts.
        go_on: whether bytes that cannot be decoded are passed on as lone surrogates when they are few.

    Raises:
        ConfigError: there is no such encoding.
        DataError: the file cannot be read, is no text, or is in another encoding.
    """
    with contextlib.ExitStack() as opened:
        damage = ""
        first = b""
        suffixes = [suffix.lower() for suffix in path.suffixes]
        try:
            binary, member = _unpacked(path, opened)
            suffixes = [suffix.lower() for suffix in PurePosixPath(member).suffixes] if member else suffixes
            first, damage = _read(binary)
        except _DAMAGE as error:
            if isinstance(error, PermissionError):
                raise DataError(
                    "this file may not be read", where=str(path), next_step="Check its permissions"
                ) from error
            binary, damage = io.BytesIO(), _damage(error)
        kind = "an archive of many files" if first[257:262] == b"ustar" else _FOREIGN.get(first[:4])
        if kind:
            next_step = "Unpack or convert it, and pass text files or JSON Lines"
            raise DataError(f"this is {kind}, which is not read as a corpus", where=str(path), next_step=next_step)
        start = decode(_whole_characters(first, encoding), encoding, where=str(path), go_on=go_on).content
        yield TextStream(
            path=path,
            encoding=encoding,
            suffix=_inner_suffix(suffixes),
            longest=longest,
            binary=binary,
            first=first,
            start=start,
            damage=damage,
        )


def _unpacked(path: Path, opened: contextlib.ExitStack) -> tuple[IO[bytes], str]:
    """Return the stream of unpacked bytes, and the name of the member of a zip."""
    file = opened.enter_context(path.open("rb"))
    magic = file.read(6)
    file.seek(0)
    packing = next((name for start, name in _MAGIC.items() if magic.startswith(start)), "")
    if packing == "gzip":
        return cast("IO[bytes]", opened.enter_context(gzip.GzipFile(fileobj=file))), ""
    if packing == "xz":
        return cast("IO[bytes]", opened.enter_context(lzma.LZMAFile(file))), ""
    if packing == "zstd":
        import pyarrow  # lazy: heavy

        stream = opened.enter_context(pyarrow.CompressedInputStream(pyarrow.PythonFile(file), "zstd"))
        return cast("IO[bytes]", stream), ""
    if packing == "zip":
        return _only_member(path, opened.enter_context(zipfile.ZipFile(file)), opened)
    return file, ""


def _only_member(path: Path, archive: zipfile.ZipFile, opened: contextlib.ExitStack) -> tuple[IO[bytes], str]:
    members = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        next_step = "Unpack it and pass the folder"
        raise DataError(f"this zip holds {len(members)} files, not one", where=str(path), next_step=next_step)
    if members[0].flag_bits & 1:
        raise DataError("this zip is locked with a password", where=str(path), next_step="Unpack it first")
    return opened.enter_context(archive.open(members[0])), members[0].filename


def _read(binary: IO[bytes]) -> tuple[bytes, str]:
    """Return the next block, and why what comes after it cannot be read, if so.

    A damaged archive fails as a whole read, so a block is read in small steps.
    """
    steps: list[bytes] = []
    size = 0
    try:
        while size < _BLOCK and (step := binary.read(min(_STEP, _BLOCK - size))):
            steps.append(step)
            size += len(step)
    except _DAMAGE as error:
        return b"".join(steps), _damage(error)
    return b"".join(steps), ""


def _damage(error: BaseException) -> str:
    return f"the file is damaged or cut short from here on ({str(error) or type(error).__name__})"


def _whole_characters(data: bytes, encoding: str) -> bytes:
    """Cut the first block of a longer file where no character is torn."""
    if len(data) < _BLOCK:
        return data
    if "16" in encoding or "32" in encoding:
        return data
    end = data.rfind(b"\n") + 1
    if end:
        return data[:end]
    for cut in range(4):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            data[: len(data) - cut].decode(encoding)
            return data[: len(data) - cut]
    return data
