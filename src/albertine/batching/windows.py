"""Texts longer than a model reads at a time, as windows that overlap: nothing of them is lost.

T tokens of a whole text, special ones included; W tokens of a window of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from albertine.errors import ConfigError
from albertine.records import Encoded, EncodedExamples, IntArray, Target, Tokens

__all__ = ["encoded_examples", "window_places", "windows"]

_SPECIAL = {False: 2, True: 3}
"""Special tokens of a text and of a pair: [CLS] a [SEP], [CLS] a [SEP] b [SEP]."""


def encoded_examples(
    tokens: Tokens, *, max_length: int | None, overlap: int, targets: Sequence[Target] | None = None
) -> EncodedExamples:
    """Return the encoded texts of N examples, long ones as windows.

    Args:
        tokens: of N texts, or pairs of texts.
        max_length: tokens that the model reads at a time; None for any number.
        overlap: tokens that two windows of a long text share, at least.
        targets: what is to be predicted for each, see `windows`.
    """
    items: list[Encoded] = []
    for place, row in enumerate(tokens.rows()):
        one = row if targets is None else replace(row, target=targets[place])
        if max_length is None or len(one) <= max_length:
            items.append(one)
        else:
            items += windows(one, max_length=max_length, overlap=overlap)
    return EncodedExamples.windows(items, len(tokens), truncated=tokens.truncated)


def windows(text: Encoded, *, max_length: int, overlap: int) -> list[Encoded]:
    """Divide a tokenized text, or pair of texts, into windows that a model can read.

    A text that fits comes back as it is. Windows are as many as the overlap asks for and evenly spaced, so that the
    last one is as full as the others. Of a pair the text that fits into half a window stays whole beside every window
    of the other; where both are longer, window k of one stands beside window k of the other.

    Args:
        text: whole, not cut. What it has for every token (offsets, and a target of its length) is divided with it;
            any other target goes to each window.
        max_length: tokens of a window at most, special ones included.
        overlap: tokens that two windows share, at least.

    Raises:
        ConfigError: the overlap leaves no room for anything new.
    """
    second = int(text.token_type_ids.sum(dtype=np.int64))
    places = window_places(
        len(text) - second - 2, second - 1 if second else None, max_length=max_length, overlap=overlap
    )
    if len(places) == 1:
        return [text]
    owned = _owned(places, len(text))
    by_token = text.target is not None and len(text.target) == len(text)
    return [
        Encoded(
            input_ids=text.input_ids[part],
            token_type_ids=text.token_type_ids[part],
            offsets=None if text.offsets is None else text.offsets[part],
            target=text.target[part] if by_token and text.target is not None else text.target,
            example=text.example,
            owned=own,
        )
        for part, own in zip(places, owned, strict=True)
    ]


def window_places(first: int, second: int | None, *, max_length: int, overlap: int) -> list[IntArray]:
    """Return which tokens of a whole text stand in each window, [W] indices each, ascending.

    Args:
        first: tokens of the first text, without special ones.
        second: of the second one; None where there is no pair.
        max_length: as in `windows`.
        overlap: as in `windows`.

    Raises:
        ConfigError: the overlap leaves no room for anything new.
    """
    pair = second is not None
    room = max_length - _SPECIAL[pair]
    if first + (second or 0) <= room:
        return [np.arange(first + (second or 0) + _SPECIAL[pair])]
    if second is None:
        rooms = [room]
    elif min(first, second) <= room // 2:
        rooms = [first, room - first] if first <= second else [room - second, second]
    else:
        rooms = [room - room // 2, room // 2]
    lengths = [first] if second is None else [first, second]
    count = max(_count(length, space, overlap) for length, space in zip(lengths, rooms, strict=True))
    begins = [_begins(length, space, count) for length, space in zip(lengths, rooms, strict=True)]
    places: list[IntArray] = []
    for window in range(count):
        parts, at = [np.zeros(1, dtype=np.int64)], 1
        for length, space, begin in zip(lengths, rooms, begins, strict=True):
            start = at + int(begin[window])
            parts += [np.arange(start, start + min(length, space)), np.array([at + length])]
            at += length + 1
        places.append(np.concatenate(parts))
    return places


def _count(length: int, room: int, overlap: int) -> int:
    if length <= room:
        return 1
    if overlap >= room:
        raise ConfigError(
            "windows of a long text would show nothing new",
            where="overlap",
            received=overlap,
            allowed=f"below {room}, the tokens of the text in a window",
        )
    return -(-(length - overlap) // (room - overlap))


def _begins(length: int, room: int, count: int) -> IntArray:
    return np.linspace(0, max(0, length - room), count).round().astype(np.int64)


def _owned(places: Sequence[IntArray], length: int) -> list[npt.NDArray[np.bool_]]:
    """Give every token to the window in which it is furthest from an edge; among equals to the first."""
    context = np.full((len(places), length), -1, dtype=np.int64)
    for window, part in enumerate(places):
        # a token's neighbours in the whole text that the window does not have are where its context ends
        breaks = np.flatnonzero(np.diff(part) > 1)
        edges = np.concatenate([[0], breaks + 1, [len(part)]])
        run = np.searchsorted(edges, np.arange(len(part)), side="right") - 1
        left, right = np.arange(len(part)) - edges[run], edges[run + 1] - 1 - np.arange(len(part))
        # where a run begins or ends with the text itself, nothing is missing on that side
        left = np.where(part[edges[run]] == 0, length, left)
        right = np.where(part[edges[run + 1] - 1] == length - 1, length, right)
        context[window, part] = np.minimum(left, right)
    owner = context.argmax(axis=0)
    return [owner[part] == window for window, part in enumerate(places)]
