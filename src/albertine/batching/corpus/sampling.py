"""Documents from places all over a corpus, and how large it is unpacked."""

from __future__ import annotations

import lzma
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from albertine.batching.corpus.reading import LONGEST_DOCUMENT, ReadingChoices
from albertine.data.corpus import Document, read_documents
from albertine.data.corpus_streams import open_lines

__all__ = ["CorpusSample", "sample_corpus"]

_POINTS = 24
"""Places of the corpus that are looked at."""
_WINDOWS = (1 << 15, 1 << 18)
"""Bytes at each of them, at least and at most; in between a tenth of the corpus is looked at."""
_DEEPEST = 1 << 25
"""Bytes of a packed file beyond which nothing is looked at, because all before has to be unpacked."""
_HEAD = 1 << 20
_PACKED = (b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSample:
    """Documents from all over a corpus."""

    documents: tuple[Document, ...]
    sampled_bytes: int
    """Unpacked bytes that they took."""
    total_bytes: int
    """Unpacked bytes of the whole corpus; estimated for packed files."""

    @property
    def share(self) -> float:
        """Which part of the corpus was looked at."""
        return min(self.sampled_bytes / self.total_bytes, 1.0) if self.total_bytes else 1.0


def sample_corpus(files: Sequence[Path], choices: ReadingChoices) -> CorpusSample:
    """Read documents at places spread evenly over the bytes of a corpus.

    Args:
        files: all files, in order.
        choices: how they are read.

    Raises:
        DataError: a file cannot be read or is in another encoding.
    """
    sizes = [_unpacked_size(path) for path in files]
    total = sum(sizes)
    length = min(max(total // (10 * _POINTS), _WINDOWS[0]), _WINDOWS[1])
    documents: list[Document] = []
    sampled = 0
    with tempfile.TemporaryDirectory(prefix="albertine-") as folder:
        border = 0
        for path, size in zip(files, sizes, strict=True):
            step = max(total // _POINTS, 1)
            points = (border + size) // step - border // step
            border += size
            if not points:
                continue
            for window, suffix in _windows(path, size, points, length, choices.encoding):
                copy = Path(folder, f"window{suffix}")
                copy.write_bytes(window)
                documents += _documents(copy, path, choices)
                sampled += len(window)
    return CorpusSample(documents=tuple(documents), sampled_bytes=sampled, total_bytes=total)


def _documents(copy: Path, path: Path, choices: ReadingChoices) -> Iterator[Document]:
    found = read_documents(
        [copy],
        encoding=choices.encoding,
        # A window ends where it ends; bad places are met again, and told of, when the file itself is read.
        on_error="skip",
        format=choices.format,
        text_key=choices.text_key,
        keep_titles=choices.keep_titles,
        longest=LONGEST_DOCUMENT,
    )
    for document in found:
        yield replace(document, source=str(path))


def _windows(path: Path, size: int, points: int, length: int, encoding: str) -> Iterator[tuple[bytes, str]]:
    """Yield parts of a file's unpacked bytes that begin and end where documents do, as far as that can be seen."""
    wide = bool(re.search("16|32", encoding))
    reach = min(size, _DEEPEST)
    if size <= points * length:
        points, length = 1, size
    elif wide:
        points = 1
    with open_lines(path, encoding=encoding, longest=LONGEST_DOCUMENT, go_on=True) as stream:
        source = _Rest(stream.first, stream.binary)
        position = 0
        for point in range(points):
            start = max(point * (reach - length) // max(points - 1, 1), position)
            source.skip(start - position)
            data = source.read(length)
            position = start + len(data)
            whole = start == 0 and len(data) < length
            yield (data if whole or wide else _trimmed(data, first=start == 0)), stream.suffix


class _Rest:
    """Bytes of which the first have been read already."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int) -> bytes:
        data, self._first = self._first[:size], self._first[size:]
        while len(data) < size:
            try:
                more = self._rest.read(size - len(data))
            except (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile):
                break  # told of when the file itself is read
            if not more:
                break
            data += more
        return data

    def skip(self, size: int) -> None:
        while size > 0 and (data := self.read(min(size, _HEAD))):
            size -= len(data)


def _trimmed(data: bytes, *, first: bool) -> bytes:
    """Cut the torn documents off both ends of a window."""
    if re.search(rb"^<doc[ >]", data, re.MULTILINE):
        start, end = re.search(rb"^<doc[ >]", data, re.MULTILINE), data.rfind(b"</doc>")
        if start is not None and end > start.start():
            return data[start.start() : end + len(b"</doc>")] + b"\n"
    start_at = 0 if first else data.find(b"\n") + 1
    end_at = data.rfind(b"\n") + 1
    return data[start_at:end_at] if end_at > start_at else data


def _unpacked_size(path: Path) -> int:
    """Return how many bytes a file has unpacked, told from its beginning where it is packed."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(6)
        if not head.startswith(_PACKED):
            return size
        head += file.read(_HEAD)
    if head.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                return sum(info.file_size for info in archive.infolist())
        except zipfile.BadZipFile:
            return size
    unpacked, packed = _unpacked_head(head)
    return round(size * unpacked / packed) if packed else size


def _unpacked_head(head: bytes) -> tuple[int, int]:
    """Return how many bytes come out of the beginning of a file, and how many went in."""
    try:
        if head.startswith(b"\x1f\x8b"):
            gzip = zlib.decompressobj(31)
            return len(gzip.decompress(head)), len(head) - len(gzip.unused_data)
        if head.startswith(b"\xfd7zXZ\x00"):
            xz = lzma.LZMADecompressor()
            return len(xz.decompress(head)), len(head) - len(xz.unused_data)
    except (zlib.error, lzma.LZMAError):
        return len(head), len(head)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow  # lazy: heavy

        unpacked = 0
        with pyarrow.CompressedInputStream(pyarrow.BufferReader(head), "zstd") as stream:
            try:
                while block := stream.read(1 << 16):
                    unpacked += len(block)
            except OSError:
                pass  # the beginning of a longer file
        return unpacked, len(head)
    return len(head), len(head)
