"""Published TensorFlow folders as they really are: which checkpoint, which configuration, which vocabulary."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from albertine.checkpoints.google.config import read_google_config
from albertine.checkpoints.google.names import GoogleLayout
from albertine.checkpoints.google.shapes import missing_config
from albertine.checkpoints.huggingface import ReadConfig
from albertine.checkpoints.reading import read_json
from albertine.checkpoints.source import TensorSource
from albertine.errors import CheckpointError

__all__ = ["GoogleFolder", "find_google", "read_folder_config"]

_LOG = logging.getLogger("albertine")

_INDEX = ".index"
_SAVED_MODEL = "variables"
"""The folder of a SavedModel that holds its checkpoint, and the checkpoint's name there."""
_ASSETS = "assets"
_CONFIGS = "*bert_config*.json"
_VOCABULARIES = ("*vocab*.txt", "*.model", "tokenizer.json")
_FILE_OF_CHECKPOINT = re.compile(r"(?P<prefix>.+)(?:\.index|\.meta|\.data-\d{5}-of-\d{5})")
_STEP = re.compile(r"(?P<stem>.*)-(?P<step>\d{1,18})")
_FOR_GOOGLE = re.compile(r"_(?:g|google|google_fast)\.json$")
"""The end of a configuration of brightmart's that is for Google's code: a checkpoint of it has Google's layout."""
_LATEST = re.compile(r'^\s*model_checkpoint_path:\s*"(?P<path>.*)"\s*$', re.MULTILINE)
_LATEST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleFolder:
    """What a folder holds that somebody published or trained with the original code."""

    prefix: Path
    """The checkpoint, without `.index`."""
    configs: tuple[Path, ...]
    """Every bert_config.json or albert_config*.json of the folder; the checkpoint's layout tells which one counts."""
    tokenizer_folder: Path
    """Where the vocabulary lies; the checkpoint's own folder where there is none."""
    tokenizer_files: tuple[Path, ...]
    """The vocabularies there; empty where there are none."""


def find_google(path: Path) -> GoogleFolder | None:
    """Find the checkpoint of a folder, and the files that belong to it.

    Args:
        path: a folder with `*.index`, a SavedModel with `variables/variables.index` (as on TensorFlow Hub), a file of
            one checkpoint, or a checkpoint's prefix.

    Returns:
        None where `path` is nothing of that kind.

    Raises:
        CheckpointError: several checkpoints, of which nothing says which one is meant; data without its index.
    """
    prefix = _prefix(path)
    if prefix is None:
        return None
    folders = [prefix.parent]
    if prefix.name == _SAVED_MODEL and prefix.parent.name == _SAVED_MODEL:
        folders = [prefix.parent.parent, prefix.parent.parent / _ASSETS, prefix.parent]
    vocabularies = {folder: _listed(folder, *_VOCABULARIES) for folder in folders}
    home = next((folder for folder, files in vocabularies.items() if files), folders[0])
    return GoogleFolder(
        prefix=prefix,
        configs=tuple(file for folder in folders for file in _listed(folder, _CONFIGS)),
        tokenizer_folder=home,
        tokenizer_files=vocabularies[home],
    )


def read_folder_config(found: GoogleFolder, layout: GoogleLayout, source: TensorSource) -> ReadConfig:
    """Read the configuration of a checkpoint.

    Args:
        found: the folder.
        layout: whose code wrote the checkpoint.
        source: the checkpoint, whose shapes tell what a missing configuration would say.

    Raises:
        CheckpointError: no configuration (the message has one to write), several, or one that cannot be read.
    """
    file = _config_for(found, layout)
    if file is None:
        raise missing_config(source.entries, layout, where=str(found.prefix.parent))
    return read_google_config(read_json(file), layout, where=str(file))


