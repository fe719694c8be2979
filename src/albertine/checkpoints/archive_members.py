"""What zip and tar archives say about their members, and their bytes, read in little memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

from albertine.checkpoints.reading import readable
from albertine.errors import CheckpointError
from albertine.files import disk_errors

__all__ = ["AGAIN", "Member", "MemberKind", "Target", "archive_members", "copy_members"]

AGAIN = "Copy or download the archive again, and compare its size with the original's"

_ZIP, _GZIP = (b"PK\x03\x04", b"PK\x05\x06"), b"\x1f\x8b"
_HEADER_BYTES = 1 << 16
"""Bytes of headers that a member of a tar archive may have; long names and times need some hundreds."""
_GLOBAL_HEADERS = 64
"""Values that a tar archive may set for all its members, each of which gets a copy."""
_DIRECTORY_BYTES = 4 << 20
"""Bytes that a zip archive's list of its members may have."""
_PADDING_BYTES = 16 << 20
"""Zeros that may follow the last member of a tar archive."""
_PIECE = 1 << 20
_ENCRYPTED = 0x2041
"""The bits of a zip member's flags that say so."""

_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    OverflowError,
    ValueError,
    NotImplementedError,
    RecursionError,
)
"""What the standard library raises over bytes that are not what they should be."""

