"""Encoders opened from a folder or a name, and written to a folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from albertine.checkpoints.card import encoder_card, encoder_manifest
from albertine.checkpoints.huggingface import (
    ENCODER_BODY,
    ReadConfig,
    config_from_json,
    config_to_json,
    differences,
    model_type,
)
from albertine.checkpoints.matching import encoder_state
from albertine.checkpoints.names import ENCODER_PREFIX, MASKED_WORD_HEAD, PAIR_HEAD, file_names
from albertine.checkpoints.native import CONFIG_FILE, FolderContents, read_model_folder, write_model_folder
from albertine.checkpoints.report import LoadReport
from albertine.errors import CheckpointError, ConfigError, unknown_name
from albertine.models.config import EncoderConfig, preset_names, pretraining_choices
from albertine.models.encoder import Encoder
from albertine.models.heads import PretrainingModel
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

__all__ = ["Loaded", "load_encoder", "load_pretraining", "open_encoder", "open_pretraining", "save_encoder"]

_LOG = logging.getLogger("albertine")

PRESET_PREFIX = "preset:"
_TOKENIZER_FILES = ("tokenizer.json", "*vocab*.txt", "*.model")

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded(Generic[ModuleT]):
    """A module that was opened, and how that went."""

    module: ModuleT
    tokenizer: Tokenizer | None
    """None where the folder has no tokenizer files, and for presets."""
    report: LoadReport


def load_encoder(
    name_or_folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[Encoder, Tokenizer | None]:
    """Open an encoder, in evaluation mode.

    Args:
        name_or_folder: a model folder (ours, or Hugging Face's BERT or ALBERT), or a preset for random weights:
            `preset:NAME`, or the bare name, which warns that the weights are random.
        device: where the weights go.
        dtype: the type they get, whatever the file has.

    Returns:
        The encoder and its tokenizer; None, with a warning, where the folder has no tokenizer files. A checkpoint
        without pooler weights becomes an encoder without a pooler. Every difference between file and encoder is logged.

    Raises:
        ConfigError: neither a folder nor a preset; no such device.
        CheckpointError: something in the folder is missing, damaged, a pickle, or another architecture.
        TokenizerError: the tokenizer's files are wrong, or do not fit the encoder.
    """
    opened = open_encoder(name_or_folder, device=device, dtype=dtype)
    return opened.module, opened.tokenizer


def load_pretraining(
    name_or_folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[PretrainingModel, Tokenizer | None]:
    """Open an encoder with its masked-word and sentence-pair heads; a head that the checkpoint lacks is None.

    Arguments, tokenizer and errors are those of `load_encoder`.
    """
    opened = open_pretraining(name_or_folder, device=device, dtype=dtype)
    return opened.module, opened.tokenizer


def open_encoder(
    name_or_folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Loaded[Encoder]:
    """Do what `load_encoder` does, and give the report too."""
    place = _place(device)
    folder = _find_folder(name_or_folder)
    if folder is None:
        encoder = Encoder(EncoderConfig.preset(_preset_name(str(name_or_folder))))
        return Loaded(module=encoder.to(place, dtype).eval(), tokenizer=None, report=LoadReport())
    contents, read = _read(folder)
    found = encoder_state(contents.tensors, read, heads=False, where=str(folder))
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        encoder = Encoder(found.config)
    _fill(encoder, {name.removeprefix(ENCODER_PREFIX): one for name, one in found.tensors.items()}, place, dtype)
    found.report.log(str(folder))
    return Loaded(module=encoder, tokenizer=_tokenizer(folder), report=found.report)


def open_pretraining(
    name_or_folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Loaded[PretrainingModel]:
    """Do what `load_pretraining` does, and give the report too."""
    place = _place(device)
    folder = _find_folder(name_or_folder)
    if folder is None:
        name = _preset_name(str(name_or_folder))
        pair = pretraining_choices(name).pair_objective is not None
        module = PretrainingModel(EncoderConfig.preset(name), pair=pair)
        return Loaded(module=module.to(place, dtype).eval(), tokenizer=None, report=LoadReport())
    contents, read = _read(folder)
    found = encoder_state(contents.tensors, read, heads=True, where=str(folder))
    masked_word, pair = (any(name.startswith(head) for name in found.tensors) for head in (MASKED_WORD_HEAD, PAIR_HEAD))
    with torch.device("meta"):
        module = PretrainingModel(found.config, masked_word=masked_word, pair=pair)
    _fill(module, found.tensors, place, dtype)
    found.report.log(str(folder))
    return Loaded(module=module, tokenizer=_tokenizer(folder), report=found.report)


def save_encoder(
    encoder: Encoder | PretrainingModel,
    tokenizer: Tokenizer | None,
    folder: str | Path,
    format: Literal["huggingface", "albertine"] = "huggingface",
) -> None:
    """Write an encoder, with its pretraining heads where it has them, as a model folder.

    Args:
        encoder: in any dtype, which is kept.
        tokenizer: written beside it; None writes none.
        folder: made where it does not exist; files in it that belong to no model stay.
        format: huggingface: a folder that transformers opens and computes the same with, refused for a configuration
            that transformers has no code for; albertine: the same where that is possible, else our own names.

    Raises:
        ConfigError: an unknown format, or a configuration that the format cannot hold.
        FailureError: the disk is full or the place cannot be written to; what stood there before is unchanged.
    """
    if format not in ("huggingface", "albertine"):
        raise unknown_name("format", format, ("huggingface", "albertine"))
    config = encoder.config
    kind = model_type(config)
    if format == "huggingface" and kind == "albertine":
        raise ConfigError(
            "transformers has no code that computes what this configuration says",
            where="format",
            received=f"as bert: {', '.join(differences(config, 'bert'))}; "
            f"as albert: {', '.join(differences(config, 'albert'))}",
            next_step='Save it with format="albertine"',
        )
    prefix = "" if isinstance(encoder, PretrainingModel) else ENCODER_PREFIX
    tensors = {prefix + name: tensor for name, tensor in encoder.state_dict().items()}
    names = file_names(tensors, config, kind)
    write_model_folder(
        Path(folder),
        config=config_to_json(config) | _architecture(encoder),
        tensors={names[name]: tensor for name, tensor in tensors.items()},
        tokenizer=tokenizer,
        task=None,
        manifest=encoder_manifest(),
        card=encoder_card(config, Path(folder).name),
    )


def _architecture(encoder: Encoder | PretrainingModel) -> dict[str, object]:
    """Name the class of transformers that the tensors make up, as its own folders do."""
    kind = {"bert": "Bert", "albert": "Albert"}.get(model_type(encoder.config))
    if kind is None:
        return {}
    suffix = "Model"
    if isinstance(encoder, PretrainingModel) and encoder.masked_word_head is not None:
        suffix = "ForMaskedLM" if encoder.pair_head is None else "ForPreTraining"
    return {"architectures": [kind + suffix]}


def _find_folder(name_or_folder: str | Path) -> Path | None:
    """Return the folder that is meant, or None where it is a name."""
    path = Path(name_or_folder)
    looks_like_a_path = isinstance(name_or_folder, Path) or os.sep in name_or_folder or name_or_folder.startswith(".")
    return path if path.exists() or looks_like_a_path else None


def _preset_name(name: str) -> str:
    bare = name.removeprefix(PRESET_PREFIX)
    if bare not in preset_names():
        kind = "preset" if bare != name else "encoder: neither a folder nor a preset"
        raise unknown_name(kind, bare, preset_names())
    if bare == name:
        _LOG.warning("%s is an architecture: its weights are random. Say %s%s to mean that", name, PRESET_PREFIX, name)
    return bare


def _read(folder: Path) -> tuple[FolderContents, ReadConfig]:
    contents = read_model_folder(folder)
    own = contents.config.get("albertine")
    if isinstance(own, Mapping) and own.get("body", ENCODER_BODY) != ENCODER_BODY:
        raise CheckpointError(
            "this folder holds a model that has no encoder",
            where=str(folder),
            received=repr(own["body"]),
            next_step="Open a trained model of any kind with albertine.load(FOLDER)",
        )
    return contents, config_from_json(contents.config, where=str(folder / CONFIG_FILE))


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


def _fill(module: nn.Module, state: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> None:
    """Give a module that was built without memory its weights."""
    # A copy always: what was read may be a view of the file, which could be replaced under it.
    own = {name: tensor.to(device=device, dtype=dtype, copy=True) for name, tensor in state.items()}
    module.load_state_dict(own, assign=True)
    module.eval()


def _tokenizer(folder: Path) -> Tokenizer | None:
    if not any(path.is_file() for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)):
        _LOG.warning(
            "%s has no tokenizer files (vocab.txt, spiece.model or tokenizer.json): the encoder takes ids, not text",
            folder,
        )
        return None
    return load_tokenizer(folder)
