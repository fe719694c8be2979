"""What stands in `corpus.json` of a shard folder, and the names and types of its files."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from albertine.errors import DataError
from albertine.files import sha256, write_json
from albertine.tokenization.tokenizer import Tokenizer

__all__ = [
    "INDEX_FILE",
    "PARTS",
    "SCHEMA_VERSION",
    "TWO_BYTE_IDS",
    "CorpusIndex",
    "Part",
    "ShardRecord",
    "Split",
    "id_dtype",
    "read_index",
    "record_from_json",
    "record_to_json",
    "shard_path",
    "tokenizer_fingerprint",
    "write_index",
]

SCHEMA_VERSION = 1
INDEX_FILE = "corpus.json"
TWO_BYTE_IDS = 1 << 16
"""Vocabularies up to this size have their ids in two bytes."""

Split = Literal["train", "held-out"]
Part = Literal["tokens", "sentences", "documents", "words"]
PARTS: tuple[Part, ...] = get_args(Part)

_COUNTS = ("tokens", "sentences", "documents", "words", "largest_id")
_NEXT = "Build the corpus again with: albertine corpus build"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """One shard: whole documents, one after another."""

    tokens: int
    sentences: int
    documents: int
    words: int
    """Tokens that begin a whole word."""
    largest_id: int
    """-1 where there is no token."""
    hashes: Mapping[str, str]
    """SHA-256 of every part's file, by part."""

    def size(self, part: str, dtype: npt.DTypeLike) -> int:
        """Return how many bytes the file of a part must have."""
        sizes = {
            "tokens": self.tokens * np.dtype(dtype).itemsize,
            "sentences": 4 * (self.sentences + 1),
            "documents": 4 * (self.documents + 1),
            "words": (self.tokens + 7) // 8,
        }
        return sizes[part]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusIndex:
    """The contents of `corpus.json`; equal corpora, choices and tokenizers give equal bytes."""

    vocab_size: int
    fingerprint: str
    """Of the tokenizer: `tokenizer_fingerprint`."""
    tokenizer_files: Mapping[str, str]
    """SHA-256 of the tokenizer's files beside `corpus.json`, by name."""
    splits: Mapping[Split, tuple[ShardRecord, ...]]
    sources: tuple[Mapping[str, object], ...] = ()
    """Of every file of text: name, bytes, sha256."""
    choices: Mapping[str, object] = field(default_factory=dict)
    """What was asked of the build."""

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The type of the ids."""
        return id_dtype(self.vocab_size)

    def total(self, split: Split, what: Literal["tokens", "sentences", "documents", "words"]) -> int:
        """Add up a count over the shards of a split."""
        return sum(cast("int", getattr(record, what)) for record in self.splits.get(split, ()))


def id_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """Return the type in which ids below `vocab_size` are kept, little-endian: two bytes if that is enough, or four."""
    return np.dtype("<u2") if vocab_size <= TWO_BYTE_IDS else np.dtype("<u4")


def shard_path(folder: Path, split: str, number: int, part: str) -> Path:
    """Return where a part of a shard lies."""
    return folder / split / f"{number:05d}.{part}.bin"


def tokenizer_fingerprint(tokenizer: Tokenizer) -> str:
    """Return a SHA-256 that two tokenizers share when they cut every text into the same ids.

    It is taken from the vocabulary and the rules as `Tokenizer.save` writes them, without `tokenizer.json`, whose form
    depends on the version of a library.
    """
    with tempfile.TemporaryDirectory(prefix="albertine-") as name:
        tokenizer.save(name)
        return _fingerprint({file.name: sha256(file) for file in Path(name).iterdir()})


def _fingerprint(files: Mapping[str, str]) -> str:
    lines = [f"{name} {files[name]}\n" for name in sorted(files) if name != "tokenizer.json"]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_index(
    folder: Path,
    *,
    tokenizer: Tokenizer,
    splits: Mapping[Split, Sequence[ShardRecord]],
    sources: Sequence[Mapping[str, object]] = (),
    choices: Mapping[str, object] | None = None,
) -> CorpusIndex:
    """Write the tokenizer's files and, last of all, `corpus.json`: with it a shard folder is complete.

    Args:
        folder: the shard folder.
        tokenizer: the one that made the ids.
        splits: what `ShardWriter.close` returned for each split.
        sources: of every file of text: name, bytes, sha256.
        choices: what was asked of the build.

    Raises:
        FailureError: the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="albertine-") as name:
        tokenizer.save(name)
        names = sorted(file.name for file in Path(name).iterdir())
    tokenizer.save(folder)
    files = {name: sha256(folder / name) for name in names}
    index = CorpusIndex(
        vocab_size=tokenizer.vocab_size,
        fingerprint=_fingerprint(files),
        tokenizer_files=files,
        splits={split: tuple(records) for split, records in splits.items()},
        sources=tuple(sources),
        choices=dict(choices or {}),
    )
    write_json(folder / INDEX_FILE, _to_json(index))
    return index


