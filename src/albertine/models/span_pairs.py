"""What two spans of a text say together: whether they are an opinion, of which category, and its polarity.

Shapes: S tokens of a packed batch, N texts, M pairs of spans, H width of the states, C categories, P polarities.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PairScores", "SpanPairScorer", "distance_buckets"]

_LIMITS = (1, 2, 3, 4, 5, 8, 16, 32, 64)
"""The least distance of every bucket (Lee et al. 2017, section 4, in End-to-end Neural Coreference Resolution)."""
_IMPLIED = 2 * len(_LIMITS) + 1
"""The bucket of pairs of which one side is implied; that of overlapping spans is 0."""


class PairScores(NamedTuple):
    """What is said of M pairs, as logits."""

    presence: Tensor
    """[M, C] that the pair is an opinion of the category."""
    polarity: Tensor
    """[M, C, P] of that opinion."""


class SpanPairScorer(nn.Module):
    """Scores pairs of an aspect and an expression.

    A span is the states of its two ends; one that is implied is the state of the text's first token twice. Both go
    through a matrix of their own, and with the text's pooled vector and an embedding of their distance into one hidden
    layer. That is the pair of Xu et al. (2021, Learning Span-Level Interactions for Aspect Sentiment Triplet
    Extraction, section 2.2), with a pooled vector, and with whether there is an opinion told apart from its polarity,
    so that a pair can be an opinion of several categories (Cai et al. 2021, Aspect-Category-Opinion-Sentiment
    Quadruple Extraction with Implicit Aspects and Opinions, section 4.2).

    Args:
        width: H.
        categories: C, 1 where there are none.
        polarities: P.
        dropout: chance that a unit of the hidden layer, or of what goes into it, is dropped in training.
    """

    def __init__(self, width: int, *, categories: int, polarities: int, dropout: float) -> None:
        super().__init__()
        self.polarities = polarities
        self.aspect = nn.Linear(2 * width, width)
        self.expression = nn.Linear(2 * width, width, bias=False)
        self.text = nn.Linear(width, width, bias=False)
        self.distance = nn.Embedding(_IMPLIED + 1, width)
        self.dropout = nn.Dropout(dropout)
        self.presence = nn.Linear(width, categories)
        self.polarity = nn.Linear(width, polarities)
        # what a category adds to the polarity that all of them share
        self.category_polarity = nn.Linear(width, categories * polarities) if categories > 1 else None

    def forward(
        self, states: Tensor, pooled: Tensor, starts: Tensor, texts: Tensor, aspects: Tensor, expressions: Tensor
    ) -> PairScores:
        """Score pairs.

        Args:
            states: [S, H].
            pooled: [N, H].
            starts: [N+1] the first token of every text and the end.
            texts: [M] which text a pair stands in.
            aspects: [M, 2] first and last token within the text; (0, 0), its first one, where the aspect is implied.
            expressions: [M, 2] likewise.
        """
        begins = starts[texts][:, None]
        states, pooled = self.dropout(states), self.dropout(pooled)
        hidden = (
            self.aspect(states[begins + aspects].flatten(1))
            + self.expression(states[begins + expressions].flatten(1))
            + self.text(pooled)[texts]
            + self.distance(distance_buckets(aspects, expressions))
        )
        hidden = self.dropout(functional.gelu(hidden))
        presence: Tensor = self.presence(hidden)
        polarity: Tensor = self.polarity(hidden)[:, None].expand(-1, presence.shape[1], -1)
        if self.category_polarity is not None:
            polarity = polarity + self.category_polarity(hidden).unflatten(1, (-1, self.polarities))
        return PairScores(presence, polarity)


def distance_buckets(aspects: Tensor, expressions: Tensor) -> Tensor:
    """Return the bucket of every pair's distance, [M]: how many tokens one has to go from one span to the other.

    There is one for spans that overlap, nine for expressions behind their aspects, nine for those before, and one for
    pairs of which one side is implied.

    Args:
        aspects: [M, 2] as in `SpanPairScorer.forward`.
        expressions: [M, 2] likewise.
    """
    behind = expressions[:, 0] - aspects[:, 1]
    before = aspects[:, 0] - expressions[:, 1]
    limits = torch.tensor(_LIMITS, device=aspects.device)
    bucket = torch.bucketize(torch.maximum(behind, before).clamp(min=0), limits, right=True)
    bucket = torch.where(before > 0, bucket + len(_LIMITS), bucket)
    return torch.where((aspects[:, 1] == 0) | (expressions[:, 1] == 0), _IMPLIED, bucket)
