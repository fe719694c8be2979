"""Spans of characters as tags of tokens, and back; what tokens cannot say is found, not lost.

T tokens of a text without special ones, C types of spans, L tags.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from albertine.data.tag_schemes import looks_like_tags, read_tag, tag_style
from albertine.errors import ConfigError
from albertine.evaluation.spans import OUTSIDE, Prefix, Tag
from albertine.models.crf import BoolArray, Chain
from albertine.records import IntArray, Span

__all__ = [
    "Placed",
    "Run",
    "Scheme",
    "TagSet",
    "foreign_tag_set",
    "held_tokens",
    "inside_word",
    "place_spans",
    "tag_set",
    "token_span",
]

Scheme = Literal["bioes", "bio"]
"""Whether a span's last token, and its only one, have tags of their own (Ratinov and Roth 2009, section 5.3)."""

# Scripts that are written without blanks between words: a span may begin or end between any two of their characters.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_LETTER = rf"(?![{_UNSPACED}])[^\W_]"
_INSIDE_WORD = re.compile(rf"(?<=[^\W_])(?<![{_UNSPACED}])(?={_LETTER})")


_FORMS: tuple[tuple[Prefix, ...], ...] = (
    ("B", "I", "S", "E"),
    ("I", "E", "B", "S"),
    ("E", "I", "B", "S"),
    ("S", "B", "I", "E"),
)
"""The tags for a span's first token, inner ones, the last, and the only one; those that come first are the best."""


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens that are a span together."""

    first: int
    last: int
    label: int
    """Index of its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagSet:
    """The tags of a model."""

    names: tuple[str, ...]
    """[L] every tag as it is written."""
    labels: tuple[str, ...]
    """[C] the types of spans."""
    types: IntArray
    """[L] the type of every tag, -1 outside of spans."""
    forms: IntArray
    """[C, 4] the tags of every type for a span's first token, inner ones, the last, and the only one."""
    outside: int
    """The tag of tokens outside of spans."""
    rules: Chain[BoolArray]
    """Which tags may follow on which, and begin and end a text."""
    continuing: BoolArray
    """[L, L] the transitions within a span; at every other one spans end and begin, as conlleval has it."""
    holding: BoolArray
    """[L, L] the transitions at which no span begins or ends: those, and from outside to outside."""

    def tags(self, runs: Sequence[Run], tokens: int) -> IntArray:
        """Return the tag of every token, [T] int64; runs do not overlap."""
        tags = np.full(tokens, self.outside, dtype=np.int64)
        for run in runs:
            begin, inside, end, single = self.forms[run.label].tolist()
            tags[run.first : run.last + 1] = inside
            tags[run.last] = end
            tags[run.first] = single if run.first == run.last else begin
        return tags

    def runs(self, tags: IntArray) -> list[Run]:
        """Return the spans of the tags of a text, [T]."""
        within = self.types[tags] >= 0
        on = self.continuing[tags[:-1], tags[1:]]
        firsts = np.flatnonzero(within & ~np.concatenate([[False], on])[: len(tags)])
        lasts = np.flatnonzero(within & ~np.concatenate([on, [False]])[: len(tags)])
        labels = self.types[tags[firsts]]
        return [Run(*one) for one in zip(firsts.tolist(), lasts.tolist(), labels.tolist(), strict=True)]


@lru_cache(maxsize=16)
def tag_set(labels: tuple[str, ...], scheme: Scheme) -> TagSet:
    """Return the tags of these types of spans: O, then B and I (and E and S) of every type."""
    prefixes: tuple[Prefix, ...] = ("B", "I", "E", "S") if scheme == "bioes" else ("B", "I")
    tags = (OUTSIDE, *(Tag(prefix, label) for label in labels for prefix in prefixes))
    names = ("O", *(f"{prefix}-{label}" for label in labels for prefix in prefixes))
    return _tag_set(names, tags, labels, scheme)


@lru_cache(maxsize=16)
def foreign_tag_set(names: tuple[str, ...]) -> TagSet:
    """Return the tags of a head that another program trained, in its order; any of them may follow on any.

    Raises:
        ConfigError: they are no tags of spans.
    """
    if not looks_like_tags(names):
        raise ConfigError(
            "the head says something of every token, but nothing of spans",
            received=", ".join(names[:8]) + (" …" if len(names) > 8 else ""),
            allowed="tags such as O, B-TYPE, I-TYPE",
        )
    style = tag_style(names)
    tags = tuple(read_tag(name, style) or OUTSIDE for name in names)  # special tokens have tags of their own in some
    return _tag_set(names, tags, tuple(dict.fromkeys(tag.label for tag in tags if tag.label)), None)


