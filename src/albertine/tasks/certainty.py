"""How sure an exit of an elastic encoder is of what it says: from its outputs alone, or from how far they still move.

What the numbers mean is found by calibration; only their order counts. N encoded texts, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from albertine.tasks.task import FloatArray

__all__ = ["by_any_label", "by_label", "by_movement"]


def by_label(rows: Sequence[FloatArray]) -> FloatArray:
    """Return the probability of the best label, [N], of logits [C] each."""
    return _best_shares(np.stack(rows))


def by_any_label(rows: Sequence[FloatArray]) -> FloatArray:
    """Return how far the least decided label is from a toss-up, [N], of a logit a label, [C] each."""
    decided: FloatArray = (1 / (1 + np.exp(-np.abs(np.stack(rows))))).min(axis=1)
    return decided


def by_movement(before: Sequence[FloatArray | None], rows: Sequence[FloatArray]) -> FloatArray:
    """Return 1 where an output is what the exit before said, less the further it is away, and 0 at a first exit, [N].

    The patience of Zhou et al. (2020, arXiv:2006.04152, section 3.3) for numbers and vectors.
    """
    moved = [np.inf if one is None else float(np.linalg.norm(row - one)) for one, row in zip(before, rows, strict=True)]
    return (1 / (1 + np.asarray(moved))).astype(np.float32)


def _best_shares(logits: FloatArray) -> FloatArray:
    """Return the largest softmax share of every row, [M]."""
    highest = logits.max(axis=-1, keepdims=True)
    found: FloatArray = 1 / np.exp(logits - highest).sum(axis=-1)
    return found
