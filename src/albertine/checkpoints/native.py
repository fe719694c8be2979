"""Model folders, the form in which everything trained is kept: JSON and safetensors, never a pickle."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from albertine.checkpoints.reading import read_json
from albertine.checkpoints.source import TensorSource
from albertine.checkpoints.storage import INT8_METADATA, pack
from albertine.checkpoints.tensors import INDEX_FILE, WEIGHTS_FILE, find_weights, open_tensors, write_tensors
from albertine.errors import CheckpointError, FailureError
from albertine.files import atomic_folder, disk_errors, write_json, write_text

if TYPE_CHECKING:
    from albertine.tokenization.tokenizer import Tokenizer

__all__ = [
    "TASK_SCHEMA_VERSION",
    "FolderContents",
    "read_model_folder",
    "replaced_files",
    "replaced_names",
    "write_model_files",
    "write_model_folder",
]

CONFIG_FILE = "config.json"
TASK_FILE = "task.json"
MANIFEST_FILE = "manifest.json"
CARD_FILE = "README.md"
PLAN_FILE = "int8_plan.safetensors"
"""Which products run in int8 and how."""
TASK_SCHEMA_VERSION = 2
"""Of task.json."""
_MOVE_AWAY = "Move it away, or name another folder"

# Files that belong to one model: where a new model lacks one of them, the old model's may not stay beside it.
_OWNED = (
    CONFIG_FILE,
    WEIGHTS_FILE,
    INDEX_FILE,
    "model-*-of-*.safetensors",
    TASK_FILE,
    MANIFEST_FILE,
    CARD_FILE,
    PLAN_FILE,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "spiece.model",
    "source/*",
    "target/*",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "*_Dense/config.json",
    "*_Dense/model.safetensors",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderContents:
    """What stands in a model folder, the tokenizer aside."""

    path: Path
    """The folder."""
    config: dict[str, object]
    """`config.json` as it stands."""
    source: TensorSource
    """The weights, by the names of the file; none of them has been read yet."""
    task: dict[str, object] | None
    """`task.json`; None where the folder holds an encoder without a task."""
    manifest: dict[str, object]
    """`manifest.json`; empty where the folder was written by another program."""


def write_model_folder(
    folder: Path,
    *,
    config: Mapping[str, object],
    tensors: Mapping[str, Tensor],
    tokenizer: Tokenizer | None,
    task: Mapping[str, object] | None,
    manifest: Mapping[str, object],
    card: str,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Write a whole model folder in place of the model that stood there.

    Files that belong to no model (logs, checkpoints of a run) stay, and so does everything that another program wrote.

    Everything is written beside its final name first, so that a full disk changes nothing, and then moved into place,
    the manifest last: a folder with a task and no manifest was interrupted, and is refused when read.

    Args:
        folder: the folder, made where it does not exist.
        config: `config.json`.
        tensors: weights, by the names that stand in the file.
        tokenizer: written beside the model, unless None.
        task: `task.json`; None for an encoder without a task.
        manifest: `manifest.json`, enough to run it again.
        card: the model card, Markdown.
        beside: contents of other files that belong to the model, by name.

    Raises:
        FailureError: the disk is full or the place cannot be written to; what stood there before is unchanged.
    """
    with replaced_files(folder) as new:
        write_model_files(
            new, config=config, tensors=tensors, tokenizer=tokenizer, task=task, manifest=manifest, card=card
        )
        for name, contents in (beside or {}).items():
            (new / name).write_bytes(contents)


def write_model_files(
    folder: Path,
    *,
    config: Mapping[str, object],
    tensors: Mapping[str, Tensor],
    tokenizer: Tokenizer | None,
    task: Mapping[str, object] | None,
    manifest: Mapping[str, object],
    card: str,
    int8: bool = False,
) -> None:
    """Write the files of a model into a folder that `replaced_files` gave; the arguments are `write_model_folder`'s.

    Args:
        folder: there already, and empty.
        config: as there.
        tensors: as there.
        tokenizer: as there.
        task: as there.
        manifest: as there.
        card: as there.
        int8: store the weights in eight bits.

    Raises:
        CheckpointError: a weight that cannot be stored in eight bits.
        FailureError: the disk is full or the place cannot be written to.
    """
    write_json(folder / CONFIG_FILE, config)
    if int8:
        write_tensors(folder / WEIGHTS_FILE, pack(tensors), INT8_METADATA)
    else:
        write_tensors(folder / WEIGHTS_FILE, tensors)
    if tokenizer is not None:
        positions = config.get("max_position_embeddings")
        tokenizer.save(folder, max_length=positions if isinstance(positions, int) else None)
    if task is not None:
        write_json(folder / TASK_FILE, task)
    write_text(folder / CARD_FILE, card if card.endswith("\n") else card + "\n")
    write_json(folder / MANIFEST_FILE, manifest)


