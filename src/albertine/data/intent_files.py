"""Which files are the splits of a data set of intents and slots: single files, folders, or one file an intent."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from albertine.data.columns import Columns
from albertine.data.split_files import ROLES, SplitFiles, find_split_files
from albertine.errors import DataError
from albertine.files import members

__all__ = ["ParallelFiles", "beside", "find_intent_files", "intent_members", "parallel_files", "tagged_file"]

TOKENS, TAGS, INTENTS = "seq.in", "seq.out", "label"
"""The three files of a split of parallel ones, as published with Goo et al. (2018)."""
_INTENT = ".intent"
"""What a file of intents has behind the name of the file of tagged characters that it belongs to."""
_PACKED = (".gz", ".xz", ".zst", ".zip")
_WORDS = {"train": ("train",), "dev": ("validate", "valid", "dev"), "test": ("test",)}
"""What the name of a split's files begins with, where every intent has one."""
_WHOLE = re.compile(r"(.+)_full(\.json(?:\.\w+)?)")


class ParallelFiles:
    """The three files of a split.

    Args:
        folder: that they lie in.
    """

    def __init__(self, folder: Path) -> None:
        tokens = beside(folder, TOKENS)
        assert tokens is not None, "the folder is a split of parallel files"
        self.tokens = tokens
        self.tags = beside(folder, TAGS)
        self.intents = beside(folder, INTENTS)


def beside(folder: Path, name: str) -> Path | None:
    """Return the file of this name in a folder, packed or not; None where there is none."""
    return next((one for suffix in ("", *_PACKED) if (one := folder / (name + suffix)).is_file()), None)


def parallel_files(path: Path) -> ParallelFiles | None:
    """Return the files of a split of parallel ones, of which `path` is the folder or the file of tokens, else None."""
    folder = path.parent if _unpacked(path) == TOKENS and path.is_file() else path
    return ParallelFiles(folder) if beside(folder, TOKENS) is not None else None


def tagged_file(path: Path) -> tuple[Path, Path] | None:
    """Return a file of tagged characters and the file of intents beside it, else None.

    Args:
        path: that file, or a folder that has one such pair.
    """
    if path.is_dir():
        names = [one.name for one in members(path)]
        paired = [pair for name in names if (pair := tagged_file(path / name)) is not None]
        return paired[0] if len(paired) == 1 else None
    intents = beside(path.parent, _unpacked(path) + _INTENT)
    return None if intents is None or not path.is_file() else (path, intents)


def intent_members(path: Path) -> tuple[Path, ...]:
    """Return the files that a split of one file an intent stands for; of NAME.json beside NAME_full.json the latter.

    The smaller one is a sample of the other (Coucke et al. 2018, section 5.2.1).
    """
    found = members(path)
    whole = {one.parent / (match[1] + match[2]) for one in found if (match := _WHOLE.fullmatch(one.name))}
    return tuple(one for one in found if one not in whole)


def find_intent_files(
    path: Path,
    *,
    dev: Path | None = None,
    test: Path | None = None,
    columns: Columns = Columns(),  # noqa: B008  a frozen record
) -> SplitFiles:
    """Find the files of a data set.

    Args:
        path: a file; a folder that is a split (seq.in, seq.out and label, or a file NAME beside NAME.intent); a folder
            with such folders named train, dev (valid) and test; one with files named so; or one of JSON files named
            train_INTENT and validate_INTENT, in folders of their intents or not. The latter are given as patterns.
        dev: a development split, instead of the folder's.
        test: a test split, instead of the folder's.
        columns: not looked at.

    Raises:
        DataError: the path does not exist, the folder has no training split, or two could be one.
    """
    del columns
    if not path.is_dir() and members(path) == (path,):
        return find_split_files(path, dev=dev, test=test)
    if not path.is_dir() or _is_split(path):
        return SplitFiles(train=path, dev=dev, test=test)
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    roles = {
        role: [one for one in folders if ROLES.get(one.name.lower()) == role and _is_split(one)] for role in _WORDS
    }
    named = {ROLES.get(entry.name.split(".")[0].lower()) for entry in entries if entry.is_file()}
    chosen: dict[str, Path | None]
    if roles["train"]:
        chosen = {role: _one(path, role, found) for role, found in roles.items()}
    elif "train" in named:
        return find_split_files(path, dev=dev, test=test)
    else:
        chosen = {role: _pattern(path, words) for role, words in _WORDS.items()}
    if chosen["train"] is None:
        raise DataError(
            "the folder has no training split",
            where=str(path),
            received=", ".join(entry.name for entry in entries[:10]) or "an empty folder",
            allowed="train.jsonl or train.json; a folder train with seq.in, seq.out and label, or with NAME and "
            "NAME.intent; train_INTENT.json for every intent; beside it dev (valid, validate) and test",
            next_step="Rename it, or pass the split itself (with --dev and --test)",
        )
    return SplitFiles(train=chosen["train"], dev=dev or chosen["dev"], test=test or chosen["test"])


def _is_split(folder: Path) -> bool:
    return parallel_files(folder) is not None or tagged_file(folder) is not None


def _one(folder: Path, role: str, candidates: list[Path]) -> Path | None:
    if len(candidates) > 1:
        raise DataError(
            f"several folders could be {role}",
            where=str(folder),
            received=", ".join(one.name for one in candidates),
            next_step="Leave one of them in the folder, or pass the splits one by one (DATA, --dev, --test)",
        )
    return candidates[0] if candidates else None


def _pattern(folder: Path, words: tuple[str, ...]) -> Path | None:
    """Return the pattern of a role's files, in the folder or in those in it; None where it has none."""
    plain = Path(glob.escape(str(folder)))
    for name in (f"{word}_*.json{packed}" for word in words for packed in ("", *_PACKED)):
        for found in (plain / "*" / name, plain / name):
            if members(found) != (found,):
                return found
    return None


def _unpacked(path: Path) -> str:
    """Return a file's name without the extension of its packing."""
    return path.name.removesuffix(path.suffix) if path.suffix.lower() in _PACKED else path.name
