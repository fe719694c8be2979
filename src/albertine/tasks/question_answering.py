"""Question answering: the piece of a context that answers a question, or the word that none does.

Shapes: N questions, K answers to one of them, T tokens of a window.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from albertine.checkpoints.state import TaskHead
from albertine.data.languages import script_shares
from albertine.data.questions import ANSWER, QUESTIONS
from albertine.errors import ConfigError, DataError, unknown_name
from albertine.evaluation.answers import F1, HAS_ANSWER, AnswerRule, answer_metrics, answer_rankings
from albertine.models.config import EncoderConfig
from albertine.records import Batch, DocumentAnswer, Encoded, Example, Prediction, Span, Tokens
from albertine.tasks.answer_confidence import confidence_metrics, given_answers, given_scores, tuned_answers
from albertine.tasks.answer_spans import RankedSpans, answer_tokens, answers_over, ranked_spans, score_rows, shares
from albertine.tasks.config import TaskConfig, TaskRequest, options_from
from albertine.tasks.lengths import default_max_length
from albertine.tasks.question_encoding import (
    SPECIAL_TOKENS,
    check_contexts,
    encode_questions,
    has_answer,
    question_tokens,
)
from albertine.tasks.question_options import QuestionAnsweringOptions
from albertine.tasks.span_predictor import SpanPredictor, span_log_shares, span_loss
from albertine.tasks.task import Evidence, FloatArray, Task, token_rows

__all__ = ["TASK"]

logger = logging.getLogger("albertine")

NAME = "question-answering"

_SHORTEST = 8
"""The least maximum length: two tokens of the question and three of the context."""
_LONGEST = 512
"""The greatest maximum length that is chosen by itself: attention costs its square, and windows lose nothing."""
_OVERLAP = 128
_SAMPLE = 2_000
"""Training questions that lengths are measured on."""
_COVERED = 99.5
"""Per cent of the training answers that the default length of an answer allows."""
_CHINESE = 0.3
"""From this share of Chinese characters among the letters of questions and answers on, CMRC's rule compares answers."""


