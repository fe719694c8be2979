"""Which files are train, dev and test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from albertine.data.columns import Columns
from albertine.errors import DataError

__all__ = ["ROLES", "SplitFiles", "find_split_files", "only_one"]

ROLES = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "valid": "dev",
    "validation": "dev",
    "val": "dev",
    "test": "test",
    "testing": "test",
}
_READ = {"", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".pq"}
_READ |= {".conll", ".bio", ".iob", ".iob2", ".bioes"}
_PACKED = {".gz", ".xz", ".zst", ".zip"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFiles:
    """The files of a data set, each with its part in it."""

    train: Path
    dev: Path | None = None
    test: Path | None = None

    def named(self) -> Iterator[tuple[str, Path]]:
        """Yield train, dev and test with their files, as far as they exist."""
        for name, path in (("train", self.train), ("dev", self.dev), ("test", self.test)):
            if path is not None:
                yield name, path


def find_split_files(
    path: Path,
    *,
    dev: Path | None = None,
    test: Path | None = None,
    columns: Columns = Columns(),  # noqa: B008  a frozen record
) -> SplitFiles:
    """Find the files of a data set: `path` is one file, or a folder with files named train, dev (valid) and test.

    Args:
        path: a file or a folder.
        dev: a development file, instead of the folder's.
        test: a test file, instead of the folder's.
        columns: not looked at; other formats go by them.

    Raises:
        DataError: the path does not exist, the folder has no training file, or two files could be one part.
    """
    del columns
    if not path.exists():
        raise DataError("there is no such file or folder", where=str(path), next_step="Check the path")
    if not path.is_dir():
        return SplitFiles(train=path, dev=dev, test=test)
    found: dict[str, list[Path]] = defaultdict(list)
    exact: dict[str, list[Path]] = defaultdict(list)
    for entry in sorted(path.iterdir()):
        if entry.is_file() and not entry.name.startswith(".") and _suffix(entry) in _READ:
            stem = entry.name.split(".")[0].lower()
            roles = {ROLES[word] for word in re.split(r"[-_ ]+", stem) if word in ROLES}
            if stem in ROLES:
                exact[ROLES[stem]].append(entry)
            elif len(roles) == 1:
                found[roles.pop()].append(entry)
    chosen = {role: only_one(path, role, exact[role] or found[role]) for role in ("train", "dev", "test")}
    if chosen["train"] is None:
        names = ", ".join(entry.name for entry in sorted(path.iterdir())[:10])
        raise DataError(
            "the folder has no training file",
            where=str(path),
            received=names or "an empty folder",
            allowed="train.csv, train.tsv, train.jsonl, train.parquet, … packed or not; beside it dev and test",
            next_step="Rename the file, or pass the file itself (with --dev and --test)",
        )
    return SplitFiles(train=chosen["train"], dev=dev or chosen["dev"], test=test or chosen["test"])


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def only_one(folder: Path, role: str, candidates: list[Path]) -> Path | None:
    """Return the file of a role; None where there is none. Raises a DataError where there are several."""
    if len(candidates) > 1:
        raise DataError(
            f"several files could be {role}",
            where=str(folder),
            received=", ".join(path.name for path in candidates),
            next_step="Leave one of them in the folder, or pass the files one by one (DATA, --dev, --test)",
        )
    return candidates[0] if candidates else None
