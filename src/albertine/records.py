"""The frozen records that one stage hands to the next.

Shapes: N texts, B rows, T positions of a padded row, S tokens of a packed batch (all texts one after another).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = [
    "Batch",
    "DocumentAnswer",
    "Encoded",
    "EncodedExamples",
    "Example",
    "IntArray",
    "Opinion",
    "Prediction",
    "Span",
    "Target",
    "Tokens",
    "example_from_dict",
    "example_to_dict",
]

IntArray = npt.NDArray[np.integer]

_NONE = np.zeros(0, dtype=np.int64)

Target = npt.NDArray[np.integer] | npt.NDArray[np.float32]
"""What is to be predicted for one encoded text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A labelled piece of a text."""

    start: int
    """First character."""
    end: int
    """One past the last character."""
    label: str
    score: float = 1.0
    """Its probability; 1 where a person said so."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a text says of something."""

    aspect: Span | None
    """The words for what is spoken of; None where the text implies it."""
    expression: Span | None
    """The words that say what is thought of it; None where the text implies it, or nobody marked them."""
    polarity: str
    """As the data name it, such as positive; "" where it is to be found out."""
    category: str = ""
    """What kind of aspect it is, where the data say so."""
    score: float = 1.0
    """Its probability; 1 where a person said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row of a user's data, as read."""

    text: str
    """The text, or the first text of a pair, exactly as it stood in the file."""
    text_pair: str | None = None
    """The second text of a pair."""
    label: str | None = None
    """The label as written in the file; None where the row has none."""
    labels: tuple[str, ...] | None = None
    """Every label that applies, none of them maybe; None where the row does not say."""
    value: float | None = None
    """The number to be predicted; None where the row has none."""
    spans: tuple[Span, ...] | None = None
    """Labelled pieces of the text, by their place in it; in question answering the acceptable answers, pieces of
    `text_pair`, none where there is no answer. None where the row does not say."""
    opinions: tuple[Opinion, ...] | None = None
    """What the text says of what, none maybe; None where the row does not say."""
    target: str | None = None
    """The text to be written; None where the row has none."""
    identifier: str = ""
    """The name of the row in the file, where it has one."""
    group: str = ""
    """What the row belongs to (the article of a question's context), where the file says so: rows of one group never
    fall on two sides of a split."""
    file: str = ""
    """The file it was read from."""
    line: int = 0
    """The line it starts on, counted from 1; 0 where it came from memory."""

    @property
    def where(self) -> str | None:
        """File and line, as messages name them; None where it came from memory."""
        if not self.file:
            return None
        return f"{self.file}:{self.line}" if self.line else self.file


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
    truncated: IntArray = field(default_factory=lambda: _NONE)
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
                example=index,
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
    target: Target | None = None
    """What is to be predicted; the targets of a batch stand one after another along their first axis. [1] for the
    index of a text's label, [T] for one a token, [1, 2] for the two ends of an answer, …"""
    example: int = 0
    """The index of the example it came from, so that windows find back together."""
    owned: npt.NDArray[np.bool_] | None = None
    """[T] in a window of a long text: the tokens that no other window has more context for, each in one window. None
    where the text is whole."""

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def training_tokens(self) -> int:
        """Return how many tokens a training step spends on it; a text about which another is written has both."""
        return len(self)


