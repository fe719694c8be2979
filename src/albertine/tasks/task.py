"""What a task is: a record of functions that the loop, the engine, the comparison and the command line work with.

N examples; a long one is several windows, so that there may be more encoded texts than examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from albertine.checkpoints.state import TaskHead
from albertine.data.formats import DataFormat
from albertine.evaluation.metrics import Metric
from albertine.models.body import BodyConfig
from albertine.records import Batch, DocumentAnswer, Encoded, EncodedExamples, Example, Prediction
from albertine.tasks.config import TaskConfig, TaskOptions, TaskRequest
from albertine.tasks.vocabulary import learn_from_texts
from albertine.tokenization.tokenizer import Tokenizer

__all__ = [
    "AnyTask",
    "Evidence",
    "FloatArray",
    "LossFunction",
    "LossPart",
    "Method",
    "Solving",
    "Task",
    "text_rows",
    "token_rows",
    "with_methods",
]

FloatArray = npt.NDArray[np.float32]
Evidence = npt.NDArray[np.float64]

AnswerT = TypeVar("AnswerT")
"""What a model says of an example before it becomes a prediction; only the task's own functions look inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPart:
    """One named part of a loss: a sum over items and what the items weigh together.

    The part's loss is `total / weight`. As both are sums, those of several parts of a batch add up to those of the
    whole batch, whatever the parts' sizes.
    """

    total: Tensor
    """Scalar, the weighted sum of the losses of the items."""
    weight: Tensor
    """Scalar, the sum of the items' weights; a function of the batch alone, without gradient."""


LossFunction = Callable[[nn.Module, Batch], dict[str, LossPart]]
"""The loss of a module on a batch, as named parts."""

Method = Callable[[LossFunction], LossFunction]
"""A training method: it wraps the loss and may change its parts or add some."""


