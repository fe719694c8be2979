"""Any folder, file, archive or name that holds an encoder > its configuration, tensors and tokenizer, unread."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from albertine.checkpoints.archives import is_archive, unpacked
from albertine.checkpoints.google.folder import GoogleFolder, find_google, read_folder_config
from albertine.checkpoints.google.names import detect_layout, google_head
from albertine.checkpoints.hub import HUB_PREFIX, fetch
from albertine.checkpoints.huggingface import ENCODER_BODY, ReadConfig, config_from_json
from albertine.checkpoints.huggingface_heads import read_head
from albertine.checkpoints.keras import KERAS_FILE, open_keras
from albertine.checkpoints.layouts import LAYOUTS
from albertine.checkpoints.native import CONFIG_FILE, read_model_folder
from albertine.checkpoints.pickles import find_pickle, open_pickle
from albertine.checkpoints.report import LoadReport
from albertine.checkpoints.sentence_transformers import (
    SentenceFolder,
    is_sentence_transformers,
    read_sentence_transformers,
)
from albertine.checkpoints.source import TensorSource
from albertine.checkpoints.state import HEAD_MODULES, TaskHead
from albertine.checkpoints.tensorflow import open_bundle
from albertine.checkpoints.tensors import INDEX_FILE, WEIGHTS_FILE, find_weights, read_json
from albertine.errors import CheckpointError, TokenizerError
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

__all__ = ["Checkpoint", "FormatName", "checkpoint_files", "open_checkpoint"]

_LOG = logging.getLogger("albertine")

FormatName = Literal["albertine", "huggingface", "tensorflow", "sentence-transformers"]

_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    KERAS_FILE,
    CONFIG_FILE,
    "vocab.txt",
    "*.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "modules.json",
    "*_Pooling/config.json",
    "*_Transformer/*",
)
"""What a model folder may consist of, as far as an encoder and its tokenizer depend on it."""
_TOKENIZER_FILES = ("tokenizer.json", "*vocab*.txt", "*.model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a folder holds, its tensors not read yet."""

    path: Path
    """The folder, or where an archive was unpacked for the time being."""
    shown: str
    """What the user named, for messages."""
    format: FormatName
    source: TensorSource
    """The weights by the names of the file."""
    read: ReadConfig
    """The configuration, and whose names the weights have."""
    tokenizer_folder: Path
    """Where the tokenizer's files lie, if there are any."""
    config_json: Mapping[str, object] | None = None
    """config.json as it stands, for what it says beside the encoder; None for Google's checkpoints."""
    task: Mapping[str, object] | None = None
    """task.json of a model folder of ours."""
    skipped: str = ""
    """What a training checkpoint holds besides the model, in words."""
    sentence: SentenceFolder | None = None
    """What a sentence-transformers folder says about a text's vector."""

    def log(self, report: LoadReport) -> None:
        """Say what a load found, and what was not even looked at."""
        report.log(self.shown)
        if self.skipped:
            _LOG.info("%s: %s skipped", self.shown, self.skipped)
        for note in () if self.sentence is None else self.sentence.notes:
            _LOG.warning("%s: %s", self.shown, note)

    def task_head(self) -> TaskHead | None:
        """Return the fine-tuned head that the files have, with its labels; None for an encoder.

        Raises:
            CheckpointError: a head that does something that no task here does, or whose labels do not fit it.
        """
        if self.task is not None:
            task, labels = self.task.get("task"), self.task.get("labels")
            module = HEAD_MODULES.get(str(task))
            if module is None or not isinstance(labels, list):
                return None
            return TaskHead(task=str(task), labels=tuple(str(label) for label in labels), module=module)
        if self.config_json is None:
            return google_head(self.source.entries)
        canonical = LAYOUTS[self.read.layout].canonical
        shapes = {canonical(name): entry.shape for name, entry in self.source.entries.items()}
        return read_head(self.config_json, shapes, where=str(self.path / CONFIG_FILE))

    def tokenizer(self) -> Tokenizer | None:
        """Open the tokenizer; None, with a warning, where the folder has no tokenizer files.

        Raises:
            TokenizerError: its files are wrong, or do not fit the encoder.
        """
        folder = self.tokenizer_folder
        if not any(path.is_file() for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)):
            _LOG.warning(
                "%s has no tokenizer files (vocab.txt, *.model or tokenizer.json): the encoder takes ids, not text",
                self.shown,
            )
            return None
        tokenizer = load_tokenizer(folder)
        if tokenizer.vocab_size > self.read.config.vocab_size:
            raise TokenizerError(
                "the tokenizer knows more tokens than the encoder has word embeddings",
                where=self.shown,
                received=f"{tokenizer.vocab_size:,} tokens, {self.read.config.vocab_size:,} embeddings",
                next_step="Put the vocabulary beside the weights that they were trained with",
            )
        return tokenizer


