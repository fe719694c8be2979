"""Text classification: one label a text, or a pair of texts; any number of labels; or a number.

Shapes: N texts, C outputs, H width of the pooled vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from albertine.batching.windows import encoded_examples
from albertine.checkpoints.state import TaskHead
from albertine.data.formats import DataFormat
from albertine.data.splitting import label_order
from albertine.errors import ConfigError, DataError, unknown_name
from albertine.evaluation.metrics import Metric
from albertine.records import Batch, Encoded, EncodedExamples, Example, Prediction
from albertine.tasks.certainty import by_any_label, by_label, by_movement
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.classification_problems import (
    PROBLEMS,
    Problem,
    balanced_weights,
    label_indices,
    label_matrix,
)
from albertine.tasks.classifier import Classifier
from albertine.tasks.config import TaskConfig, TaskOptions, TaskRequest, options_from
from albertine.tasks.lengths import longest_read
from albertine.tasks.task import Evidence, FloatArray, LossPart, Solving, Task, text_rows
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["TASK", "by_example"]

NAME = "text-classification"


def prepare(examples: Sequence[Example], request: TaskRequest) -> TaskConfig:
    """Fix labels, maximum length and weights from the training examples.

    Raises:
        DataError: no examples, one label only, a row without a label, or pairs beside single texts.
        ConfigError: a maximum length beyond the encoder's positions, or weights that do not fit the labels.
    """
    if not examples:
        raise DataError("there are no training examples", next_step="Look at the file with: albertine data check FILE")
    pairs = _has_pairs(examples)
    options = options_from(ClassificationOptions, request.options, task=NAME)
    if request.main_metric is not None:
        told = TaskConfig(task=NAME, labels=("a", "b"), options=options)
        known = PROBLEMS[options.problem].metrics(told)
        if request.main_metric not in known:
            raise unknown_name("metric", request.main_metric, known)
    if options.problem == "regression":
        labels: tuple[str, ...] = ()
        values = np.array([example.value for example in examples if example.value is not None])
        spread = float(values.std()) if len(values) else 0.0
        if not spread:
            raise DataError(
                "all training examples have the same number, there is nothing to learn",
                where=examples[0].file or None,
                next_step="Look at the label column with: albertine data check FILE",
            )
        options = replace(options, value_mean=float(values.mean()), value_spread=spread)
    else:
        labels, options = _with_labels(examples, request, options)
    return TaskConfig(
        task=NAME,
        labels=labels,
        max_length=longest_read(
            examples, request, becomes="read in windows" if options.long_texts == "windows" else "cut"
        ),
        overlap=request.overlap,
        pairs=pairs,
        main_metric=request.main_metric or PROBLEMS[options.problem].main_metric,
        max_error=request.max_error,
        options=options,
    )


def _with_labels(
    examples: Sequence[Example], request: TaskRequest, options: ClassificationOptions
) -> tuple[tuple[str, ...], ClassificationOptions]:
    """Return the labels, and the options with the weight of each."""
    several = options.problem == "multi"
    if request.labels is not None:
        labels = tuple(request.labels)
    elif several:
        labels = tuple(sorted({label for one in examples for label in one.labels or ()}, key=label_order))
    else:
        labels = tuple(sorted({one.label for one in examples if one.label is not None}, key=label_order))
    occurring = {one.labels if several else one.label for one in examples}
    if len(labels) < (1 if several else 2) or len(occurring) < 2:
        raise DataError(
            "all training examples have the same label, there is nothing to tell apart",
            where=examples[0].file or None,
            received=", ".join(map(repr, sorted(map(str, occurring)))),
            allowed="two or more labels",
            next_step="Look at the label column with: albertine data check FILE",
        )
    if several:
        counts = label_matrix(examples, labels).sum(axis=0)
    else:
        counts = np.bincount(label_indices(examples, labels), minlength=len(labels))
    asked = request.class_weights
    if asked == "balanced" or (asked == "none" and options.imbalance == "weights"):
        # with several labels: what a text that has a label counts beside one that does not
        rarer = tuple((len(examples) - count) / max(count, 1) for count in counts.tolist())
        return labels, replace(options, class_weights=rarer if several else balanced_weights(counts))
    weights = options.class_weights if asked == "none" else tuple(asked)
    if weights is not None and len(weights) != len(labels):
        raise ConfigError(
            "one weight a label is needed",
            where="class_weights",
            received=f"{len(weights)} weights",
            allowed=f"{len(labels)} weights, in the order {', '.join(labels)}",
        )
    return labels, replace(options, class_weights=weights)


def check_inputs(examples: Sequence[Example], task_config: TaskConfig) -> None:
    """Make sure that all examples are what the model reads.

    Raises:
        DataError: pairs where it reads single texts, or the other way round.
    """
    if examples:
        _reads_pairs(examples, task_config)


def encode(
    tokenizer: Tokenizer, examples: Sequence[Example], task_config: TaskConfig, *, labelled: bool
) -> EncodedExamples:
    """Turn examples into token ids, texts that are too long as windows.

    Raises:
        DataError: a label that the task does not know, or pairs where it has single texts, or the other way round.
    """
    pairs = bool(examples) and _reads_pairs(examples, task_config)
    options = task_config.own(ClassificationOptions)
    tokens = tokenizer.tokenize(
        [example.text for example in examples],
        [example.text_pair or "" for example in examples] if pairs else None,
        max_length=None if options.long_texts == "windows" else task_config.max_length,
        offsets=False,
    )
    return encoded_examples(
        tokens,
        max_length=task_config.max_length,
        overlap=task_config.shared_tokens,
        targets=PROBLEMS[options.problem].targets(examples, task_config) if labelled else None,
    )


def loss(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
    """Return the loss of the texts: cross-entropy, its sum over the labels, or the squared error."""
    assert batch.labels is not None, "the loss needs labels"
    found: Tensor = module(batch).float()
    targets = batch.labels
    if batch.groups is not None:
        found, targets = by_example(found, targets, batch.groups)
    options = module.options if isinstance(module, Classifier) else ClassificationOptions()
    return {"classification": PROBLEMS[options.problem].loss(found, targets, options)}


def by_example(found: Tensor, targets: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean outputs of every example over its windows, as `answer` does, and its target."""
    examples = int(groups.max()) + 1
    counts = found.new_zeros(examples).index_add(0, groups, torch.ones_like(groups, dtype=found.dtype))
    sums = found.new_zeros(examples, found.shape[1]).index_add(0, groups, found)
    of_examples = targets.new_zeros(examples, *targets.shape[1:]).index_copy(0, groups, targets)
    return sums / counts[:, None], of_examples