class EncodeFunction(Protocol):
    """Turn examples into token ids."""

    def __call__(
        self, tokenizer: Tokenizer, examples: Sequence[Example], task_config: TaskConfig, /, *, labelled: bool
    ) -> EncodedExamples:
        """Return the encoded texts, with what is to be predicted where `labelled`.

        Texts that are too long become windows; where something is cut off after all, the result names the examples.

        Raises:
            DataError: with `labelled`, an example without an answer, or with one that the task does not know.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Solving(Generic[AnswerT]):
    """What a task is for the baselines that a solver fits (`albertine.models.solved`)."""

    targets: Callable[[Sequence[Example], TaskConfig], npt.NDArray[np.int64] | npt.NDArray[np.float64]]
    """Labelled examples to what is to be learnt of each, [N]: the index of its label, or a number where the task has no
    labels. Raises a DataError where an example does not say."""
    answers: Callable[[npt.NDArray[np.floating], TaskConfig], list[AnswerT]]
    """Outputs to answers: [N, C] logits, or [N, 1] numbers as `targets` gives them."""
    class_weights: Callable[[TaskConfig], Sequence[float] | None] = lambda config: None
    """How much an example of each label counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[AnswerT]):
    """A task, as everything that trains, predicts, compares, explains or serves knows it."""

    name: str
    """As the command line and task.json name it."""
    options: type[TaskOptions]
    """What can be asked of this task alone."""
    format: Callable[[TaskOptions], DataFormat]
    """How its files are read and divided, which may depend on what was asked for."""
    prepare: Callable[[Sequence[Example], TaskRequest], TaskConfig]
    """The labelled training split, and what was asked for, to everything that the task needs to know before training.
    Raises a DataError where nothing can be learnt from the examples, a ConfigError where the request does not fit."""
    check_inputs: Callable[[Sequence[Example], TaskConfig], None]
    """Raises a DataError where an example is not of the kind that the model was trained on (pairs, single texts)."""
    encode: EncodeFunction
    """Examples to token ids."""
    build: Callable[[BodyConfig, TaskConfig], nn.Module]
    """The module to train: an encoder with random weights and whatever the task needs on top of it. The encoder is
    its attribute `body`."""
    loss: LossFunction
    """The module's loss on a labelled batch."""
    outputs: Callable[[nn.Module, Batch, TaskConfig], Sequence[Any]]
    """The module's raw outputs on a batch, one entry for every encoded text, in NumPy arrays on the CPU; called
    without gradients and dropout, and may run the module more than once (to write a text)."""
    answer: Callable[[Sequence[Any], Sequence[Encoded], Example, TaskConfig], AnswerT]
    """The outputs of all windows of an example to one answer."""
    decode: Callable[[Sequence[AnswerT], Sequence[Example], TaskConfig], list[Prediction]]
    """Answers to predictions, calibrated, in order."""
    score: Callable[[Sequence[AnswerT], Sequence[Example], TaskConfig], dict[str, float]]
    """Answers held against the examples' own: every metric of the task by its name. Raises a DataError where there
    are no examples, or one without an answer."""
    evidence: Callable[[Sequence[AnswerT], Sequence[Example], TaskConfig], Evidence]
    """[N, K]: what is kept of every answer, from which the metrics that rank candidates are computed again on resampled
    examples."""
    evidence_columns: Callable[[TaskConfig], tuple[str, ...]]
    """The names of the K columns; labels and options are enough to tell."""
    metrics: Callable[[TaskConfig], Mapping[str, Metric]]
    """The metrics that candidates can be ranked by, told from labels and options; each is also in what `score` gives,
    under the same name and with the same value."""
    main_metric: str
    """The metric that training and comparison go by unless another is asked for."""
    ranking_metric: Callable[[TaskConfig, Mapping[str, int], Sequence[Example]], str]
    """Labels and options, how often each label occurs in the training split, and the examples that are measured on, to
    the metric that a comparison goes by."""
    did_not_learn: Callable[[Evidence, TaskConfig], bool]
    """Says from a model's evidence that it learnt nothing: what it answers does not depend on what it reads."""
    probabilities: Callable[[Sequence[AnswerT], TaskConfig], FloatArray] | None = None
    """Answers to the calibrated probability of every label, [N, C]; None for tasks where an example has no one label
    to be probable."""
    over_documents: Callable[[Sequence[AnswerT], Sequence[Example], TaskConfig, int], list[DocumentAnswer]] | None = (
        None
    )
    """Answers to one question about each of several documents, to the best ones over all of them, so many at most; None
    for tasks that find no answers in documents."""
    tune: Callable[[Sequence[AnswerT], Sequence[Example], TaskConfig], TaskConfig] | None = None
    """Fits what can be fitted after training on answers to the development split (temperature, thresholds), which were
    made without; None where there is nothing."""
    log_shares: Callable[[nn.Module, Tensor, Batch], Tensor] | None = None
    """A module, what it returned and the batch, to the log-probabilities [M, K] of the M things it predicted; None
    where what it returns is no probability."""
    certainty: Callable[[Sequence[Any], Sequence[Any], TaskConfig], FloatArray] | None = None
    """What one exit of an elastic encoder says of every encoded text (None where there was none before it) and what the
    next one says, as `outputs` gives them, to how sure the latter is, [N] from 0 to 1; None for tasks without exits."""
    example_weights: Callable[[Sequence[Example], TaskConfig], FloatArray | None] | None = None
    """How often each training example is to be drawn, [N], beside the others; None for all alike."""
    learn_vocabulary: Callable[[Sequence[Example], int, bool], Tokenizer] = learn_from_texts
    """Training examples, a size, and whether text is lower-cased, to the vocabulary of a model with random weights."""
    baselines: Callable[[TaskOptions, Sequence[Example]], tuple[str, ...]] = lambda options, measured: ("bilstm",)
    """The baselines that can do what was asked for, the cheapest first; a comparison takes all of them. The examples
    are those that models are measured on; without any, all baselines that some examples would allow."""
    solving: Solving[AnswerT] | None = None
    """For baselines that a solver fits; None where none of them does the task."""
    head: Callable[[TaskConfig], TaskHead | None] | None = None
    """The configuration to the head that transformers has a class for, where that computes the same; None: nothing of
    the kind."""
    adopt: Callable[[TaskHead, int], TaskConfig] | None = None
    """A head that another program trained, and the positions of its encoder, to the configuration; None: refused."""
    greater_is_better: bool = True
    """The direction of the main metric."""


AnyTask = Task[Any]
"""A task of which only the record is known."""


def text_rows(outputs: Tensor) -> list[FloatArray]:
    """Return the rows of [N, …], one for every encoded text."""
    return list(outputs.float().cpu().numpy())


def token_rows(outputs: Tensor, batch: Batch) -> list[FloatArray]:
    """Return the rows of a packed [S, …], [T, …] for every encoded text."""
    assert batch.sequence_starts is not None, "the engine's batches are packed"
    rows: FloatArray = outputs.float().cpu().numpy()
    return [rows[start:end] for start, end in pairwise(batch.sequence_starts.tolist())]


def with_methods(task: Task[AnswerT], methods: Sequence[Method]) -> Task[AnswerT]:
    """Return the task with its loss wrapped by training methods, the first one innermost."""
    loss = task.loss
    for method in methods:
        loss = method(loss)
    return replace(task, loss=loss)
