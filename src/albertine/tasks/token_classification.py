"""Token classification: spans of a text and their types, such as named entities.

Every token gets a tag; spans go in and come out by character. N examples, C types, T tokens of a text or a window.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from albertine.batching.windows import encoded_examples
from albertine.checkpoints.state import TaskHead
from albertine.data.tagging import TAGGED_TEXTS
from albertine.errors import ConfigError, DataError, did_you_mean, unknown_name
from albertine.evaluation.spans import (
    GOLD,
    RIGHT,
    span_evidence,
    span_evidence_columns,
    span_metrics,
    span_rankings,
)
from albertine.models.crf import IGNORED
from albertine.records import Encoded, EncodedExamples, Example, IntArray, Prediction, Span
from albertine.tasks.config import TaskConfig, TaskRequest, options_from
from albertine.tasks.lengths import longest_read
from albertine.tasks.span_scores import calibrated, score_metrics, scored_spans, tuned_scores
from albertine.tasks.tagger import (
    Tagged,
    Tagger,
    TaggingOptions,
    answer,
    log_shares,
    loss,
    outputs,
    tags_of,
    tokens_held,
)
from albertine.tasks.tagging_alignment import Placed, Run, foreign_tag_set, inside_word, place_spans
from albertine.tasks.task import Evidence, Task
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["TASK"]

logger = logging.getLogger("albertine")

NAME = "token-classification"

_TORN = 0.001
"""Share of the training spans that may begin or end inside of a word where those of the model never do."""
_CAPITALS = 0.5
"""From this share of training spans with a capital letter on, a tokenizer that lower-cases is worth a warning."""
_SHOWN = 5
"""Spans shown in a warning."""


def prepare(examples: Sequence[Example], request: TaskRequest) -> TaskConfig:
    """Fix types, maximum length, and whether spans end between words, from the training examples.

    Raises:
        DataError: no examples, one whose spans are not known, no span in any of them, or pairs of texts.
        ConfigError: a maximum length beyond the encoder's positions, or class weights.
    """
    if not examples:
        raise DataError("there are no training examples", next_step="Look at the file with: albertine data check FILE")
    if request.class_weights != "none":
        raise ConfigError("spans have no class weights", where="class_weights", received=request.class_weights)
    _check_single(examples)
    found = {span.label for spans in _gold(examples) for span in spans}
    labels = tuple(request.labels) if request.labels is not None else tuple(sorted(found))
    if not found:
        raise DataError(
            "the training examples have no spans, there is nothing to learn",
            where=examples[0].file or None,
            next_step="Look at the tags with: albertine data check FILE",
        )
    _check_labels(examples, labels)
    known = span_rankings(labels)
    if request.main_metric is not None and request.main_metric not in known:
        raise unknown_name("metric", request.main_metric, known)
    options = options_from(TaggingOptions, request.options, task=NAME)
    if options.tags is not None:
        raise ConfigError("these tags are another program's", where="tags", next_step="Choose a scheme instead")
    if options.whole_words is None:
        options = replace(options, whole_words=_ends_between_words(examples))
    if request.tokenizer is not None and request.tokenizer.lowercase:
        _warn_of_lowercase(examples)
    return TaskConfig(
        task=NAME,
        labels=labels,
        max_length=longest_read(examples, request, becomes="read in windows"),
        overlap=request.overlap,
        main_metric=request.main_metric,
        max_error=request.max_error,
        options=options,
    )


def _ends_between_words(examples: Sequence[Example]) -> bool:
    """Say whether the spans begin and end between words, but for a few slips."""
    torn = total = 0
    for example in examples:
        inside = inside_word(example.text) if example.spans else None
        for span in example.spans or ():
            assert inside is not None
            total += 1
            torn += bool(inside[span.start] or inside[span.end])
    whole = torn <= _TORN * total
    logger.info(
        "%d of %d training spans begin or end inside of a word: %s",
        torn,
        total,
        "so will no span that is found" if whole else "so may spans that are found",
    )
    return whole


def _warn_of_lowercase(examples: Sequence[Example]) -> None:
    spans = [span.text for example in examples for span in example.spans or ()]
    capitals = sum(text != text.lower() for text in spans)
    if capitals >= _CAPITALS * len(spans):
        logger.warning(
            "%d of %d training spans have capital letters, and the tokenizer writes everything in small ones: "
            "a cased encoder would see more of what makes a name",
            capitals,
            len(spans),
        )


def check_inputs(examples: Sequence[Example], task_config: TaskConfig) -> None:
    """Make sure that all examples are single texts.

    Raises:
        DataError: one of them is a pair.
    """
    del task_config
    _check_single(examples)


def encode(
    tokenizer: Tokenizer, examples: Sequence[Example], task_config: TaskConfig, *, labelled: bool
) -> EncodedExamples:
    """Turn examples into token ids, texts that are too long as windows, and their spans into a tag a token.

    Special tokens, and the tokens of a window that another one has more context for, are not to be predicted. Spans
    that do not end where tokens do are learnt as the tokens that hold them, and a warning lists them.

    Raises:
        DataError: a type that the task does not know, spans that are not known, or pairs of texts.
    """
    _check_single(examples)
    tokens = tokenizer.tokenize([example.text for example in examples])
    targets: list[IntArray] | None = None
    if labelled:
        _check_labels(examples, task_config.labels)
        lost: list[tuple[Example, Placed]] = []
        targets = [
            _target(row, example, task_config, lost) for row, example in zip(tokens.rows(), examples, strict=True)
        ]
        _warn_of_lost(lost, sum(len(spans) for spans in _gold(examples)))
    encoded = encoded_examples(
        tokens, max_length=task_config.max_length, overlap=task_config.shared_tokens, targets=targets
    )
    return replace(encoded, items=tuple(_owned_targets(one) for one in encoded)) if labelled else encoded


def _target(row: Encoded, example: Example, task_config: TaskConfig, lost: list[tuple[Example, Placed]]) -> IntArray:
    """Return the tag of every token of a whole text, [T]; spans that are not exactly tokens are added to `lost`."""
    target = np.full(len(row), IGNORED, dtype=np.int64)
    assert row.offsets is not None, "offsets were asked for"
    offsets = row.offsets[1:-1]
    held = tokens_held(example, offsets, task_config)
    placed = place_spans(example.text, offsets, held, example.spans or ())
    lost += [(example, one) for one in placed if not one.exact]
    runs = [Run(*one.tokens, task_config.labels.index(one.span.label)) for one in placed if one.tokens is not None]
    target[1:-1] = tags_of(task_config).tags(runs, len(offsets))
    return target


def _owned_targets(window: Encoded) -> Encoded:
    if window.owned is None or window.target is None:
        return window
    return replace(window, target=np.where(window.owned, window.target, IGNORED))


def _warn_of_lost(lost: Sequence[tuple[Example, Placed]], total: int) -> None:
    if not lost:
        return
    shown = [
        f"{example.where or 'a text'}: {one.span.text!r}" + ("" if one.tokens else " (not learnt)")
        for example, one in lost[:_SHOWN]
    ]
    logger.warning(
        "%d of %d spans do not begin and end where tokens do and can never be found exactly; they are learnt as the "
        "tokens that hold them, but for %d without tokens of their own: %s%s",
        len(lost),
        total,
        sum(one.tokens is None for _, one in lost),
        "; ".join(shown),
        " …" if len(lost) > _SHOWN else "",
    )


def decode(answers: Sequence[Tagged], examples: Sequence[Example], task_config: TaskConfig) -> list[Prediction]:
    """Return the spans of every example, with calibrated scores; those below the threshold are kept back."""
    del examples  # the spans have their text
    predictions = []
    for one in answers:
        scores = calibrated(np.array([span.score for span in one.spans]), task_config).tolist()
        spans = [replace(span, score=score) for span, score in zip(one.spans, scores, strict=True)]
        kept = tuple(span for span in spans if span.score >= (task_config.abstain_below or 0.0))
        predictions.append(Prediction(spans=kept, abstained=len(kept) < len(spans)))
    return predictions


def score(answers: Sequence[Tagged], examples: Sequence[Example], task_config: TaskConfig) -> dict[str, float]:
    """Return f1, precision, recall, macro F1, F1 of every type, and more that is good to know.

    `unrepresentable` is the share of the data's spans that tokens cannot say; they count as missed. `ece` is how far
    the scores of spans are from the share of right ones. All spans found count, those that a threshold keeps back too;
    `coverage` and `answered_error` say how many of them it leaves, and how many of those are wrong.

    Raises:
        DataError: no examples, one whose spans are not known, or a type that the task does not know.
    """
    found = evidence(answers, examples, task_config)
    metrics = span_metrics(found, task_config.labels)
    gold = found[:, GOLD].sum()
    lost = sum(len(one.unrepresentable) for one in answers)
    metrics["unrepresentable"] = float(lost / gold) if gold else 0.0
    scored = scored_spans([one.spans for one in answers], _gold(examples))
    return {**metrics, **score_metrics(scored, task_config)}


def evidence(answers: Sequence[Tagged], examples: Sequence[Example], task_config: TaskConfig) -> Evidence:
    """Return [N, 3 + 3C]: the spans in both, in the data and found, of all types and of each.

    Raises:
        DataError: an example whose spans are not known, or a type that the task does not know.
    """
    _check_labels(examples, task_config.labels)
    return span_evidence(_gold(examples), [one.spans for one in answers], task_config.labels)


def did_not_learn(evidence: Evidence, task_config: TaskConfig) -> bool:
    """Say whether not one span was found."""
    del task_config
    return not evidence[:, RIGHT].any()


def tune(answers: Sequence[Tagged], examples: Sequence[Example], task_config: TaskConfig) -> TaskConfig:
    """Fit the temperature of scores, and where an error rate is wanted the score below which spans are kept back."""
    return tuned_scores(scored_spans([one.spans for one in answers], _gold(examples)), task_config)


def head(task_config: TaskConfig) -> TaskHead | None:
    """Return the head of transformers' ForTokenClassification; none with a CRF, which it does not have."""
    if task_config.own(TaggingOptions).crf:
        return None
    return TaskHead(task=NAME, labels=tags_of(task_config).names, module="classifier")


