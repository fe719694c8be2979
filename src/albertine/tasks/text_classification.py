"""Text classification: one label a text, or a pair of texts.

Shapes: N texts, C labels, H width of the pooled vector.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from albertine.data.readers import read_examples
from albertine.errors import ConfigError, DataError, did_you_mean, unknown_name
from albertine.evaluation.metrics import MAIN_METRICS, classification_metrics
from albertine.models.body import BodyConfig, body_output_size, build_body
from albertine.models.config import EncoderConfig
from albertine.models.encoder import EncoderOutput
from albertine.models.pooling import first_tokens
from albertine.records import Batch, Encoded, Example, IntArray, Prediction
from albertine.tasks.task import ClassWeights, EncodedExamples, FloatArray, LossPart, Task, TaskConfig
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["TASK", "Classifier", "balanced_weights", "default_max_length", "label_indices"]

logger = logging.getLogger("albertine")

NAME = "text-classification"

_COVERED = 99.0
"""Per cent of the training texts that the default maximum length leaves whole."""
_SAMPLE = 20_000
"""Training texts that the default maximum length is measured on."""
_LISTED = 20
"""Labels listed in a message."""


class Classifier(nn.Module):
    """An encoder (or what stands in its place), dropout, and a linear layer over the pooled vector.

    An encoder without a pooler gives the last hidden state of the first token instead. That is the classifier of
    Devlin et al. (2018), section 4.1, and of Lan et al. (2019).

    Args:
        config: of the body.
        task_config: for the labels and their weights in the loss.
    """

    def __init__(self, config: BodyConfig, task_config: TaskConfig) -> None:
        super().__init__()
        self.body = build_body(config)
        self.dropout = nn.Dropout(config.classifier_dropout_prob)
        self.classifier = nn.Linear(body_output_size(config), len(task_config.labels))
        if isinstance(config, EncoderConfig):
            nn.init.normal_(self.classifier.weight, std=config.initializer_range)
            nn.init.zeros_(self.classifier.bias)
        self.class_weights = task_config.class_weights

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits, [N, C]."""
        output: EncoderOutput = self.body(
            batch.input_ids,
            attention_mask=batch.attention_mask,
            token_type_ids=batch.token_type_ids,
            sequence_starts=batch.sequence_starts,
            position_ids=batch.position_ids,
        )
        pooled = output.pooler_output
        if pooled is None:
            pooled = first_tokens(output.last_hidden_state, batch.sequence_starts)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


def label_indices(examples: Sequence[Example], labels: Sequence[str]) -> IntArray:
    """Return the index of every example's label, [N] int64.

    Raises:
        DataError: an example has no label, or one that is not among `labels`.
    """
    index_of = {label: index for index, label in enumerate(labels)}
    indices = np.empty(len(examples), dtype=np.int64)
    for place, example in enumerate(examples):
        index = None if example.label is None else index_of.get(example.label)
        if index is None:
            raise _label_error(example, labels)
        indices[place] = index
    return indices


def balanced_weights(indices: IntArray, classes: int) -> tuple[float, ...]:
    """Return the weight of every label, the inverse of its frequency, so that the mean over the examples is 1.

    Args:
        indices: [N] label index of every training example.
        classes: C.

    Returns:
        N / (C * count) for every label; 0 for a label that does not occur.
    """
    counts = np.bincount(indices, minlength=classes)
    present = np.count_nonzero(counts)
    return tuple(len(indices) / (present * count) if count else 0.0 for count in counts.tolist())


def default_max_length(lengths: IntArray, limit: int | None) -> int:
    """Choose the tokens a text is cut to.

    Args:
        lengths: tokens of the training texts, special tokens included.
        limit: positions that the encoder has; None for a body without positions.

    Returns:
        The 99th percentile of the lengths, rounded up to a multiple of 8, and never more than `limit`.
    """
    covering = 8 * math.ceil(float(np.percentile(lengths, _COVERED)) / 8)
    return covering if limit is None else min(covering, limit)


