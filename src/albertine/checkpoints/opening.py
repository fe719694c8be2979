"""Any folder, file, archive or name that holds an encoder > its configuration, tensors and tokenizer, unread."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from albertine.checkpoints.archives import is_archive, is_archive_name, unpacked
from albertine.checkpoints.google.folder import GoogleFolder, find_google, read_folder_config
from albertine.checkpoints.google.names import canonical_google, detect_layout, google_head
from albertine.checkpoints.hub import HUB_PREFIX, fetch, parse_hub_name
from albertine.checkpoints.huggingface import ENCODER_BODY, ReadConfig, config_from_json
from albertine.checkpoints.huggingface_heads import read_head
from albertine.checkpoints.keras import KERAS_FILE, open_keras
from albertine.checkpoints.layouts import LAYOUTS
from albertine.checkpoints.native import CONFIG_FILE, read_model_folder
from albertine.checkpoints.pickles import find_pickle, open_pickle
from albertine.checkpoints.reading import read_json
from albertine.checkpoints.report import LoadReport
from albertine.checkpoints.sentence_transformers import (
    SentenceFolder,
    is_sentence_transformers,
    read_sentence_transformers,
)
from albertine.checkpoints.source import TensorSource
from albertine.checkpoints.state import HEAD_MODULES, TaskHead
from albertine.checkpoints.tensorflow import open_bundle
from albertine.checkpoints.tensors import INDEX_FILE, WEIGHTS_FILE, find_weights
from albertine.errors import CheckpointError, ConfigError, TokenizerError
from albertine.shipped import shipped_folder
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
_OPENED = (
    f"a folder with {WEIGHTS_FILE} or its index, {KERAS_FILE}, or with --allow-pickle pytorch_model.bin; a "
    "sentence-transformers folder; a TensorFlow checkpoint's folder, .index file or prefix; a zip or tar archive of "
    f"one of these; {HUB_PREFIX}ORGANISATION/NAME"
)
_WITHOUT_POOLER = ("ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering", "LMHeadModel")
"""What the names of transformers' classes end in whose encoder has no pooler."""


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
    remarks: tuple[str, ...] = ()
    """What is as it should be and may surprise all the same, in sentences."""

    def log(self, report: LoadReport) -> None:
        """Say what a load found, and what was not even looked at."""
        report.log(self.shown)
        if self.skipped:
            _LOG.info("%s: %s skipped", self.shown, self.skipped)
        for remark in self.remarks:
            _LOG.info("%s: %s", self.shown, remark)
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
            return _head_with_task(google_head(self.source.entries), self.source)
        canonical = LAYOUTS[self.read.layout].canonical
        shapes = {canonical(name): entry.shape for name, entry in self.source.entries.items()}
        return read_head(self.config_json, shapes, where=str(self.path / CONFIG_FILE))

    def tokenizer(self, *, quiet: bool = False) -> Tokenizer | None:
        """Open the tokenizer; None, with a warning, where the folder has no tokenizer files.

        Args:
            quiet: leave the warning out.

        Raises:
            TokenizerError: its files are wrong, or do not fit the encoder.
        """
        folder = self.tokenizer_folder
        if not any(path.is_file() for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)):
            if not quiet:
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
            one of its checkpoints), a sentence-transformers folder, a zip or tar archive of any of them, the name of an
            encoder that ships with the package, or `hub:ORGANISATION/NAME`, which downloads.
        allow_pickle: read weights that are a pickle, with the restricted loader, where there are no others.

    Raises:
        CheckpointError: nothing that is known, or something in it is missing, damaged or a pickle.
        ConfigError: a download was asked for and cannot be had.
    """
    with contextlib.ExitStack() as stack:
        path = shipped_folder(name) or Path(name)
        if str(name).startswith(HUB_PREFIX):
            path = fetch(str(name), allow_pickle=allow_pickle)
        if is_archive(path):
            path = stack.enter_context(_unpacked(path))
        yield _open(path, str(name), allow_pickle=allow_pickle)


@contextlib.contextmanager
def _unpacked(archive: Path) -> Iterator[Path]:
    """Unpack an archive; what is wrong with a file of it is said by its path in the archive."""
    with unpacked(archive) as folder:
        renamed = _Renamed(str(folder), str(archive))
        _LOG.addFilter(renamed)
        try:
            yield folder
        except (CheckpointError, TokenizerError) as error:
            if str(folder) not in str(error):
                raise
            parts = (error.what, error.where, error.received, error.allowed, error.next_step)
            what, where, received, allowed, step = (
                None if part is None else str(part).replace(str(folder), str(archive)) for part in parts
            )
            raise type(error)(str(what), where=where, received=received, allowed=allowed, next_step=step) from error
        finally:
            _LOG.removeFilter(renamed)


class _Renamed(logging.Filter):
    """Says the name of an archive where a message has that of the folder it was unpacked to."""

    def __init__(self, folder: str, archive: str) -> None:
        super().__init__()
        self._folder, self._archive = folder, archive

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a message; all pass."""
        message = record.getMessage()
        if self._folder in message:
            record.msg, record.args = message.replace(self._folder, self._archive), None
        return True


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
        raise _no_encoder(path, shown)
    pickle = find_pickle(path) if allow_pickle else None
    # Of the two Keras's file is the one that can run nothing, but not everybody has what reads it.
    if (path / KERAS_FILE).is_file() and (pickle is None or importlib.util.find_spec("h5py") is not None):
        return _huggingface(path, shown, open_keras(path / KERAS_FILE))
    if pickle is not None:
        pickled = open_pickle(path)
        return _huggingface(path, shown, pickled, notes=pickled.notes)
    if next(path.iterdir(), None) is None:
        raise CheckpointError("no weights in this folder", where=shown, received="an empty folder", allowed=_OPENED)
    find_weights(path)  # says what the folder holds instead
    raise AssertionError("unreachable: there are no safetensors in the folder")


