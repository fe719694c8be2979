"""Word embeddings to begin with: vectors of the tokens that stand near each other in the corpus.

V tokens, C context tokens, E width of the word table.
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from albertine.batching.shards import Shards
from albertine.records import IntArray

__all__ = ["begin_with_neighbours"]

logger = logging.getLogger("albertine")

_CONTEXTS = 4_096
"""The most frequent tokens; V by so many numbers have to fit into memory."""
_WINDOW = 5
"""Tokens to either side that count as near, one at distance d as 1 / d."""
_SMOOTHING = 0.75
"""Exponent of the frequencies of contexts (Levy, Goldberg and Dagan 2015, section 3.1)."""
_TOKENS = 20_000_000
_AT_ONCE = 1_000_000
_NOTHING = 1e-4
"""Of the largest singular value; what is smaller is rounding."""
_ITERATIONS, _SPARE = 4, 20
"""Of the randomised decomposition (Halko, Martinsson and Tropp 2011, algorithm 4.4)."""


def begin_with_neighbours(table: Tensor, shards: Shards, counts: IntArray, *, deviation: float, seed: int) -> None:
    """Factorise how much more often tokens stand near each other than their frequencies say, into a word table.

    Positive pointwise mutual information of tokens and contexts, decomposed, each side with the root of the singular
    values (Levy and Goldberg 2014, Neural Word Embedding as Implicit Matrix Factorization, section 3.3). It takes
    seconds, and a masked-word model that begins so has behind it what random vectors learn in some million tokens.

    Args:
        table: [V, E], changed in place; rows and columns for which the corpus gives nothing stay as they are.
        shards: the corpus; of a large one a sample from all over it.
        counts: [V] of its tokens, 0 for those that have no meaning.
        deviation: the standard deviation of the numbers written.
        seed: of the decomposition.
    """
    contexts = np.argsort(-counts, kind="stable")[:_CONTEXTS]
    near = torch.from_numpy(_near(shards, counts, contexts))
    known = near.any(dim=1)
    if not known.any():
        return
    rank = min(table.shape[1], *near.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        left, values, _ = torch.svd_lowrank(near, q=min(rank + _SPARE, *near.shape), niter=_ITERATIONS)
    rank = int((values[:rank] > _NOTHING * values[0]).sum())
    vectors = (left[:, :rank] * values[:rank].sqrt())[known]
    with torch.no_grad():
        table[known, :rank] = vectors / vectors.std() * deviation
    logger.info(
        "word embeddings begin with what stands near each other in the corpus: %s of %s tokens",
        f"{int(known.sum()):,}",
        f"{len(counts):,}",
    )


def _near(shards: Shards, counts: IntArray, contexts: IntArray) -> npt.NDArray[np.float32]:
    """Return the positive pointwise mutual information of tokens and contexts, [V, C]."""
    column = np.full(len(counts), -1, dtype=np.int64)
    column[contexts] = np.arange(len(contexts))
    column[counts == 0] = -1
    together = np.zeros(len(counts) * len(contexts), dtype=np.float32)
    total = shards.num_tokens
    pieces = max(1, min(_TOKENS, total) // _AT_ONCE)
    for piece in range(pieces):
        begin = piece * total // pieces
        ids = shards.tokens(begin, min(total, begin + _AT_ONCE))
        for distance in range(1, _WINDOW + 1):
            for words, beside in ((ids[:-distance], ids[distance:]), (ids[distance:], ids[:-distance])):
                places = column[beside]
                met = (places >= 0) & (counts[words] > 0)
                np.add.at(together, words[met] * len(contexts) + places[met], np.float32(1 / distance))
    table = together.reshape(len(counts), len(contexts))
    words_met, smoothed = table.sum(axis=1, keepdims=True), table.sum(axis=0) ** _SMOOTHING
    with np.errstate(divide="ignore", invalid="ignore"):
        table /= words_met
        table /= smoothed / smoothed.sum()
        np.log(table, out=table)
    return np.nan_to_num(table, copy=False, nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0, out=table)
