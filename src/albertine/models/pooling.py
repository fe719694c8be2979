"""From the states of a text's tokens to one vector for the text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from albertine.models.config import EncoderConfig

__all__ = ["Pooler", "first_tokens"]


def first_tokens(hidden: Tensor, sequence_starts: Tensor | None = None) -> Tensor:
    """Return the state of every text's first token, [N, H].

    Args:
        hidden: [B, T, H] padded or [S, H] packed.
        sequence_starts: [N+1] of a packed batch.
    """
    if sequence_starts is None:
        return hidden[:, 0]
    return hidden.index_select(0, sequence_starts[:-1])


class Pooler(nn.Module):
    """BERT's pooler: the first token's state through a dense layer and tanh."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: Tensor, sequence_starts: Tensor | None = None) -> Tensor:
        """Return [N, H]; the arguments are those of `first_tokens`."""
        return torch.tanh(self.dense(first_tokens(hidden, sequence_starts)))