def _to_json(index: CorpusIndex) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "dtype": index.dtype.name,
        "vocab_size": index.vocab_size,
        "tokenizer": {"fingerprint": index.fingerprint, "files": dict(index.tokenizer_files)},
        "splits": {
            split: {
                **{what: index.total(split, what) for what in ("tokens", "sentences", "documents", "words")},
                "shards": [record_to_json(record) for record in records],
            }
            for split, records in index.splits.items()
        },
        "sources": [dict(source) for source in index.sources],
        "choices": dict(index.choices),
    }


def read_index(folder: Path) -> CorpusIndex:
    """Read `corpus.json`.

    Raises:
        DataError: the folder is no shard folder, is unfinished, or its index is damaged or of another version.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        unfinished = (folder / "work").is_dir()
        raise DataError(
            "this corpus is not finished" if unfinished else "this is not a folder of token shards",
            where=str(folder),
            received=f"no {INDEX_FILE}",
            next_step="Run the same corpus build again, it continues" if unfinished else _NEXT,
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError("the index cannot be read", where=str(path), received=str(error), next_step=_NEXT) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            "an index of another version",
            where=str(path),
            received=f"schema_version {version!r}",
            allowed=str(SCHEMA_VERSION),
            next_step=_NEXT,
        )
    try:
        index = CorpusIndex(
            vocab_size=int(content["vocab_size"]),
            fingerprint=str(content["tokenizer"]["fingerprint"]),
            tokenizer_files={str(name): str(value) for name, value in content["tokenizer"]["files"].items()},
            splits={
                cast("Split", split): tuple(map(record_from_json, part["shards"]))
                for split, part in content["splits"].items()
            },
            sources=tuple(content["sources"]),
            choices=content["choices"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            "the index is damaged", where=str(path), received=f"{type(error).__name__}: {error}", next_step=_NEXT
        ) from error
    if content.get("dtype") != index.dtype.name:
        raise DataError(
            "the index contradicts itself",
            where=f"{path}: dtype",
            received=repr(content.get("dtype")),
            allowed=f"{index.dtype.name} for {index.vocab_size} tokens",
            next_step=_NEXT,
        )
    return index


def record_to_json(record: ShardRecord) -> dict[str, object]:
    """Write a shard's record down."""
    counts = {what: getattr(record, what) for what in _COUNTS}
    return {**counts, "sha256": dict(record.hashes)}


def record_from_json(entry: Mapping[str, object]) -> ShardRecord:
    """Read what `record_to_json` wrote.

    Raises:
        KeyError: a value is missing.
        ValueError: a value is none.
    """
    counts = {what: int(str(entry[what])) for what in _COUNTS}
    hashes = entry["sha256"]
    if not isinstance(hashes, dict) or sorted(hashes) != sorted(PARTS):
        raise ValueError(f"sha256 of {hashes!r}")
    return ShardRecord(**counts, hashes={str(part): str(value) for part, value in hashes.items()})
