"""The word-vector baseline: the mean of token vectors and hashed bigram vectors, fastText's classifier.

Source: Joulin, Grave, Bojanowski, Mikolov, Bag of Tricks for Efficient Text Classification (2016), section 2.
N texts, B rows, T positions of a padded row, S tokens of a packed batch, E width of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from albertine.errors import ConfigError
from albertine.models.baseline import Baseline
from albertine.models.encoder import EncoderOutput

__all__ = ["BASELINE", "AveragedVectors", "WordVectorsConfig"]

# Two odd numbers far from each other and from powers of two: neighbouring ids land in buckets far apart.
FIRST_FACTOR, SECOND_FACTOR = 2_654_435_761, 40_503


@dataclass(frozen=True, slots=True, kw_only=True)
class WordVectorsConfig:
    """Sizes of the word-vector baseline."""

    vocab_size: int
    """Tokens in the vocabulary."""
    embedding_size: int = 64
    """Width of a vector; fastText's own default is 100, and its authors use 10 in the paper."""
    bigram_buckets: int = 1 << 16
    """Vectors that all bigrams share by their hash; 0 for tokens only."""
    classifier_dropout_prob: float = 0.0
    """Share of the mean's values set to zero in training."""
    initializer_range: float = 0.05
    """Standard deviation of the initial vectors."""
    pad_token_id: int = 0
    """The id that fills rows up."""

    def __post_init__(self) -> None:
        for name, least in (("vocab_size", 1), ("embedding_size", 1), ("bigram_buckets", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    "the size is too small", where=name, received=getattr(self, name), allowed=f"{least} or more"
                )
        if not 0.0 <= self.classifier_dropout_prob < 1.0:
            raise ConfigError(
                "not a share",
                where="classifier_dropout_prob",
                received=self.classifier_dropout_prob,
                allowed="0 ≤ share < 1",
            )
        if self.initializer_range <= 0.0:
            raise ConfigError("must be positive", where="initializer_range", received=self.initializer_range)
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise ConfigError(
                "the id is outside the vocabulary",
                where="pad_token_id",
                received=self.pad_token_id,
                allowed=f"0 … {self.vocab_size - 1}",
            )

    @property
    def output_size(self) -> int:
        """Width of the pooled vector."""
        return self.embedding_size


class AveragedVectors(nn.Module):
    """The mean of the vectors of a text's tokens and bigrams; called like the encoder."""

    def __init__(self, config: WordVectorsConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.embedding_size)
        nn.init.normal_(self.tokens.weight, std=config.initializer_range)
        self.bigrams = nn.Embedding(config.bigram_buckets, config.embedding_size) if config.bigram_buckets else None
        if self.bigrams is not None:
            nn.init.normal_(self.bigrams.weight, std=config.initializer_range)

    def forward(
        self,
        input_ids: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        sequence_starts: torch.Tensor | None = None,
    ) -> EncoderOutput:
        """Average the vectors of every text.

        Args:
            input_ids: [B, T], or [S] with `sequence_starts`.
            attention_mask: [B, T], 1 for real tokens.
            token_type_ids: not used; a pair is one bag, its separators among the tokens.
            position_ids: not used; a bag has no order beyond its bigrams.
            sequence_starts: [N+1], for packed input.

        Returns:
            `last_hidden_state`, the token vectors, [B, T, E] or [S, E], and `pooler_output` [N, E].
        """
        if sequence_starts is not None:
            flat, starts = input_ids, sequence_starts
        else:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            flat = input_ids[mask.bool()]
            starts = functional.pad(mask.sum(dim=1).cumsum(0), (1, 0))
        hidden = self.tokens(input_ids)
        return EncoderOutput(last_hidden_state=hidden, pooler_output=self._mean(flat, starts))

    def _mean(self, flat: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """[S] ids of N texts one after another -> [N, E]; a text of no tokens gives zeros."""
        counts = starts.diff()
        total = functional.embedding_bag(flat, self.tokens.weight, starts[:-1], mode="sum")
        if self.bigrams is not None and len(flat) > 1:
            text_of = torch.repeat_interleave(torch.arange(len(counts), device=flat.device), counts)
            inside = text_of[1:] == text_of[:-1]
            buckets = self.bucket(flat[:-1], flat[1:])[inside]
            pairs = (counts - 1).clamp(min=0)
            offsets = functional.pad(pairs.cumsum(0), (1, 0))[:-1]
            total = total + functional.embedding_bag(buckets, self.bigrams.weight, offsets, mode="sum")
            counts = counts + pairs
        return total / counts.clamp(min=1)[:, None].to(total.dtype)

    def bucket(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return the bucket of every bigram: [M] and [M] token ids -> [M], the same on every machine."""
        mixed = first * FIRST_FACTOR + second * SECOND_FACTOR
        return ((mixed ^ (mixed >> 15)) & 0x7FFF_FFFF) % self.config.bigram_buckets


BASELINE: Baseline[WordVectorsConfig, AveragedVectors] = Baseline(
    name="word-vectors",
    description="the mean of token vectors and hashed bigram vectors (fastText's classifier)",
    training="loop",
    make_config=lambda vocab_size: WordVectorsConfig(vocab_size=vocab_size),
    build=AveragedVectors,
    learning_rate=1e-2,
)