def prepare(
    examples: Sequence[Example],
    *,
    labels: Sequence[str] | None = None,
    tokenizer: Tokenizer | None = None,
    body: BodyConfig | None = None,
    max_length: int | None = None,
    class_weights: ClassWeights = "none",
    main_metric: str | None = None,
) -> TaskConfig:
    """Fix labels, maximum length and class weights from the training examples, as `PrepareFunction` says.

    Raises:
        DataError: no examples, one label only, a row without a label, or pairs beside single texts.
        ConfigError: a maximum length beyond the encoder's positions, or weights that do not fit the labels.
    """
    if not examples:
        raise DataError("there are no training examples", next_step="Look at the file with: albertine data check FILE")
    pairs = _has_pairs(examples)
    names = tuple(labels) if labels is not None else _sorted_labels(examples)
    if len(names) < 2 or len({example.label for example in examples}) < 2:
        raise DataError(
            "all training examples have the same label, there is nothing to tell apart",
            where=examples[0].file or None,
            received=", ".join(map(repr, sorted({str(example.label) for example in examples}))),
            allowed="two or more labels",
            next_step="Look at the label column with: albertine data check FILE",
        )
    indices = label_indices(examples, names)
    limit = body.max_position_embeddings if isinstance(body, EncoderConfig) else None
    if max_length is not None and limit is not None and max_length > limit:
        raise ConfigError(
            "the encoder has fewer positions", where="max_length", received=max_length, allowed=f"up to {limit}"
        )
    if tokenizer is None:
        max_length = None
    elif max_length is None:
        max_length = _measured_max_length(tokenizer, examples, limit)
    if class_weights == "balanced":
        weights: tuple[float, ...] | None = balanced_weights(indices, len(names))
    else:
        weights = None if class_weights == "none" else tuple(class_weights)
    return TaskConfig(
        task=NAME,
        labels=names,
        max_length=max_length,
        pairs=pairs,
        class_weights=weights,
        main_metric=_checked_metric(main_metric),
    )


def check_inputs(examples: Sequence[Example], task_config: TaskConfig) -> None:
    """Make sure that all examples are what the model reads.

    Raises:
        DataError: pairs where it reads single texts, or the other way round.
    """
    if examples:
        _reads_pairs(examples, task_config)


def encode(tokenizer: Tokenizer, examples: Sequence[Example], task_config: TaskConfig) -> EncodedExamples:
    """Turn examples into token ids, all of them labelled or none.

    Raises:
        DataError: a label that the task does not know, or pairs where it has single texts, or the other way round.
    """
    pairs = bool(examples) and _reads_pairs(examples, task_config)
    indices: list[int] | None = None
    if examples and all(example.label is not None for example in examples):
        indices = label_indices(examples, task_config.labels).tolist()
    tokens = tokenizer.tokenize(
        [example.text for example in examples],
        [example.text_pair or "" for example in examples] if pairs else None,
        max_length=task_config.max_length,
        offsets=False,
    )
    items = tuple(
        Encoded(
            input_ids=row.input_ids,
            token_type_ids=row.token_type_ids,
            label=None if indices is None else indices[place],
            example=place,
        )
        for place, row in enumerate(tokens.rows())
    )
    return EncodedExamples(items=items, truncated=tokens.truncated)