@dataclass(frozen=True, slots=True)
class EncodedExamples(Sequence[Encoded]):
    """The encoded texts of N examples, in their order: one an example, or several windows of a long one."""

    items: tuple[Encoded, ...]
    """`items[i].example` is the index of the example that item i came from."""
    starts: IntArray
    """[N+1]: the items of example i are `starts[i]:starts[i+1]`."""
    truncated: IntArray
    """Indices of the examples of which something was cut off."""

    @classmethod
    def one_each(cls, items: Sequence[Encoded], *, truncated: IntArray | None = None) -> EncodedExamples:
        """Gather items of which every one is an example."""
        return cls(tuple(items), np.arange(len(items) + 1), _NONE if truncated is None else truncated)

    @classmethod
    def windows(cls, items: Sequence[Encoded], examples: int, *, truncated: IntArray | None = None) -> EncodedExamples:
        """Gather items by `Encoded.example`, in the order of which they come; no example is without one."""
        owners = np.fromiter((one.example for one in items), dtype=np.int64, count=len(items))
        starts = np.searchsorted(owners, np.arange(examples + 1))
        assert (np.diff(owners) >= 0).all(), "items stand in the order of their examples"
        assert (np.diff(starts) > 0).all(), "every example has an item"
        return cls(tuple(items), starts, _NONE if truncated is None else truncated)

    @property
    def examples(self) -> int:
        """How many examples there are."""
        return len(self.starts) - 1

    def of_example(self, index: int) -> tuple[Encoded, ...]:
        """Return the items of an example."""
        return self.items[self.starts[index] : self.starts[index + 1]]

    def __len__(self) -> int:
        """Count the items."""
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Encoded, ...]: ...
    def __getitem__(self, index: int | slice) -> Encoded | tuple[Encoded, ...]:
        return self.items[index]

    def __iter__(self) -> Iterator[Encoded]:
        return iter(self.items)


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
    """The targets of all texts, one after another along the first axis; None where a text has none."""
    label_starts: torch.Tensor | None = None
    """[N+1] int64: those of text i are `label_starts[i]:label_starts[i+1]`."""
    groups: torch.Tensor | None = None
    """[N] int64: which example a text is a window of, counted within the batch; None where each is one of its own."""

    def __len__(self) -> int:
        """Count the texts."""
        if self.sequence_starts is not None:
            return self.sequence_starts.shape[0] - 1
        return self.input_ids.shape[0]

    @property
    def example_count(self) -> int:
        """Examples in it: the texts, where none of them is a window of a longer one."""
        return len(self) if self.groups is None else int(self.groups.max()) + 1

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
class Prediction:
    """What a model says of one input."""

    label: str | None = None
    """The most probable label; None for tasks without one."""
    labels: tuple[str, ...] | None = None
    """Every label that applies, for tasks with any number of them."""
    value: float | None = None
    """The predicted number, for tasks with one."""
    text: str | None = None
    """The text that was written, for tasks that write."""
    score: float | None = None
    """The probability of the label, the answer or the text."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """The probability of every label."""
    spans: tuple[Span, ...] = ()
    """Labelled pieces of the input text; in question answering the best answers, the best one first."""
    opinions: tuple[Opinion, ...] | None = None
    """What the text says of what, by the place in it; None for tasks that do not look for it."""
    abstained: bool = False
    """True where the model was asked to keep silent below a threshold, and did."""
    depth: int | None = None
    """Passes through the encoder's stack that the answer took, where another number than all was asked for."""

    @property
    def answer(self) -> tuple[object, ...]:
        """What was answered, to compare: without probabilities and numbers, whose last digits always differ."""
        if self.text is not None:  # what stands behind the best answer to a question is none
            return self.text, self.abstained
        opinions = tuple(
            (_place(one.aspect), _place(one.expression), one.polarity, one.category) for one in self.opinions or ()
        )
        return self.label, self.labels, tuple(map(_place, self.spans)), opinions, self.abstained


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentAnswer:
    """An answer to a question, and which of several documents it stands in."""

    document: int
    """The index of the document."""
    span: Span
    """A piece of it; its score is its share among the answers that all documents give."""


def _place(span: Span | None) -> tuple[int, int, str] | None:
    return None if span is None else (span.start, span.end, span.label)


def example_to_dict(example: Example) -> dict[str, object]:
    """Return what an example holds, ready for JSON; what it does not have is absent."""
    values = dataclasses.asdict(example)
    return {name: value for name, value in values.items() if name == "text" or value not in (None, "")}


def example_from_dict(values: Mapping[str, object]) -> Example:
    """Take up what `example_to_dict` gave, or what JSON gives back of it."""
    read = dict(values)
    if read.get("labels") is not None:
        read["labels"] = tuple(cast("list[str]", read["labels"]))
    if read.get("spans") is not None:
        read["spans"] = tuple(map(_span, cast("list[object]", read["spans"])))
    if read.get("opinions") is not None:
        read["opinions"] = tuple(map(_opinion, cast("list[dict[str, object]]", read["opinions"])))
    return Example(**read)  # type: ignore[arg-type]  # the types of `example_to_dict`


def _span(values: object) -> Span | None:
    return None if values is None else Span(**cast("dict[str, Any]", values))


def _opinion(values: dict[str, object]) -> Opinion:
    spans = {name: _span(values[name]) for name in ("aspect", "expression")}
    return Opinion(**cast("dict[str, Any]", values | spans))