def outputs(module: nn.Module, batch: Batch, task_config: TaskConfig) -> list[FloatArray]:
    """Return the outputs of every text, or window of one, [C] each."""
    del task_config
    return text_rows(module(batch))


def answer(
    outputs: Sequence[FloatArray], windows: Sequence[Encoded], example: Example, task_config: TaskConfig
) -> FloatArray:
    """Return the outputs for an example, [C]: the mean over its windows."""
    del windows, example, task_config
    return outputs[0] if len(outputs) == 1 else np.mean(np.stack(outputs), axis=0)


def probabilities(answers: Sequence[FloatArray], task_config: TaskConfig) -> FloatArray:
    """Return the calibrated probability of every label, [N, C].

    Raises:
        ConfigError: the model answers with numbers.
    """
    found = _problem(task_config).probabilities
    if found is None:
        raise ConfigError("a number has no probability", next_step="Use predict, whose predictions have a value")
    return found(_matrix(answers, task_config), task_config)


def decode(answers: Sequence[FloatArray], examples: Sequence[Example], task_config: TaskConfig) -> list[Prediction]:
    """Return the most probable label of every example, all labels that apply, or the number."""
    del examples  # nothing of their texts is needed
    return _problem(task_config).decode(_matrix(answers, task_config), task_config)


def score(answers: Sequence[FloatArray], examples: Sequence[Example], task_config: TaskConfig) -> dict[str, float]:
    """Return every metric: for one label those of `classification_metrics`, for several those of `multi_label_metrics`.

    Of numbers the correlations by Spearman and by Pearson, the root of the mean squared error and the mean absolute
    error, in the numbers' own units.

    Raises:
        DataError: no examples, one without an answer, or a label that the task does not know.
    """
    if not examples:
        raise DataError("there are no examples to evaluate on", next_step="Give a file with labelled rows")
    return _problem(task_config).score(_matrix(answers, task_config), examples, task_config)


def evidence(answers: Sequence[FloatArray], examples: Sequence[Example], task_config: TaskConfig) -> Evidence:
    """Return [N, K]; what the columns are, the task says."""
    return _problem(task_config).evidence(_matrix(answers, task_config), examples, task_config)


def tune(answers: Sequence[FloatArray], examples: Sequence[Example], task_config: TaskConfig) -> TaskConfig:
    """Fit the temperature and from where on to keep silent, or a threshold for every label where several apply."""
    found = _problem(task_config).tune
    return task_config if found is None else found(_matrix(answers, task_config), examples, task_config)


def example_weights(examples: Sequence[Example], task_config: TaskConfig) -> FloatArray | None:
    """Return how often each example is to be drawn, [N], so that all labels come equally often; None for all alike."""
    options = task_config.own(ClassificationOptions)
    if options.imbalance != "sampling":
        return None
    if options.problem == "single":
        indices = label_indices(examples, task_config.labels)
        weights = np.array(balanced_weights(np.bincount(indices, minlength=len(task_config.labels))), dtype=np.float32)
        drawn: FloatArray = weights[indices]
        return drawn
    matrix = label_matrix(examples, task_config.labels)
    rarity = len(examples) / np.maximum(matrix.sum(axis=0), 1)
    # a text counts as often as its rarest label asks for; one without labels as one whose labels all texts have
    rarest: FloatArray = np.maximum((matrix * rarity).max(axis=1), 1.0).astype(np.float32)
    return rarest


