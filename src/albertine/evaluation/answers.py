"""How good answers taken from a text are, by the published rules of SQuAD and of CMRC 2018: functions of strings.

Each question is held against every acceptable answer, and the best comparison counts. N questions.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from albertine.errors import DataError
from albertine.evaluation.metrics import Metric

__all__ = [
    "EXACT",
    "F1",
    "HAS_ANSWER",
    "AnswerRule",
    "AnswerScores",
    "FittedThreshold",
    "Flags",
    "Floats",
    "answer_metrics",
    "answer_rankings",
    "best_no_answer_threshold",
    "score_answers",
]

AnswerRule = Literal["squad", "cmrc"]
"""squad: words, case, punctuation and articles aside (Rajpurkar et al. 2016 and 2018, the official scripts of versions
1.1 and 2.0). cmrc: Chinese characters and words of other scripts, punctuation aside (Cui et al. 2019, the official
script of CMRC 2018, version 4)."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

EXACT, F1, HAS_ANSWER = 0, 1, 2
"""Columns of the evidence of question answering: [N, 3]."""

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
# The signs that CMRC's script takes out; other punctuation stays and is compared.
_CMRC_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
# A Chinese character; a word or number, 3.5 and 2,000 in one piece; any other sign.
_CMRC_SEGMENT = re.compile(
    r"[\u4e00-\u9fa5]|[^\W\u4e00-\u9fa5]+(?:(?:[.']|,(?=[0-9]))[^\W\u4e00-\u9fa5]+)*|[^\s\u4e00-\u9fa5]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerScores:
    """How good the answer to each question is."""

    exact: Floats
    """[N] 1 where it is one of the acceptable ones, else 0."""
    f1: Floats
    """[N] how much it overlaps with the nearest acceptable one, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedThreshold:
    """The threshold that is best on some questions."""

    threshold: float
    """No answer is given where the score of "no answer" exceeds the best answer's by more than this."""
    score: float
    """The mean over the questions that it gives, 0 to 1."""


def score_answers(predictions: Sequence[str], golds: Sequence[Sequence[str]], rule: AnswerRule) -> AnswerScores:
    """Hold answers against the acceptable ones.

    The rules of the official scripts hold to the letter, with one exception: CMRC's script cuts words of other scripts
    with NLTK, which also divides contractions ("don't") and keeps the full stop of abbreviations that it knows.

    Args:
        predictions: an answer a question; "" where none is given.
        golds: the acceptable answers of each; none where the question has no answer, so that "" alone is right. Those
            that the rule leaves nothing of ("the", "。") do not count.
        rule: how texts are compared.
    """
    assert len(predictions) == len(golds), "one answer a question is needed"
    exact, f1 = np.zeros(len(golds)), np.zeros(len(golds))
    compare_f1 = _squad_f1 if rule == "squad" else _cmrc_f1
    for place, (prediction, accepted) in enumerate(zip(predictions, golds, strict=True)):
        texts = [text for text in accepted if _plain(text, rule).strip()] or [""]
        plain = _plain(prediction, rule)
        exact[place] = any(plain == _plain(text, rule) for text in texts)
        f1[place] = max(compare_f1(prediction, text) for text in texts)
    return AnswerScores(exact=exact, f1=f1)


def answer_metrics(exact: Floats, f1: Floats, has_answer: Flags) -> dict[str, float]:
    """Return the means over the questions, all between 0 and 1.

    Args:
        exact: [N], as in `AnswerScores`.
        f1: [N], as in `AnswerScores`.
        has_answer: [N] whether the question has an answer.

    Returns:
        exact_match and f1; where there are questions without an answer also no_answer_accuracy over those, and
        has_answer_exact_match and has_answer_f1 over the others (HasAns and NoAns of SQuAD's script).

    Raises:
        DataError: there are no questions.
    """
    if not len(f1):
        raise DataError("there are no questions to evaluate on", next_step="Give a file with answered questions")
    found = {"exact_match": float(exact.mean()), "f1": float(f1.mean())}
    if not has_answer.all():
        if has_answer.any():
            found["has_answer_exact_match"] = float(exact[has_answer].mean())
            found["has_answer_f1"] = float(f1[has_answer].mean())
        found["no_answer_accuracy"] = float(exact[~has_answer].mean())
    return found


def answer_rankings() -> dict[str, Metric]:
    """Return the metrics by which models can be ranked, by their key in `answer_metrics`."""
    return {"f1": _mean_of("f1", F1), "exact_match": _mean_of("exact_match", EXACT)}


def best_no_answer_threshold(
    scores: Floats, null_differences: Floats, has_answer: Flags, answered: Flags
) -> FittedThreshold:
    """Find from where on it is better to give no answer (`find_best_thresh` of SQuAD's script, version 2.0).

    Where the script takes the difference of the last question that is answered, here it is the middle between that
    one and the next, so that rounding turns no answer over; questions of equal difference are answered together.

    Args:
        scores: [N] what the best answer is worth (exact match or F1), as if it were given.
        null_differences: [N] by how much the score of "no answer" exceeds the best answer's.
        has_answer: [N] whether the question has an answer.
        answered: [N] whether there is an answer to give at all; False where it would be "".

    Returns:
        Of thresholds of equal worth the smallest; 0 where there is no answer to any question.
    """
    silent = float(np.count_nonzero(~has_answer))
    order = np.flatnonzero(answered)[np.argsort(null_differences[answered], kind="stable")]
    if not len(order):
        return FittedThreshold(threshold=0.0, score=silent / max(1, len(scores)))
    differences = null_differences[order]
    gains = np.where(has_answer[order], scores[order], -1.0)
    # totals[i] is what it is worth to answer the first i questions and none of the others
    totals = np.concatenate([[silent], silent + np.cumsum(gains)])
    borders = np.concatenate([[differences[0] - 1], differences, [differences[-1] + 1]])
    possible = np.diff(borders) > 0
    best = int(np.where(possible, totals, -np.inf).argmax())
    middle = float((borders[best] + borders[best + 1]) / 2)
    return FittedThreshold(threshold=middle, score=float(totals[best]) / len(scores))


def _mean_of(name: str, column: int) -> Metric:
    def of(evidence: npt.NDArray[np.floating]) -> float:
        return float(evidence[:, column].mean())

    def statistics(evidence: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return np.stack([evidence[:, column], np.ones(len(evidence))], axis=1)

    return Metric(name=name, of=of, statistics=statistics, of_sums=lambda sums: sums[:, 0] / sums[:, 1])


def _plain(text: str, rule: AnswerRule) -> str:
    """Return what of a text is compared for exact match."""
    if rule == "cmrc":
        return text.lower().strip().translate(_CMRC_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_ASCII_PUNCTUATION)).split())


def _squad_f1(prediction: str, gold: str) -> float:
    """Return F1 of the words, each as often as it occurs in both."""
    first, second = _plain(prediction, "squad").split(), _plain(gold, "squad").split()
    return _f1((Counter(first) & Counter(second)).total(), len(first), len(second))


def _cmrc_f1(prediction: str, gold: str) -> float:
    """Return F1 of the characters and words in the longest piece that both have in common."""
    first, second = (_CMRC_SEGMENT.findall(_plain(text, "cmrc")) for text in (prediction, gold))
    return _f1(_longest_common_run(first, second), len(first), len(second))


def _f1(common: int, first: int, second: int) -> float:
    """Return the harmonic mean of both shares; two empty answers agree, and one alone does not."""
    if not first or not second:
        return float(first == second)
    return 2 * common / (first + second)


def _longest_common_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest run of items that stands in both."""
    longest = 0
    before = [0] * (len(second) + 1)
    for one in first:
        now = [0, *(before[place] + 1 if one == other else 0 for place, other in enumerate(second))]
        longest = max(longest, *now)
        before = now
    return longest