def read_model_folder(folder: Path) -> FolderContents:
    """Read configuration, weights, task and manifest of a model folder.

    Raises:
        CheckpointError: no such folder, a file is missing, damaged or a pickle, or the writing was interrupted.
    """
    if not folder.is_dir():
        raise CheckpointError(
            "no such model folder",
            where=str(folder),
            received="a file" if folder.exists() else None,
            next_step="Give the folder that holds config.json and model.safetensors",
        )
    weights = find_weights(folder)
    config = read_json(folder / CONFIG_FILE)
    task = read_json(folder / TASK_FILE) if (folder / TASK_FILE).exists() else None
    if task is not None and not (folder / MANIFEST_FILE).exists():
        raise CheckpointError(
            "this model folder has a task and no manifest: writing it was interrupted",
            where=str(folder),
            next_step="Run the training again with the same folder; it continues from its last checkpoint",
        )
    manifest = read_json(folder / MANIFEST_FILE) if (folder / MANIFEST_FILE).exists() else {}
    return FolderContents(path=folder, config=config, source=open_tensors(weights), task=task, manifest=manifest)


@contextlib.contextmanager
def replaced_files(folder: Path) -> Iterator[Path]:
    """Yield an empty folder whose files take the place of a model's in `folder` when the block ends well.

    Raises:
        CheckpointError: something else than a file stands where one is to be written, or it would be written outside of
            the folder through a link; nothing has been changed.
        FailureError: the disk is full or the place cannot be written to.
    """
    if folder.is_symlink() and not folder.exists():
        raise CheckpointError(
            "a model folder cannot be written where a link to nothing stands",
            where=str(folder),
            received=f"a link to {folder.readlink()}",
            next_step="Remove the link, or name another folder",
        )
    if folder.exists() and not folder.is_dir():
        raise CheckpointError("a model folder cannot be written where a file stands", where=str(folder))
    try:
        if not folder.exists():
            with atomic_folder(folder) as new:
                yield new
            return
        with disk_errors(folder), tempfile.TemporaryDirectory(prefix=".writing.", dir=folder) as name:
            yield Path(name)
            _move_into_place(Path(name), folder)
    except FailureError as error:
        # The file that met the full disk has a passing name; the user knows the folder's.
        raise FailureError(
            error.what, where=str(folder), received=error.received, allowed=error.allowed, next_step=error.next_step
        ) from error


def _move_into_place(staging: Path, folder: Path) -> None:
    written = [path.relative_to(staging) for path in sorted(staging.rglob("*")) if path.is_file()]
    _refuse_obstacles(folder, [*written, Path(MANIFEST_FILE)])
    leftovers = replaced_names(folder) - set(written)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    for name in leftovers:
        (folder / name).unlink(missing_ok=True)
    for parent in {name.parent for name in leftovers} - {Path()}:
        with contextlib.suppress(OSError):  # it stays where something else is in it
            (folder / parent).rmdir()
    for name in sorted(written, key=lambda name: name.name == MANIFEST_FILE):
        (folder / name).parent.mkdir(exist_ok=True)
        (staging / name).replace(folder / name)


def _refuse_obstacles(folder: Path, names: Iterable[Path]) -> None:
    """Refuse a folder in which one of these files cannot be put, before anything in it is touched."""
    for name in names:
        place = folder / name
        for parent in (folder / one for one in name.parents if one != Path()):
            if parent.is_symlink():
                raise CheckpointError(
                    "a folder of the model is a link here, and its files would be written elsewhere",
                    where=str(parent),
                    received=f"a link to {parent.readlink()}",
                    next_step="Remove the link, or name another folder",
                )
            if parent.exists() and not parent.is_dir():
                raise CheckpointError(
                    "a file stands where a folder of the model is to be", where=str(parent), next_step=_MOVE_AWAY
                )
        if place.is_dir() and not place.is_symlink():
            raise CheckpointError(
                "a folder stands where a file of the model is to be", where=str(place), next_step=_MOVE_AWAY
            )


def replaced_names(folder: Path) -> set[Path]:
    """Return the files of the model in a folder of ours, which go when another takes its place.

    A manifest, or a task where an earlier move was cut off, makes it a folder of ours; elsewhere nothing is removed.
    """
    if not ((folder / MANIFEST_FILE).is_file() or (folder / TASK_FILE).is_file()):
        return set()
    return {
        path.relative_to(folder)
        for pattern in _OWNED
        for path in folder.glob(pattern)
        # What lies behind a linked folder is not in this one.
        if not path.is_dir() and (path.parent == folder or not path.parent.is_symlink())
    }
