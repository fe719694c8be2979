"""Files of a checkpoint opened for reading, with one clear line for what cannot be read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from albertine.errors import CheckpointError

__all__ = ["AGAIN_STEP", "readable"]

AGAIN_STEP = "Copy or download the checkpoint again, and compare the sizes of its files with the original's"
"""What to do about a file that is not what its writer wrote."""

_LISTED = 20


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


def _list_step(folder: Path) -> str:
    """Name what stands where something was looked for."""
    if not folder.is_dir():
        return "Check the path: its folder does not exist"
    names = sorted(entry.name for entry in folder.iterdir())
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"The folder holds: {', '.join(names[:_LISTED]) or 'nothing'}{more}"
