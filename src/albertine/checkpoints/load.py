"""Encoders opened from whatever holds them: as modules, or as named tensors."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from torch import nn

from albertine.checkpoints.archives import is_archive_name
from albertine.checkpoints.hub import HUB_PREFIX
from albertine.checkpoints.matching import encoder_state, fill, read_placed
from albertine.checkpoints.names import ENCODER_PREFIX, MASKED_WORD_HEAD, PAIR_HEAD
from albertine.checkpoints.opening import FormatName, open_checkpoint
from albertine.checkpoints.report import LoadReport
from albertine.checkpoints.sentence_transformers import SentenceFolder
from albertine.checkpoints.state import ModelState
from albertine.errors import ConfigError, unknown_name
from albertine.models.config import EncoderConfig, preset_names, pretraining_choices
from albertine.models.encoder import Encoder
from albertine.models.heads import PretrainingModel
from albertine.shipped import shipped_folder, shipped_names
from albertine.tokenization.tokenizer import Tokenizer

__all__ = [
    "Loaded",
    "OpenedState",
    "load_encoder",
    "load_pretraining",
    "open_encoder",
    "open_pretraining",
    "open_state",
    "preset_asked_for",
]

_LOG = logging.getLogger("albertine")

PRESET_PREFIX = "preset:"

_PUBLISHED: Mapping[str, tuple[str, ...]] = {
    "google-bert": (
        *(f"bert-{size}-{case}" for size in ("base", "large") for case in ("uncased", "cased")),
        *(f"bert-base-multilingual-{case}" for case in ("uncased", "cased")),
        *(f"bert-large-{case}-whole-word-masking" for case in ("uncased", "cased")),
        "bert-base-chinese",
        "bert-base-german-cased",
    ),
    "albert": tuple(f"albert-{size}-v{n}" for size in ("base", "large", "xlarge", "xxlarge") for n in (1, 2)),
    "hfl": ("chinese-bert-wwm", "chinese-bert-wwm-ext", "chinese-roberta-wwm-ext"),
    "sentence-transformers": ("all-MiniLM-L6-v2", "all-MiniLM-L12-v2", "paraphrase-multilingual-MiniLM-L12-v2"),
}
"""Organisations of the hub, and models of theirs that people know by the bare name."""
_FILE_SUFFIXES = (".index", ".ckpt", ".safetensors", ".bin", ".h5", ".json")

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded(Generic[ModuleT]):
    """A module that was opened, and how that went."""

    module: ModuleT
    tokenizer: Tokenizer | None
    """None where the folder has no tokenizer files, and for presets."""
    report: LoadReport
    sentence: SentenceFolder | None = None
    """How a text's vector is made, where a sentence-transformers folder says it."""


def load_encoder(
    name_or_folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    allow_pickle: bool = False,
) -> tuple[Encoder, Tokenizer | None]:
    """Open an encoder, in evaluation mode.

    Args:
        name_or_folder: anything that holds a BERT or an ALBERT: a model folder (ours, Hugging Face's,
            sentence-transformers'), a folder of Google's TensorFlow checkpoints or one of them, an archive of any of
            these, the name of an encoder that ships with the package (what exists in the current folder goes before),
            `hub:ORGANISATION/NAME` (which downloads), or a preset for random weights: `preset:NAME`, or the bare name,
            which warns that the weights are random.
        device: where the weights go.
        dtype: the type they get, whatever the file has.
        allow_pickle: read weights that are a pickle, with a restricted loader, where there are no others.

    Returns:
        The encoder and its tokenizer; None, with a warning, where the folder has no tokenizer files. A checkpoint
        without pooler weights becomes an encoder without a pooler. Every difference between file and encoder is logged.

    Raises:
        ConfigError: neither a folder, nor a shipped encoder, nor a preset; no such device.
        CheckpointError: something in the folder is missing, damaged, a pickle, or another architecture.
        TokenizerError: the tokenizer's files are wrong, or do not fit the encoder.
    """
    opened = open_encoder(name_or_folder, device=device, dtype=dtype, allow_pickle=allow_pickle)
    return opened.module, opened.tokenizer


def load_pretraining(
    name_or_folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    allow_pickle: bool = False,
) -> tuple[PretrainingModel, Tokenizer | None]:
    """Open an encoder with its masked-word and sentence-pair heads; a head that the checkpoint lacks is None.

    Arguments, tokenizer and errors are those of `load_encoder`.
    """
    opened = open_pretraining(name_or_folder, device=device, dtype=dtype, allow_pickle=allow_pickle)
    return opened.module, opened.tokenizer


def open_encoder(
    name_or_folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    allow_pickle: bool = False,
) -> Loaded[Encoder]:
    """Do what `load_encoder` does, and give the report and the sentence pooling too."""
    place = _place(device)
    preset = preset_asked_for(name_or_folder)
    if preset is not None:
        encoder = Encoder(EncoderConfig.preset(preset))
        return Loaded(module=encoder.to(place, dtype).eval(), tokenizer=None, report=LoadReport())
    with open_checkpoint(name_or_folder, allow_pickle=allow_pickle) as opened:
        found = encoder_state(opened.source, opened.read, heads=False, where=opened.shown)
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
            encoder = Encoder(found.config)
        places = {name.removeprefix(ENCODER_PREFIX): one for name, one in found.places.items()}
        fill(encoder, opened.source, places, device=place, dtype=dtype)
        opened.log(found.report)
        return Loaded(module=encoder, tokenizer=opened.tokenizer(), report=found.report, sentence=opened.sentence)


