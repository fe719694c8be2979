"""Sequence to sequence: a text is written about every text, such as its translation, summary or title.

N texts. A source is `[CLS] text [SEP]`; a target is `[CLS] text [SEP]` too, of which the decoder reads all but the last
token and predicts all but the first.
"""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from albertine.data.translations import TRANSLATIONS
from albertine.errors import ConfigError, DataError, unknown_name
from albertine.evaluation.generation import (
    CHECKSUM,
    EVIDENCE_COLUMNS,
    generation_evidence,
    generation_metrics,
    generation_rankings,
    refuse_missing_sacrebleu,
    signatures,
)
from albertine.models.generation import Hypothesis, generate
from albertine.models.target_prediction import predict_targets
from albertine.records import Batch, Encoded, EncodedExamples, Example, Prediction, Tokens
from albertine.tasks.config import TaskConfig, TaskRequest, options_from
from albertine.tasks.seq2seq_module import (
    Seq2Seq,
    Seq2SeqOptions,
    SourceText,
    Written,
    encoder_config,
    predicted_tokens,
)
from albertine.tasks.task import Evidence, LossPart, Task
from albertine.tasks.vocabulary import learn_from_texts_and_targets
from albertine.tokenization.pair import target_tokenizer
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["TASK"]

logger = logging.getLogger("albertine")

NAME = "seq2seq"

_SAMPLE = 100_000
"""Training examples whose lengths are measured."""
_CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_CHINESE_SHARE = 0.3
"""From this share of Chinese characters on, targets are Chinese to BLEU."""


