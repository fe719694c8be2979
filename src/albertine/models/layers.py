"""The parts that do not look across positions: embeddings, the feed-forward part, activations, initial weights.

B rows, T positions of a padded row, S tokens of a packed batch, E embedding width, H hidden width.
Shapes are written padded; packed input has [S, …] wherever [B, T, …] stands.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from albertine.errors import ConfigError
from albertine.models import training_blocks
from albertine.models.config import EncoderConfig
from albertine.models.dropout import Dropout, drop

__all__ = ["Dropout", "Embeddings", "FeedForwardBlock", "activate", "drop", "initialize", "sinusoidal_positions"]


def activate(values: Tensor, name: str) -> Tensor:
    """Apply the activation that `EncoderConfig.hidden_act` names."""
    if name == "relu":
        return F.relu(values)
    return F.gelu(values, approximate="tanh" if name == "gelu_tanh" else "none")


def initialize(module: nn.Module, initializer_range: float) -> None:
    """Set the initial weights of `module` and everything in it, as Google's code does.

    Matrices and tables are normal with standard deviation `initializer_range`, cut at two deviations; biases 0;
    LayerNorm 1 and 0; the row of a padding id 0. The same `torch.manual_seed` gives the same weights.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(part.weight, std=initializer_range, a=-2 * initializer_range, b=2 * initializer_range)
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            nn.init.zeros_(part.weight[part.padding_idx])
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def sinusoidal_positions(positions: Tensor, width: int) -> Tensor:
    """Return the position code of "Attention is all you need" (arXiv:1706.03762 section 3.5).

    Dimension 2i holds sin(position / 10000^(2i/width)), dimension 2i+1 the cosine.

    Args:
        positions: [...] position ids.
        width: width of the code.

    Returns:
        [..., width] float32.
    """
    steps = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
    angles = positions.unsqueeze(-1).to(torch.float32) * torch.exp(steps * (-math.log(10_000.0) / width))
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., :width]


class Embeddings(nn.Module):
    """Words, positions and segments, summed, normed and brought to the hidden width."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.embedding_norm_size
        self.word_embeddings = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.position_embeddings = (
            nn.Embedding(config.max_position_embeddings, width) if config.position_embedding == "learned" else None
        )
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size else None
        self.layer_norm = (
            nn.LayerNorm(width, eps=config.layer_norm_eps) if config.embedding_norm_width != "none" else None
        )
        self.projection = (
            nn.Linear(config.embedding_size, config.hidden_size, bias=config.projection_bias)
            if config.has_projection
            else None
        )
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None,
        *,
        position_ids: Tensor,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """Return the stack's input, [B, T, H].

        Args:
            input_ids: [B, T]; None where `inputs_embeds` stands in.
            position_ids: [T] or [B, T].
            token_type_ids: [B, T]; None means 0 everywhere.
            inputs_embeds: [B, T, E] in place of the word embeddings.

        Raises:
            ConfigError: an id is outside its table (seen on the CPU; a GPU stops with its own message).
        """
        words = _look_up(self.word_embeddings, input_ids, "vocab_size") if input_ids is not None else inputs_embeds
        assert words is not None, "the encoder checks that one of the two is there"
        # Project first where the norm lives at H, last where it lives at E.
        early = self.config.embedding_norm_width == "hidden"
        if self.position_embeddings is None:
            words = words * math.sqrt(self.config.embedding_size)
        summed = self.projection(words) if self.projection is not None and early else words
        if self.position_embeddings is None:
            summed = summed + sinusoidal_positions(position_ids, summed.shape[-1]).to(summed.dtype)
        else:
            summed = summed + _look_up(self.position_embeddings, position_ids, "max_position_embeddings")
        if self.token_type_embeddings is not None:
            # The first segment's row broadcast is what ids of zeros would give, without a look-up.
            summed = summed + (
                self.token_type_embeddings.weight[0]
                if token_type_ids is None
                else _look_up(self.token_type_embeddings, token_type_ids, "type_vocab_size")
            )
        normed = self.layer_norm(summed) if self.layer_norm is not None else summed
        hidden: Tensor = self.dropout(normed)
        if self.projection is not None and not early:
            hidden = self.projection(hidden)
        return hidden


def _look_up(table: nn.Embedding, ids: Tensor, field: str) -> Tensor:
    try:
        rows: Tensor = table(ids)
    except IndexError as error:
        raise ConfigError(
            "an id lies outside the model's table",
            where=field,
            received=f"ids from {int(ids.min())} to {int(ids.max())}",
            allowed=f"0 … {table.num_embeddings - 1}",
            next_step="Check that tokenizer and model belong together",
        ) from error
    return rows


class FeedForwardBlock(nn.Module):
    """The position-wise feed-forward part with its residual and its norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.pre_norm = config.norm_placement == "pre"
        self.hidden_act = config.hidden_act
        self.intermediate = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map [B, T, H] to [B, T, H]."""
        if training_blocks.usable(self, hidden):
            return training_blocks.feed_forward_block(self, hidden)
        entering = self.layer_norm(hidden) if self.pre_norm else hidden
        inner = activate(self.intermediate(entering), self.hidden_act)
        summed: Tensor = hidden + self.dropout(self.output(inner))
        return summed if self.pre_norm else self.layer_norm(summed)
