"""Sentence similarity: a number for two texts, from the cosine of their vectors or from a look at both together.

A bi-encoder gives every text a vector of its own (Reimers and Gurevych 2019, arXiv:1908.10084), so that vectors can be
kept and searched; a cross-encoder reads both texts at once, sees more, and has to read every pair anew.

Shapes: N pairs, M texts, W width of a vector. A bi-encoder's target says which text of an example a window is of.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from albertine.batching.windows import encoded_examples
from albertine.data.formats import DataFormat
from albertine.data.scored_pairs import scored_pairs, text_key
from albertine.errors import DataError, unknown_name
from albertine.evaluation.correlation import (
    GOLD_VALUE,
    PREDICTED_VALUE,
    average_precision,
    best_threshold,
    decision_metrics,
    pearson,
    spearman,
)
from albertine.evaluation.ranking import partner_ranks, rank_metrics
from albertine.models.body import BodyConfig, build_body
from albertine.models.config import EncoderConfig
from albertine.models.contrastive import FIRST, SECOND, batch_loss, joined_windows
from albertine.models.encoder import EncoderOutput
from albertine.models.pooling import SentencePooler, SentencePooling
from albertine.records import Batch, Encoded, EncodedExamples, Example, Prediction
from albertine.tasks.certainty import by_movement
from albertine.tasks.classifier import Classifier
from albertine.tasks.config import TaskConfig, TaskOptions, TaskRequest, options_from
from albertine.tasks.lengths import longest_read
from albertine.tasks.similarity_metrics import RANK, belonging, did_not_learn, ranking_metric, similarity_rankings
from albertine.tasks.similarity_options import (
    SimilarityOptions,
    fitted_to_scores,
    fitted_to_texts,
    measured_range,
    score_share,
    texts_of,
    with_dropout,
)
from albertine.tasks.task import Evidence, FloatArray, LossPart, Solving, Task, text_rows
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["TASK", "BiEncoder", "SimilarityAnswer", "sentence_pooling"]

logger = logging.getLogger("albertine")

NAME = "sentence-similarity"

_MILLION = 1_000_000
"""The target of a bi-encoder's text holds its example's value in millionths of the way from the lowest to the highest
score, after its role in the example and a number that equal texts share: [1, 3] int64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityAnswer:
    """What a model says of two texts."""

    similarity: float
    """The cosine, or a cross-encoder's output between 0 and 1; NaN where there is no second text."""
    vectors: tuple[FloatArray, FloatArray] | None = None
    """Both texts' vectors, [W] each, where the partner is looked for among others."""


Answers = Sequence[SimilarityAnswer]


class BiEncoder(nn.Module):
    """An encoder (or what stands in its place) that gives one vector a text.

    Args:
        config: of the body; `SimilarityOptions.encoder_dropout` takes the place of its own.
        task_config: for the pooling and what the loss needs.
    """

    def __init__(self, config: BodyConfig, task_config: TaskConfig) -> None:
        super().__init__()
        self.options = task_config.own(SimilarityOptions)
        self.pooling: SentencePooler | None = None
        if isinstance(config, EncoderConfig):
            config = with_dropout(config, self.options)
            self.pooling = SentencePooler(sentence_pooling(task_config), config.hidden_size)
        self.body = build_body(config)

    def forward(self, batch: Batch) -> Tensor:
        """Return the vector of every text, or window of one, [M, W] float32; a body that pools itself does."""
        output: EncoderOutput = self.body(
            batch.input_ids,
            attention_mask=batch.attention_mask,
            token_type_ids=batch.token_type_ids,
            sequence_starts=batch.sequence_starts,
            position_ids=batch.position_ids,
        )
        if self.pooling is None:
            assert output.pooler_output is not None, "a baseline pools"
            return output.pooler_output.float()
        vectors: Tensor = self.pooling(
            output.last_hidden_state, attention_mask=batch.attention_mask, sequence_starts=batch.sequence_starts
        )
        return vectors


def sentence_pooling(task_config: TaskConfig) -> SentencePooling:
    """Return how a trained bi-encoder makes a text's vector, for those who use its encoder by itself."""
    return SentencePooling(modes=(task_config.own(SimilarityOptions).pooling,), max_length=task_config.max_length)