def _config_for(found: GoogleFolder, layout: GoogleLayout) -> Path | None:
    """Choose among the configurations of a folder: brightmart's come in pairs, one for each layout."""
    configs = found.configs
    if len(configs) > 1 and layout != "google-bert":
        for_google = tuple(file for file in configs if _FOR_GOOGLE.search(file.name))
        rest = tuple(file for file in configs if file not in for_google)
        configs = (for_google if layout == "google-albert" else rest) or configs
    if len(configs) > 1:
        exact = tuple(file for file in configs if file.name in ("bert_config.json", "albert_config.json"))
        family = tuple(file for file in exact if file.name.startswith("bert") == (layout == "google-bert"))
        configs = family or exact or configs
    if len(configs) > 1:
        raise CheckpointError(
            "several configurations, and nothing says which one is this checkpoint's",
            where=str(found.prefix.parent),
            received=", ".join(file.name for file in configs),
            next_step="Leave the one that was published with it",
        )
    return configs[0] if configs else None


def _prefix(path: Path) -> Path | None:
    """Return the prefix of the checkpoint that `path` means."""
    if path.is_dir():
        return _prefix_in(path)
    if path.is_file() and (file := _FILE_OF_CHECKPOINT.fullmatch(path.name)):
        return path.with_name(file["prefix"])
    return path if path.name and path.with_name(path.name + _INDEX).is_file() else None


def _prefix_in(folder: Path) -> Path | None:
    prefixes = {file.name.removesuffix(_INDEX): file for file in _listed(folder, f"*{_INDEX}")}
    if not prefixes and (folder / _SAVED_MODEL / f"{_SAVED_MODEL}{_INDEX}").is_file():
        return folder / _SAVED_MODEL / _SAVED_MODEL
    if not prefixes:
        _refuse_bare_data(folder)
        return None
    if len(prefixes) == 1:
        return folder / next(iter(prefixes))
    chosen = _named_latest(folder, prefixes.keys()) or _highest_step(prefixes.keys())
    if chosen is None:
        raise CheckpointError(
            "several checkpoints, and nothing says which one is meant",
            where=str(folder),
            received=", ".join(sorted(prefixes)),
            next_step="Give the path of one of them, such as " + str(folder / min(prefixes)),
        )
    _LOG.info("%s: %d checkpoints; %s is the one that is read", folder, len(prefixes), chosen)
    return folder / chosen


def _named_latest(folder: Path, prefixes: Collection[str]) -> str | None:
    """Return what TensorFlow's `checkpoint` file names, wherever the folder stood when that was written."""
    file = folder / "checkpoint"
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        found = _LATEST.search(opened.read(_LATEST_BYTES).decode("utf-8", errors="replace"))
    if found is None:
        return None
    name = re.split(r"[/\\]", found["path"])[-1]
    if name in prefixes:
        return name
    raise CheckpointError(
        "the file names a checkpoint that is not in the folder",
        where=str(file),
        received=repr(found["path"]),
        allowed=", ".join(sorted(prefixes)),
        next_step="Give the path of one of them, such as " + str(folder / min(prefixes)),
    )


def _highest_step(prefixes: Collection[str]) -> str | None:
    """Return the last of the checkpoints of one training, None where they are of several."""
    found = {name: match for name in prefixes if (match := _STEP.fullmatch(name))}
    steps = {int(match["step"]): name for name, match in found.items()}
    if len(steps) < len(prefixes) or len({match["stem"] for match in found.values()}) > 1:
        return None
    return steps[max(steps)]


def _refuse_bare_data(folder: Path) -> None:
    data = _listed(folder, "*.data-?????-of-?????")
    if data:
        prefix = data[0].name.rpartition(".data-")[0]
        raise CheckpointError(
            "the data of a TensorFlow checkpoint, but not the index that says what is where in it",
            where=str(folder),
            received=data[0].name,
            next_step=f"Copy {prefix}{_INDEX} there too",
        )


def _listed(folder: Path, *patterns: str) -> tuple[Path, ...]:
    """Return the files of a folder, hidden ones left out (macOS puts a `._` file beside every other)."""
    files = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    return tuple(sorted(file for file in files if not file.name.startswith(".")))