def prepare(examples: Sequence[Example], request: TaskRequest) -> TaskConfig:
    """Fix lengths, special tokens and how BLEU counts from the training examples.

    Raises:
        DataError: no examples, one without a target, or pairs of texts.
        ConfigError: a model that cannot write, a length beyond its positions, an unknown metric, or what this task does
            not have (labels, windows).
        MissingDependencyError: sacrebleu, which measures BLEU, is not installed.
    """
    refuse_missing_sacrebleu()
    if not examples:
        raise DataError("there are no training examples", next_step="Look at the file with: albertine data check FILE")
    _refuse_pairs(examples)
    targets = _targets(examples)
    _refuse_foreign(request)
    body = encoder_config(request.body)
    if request.tokenizer is None:
        raise ConfigError("sequence to sequence needs a tokenizer", where="tokenizer")
    target = target_tokenizer(request.tokenizer)
    step = -(-len(examples) // _SAMPLE)
    longest_source = _longest(request.tokenizer, [example.text for example in examples[::step]])
    longest_target = _longest(target, targets[::step])
    max_length = _source_length(longest_source, request.max_length, body.max_position_embeddings)
    own = {
        "max_target_length": min(_rounded(longest_target), body.max_position_embeddings),
        "shared_vocabulary": target is request.tokenizer,
        "target_vocab_size": target.vocab_size,
        "begin_id": target.cls_id,
        "end_id": target.sep_id,
        "forbidden_ids": (target.pad_id, target.unk_id, target.mask_id),
        "bleu_tokenizer": "zh" if _chinese(targets[::step]) else "13a",
    }
    options = options_from(Seq2SeqOptions, {**own, **request.options}, task=NAME)
    logger.info(
        "sources of up to %d tokens are read (the longest has %d), targets of up to %d are learnt (the longest has %d)",
        max_length,
        longest_source,
        options.max_target_length,
        longest_target,
    )
    for name, signature in signatures(options.bleu_tokenizer).items():
        logger.info("%s is measured as %s", name, signature)
    if request.main_metric is not None and request.main_metric not in generation_rankings():
        raise unknown_name("metric", request.main_metric, generation_rankings())
    return TaskConfig(task=NAME, max_length=max_length, main_metric=request.main_metric, options=options)


def check_inputs(examples: Sequence[Example], task_config: TaskConfig) -> None:
    """Make sure that all examples are single texts.

    Raises:
        DataError: a pair of texts.
    """
    del task_config
    _refuse_pairs(examples)


def encode(
    tokenizer: Tokenizer, examples: Sequence[Example], task_config: TaskConfig, *, labelled: bool
) -> EncodedExamples:
    """Turn sources, and with `labelled` their targets, into token ids.

    What is too long is cut at its end, and named in the result. A target that is cut loses its [SEP] too, so that
    nobody learns to stop there.

    Raises:
        DataError: a pair of texts; with `labelled`, an example without a target.
    """
    options = task_config.own(Seq2SeqOptions)
    _refuse_pairs(examples)
    tokens = tokenizer.tokenize(
        [example.text for example in examples], max_length=task_config.max_length, offsets=False
    )
    own, cut = target_tokenizer(tokenizer), tokens.truncated
    targets: list[npt.NDArray[np.int64] | None] = [None] * len(examples)
    if labelled:
        written = own.tokenize(_targets(examples), offsets=False)
        targets = list(_target_ids(written, options.max_target_length))
        cut = np.union1d(cut, np.flatnonzero(written.lengths > options.max_target_length))
    items = [
        SourceText(
            input_ids=row.input_ids, token_type_ids=row.token_type_ids, target=target, example=place, tokenizer=own
        )
        for place, (row, target) in enumerate(zip(tokens.rows(), targets, strict=True))
    ]
    return EncodedExamples.one_each(items, truncated=cut)


def loss(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
    """Return the label-smoothed cross-entropy of the targets' tokens, each of which weighs alike."""
    assert isinstance(module, Seq2Seq), "what this task builds"
    words = module(batch)
    targets = predicted_tokens(batch)
    decoder = module.decoder
    total = predict_targets(words, decoder.table, decoder.bias, targets, smoothing=module.options.label_smoothing)
    return {"target_tokens": LossPart(total=total, weight=total.new_tensor(float(len(targets))))}


def log_shares(module: nn.Module, returned: Tensor, batch: Batch) -> Tensor:
    """Return the log-probability of every word at every predicted place, [P, V], of what the module returned."""
    del batch
    assert isinstance(module, Seq2Seq), "what this task builds"
    scores = functional.linear(returned, module.decoder.table, module.decoder.bias)
    return functional.log_softmax(scores.float(), dim=-1)


def outputs(module: nn.Module, batch: Batch, task_config: TaskConfig) -> list[list[Hypothesis]]:
    """Write about every source of a packed batch: the best texts, as token ids."""
    assert isinstance(module, Seq2Seq), "what this task builds"
    assert batch.sequence_starts is not None, "the engine's batches are packed"
    options = task_config.own(Seq2SeqOptions)
    memory, _ = module.read(batch)
    positions = module.decoder.config.max_position_embeddings
    lengths: list[int] = batch.sequence_starts.diff().tolist()
    keys = [part.tolist() for part in torch.split(batch.input_ids, lengths)] if options.sampling else None
    return generate(
        module.decoder,
        memory,
        lengths,
        limits=[min(options.limit(length), positions - 2) for length in lengths],
        vocabulary=options.vocabulary,
        settings=options,
        keys=keys,
    )


def answer(
    outputs: Sequence[list[Hypothesis]], windows: Sequence[Encoded], example: Example, task_config: TaskConfig
) -> Written:
    """Turn the token ids that were written about a source into text."""
    del example, task_config
    (source,) = windows
    assert isinstance(source, SourceText), "as `encode` made it"
    found: dict[str, float] = {}
    for hypothesis in outputs[0]:
        # other tokens may spell the same text; the first is the best of them
        found.setdefault(source.tokenizer.decode(hypothesis.tokens), hypothesis.token_probability)
    return Written(texts=tuple(found) or ("",), probabilities=tuple(found.values()) or (0.0,))


def decode(answers: Sequence[Written], examples: Sequence[Example], task_config: TaskConfig) -> list[Prediction]:
    """Return the texts; where several were asked for, `scores` has them all, the best first."""
    del examples, task_config
    return [
        Prediction(
            text=one.texts[0],
            score=one.probabilities[0],
            scores=dict(zip(one.texts, one.probabilities, strict=True)) if len(one.texts) > 1 else {},
        )
        for one in answers
    ]


def score(answers: Sequence[Written], examples: Sequence[Example], task_config: TaskConfig) -> dict[str, float]:
    """Return BLEU and chrF (0 to 100), ROUGE-1, -2 and -L, exact matches and the ratio of lengths.

    Raises:
        DataError: no examples, or one without a target.
    """
    return generation_metrics(evidence(answers, examples, task_config))


def evidence(answers: Sequence[Written], examples: Sequence[Example], task_config: TaskConfig) -> Evidence:
    """Return [N, K] of which the metrics are sums and means; the columns are `EVIDENCE_COLUMNS`."""
    written = [one.texts[0] for one in answers]
    return generation_evidence(written, _targets(examples), task_config.own(Seq2SeqOptions).bleu_tokenizer)


def did_not_learn(evidence: Evidence, task_config: TaskConfig) -> bool:
    """Say whether the same text was written about everything."""
    del task_config
    return len(evidence) > 1 and len(np.unique(evidence[:, CHECKSUM])) == 1


def _target_ids(written: Tokens, longest: int) -> list[npt.NDArray[np.int64]]:
    """Return the ids of every target, int64, those that are too long without their end."""
    starts = written.starts.tolist()
    ids = written.ids.astype(np.int64)
    return [ids[start : min(end, start + longest)] for start, end in itertools.pairwise(starts)]


def _targets(examples: Sequence[Example]) -> list[str]:
    targets = []
    for place, example in enumerate(examples):
        if example.target is None or not example.target.strip():
            raise DataError(
                "a source has no target",
                where=example.where or f"text {place}",
                next_step="Give every row its target, or leave the row out",
            )
        targets.append(example.target)
    return targets


def _refuse_pairs(examples: Sequence[Example]) -> None:
    for place, example in enumerate(examples):
        if example.text_pair is not None:
            raise DataError(
                "the model reads single texts",
                where=example.where or f"text {place}",
                received="a pair of texts",
                next_step="Give one text an input",
            )


def _refuse_foreign(request: TaskRequest) -> None:
    """Refuse what makes no sense here, instead of passing over it."""
    for name, asked in (
        ("labels", request.labels is not None),
        ("class_weights", request.class_weights != "none"),
        ("overlap", request.overlap is not None),
        ("max_error", request.max_error is not None),
    ):
        if asked:
            raise ConfigError(
                "sequence to sequence has no labels, windows or right and wrong answers that this could be said of",
                where=name,
                received=str(getattr(request, name)),
                next_step="Leave it out",
            )


def _longest(tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    return int(tokenizer.tokenize(texts, offsets=False).lengths.max())


def _rounded(length: int) -> int:
    return 8 * math.ceil(length / 8)


def _source_length(longest: int, asked: int | None, limit: int) -> int:
    """Return the tokens of a source at most: as asked for, or what the training sources need."""
    if asked is None:
        return min(_rounded(longest), limit)
    if asked > limit:
        raise ConfigError(
            "the encoder has fewer positions", where="max_length", received=asked, allowed=f"up to {limit}"
        )
    return asked


def _chinese(texts: Sequence[str]) -> bool:
    characters = sum(len(text) for text in texts)
    return sum(len(_CHINESE.findall(text)) for text in texts) > _CHINESE_SHARE * characters


TASK = Task(
    name=NAME,
    learn_vocabulary=learn_from_texts_and_targets,
    options=Seq2SeqOptions,
    format=lambda options: TRANSLATIONS,
    prepare=prepare,
    check_inputs=check_inputs,
    encode=encode,
    build=Seq2Seq,
    loss=loss,
    outputs=outputs,
    answer=answer,
    decode=decode,
    score=score,
    evidence=evidence,
    evidence_columns=lambda task_config: EVIDENCE_COLUMNS,
    metrics=lambda task_config: generation_rankings(),
    main_metric="bleu",
    ranking_metric=lambda task_config, label_counts, measured: "bleu",
    did_not_learn=did_not_learn,
    log_shares=log_shares,
)
"""The record of this task."""
