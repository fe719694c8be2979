"""The bytes of a file, unpacked: plain, .gz, .xz, .zst or a .zip with one member; or of all members of an archive."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from albertine.errors import DataError, nearest

__all__ = ["Source", "read_members", "read_source"]

_PACKED = {".gz": "gzip", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_FOREIGN = {
    ".xlsx": "a spreadsheet",
    ".xls": "a spreadsheet",
    ".ods": "a spreadsheet",
    ".docx": "a word processor's document",
    ".pdf": "a PDF",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The unpacked bytes of one file."""

    path: Path
    """The file as the user gave it."""
    data: bytes
    suffix: str
    """The extension inside of the packing, lower case, with its dot; empty where there is none."""


def read_source(path: Path) -> Source:
    """Read a file and unpack it. The packing is seen from the first bytes, not from the name.

    Raises:
        DataError: the file is missing, is no file, cannot be read, is damaged, or holds several members.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _FOREIGN:
        raise DataError(
            f"this is {_FOREIGN[suffixes[-1]]}, which is not read",
            where=str(path),
            next_step="Save it as CSV (UTF-8) and pass that file",
        )
    data = _file_bytes(path)
    packing = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
    named = _PACKED.get(suffixes[-1]) if suffixes else None
    if named and packing is None and data:
        raise DataError(
            f"the name says {named}, the content is something else",
            where=str(path),
            next_step="Rename the file to what it is, such as .csv, or download it again",
        )
    if named:
        suffixes.pop()
    if packing == "zip":
        member, data = _only_member(path, data)
        suffixes = [suffix.lower() for suffix in PurePosixPath(member).suffixes]
    elif packing:
        data = _unpacked(path, data, packing)
    suffix = suffixes[-1] if suffixes else ""
    if suffix == ".tar" or data[257:262] == b"ustar":
        raise DataError(
            "this is an archive of many files", where=str(path), next_step="Unpack it and pass one file of it"
        )
    return Source(path=path, data=data, suffix=suffix)


def read_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file that is in a file, with its name: a plain one itself, of an archive all, packed ones unpacked.

    Archives are .zip and .tar, packed or not, and those in them.

    Raises:
        DataError: the file is missing, is no file, cannot be read, is damaged, or is locked with a password.
    """
    yield from _members(path, path.name, _file_bytes(path))


def _members(path: Path, name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    packing = next((one for magic, one in _MAGIC.items() if data.startswith(magic)), None)
    if data[257:262] == b"ustar" or (name.endswith(".tar") and packing is None):
        for inner, content in _archived(path, data, tarred=True):
            yield from _members(path, f"{name}/{inner}", content)
    elif packing == "zip" and not name.lower().endswith(tuple(_FOREIGN)):
        for inner, content in _archived(path, data, tarred=False):
            yield from _members(path, f"{name}/{inner}", content)
    elif packing and packing != "zip":
        bare = name.removesuffix(next((one for one in _PACKED if name.lower().endswith(one)), ""))
        yield from _members(path, bare, _unpacked(path, data, packing))
    else:
        yield name, data


def _archived(path: Path, data: bytes, *, tarred: bool) -> Iterator[tuple[str, bytes]]:
    try:
        if tarred:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
                for member in tar:
                    if member.isfile() and (file := tar.extractfile(member)) is not None:
                        yield member.name, file.read()
            return
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if info.flag_bits & 1:
                    raise DataError("this zip is locked with a password", where=str(path), next_step="Unpack it first")
                if not info.is_dir() and not info.filename.startswith("__MACOSX/"):
                    yield info.filename, archive.read(info)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise DataError(
            "this archive is damaged, cut short or packed in a way that is not read",
            where=str(path),
            received=str(error) or type(error).__name__,
            next_step="Copy or download it again, or unpack it yourself",
        ) from error


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        close = nearest(path.name, beside)
        raise DataError(
            "there is no such file",
            where=str(path),
            next_step=f"Beside it stands {close}" if close else "Check the path",
        ) from error
    except IsADirectoryError as error:
        raise DataError("this is a folder, a file is needed here", where=str(path)) from error
    except PermissionError as error:
        raise DataError("this file may not be read", where=str(path), next_step="Check its permissions") from error
    except NotADirectoryError as error:
        raise DataError("a part of this path is a file, not a folder", where=str(path)) from error


def _unpacked(path: Path, data: bytes, packing: str) -> bytes:
    try:
        if packing == "gzip":
            return gzip.decompress(data)
        if packing == "xz":
            return lzma.decompress(data)
        return _zstd(data)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(
            f"this {packing} file is damaged or cut short",
            where=str(path),
            received=str(error) or type(error).__name__,
            next_step="Copy or download it again",
        ) from error


def _zstd(data: bytes) -> bytes:
    import pyarrow  # lazy: heavy

    with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd") as stream:
        unpacked: bytes = stream.read()
    return unpacked


def _only_member(path: Path, data: bytes) -> tuple[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [
                info for info in archive.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")
            ]
            if len(members) != 1:
                names = ", ".join(info.filename for info in members[:10]) or "nothing"
                more = f" and {len(members) - 10} more" if len(members) > 10 else ""
                raise DataError(
                    f"this zip holds {len(members)} files",
                    where=str(path),
                    received=names + more,
                    allowed="a zip with one file",
                    next_step="Unpack it and pass one of its files, or the folder",
                )
            if members[0].flag_bits & 1:
                raise DataError("this zip is locked with a password", where=str(path), next_step="Unpack it first")
            return members[0].filename, archive.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise DataError(
            "this zip file is damaged, cut short or packed in a way that is not read",
            where=str(path),
            received=str(error) or type(error).__name__,
            next_step="Copy or download it again, or unpack it yourself",
        ) from error