MemberKind = Literal["file", "folder", "encrypted file", "link, device or other special file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What an archive says about one of its members."""

    name: str
    kind: MemberKind
    size: int
    """Bytes when unpacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A file that is to be unpacked."""

    path: Path
    size: int
    """Bytes that were announced."""


def archive_members(path: Path) -> Iterator[Member]:
    """Give every member of a zip, tar or tar.gz archive as it stands there, unchecked.

    Raises:
        CheckpointError: not an archive, or a damaged one; headers that would fill the memory.
    """
    with readable(path) as file, _damage(path):
        if _is_zip(file):
            with _zip(file, path) as archive:
                yield from (_zip_member(info, path) for info in archive.infolist())
        else:
            with _CarefulTar(file, path) as tar:
                while (info := tar.next()) is not None:
                    yield _tar_member(info)
                tar.check_end()


def copy_members(path: Path, targets: Mapping[str, Target]) -> None:
    """Copy members of an archive into new files, in pieces, and no more bytes than were announced.

    Args:
        path: the archive.
        targets: by the members' names.

    Raises:
        CheckpointError: a member is shorter, longer or otherwise than announced.
        FailureError: the disk filled up.
    """
    with readable(path) as file, _damage(path):
        if _is_zip(file):
            with _zip(file, path) as archive:
                for name, target in targets.items():
                    with archive.open(name) as data:
                        _copy(data, target)
            return
        with _CarefulTar(file, path) as tar:
            done = 0
            while (info := tar.next()) is not None:
                if (target_of := targets.get(info.name)) is not None and info.isreg():
                    _copy(tar.open(info), target_of)
                    done += 1
            if done < len(targets):
                raise EOFError("it changed while it was read")


class _Guarded(io.RawIOBase):
    """A file of which no more than a budget is read, because headers are read into memory whole.

    Args:
        file: to read from.
        where: the archive, for messages.
    """

    def __init__(self, file: IO[bytes], where: str) -> None:
        super().__init__()
        self.budget: int | None = 0
        self._file = file
        self._where = where

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes.

        Raises:
            CheckpointError: more than the budget.
        """
        wanted = -1 if size is None else size
        if self.budget is None:
            return self._file.read(wanted)
        wanted = self.budget + 1 if wanted < 0 else wanted
        data = self._file.read(min(wanted, self.budget + 1))
        if len(data) > self.budget:
            raise CheckpointError(
                "the archive's headers are larger than those of any model's", where=self._where, next_step=AGAIN
            )
        self.budget -= len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Say where reading goes on."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Say that `seek` works."""
        return True

    def readable(self) -> bool:
        """Say that `read` works."""
        return True


class _CarefulTar:
    """A tar archive, compressed or not, read from front to back without remembering what has passed.

    Args:
        file: of the archive.
        path: the same, for messages.
    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        packed = file.read(2) == _GZIP
        file.seek(0)
        self._stack = contextlib.ExitStack()
        stream = cast(IO[bytes], self._stack.enter_context(gzip.GzipFile(fileobj=file))) if packed else file
        self._guard = _Guarded(stream, str(path))
        self._guard.budget = _HEADER_BYTES
        self._tar = tarfile.TarFile(fileobj=cast(IO[bytes], self._guard))

    def __enter__(self) -> _CarefulTar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def next(self) -> tarfile.TarInfo | None:
        """Return the next member, None after the last."""
        self._guard.budget = _HEADER_BYTES
        info = self._tar.next()
        # The archive's own list would grow with every member; emptying it is the documented way to keep it small.
        self._tar.members = []  # type: ignore[attr-defined]  # absent from the types
        if len(self._tar.pax_headers) > _GLOBAL_HEADERS or (info is not None and info.size < 0):
            raise tarfile.ReadError("headers that make no sense")
        return info

    def open(self, info: tarfile.TarInfo) -> IO[bytes]:
        """Open the regular file that `next` gave last."""
        self._guard.budget = None
        data = self._tar.extractfile(info)
        assert data is not None, "a regular file has contents"
        return data

    def check_end(self) -> None:
        """Check that nothing but zeros follows: the reader takes a header that it cannot read for the end.

        Going to the end is also what makes gzip compare its checksum.
        """
        self._guard.seek(self._tar.offset)
        self._guard.budget = _PADDING_BYTES
        while block := self._guard.read(_HEADER_BYTES):
            if block.strip(b"\0"):
                raise tarfile.ReadError("a member that cannot be read")


def _is_zip(file: IO[bytes]) -> bool:
    magic = file.read(4)
    file.seek(0)
    return magic in _ZIP


@contextlib.contextmanager
def _zip(file: IO[bytes], path: Path) -> Iterator[zipfile.ZipFile]:
    guard = _Guarded(file, str(path))
    guard.budget = _DIRECTORY_BYTES
    with zipfile.ZipFile(cast(IO[bytes], guard)) as archive:
        guard.budget = None
        yield archive


def _zip_member(info: zipfile.ZipInfo, path: Path) -> Member:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CheckpointError(
            "a member is compressed in a way that is not read here",
            where=f"{path}: {info.filename[:200]!r}",
            received=f"method {info.compress_type}",
            allowed="stored or deflated, which every zip program writes",
        )
    kind: MemberKind = "file"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "link, device or other special file"
    elif info.filename.endswith("/"):  # is_dir() fails over an empty name
        kind = "folder"
    elif info.flag_bits & _ENCRYPTED:
        kind = "encrypted file"
    # Python cuts a name at its first zero byte; the whole one shows what was meant.
    return Member(name=info.orig_filename, kind=kind, size=info.file_size)


def _tar_member(info: tarfile.TarInfo) -> Member:
    kind: MemberKind = "link, device or other special file"
    if info.isdir():
        kind = "folder"
    elif info.isreg() and not info.issparse():
        kind = "file"
    return Member(name=info.name, kind=kind, size=info.size)


def _copy(member: IO[bytes], target: Target) -> None:
    """Copy exactly as many bytes as were announced."""
    left = target.size
    target.path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(target.path), target.path.open("xb") as out:
        while left:
            piece = member.read(min(_PIECE, left))
            if not piece:
                raise EOFError(f"{left} bytes of {target.path.name} are missing")
            out.write(piece)
            left -= len(piece)
    if member.read(1):  # which is also where a zip archive's checksum is compared
        raise EOFError(f"{target.path.name} is longer than announced")


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise CheckpointError(
            f"not an archive, or a damaged or truncated one ({error})", where=str(path), next_step=AGAIN
        ) from error
