"""Opinions in texts: what is spoken of, its category, the words that say what is thought of it, and the polarity.

What is found is what the training data mark: triplets of aspect, expression and polarity; aspects with their polarities
alone; categories beside either; aspects or expressions that are implied. N examples.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from albertine.data.opinions import OPINIONS
from albertine.data.splitting import label_order
from albertine.errors import ConfigError, DataError, unknown_name
from albertine.evaluation.opinions import (
    opinion_evidence,
    opinion_evidence_columns,
    opinion_metrics,
    opinion_parts,
    opinion_rankings,
)
from albertine.records import Example, Opinion, Prediction
from albertine.tasks import token_classification
from albertine.tasks.config import TaskConfig, TaskRequest, options_from
from albertine.tasks.lengths import longest_read
from albertine.tasks.opinion_answers import Said, opinion_answer, opinion_outputs
from albertine.tasks.opinion_model import OpinionModel, opinion_log_shares, opinion_loss
from albertine.tasks.opinion_options import OpinionOptions, kinds_of, options_of, tagging_of
from albertine.tasks.opinion_targets import check_opinions, encode_opinions, marked_spans
from albertine.tasks.span_scores import ScoredSpans, calibrated, score_metrics, tuned_scores
from albertine.tasks.tagger import TaggingOptions
from albertine.tasks.task import Evidence, Task

__all__ = ["TASK"]

logger = logging.getLogger("albertine")

NAME = "aspect-opinions"


def prepare(examples: Sequence[Example], request: TaskRequest) -> TaskConfig:
    """Fix polarities, categories, what the data mark, and the maximum length, from the training examples.

    Raises:
        DataError: no examples, one whose opinions or polarities are not known, no opinion in any of them, or pairs of
            texts.
        ConfigError: a maximum length beyond the encoder's positions, class weights, or categories that do not fit.
    """
    if not examples:
        raise DataError("there are no training examples", next_step="Look at the file with: albertine data check FILE")
    if request.class_weights != "none":
        raise ConfigError("opinions have no class weights", where="class_weights", received=request.class_weights)
    check_single(examples)
    found = {opinion.polarity for example in examples for opinion in example.opinions or ()} - {""}
    if not found:
        raise DataError(
            "the training examples have no opinions, there is nothing to learn",
            where=examples[0].file or None,
            next_step="Look at the file with: albertine data check FILE",
        )
    labels = tuple(request.labels) if request.labels is not None else tuple(sorted(found, key=label_order))
    config = TaskConfig(
        task=NAME,
        labels=labels,
        overlap=None,
        main_metric=request.main_metric,
        max_error=request.max_error,
        options=_options(examples, request),
    )
    check_opinions(examples, config)
    known = opinion_rankings(kinds_of(config))
    if request.main_metric is not None and request.main_metric not in known:
        raise unknown_name("metric", request.main_metric, known)
    tagging = _tagging(examples, config, request)
    return replace(
        config,
        max_length=tagging.max_length,
        overlap=tagging.overlap,
        options=replace(options_of(config), whole_words=tagging.own(TaggingOptions).whole_words),
    )


def _options(examples: Sequence[Example], request: TaskRequest) -> OpinionOptions:
    """Return what was asked for, and for the rest what the data mark, which is said aloud."""
    options = options_from(OpinionOptions, request.options, task=NAME)
    opinions = [opinion for example in examples for opinion in example.opinions or ()]
    without_aspect = sum(one.aspect is None for one in opinions)
    without_expression = sum(one.expression is None for one in opinions)
    categories = sorted({one.category for one in opinions})
    if options.expressions is None:
        options = replace(options, expressions=without_expression < len(opinions))
    if options.implied_aspects is None:
        options = replace(options, implied_aspects=without_aspect > 0)
    if options.implied_expressions is None:
        options = replace(options, implied_expressions=bool(options.expressions and without_expression))
    if not options.categories and any(categories):
        options = replace(options, categories=tuple(categories))
    if options.categories and (unknown := sorted(set(categories) - set(options.categories))):
        raise ConfigError(
            "the training examples have other categories",
            where="categories",
            received=", ".join(map(repr, unknown)),
            allowed=", ".join(options.categories),
        )
    logger.info(
        "%d opinions, %d of them without an aspect and %d without words of their own; %s, %s, %s",
        len(opinions),
        without_aspect,
        without_expression,
        "these words are found too" if options.expressions else "these words are not looked for",
        f"{len(options.categories)} categories" if options.categories else "no categories",
        "an aspect may be implied" if options.implied_aspects else "every opinion has an aspect",
    )
    return options


def _tagging(examples: Sequence[Example], config: TaskConfig, request: TaskRequest) -> TaskConfig:
    """Prepare the part that finds spans; where every span is implied there is nothing for it to learn from."""
    tagging = tagging_of(config)
    spans = [replace(example, spans=marked_spans(example, config)) for example in examples]
    if not any(example.spans for example in spans):
        length = longest_read(examples, request, becomes="read in windows")
        return replace(
            tagging,
            max_length=length,
            overlap=request.overlap,
            options=replace(tagging.own(TaggingOptions), whole_words=False),
        )
    own = tagging.own(TaggingOptions)
    options = {"scheme": own.scheme, "crf": own.crf, "whole_words": own.whole_words}
    asked = replace(request, labels=tagging.labels, main_metric=None, options=options)
    return token_classification.TASK.prepare(spans, asked)


def check_single(examples: Sequence[Example]) -> None:
    """Make sure that all examples are single texts.

    Raises:
        DataError: one of them is a pair.
    """
    token_classification.TASK.check_inputs(examples, TaskConfig(task=NAME))


def decode(answers: Sequence[Said], examples: Sequence[Example], task_config: TaskConfig) -> list[Prediction]:
    """Return the opinions of every example, with calibrated scores; those below the threshold are kept back.

    Where an example has opinions without a polarity, these are judged, and are all that is returned.
    """
    predictions = []
    for one, example in zip(answers, examples, strict=True):
        asked = [opinion for opinion in example.opinions or () if not opinion.polarity]
        if asked:
            judged = [said for said, own in zip(one.judged, example.opinions or (), strict=True) if not own.polarity]
            predictions.append(Prediction(opinions=tuple(judged), spans=one.spans))
            continue
        scores = calibrated(np.array([opinion.score for opinion in one.opinions]), task_config).tolist()
        opinions = [replace(opinion, score=score) for opinion, score in zip(one.opinions, scores, strict=True)]
        kept = tuple(opinion for opinion in opinions if opinion.score >= (task_config.abstain_below or 0.0))
        predictions.append(Prediction(opinions=kept, spans=one.spans, abstained=len(kept) < len(opinions)))
    return predictions


def score(answers: Sequence[Said], examples: Sequence[Example], task_config: TaskConfig) -> dict[str, float]:
    """Return F1, precision and recall of opinions, and F1 of what they consist of; see `opinion_rankings`.

    `polarity_accuracy` is the share of right polarities where the model is told aspect, expression and category.
    `unrepresentable` is the share of the data's aspects and expressions that tokens cannot say; they count as missed.
    `ece` is how far the scores of opinions are from the share of right ones. All opinions found count, those that a
    threshold keeps back too; `coverage` and `answered_error` say how many of them it leaves, and how many of those are
    wrong.

    Raises:
        DataError: no examples, one whose opinions are not known, or a polarity that the task does not know.
    """
    metrics = opinion_metrics(evidence(answers, examples, task_config), kinds_of(task_config))
    marked = sum(len(marked_spans(example, task_config)) for example in examples)
    lost = sum(len(one.unrepresentable) for one in answers)
    metrics["unrepresentable"] = lost / marked if marked else 0.0
    return {**metrics, **score_metrics(_scored(answers, examples, task_config), task_config)}


def evidence(answers: Sequence[Said], examples: Sequence[Example], task_config: TaskConfig) -> Evidence:
    """Return [N, 3K + 2]: what is in both, in the data and found, of every kind; right polarities, and all of them.

    Raises:
        DataError: an example whose opinions are not known, or a polarity that the task does not know.
    """
    return opinion_evidence(
        check_opinions(examples, task_config),
        [one.opinions for one in answers],
        [[opinion.polarity for opinion in one.judged] for one in answers],
        kinds_of(task_config),
    )


def did_not_learn(evidence: Evidence, task_config: TaskConfig) -> bool:
    """Say whether not one opinion was found."""
    return not evidence[:, opinion_evidence_columns(kinds_of(task_config)).index("right/opinion")].any()


def tune(answers: Sequence[Said], examples: Sequence[Example], task_config: TaskConfig) -> TaskConfig:
    """Fit the temperature of scores, and where an error rate is wanted the score below which opinions are kept back."""
    return tuned_scores(_scored(answers, examples, task_config), task_config)


def _scored(answers: Sequence[Said], examples: Sequence[Example], task_config: TaskConfig) -> ScoredSpans:
    """Say of every opinion that was found how sure the model is, and whether it is right."""
    kinds = kinds_of(task_config)

    def parts(opinions: Sequence[Opinion]) -> set[object]:
        return set(opinion_parts(opinions, "opinion", kinds))

    scored = [
        (opinion.score, parts([opinion]) <= parts(gold))
        for one, gold in zip(answers, check_opinions(examples, task_config), strict=True)
        for opinion in one.opinions
    ]
    return ScoredSpans(
        scores=np.array([chance for chance, _ in scored], dtype=np.float64),
        right=np.array([right for _, right in scored], dtype=np.int64),
    )


TASK = Task(
    name=NAME,
    format=lambda options: OPINIONS,
    options=OpinionOptions,
    prepare=prepare,
    check_inputs=lambda examples, task_config: check_single(examples),
    encode=encode_opinions,
    build=OpinionModel,
    loss=opinion_loss,
    outputs=opinion_outputs,
    answer=opinion_answer,
    decode=decode,
    score=score,
    evidence=evidence,
    evidence_columns=lambda config: opinion_evidence_columns(kinds_of(config)),
    metrics=lambda config: opinion_rankings(kinds_of(config)),
    main_metric="opinion_f1",
    ranking_metric=lambda config, label_counts, measured: "opinion_f1",
    did_not_learn=did_not_learn,
    tune=tune,
    log_shares=opinion_log_shares,
)
"""The record of this task."""