def prepare(examples: Sequence[Example], request: TaskRequest) -> TaskConfig:
    """Find the range of the scores, the loss that suits the data and the maximum length.

    Raises:
        DataError: no examples, a pair without a score, one outside the stated range, nothing to tell apart, or pairs
            beside single texts.
        ConfigError: an option that does not fit the data or the body.
    """
    if not examples:
        raise DataError("there are no training examples", next_step="Look at the file with: albertine data check FILE")
    options = options_from(SimilarityOptions, request.options, task=NAME)
    alone = examples[0].text_pair is None
    for one in examples:
        if (one.text_pair is None) != alone:
            raise DataError("pairs and texts alone do not mix", where=one.where)
        if not alone:
            score_share(one, options)  # raises where there is no score
    options = fitted_to_texts(options, request) if alone else fitted_to_scores(examples, options)
    positive = not alone and all(one.value == options.highest for one in examples)
    # what reads texts whole has no vectors, by which a partner is found
    chosen = request.main_metric or ("mrr" if positive and request.body is not None else None)
    if chosen is not None and chosen not in (known := similarity_rankings(options)):
        raise unknown_name("metric", chosen, known)
    if request.body is not None:
        logger.info("%s trained with the %s loss", options.architecture, options.loss)
    read = examples
    if options.architecture == "bi-encoder":  # every text is read by itself
        texts = [one.text for one in examples] + [one.text_pair for one in examples if one.text_pair is not None]
        read = [Example(text=text) for text in texts]
    return TaskConfig(
        task=NAME,
        max_length=longest_read(read, request, becomes="read in windows" if options.long_texts == "windows" else "cut"),
        overlap=request.overlap,
        pairs=True,
        main_metric=chosen,
        options=options,
    )


def check_inputs(examples: Sequence[Example], task_config: TaskConfig) -> None:
    """Make sure that all examples are pairs.

    Raises:
        DataError: one is not.
    """
    for place, one in enumerate(examples):
        if one.text_pair is None:
            raise DataError(
                "similarity needs two texts",
                where=one.where or f"text {place}",
                next_step="Give every input its second text",
            )


def encode(
    tokenizer: Tokenizer, examples: Sequence[Example], task_config: TaskConfig, *, labelled: bool
) -> EncodedExamples:
    """Turn pairs into token ids: a bi-encoder's texts each by itself, a cross-encoder's pairs as one.

    With the contrastive loss, training texts that are said not to belong to a first text stand beside its partners as
    hard negatives, and once by themselves, where they are negatives for all; a text alone is its own partner.

    Raises:
        DataError: with `labelled`, a pair without a score.
    """
    options = task_config.own(SimilarityOptions)
    limit = None if options.long_texts == "windows" else task_config.max_length
    values = [score_share(one, options) if labelled and one.text_pair is not None else None for one in examples]
    if options.architecture == "cross-encoder":
        check_inputs(examples, task_config)
        pairs = [one.text for one in examples], [one.text_pair or "" for one in examples]
        return encoded_examples(
            tokenizer.tokenize(*pairs, max_length=limit, offsets=False),
            max_length=task_config.max_length,
            overlap=task_config.shared_tokens,
            targets=[np.array([value], dtype=np.float32) for value in values] if labelled else None,
        )
    given = texts_of(examples, options, contrasted=labelled and options.loss == "contrastive")
    owners = [place for place, texts in enumerate(given) for _ in texts]
    flat = [one for texts in given for one in texts]
    units = [-1 if value is None else round(value * _MILLION) for value in values]
    keys = [int.from_bytes(text_key(one.text)[:8], "big", signed=True) for one in flat]
    found = encoded_examples(
        tokenizer.tokenize([one.text for one in flat], max_length=limit, offsets=False),
        max_length=task_config.max_length,
        overlap=task_config.shared_tokens,
        targets=[np.array([[one.role, key, units[owner]]]) for one, key, owner in zip(flat, keys, owners, strict=True)],
    )
    items = [replace(item, example=owners[item.example]) for item in found]
    cut = np.unique(np.array(owners, dtype=np.int64)[found.truncated])
    return EncodedExamples.windows(items, len(examples), truncated=cut)


