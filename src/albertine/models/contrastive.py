"""Losses that teach an encoder which texts are alike; pure functions of vectors, in float32 whatever runs around them.

N pairs or anchors, C candidates, M texts, L windows of texts, W width of a vector. A scale is what cosines are
multiplied by before they become exponents, the inverse of a temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "FIRST",
    "NEGATIVE",
    "SECOND",
    "TextVectors",
    "batch_loss",
    "contrastive_loss",
    "cosent_loss",
    "cosines",
    "false_negatives",
    "joined_windows",
    "squared_error",
]

FIRST, SECOND, NEGATIVE = 0, 1, 2
"""What a text is in its example: the first of a pair, the second, or one that does not belong to the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextVectors:
    """The texts of a batch, in its order."""

    vectors: Tensor
    """[M, W] float32."""
    roles: Tensor
    """[M] int64: FIRST, SECOND or NEGATIVE."""
    keys: Tensor
    """[M] int64, equal for equal texts."""
    values: Tensor
    """[M] int64, what the text's example says of it, in whatever unit."""

    def of_role(self, *roles: int) -> TextVectors:
        """Return the texts that are one of these in their examples."""
        chosen = torch.isin(self.roles, self.roles.new_tensor(roles)).nonzero()[:, 0]
        return TextVectors(
            vectors=self.vectors[chosen], roles=self.roles[chosen], keys=self.keys[chosen], values=self.values[chosen]
        )


def joined_windows(vectors: Tensor, targets: Tensor, groups: Tensor | None) -> TextVectors:
    """Return the mean vector of every text over its windows, which stand one after another.

    Args:
        vectors: [L, W].
        targets: [L, 3] int64: role, key and value of the text that a window is of.
        groups: [L] which example a window is of; None where each is one of its own.
    """
    vectors = vectors.float()
    if groups is not None:
        own = torch.cat([groups[:, None], targets[:, :2]], dim=1)
        begins = torch.ones_like(groups, dtype=torch.bool)
        begins[1:] = (own[1:] != own[:-1]).any(dim=1)
        places = begins.cumsum(0) - 1
        counts = torch.bincount(places).to(vectors.dtype)
        vectors = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, places, vectors) / counts[:, None]
        targets = targets[begins]
    return TextVectors(vectors=vectors, roles=targets[:, 0], keys=targets[:, 1], values=targets[:, 2])


def batch_loss(
    texts: TextVectors,
    kind: Literal["contrastive", "cosent", "squared-error"],
    *,
    scale: float,
    symmetric: bool = False,
    unit: float = 1.0,
) -> Tensor:
    """Return a loss, summed over the pairs of a batch; 0 where it has no pair.

    Args:
        texts: the first and second texts of pairs in one order, and texts that are negatives for all.
        kind: contrastive looks at no values; in the other two negatives are not looked at.
        scale: of the cosines, in the first two.
        symmetric: of the contrastive loss.
        unit: the value of texts that mean the same, for the squared error.
    """
    first, second = texts.of_role(FIRST), texts.of_role(SECOND)
    if kind == "contrastive":
        candidates = texts.of_role(SECOND, NEGATIVE)
        positives = (candidates.roles == SECOND).nonzero()[:, 0]
        if not len(positives):
            return texts.vectors.sum() * 0.0
        masked = false_negatives(first.keys, candidates.keys, positives)
        return contrastive_loss(
            first.vectors, candidates.vectors, positives, scale=scale, masked=masked, symmetric=symmetric
        ).sum()
    similarities = cosines(first.vectors, second.vectors)
    if kind == "squared-error":
        return squared_error(similarities, first.values / unit).sum()
    # one number for the whole batch, which counts for every pair in it
    return cosent_loss(similarities, first.values, scale=scale) * len(first.values)


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of every row of one with the same row of the other, [N]; 0 beside a vector of zeros."""
    return (_unit(first) * _unit(second)).sum(dim=-1)


def contrastive_loss(
    anchors: Tensor,
    candidates: Tensor,
    positives: Tensor,
    *,
    scale: float,
    masked: Tensor | None = None,
    symmetric: bool = False,
) -> Tensor:
    """Return, for every anchor, the cross-entropy of finding its partner among all candidates, [N].

    The partners of the others serve as negatives, and so do candidates that are nobody's partner, such as mined hard
    negatives: InfoNCE (van den Oord et al. 2018, arXiv:1807.03748), in the form of Henderson et al. (2017,
    arXiv:1705.00652) with cosines. With two passes of one text through dropout as anchor and partner it is the
    unsupervised SimCSE (Gao et al. 2021, arXiv:2104.08821, section 3).

    Args:
        anchors: [N, W].
        candidates: [C, W].
        positives: [N] int64, which candidate belongs to each anchor.
        scale: of the cosines.
        masked: [N, C] bool, candidates that an anchor is not told apart from; its partner always counts.
        symmetric: take the mean with the other direction, in which every partner finds its anchor among all anchors.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        logits = scale * _unit(anchors) @ _unit(candidates).T
        if masked is not None:
            own = functional.one_hot(positives, logits.shape[1]).bool()
            logits = logits.masked_fill(masked & ~own, float("-inf"))
        losses = functional.cross_entropy(logits, positives, reduction="none")
        if not symmetric:
            return losses
        rows = torch.arange(len(anchors), device=anchors.device)
        return (losses + functional.cross_entropy(logits[:, positives].T, rows, reduction="none")) / 2


def false_negatives(anchor_keys: Tensor, candidate_keys: Tensor, positives: Tensor) -> Tensor:
    """Say which candidates an anchor must not be told apart from, [N, C] bool; its partner is among them.

    These are the partners of anchors of the same text, whatever row they stand in, and candidates that are the
    anchor's own text.

    Args:
        anchor_keys: [N] int64, equal for equal texts.
        candidate_keys: [C] int64, in the same numbering.
        positives: [N] int64, which candidate belongs to each anchor.
    """
    same_anchor = anchor_keys[:, None] == anchor_keys[None, :]
    partner = candidate_keys[positives][:, None] == candidate_keys[None, :]
    with torch.autocast(anchor_keys.device.type, enabled=False):
        # the product counts the rows that are both, and float32 counts exactly
        known = same_anchor.float() @ partner.float() > 0
    return known | (anchor_keys[:, None] == candidate_keys[None, :])


def cosent_loss(similarities: Tensor, values: Tensor, *, scale: float) -> Tensor:
    """Return how many pairs of a batch stand in the wrong order, and how far, as one number.

    log(1 + the sum, over all two pairs of which the first is more alike, of exp(scale * (second - first))), in the
    pairs' cosines: CoSENT (Su 2022, kexue.fm/archives/8847). Only the order of the values matters, so that scores of
    any scale and labels of 0 and 1 serve alike. 0 where all pairs have one value.

    Args:
        similarities: [N] cosines of the pairs.
        values: [N] how alike the pairs are said to be.
        scale: of the cosines.
    """
    scaled = scale * similarities.float()
    wrong = (scaled[None, :] - scaled[:, None])[values[:, None] > values[None, :]]
    return torch.logsumexp(torch.cat([scaled.new_zeros(1), wrong]), dim=0)


def squared_error(similarities: Tensor, values: Tensor) -> Tensor:
    """Return the squared distance of every pair's cosine from its value, [N] (Reimers and Gurevych 2019, section 3).

    Args:
        similarities: [N] cosines of the pairs.
        values: [N] what they should be, from 0 to 1.
    """
    return (similarities.float() - values.float()) ** 2


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors.float(), dim=-1)
