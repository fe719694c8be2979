"""The decoder: the encoder's blocks over what has been written so far, with a look at the source in between.

B rows, T positions of a padded target, S tokens of packed targets, M tokens of packed sources, K of a padded one,
E embedding width, H hidden width, V vocabulary. A pass is one application of a self-attention, a cross-attention and a
feed-forward block; they are shared over passes by the encoder's rule.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from albertine.errors import ConfigError
from albertine.models.attention import Layout, packed_layout, padded_layout
from albertine.models.config import EncoderConfig, ParameterCount
from albertine.models.decoder_attention import DecoderAttention, View, across, backwards
from albertine.models.encoder import Encoder
from albertine.models.layers import Embeddings, FeedForwardBlock, initialize

__all__ = ["Decoder", "Views", "count_decoder_parameters", "decoder_config", "decoder_flops_per_token", "warm_start"]


def decoder_config(
    config: EncoderConfig, *, layers: int | None = None, vocab_size: int | None = None, positions: int | None = None
) -> EncoderConfig:
    """Return the configuration of a decoder for an encoder: the same family and widths.

    Args:
        config: of the encoder.
        layers: of the decoder; None for as many as the encoder has.
        vocab_size: of the target's vocabulary; None for the source's.
        positions: the most tokens of a target; None for as many as the encoder reads.

    Raises:
        ConfigError: a number out of range.
    """
    depth = config.num_hidden_layers if layers is None else layers
    return dataclasses.replace(
        config,
        num_hidden_layers=depth,
        num_hidden_groups=max(1, min(config.num_hidden_groups, depth)),
        vocab_size=config.vocab_size if vocab_size is None else vocab_size,
        max_position_embeddings=config.max_position_embeddings if positions is None else positions,
        type_vocab_size=0,
        tie_word_embeddings=True,
        add_pooler=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What the two kinds of attention look at in a batch."""

    own: View
    """The target's tokens: each sees itself and those before it."""
    source: View
    """The tokens of the source, all of them."""


