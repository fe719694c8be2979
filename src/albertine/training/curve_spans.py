"""Statistics of a loss over a part of a run, and the loss of knowing word frequencies alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from albertine.errors import ConfigError
from albertine.records import IntArray

__all__ = ["Span", "span_of", "unigram_entropy"]

_MOST_ALIKE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A loss over a part of a run."""

    mean: float
    error: float
    """Standard error of the mean, by how far points lie from a straight line and how alike neighbours are."""


def span_of(values: npt.NDArray[np.float64]) -> Span:
    """Average the losses of a span; at least three of them."""
    count = len(values)
    places = np.linspace(-1.0, 1.0, count)
    rest = values - values.mean() - places * (places @ values) / (places @ places)
    spread = float(rest @ rest) / (count - 2)
    alike = float(rest[1:] @ rest[:-1]) / float(rest @ rest) if spread > 0 else 0.0
    alike = min(max(alike, 0.0), _MOST_ALIKE)
    return Span(mean=float(values.mean()), error=math.sqrt(spread / count * (1.0 + alike) / (1.0 - alike)))


def unigram_entropy(counts: IntArray) -> float:
    """Return the entropy, in nats, of drawing a token of a corpus.

    Args:
        counts: how often each token occurs; special tokens should count 0, as they are never masked.

    Raises:
        ConfigError: there are no tokens.
    """
    known = np.asarray(counts, dtype=np.float64)
    total = float(known.sum())
    if total <= 0:
        raise ConfigError("there are no tokens to take the entropy of", where="counts", received=total)
    shares = known[known > 0] / total
    return max(0.0, -float(shares @ np.log(shares)))