def build(config: BodyConfig, task_config: TaskConfig) -> nn.Module:
    """Build a bi-encoder, or a classifier with one output for a cross-encoder."""
    if task_config.own(SimilarityOptions).architecture == "cross-encoder":
        return Classifier(config, TaskConfig(task=NAME))
    return BiEncoder(config, task_config)


def loss(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
    """Return the loss that the training was prepared for, summed over pairs.

    The contrastive and the cosent loss compare the texts of a batch with each other, so that its size is part of what
    is learnt, and a step cut into several batches compares less than one of the same size in one piece.
    """
    assert batch.labels is not None, "the loss needs targets"
    if not isinstance(module, BiEncoder):
        outputs, wanted = _by_example(module(batch).float()[:, 0], batch.labels, batch.groups)
        total = functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="sum")
        return {"cross-entropy": LossPart(total=total, weight=total.new_tensor(len(wanted)))}
    options, kind = module.options, module.options.loss
    assert kind == "contrastive" or kind == "cosent" or kind == "squared-error", "the training was prepared"
    texts = joined_windows(module(batch), batch.labels, batch.groups)
    total = batch_loss(texts, kind, scale=options.scale, symmetric=options.symmetric, unit=_MILLION)
    return {kind: LossPart(total=total, weight=total.new_tensor(int((texts.roles == FIRST).sum())))}


