"""Files written whole or not at all, and told apart by their hash."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from albertine.errors import FailureError

__all__ = ["atomic_folder", "atomic_path", "disk_errors", "members", "sha256", "write_json", "write_text"]

_IN_THE_WAY = {
    errno.EEXIST: "something stands where a folder has to be made",
    errno.ENOTDIR: "a file stands where a folder has to be",
    errno.EISDIR: "a folder stands where the file is to be written",
    errno.ELOOP: "this link leads in a circle",
    errno.ENAMETOOLONG: "this name is too long",
}
"""What a place can be that is neither full nor forbidden."""


@contextlib.contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a full disk, a forbidden place or something in the way into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FailureError(
                "the disk is full; nothing was left half-written under this name",
                where=str(target),
                next_step="Free some space and run the same command again",
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise FailureError(
                "this place cannot be written to",
                where=str(target),
                next_step="Choose another place, or ask for the right to write there",
            ) from error
        if error.errno in _IN_THE_WAY:
            raise FailureError(
                _IN_THE_WAY[error.errno],
                where=str(target),
                received=error.filename if error.errno in (errno.EEXIST, errno.ENOTDIR) else None,
                next_step="Choose another place, or move away what stands there",
            ) from error
        raise


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` and move it there when the block ends well; else remove it."""
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(target)
        temporary.touch(exist_ok=False)  # with the rights that the user's umask leaves
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target` and put it in its place when the block ends well; else remove it."""
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(target)
        temporary.mkdir()
        replaced = temporary.with_name(temporary.name + ".replaced")
        try:
            yield temporary
            if target.exists():
                target.rename(replaced)
            temporary.rename(target)
        except BaseException:
            if replaced.exists() and not target.exists():
                replaced.rename(target)
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(replaced, ignore_errors=True)


def _beside(target: Path) -> Path:
    """Return a hidden name in the same folder that nothing else has."""
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}")


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Mapping[str, object]) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(target, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def members(path: Path) -> tuple[Path, ...]:
    """Return the files that a path stands for, sorted: those in a folder, those that a pattern with `*` matches.

    A file, and a path at which there is nothing, stand for themselves.
    """
    if path.is_dir():
        found = [one for one in path.iterdir() if not one.name.startswith(".")]
    elif "*" in str(path) and not path.exists():
        found = [Path(one) for one in glob.glob(str(path))]
    else:
        return (path,)
    return tuple(sorted(one for one in found if one.is_file())) or (path,)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal; where a path stands for several, of their names and hashes.

    Which they are `members` says.
    """
    digest = hashlib.sha256()
    files = members(path)
    if files != (path,):
        digest.update("".join(f"{one.name} {sha256(one)}\n" for one in files).encode())
        return digest.hexdigest()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