def loss(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
    """Return the cross-entropy, weighted by class where the task has class weights."""
    assert batch.labels is not None, "the loss needs labels"
    logits = outputs(module, batch)
    weights = module.class_weights if isinstance(module, Classifier) else None
    if weights is None:
        total = functional.cross_entropy(logits, batch.labels, reduction="sum")
        weight = total.new_tensor(len(batch))
    else:
        of_class = logits.new_tensor(weights)
        total = functional.cross_entropy(logits, batch.labels, weight=of_class, reduction="sum")
        weight = of_class[batch.labels].sum()
    return {"classification": LossPart(total=total, weight=weight)}


def outputs(module: nn.Module, batch: Batch) -> Tensor:
    """Return the logits, [N, C] float32."""
    logits: Tensor = module(batch)
    return logits.float()


def probabilities(logits: Tensor, task_config: TaskConfig) -> Tensor:
    """Return the probability of every label, [N, C]; divided by the temperature first, once one has been fitted."""
    return torch.softmax(logits / (task_config.temperature or 1.0), dim=-1)


def decode(probabilities: FloatArray, examples: Sequence[Example], task_config: TaskConfig) -> list[Prediction]:
    """Return the most probable label of every example; of equal ones the first."""
    del examples  # one row an example, and nothing of its text is needed
    labels = task_config.labels
    predictions = []
    for row, best in zip(probabilities.tolist(), probabilities.argmax(axis=1).tolist(), strict=True):
        scores = dict(zip(labels, row, strict=True))
        predictions.append(Prediction(label=labels[best], score=row[best], scores=scores))
    return predictions


def score(examples: Sequence[Example], probabilities: FloatArray, task_config: TaskConfig) -> dict[str, float]:
    """Return accuracy, macro F1, F1 of every label, Matthews correlation, log loss, Brier score, calibration error.

    Raises:
        DataError: no examples, or a label that the task does not know.
    """
    if not examples:
        raise DataError("there are no examples to evaluate on", next_step="Give a file with labelled rows")
    gold = label_indices(examples, task_config.labels)
    predicted = probabilities.argmax(axis=1)
    return classification_metrics(gold, predicted, probabilities.astype(np.float64), task_config.labels)


def _measured_max_length(tokenizer: Tokenizer, examples: Sequence[Example], limit: int | None) -> int:
    sample = examples[:: -(-len(examples) // _SAMPLE)]
    tokens = tokenizer.tokenize(
        [example.text for example in sample],
        [example.text_pair or "" for example in sample] if sample[0].text_pair is not None else None,
        offsets=False,
    )
    chosen = default_max_length(tokens.lengths, limit)
    logger.info(
        "maximum length: %d tokens (the longest training text has %d; %.1f %% of them are longer and will be cut; "
        "choose another with --max-length)",
        chosen,
        int(tokens.lengths.max()),
        100 * float(np.mean(tokens.lengths > chosen)),
    )
    return chosen


def _sorted_labels(examples: Sequence[Example]) -> tuple[str, ...]:
    """Return every label once: by value where all are whole numbers, else by spelling."""
    found = {example.label for example in examples if example.label is not None}
    if all(re.fullmatch(r"-?[0-9]+", label) for label in found):
        return tuple(sorted(found, key=lambda label: (int(label), label)))
    return tuple(sorted(found))


def _reads_pairs(examples: Sequence[Example], task_config: TaskConfig) -> bool:
    """Say whether these inputs are pairs: as the model was trained, or as they come where that is not known."""
    if task_config.pairs is None:
        return _has_pairs(examples)
    _check_pairs(examples, task_config.pairs)
    return task_config.pairs


def _has_pairs(examples: Sequence[Example]) -> bool:
    pairs = examples[0].text_pair is not None
    _check_pairs(examples, pairs)
    return pairs


def _check_pairs(examples: Sequence[Example], pairs: bool) -> None:
    for place, example in enumerate(examples):
        if (example.text_pair is not None) != pairs:
            raise DataError(
                "the model reads pairs of texts" if pairs else "the model reads single texts",
                where=_place(example) or f"text {place}",
                received="a pair of texts" if not pairs else "a single text",
                next_step="Give every input its second text" if pairs else "Give one text an input",
            )


def _label_error(example: Example, labels: Sequence[str]) -> DataError:
    listed = ", ".join(labels[:_LISTED]) + (f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else "")
    if example.label is None:
        return DataError("a row has no label", where=_place(example), allowed=listed)
    return DataError(
        "a label that the training data does not have",
        where=_place(example),
        received=repr(example.label),
        allowed=listed,
        next_step=did_you_mean(example.label, labels) or "Correct the row, or train on data that has this label",
    )


def _place(example: Example) -> str | None:
    if not example.file:
        return None
    return f"{example.file}:{example.line}" if example.line else example.file


def _checked_metric(name: str | None) -> str | None:
    if name is not None and name not in MAIN_METRICS:
        raise unknown_name("metric", name, MAIN_METRICS)
    return name


TASK = Task(
    name=NAME,
    read=read_examples,
    prepare=prepare,
    check_inputs=check_inputs,
    encode=encode,
    build=Classifier,
    loss=loss,
    outputs=outputs,
    probabilities=probabilities,
    decode=decode,
    score=score,
    main_metric="accuracy",
    greater_is_better=True,
)
"""The record of this task."""
