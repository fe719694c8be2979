"""Which tokens are hidden for the masked-word objective, and what stands in their place.

Shapes: N texts, S tokens of all of them one after another, W words, M masked tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from albertine.errors import ConfigError, TokenizerError
from albertine.records import IntArray
from albertine.tokenization.pieces import ragged_arange
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["MaskedTokens", "MaskingChoices", "MaskingSchedule", "MaskingUnit", "TokenFacts", "mask_batch"]

BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]

MaskingUnit = Literal["pieces", "whole-words", "n-grams"]
"""What is hidden at a time: single tokens (the first BERT), all tokens of a word, or 1 to 3 words in a row (ALBERT)."""

_UNUSED = re.compile(r"\[unused\d+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskingSchedule:
    """The share of tokens that is masked, on a straight line from the run's first step to its last one."""

    first: float = 0.15
    """At the beginning."""
    last: float = 0.15
    """At the end."""

    def __post_init__(self) -> None:
        for name in ("first", "last"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ConfigError(
                    "share out of range",
                    where=f"masking share, {name}",
                    received=getattr(self, name),
                    allowed="above 0, below 1",
                )

    def at(self, progress: float) -> float:
        """Return the share at `progress`, from 0 at the beginning to 1 at the end."""
        return self.first + (self.last - self.first) * min(max(progress, 0.0), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskingChoices:
    """How tokens are masked."""

    unit: MaskingUnit = "whole-words"
    """What is hidden at a time."""
    share: MaskingSchedule = field(default_factory=MaskingSchedule)
    """Share of the tokens of a text, special ones not counted."""
    longest: int = 3
    """Words of the longest n-gram; n words have a probability proportional to 1/n (ALBERT: 6/11, 3/11, 2/11). The other
    units do not look at it."""
    masked: float = 0.8
    """Share of the chosen tokens that become [MASK]."""
    random: float = 0.1
    """Share of the chosen tokens that become a random token; the rest stay what they are."""

    def __post_init__(self) -> None:
        if self.unit not in get_args(MaskingUnit):
            raise ConfigError(
                "no such unit", where="masking unit", received=self.unit, allowed=", ".join(get_args(MaskingUnit))
            )
        if not 1 <= self.longest <= 8:
            raise ConfigError("value out of range", where="longest n-gram", received=self.longest, allowed="1 to 8")
        if min(self.masked, self.random) < 0.0 or not self.masked + self.random <= 1.0 + 1e-9:
            raise ConfigError(
                "shares out of range",
                where="masked and random",
                received=f"{self.masked} and {self.random}",
                allowed="0 or more, together at most 1",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenFacts:
    """What making examples needs to know of a vocabulary of V tokens."""

    cls_id: int
    sep_id: int
    mask_id: int
    special: BoolArray
    """[V] True for the special tokens ([UNK] among them): never masked, never drawn."""
    drawable: Int64Array
    """[K] the ids that a random replacement is drawn from: neither special nor [unusedN]."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TokenFacts:
        """Look them up in a tokenizer.

        Raises:
            TokenizerError: the vocabulary has nothing but special and unused tokens.
        """
        special = np.zeros(tokenizer.vocab_size, dtype=np.bool_)
        special[sorted(tokenizer.special_ids)] = True
        unused = [_UNUSED.fullmatch(tokenizer.id_to_token(index)) is not None for index in range(tokenizer.vocab_size)]
        drawable = np.flatnonzero(~(special | np.array(unused)))
        if not len(drawable):
            raise TokenizerError("the vocabulary has no tokens of text")
        return cls(
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            mask_id=tokenizer.mask_id,
            special=special,
            drawable=drawable.astype(np.int64),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedTokens:
    """N texts with some of their tokens hidden."""

    input_ids: Int64Array
    """[S] what the model sees."""
    positions: Int64Array
    """[M] the indices of the chosen tokens among the S, rising."""
    targets: Int64Array
    """[M] what stood there."""
    span_words: Int64Array
    """[spans] words in every span that was chosen, texts one after another, in a text in the order of choosing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """The words that may be masked, in the order of the texts."""

    first: Int64Array
    """[W] first token."""
    stop: Int64Array
    """[W] one past the last token."""
    text: Int64Array
    """[W] the text it stands in."""
    run_stop: Int64Array
    """[W] one past the last word that follows without anything between that may not be masked."""


def mask_batch(
    input_ids: IntArray,
    *,
    sequence_starts: IntArray,
    word_starts: BoolArray,
    facts: TokenFacts,
    choices: MaskingChoices,
    share: float,
    generator: np.random.Generator,
) -> MaskedTokens:
    """Choose tokens of every text and hide them.

    A text's budget is `share` of its tokens that may be masked, rounded, and at least one. Spans of whole words are
    chosen at random places until the budget is used; what does not fit the rest of it is left out, so the budget is not
    exceeded, but where no word at all fits: then the shortest word is taken, so that every text has a masked one.

    The length n of a span is drawn before its place, and a place where n words are not free is passed over for another,
    so places do not bend the distribution of n. Only the end of a budget does: there a span is shortened by whole words
    until it fits, as in ALBERT's code, and what is left where no more n-grams fit is filled with single words. Where
    the longest run of words in a text is shorter than an n-gram, n is drawn from those that fit.

    Args:
        input_ids: [S] the texts with their special tokens.
        sequence_starts: [N+1].
        word_starts: [S] True where a token begins a word; what it says of [CLS], [SEP] and the tokens behind them does
            not matter. A word that holds a special token, such as [UNK], is never masked.
        facts: of the vocabulary.
        choices: how to mask; its schedule is not looked at.
        share: of the tokens that may be masked, those to mask.
        generator: where random numbers come from.
    """
    ids = np.asarray(input_ids, dtype=np.int64)
    special = facts.special[ids]
    words = _maskable_words(ids, sequence_starts, word_starts, special, facts, pieces=choices.unit == "pieces")
    longest = choices.longest if choices.unit == "n-grams" else 1
    spans = _choose_spans(words, len(sequence_starts) - 1, share, longest, generator)
    last = spans[0] + spans[1] - 1
    first_tokens = words.first[spans[0]]
    positions = np.sort(ragged_arange(first_tokens, words.stop[last] - first_tokens))
    targets = ids[positions]
    shown = targets.copy()
    draw = generator.random(len(positions))
    shown[draw < choices.masked] = facts.mask_id
    replaced = np.flatnonzero((draw >= choices.masked) & (draw < choices.masked + choices.random))
    shown[replaced] = facts.drawable[generator.integers(len(facts.drawable), size=len(replaced))]
    masked = ids.copy()
    masked[positions] = shown
    return MaskedTokens(input_ids=masked, positions=positions, targets=targets, span_words=spans[1])


def _maskable_words(
    ids: Int64Array, starts: IntArray, word_starts: BoolArray, special: BoolArray, facts: TokenFacts, *, pieces: bool
) -> _Words:
    if pieces:
        first = np.flatnonzero(~special)
        stop = first + 1
    else:
        frame = (ids == facts.cls_id) | (ids == facts.sep_id)
        begins = word_starts | frame
        begins[1:] |= frame[:-1]
        begins[starts[:-1]] = True
        first = np.flatnonzero(begins)
        stop = np.append(first[1:], len(ids))
        maskable = ~np.logical_or.reduceat(special, first) if len(first) else np.zeros(0, np.bool_)
        first, stop = first[maskable], stop[maskable]
    text = np.searchsorted(starts, first, side="right") - 1
    # A text begins with [CLS], so words without a gap between them stand in one text.
    run_ends = np.append(np.flatnonzero(first[1:] != stop[:-1]) + 1, len(first)) if len(first) else first
    run_stop = np.repeat(run_ends, np.diff(run_ends, prepend=0))
    return _Words(first=first, stop=stop, text=text, run_stop=run_stop)


def _choose_spans(
    words: _Words, texts: int, share: float, longest: int, generator: np.random.Generator
) -> tuple[Int64Array, Int64Array]:
    """Return the first words of the spans, and how many words each has."""
    lengths = words.stop - words.first
    tokens = np.bincount(words.text, weights=lengths, minlength=texts)
    budgets = np.where(tokens > 0, np.maximum(np.rint(share * tokens), 1), 0).astype(np.int64)
    # Words in random order, text by text: the whole part of a key is the text.
    order = np.argsort(words.text + generator.random(len(lengths))).tolist()
    bounds = np.searchsorted(words.text, np.arange(texts + 1)).tolist()
    draws = _draw_span_lengths(words, budgets, longest, generator).tolist()
    first, stop, run_stop = words.first.tolist(), words.stop.tolist(), words.run_stop.tolist()
    taken = bytearray(len(first))
    spans: list[int] = []
    counts: list[int] = []
    draws_before = 0
    for text, budget in enumerate(budgets.tolist()):
        low, high = bounds[text], bounds[text + 1]
        spans_before, rest, draw = len(spans), budget, draws_before
        draws_before += budget
        for word in order[low:high]:
            count = draws[draw]
            if word + count > run_stop[word] or taken.find(1, word, word + count) >= 0:
                continue
            while count and stop[word + count - 1] - first[word] > rest:
                count -= 1
            if not count:
                continue
            taken[word : word + count] = b"\x01" * count
            spans.append(word)
            counts.append(count)
            rest -= stop[word + count - 1] - first[word]
            if not rest:
                break
            draw += 1
        if rest and longest > 1:
            for word in order[low:high]:
                if not taken[word] and stop[word] - first[word] <= rest:
                    taken[word] = 1
                    spans.append(word)
                    counts.append(1)
                    rest -= stop[word] - first[word]
        if len(spans) == spans_before and low < high:
            spans.append(min(range(low, high), key=lambda word: stop[word] - first[word]))
            counts.append(1)
    return np.array(spans, dtype=np.int64), np.array(counts, dtype=np.int64)


def _draw_span_lengths(words: _Words, budgets: Int64Array, longest: int, generator: np.random.Generator) -> Int64Array:
    """Return for every text as many span lengths, in words, as its budget has tokens: more are never needed."""
    total = int(budgets.sum())
    if longest == 1:
        return np.ones(total, dtype=np.int64)
    room = np.ones(len(budgets), dtype=np.int64)
    np.maximum.at(room, words.text, words.run_stop - np.arange(len(words.text)))
    # Row k - 1: the probabilities that n is at most 1, 2, … where k words is the most there is room for.
    weights = np.tril(np.ones((longest, longest))) / np.arange(1, longest + 1)
    at_most = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
    rows = at_most[np.repeat(np.minimum(room, longest) - 1, budgets)]
    lengths: Int64Array = 1 + (generator.random((total, 1)) >= rows[:, :-1]).sum(axis=1, dtype=np.int64)
    return lengths