def adopt(head: TaskHead, positions: int) -> TaskConfig:
    """Return the configuration of a head that another program trained; its tags may follow on each other as they like.

    Raises:
        ConfigError: it gives no tags of spans.
    """
    labels = foreign_tag_set(head.labels).labels
    return TaskConfig(task=NAME, labels=labels, max_length=positions, options=TaggingOptions(tags=head.labels))


def _gold(examples: Sequence[Example]) -> list[tuple[Span, ...]]:
    """Return the spans of every example.

    Raises:
        DataError: those of one are not known.
    """
    spans: list[tuple[Span, ...]] = []
    for example in examples:
        if example.spans is None:
            raise DataError("a row does not say its spans", where=example.where, allowed="spans, none of them maybe")
        spans.append(example.spans)
    return spans


def _check_labels(examples: Sequence[Example], labels: Sequence[str]) -> None:
    known = set(labels)
    for example, spans in zip(examples, _gold(examples), strict=True):
        for span in spans:
            if span.label not in known:
                raise DataError(
                    "a type of span that the training data does not have",
                    where=example.where,
                    received=repr(span.label),
                    allowed=", ".join(labels),
                    next_step=did_you_mean(span.label, labels)
                    or "Correct the row, or train on data that has this type",
                )


def _check_single(examples: Sequence[Example]) -> None:
    for place, example in enumerate(examples):
        if example.text_pair is not None:
            raise DataError(
                "the model reads single texts",
                where=example.where or f"text {place}",
                received="a pair of texts",
                next_step="Give one text an input",
            )


TASK = Task(
    name=NAME,
    format=lambda options: TAGGED_TEXTS,
    options=TaggingOptions,
    prepare=prepare,
    check_inputs=check_inputs,
    encode=encode,
    build=Tagger,
    loss=loss,
    outputs=outputs,
    answer=answer,
    decode=decode,
    score=score,
    evidence=evidence,
    evidence_columns=lambda config: span_evidence_columns(config.labels),
    metrics=lambda config: span_rankings(config.labels),
    main_metric="f1",
    ranking_metric=lambda config, label_counts, measured: "f1",
    did_not_learn=did_not_learn,
    tune=tune,
    log_shares=log_shares,
    head=head,
    adopt=adopt,
)
"""The record of this task."""
