"""A search index as a folder: vectors as a NumPy file, passages as JSON Lines, and a manifest; never a pickle.

P passages, W width of a vector.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from albertine.checkpoints.reading import read_json
from albertine.errors import CheckpointError, ConfigError
from albertine.files import atomic_folder, sha256, write_json

__all__ = [
    "IndexContents",
    "IndexedPassage",
    "Storage",
    "Vectors",
    "is_index",
    "read_index",
    "storage_type",
    "write_index",
]

Storage = Literal["float32", "float16"]
"""How vectors are kept; float16 takes half the room and moves a cosine by less than 0.001."""

Vectors = npt.NDArray[np.floating]

_SCHEMA = 1
_VECTORS, _PASSAGES, _MANIFEST = "vectors.npy", "passages.jsonl", "manifest.json"
_AGAIN = "Copy the whole index again, or make it anew"


@dataclass(frozen=True, slots=True)
class IndexedPassage:
    """A passage in an index, one of millions."""

    text: str
    document: int
    """Which document it is of, from 0."""
    file: str
    """Empty where it came from memory."""
    line: int
    """On which it starts, from 1; 0 where it came from memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexContents:
    """Everything that an index is, its encoder aside."""

    passages: Sequence[IndexedPassage]
    """[P] in the order of their documents."""
    blocks: Sequence[Vectors]
    """Their vectors, [P, W] in all, each of length 1; a part of them in each block."""
    width: int
    """W."""
    documents: int
    """How many documents there are, those without any text among them."""
    storage: Storage
    """How the vectors are kept."""
    encoder: str
    """The encoder's folder or name; empty where it has none."""
    query_prompt: str
    """Written before every query."""
    passage_prompt: str
    """Written before every passage."""


def storage_type(storage: Storage) -> np.dtype[np.floating]:
    """Return the type of the numbers of kept vectors."""
    return np.dtype("<f4" if storage == "float32" else "<f2")


def is_index(folder: Path) -> bool:
    """Say whether a folder holds an index, whole or not."""
    return (folder / _VECTORS).is_file() or (folder / _PASSAGES).is_file()


def write_index(folder: Path, contents: IndexContents) -> None:
    """Write an index into a folder of its own, in place of an index that stood there.

    Raises:
        ConfigError: the folder holds something else.
        FailureError: the disk is full or the place cannot be written to; what stood there is unchanged.
    """
    if folder.exists() and not (folder / _VECTORS).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            "an index is written into a folder of its own", where=str(folder), next_step="Name a new folder"
        )
    shape = (len(contents.passages), contents.width)
    with atomic_folder(folder) as new:
        with (new / _VECTORS).open("wb") as file:
            header = {"descr": storage_type(contents.storage).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in contents.blocks:
                file.write(np.ascontiguousarray(block).data)
        with (new / _PASSAGES).open("w", encoding="utf-8") as lines:
            for one in contents.passages:
                lines.write(json.dumps(dataclasses.asdict(one), ensure_ascii=False) + "\n")
        manifest: dict[str, object] = {
            "schema_version": _SCHEMA,
            "documents": contents.documents,
            "passages": shape[0],
            "width": shape[1],
            "storage": contents.storage,
            "encoder": contents.encoder,
            "query_prompt": contents.query_prompt,
            "passage_prompt": contents.passage_prompt,
            "sha256": {name: sha256(new / name) for name in (_VECTORS, _PASSAGES)},
        }
        write_json(new / _MANIFEST, manifest)


def read_index(folder: Path) -> IndexContents:
    """Read what `write_index` wrote; the vectors stay on disk until they are looked at.

    Raises:
        CheckpointError: a file is missing or damaged, or another version wrote the index; the message names it.
    """
    where = folder / _MANIFEST
    manifest = read_json(where)
    hashes = manifest.get("sha256")
    if manifest.get("schema_version") != _SCHEMA or not isinstance(hashes, dict) or {_VECTORS, _PASSAGES} - set(hashes):
        raise CheckpointError("this is no index that this version can read", where=str(where), next_step=_AGAIN)
    for name in (_VECTORS, _PASSAGES):
        if not (folder / name).is_file():
            raise CheckpointError("a file of the index is missing", where=str(folder / name), next_step=_AGAIN)
        if sha256(folder / name) != hashes[name]:
            raise CheckpointError("this file is damaged or cut short", where=str(folder / name), next_step=_AGAIN)
    with (folder / _PASSAGES).open(encoding="utf-8") as lines:
        passages = [IndexedPassage(**json.loads(line)) for line in lines]
    # "c": nothing is ever written, but PyTorch takes no array that says so
    vectors = np.load(folder / _VECTORS, mmap_mode="c", allow_pickle=False)
    documents, storage = manifest.get("documents"), manifest.get("storage")
    texts = [manifest.get(name) for name in ("encoder", "query_prompt", "passage_prompt")]
    if (
        not isinstance(documents, int)
        or storage not in get_args(Storage)
        or not all(isinstance(text, str) for text in texts)
        or vectors.shape != (manifest.get("passages"), manifest.get("width"))
        or len(passages) != len(vectors)
    ):
        raise CheckpointError("the manifest and the other files do not fit", where=str(where), next_step=_AGAIN)
    encoder, query_prompt, passage_prompt = map(str, texts)
    return IndexContents(
        passages=passages,
        blocks=[vectors] if len(vectors) else [],
        width=int(vectors.shape[1]),
        documents=documents,
        storage=cast("Storage", storage),
        encoder=encoder,
        query_prompt=query_prompt,
        passage_prompt=passage_prompt,
    )
