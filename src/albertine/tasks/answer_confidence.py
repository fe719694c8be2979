"""Which answers are given, how sure the model is of them, and the thresholds that a development split decides.

N questions.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from albertine.evaluation.answers import AnswerScores, Flags, Floats, best_no_answer_threshold, score_answers
from albertine.evaluation.calibration import reliability, silence_for
from albertine.records import Example, IntArray
from albertine.tasks.answer_spans import RankedSpans, score_rows, shares
from albertine.tasks.config import TaskConfig
from albertine.tasks.question_encoding import has_answer
from albertine.tasks.question_options import QuestionAnsweringOptions

__all__ = ["GivenAnswers", "confidence_metrics", "given_answers", "given_scores", "tuned_answers"]

logger = logging.getLogger("albertine")

_ENOUGH = 50
"""Questions of a development split below which a temperature would be fitted to their noise."""
_TEMPERATURES = np.geomspace(0.25, 16.0, 97)
_CERTAIN = 1e-7
"""Probabilities nearer to 0 or 1 count as this far away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswers:
    """What is answered."""

    texts: tuple[str, ...]
    """[N] the answers; "" where none is given."""
    silent: Flags
    """[N] whether none is given."""
    confidence: Floats
    """[N] the probability of the answer, or of there being none."""


def given_answers(answers: Sequence[RankedSpans], examples: Sequence[Example], task_config: TaskConfig) -> GivenAnswers:
    """Return what is answered: the best piece of the context, or nothing from the threshold of the task on."""
    threshold = task_config.own(QuestionAnsweringOptions).no_answer_threshold
    silent = np.array(
        [not len(one.scores) or (threshold is not None and one.null_difference > threshold) for one in answers],
        dtype=np.bool_,
    )
    rows = shares(score_rows(answers), task_config.temperature)
    return GivenAnswers(
        texts=tuple(
            "" if quiet else _best(one, example)
            for one, example, quiet in zip(answers, examples, silent.tolist(), strict=True)
        ),
        silent=silent,
        confidence=rows[np.arange(len(rows)), np.where(silent, 0, 1)],
    )


def given_scores(answers: Sequence[RankedSpans], examples: Sequence[Example], task_config: TaskConfig) -> AnswerScores:
    """Return how good the given answers are.

    Raises:
        DataError: an example does not say what answers it.
    """
    return _scores(given_answers(answers, examples, task_config).texts, examples, task_config)


def confidence_metrics(
    answers: Sequence[RankedSpans], examples: Sequence[Example], task_config: TaskConfig
) -> dict[str, float]:
    """Return what can be said of scores and of a limit of errors; answers count as right where they are exact."""
    given = given_answers(answers, examples, task_config)
    right = _right(given, examples, task_config)
    metrics = {"ece": reliability(given.confidence, right).error}
    if task_config.temperature is not None:
        before = given_answers(answers, examples, replace(task_config, temperature=None))
        metrics["ece_uncalibrated"] = reliability(before.confidence, right).error
    if task_config.abstain_below is not None:
        kept = given.confidence >= task_config.abstain_below
        metrics["coverage"] = float(kept.mean())
        metrics["answered_error"] = float(1 - right[kept].mean()) if kept.any() else 0.0
    return metrics


def tuned_answers(answers: Sequence[RankedSpans], examples: Sequence[Example], task_config: TaskConfig) -> TaskConfig:
    """Fit what decides between an answer and none, and what makes scores the chance that an answer is exactly right.

    The threshold of "no answer", where the model may give none, is the one with the best F1, or exact match where that
    is the main metric. The temperature has the least log loss of right and wrong (Guo et al. 2017, section 4.2, with
    right and wrong for the classes). The score below which the model keeps silent is fitted where an error rate is
    wanted.
    """
    tuned = replace(task_config, options=_with_threshold(answers, examples, task_config))
    tuned = replace(tuned, temperature=_temperature(answers, examples, tuned))
    if tuned.max_error is None:
        return tuned
    given = given_answers(answers, examples, tuned)
    silence = silence_for(given.confidence, _right(given, examples, tuned), max_error=tuned.max_error)
    if silence is None:
        logger.warning(
            "no part of the development split, however confident, has at most %g %% wrong answers: the model keeps "
            "silent wherever it is not certain",
            100 * tuned.max_error,
        )
        return replace(tuned, abstain_below=1.0)
    logger.info(
        "below a confidence of %.4f the model keeps silent: it answers %.1f %% of the development split, %.2f %% of "
        "that not exactly",
        silence.below,
        100 * silence.coverage,
        100 * silence.error,
    )
    return replace(tuned, abstain_below=silence.below)


def _with_threshold(
    answers: Sequence[RankedSpans], examples: Sequence[Example], task_config: TaskConfig
) -> QuestionAnsweringOptions:
    options = task_config.own(QuestionAnsweringOptions)
    answerable = has_answer(examples)
    if options.no_answer_threshold is None or answerable.all() or not answerable.any():
        return options
    texts = [_best(one, example) for one, example in zip(answers, examples, strict=True)]
    worth = _scores(texts, examples, task_config)
    fitted = best_no_answer_threshold(
        worth.exact if task_config.main_metric == "exact_match" else worth.f1,
        np.array([one.null_difference for one in answers]),
        answerable,
        np.array([text != "" for text in texts], dtype=np.bool_),
    )
    logger.info(
        'no answer is given where "no answer" scores %.2f more than the best one (fitted on %d questions)',
        fitted.threshold,
        len(examples),
    )
    return replace(options, no_answer_threshold=fitted.threshold)


def _temperature(answers: Sequence[RankedSpans], examples: Sequence[Example], task_config: TaskConfig) -> float | None:
    """Return the temperature with the least log loss; as it was, where too few answers or only one kind is there."""
    given = given_answers(answers, examples, task_config)
    right = _right(given, examples, task_config) > 0
    if len(right) < _ENOUGH or right.all() or not right.any():
        return task_config.temperature
    rows = score_rows(answers)
    column = np.where(given.silent, 0, 1)
    losses = []
    for temperature in _TEMPERATURES.tolist():
        chance = shares(rows, temperature)[np.arange(len(rows)), column].clip(_CERTAIN, 1 - _CERTAIN)
        losses.append(-np.log(np.where(right, chance, 1 - chance)).mean())
    return round(float(_TEMPERATURES[int(np.argmin(losses))]), 4)


def _right(given: GivenAnswers, examples: Sequence[Example], task_config: TaskConfig) -> IntArray:
    """Return 1 for every answer that is exactly right and 0 for the others, [N]."""
    return _scores(given.texts, examples, task_config).exact.astype(np.int64)


def _best(one: RankedSpans, example: Example) -> str:
    """Return the best answer, whether it is to be given or not; "" where there is none."""
    start, end = one.places[0].tolist() if len(one.places) else (0, 0)
    return (example.text_pair or "")[start:end]


def _scores(texts: Sequence[str], examples: Sequence[Example], task_config: TaskConfig) -> AnswerScores:
    has_answer(examples)
    golds = [[span.text for span in example.spans or ()] for example in examples]
    return score_answers(texts, golds, task_config.own(QuestionAnsweringOptions).answer_rule)
