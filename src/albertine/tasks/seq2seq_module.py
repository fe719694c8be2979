"""An encoder with a decoder: what is asked of it, the module, and the records that it is fed and gives.

N texts, S source tokens, P predicted tokens of all targets, E embedding width, H hidden width, V target vocabulary.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from albertine.errors import ConfigError
from albertine.evaluation.generation import BleuTokenizer
from albertine.models.attention import Layout
from albertine.models.body import BodyConfig
from albertine.models.config import EncoderConfig
from albertine.models.decoder import Decoder, decoder_config, warm_start
from albertine.models.encoder import Encoder
from albertine.models.generation import GenerationSettings, Vocabulary
from albertine.records import Batch, Encoded
from albertine.tasks.config import TaskConfig, TaskOptions
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["Seq2Seq", "Seq2SeqOptions", "SourceText", "Written", "encoder_config", "predicted_tokens"]

logger = logging.getLogger("albertine")

_SPARE = 10
"""Tokens that a text may have beyond its share of the source's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seq2SeqOptions(GenerationSettings, TaskOptions):
    """What sequence to sequence alone remembers; how texts are written stands in `GenerationSettings`."""

    decoder_layers: int | None = None
    """Layers of the decoder; None for as many as the encoder has. Writing costs mostly these, so that a decoder that is
    shallower than its encoder writes faster."""
    label_smoothing: float = 0.1
    """Share of a target's probability that the loss spreads over the vocabulary (arXiv:1706.03762 section 5.4)."""
    max_target_length: int = 128
    """The most tokens of a target, special ones included: the decoder's positions. Before training it is set to what
    the training targets need, unless it is asked for."""
    length_factor: float = 2.0
    """A text that is written has at most so many times the tokens of its source, and ten more."""
    shared_vocabulary: bool = True
    """Whether source and target have one vocabulary, and with it one table of word embeddings. Before training it is
    set to what the tokenizer is."""
    target_vocab_size: int | None = None
    """Tokens of the target's vocabulary; None for as many as the encoder has rows for."""
    begin_id: int = 2
    """[CLS] of the target's vocabulary."""
    end_id: int = 3
    """[SEP] of the target's vocabulary."""
    forbidden_ids: tuple[int, ...] = (0, 1, 4)
    """What is never written: [PAD], [UNK] and [MASK]."""
    bleu_tokenizer: BleuTokenizer = "13a"
    """How BLEU cuts texts into words; zh is chosen before training where the targets are Chinese."""

    def __post_init__(self) -> None:
        GenerationSettings.__post_init__(self)
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                "value out of range", where="label_smoothing", received=self.label_smoothing, allowed="0 ≤ share < 1"
            )
        for name, value, least in (
            ("decoder_layers", self.decoder_layers, 1),
            ("max_target_length", self.max_target_length, 3),
        ):
            if value is not None and value < least:
                raise ConfigError("value out of range", where=name, received=value, allowed=f"{least} or more")
        if not self.length_factor > 0:
            raise ConfigError(
                "value out of range", where="length_factor", received=self.length_factor, allowed="above 0"
            )

    @property
    def vocabulary(self) -> Vocabulary:
        """What the search has to know of the target's vocabulary."""
        return Vocabulary(
            begin=self.begin_id, end=self.end_id, forbidden=self.forbidden_ids, size=self.target_vocab_size
        )

    def limit(self, source_tokens: int) -> int:
        """Return the most tokens that are written for a source, special ones not counted."""
        return max(1, min(self.max_target_length - 2, int(self.length_factor * source_tokens) + _SPARE))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceText(Encoded):
    """A source as the model sees it, with what turns the tokens that are written about it into text again."""

    tokenizer: Tokenizer
    """Of the target."""

    @property
    def training_tokens(self) -> int:
        """Return the tokens of source and target; those of the source alone where there is no target."""
        return len(self) + (0 if self.target is None else len(self.target))


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written about a source."""

    texts: tuple[str, ...]
    """The best first; at least one, which is empty where nothing could be written."""
    probabilities: tuple[float, ...]
    """Of each the geometric mean of its tokens' probabilities."""


