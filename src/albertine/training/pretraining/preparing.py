"""From the name of an encoder and a corpus's vocabulary to the module that is pretrained."""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from albertine.batching.masking import MaskingUnit
from albertine.batching.sentence_pairs import PairObjective
from albertine.checkpoints.load import open_pretraining
from albertine.checkpoints.state import ModelState
from albertine.errors import ConfigError, TokenizerError
from albertine.models.config import EncoderConfig, pretraining_choices
from albertine.models.discriminator import ReplacedTokenModel
from albertine.models.heads import PretrainingModel
from albertine.records import IntArray
from albertine.tasks.vocabulary_extension import extend_vocabulary
from albertine.tokenization.tokenizer import Tokenizer
from albertine.training.candidates import Candidate, tokenizer_fingerprint
from albertine.training.config import TrainingConfig
from albertine.training.pretraining.choices import Objective, PretrainingConfig

__all__ = ["FamilyChoices", "Start", "build_module", "family_choices", "open_start", "saved_state"]

logger = logging.getLogger("albertine")

_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a run starts from."""

    config: EncoderConfig
    """Of the encoder; its vocabulary is the corpus's."""
    model: PretrainingModel | None
    """The checkpoint's weights, with the heads it has; None where all weights start at random."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyChoices:
    """What a family of encoders is pretrained on."""

    pair: PairObjective
    masking: MaskingUnit


def open_start(candidate: Candidate, tokenizer: Tokenizer, *, new_vocabulary: bool, seed: int) -> Start:
    """Open the checkpoint of a candidate, or take the configuration of a preset.

    Args:
        candidate: a preset or a folder.
        tokenizer: the corpus's.
        new_vocabulary: allow it to be another than the checkpoint's, whose word table is then made anew.
        seed: of rows that nothing is known of.

    Raises:
        ConfigError: a baseline, which has no encoder.
        TokenizerError: the corpus has another vocabulary than the checkpoint, and that was not allowed.
        CheckpointError: the folder cannot be read.
    """
    if candidate.preset is not None:
        config = EncoderConfig.preset(candidate.preset, vocab_size=tokenizer.vocab_size, pad_token_id=tokenizer.pad_id)
        return Start(config=config, model=None)
    if candidate.folder is None:
        raise ConfigError(
            "this is no encoder, and only encoders are pretrained", where="--encoder", received=candidate.name
        )
    loaded = open_pretraining(candidate.folder)
    model, own = loaded.module, loaded.tokenizer
    if own is not None and tokenizer_fingerprint(own) == tokenizer_fingerprint(tokenizer):
        return Start(config=model.config, model=model)
    if own is None and tokenizer.vocab_size == model.config.vocab_size and not new_vocabulary:
        logger.warning("%s has no tokenizer: the corpus's is taken to be its own, as its size fits", candidate.shown)
        return Start(config=model.config, model=model)
    if own is None or not new_vocabulary:
        raise TokenizerError(
            "the corpus was cut by another vocabulary than the encoder's",
            where=candidate.shown,
            received=f"{tokenizer.vocab_size:,} tokens in the corpus's",
            allowed="no tokenizer" if own is None else f"the encoder's own of {own.vocab_size:,}",
            next_step=f"Build the corpus with --tokenizer {candidate.shown}, or give the encoder the corpus's "
            "vocabulary with --new-vocabulary",
        )
    extended = extend_vocabulary(model, own, tokenizer, seed=seed).module
    return Start(config=extended.config, model=extended)


def family_choices(candidate: Candidate, config: EncoderConfig, tokenizer: Tokenizer) -> FamilyChoices:
    """Return what the family of an encoder is pretrained on; a checkpoint's family is told by what it shares.

    Args:
        candidate: a preset or a folder.
        config: of the encoder.
        tokenizer: the corpus's.
    """
    if candidate.preset is not None:
        published = pretraining_choices(candidate.preset)
        return FamilyChoices(pair=published.pair_objective or "none", masking=published.masking)
    unigram = tokenizer.kind == "unigram"
    return FamilyChoices(
        pair="nsp" if config.share == "none" else "sop", masking="n-grams" if unigram else "whole-words"
    )


def build_module(
    start: Start,
    config: PretrainingConfig,
    training: TrainingConfig,
    *,
    pair: PairObjective,
    token_counts: IntArray,
) -> PretrainingModel | ReplacedTokenModel:
    """Build what is trained: the encoder with the heads of its objectives.

    Everything that the checkpoint has is kept, also a pair head that this run does not train; what it lacks starts at
    random and is said. Replaced tokens have no use for a masked-word head, whose loss is said too.

    A new masked-word head starts with the logarithms of the tokens' shares for its bias. Where that starts at 0 the
    frequencies are learnt first, and the fastest way there is to move the states of all tokens in one direction: after
    fifty steps they are nearly the same vector, and it takes thousands of steps until they are not.

    Args:
        start: see `open_start`.
        config: of the run.
        training: for the seed of random weights, and the dropout.
        pair: the objective that was settled on.
        token_counts: [V] of the corpus.

    Raises:
        ConfigError: the encoder has no segments, which pairs are told apart by.
    """
    own = start.config
    if pair != "none" and own.type_vocab_size < 2:
        raise ConfigError(
            "this encoder has no segments to tell the two texts of a pair apart",
            where="type_vocab_size",
            received=own.type_vocab_size,
            allowed="2 or more",
            next_step="Pretrain it with --pair none",
        )
    model = start.model
    kept_pair = model is not None and model.pair_head is not None
    pooler = own.add_pooler if model is not None and pair == "none" else pair != "none"
    trained = dataclasses.replace(own, add_pooler=pooler).with_dropout(training.dropout)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        made = _made(trained, config.objective, pair=pair != "none" or kept_pair)
    head = (made.generator if isinstance(made, ReplacedTokenModel) else made).masked_word_head
    assert head is not None, "both objectives predict words"
    with torch.no_grad():
        if isinstance(made, ReplacedTokenModel):  # for the same reason; nearly all masked tokens are replaced at first
            made.head.output.bias.fill_(math.log(config.mask_share.first / (1 - config.mask_share.first)))
        head.bias.copy_(torch.from_numpy(np.log((token_counts + 1) / (token_counts + 1).sum())))
    if model is not None:
        _fill(made, model)
    return made


def saved_state(module: nn.Module, start: Start) -> ModelState:
    """Return what is kept of a trained module: the encoder with its heads, without a generator.

    Args:
        module: as `build_module` made it.
        start: what it was made of; the dropout of its configuration is kept, whatever the run's was.
    """
    assert isinstance(module, PretrainingModel | ReplacedTokenModel), "made by build_module"
    prefixes = ("encoder.", "masked_word_head.", "pair_head.")
    tensors = {name: one for name, one in module.state_dict().items() if name.startswith(prefixes)}
    config = dataclasses.replace(start.config, add_pooler=module.config.add_pooler)
    return ModelState(config=config, tensors=tensors)


def _made(config: EncoderConfig, objective: Objective, *, pair: bool) -> PretrainingModel | ReplacedTokenModel:
    return (
        ReplacedTokenModel(config, pair=pair) if objective == "replaced-tokens" else PretrainingModel(config, pair=pair)
    )


def _fill(made: PretrainingModel | ReplacedTokenModel, model: PretrainingModel) -> None:
    """Copy the checkpoint's weights, and say what it has none of, and what has no place."""
    into, own = made.state_dict(), model.state_dict()
    found = {name: one for name, one in own.items() if name in into}
    made.load_state_dict(found, strict=False)
    fresh = [name for name in into if name not in found]
    parts = sorted({name.partition(".")[0] if not name.startswith("encoder.") else name for name in fresh})
    if parts:
        shown = ", ".join(parts[:_SHOWN]) + (", …" if len(parts) > _SHOWN else "")
        logger.info("the checkpoint has no weights for %s: they start at random", shown)
    for head in sorted({name.partition(".")[0] for name in own.keys() - found.keys()}):
        logger.info("the checkpoint's %s is not kept: this objective has none", head)
