"""From the name of an encoder to the module that is trained, with its tokenizer."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from albertine import registry
from albertine.checkpoints.hub import HUB_PREFIX, fetch
from albertine.checkpoints.load import load_encoder
from albertine.checkpoints.opening import checkpoint_files
from albertine.errors import ConfigError, TokenizerError, unknown_name
from albertine.files import sha256
from albertine.models.baseline import Baseline
from albertine.models.body import BodyConfig
from albertine.models.config import EncoderConfig, preset_names, pretraining_choices
from albertine.models.encoder import Encoder
from albertine.records import Example
from albertine.shipped import shipped_folder, shipped_names
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import AnyTask
from albertine.tokenization.pair import load_any_tokenizer, target_tokenizer
from albertine.tokenization.tokenizer import Tokenizer

__all__ = [
    "Candidate",
    "Prepared",
    "build_module",
    "find_candidate",
    "prepare_candidate",
    "tokenizer_fingerprint",
]

logger = logging.getLogger("albertine")

PRESET = "preset:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a name stands for: exactly one of the three."""

    name: str
    """The name as it was given."""
    baseline: Baseline[object, object] | None = None
    preset: str | None = None
    """A published architecture, to be filled with random weights."""
    folder: Path | None = None
    """A checkpoint."""

    @property
    def fitted_by_solver(self) -> bool:
        """Whether it is fitted in one go, without tokens and steps."""
        return self.baseline is not None and self.baseline.training == "solver"

    @property
    def shown(self) -> str:
        """The name that others see: a folder's own, without the path to it."""
        return self.name if self.folder is None else self.folder.resolve().name

    def fingerprint(self) -> dict[str, object]:
        """Return what identifies it: its name, and the hashes of its weights and its tokenizer where it has some."""
        if self.folder is None:
            return {"name": self.shown}
        return {"name": self.shown, "sha256": {path.name: sha256(path) for path in checkpoint_files(self.folder)}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A candidate that is ready to be built for a task."""

    config: BodyConfig
    tokenizer: Tokenizer
    encoder: Encoder | None
    """The pretrained encoder; None where weights start at random."""


def find_candidate(name: str | Path) -> Candidate:
    """Tell what a name stands for: a baseline, a preset (`preset:NAME` or the bare name), or a pretrained encoder.

    A pretrained encoder is whatever `load_encoder` opens, one that ships with the package by its name;
    `hub:ORGANISATION/NAME` downloads.

    Raises:
        ConfigError: none of them.
    """
    text = str(name)
    if text in registry.baselines.names():
        found = registry.baselines.get(text)
        if not isinstance(found, Baseline):
            raise ConfigError(f"what is registered as the baseline {text!r} is not one", received=type(found).__name__)
        return Candidate(name=text, baseline=cast("Baseline[object, object]", found))
    if text.startswith(PRESET):
        preset = text.removeprefix(PRESET)
        if preset not in preset_names():
            raise unknown_name("preset", preset, preset_names())
        return Candidate(name=text, preset=preset)
    if text.startswith(HUB_PREFIX):
        return Candidate(name=text, folder=fetch(text))
    if Path(text).is_dir() or checkpoint_files(Path(text)):
        return Candidate(name=text, folder=Path(text))
    if (shipped := shipped_folder(text)) is not None:
        return Candidate(name=text, folder=shipped)
    if text in preset_names():
        logger.warning(
            "%s is an architecture: its weights start at random (preset:%s says so without this line)", *[text] * 2
        )
        return Candidate(name=PRESET + text, preset=text)
    if "/" in text or "\\" in text or Path(text).exists():
        raise ConfigError(
            "no such encoder folder",
            where=text,
            received="a file" if Path(text).is_file() else None,
            next_step="Give the folder that holds config.json and model.safetensors, or preset:NAME for random weights",
        )
    presets = (PRESET + one for one in preset_names())
    raise unknown_name("encoder", text, (*shipped_names(), *registry.baselines.names(), *presets))


def prepare_candidate(
    candidate: Candidate,
    task: AnyTask,
    examples: Sequence[Example],
    *,
    tokenizer: Tokenizer | str | Path | None,
    vocabulary_size: int,
    seed: int,
) -> Prepared:
    """Give a candidate that is trained by the loop its tokenizer and configuration, and open its checkpoint.

    Args:
        candidate: not one that is fitted by a solver.
        task: says how a vocabulary is learnt.
        examples: the training split; a vocabulary is learnt from it where there is no tokenizer.
        tokenizer: to be used instead of learning one, or in place of a folder's own.
        vocabulary_size: of a learnt vocabulary, at most.
        seed: for parts that a checkpoint lacks.

    Raises:
        TokenizerError: no tokenizer, or one that knows more tokens than the encoder.
        CheckpointError: the folder cannot be read.
    """
    given = load_any_tokenizer(tokenizer) if isinstance(tokenizer, str | Path) else tokenizer
    if candidate.folder is not None:
        return _pretrained(candidate.folder, given, seed)
    lowercase = candidate.preset is None or pretraining_choices(candidate.preset).lowercase
    own = given or task.learn_vocabulary(examples, vocabulary_size, lowercase)
    if candidate.baseline is not None:
        config = candidate.baseline.make_config(own.vocab_size)
        return Prepared(config=cast("BodyConfig", config), tokenizer=own, encoder=None)
    assert candidate.preset is not None, "a candidate is a baseline, a preset or a folder"
    config = EncoderConfig.preset(candidate.preset, vocab_size=own.vocab_size, pad_token_id=own.pad_id)
    return Prepared(config=config, tokenizer=own, encoder=None)


def build_module(task: AnyTask, task_config: TaskConfig, prepared: Prepared, *, seed: int) -> nn.Module:
    """Build the task's module, its weights at random from `seed` where they are not pretrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = task.build(prepared.config, task_config)
    if prepared.encoder is not None:
        body = cast("nn.Module", module.body)
        body.load_state_dict(prepared.encoder.state_dict())
        if (loaded := getattr(module, "body_loaded", None)) is not None:
            loaded()  # what else of the module starts from the encoder's weights
    return module


def tokenizer_fingerprint(tokenizer: Tokenizer | str | Path) -> str:
    """Return a hash of a tokenizer's vocabulary and its kind."""
    own = load_any_tokenizer(tokenizer) if isinstance(tokenizer, str | Path) else tokenizer
    digest = hashlib.sha256()
    for one in dict.fromkeys((own, target_tokenizer(own))):
        digest.update(f"{one.kind} {one.lowercase}".encode())
        for index in range(one.vocab_size):
            digest.update(f"\n{one.id_to_token(index)}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _pretrained(folder: Path, given: Tokenizer | None, seed: int) -> Prepared:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, own = load_encoder(folder)
    tokenizer = given or own
    if tokenizer is None:
        raise TokenizerError(
            "this encoder has no tokenizer files",
            where=str(folder),
            next_step="Give the folder of its tokenizer with --tokenizer",
        )
    if tokenizer.vocab_size > encoder.config.vocab_size:
        raise TokenizerError(
            "the tokenizer knows more tokens than the encoder",
            where=str(folder),
            received=f"{tokenizer.vocab_size:,} tokens",
            allowed=f"up to {encoder.config.vocab_size:,}",
            next_step="Give the tokenizer that the encoder was trained with",
        )
    return Prepared(config=encoder.config, tokenizer=tokenizer, encoder=encoder)