def open_pretraining(
    name_or_folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    allow_pickle: bool = False,
) -> Loaded[PretrainingModel]:
    """Do what `load_pretraining` does, and give the report too."""
    place = _place(device)
    preset = preset_asked_for(name_or_folder)
    if preset is not None:
        pair = pretraining_choices(preset).pair_objective is not None
        module = PretrainingModel(EncoderConfig.preset(preset), pair=pair)
        return Loaded(module=module.to(place, dtype).eval(), tokenizer=None, report=LoadReport())
    with open_checkpoint(name_or_folder, allow_pickle=allow_pickle) as opened:
        found = encoder_state(opened.source, opened.read, heads=True, where=opened.shown)
        with torch.device("meta"):
            module = PretrainingModel(found.config, masked_word=found.has(MASKED_WORD_HEAD), pair=found.has(PAIR_HEAD))
        fill(module, opened.source, found.places, device=place, dtype=dtype)
        opened.log(found.report)
        return Loaded(module=module, tokenizer=opened.tokenizer(), report=found.report, sentence=opened.sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedState:
    """Everything that a folder holds, in memory, and how opening it went."""

    state: ModelState
    tokenizer: Tokenizer | None
    """None where the folder has no tokenizer files, and for presets."""
    report: LoadReport
    format: FormatName | Literal["preset"]
    """What it was read from."""
    task: Mapping[str, object] | None = None
    """task.json, where the folder is a task model of ours."""


def open_state(
    name_or_folder: str | Path, *, encoder_only: bool = False, allow_pickle: bool = False, quiet: bool = False
) -> OpenedState:
    """Open an encoder with every head that it has, as named tensors in the dtype of the file.

    Args:
        name_or_folder: what `load_encoder` takes.
        encoder_only: leave the heads out.
        allow_pickle: as there.
        quiet: say nothing of what was found and what was not.

    Raises:
        ConfigError: neither a folder, nor a shipped encoder, nor a preset.
        CheckpointError: something in the folder is missing, damaged, a pickle, or another architecture.
        TokenizerError: the tokenizer's files are wrong, or do not fit the encoder.
    """
    preset = preset_asked_for(name_or_folder)
    if preset is not None:
        loaded = open_pretraining(name_or_folder)
        state = ModelState(config=loaded.module.config, tensors=loaded.module.state_dict())
        return OpenedState(state=state, tokenizer=None, report=loaded.report, format="preset")
    with open_checkpoint(name_or_folder, allow_pickle=allow_pickle) as opened:
        head = None if encoder_only else opened.task_head()
        found = encoder_state(opened.source, opened.read, heads=not encoder_only, task_head=head, where=opened.shown)
        tensors = {name: read_placed(opened.source, place) for name, place in found.places.items()}
        if opened.sentence is not None:
            tensors |= opened.sentence.tensors
        if not quiet:
            opened.log(found.report)
        return OpenedState(
            state=ModelState(
                config=found.config,
                tensors=tensors,
                head=head,
                pooling=None if opened.sentence is None else opened.sentence.pooling,
            ),
            tokenizer=opened.tokenizer(quiet=quiet),
            report=found.report,
            format=opened.format,
            task=opened.task,
        )


def preset_asked_for(name_or_folder: str | Path, *, say_random: bool = True) -> str | None:
    """Return the preset that is meant, or None where it is something to open.

    Args:
        name_or_folder: what the user named.
        say_random: warn where a bare name stands for random weights.

    Raises:
        ConfigError: a bare name that is neither a folder, nor a shipped encoder, nor a preset.
    """
    name = str(name_or_folder)
    looks_like_a_path = isinstance(name_or_folder, Path) or os.sep in name or name.startswith(".")
    looks_like_a_path = looks_like_a_path or is_archive_name(Path(name)) or name.endswith(_FILE_SUFFIXES)
    if looks_like_a_path or name.startswith(HUB_PREFIX) or Path(name).exists() or Path(f"{name}.index").is_file():
        return None
    if shipped_folder(name) is not None:
        return None
    bare = name.removeprefix(PRESET_PREFIX)
    if bare not in preset_names():
        raise _unknown(bare, asked_for_preset=bare != name)
    if bare == name and say_random:
        _LOG.warning("%s is an architecture: its weights are random. Say %s%s to mean that", name, PRESET_PREFIX, name)
    return bare


def _unknown(name: str, *, asked_for_preset: bool) -> ConfigError:
    """Build the error for a name that is nothing: another that is, or where a published model of the name lies."""
    shipped = () if asked_for_preset else shipped_names()
    kind = "preset" if asked_for_preset else "encoder: neither a folder nor a preset nor one that ships"
    error = unknown_name(kind, name, (*shipped, *preset_names()))
    allowed = error.allowed
    if shipped:
        allowed = f"{', '.join(shipped)}; with random weights {', '.join(preset_names())}"
    known = {one.lower(): f"{organisation}/{one}" for organisation, names in _PUBLISHED.items() for one in names}
    step = error.next_step
    if name.lower() in known:
        step = f"Nothing is downloaded unless asked: {HUB_PREFIX}{known[name.lower()]}"
    return ConfigError(error.what, received=error.received, allowed=allowed, next_step=step)


def _place(device: str | torch.device) -> torch.device:
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ConfigError("no such device", where="device", received=repr(device), allowed="cpu, cuda, …") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "there is no GPU that this PyTorch can use", where="device", received=repr(device), next_step="Use cpu"
        )
    return place