def log_shares(module: nn.Module, found: Tensor, batch: Batch) -> Tensor:
    """Return the log-probabilities of the labels, [N, C], or of every label and its opposite, [N * C, 2]."""
    del batch  # every text, or window of one, is a prediction
    options = module.options if isinstance(module, Classifier) else ClassificationOptions()
    logits = found.float()
    if options.problem == "regression":
        raise ConfigError("a number has no probabilities to compare", where="r_drop", received="problem=regression")
    if options.problem == "single":
        return functional.log_softmax(logits, dim=-1)
    return functional.logsigmoid(torch.stack([logits, -logits], dim=-1)).flatten(0, 1)


def certainty(before: Sequence[FloatArray | None], found: Sequence[FloatArray], task_config: TaskConfig) -> FloatArray:
    """Return how sure an exit is of every text, [N]."""
    problem = task_config.own(ClassificationOptions).problem
    if problem == "regression":
        return by_movement(before, found)
    return by_label(found) if problem == "single" else by_any_label(found)


def _baselines(options: TaskOptions, measured: Sequence[Example]) -> tuple[str, ...]:
    problem = options.problem if isinstance(options, ClassificationOptions) else "single"
    pairs = not measured or measured[0].text_pair is not None
    words = ("bag-of-words",) if problem == "single" else ()
    overlap = ("overlap",) if pairs and problem != "multi" else ()
    return (*words, *overlap, "word-vectors", "bilstm")


def _solver_targets(
    examples: Sequence[Example], task_config: TaskConfig
) -> npt.NDArray[np.int64] | npt.NDArray[np.float64]:
    targets = _problem(task_config).targets(examples, task_config)
    return np.array([target.item() for target in targets])


def head(task_config: TaskConfig) -> TaskHead | None:
    """Return the head of transformers' ForSequenceClassification; none for numbers, which it does not scale back."""
    problem = task_config.own(ClassificationOptions).problem
    if problem == "regression":
        return None
    return TaskHead(task=NAME, labels=task_config.labels, module="classifier", problem=problem)


def adopt(head: TaskHead, positions: int) -> TaskConfig:
    """Return the configuration of a head that another program trained.

    Raises:
        ConfigError: it gives several numbers.
    """
    number = head.problem == "regression"
    if number and len(head.labels) > 1:
        raise ConfigError("a text has one number here", received=f"{len(head.labels)} of them")
    return TaskConfig(
        task=NAME,
        labels=() if number else head.labels,
        max_length=positions,
        pairs=None,
        options=ClassificationOptions(problem=head.problem),
    )


def _problem(task_config: TaskConfig) -> Problem:
    return PROBLEMS[task_config.own(ClassificationOptions).problem]


def _matrix(answers: Sequence[FloatArray], task_config: TaskConfig) -> FloatArray:
    if not answers:
        return np.zeros((0, len(task_config.labels) or 1), dtype=np.float32)
    return np.stack(answers)


def _format(options: TaskOptions) -> DataFormat:
    own = options if isinstance(options, ClassificationOptions) else ClassificationOptions()
    return PROBLEMS[own.problem].format(own)


def _metrics(task_config: TaskConfig) -> Mapping[str, Metric]:
    return _problem(task_config).metrics(task_config)


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
                where=example.where or f"text {place}",
                received="a pair of texts" if not pairs else "a single text",
                next_step="Give every input its second text" if pairs else "Give one text an input",
            )


TASK = Task(
    name=NAME,
    options=ClassificationOptions,
    format=_format,
    prepare=prepare,
    check_inputs=check_inputs,
    encode=encode,
    build=Classifier,
    loss=loss,
    outputs=outputs,
    answer=answer,
    decode=decode,
    score=score,
    evidence=evidence,
    evidence_columns=lambda config: _problem(config).columns(config),
    metrics=_metrics,
    main_metric="accuracy",
    ranking_metric=lambda config, counts, measured: _problem(config).ranking_metric(counts),
    did_not_learn=lambda evidence, config: _problem(config).did_not_learn(evidence, config),
    probabilities=probabilities,
    tune=tune,
    log_shares=log_shares,
    certainty=certainty,
    baselines=_baselines,
    solving=Solving(
        targets=_solver_targets,
        answers=lambda outputs, config: list(outputs.astype(np.float32)),
        class_weights=lambda config: config.own(ClassificationOptions).class_weights,
    ),
    head=head,
    adopt=adopt,
    example_weights=example_weights,
)
"""The record of this task."""
