"""Archives of models (zip, tar, tar.gz) unpacked for a while, with nothing in them trusted."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from albertine.checkpoints.archive_members import AGAIN, Member, Target, archive_members, copy_members
from albertine.errors import CheckpointError

__all__ = ["is_archive", "is_archive_name", "unpacked"]

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_NEEDED = re.compile(
    r".+\.(?:json|txt|model|vocab|index|safetensors|bin|h5)|.+\.data-\d{5}-of-\d{5}|checkpoint", re.IGNORECASE
)
"""Names of the files that opening a model may read; graphs (`.meta`, `.pb`) and logs stay in the archive."""
_LITTER = re.compile(r"\._.*|(?:readme|licen[cs]e|notice|changes).*\.txt", re.IGNORECASE)
_SYSTEM_FOLDER = "__MACOSX"

_MOST_MEMBERS = 10_000
_MOST_EXPANSION = 100
"""Times its own size that an archive may hold; weights hardly shrink."""
_ALWAYS_ALLOWED = 1 << 20
"""Bytes that an archive may hold however small it is."""
_LONGEST_PATH, _LONGEST_NAME, _DEEPEST = 1024, 255, 32


def is_archive(path: Path) -> bool:
    """Say whether a path is a file named like an archive."""
    return is_archive_name(path) and path.is_file()


def is_archive_name(path: Path) -> bool:
    """Say whether a path is named like an archive, .zip, .tar, .tar.gz or .tgz, whether it exists or not."""
    return path.name.lower().endswith(_SUFFIXES)


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Unpack what opening a model needs into a temporary folder, which is gone when the block ends.

    Everything that the archive says about its members is checked before the first byte is written, and what they hold
    is copied in pieces. Where the files lie in one folder of the archive, that is the folder given.

    Args:
        path: a zip, tar or tar.gz file, whatever its name.

    Raises:
        CheckpointError: not an archive, or a damaged one; a path that leads outside; links, devices, encrypted or
            doubled members; more members or bytes than a model has, or than the disk has room for; nothing needed.
        FailureError: the disk filled up meanwhile.
    """
    files = _checked(archive_members(path), path)
    needed = {parts: member for parts, member in files.items() if _is_needed(parts)}
    if not needed:
        raise CheckpointError(
            "the archive holds no files of a model",
            where=str(path),
            received=", ".join(sorted(member.name for member in files.values())[:5]) or "no files",
            allowed="configurations (.json), weights (.index and .data-…, .safetensors), vocabularies (.txt, .model)",
        )
    with tempfile.TemporaryDirectory(prefix="albertine-") as name:
        folder = Path(name)
        _check_space(folder, sum(member.size for member in needed.values()), path)
        targets = {
            member.name: Target(path=folder.joinpath(*parts), size=member.size) for parts, member in needed.items()
        }
        copy_members(path, targets)
        yield folder.joinpath(*_common_folder(needed))


def _checked(members: Iterator[Member], path: Path) -> dict[tuple[str, ...], Member]:
    """Return the files of an archive by the parts of their paths, once nothing about any member is suspicious."""
    packed = path.stat().st_size if path.is_file() else 0
    most = max(_ALWAYS_ALLOWED, _MOST_EXPANSION * packed)
    files: dict[tuple[str, ...], Member] = {}
    seen: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    total = 0
    for count, member in enumerate(members, start=1):
        where = f"{path}: {member.name[:200]!r}"
        if count > _MOST_MEMBERS:
            raise CheckpointError("too many members for a model", where=str(path), allowed=f"{_MOST_MEMBERS:,}")
        if member.kind not in ("file", "folder"):
            raise CheckpointError(
                f"the archive holds a member that is never unpacked: {member.kind}",
                where=where,
                allowed="files and folders",
                next_step="Unpack it yourself, if you trust it, and give the folder",
            )
        parts = _parts(member.name, where)
        folded = tuple(part.casefold() for part in parts)
        folders.update(folded[:depth] for depth in range(1, len(folded) + (member.kind == "folder")))
        if member.kind == "folder":
            continue
        total += member.size
        if total > most:
            raise CheckpointError(
                "the archive claims to hold far more than weights can be compressed to",
                where=where,
                received=f"{total:,} bytes from {packed:,}",
                allowed=f"{_MOST_EXPANSION} times its own size",
            )
        if not parts or folded in seen:
            what = "two members of one name" if parts else "a member without a name"
            raise CheckpointError(what, where=where, next_step=AGAIN)
        seen.add(folded)
        files[parts] = member
    if clash := seen & folders:
        raise CheckpointError(
            "a file and a folder of one name", where=str(path), received="/".join(min(clash)), next_step=AGAIN
        )
    return files


def _parts(name: str, where: str) -> tuple[str, ...]:
    """Return the parts of a member's path.

    Raises:
        CheckpointError: a path that leads elsewhere on some system, or that none can have.
    """
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    wrong = (
        name.startswith("/")
        or ".." in parts
        or re.match(r"[A-Za-z]:", name) is not None
        or re.search(r"[\\\x00-\x1f]", name) is not None
    )
    longest = max((len(os.fsencode(part)) for part in parts), default=0)
    too_long = len(os.fsencode(name)) > _LONGEST_PATH or longest > _LONGEST_NAME or len(parts) > _DEEPEST
    if wrong or too_long:
        raise CheckpointError(
            "a path that is too long" if too_long else "a path that could lead outside the folder it is unpacked to",
            where=where,
            allowed="relative paths with / between folders, without ..",
            next_step="Do not unpack this archive by other means either, unless you know where it comes from",
        )
    return parts


def _is_needed(parts: tuple[str, ...]) -> bool:
    name = parts[-1]
    return _SYSTEM_FOLDER not in parts and _NEEDED.fullmatch(name) is not None and not _LITTER.fullmatch(name)


def _common_folder(files: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the deepest folder in which all files lie."""
    parents = [parts[:-1] for parts in files]
    first, last = min(parents), max(parents)
    return tuple(a for a, b in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))


def _check_space(folder: Path, size: int, path: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise CheckpointError(
            "there is no room to unpack this archive",
            where=str(path),
            received=f"{size:,} bytes in it, {free:,} free at {folder.parent}",
            next_step="Free some space, or set TMPDIR to a folder on a larger disk",
        )
