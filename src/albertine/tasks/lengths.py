"""How many tokens a model reads at a time: as asked for, or measured on the training texts."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.records import Example, IntArray
from albertine.tasks.config import TaskRequest

__all__ = ["default_max_length", "longest_read"]

logger = logging.getLogger("albertine")

_COVERED = 99.0
"""Per cent of the training texts that the default maximum length leaves whole."""
_SAMPLE = 20_000
"""Training texts that the default maximum length is measured on."""


def default_max_length(lengths: IntArray, limit: int | None) -> int:
    """Choose the tokens that the model reads at a time.

    Args:
        lengths: tokens of the training texts, special tokens included.
        limit: positions that the encoder has; None for a body without positions.

    Returns:
        The 99th percentile of the lengths, rounded up to a multiple of 8, and never more than `limit`.
    """
    covering = 8 * math.ceil(float(np.percentile(lengths, _COVERED)) / 8)
    return covering if limit is None else min(covering, limit)


def longest_read(examples: Sequence[Example], request: TaskRequest, *, becomes: str) -> int | None:
    """Return the tokens that the model reads at a time: as asked for, or measured on the examples, which is said aloud.

    Args:
        examples: the training split.
        request: for the length, the tokenizer and the body; without a tokenizer texts are read whole.
        becomes: what is done with longer texts, to end a sentence with.

    Raises:
        ConfigError: a length beyond the encoder's positions.
    """
    if request.tokenizer is None:
        return None
    limit = request.body.max_position_embeddings if isinstance(request.body, EncoderConfig) else None
    if request.max_length is not None:
        if limit is not None and request.max_length > limit:
            raise ConfigError(
                "the encoder has fewer positions",
                where="max_length",
                received=request.max_length,
                allowed=f"up to {limit}",
            )
        return request.max_length
    sample = examples[:: -(-len(examples) // _SAMPLE)]
    tokens = request.tokenizer.tokenize(
        [example.text for example in sample],
        [example.text_pair or "" for example in sample] if sample[0].text_pair is not None else None,
        offsets=False,
    )
    chosen = default_max_length(tokens.lengths, limit)
    logger.info(
        "maximum length: %d tokens (the longest training text has %d; %.1f %% of them are longer and will be %s; "
        "choose another with --max-length)",
        chosen,
        int(tokens.lengths.max()),
        100 * float(np.mean(tokens.lengths > chosen)),
        becomes,
    )
    return chosen