def prepare(examples: Sequence[Example], request: TaskRequest) -> TaskConfig:
    """Fix lengths, the rule of comparison and whether there may be no answer, from the training examples.

    Raises:
        DataError: no examples, one without a context or without a word about its answers, or no answer at all.
        ConfigError: a maximum length that does not fit, or something was asked for that this task does not have.
    """
    if not examples:
        raise DataError("there are no training examples", next_step="Look at the file with: albertine data check FILE")
    check_contexts(examples)
    answerable = has_answer(examples)
    if not answerable.any():
        raise DataError(
            "no training question has an answer, there is nothing to learn",
            where=examples[0].file or None,
            next_step="Add questions with answers",
        )
    if request.tokenizer is None or request.body is None:
        raise ConfigError(
            "question answering needs a model that reads tokens",
            allowed="an encoder, or the baseline bilstm or word-vectors",
        )
    if request.labels or request.class_weights != "none":
        raise ConfigError(
            "question answering has no labels",
            where="labels" if request.labels else "class_weights",
            received=request.labels or request.class_weights,
        )
    if request.main_metric is not None and request.main_metric not in answer_rankings():
        raise unknown_name("metric", request.main_metric, answer_rankings())
    sample = examples[:: -(-len(examples) // _SAMPLE)]
    tokens = question_tokens(request.tokenizer, sample)
    max_length = _max_length(tokens, request)
    chosen: dict[str, object] = {} if answerable.all() else {"no_answer_threshold": 0.0}
    if "max_answer_tokens" not in request.options:
        chosen["max_answer_tokens"] = _max_answer_tokens(tokens, sample)
    if "answer_rule" not in request.options:
        chosen["answer_rule"] = _answer_rule(sample)
    options = options_from(QuestionAnsweringOptions, {**chosen, **request.options}, task=NAME)
    overlap = request.overlap
    if overlap is None:
        # what two windows share holds every answer whole that lies between them
        overlap = min(max(_OVERLAP, options.max_answer_tokens), (max_length - SPECIAL_TOKENS) // 2)
    if request.max_length is None:
        logger.info(
            "maximum length: %d tokens (%.1f %% of the training questions have longer contexts, which are read in "
            "windows that share %d tokens; choose another with --max-length)",
            max_length,
            100 * float(np.mean(tokens.lengths > max_length)),
            overlap,
        )
    return TaskConfig(
        task=NAME,
        max_length=max_length,
        overlap=overlap,
        pairs=True,
        main_metric=request.main_metric,
        max_error=request.max_error,
        options=options,
    )


def _max_length(tokens: Tokens, request: TaskRequest) -> int:
    limit = request.body.max_position_embeddings if isinstance(request.body, EncoderConfig) else None
    if request.max_length is None:
        return max(_SHORTEST, default_max_length(tokens.lengths, min(limit or _LONGEST, _LONGEST)))
    if request.max_length < _SHORTEST or (limit is not None and request.max_length > limit):
        raise ConfigError(
            "value out of range",
            where="max_length",
            received=request.max_length,
            allowed=f"{_SHORTEST} or more, for a question and a piece of its context"
            if limit is None
            else f"from {_SHORTEST} to {limit}, the positions of the encoder",
        )
    return request.max_length


def _max_answer_tokens(tokens: Tokens, sample: Sequence[Example]) -> int:
    lengths = [
        int(last) - int(first) + 1
        for row, example in zip(tokens.rows(), sample, strict=True)
        for first, last in answer_tokens(row, example.spans or ())
    ]
    least = QuestionAnsweringOptions().max_answer_tokens
    needed = math.ceil(float(np.percentile(lengths, _COVERED))) if lengths else least
    if needed > least:
        logger.info(
            "answers: at most %d tokens (%.1f %% of the training answers are not longer; the longest has %d; choose "
            "another number with --set max_answer_tokens=…)",
            needed,
            _COVERED,
            max(lengths),
        )
    return max(least, needed)


def _answer_rule(sample: Sequence[Example]) -> AnswerRule:
    share = script_shares(
        "\n".join(text for one in sample for text in (one.text, *(span.text for span in one.spans or ())))
    ).han
    rule: AnswerRule = "cmrc" if share >= _CHINESE else "squad"
    logger.info(
        "answers are compared by the rule of %s (%.0f %% of the letters are Chinese characters; choose another with "
        "--set answer_rule=…)",
        "CMRC 2018" if rule == "cmrc" else "SQuAD",
        100 * share,
    )
    return rule


def check_inputs(examples: Sequence[Example], task_config: TaskConfig) -> None:
    """Make sure that every question has a context.

    Raises:
        DataError: one has none.
    """
    del task_config
    check_contexts(examples)


def outputs(module: nn.Module, batch: Batch, task_config: TaskConfig) -> list[FloatArray]:
    """Return the logits of start and end for the tokens of every window, [T, 2] each."""
    del task_config
    return token_rows(module(batch), batch)


def answer(
    outputs: Sequence[FloatArray], windows: Sequence[Encoded], example: Example, task_config: TaskConfig
) -> RankedSpans:
    """Return the best answers to a question, over all windows of its context."""
    options = task_config.own(QuestionAnsweringOptions)
    return ranked_spans(
        outputs, windows, example.text_pair or "", longest=options.max_answer_tokens, n_best=options.n_best
    )


def decode(answers: Sequence[RankedSpans], examples: Sequence[Example], task_config: TaskConfig) -> list[Prediction]:
    """Return the answers to every question, the best one first; none and the text "" where none is to be given."""
    given = given_answers(answers, examples, task_config)
    rows = shares(score_rows(answers), task_config.temperature)
    unsure = given.confidence < (task_config.abstain_below or 0.0)
    predictions = []
    for index, (one, example) in enumerate(zip(answers, examples, strict=True)):
        context = example.text_pair or ""
        listed = [] if given.silent[index] else zip(one.places.tolist(), rows[index, 1:].tolist(), strict=False)
        predictions.append(
            Prediction(
                text=given.texts[index],
                score=float(given.confidence[index]),
                spans=tuple(
                    Span(start=start, end=end, label=ANSWER, score=share, text=context[start:end])
                    for (start, end), share in listed
                ),
                abstained=bool(unsure[index]),
            )
        )
    return predictions


def over_documents(
    answers: Sequence[RankedSpans], examples: Sequence[Example], task_config: TaskConfig, top: int
) -> list[DocumentAnswer]:
    """Return the best answers to one question over all its contexts, see `answers_over`.

    A context gives none where it would give none by itself: by the threshold of "no answer", and where the model is to
    keep silent because it is too unsure.
    """
    confidence = given_answers(answers, examples, task_config).confidence
    sure = np.flatnonzero(confidence >= (task_config.abstain_below or 0.0)).tolist()
    ranked = answers_over(
        [answers[place] for place in sure],
        [examples[place].text_pair or "" for place in sure],
        no_answer_threshold=task_config.own(QuestionAnsweringOptions).no_answer_threshold,
        temperature=task_config.temperature,
        limit=top,
    )
    return [replace(one, document=sure[one.document]) for one in ranked]


def score(answers: Sequence[RankedSpans], examples: Sequence[Example], task_config: TaskConfig) -> dict[str, float]:
    """Return exact match and F1, where some questions have no answer also of either kind alone; see `answer_metrics`.

    `ece` is how far scores are from the share of exact answers (expected calibration error); `coverage` is the share of
    the questions that a model with an error limit answers, `answered_error` that of wrong answers among them.

    Raises:
        DataError: no examples, or one that does not say what answers it.
    """
    found = given_scores(answers, examples, task_config)
    metrics = answer_metrics(found.exact, found.f1, has_answer(examples))
    return {**metrics, **confidence_metrics(answers, examples, task_config)}


def evidence(answers: Sequence[RankedSpans], examples: Sequence[Example], task_config: TaskConfig) -> Evidence:
    """Return [N, 3]: exact match and F1 of every question's answer, and whether the question has one."""
    found = given_scores(answers, examples, task_config)
    columns: Evidence = np.stack([found.exact, found.f1, has_answer(examples)], axis=1)
    return columns


def did_not_learn(evidence: Evidence, task_config: TaskConfig) -> bool:
    """Say whether never giving an answer would have been as good."""
    del task_config
    return float(evidence[:, F1].sum()) <= float((evidence[:, HAS_ANSWER] == 0).sum())


def head(task_config: TaskConfig) -> TaskHead:
    """Return the head of transformers' ForQuestionAnswering."""
    del task_config
    return TaskHead(task=NAME, labels=("start", "end"), module="qa_outputs")


def adopt(head: TaskHead, positions: int) -> TaskConfig:
    """Return the configuration of a head that another program trained; it always answers, until a threshold is set."""
    del head
    return TaskConfig(task=NAME, max_length=positions, pairs=True, options=QuestionAnsweringOptions())


TASK = Task(
    name=NAME,
    format=lambda options: QUESTIONS,
    options=QuestionAnsweringOptions,
    prepare=prepare,
    check_inputs=check_inputs,
    encode=encode_questions,
    build=SpanPredictor,
    loss=span_loss,
    outputs=outputs,
    answer=answer,
    decode=decode,
    over_documents=over_documents,
    score=score,
    evidence=evidence,
    evidence_columns=lambda config: ("exact_match", "f1", "has_answer"),
    metrics=lambda config: answer_rankings(),
    main_metric="f1",
    ranking_metric=lambda config, label_counts, measured: "f1",
    did_not_learn=did_not_learn,
    tune=tuned_answers,
    log_shares=span_log_shares,
    head=head,
    adopt=adopt,
)
"""The record of this task."""
