"""Pieces of a text as answers: found among the scores of its tokens, ranked, and ranked over several texts.

T tokens of an encoded window, K answers, best first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from albertine.data.questions import ANSWER
from albertine.records import DocumentAnswer, Encoded, IntArray, Span
from albertine.tasks.task import FloatArray

__all__ = [
    "RankedSpans",
    "answer_tokens",
    "answers_over",
    "context_tokens",
    "ranked_spans",
    "score_rows",
    "shares",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedSpans:
    """What a model says of a question and one context."""

    places: IntArray
    """[K, 2] first character in the context, and one past the last; no two are equal. K is 0 only where the context
    has no token."""
    scores: Floats
    """[K] log-probabilities of start and end, added up, each within its window; descending."""
    logits: Floats
    """[K] the same before the softmax: what can be compared between contexts."""
    null_score: float
    """The log-probabilities of "no answer" (start and end at [CLS]): the smallest of the windows."""

    @property
    def null_difference(self) -> float:
        """Return by how much "no answer" exceeds the best one (Devlin et al. 2018, section 4.3)."""
        return self.null_score - float(self.scores[0]) if len(self.scores) else np.inf


def context_tokens(window: Encoded) -> IntArray:
    """Return the places of the context's tokens in a window of `[CLS] question [SEP] context [SEP]`."""
    return np.flatnonzero(window.token_type_ids)[:-1]


def answer_tokens(text: Encoded, spans: Sequence[Span]) -> IntArray:
    """Return the first and the last token of every answer, [M, 2] int64; without those that no token touches.

    Args:
        text: question and whole context, with offsets.
        spans: pieces of the context.
    """
    assert text.offsets is not None, "answers are found by their offsets"
    places = context_tokens(text)
    starts, ends = text.offsets[places].T
    first = np.searchsorted(ends, [span.start for span in spans], side="right")
    last = np.searchsorted(starts, [span.end for span in spans], side="left") - 1
    touched = first <= last
    return np.stack([places[first[touched]], places[last[touched]]], axis=1).astype(np.int64).reshape(-1, 2)


def ranked_spans(
    outputs: Sequence[FloatArray], windows: Sequence[Encoded], context: str, *, longest: int, n_best: int
) -> RankedSpans:
    """Find the best answers in a context.

    An answer is scored in one window: the one that has the most context for its first token, or, where that one ends
    before the answer does, a later one that holds it whole.

    Args:
        outputs: [T, 2] logits of start and end, for every window.
        windows: of one question and its context, in their order.
        context: the whole of it.
        longest: tokens that an answer has at most.
        n_best: how many answers are kept at most.
    """
    places = [context_tokens(window) for window in windows]
    reach = _reach(windows, places)
    null_scores: list[float] = []
    scores: list[Floats] = []
    logits: list[Floats] = []
    characters: list[IntArray] = []
    for window, output, tokens, least in zip(windows, outputs, places, reach, strict=True):
        assert window.offsets is not None, "answers are told by their offsets"
        raw = output[np.concatenate([[0], tokens])].astype(np.float64)
        normalised = raw - _log_sum_exp(raw)
        null_scores.append(float(normalised[0].sum()))
        first, last = _best_pairs(normalised[1:], least, longest, 2 * n_best)
        scores.append(normalised[1 + first, 0] + normalised[1 + last, 1])
        logits.append(raw[1 + first, 0] + raw[1 + last, 1])
        offsets = window.offsets[tokens]
        characters.append(np.stack([offsets[first, 0], offsets[last, 1]], axis=1))
    found = np.concatenate(scores)
    kept: dict[tuple[int, int], int] = {}
    ranges = np.concatenate(characters).tolist()
    for index in np.argsort(-found, kind="stable").tolist():
        start, end = _trimmed(context, *ranges[index])
        if start < end and len(kept) < n_best:
            kept.setdefault((start, end), index)
    chosen = list(kept.values())
    return RankedSpans(
        places=np.array(list(kept), dtype=np.int64).reshape(-1, 2),
        scores=found[chosen],
        logits=np.concatenate(logits)[chosen],
        null_score=min(null_scores),
    )


def score_rows(answers: Sequence[RankedSpans]) -> Floats:
    """Return the score of "no answer" (column 0) and of each answer, for N contexts, [N, 1 + K]; -inf behind them."""
    rows = np.full((len(answers), 1 + max((len(one.scores) for one in answers), default=0)), -np.inf)
    for row, one in zip(rows, answers, strict=True):
        row[0] = one.null_score
        row[1 : 1 + len(one.scores)] = one.scores
    return rows


