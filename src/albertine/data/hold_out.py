"""Labels that a model does not get to see, to measure whether it notices texts that belong to none of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from albertine.data.samples import Splits
from albertine.errors import ConfigError, unknown_name

__all__ = ["hold_out_labels"]

_logger = logging.getLogger("albertine")

_LEAST = 2
"""Labels that must be left to learn."""


def hold_out_labels(splits: Splits, labels: Sequence[str] | int, *, seed: int) -> Splits:
    """Take all rows of some labels out of a data set; those of the test split are kept apart, as out of scope.

    Args:
        splits: where every row has one label.
        labels: which, or how many of them, drawn by the seed.
        seed: of the draw.

    Raises:
        ConfigError: a label that does not exist, so many that fewer than two are left, or rows without one label.
    """
    if not splits.labels or any(one.label is None for one in splits.train):
        raise ConfigError("labels can only be held out where every row has one", where="hold_out")
    count = labels if isinstance(labels, int) else len(set(labels))
    if not 1 <= count <= len(splits.labels) - _LEAST:
        raise ConfigError(
            "too few or too many labels to hold out",
            where="hold_out",
            received=count,
            allowed=f"from 1 to {len(splits.labels) - _LEAST}",
        )
    if isinstance(labels, int):
        drawn = np.random.default_rng(seed).permutation(len(splits.labels))[:count]
        chosen = {splits.labels[place] for place in drawn}
    else:
        chosen = set(labels)
        for name in sorted(chosen.difference(splits.labels)):
            raise unknown_name("label", name, splits.labels, where="hold_out")
    foreign = tuple(one for one in splits.test if one.label in chosen)
    note = (
        f"held out, to be noticed as out of scope: {', '.join(sorted(chosen))} ({len(foreign)} rows of test; those of "
        "train and dev are not used)"
    )
    _logger.info(note)
    train, dev, test = (
        tuple(one for one in part if one.label not in chosen) for part in (splits.train, splits.dev, splits.test)
    )
    return replace(
        splits,
        train=train,
        dev=dev,
        test=test,
        out_of_scope=foreign,
        labels=tuple(label for label in splits.labels if label not in chosen),
        notes=(*splits.notes, note),
    )
