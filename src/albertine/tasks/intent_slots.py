"""Intent and slots: what a request is about, and the pieces of it that matter for that, in one model.

One label a text, as in text classification, and labelled spans of it, as in token classification; the functions of both
tasks are used. N examples, C intents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from albertine.data.intents import INTENTS_AND_SLOTS
from albertine.errors import DataError, unknown_name
from albertine.evaluation.frames import (
    FRAME_COLUMNS,
    INTENT_COLUMNS,
    frame_evidence,
    frame_metrics,
    frame_rankings,
)
from albertine.evaluation.metrics import expected_calibration_error
from albertine.evaluation.spans import RIGHT
from albertine.records import Encoded, EncodedExamples, Example, IntArray, Prediction, Span
from albertine.tasks import text_classification, token_classification
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.classification_problems import PROBLEMS, label_indices, probabilities_of
from albertine.tasks.config import TaskConfig, TaskRequest, options_from
from albertine.tasks.intent_slots_module import (
    Frame,
    IntentSlotsOptions,
    IntentSlotTagger,
    answer,
    intent_part,
    log_shares,
    loss,
    outputs,
    slot_part,
)
from albertine.tasks.silence import with_silence
from albertine.tasks.tagger import TaggingOptions
from albertine.tasks.task import Evidence, FloatArray, Task
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["TASK"]

NAME = "intent-slots"
_INTENTS, _SLOTS = text_classification.TASK, token_classification.TASK


def prepare(examples: Sequence[Example], request: TaskRequest) -> TaskConfig:
    """Fix intents, types of slots, maximum length and weights from the training examples.

    Raises:
        DataError: no examples, one intent only, no slot in any of them, a row without an intent or that does not say
            its slots, or pairs of texts.
        ConfigError: a maximum length beyond the encoder's positions, or weights that do not fit the intents.
    """
    asked = options_from(IntentSlotsOptions, request.options, task=NAME)
    known = frame_rankings(1)
    if request.main_metric is not None and request.main_metric not in known:
        raise unknown_name("metric", request.main_metric, known)
    alone = replace(request, main_metric=None, max_error=None)
    slots = _SLOTS.prepare(
        examples,
        replace(
            alone,
            labels=asked.slots,
            class_weights="none",
            options={"scheme": asked.scheme, "crf": asked.crf, "whole_words": asked.whole_words},
        ),
    )
    # the length has been measured
    intents = _INTENTS.prepare(
        examples,
        replace(alone, tokenizer=None, max_length=None, overlap=None, options={"class_weights": asked.class_weights}),
    )
    options = replace(
        asked,
        slots=slots.labels,
        whole_words=slots.own(TaggingOptions).whole_words,
        class_weights=intents.own(ClassificationOptions).class_weights,
    )
    return TaskConfig(
        task=NAME,
        labels=intents.labels,
        max_length=slots.max_length,
        overlap=slots.overlap,
        main_metric=request.main_metric,
        max_error=request.max_error,
        options=options,
    )


def encode(
    tokenizer: Tokenizer, examples: Sequence[Example], task_config: TaskConfig, *, labelled: bool
) -> EncodedExamples:
    """Turn examples into token ids, texts that are too long as windows.

    The target is that of token classification, with the intent in the place of [CLS].

    Raises:
        DataError: an intent or a type of slot that the task does not know, rows that do not say them, or pairs.
    """
    encoded = _SLOTS.encode(tokenizer, examples, slot_part(task_config), labelled=labelled)
    if not labelled:
        return encoded
    intents = label_indices(examples, task_config.labels).tolist()
    return replace(encoded, items=tuple(_with_intent(one, intents[one.example]) for one in encoded))


def _with_intent(one: Encoded, intent: int) -> Encoded:
    assert one.target is not None, "tags were asked for"
    target = one.target.copy()
    target[0] = intent
    return replace(one, target=target)


def probabilities(answers: Sequence[Frame], task_config: TaskConfig) -> FloatArray:
    """Return the calibrated probability of every intent, [N, C]."""
    return probabilities_of(_matrix(answers, task_config), intent_part(task_config))


def decode(answers: Sequence[Frame], examples: Sequence[Example], task_config: TaskConfig) -> list[Prediction]:
    """Return the most probable intent of every example, with its calibrated probability, and its slots.

    Where the intent is less probable than the threshold the model keeps silent; the slots are given either way.
    """
    intents = _INTENTS.decode([one.intents for one in answers], examples, intent_part(task_config))
    return [replace(intent, spans=one.slots.spans) for intent, one in zip(intents, answers, strict=True)]


def score(answers: Sequence[Frame], examples: Sequence[Example], task_config: TaskConfig) -> dict[str, float]:
    """Return the metrics of `frame_metrics`, and more that is good to know.

    An intent or a type of slot that training did not have is answered wrongly whatever the answer: `unknown_intents`
    is the share of such examples, `unknown_slots` that of such slots, `unrepresentable` that of slots which tokens
    cannot say. `ece` is how far the probabilities of intents are from the share of right ones; with a threshold,
    `coverage` says how many are answered and `answered_error` how many of those wrongly.

    Raises:
        DataError: no examples, or one that does not say its intent and its slots.
    """
    found = evidence(answers, examples, task_config)
    in_data, slots = _gold_slots(examples), [one.slots.spans for one in answers]
    metrics = frame_metrics(found, task_config.labels, in_data, slots)
    taught = set(task_config.own(IntentSlotsOptions).slots or ())
    types = [span.label not in taught for spans in in_data for span in spans]
    metrics["unknown_slots"] = float(np.mean(types)) if types else 0.0
    lost = sum(len(one.slots.unrepresentable) for one in answers)
    metrics["unrepresentable"] = lost / len(types) if types else 0.0
    gold = _gold_intents(examples, task_config.labels)
    shares = probabilities(answers, task_config).astype(np.float64)
    metrics["ece"] = expected_calibration_error(gold, shares)
    if task_config.temperature is not None:
        before = probabilities(answers, replace(task_config, temperature=None)).astype(np.float64)
        metrics["ece_uncalibrated"] = expected_calibration_error(gold, before)
    if task_config.abstain_below is not None:
        answered = shares.max(axis=1) >= task_config.abstain_below
        wrong = (shares.argmax(axis=1) != gold)[answered]
        metrics["coverage"] = float(answered.mean())
        metrics["answered_error"] = float(wrong.mean()) if len(wrong) else 0.0
    return metrics


def evidence(answers: Sequence[Frame], examples: Sequence[Example], task_config: TaskConfig) -> Evidence:
    """Return [N, 6], the columns of `FRAME_COLUMNS`.

    Raises:
        DataError: an example does not say its intent and its slots.
    """
    return frame_evidence(
        _gold_intents(examples, task_config.labels),
        probabilities(answers, task_config),
        _gold_slots(examples),
        [one.slots.spans for one in answers],
    )


def did_not_learn(evidence: Evidence, task_config: TaskConfig) -> bool:
    """Say whether not one slot was found, and always answering the most frequent intent would have been as good."""
    slots = evidence[:, INTENT_COLUMNS.stop + RIGHT]
    return not slots.any() and PROBLEMS["single"].did_not_learn(evidence[:, INTENT_COLUMNS], task_config)


def tune(answers: Sequence[Frame], examples: Sequence[Example], task_config: TaskConfig) -> TaskConfig:
    """Fit the temperature of the intents, and the confidence below which the model keeps silent.

    Intents that training did not have say nothing of the temperature; answers to them are wrong ones for the latter.
    """
    gold = _gold_intents(examples, task_config.labels)
    known = np.flatnonzero(gold < len(task_config.labels)).tolist()
    assert _INTENTS.tune is not None, "text classification has a temperature"
    fitted = _INTENTS.tune(
        [answers[place].intents for place in known],
        [examples[place] for place in known],
        replace(intent_part(task_config), max_error=None),
    )
    tuned = replace(task_config, temperature=fitted.temperature)
    shares = probabilities(answers, tuned)
    return with_silence(shares.max(axis=1), shares.argmax(axis=1) == gold, tuned)


def _matrix(answers: Sequence[Frame], task_config: TaskConfig) -> FloatArray:
    if not answers:
        return np.zeros((0, len(task_config.labels)), dtype=np.float32)
    return np.stack([one.intents for one in answers])


def _gold_intents(examples: Sequence[Example], labels: Sequence[str]) -> IntArray:
    """Return the index of every example's intent, [N]; C for one that the task does not know.

    Raises:
        DataError: an example has no intent.
    """
    known = {*labels, None}
    gold = np.full(len(examples), len(labels), dtype=np.int64)
    places = [place for place, example in enumerate(examples) if example.label in known]
    gold[places] = label_indices([examples[place] for place in places], labels)
    return gold


def _gold_slots(examples: Sequence[Example]) -> list[tuple[Span, ...]]:
    slots: list[tuple[Span, ...]] = []
    for example in examples:
        if example.spans is None:
            raise DataError("a row does not say its slots", where=example.where, allowed="slots, none of them maybe")
        slots.append(example.spans)
    return slots


TASK = Task(
    name=NAME,
    options=IntentSlotsOptions,
    format=lambda options: INTENTS_AND_SLOTS,
    prepare=prepare,
    check_inputs=_SLOTS.check_inputs,
    encode=encode,
    build=IntentSlotTagger,
    loss=loss,
    outputs=outputs,
    answer=answer,
    decode=decode,
    score=score,
    evidence=evidence,
    evidence_columns=lambda config: FRAME_COLUMNS,
    metrics=lambda config: frame_rankings(len(config.labels)),
    main_metric="exact",
    ranking_metric=lambda config, label_counts, measured: "exact",
    did_not_learn=did_not_learn,
    probabilities=probabilities,
    tune=tune,
    log_shares=log_shares,
)
"""The record of this task."""