def shares(rows: Floats, temperature: float | None) -> Floats:
    """Return how probable "no answer" and each answer is: the softmax of the rows of `score_rows`.

    Args:
        rows: [N, 1 + K].
        temperature: what the scores are divided by; None: they are taken as they are.
    """
    scaled = rows / (temperature or 1.0)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def answers_over(
    answers: Sequence[RankedSpans],
    documents: Sequence[str],
    *,
    no_answer_threshold: float | None = None,
    temperature: float | None = None,
    limit: int = 20,
) -> list[DocumentAnswer]:
    """Rank the answers to one question over several documents.

    They are ranked by their logits, which no document's softmax has made relative to its own other answers (Clark and
    Gardner 2018, the confidence method; Yang et al. 2019, BERTserini). An answer's score is its share among those of
    all documents.

    Args:
        answers: what the model says of the question and each document.
        documents: the contexts, in the same order.
        no_answer_threshold: leave out documents that say "no answer" by more than this; None to leave out none.
        temperature: of the model's calibration.
        limit: how many answers to give at most.

    Returns:
        The answers, best first; none where every document was left out.
    """
    found = [
        (logit, index, start, end)
        for index, one in enumerate(answers)
        if no_answer_threshold is None or one.null_difference <= no_answer_threshold
        for logit, (start, end) in zip(one.logits.tolist(), one.places.tolist(), strict=True)
    ]
    found.sort(key=lambda one: -one[0])
    logits = np.array([one[0] for one in found]) / (temperature or 1.0)
    scores = np.exp(logits - _log_sum_exp(logits)) if found else logits
    return [
        DocumentAnswer(
            document=index,
            span=Span(start=start, end=end, label=ANSWER, score=score, text=documents[index][start:end]),
        )
        for (_, index, start, end), score in list(zip(found, scores.tolist(), strict=True))[:limit]
    ]


def _reach(windows: Sequence[Encoded], places: Sequence[IntArray]) -> list[IntArray]:
    """Say from which token on an answer may end, for each token that it may start at, counted within the window.

    That is 0 for tokens that the window owns, the first token behind the window that owns it for the others, and
    nowhere for those that a later window owns.
    """
    owned = [
        np.ones(len(tokens), dtype=np.bool_) if window.owned is None else window.owned[tokens]
        for window, tokens in zip(windows, places, strict=True)
    ]
    owner = np.repeat(np.arange(len(windows)), [int(one.sum()) for one in owned])
    # windows own consecutive runs of the context, so that those before one say where it begins
    begins = [int(np.searchsorted(owner, index) - np.append(one, True).argmax()) for index, one in enumerate(owned)]
    ends = np.array(begins) + [len(one) for one in owned]
    found = []
    for index, (one, begin) in enumerate(zip(owned, begins, strict=True)):
        own = owner[begin : begin + len(one)] if one.any() else np.full(len(one), len(owned))
        least = np.full(len(one), len(one))
        earlier = own < index
        least[own == index] = 0
        least[earlier] = ends[own[earlier]] - begin
        found.append(least)
    return found


def _best_pairs(scores: Floats, least: IntArray, longest: int, count: int) -> tuple[IntArray, IntArray]:
    """Return the first and the last tokens of the answers with the highest scores, by their place.

    Args:
        scores: [C, 2] of start and end, for the tokens of the context.
        least: [C] the first token that an answer may end at, for each that it may start at.
        longest: tokens of an answer at most.
        count: how many to return, as far as there are as many.
    """
    tokens = len(scores)
    width = min(longest, tokens)
    starts = np.flatnonzero(least < tokens)
    if not len(starts):
        return starts, starts
    ends = np.lib.stride_tricks.sliding_window_view(np.append(scores[:, 1], np.full(width - 1, -np.inf)), width)
    allowed = starts[:, None] + np.arange(width) >= least[starts, None]
    best_end = np.where(allowed, ends[starts], -np.inf).max(axis=1)
    # a pair is among the best only if its start, with the best of its ends, is
    chosen = _highest(scores[starts, 0] + best_end, count)
    pairs = scores[starts[chosen], 0][:, None] + np.where(allowed[chosen], ends[starts[chosen]], -np.inf)
    best = _highest(pairs.ravel(), count)
    best = best[pairs.ravel()[best] > -np.inf]
    first = starts[chosen[best // width]]
    return first, first + best % width


def _highest(values: Floats, count: int) -> IntArray:
    """Return where the highest values stand, `count` of them as far as there are as many, ascending."""
    if count >= len(values):
        return np.arange(len(values))
    return np.sort(np.argpartition(-values, count)[:count])


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Take the blanks off both ends of a piece."""
    piece = text[start:end]
    return end - len(piece.lstrip()), start + len(piece.rstrip())


def _log_sum_exp(values: Floats) -> Floats:
    """Return the logarithm of the sum of the powers, along the first axis."""
    highest = values.max(axis=0)
    total: Floats = highest + np.log(np.exp(values - highest).sum(axis=0))
    return total
