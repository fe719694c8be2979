"""Two segments of a text: in order, swapped (sentence order), of two documents (next sentence).

Shapes: N texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from albertine.batching.token_stream import TokenStream
from albertine.errors import ConfigError, DataError
from albertine.records import IntArray

__all__ = [
    "UNLABELLED",
    "PairChoice",
    "PairObjective",
    "Segments",
    "choose_pair",
    "divided",
    "exchanged",
    "swapped",
    "trimmed",
]

BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]

PairObjective = Literal["nsp", "sop", "none"]
"""nsp: does B follow A, or come from another document? sop: are A and B in order, or swapped? none: no B."""

UNLABELLED = -100
"""The label of a text that says nothing about pairs; cross-entropy leaves it out."""

_ENOUGH = 0.5
_NAMES: Mapping[PairObjective, str] = {"sop": "sentence order (sop)", "nsp": "next sentence (nsp)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairChoice:
    """The pair objective of a run, and why it is that."""

    objective: PairObjective
    reason: str
    """A sentence without its full stop."""
    documents: int
    """Documents in the corpus."""
    single_sentence_documents: int
    """Those of one sentence, which no pair can be made of."""
    single_sentence_tokens: int
    """Tokens of those."""


def choose_pair(
    stream: TokenStream, asked: PairObjective | Literal["auto"] = "auto", *, preferred: PairObjective = "sop"
) -> PairChoice:
    """Settle the pair objective by looking at the corpus.

    Left to choose, it takes the preferred one where at least half of the tokens stand in documents of two sentences or
    more, and no pair objective otherwise.

    Args:
        stream: the corpus.
        asked: what the user wants.
        preferred: what is chosen where the corpus has pairs; sentence order is the better one for downstream tasks
            (ALBERT table 5).

    Raises:
        ConfigError: there is no such objective.
        DataError: the corpus is empty, or what was asked for cannot be made of it.
    """
    allowed = (*get_args(PairObjective), "auto")
    if asked not in allowed:
        raise ConfigError("no such pair objective", where="pair", received=asked, allowed=", ".join(allowed))
    if not stream.num_tokens:
        raise DataError("the corpus has no tokens", next_step="Look at what corpus build reported")
    starts = stream.document_starts
    single = np.flatnonzero(np.diff(starts) == 1)
    lost = int((stream.sentence_starts[starts[single] + 1] - stream.sentence_starts[starts[single]]).sum())
    documents, usable = stream.num_documents, 1.0 - lost / stream.num_tokens
    seen = f"{documents - len(single):,} of {documents:,} documents have two sentences or more, {usable:.0%} of tokens"
    if asked == "auto":
        objective, reason = _chosen(preferred, documents, usable, seen)
    else:
        objective, reason = asked, f"{asked}, as asked for; {seen}"
        _check_possible(asked, documents - len(single), seen)
    return PairChoice(
        objective=objective,
        reason=reason,
        documents=documents,
        single_sentence_documents=len(single),
        single_sentence_tokens=lost,
    )


def _chosen(preferred: PairObjective, documents: int, usable: float, seen: str) -> tuple[PairObjective, str]:
    """Return the objective that suits a corpus, and why."""
    if usable < _ENOUGH:
        return "none", f"no pair objective, as only {seen}"
    if preferred == "none":
        return "none", "no pair objective, as the encoder's family has none"
    if documents > 1:
        return preferred, f"{_NAMES[preferred]}, as {seen}"
    # next sentence needs a second document
    hint = "; if that one document is many, put blank lines between them and build the corpus again"
    return "sop", f"{_NAMES['sop']}, as {seen}{hint}"


def _check_possible(objective: PairObjective, usable_documents: int, seen: str) -> None:
    needed = {"none": 0, "sop": 1, "nsp": 2}[objective]
    if usable_documents < needed:
        raise DataError(
            f"the corpus has too few documents of two sentences or more for {objective}",
            where="pair",
            received=seen,
            allowed=f"{needed} or more such documents",
            next_step="Put blank lines between documents, not sentences, and build the corpus again, or: --pair none",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Where the two segments of every text lie in a flat array of tokens."""

    first_start: Int64Array
    """[N]."""
    first_length: Int64Array
    """[N] 1 or more."""
    second_start: Int64Array
    """[N]."""
    second_length: Int64Array
    """[N] 0 where a text has one segment only."""
    labels: Int64Array
    """[N] 0 for B behind A, 1 for swapped or from another document, `UNLABELLED` where nothing is to be told."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> Int64Array:
        """[N] tokens of both segments."""
        return self.first_length + self.second_length


def divided(
    sentence_starts: Int64Array, num_sentences: IntArray, *, pairs: bool, generator: np.random.Generator
) -> Segments:
    """Divide every text of two sentences or more at a sentence boundary, each with the same probability.

    Args:
        sentence_starts: [sentences + 1] the sentences of all texts, one text behind the other, and the end.
        num_sentences: [N] 1 or more.
        pairs: False leaves all texts whole.
        generator: where random numbers come from.

    Returns:
        Segments in order, labelled 0; a text of one sentence has one segment and no label.
    """
    last = np.cumsum(num_sentences)
    first = last - num_sentences
    start, stop = sentence_starts[first], sentence_starts[last]
    whole = num_sentences < 2 if pairs else np.ones(len(num_sentences), dtype=np.bool_)
    cut = first + 1 + (generator.random(len(first)) * (num_sentences - 1)).astype(np.int64)
    middle = np.where(whole, stop, sentence_starts[np.minimum(cut, last)])
    return Segments(
        first_start=start,
        first_length=middle - start,
        second_start=middle,
        second_length=stop - middle,
        labels=np.where(whole, UNLABELLED, 0),
    )


def swapped(segments: Segments, generator: np.random.Generator) -> Segments:
    """Turn the segments of half of the pairs around (sentence order); the labels are balanced to within one."""
    pairs = generator.permutation(np.flatnonzero(segments.labels != UNLABELLED))
    turned = pairs[: (len(pairs) + int(generator.integers(2))) // 2]
    first_start, first_length = segments.first_start.copy(), segments.first_length.copy()
    second_start, second_length = segments.second_start.copy(), segments.second_length.copy()
    labels = segments.labels.copy()
    first_start[turned], second_start[turned] = segments.second_start[turned], segments.first_start[turned]
    first_length[turned], second_length[turned] = segments.second_length[turned], segments.first_length[turned]
    labels[turned] = 1
    return Segments(
        first_start=first_start,
        first_length=first_length,
        second_start=second_start,
        second_length=second_length,
        labels=labels,
    )


def exchanged(segments: Segments, documents: IntArray, generator: np.random.Generator) -> Segments:
    """Let texts of different documents exchange their second segments, half of all pairs (next sentence).

    Partners have second segments of like length, so that the length of a text does not give its label away. Where one
    document has most of the texts, too few partners may be found; some texts that were not exchanged are then left
    without a label, so that both labels stay equally frequent.

    Args:
        segments: in order.
        documents: [N] the document of every text.
        generator: where random numbers come from.
    """
    pairs = generator.permutation(np.flatnonzero(segments.labels != UNLABELLED))
    ordered = pairs[np.argsort(segments.second_length[pairs], kind="stable")]
    partners: list[tuple[int, int]] = []
    waiting: list[int] = []  # all of one document: the next text of another one takes the last of them
    place = documents.tolist()
    for text in ordered.tolist():
        if waiting and place[waiting[-1]] != place[text]:
            partners.append((waiting.pop(), text))
        else:
            waiting.append(text)
    wanted = (len(pairs) + int(generator.integers(4))) // 4
    chosen = generator.permutation(np.array(partners, dtype=np.int64).reshape(-1, 2))[:wanted]
    left, right = chosen[:, 0], chosen[:, 1]
    second_start, second_length = segments.second_start.copy(), segments.second_length.copy()
    for mine, old in ((second_start, segments.second_start), (second_length, segments.second_length)):
        mine[left], mine[right] = old[right], old[left]
    labels = segments.labels.copy()
    labels[chosen] = 1
    if len(chosen) < wanted:
        in_order = generator.permutation(np.flatnonzero(labels == 0))
        labels[in_order[2 * len(chosen) :]] = UNLABELLED
    return replace(segments, second_start=second_start, second_length=second_length, labels=labels)


def trimmed(segments: Segments, room: IntArray, words: BoolArray, generator: np.random.Generator) -> Segments:
    """Shorten texts that are too long.

    As in BERT, the longer segment gives way until both are equally long, then both do. What is left of a segment is a
    stretch at a random place of it, all places equally probable: BERT drops a token at the front or the back by the
    toss of a coin, which always leaves nearly the middle, so that the ends of a long sentence would never be seen.
    Then broken words are dropped from both ends, so that no word is seen in part (but where a segment is one word).

    Args:
        segments: of the texts.
        room: [N] the most tokens of a text, 2 or more.
        words: True where a token of the flat array begins a word.
        generator: where random numbers come from.
    """
    excess = segments.lengths - room
    long = np.flatnonzero(excess > 0)
    if not len(long):
        return segments
    excess, first, second = excess[long], segments.first_length[long], segments.second_length[long]
    alone = np.minimum(excess, np.abs(first - second))
    shared = excess - alone
    from_first = np.where(second > 0, np.where(first > second, alone, 0) + shared // 2, excess)
    begins = words.copy()
    begins[segments.first_start] = True
    begins[segments.second_start[segments.second_length > 0]] = True
    word_starts = np.flatnonzero(begins)
    changed: list[Int64Array] = []
    for start, length, drop in (
        (segments.first_start[long], first, from_first),
        (segments.second_start[long], second, excess - from_first),
    ):
        front = (generator.random(len(long)) * (drop + 1)).astype(np.int64)
        changed.extend(_whole_words(start, start + length, start + front, start + length - drop + front, word_starts))
    result = [
        one.copy()
        for one in (segments.first_start, segments.first_length, segments.second_start, segments.second_length)
    ]
    for whole, part in zip(result, changed, strict=True):
        whole[long] = part
    return replace(
        segments, first_start=result[0], first_length=result[1], second_start=result[2], second_length=result[3]
    )


def _whole_words(
    start: Int64Array, stop: Int64Array, low: Int64Array, high: Int64Array, word_starts: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Return start and length of the whole words in `low` to `high - 1`, cut out of `start` to `stop - 1`."""
    ends = np.append(word_starts, stop.max())
    later = np.where(low > start, ends[np.searchsorted(word_starts, low)], low)
    earlier = np.where(high < stop, ends[np.searchsorted(word_starts, high, side="right") - 1], high)
    broken = later >= earlier
    later, earlier = np.where(broken, low, later), np.where(broken, high, earlier)
    return later, earlier - later
