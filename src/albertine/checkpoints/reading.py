"""Files of a checkpoint opened for reading, with one clear line for what cannot be read."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from albertine.checkpoints.report import listed
from albertine.errors import CheckpointError

__all__ = [
    "AGAIN_STEP",
    "INDEX_LIMIT",
    "JSON_LIMIT",
    "check_start",
    "damaged",
    "read_bytes",
    "read_head",
    "read_json",
    "read_json_value",
    "readable",
]

AGAIN_STEP = "Copy or download the checkpoint again, and compare the sizes of its files with the original's"
"""What to do about a file that is not what its writer wrote."""

JSON_LIMIT = 16 << 20
"""Bytes of a JSON file of a model folder at most: the largest, with a vocabulary in it, have a few."""
INDEX_LIMIT = 64 << 20
"""Bytes at most of an index that names every tensor of a model."""

_LISTED = 20
_HEAD_BYTES = 64
_BLOCK_BYTES = 1 << 20
_LFS_POINTER = b"version https://git-lfs.github.com/"


@contextlib.contextmanager
def readable(path: Path) -> Iterator[FileIO]:
    """Open a file of a checkpoint, or what a link points to, for reading.

    Raises:
        CheckpointError: it is not there, not a file (a folder, a pipe), or the system does not let it be read.
    """
    try:
        if not path.exists():
            raise CheckpointError(
                "this link points to nothing" if path.is_symlink() else "this file does not exist",
                where=str(path),
                next_step=_list_step(path.parent),
            )
        if not path.is_file():
            raise CheckpointError(
                "a file is expected here",
                where=str(path),
                received="a folder" if path.is_dir() else "something that is neither a file nor a folder",
                next_step=AGAIN_STEP,
            )
        with path.open("rb", buffering=0) as file:
            yield file
    except OSError as error:
        raise CheckpointError(
            f"this file cannot be read ({error.strerror or error})", where=str(path), next_step=AGAIN_STEP
        ) from error


def read_head(path: Path) -> bytes:
    """Return the first 64 bytes of a file, fewer where it has no more; they tell formats apart.

    Raises:
        CheckpointError: as `readable`, and for a Git LFS pointer, which stands where a file was not fetched.
    """
    with readable(path) as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_LFS_POINTER):
        raise CheckpointError(
            "this is a Git LFS pointer, not the file itself",
            where=str(path),
            next_step="Run git lfs pull in the folder it came from, or download the file itself",
        )
    return head


def check_start(path: Path, starts: tuple[bytes, ...], what: str) -> None:
    """Refuse by its first bytes a file of another format.

    Args:
        path: the file.
        starts: the ways in which a file of the right format begins.
        what: the sentence that says it is not of the format.

    Raises:
        CheckpointError: as `read_head`, or another beginning.
    """
    head = read_head(path)
    if not head.startswith(starts):
        raise CheckpointError(
            what,
            where=str(path),
            received=f"{path.stat().st_size:,} bytes that begin with {head[:8]!r}" if head else "an empty file",
            next_step=AGAIN_STEP,
        )


def read_bytes(path: Path, limit: int) -> bytes:
    """Return all bytes of a small file.

    Args:
        path: the file.
        limit: most bytes that it may have; no more are read.

    Raises:
        CheckpointError: as `readable`, or a larger file.
    """
    data = bytearray()
    with readable(path) as file:
        while len(data) <= limit and (block := file.read(min(_BLOCK_BYTES, limit + 1 - len(data)))):
            data += block
    if len(data) > limit:
        raise CheckpointError(
            "this file is larger than any of its kind", where=str(path), allowed=f"up to {limit:,} bytes"
        )
    return bytes(data)


def read_json_value(path: Path, limit: int = JSON_LIMIT) -> object:
    """Read a JSON file of a model folder, in UTF-8 with or without a byte order mark.

    Args:
        path: the file.
        limit: most bytes that it may have.

    Raises:
        CheckpointError: as `read_bytes`, or no UTF-8, or no JSON.
    """
    try:
        value: object = json.loads(read_bytes(path, limit).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"this is not valid JSON ({error})", where=str(path), next_step=AGAIN_STEP) from error
    return value


def read_json(path: Path, limit: int = JSON_LIMIT) -> dict[str, object]:
    """Read a JSON object from a file of a model folder.

    Raises:
        CheckpointError: as `read_json_value`, or something else than an object.
    """
    value = read_json_value(path, limit)
    if not isinstance(value, dict):
        raise CheckpointError(
            "a JSON object is expected here", where=str(path), received=f"a JSON {type(value).__name__}"
        )
    return value


def damaged(path: Path, reason: str) -> CheckpointError:
    """Build the error for a weights file that is not whole, from what the library said that read it."""
    first = re.split(r"[\r\n]|\. ", reason.strip())[0][:200].rstrip(" .:")
    return CheckpointError(
        f"this weights file is truncated or damaged ({first})",
        where=str(path),
        received=f"{path.stat().st_size:,} bytes",
        next_step=AGAIN_STEP,
    )


def _list_step(folder: Path) -> str:
    """Name what stands where something was looked for."""
    if not folder.is_dir():
        return "Check the path: its folder does not exist"
    names = sorted(entry.name for entry in folder.iterdir())
    return f"The folder holds: {listed(names, _LISTED) or 'nothing'}"
