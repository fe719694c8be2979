"""Encoded texts laid out as one `Batch`, and texts grouped so that a batch stays within a budget of tokens.

Shapes: N texts, T positions of a padded row, S tokens of all texts one after another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from albertine.errors import ConfigError
from albertine.records import Batch, Encoded, IntArray

__all__ = ["packed", "padded", "token_budget_batches"]


def packed(encoded: Sequence[Encoded]) -> Batch:
    """Lay the texts one after another, without padding.

    Args:
        encoded: at least one text.

    Returns:
        A batch with `input_ids` and `token_type_ids` of [S], `sequence_starts` of [N+1], and `labels` where every
        text has a target. Positions restart with every text (`position_ids` is None).
    """
    labels, label_starts = _labels(encoded)
    return Batch(
        input_ids=_int64(np.concatenate([one.input_ids for one in encoded])),
        token_type_ids=_int64(np.concatenate([one.token_type_ids for one in encoded])),
        sequence_starts=_starts([len(one) for one in encoded]),
        labels=labels,
        label_starts=label_starts,
        groups=_groups(encoded),
    )


def padded(encoded: Sequence[Encoded], *, pad_id: int) -> Batch:
    """Lay every text in a row of its own, filled up on the right to the longest one.

    Args:
        encoded: at least one text.
        pad_id: the token id to fill up with.

    Returns:
        A batch with `input_ids`, `token_type_ids` and `attention_mask` of [N, T], and `labels` where every text has
        a target; these are not padded.
    """
    shape = (len(encoded), max(len(one) for one in encoded))
    ids = np.full(shape, pad_id, dtype=np.int64)
    types = np.zeros(shape, dtype=np.int64)
    mask = np.zeros(shape, dtype=np.int64)
    for row, one in enumerate(encoded):
        ids[row, : len(one)] = one.input_ids
        types[row, : len(one)] = one.token_type_ids
        mask[row, : len(one)] = 1
    labels, label_starts = _labels(encoded)
    return Batch(
        input_ids=torch.from_numpy(ids),
        token_type_ids=torch.from_numpy(types),
        attention_mask=torch.from_numpy(mask),
        labels=labels,
        label_starts=label_starts,
        groups=_groups(encoded),
    )


def token_budget_batches(
    lengths: Sequence[int] | IntArray, max_tokens: int, max_rows: int | None = None
) -> list[IntArray]:
    """Group texts of like length, shortest first, each group within a budget.

    A group costs its longest text times its number of texts: that is what attention needs, which sees a packed batch
    as rows of equal length, and it keeps one long text from being put together with hundreds of short ones.

    Args:
        lengths: tokens of every text, [N].
        max_tokens: the most that a group may cost; a single text above it is a group of its own.
        max_rows: the most texts in a group; None for no limit.

    Returns:
        Indices into `lengths`; every text is in exactly one group.

    Raises:
        ConfigError: a budget below one.
    """
    if max_tokens < 1:
        raise ConfigError("the token budget is too small", received=max_tokens, allowed="1 or more")
    if max_rows is not None and max_rows < 1:
        raise ConfigError("the limit of texts in a batch is too small", received=max_rows, allowed="1 or more")
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    groups: list[IntArray] = []
    first = 0
    for place, length in enumerate(lengths[order].tolist()):
        rows = place + 1 - first
        if rows > 1 and (rows * length > max_tokens or (max_rows is not None and rows > max_rows)):
            groups.append(order[first:place])
            first = place
    if first < len(order):
        groups.append(order[first:])
    return groups


def _int64(values: npt.NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))


def _starts(lengths: Sequence[int]) -> torch.Tensor:
    starts = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    return torch.from_numpy(starts)


def _labels(encoded: Sequence[Encoded]) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    targets = [one.target for one in encoded if one.target is not None]
    if len(targets) < len(encoded):
        return None, None
    return torch.from_numpy(np.concatenate(targets)), _starts([len(target) for target in targets])


def _groups(encoded: Sequence[Encoded]) -> torch.Tensor | None:
    """Number the examples that the texts are windows of; None where none is a window."""
    if all(one.owned is None for one in encoded):
        return None
    owners = [one.example for one in encoded]
    numbers = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    return torch.tensor([numbers[owner] for owner in owners], dtype=torch.int64)