def encoder_config(config: BodyConfig | None) -> EncoderConfig:
    """Return the configuration as an encoder's.

    Raises:
        ConfigError: it is another body's; a decoder needs a state of every source token.
    """
    if not isinstance(config, EncoderConfig):
        raise ConfigError(
            "this model cannot write: it gives no state of every token that a decoder could look at",
            where="encoder",
            received="a model that reads texts whole" if config is None else type(config).__name__,
            allowed="a Transformer encoder, such as preset:transformer-base or an encoder's folder",
        )
    return config


class Seq2Seq(nn.Module):
    """The encoder–decoder of Vaswani et al. (2017), of any of the encoder's families.

    The decoder has the encoder's widths, sharing, norms and activation. Where source and target share a vocabulary,
    both read with one table of word embeddings, which also scores the words that are written (section 3.4). The
    encoder's pooler, where it has one, is not used.

    Args:
        config: of the encoder.
        task_config: for the options.

    Raises:
        ConfigError: the body is no encoder.
    """

    def __init__(self, config: BodyConfig, task_config: TaskConfig) -> None:
        super().__init__()
        self.options = task_config.own(Seq2SeqOptions)
        own = encoder_config(config)
        self.body = Encoder(own)
        shared = self.options.shared_vocabulary
        self.decoder = Decoder(
            decoder_config(
                own,
                layers=self.options.decoder_layers,
                vocab_size=None if shared else self.options.target_vocab_size,
                positions=self.options.max_target_length,
            ),
            words=self.body.embeddings.word_embeddings if shared else None,
        )

    def body_loaded(self) -> None:
        """Start the decoder from the encoder's weights, once these have been loaded from a checkpoint."""
        taken = warm_start(self.decoder, self.body, same_vocabulary=self.options.shared_vocabulary)
        logger.info("decoder: %s weights start from the encoder's", f"{taken:,}")

    def read(self, batch: Batch) -> tuple[Tensor, Layout]:
        """Return the state of every source token, [S, H] packed or [B, K, H] padded, and how they lie."""
        body = self.body
        layout = body.layout(
            batch.input_ids, attention_mask=batch.attention_mask, sequence_starts=batch.sequence_starts
        )
        hidden = body.embed(
            batch.input_ids, layout=layout, token_type_ids=batch.token_type_ids, position_ids=batch.position_ids
        )
        for index in range(body.config.num_passes):
            hidden = body.run_pass(index, hidden, layout).hidden
        return body.leave(hidden), layout

    def forward(self, batch: Batch) -> Tensor:
        """Return what predicts every token of the targets from those before it, [P, E], see `Decoder.words`.

        Args:
            batch: packed, with the targets as `labels`; their first tokens are not predicted.
        """
        assert batch.labels is not None, "the targets are read too"
        assert batch.label_starts is not None, "the targets are read too"
        starts = batch.label_starts
        memory, layout = self.read(batch)
        hidden = self.decoder(
            _without(batch.labels, starts[1:] - 1),
            memory,
            memory_layout=layout,
            sequence_starts=starts - torch.arange(len(starts), device=starts.device),
        )
        return self.decoder.words(hidden)


def predicted_tokens(batch: Batch) -> Tensor:
    """Return the targets without their first tokens, [P], in the order of what `Seq2Seq.forward` gives."""
    assert batch.labels is not None, "the loss needs targets"
    assert batch.label_starts is not None, "the loss needs targets"
    return _without(batch.labels, batch.label_starts[:-1])


def _without(tokens: Tensor, places: Tensor) -> Tensor:
    kept = torch.ones_like(tokens, dtype=torch.bool)
    kept[places] = False
    return tokens[kept]