def _tag_set(names: tuple[str, ...], tags: Sequence[Tag], labels: tuple[str, ...], scheme: Scheme | None) -> TagSet:
    letters = np.array([tag.prefix for tag in tags])
    types = np.array([labels.index(tag.label) if tag.label else -1 for tag in tags], dtype=np.int64)
    begin, inside, end, single, out = (letters == prefix for prefix in "BIESO")
    continuing = (begin | inside)[:, None] & (inside | end) & (types[:, None] == types)
    anything = np.ones_like(out)
    if scheme is None:
        rules = Chain(first=anything, next=anything[:, None] & anything, last=anything)
    else:
        opening = out | begin | single
        # in BIO a span ends wherever no I- of its type follows; in BIOES only behind E- and S-
        closing = anything if scheme == "bio" else out | end | single
        rules = Chain(first=opening, next=continuing | (closing[:, None] & opening), last=closing)
    places = {(tag.prefix, tag.label): place for place, tag in enumerate(tags)}
    return TagSet(
        names=names,
        labels=labels,
        types=types,
        # where a scheme has no tag for it, the next best one
        forms=np.array(
            [
                [next(places[form, label] for form in forms if (form, label) in places) for forms in _FORMS]
                for label in labels
            ]
        ),
        outside=places.get(("O", ""), 0),
        rules=rules,
        continuing=continuing,
        holding=continuing | (out[:, None] & out),
    )


def inside_word(text: str) -> BoolArray:
    """Say of every place between two characters whether it lies inside of a word, [characters + 1].

    A word is a run of letters and digits of the scripts that have blanks between words; where Han meets Latin or a
    number, a word ends.
    """
    inside = np.zeros(len(text) + 1, dtype=np.bool_)
    inside[[match.start() for match in _INSIDE_WORD.finditer(text)]] = True
    return inside


def held_tokens(text: str, offsets: IntArray, *, whole_words: bool) -> BoolArray:
    """Say which tokens cannot be parted from the one before, [T].

    Those are pieces of one character (a ligature, a fraction), and with `whole_words` also the later pieces of a word.

    Args:
        text: the text.
        offsets: [T, 2] character ranges of its tokens.
        whole_words: whether spans begin and end between words only.
    """
    held = np.zeros(len(offsets), dtype=np.bool_)
    starts, before = offsets[1:, 0], offsets[:-1, 1]
    held[1:] = starts < before
    if whole_words:
        held[1:] |= (starts == before) & inside_word(text)[starts]
    return held


def token_span(text: str, offsets: IntArray, first: int, last: int) -> tuple[int, int]:
    """Return the first character of tokens `first` to `last` and one past the last, blanks at the ends left out."""
    start, end = int(offsets[first, 0]), int(offsets[last, 1])
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A span of a text among its tokens."""

    span: Span
    tokens: tuple[int, int] | None
    """The first and the last of the fewest tokens that hold it; None where there are none, or where another span has
    one of them."""
    exact: bool
    """Whether these tokens are the span and nothing else."""


def place_spans(text: str, offsets: IntArray, held: BoolArray, spans: Sequence[Span]) -> list[Placed]:
    """Find the tokens of every span.

    Args:
        text: the text.
        offsets: [T, 2] character ranges of its tokens, in their order.
        held: as from `held_tokens`.
        spans: in any order; they do not overlap.

    Returns:
        The spans in the order of the text.
    """
    starts, ends = offsets[:, 0], np.maximum.accumulate(offsets[:, 1])
    placed: list[Placed] = []
    free = 0
    for span in sorted(spans, key=lambda one: (one.start, one.end)):
        first = int(np.searchsorted(ends, span.start, side="right"))
        last = int(np.searchsorted(starts, span.end, side="left")) - 1
        if first > last:
            placed.append(Placed(span=span, tokens=None, exact=False))
            continue
        while held[first]:
            first -= 1
        while last + 1 < len(held) and held[last + 1]:
            last += 1
        if first < free:
            placed.append(Placed(span=span, tokens=None, exact=False))
            continue
        free = last + 1
        exact = token_span(text, offsets, first, last) == (span.start, span.end)
        placed.append(Placed(span=span, tokens=(first, last), exact=exact))
    return placed
