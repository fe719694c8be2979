"""A text among its windows: which tokens a span has, and which window sees most around it.

Tokens are counted over the whole text, special ones included, so that 0 is the first special one, which stands for what
is implied. T tokens of the text, W tokens of a window of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from albertine.batching.windows import window_places
from albertine.models.crf import BoolArray
from albertine.records import Encoded, IntArray, Span
from albertine.tasks.config import TaskConfig
from albertine.tasks.tagger import TaggingOptions
from albertine.tasks.tagging_alignment import held_tokens, place_spans, token_span

__all__ = ["IMPLIED", "Place", "TextWindows"]

Place = tuple[int, int]
"""The first and the last token of a span."""

IMPLIED: Place = (0, 0)
"""Of what the text does not name."""


class TextWindows:
    """The tokens of a text and of its windows.

    Args:
        text: the text.
        windows: of it, in their order.
        tagging: the configuration of the tagger.
    """

    def __init__(self, text: str, windows: Sequence[Encoded], tagging: TaskConfig) -> None:
        self.text = text
        self.offsets: IntArray = np.concatenate([_offsets(window)[_owned(window)] for window in windows])
        """[T, 2] character ranges."""
        whole_words = bool(tagging.own(TaggingOptions).whole_words)
        held = held_tokens(text, self.offsets[1:-1], whole_words=whole_words)
        self.held: BoolArray = np.concatenate([[False], held, [False]])
        """[T] tokens that no span parts from the one before."""
        self.places: list[IntArray] = [np.arange(len(self.offsets))]
        """[W] the tokens of every window."""
        if len(windows) > 1:
            self.places = window_places(
                len(self.offsets) - 2, None, max_length=tagging.max_length or 0, overlap=tagging.shared_tokens
            )

    def place(self, span: Span | None) -> Place | None:
        """Return the fewest tokens that hold a span; None where there are none."""
        if span is None:
            return IMPLIED
        tokens = place_spans(self.text, self.offsets[1:-1], self.held[1:-1], [span])[0].tokens
        return None if tokens is None else (tokens[0] + 1, tokens[1] + 1)

    def inexact(self, spans: Sequence[Span]) -> tuple[Span, ...]:
        """Return the spans that do not begin and end where tokens do, or overlap one before."""
        placed = place_spans(self.text, self.offsets[1:-1], self.held[1:-1], spans) if spans else []
        return tuple(one.span for one in placed if not one.exact)

    def inside(self, window: int, place: Place) -> Place | None:
        """Return a place as the window counts its tokens; None where it does not hold it whole."""
        if place == IMPLIED:
            return IMPLIED
        begin, end = self._range(window)
        if not begin <= place[0] <= place[1] < end:
            return None
        return place[0] - begin + 1, place[1] - begin + 1

    def outside(self, window: int, place: Place) -> Place:
        """Return a place of a window as the whole text counts its tokens."""
        if place == IMPLIED:
            return IMPLIED
        begin, _ = self._range(window)
        return place[0] + begin - 1, place[1] + begin - 1

    def context(self, window: int, *places: Place) -> float:
        """Return how many tokens a window has at least on either side of places; -1 where it does not hold them."""
        named = [place for place in places if place != IMPLIED]
        if any(self.inside(window, place) is None for place in named):
            return -1.0
        begin, end = self._range(window)
        # where a window ends with the text itself, nothing is missing on that side
        left = min((place[0] for place in named), default=begin) - begin if begin > 1 else math.inf
        right = end - 1 - max((place[1] for place in named), default=end) if end < len(self.offsets) - 1 else math.inf
        return min(left, right)

    def best(self, *places: Place) -> int | None:
        """Return the window that has most context around places; None where none holds them all."""
        contexts = [self.context(window, *places) for window in range(len(self.places))]
        best = int(np.argmax(contexts))
        return None if contexts[best] < 0 else best

    def characters(self, place: Place) -> tuple[int, int]:
        """Return the first character of a place and one past the last, blanks at the ends left out."""
        return token_span(self.text, self.offsets, *place)

    def _range(self, window: int) -> tuple[int, int]:
        """Return the first token of a window and one past the last, special ones left out."""
        return int(self.places[window][1]), int(self.places[window][-2]) + 1


def _offsets(window: Encoded) -> IntArray:
    assert window.offsets is not None, "offsets were asked for"
    return window.offsets


def _owned(window: Encoded) -> BoolArray:
    return np.ones(len(window), dtype=np.bool_) if window.owned is None else window.owned