def _by_example(outputs: Tensor, targets: Tensor, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the mean output of every example over its windows, [N], and its target."""
    if groups is None:
        return outputs, targets
    counts = torch.bincount(groups).to(outputs.dtype)
    sums = outputs.new_zeros(len(counts)).index_add(0, groups, outputs)
    return sums / counts, targets.new_zeros(len(counts)).index_copy(0, groups, targets)


def answer(
    outputs: Sequence[FloatArray], windows: Sequence[Encoded], example: Example, task_config: TaskConfig
) -> SimilarityAnswer:
    """Return what is said of one pair, of long texts by the mean over their windows."""
    options = task_config.own(SimilarityOptions)
    if options.architecture == "cross-encoder":
        logit = float(np.mean(np.stack(outputs)))
        return SimilarityAnswer(similarity=(1 + math.tanh(logit / 2)) / 2)
    roles = np.array([one.target[0, 0] for one in windows if one.target is not None])
    if SECOND not in roles:
        return SimilarityAnswer(similarity=math.nan)
    sides = [np.stack(outputs)[roles == side].mean(axis=0) for side in (FIRST, SECOND)]
    first, second = (one / max(float(np.linalg.norm(one)), 1e-12) for one in sides)
    kept = options.loss == "contrastive"  # the partner is looked for among all others
    return SimilarityAnswer(similarity=float(first @ second), vectors=(first, second) if kept else None)


def _scores(answers: Answers, options: SimilarityOptions) -> Evidence:
    """Return [N] predicted scores in the data's own range, which they may leave."""
    shares = np.array([one.similarity for one in answers], dtype=np.float64) * options.slope + options.intercept
    return options.lowest + (options.highest - options.lowest) * shares


def decode(answers: Answers, examples: Sequence[Example], task_config: TaskConfig) -> list[Prediction]:
    """Return the score of every pair, in the range of the training data."""
    options = task_config.own(SimilarityOptions)
    values = np.clip(_scores(answers, options), options.lowest, options.highest)
    return [Prediction(value=value) for value in values.tolist()]


def score(answers: Answers, examples: Sequence[Example], task_config: TaskConfig) -> dict[str, float]:
    """Return Spearman's and Pearson's correlation, and what else the scores allow.

    Where they say yes or no: average precision, and accuracy and F1 once a threshold was fitted. Where the partner was
    looked for (see `RANK`): mean reciprocal rank, and the shares found first and among the first ten.

    Raises:
        DataError: no examples, or one without a score.
    """
    if not examples:
        raise DataError("there are no examples to evaluate on", next_step="Give a file with scored pairs")
    options = task_config.own(SimilarityOptions)
    rows = evidence(answers, examples, task_config)
    gold, predicted, ranks = rows[:, GOLD_VALUE], rows[:, PREDICTED_VALUE], rows[:, RANK]
    found = {"spearman": spearman(gold, predicted), "pearson": pearson(gold, predicted)}
    relevant = belonging(gold, options)
    if relevant.any() and not relevant.all() and (gold[~relevant] == options.lowest).all():
        found["average_precision"] = average_precision(relevant, predicted)
        if options.threshold is not None:
            found |= decision_metrics(relevant, predicted, options.threshold)
    return found | (rank_metrics(ranks[ranks > 0]) if ranks.any() else {})


def evidence(answers: Answers, examples: Sequence[Example], task_config: TaskConfig) -> Evidence:
    """Return [N, 3]: the score in the data, the predicted one, and the partner's rank (see `RANK`).

    Raises:
        DataError: an example without a score.
    """
    options = task_config.own(SimilarityOptions)
    for one in examples:
        if one.value is None or one.text_pair is None:
            raise DataError(
                "a model is measured on pairs with a score",
                where=one.where,
                next_step="Give scored pairs, for instance with --dev and --test",
            )
    gold = np.array([one.value for one in examples], dtype=np.float64)
    ranks = np.zeros(len(examples))
    vectors = [one.vectors for one in answers if one.vectors is not None]
    if vectors:
        firsts, seconds = (np.stack([pair[side] for pair in vectors]) for side in (FIRST, SECOND))
        keys = [[text_key(text) for text in (one.text, one.text_pair or "")] for one in examples]
        wanted = belonging(gold, options)
        ranks[wanted] = partner_ranks(firsts, seconds, [key for key, _ in keys], [key for _, key in keys], wanted)
    return np.stack([gold, _scores(answers, options).round(6), ranks], axis=1)


def tune(answers: Answers, examples: Sequence[Example], task_config: TaskConfig) -> TaskConfig:
    """Fit the line from cosines to scores, by least squares, and the threshold where scores say yes or no."""
    options = measured_range(task_config.own(SimilarityOptions), examples)
    gold = np.array([score_share(one, options) for one in examples], dtype=np.float64)
    found = np.array([one.similarity for one in answers], dtype=np.float64)
    if not np.isfinite(found).all() or np.ptp(gold) == 0 or np.ptp(found.round(6)) == 0:
        return task_config
    if options.architecture == "bi-encoder":
        slope, intercept = np.polyfit(found, gold, 1).tolist()
        if slope > 0:
            options = replace(options, slope=slope, intercept=intercept)
    if np.isin(gold, (0.0, 1.0)).all():
        options = replace(options, threshold=best_threshold(gold == 1.0, _scores(answers, options)))
    return replace(task_config, options=options)


def _baselines(options: TaskOptions, measured: Sequence[Example]) -> tuple[str, ...]:
    """Return what can answer with a score; what has no vectors finds no partners."""
    sought = bool(measured) and ranking_metric(TaskConfig(task=NAME, options=options), {}, measured) == "mrr"
    return ("bilstm",) if sought else ("overlap", "bilstm")


def _solver_targets(examples: Sequence[Example], task_config: TaskConfig) -> npt.NDArray[np.float64]:
    """Return [N] shares of the way from the lowest to the highest score; texts alone all belong to themselves."""
    options = task_config.own(SimilarityOptions)
    return np.array([1.0 if one.text_pair is None else score_share(one, options) for one in examples])


def _format(options: TaskOptions) -> DataFormat:
    stated = options.score_range if isinstance(options, SimilarityOptions) else None
    return scored_pairs() if stated is None else scored_pairs(*stated)


TASK = Task(
    name=NAME,
    options=SimilarityOptions,
    format=_format,
    prepare=prepare,
    check_inputs=check_inputs,
    encode=encode,
    build=build,
    loss=loss,
    outputs=lambda module, batch, config: text_rows(module(batch)),
    answer=answer,
    decode=decode,
    score=score,
    evidence=evidence,
    evidence_columns=lambda config: ("gold_value", "predicted_value", "rank"),
    metrics=lambda config: similarity_rankings(config.own(SimilarityOptions)),
    main_metric="spearman",
    ranking_metric=ranking_metric,
    did_not_learn=did_not_learn,
    tune=tune,
    certainty=lambda before, found, config: by_movement(before, found),
    baselines=_baselines,
    solving=Solving(
        targets=_solver_targets,
        answers=lambda outputs, config: [SimilarityAnswer(similarity=one) for one in outputs[:, 0].tolist()],
    ),
)
"""The record of this task."""
