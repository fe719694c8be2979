"""The frozen records that one stage hands to the next.

Shapes: N texts, B rows, T positions of a padded row, S tokens of a packed batch (all texts one after another).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["Batch", "Encoded", "Example", "IntArray", "Prediction", "Span", "Tokens"]

IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row of a user's data, as read."""

    text: str
    """The text, or the first text of a pair, exactly as it stood in the file."""
    text_pair: str | None = None
    """The second text of a pair."""
    label: str | None = None
    """The label as written in the file; None where the row has none."""
    file: str = ""
    """The file it was read from."""
    line: int = 0
    """The line it starts on, counted from 1; 0 where it came from memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens of N texts, flat: text i is rows `starts[i]:starts[i+1]` of every other array."""

    ids: IntArray
    """[S] int32 token ids, special tokens included."""
    token_type_ids: IntArray
    """[S] uint8: 0 in the first text, 1 in the second one of a pair."""
    starts: IntArray
    """[N+1] int64."""
    offsets: IntArray | None = None
    """[S, 2] int32 character ranges into the text the token came from (the second text where the type is 1);
    (0, 0) for special tokens. None where they were not asked for."""
    truncated: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Indices of the texts that were cut to the maximum length."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> IntArray:
        """[N] tokens of every text."""
        return np.diff(self.starts)

    def rows(self) -> Iterator[Encoded]:
        """Yield every text as an `Encoded` (views, no copies)."""
        for index in range(len(self)):
            part = slice(int(self.starts[index]), int(self.starts[index + 1]))
            yield Encoded(
                input_ids=self.ids[part],
                token_type_ids=self.token_type_ids[part],
                offsets=None if self.offsets is None else self.offsets[part],
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One text (or one window of it) as the model sees it."""

    input_ids: IntArray
    """[T] int32."""
    token_type_ids: IntArray
    """[T] uint8."""
    offsets: IntArray | None = None
    """[T, 2] character ranges, as in `Tokens`."""
    label: int | None = None
    """The index of the label, for tasks with one label a text."""
    example: int = 0
    """The index of the example it came from, so that windows find back together."""

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Input of a model: padded (`attention_mask`) or packed (`sequence_starts`), never both."""

    input_ids: torch.Tensor
    """[B, T] padded, [S] packed; int64."""
    token_type_ids: torch.Tensor
    """As `input_ids`."""
    attention_mask: torch.Tensor | None = None
    """[B, T] int64, 1 for real tokens; None in a packed batch."""
    sequence_starts: torch.Tensor | None = None
    """[N+1] int64, the first token of every text and the end; None in a padded batch."""
    position_ids: torch.Tensor | None = None
    """As `input_ids`; None for 0, 1, 2, … within every text."""
    labels: torch.Tensor | None = None
    """[N] int64 label indices, where the task has one label a text."""

    def __len__(self) -> int:
        """Count the texts."""
        if self.sequence_starts is not None:
            return self.sequence_starts.shape[0] - 1
        return self.input_ids.shape[0]

    @property
    def token_count(self) -> int:
        """Real tokens, padding not counted."""
        if self.attention_mask is not None:
            return int(self.attention_mask.sum())
        return self.input_ids.numel()

    def to(self, device: str | torch.device) -> Batch:
        """Return the batch with every tensor on `device`."""
        moved = {
            name: value.to(device, non_blocking=True)
            for name in self.__slots__
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A piece of the input text with a label."""

    start: int
    """First character."""
    end: int
    """One past the last character."""
    label: str
    score: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model says of one input."""

    label: str | None = None
    """The most probable label; None for tasks without one."""
    score: float | None = None
    """Its probability."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """The probability of every label."""
    spans: tuple[Span, ...] = ()
    """Labelled pieces of the input text."""
    abstained: bool = False
    """True where the model was asked to keep silent below a threshold, and did."""
    depth: int | None = None
    """Passes through the encoder's stack that the answer took; None where there is no stack."""
