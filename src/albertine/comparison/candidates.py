"""What is put side by side: the names a user gave, each with what is known of it before it runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from albertine import registry
from albertine.catalogue import Catalogue
from albertine.checkpoints.huggingface import config_from_json
from albertine.checkpoints.native import CONFIG_FILE
from albertine.checkpoints.opening import open_checkpoint
from albertine.checkpoints.reading import read_json
from albertine.comparison.summary import CandidateInfo
from albertine.errors import ConfigError
from albertine.models.body import body_kind
from albertine.models.config import EncoderConfig, pretraining_choices
from albertine.training.candidates import Candidate, find_candidate

__all__ = ["DEFAULT_ENCODERS", "Contestant", "able", "contestants"]

DEFAULT_ENCODERS = ("preset:bert-chinese-tiny", "preset:albert-chinese-tiny")
"""BERT and ALBERT of one width and depth, each otherwise with its family's values: sharing and factorised embeddings
without dropout against neither with it. As the vocabulary is learnt from the training split, the pair serves every
language; the names say where the sizes (4 layers of 312) come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One candidate of a comparison."""

    info: CandidateInfo
    """Its name in the report, its kind and a line about it."""
    source: str
    """What training calls it: a baseline's name, preset:NAME, or an absolute folder."""
    candidate: Candidate
    lowercase: bool = True
    """Whether the vocabulary that is learnt for it is of lower-cased text."""

    @property
    def learns_vocabulary(self) -> bool:
        """Whether it reads tokens of the vocabulary learnt from the training split."""
        return self.candidate.folder is None and not self.candidate.fitted_by_solver

    @property
    def file_name(self) -> str:
        """The name as a folder may have it."""
        return re.sub(r"[^\w.-]+", "-", self.info.name).strip("-.") or "candidate"


def contestants(
    encoders: Sequence[str | Path] | None,
    baselines: Sequence[str] | None,
    texts: Catalogue,
    *,
    possible: Sequence[str],
) -> tuple[Contestant, ...]:
    """Look up every candidate of a comparison before anything runs.

    Args:
        encoders: what `find_candidate` knows; None for `DEFAULT_ENCODERS`.
        baselines: registered names; None for all of `possible`.
        texts: language of the descriptions.
        possible: the baselines that can do the task.

    Raises:
        ConfigError: a name that does not exist, one given twice, or none at all.
        CheckpointError: a folder whose config.json is missing or not an encoder's.
    """
    wanted = [str(name) for name in (DEFAULT_ENCODERS if encoders is None else encoders)]
    asked = list(possible if baselines is None else baselines)
    if strangers := [name for name in asked if name not in registry.baselines.names()]:
        raise ConfigError(
            "unknown baseline",
            received=repr(strangers[0]),
            allowed=", ".join(registry.baselines.names()),
            next_step="Encoders are named with --encoders",
        )
    for name in asked:
        if not _can(name, possible):
            raise _unable(name, possible, "the task")
    found = [_contestant(find_candidate(name), texts) for name in [*wanted, *asked]]
    if not found:
        raise ConfigError(
            "there is nothing to compare", allowed="at least one encoder or baseline", next_step="Name some"
        )
    twice = [source for source, count in Counter(one.source for one in found).items() if count > 1]
    if twice:
        raise ConfigError("a candidate is named twice", received=twice[0], next_step="Name every candidate once")
    clashing = {name for name, count in Counter(one.file_name for one in found).items() if count > 1}
    return tuple(_renamed(one) if one.file_name in clashing else one for one in found)


def able(found: Sequence[Contestant], possible: Sequence[str], *, asked: bool) -> tuple[Contestant, ...]:
    """Keep who can do the task with the data that there are.

    Args:
        found: looked up before the data were read.
        possible: the baselines that can do the task with them.
        asked: whether baselines were named, which none of them is dropped from.

    Raises:
        ConfigError: a baseline that was named cannot do it, or nothing is left.
    """
    unable = [one for one in found if one.candidate.baseline is not None and not _can(one.source, possible)]
    if unable and (asked or len(unable) == len(found)):
        raise _unable(unable[0].source, possible, "the task with these data")
    return tuple(one for one in found if one not in unable)


def _can(name: str, possible: Sequence[str]) -> bool:
    """Say whether a baseline can do something; of those that plug-ins add, nothing is known."""
    return name not in registry.baselines.builtin or name in possible


def _unable(name: str, possible: Sequence[str], what: str) -> ConfigError:
    return ConfigError(f"this baseline cannot do {what}", received=name, allowed=", ".join(possible) or "none of them")


def _contestant(candidate: Candidate, texts: Catalogue) -> Contestant:
    if candidate.baseline is not None:
        key = f"candidate.{candidate.name}"
        description = texts(key) if key in texts else candidate.baseline.description
        info = CandidateInfo(name=candidate.name, kind=candidate.name, description=description)
        return Contestant(info=info, source=candidate.name, candidate=candidate)
    if candidate.preset is not None:
        config = EncoderConfig.preset(candidate.preset)
        info = _encoder_info(candidate.preset, config, "candidate.random", texts)
        choices = pretraining_choices(candidate.preset)
        return Contestant(info=info, source=candidate.name, candidate=candidate, lowercase=choices.lowercase)
    assert candidate.folder is not None, "a candidate is a baseline, a preset or a folder"
    folder = candidate.folder.resolve()
    info = _encoder_info(folder.name, _checkpoint_config(folder), "candidate.pretrained", texts)
    return Contestant(info=info, source=str(folder), candidate=candidate)


def _encoder_info(name: str, config: EncoderConfig, weights: str, texts: Catalogue) -> CandidateInfo:
    """Describe an encoder by its shape and by where its weights come from."""
    description = texts(
        "candidate.encoder",
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        sharing=texts(f"candidate.share_{config.share.replace('-', '_')}"),
        weights=texts(weights),
    )
    return CandidateInfo(name=name, kind=body_kind(config), description=description)


def _checkpoint_config(path: Path) -> EncoderConfig:
    file = path / CONFIG_FILE
    if file.is_file():  # the weights are the run's to open: one that fails loses no other
        return config_from_json(read_json(file), where=str(file)).config
    with open_checkpoint(path) as opened:
        return opened.read.config


def _renamed(one: Contestant) -> Contestant:
    """Tell candidates of one name apart by where they come from."""
    name = one.source if one.candidate.folder is None else "/".join(Path(one.source).parts[-2:])
    info = CandidateInfo(name=name, kind=one.info.kind, description=one.info.description)
    return Contestant(info=info, source=one.source, candidate=one.candidate, lowercase=one.lowercase)