def _no_encoder(path: Path, shown: str) -> CheckpointError:
    """Say what a path is that is no folder, and what was probably meant."""
    if path.exists():
        step = f"Give the folder that it lies in, {path.parent}" if _is_part(path) else None
        return CheckpointError("this is not an encoder", where=shown, allowed=_OPENED, next_step=step)
    if is_archive_name(path):
        return CheckpointError("there is no such file", where=shown)
    step = None
    if shown.count("/") == 1 and not path.parent.exists():
        with contextlib.suppress(ConfigError):  # it is no name that the hub could have
            parse_hub_name(HUB_PREFIX + shown)
            step = f"If this is a model on the hub: nothing is downloaded unless asked, {HUB_PREFIX}{shown}"
    return CheckpointError("there is no such folder or file", where=shown, allowed=_OPENED, next_step=step)


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
    remarks = []
    poolerless = _class_without_pooler(values)
    if poolerless is not None and read.config.add_pooler and not any("pooler" in name for name in source.entries):
        read = replace(read, config=replace(read.config, add_pooler=False))
        remarks.append(f"the encoder has no pooler, as in every {poolerless}")
    if any(entry.packed_bytes is not None for entry in source.entries.values()):
        remarks.append("the weights are stored in eight bits, and read as float32")
    return Checkpoint(
        path=path,
        shown=shown,
        format="albertine" if read.ours else "huggingface",
        source=source,
        read=replace(read, notes=(*read.notes, *notes)),
        tokenizer_folder=path,
        config_json=values,
        task=task,
        remarks=tuple(remarks),
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


def _head_with_task(head: TaskHead | None, source: TensorSource) -> TaskHead | None:
    """Take a classifier where there is no pooler for one of tokens, as Google's code has no other sign for it."""
    if head is None or head.task != "text-classification":
        return head
    has_pooler = any(canonical_google(name).startswith("bert/pooler/") for name in source.entries)
    return head if has_pooler else replace(head, task="token-classification")


def _class_without_pooler(values: Mapping[str, object]) -> str | None:
    """Return the class of transformers that a configuration names, where its encoder has no pooler."""
    names = values.get("architectures")
    found = names[0] if isinstance(names, list) and names else None
    return found if isinstance(found, str) and found.endswith(_WITHOUT_POOLER) else None


def _is_part(path: Path) -> bool:
    """Say whether a path is a file of a model folder, and not the folder."""
    return path.is_file() and (path.name == CONFIG_FILE or path.suffix in (".safetensors", ".bin", ".h5"))
