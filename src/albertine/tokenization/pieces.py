"""What both kinds of tokenizer hand to `Tokenizer`, and how pieces of several texts lie in one flat array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from albertine.records import IntArray

__all__ = ["Kind", "Model", "Pieces", "SpecialIds", "chunks", "joined", "ragged_arange"]

Kind = Literal["wordpiece", "unigram"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """The pieces of N texts without special tokens: text i is rows `starts[i]:starts[i+1]`."""

    ids: IntArray
    """[S] int32."""
    starts: IntArray
    """[N+1] int64."""
    offsets: IntArray | None
    """[S, 2] int32 character ranges into the text as it was given; None where they were not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialIds:
    """The ids of the five special tokens."""

    pad: int
    """Fills rows of a padded batch."""
    unk: int
    """Stands for what the vocabulary cannot spell."""
    cls: int
    """Opens every input."""
    sep: int
    """Closes every text."""
    mask: int
    """Hides a token in pretraining."""


class Model(Protocol):
    """A vocabulary with the rules that cut text into its pieces; texts may be encoded from several threads."""

    @property
    def kind(self) -> Kind:
        """Which rules cut the text."""

    @property
    def lowercase(self) -> bool:
        """Whether text is lower-cased first."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every token as written in the vocabulary, by id."""

    @property
    def special(self) -> SpecialIds:
        """The special tokens."""

    def encode(self, texts: Sequence[str], *, offsets: bool) -> Pieces:
        """Cut texts into pieces, without special tokens."""

    def detokenize(self, ids: Sequence[int]) -> str:
        """Put pieces together again, as far as the normalisation allows."""

    def write(self, folder: Path) -> None:
        """Write the vocabulary and `tokenizer.json` into an existing folder."""

    def settings(self) -> dict[str, object]:
        """Return what `tokenizer_config.json` has to say of the rules."""


def chunks(texts: Sequence[str], characters: int) -> Iterator[list[str]]:
    """Yield runs of texts that together stay near `characters`, so that memory does not grow with the input."""
    part: list[str] = []
    size = 0
    for text in texts:
        part.append(text)
        size += len(text) + 1
        if size >= characters:
            yield part
            part, size = [], 0
    if part:
        yield part


def joined(parts: Sequence[Pieces], *, offsets: bool) -> Pieces:
    """Put the pieces of consecutive runs of texts behind one another."""
    if len(parts) == 1:
        return parts[0]
    sizes = [np.diff(part.starts) for part in parts]
    spans = [part.offsets for part in parts if part.offsets is not None]
    return Pieces(
        ids=np.concatenate([np.zeros(0, np.int32), *(part.ids for part in parts)]),
        starts=np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate([np.zeros(0, np.int64), *sizes]))]),
        offsets=np.concatenate([np.zeros((0, 2), np.int32), *spans]) if offsets else None,
    )


def ragged_arange(first: IntArray, counts: IntArray) -> npt.NDArray[np.int64]:
    """Return `first[i], first[i] + 1, …` for `counts[i]` steps, for every i in turn."""
    ends = np.cumsum(counts, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(first - (ends - counts), counts) + np.arange(total, dtype=np.int64)