class Decoder(nn.Module):
    """A Transformer decoder (arXiv:1706.03762 section 3.1) with random initial weights.

    Where norms stand before the parts, one more follows the last pass and one stands before the source's states are
    looked at: the encoder's own stack ends without one.

    Words are scored with the target's word embeddings themselves, behind a linear layer where these are narrower than
    the states, and with a bias a word.

    Args:
        config: as from `decoder_config`.
        words: the encoder's word embeddings, to be the decoder's as well; they stay the encoder's in everything that is
            saved. None gives the decoder some of its own.

    Raises:
        ConfigError: these word embeddings are of another shape.
    """

    def __init__(self, config: EncoderConfig, *, words: nn.Embedding | None = None) -> None:
        super().__init__()
        self.config = config
        pre_norm = config.norm_placement == "pre"
        self.embeddings = Embeddings(config)
        if words is not None:
            self._share(words)
        self.self_attention_blocks = nn.ModuleList(DecoderAttention(config) for _ in range(config.num_attention_blocks))
        self.cross_attention_blocks = nn.ModuleList(
            DecoderAttention(config) for _ in range(config.num_attention_blocks)
        )
        self.feed_forward_blocks = nn.ModuleList(
            FeedForwardBlock(config) for _ in range(config.num_feed_forward_blocks)
        )
        self.memory_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if pre_norm else None
        self.final_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if pre_norm else None
        narrower = config.embedding_size != config.hidden_size
        self.output = nn.Linear(config.hidden_size, config.embedding_size) if narrower else None
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        initialize(self, config.initializer_range)

    def forward(
        self, input_ids: Tensor, memory: Tensor, *, memory_layout: Layout, sequence_starts: Tensor | None = None
    ) -> Tensor:
        """Return the states from which the token after each one is predicted, [S, H] or [B, T, H].

        Args:
            input_ids: [S] packed, the targets one after another without their last tokens; or [B, T] padded on the
                right. What stands at padding changes nothing elsewhere.
            memory: what the encoder made of the sources, [M, H] packed or [B, K, H] padded, as the targets are.
            memory_layout: of the sources, as `Encoder.layout` gave it.
            sequence_starts: [N+1] of packed targets.

        Raises:
            ConfigError: a target is longer than the positions reach, the starts do not divide the targets, their number
                is not the sources', or an id is outside the table.
        """
        layout = self.layout(input_ids, sequence_starts)
        if layout.texts != memory_layout.texts:
            raise ConfigError(
                "every target needs its source",
                where="sequence_starts",
                received=f"{layout.texts} targets",
                allowed=f"{memory_layout.texts}, the number of sources",
            )
        views = self.views(layout, memory_layout)
        hidden: Tensor = self.embeddings(input_ids, position_ids=layout.positions)
        source = self.source_states(memory)
        for index in range(self.config.num_passes):
            hidden = self.run_pass(index, hidden, source, views)
        return self.finish(hidden)

    def layout(self, input_ids: Tensor, sequence_starts: Tensor | None = None) -> Layout:
        """Say where every target's tokens lie; the arguments are those of `forward`.

        Raises:
            ConfigError: as `forward`.
        """
        if sequence_starts is None:
            layout = padded_layout(input_ids.shape[0], input_ids.shape[1], None, input_ids.device)
        else:
            layout = packed_layout(sequence_starts, input_ids.shape[0], input_ids.device)
        if layout.longest > self.config.max_position_embeddings:
            raise ConfigError(
                "a target is longer than the decoder's positions reach",
                where="input_ids",
                received=f"{layout.longest} tokens",
                allowed=f"up to {self.config.max_position_embeddings}",
            )
        return layout

    def views(self, layout: Layout, memory_layout: Layout) -> Views:
        """Say which tokens look at which, in targets and sources laid out so."""
        heads = self.config.num_attention_heads
        return Views(own=backwards(layout, heads), source=across(layout, memory_layout, heads))

    def source_states(self, memory: Tensor) -> Tensor:
        """Prepare the source's states for the passes that look at them; of the same shape."""
        return memory if self.memory_norm is None else self.memory_norm(memory)

    def run_pass(self, index: int, hidden: Tensor, memory: Tensor, views: Views) -> Tensor:
        """Run pass `index` (0 … num_passes-1).

        Args:
            index: which pass; the configuration says which blocks it runs.
            hidden: [S, H] or [B, T, H].
            memory: as `source_states` gave it.
            views: of the batch.
        """
        blocks = self.config.blocks_of_pass(index)
        hidden = self.self_attention_blocks[blocks.attention](hidden, views.own)
        hidden = self.cross_attention_blocks[blocks.attention](hidden, views.source, memory)
        mapped: Tensor = self.feed_forward_blocks[blocks.feed_forward](hidden)
        return mapped

    def finish(self, hidden: Tensor) -> Tensor:
        """Do what follows the last pass; of the same shape."""
        return hidden if self.final_norm is None else self.final_norm(hidden)

    def _share(self, words: nn.Embedding) -> None:
        own = self.embeddings.word_embeddings
        if words.weight.shape != own.weight.shape:
            raise ConfigError(
                "the decoder cannot share these word embeddings",
                where="words",
                received=str(list(words.weight.shape)),
                allowed=str(list(own.weight.shape)),
            )
        del self.embeddings.word_embeddings
        # a reference and not a part: a part would be saved a second time, and loaded into a table of its own
        object.__setattr__(self.embeddings, "word_embeddings", words)

    @property
    def table(self) -> Tensor:
        """The target's word embeddings, [V, E]."""
        return self.embeddings.word_embeddings.weight

    def words(self, hidden: Tensor) -> Tensor:
        """Return what is held against the rows of the table, [..., E], of states [..., H]."""
        return hidden if self.output is None else self.output(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the score of every word, [..., V], of states [..., H]."""
        return F.linear(self.words(hidden), self.table, self.bias)


def count_decoder_parameters(config: EncoderConfig, *, shared_table: bool) -> ParameterCount:
    """Count a decoder's parameters from its configuration alone.

    Args:
        config: as from `decoder_config`.
        shared_table: whether its word embeddings are the encoder's, and counted there.
    """
    hidden, width = config.hidden_size, config.embedding_norm_size
    norm = 2 * hidden
    fixed = config.vocab_size + (0 if shared_table else config.vocab_size * config.embedding_size)
    fixed += config.max_position_embeddings * width if config.position_embedding == "learned" else 0
    fixed += 2 * width if config.embedding_norm_width != "none" else 0
    if config.has_projection:
        fixed += config.embedding_size * hidden + config.projection_bias * hidden
    if config.embedding_size != hidden:
        fixed += hidden * config.embedding_size + config.embedding_size
    fixed += 2 * norm if config.norm_placement == "pre" else 0
    attention = 2 * (4 * (hidden * hidden + hidden) + norm)
    feed_forward = 2 * hidden * config.intermediate_size + config.intermediate_size + hidden + norm
    return ParameterCount(
        unique=fixed + config.num_attention_blocks * attention + config.num_feed_forward_blocks * feed_forward,
        executed=fixed + config.num_passes * (attention + feed_forward),
    )


def decoder_flops_per_token(config: EncoderConfig, *, length: int, source_length: int) -> int:
    """Return the floating-point operations of one target token in a forward pass, its prediction included.

    Counted are the matrix products, two operations a multiply-add, as in `flops_per_token`; keys and values of the
    source are spread over the tokens of a target.

    Args:
        config: as from `decoder_config`.
        length: tokens of a target, 1 or more.
        source_length: tokens of its source.
    """
    hidden = config.hidden_size
    own = 4 * hidden * hidden + 2 * length * hidden
    source = 2 * hidden * hidden + 2 * hidden * hidden * source_length // length + 2 * source_length * hidden
    one_pass = own + source + 2 * hidden * config.intermediate_size
    projection = config.embedding_size * hidden if config.has_projection else 0
    prediction = config.vocab_size * config.embedding_size
    prediction += hidden * config.embedding_size if config.embedding_size != hidden else 0
    return 2 * (projection + config.num_passes * one_pass + prediction)


@torch.no_grad()
def warm_start(decoder: Decoder, encoder: Encoder, *, same_vocabulary: bool) -> int:
    """Give a decoder the weights of an encoder where the two agree (Rothe et al. 2020, arXiv:1907.12461).

    Self-attention, feed-forward and embeddings are taken, the encoder's first segment added to the positions, as every
    token of a decoder is of the first. A decoder that is shallower takes every so many passes, the last one among them.
    Cross-attention and the linear layer in front of the table keep their random weights, and what has another shape
    does; of positions those that both have are taken.

    Args:
        decoder: changed in place.
        encoder: as loaded from a checkpoint.
        same_vocabulary: whether an id means the same word to both; word embeddings are taken only then.

    Returns:
        How many of the decoder's numbers were taken.
    """
    ours, theirs = decoder.embeddings, encoder.embeddings
    taken = _copied(ours.layer_norm, theirs.layer_norm) + _copied(ours.projection, theirs.projection)
    if same_vocabulary and ours.word_embeddings.weight is not theirs.word_embeddings.weight:
        taken += _copied(ours.word_embeddings, theirs.word_embeddings)
    if ours.position_embeddings is not None and theirs.position_embeddings is not None:
        places, learnt = ours.position_embeddings.weight, theirs.position_embeddings.weight
        if theirs.token_type_embeddings is not None:
            learnt = learnt + theirs.token_type_embeddings.weight[0]
        if places.shape[1] == learnt.shape[1]:
            common = min(len(places), len(learnt))
            places[:common] = learnt[:common]
            taken += common * places.shape[1]
    passes, depth = decoder.config.num_passes, encoder.config.num_passes
    done: set[nn.Module] = set()
    for index in range(passes):
        into = decoder.config.blocks_of_pass(index)
        source = encoder.config.blocks_of_pass(max(0, (index + 1) * depth // passes - 1))
        for block, other in (
            (decoder.self_attention_blocks[into.attention], encoder.attention_blocks[source.attention]),
            (decoder.feed_forward_blocks[into.feed_forward], encoder.feed_forward_blocks[source.feed_forward]),
        ):
            if block not in done:
                taken += _copied(block, other)
                done.add(block)
    return taken


def _copied(into: nn.Module | None, source: nn.Module | None) -> int:
    """Copy the tensors that have the same name and shape, and count their numbers."""
    if into is None or source is None:
        return 0
    found = source.state_dict()
    count = 0
    for name, tensor in into.state_dict().items():
        if name in found and found[name].shape == tensor.shape:
            tensor.copy_(found[name])
            count += tensor.numel()
    return count