@contextlib.contextmanager
def open_checkpoint(name: str | Path, *, allow_pickle: bool = False) -> Iterator[Checkpoint]:
    """Open what holds an encoder, in whatever form; an archive is unpacked for as long as the block runs.

    Args:
        name: a model folder of ours or of Hugging Face's form, a folder of Google's (or the `.index` file or prefix of
            one of its checkpoints), a sentence-transformers folder, a zip or tar archive of any of them, or
            `hub:ORGANISATION/NAME`, which downloads.
        allow_pickle: read weights that are a pickle, with the restricted loader, where there are no others.

    Raises:
        CheckpointError: nothing that is known, or something in it is missing, damaged or a pickle.
        ConfigError: a download was asked for and cannot be had.
    """
    with contextlib.ExitStack() as stack:
        path = Path(name)
        if str(name).startswith(HUB_PREFIX):
            path = fetch(str(name), allow_pickle=allow_pickle)
        if is_archive(path):
            path = stack.enter_context(unpacked(path))
        yield _open(path, str(name), allow_pickle=allow_pickle)


def checkpoint_files(path: Path) -> tuple[Path, ...]:
    """Return the files that opening a path depends on, sorted; empty where there is nothing to open.

    Raises:
        CheckpointError: several TensorFlow checkpoints, of which nothing says which one is meant.
    """
    if is_archive(path):
        return (path,)
    google = find_google(path)
    found = set() if google is None else {*google.configs, *google.tokenizer_files}
    if google is not None:
        found |= {one for one in google.prefix.parent.glob(f"{google.prefix.name}.*") if one.suffix != ".meta"}
    if path.is_dir():
        found |= {one for pattern in _FILES for one in path.glob(pattern)}
    return tuple(sorted(one for one in found if one.is_file()))


def _open(path: Path, shown: str, *, allow_pickle: bool) -> Checkpoint:
    if path.is_dir() and is_sentence_transformers(path):
        sentence = read_sentence_transformers(path, allow_pickle=allow_pickle)
        inner = _open_folder(sentence.transformer, shown, allow_pickle=allow_pickle)
        return replace(inner, path=path, format="sentence-transformers", sentence=sentence)
    return _open_folder(path, shown, allow_pickle=allow_pickle)


def _open_folder(path: Path, shown: str, *, allow_pickle: bool) -> Checkpoint:
    """Open a folder by the weights that it holds, the safest form first."""
    if path.is_dir() and any((path / name).is_file() for name in (WEIGHTS_FILE, INDEX_FILE)):
        return _open_safetensors(path, shown)
    google = find_google(path)
    if google is not None:
        return _open_google(google, path, shown)
    if not path.is_dir():
        raise CheckpointError(
            "this is not an encoder" if path.exists() else "there is no such folder or file",
            where=shown,
            allowed="a model folder, a TensorFlow checkpoint's folder, .index file or prefix, a zip or tar archive, "
            f"{HUB_PREFIX}ORGANISATION/NAME",
        )
    if allow_pickle and find_pickle(path) is not None:
        pickled = open_pickle(path)
        return _huggingface(path, shown, pickled, notes=pickled.notes)
    if (path / KERAS_FILE).is_file():
        return _huggingface(path, shown, open_keras(path / KERAS_FILE))
    find_weights(path)  # says what the folder holds instead
    raise AssertionError("unreachable: there are no safetensors in the folder")


def _open_safetensors(path: Path, shown: str) -> Checkpoint:
    contents = read_model_folder(path)
    own = contents.config.get("albertine")
    if isinstance(own, Mapping) and own.get("body", ENCODER_BODY) != ENCODER_BODY:
        raise CheckpointError(
            "this folder holds a model that has no encoder",
            where=str(path),
            received=repr(own["body"]),
            next_step="Open a trained model of any kind with albertine.load(FOLDER)",
        )
    return _huggingface(path, shown, contents.source, config=contents.config, task=contents.task)


def _huggingface(
    path: Path,
    shown: str,
    source: TensorSource,
    *,
    config: Mapping[str, object] | None = None,
    task: Mapping[str, object] | None = None,
    notes: tuple[str, ...] = (),
) -> Checkpoint:
    values = read_json(path / CONFIG_FILE) if config is None else config
    read = config_from_json(values, where=str(path / CONFIG_FILE))
    return Checkpoint(
        path=path,
        shown=shown,
        format="albertine" if read.ours else "huggingface",
        source=source,
        read=replace(read, notes=(*read.notes, *notes)),
        tokenizer_folder=path,
        config_json=values,
        task=task,
    )


def _open_google(google: GoogleFolder, path: Path, shown: str) -> Checkpoint:
    source = open_bundle(google.prefix)
    layout = detect_layout(source.entries, where=str(google.prefix))
    read = read_folder_config(google, layout, source)
    return Checkpoint(
        path=path,
        shown=shown,
        format="tensorflow",
        source=source,
        read=read,
        skipped=source.skipped.summary,
        tokenizer_folder=google.tokenizer_folder,
    )
