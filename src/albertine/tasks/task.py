"""What a task is: a record of functions that the loop, the engine, the comparison and the command line work with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, Protocol, cast, overload

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from albertine.checkpoints.native import TASK_SCHEMA_VERSION
from albertine.data.columns import Columns
from albertine.data.readers import ReadResult
from albertine.errors import CheckpointError, ConfigError, unknown_name
from albertine.models.body import BodyConfig
from albertine.records import Batch, Encoded, Example, IntArray, Prediction
from albertine.tokenization.tokenizer import Tokenizer

__all__ = [
    "ClassWeights",
    "EncodedExamples",
    "FloatArray",
    "LossFunction",
    "LossPart",
    "Method",
    "Task",
    "TaskConfig",
    "with_methods",
]

FloatArray = npt.NDArray[np.float32]

ClassWeights = Literal["none", "balanced"] | tuple[float, ...]
"""How much a training example of each label counts: all alike, by the inverse of the label's frequency, or as given,
one weight a label in the order of the labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskConfig:
    """What a model folder remembers of its task (task.json)."""

    task: str
    """The task's name."""
    labels: tuple[str, ...]
    """Every label; a label's index is its column in the model's outputs."""
    max_length: int | None = None
    """Tokens a text is cut to, special tokens included; None for models that read texts whole."""
    pairs: bool | None = False
    """True where an input is two texts; None where that is not known, as of a head that another program trained."""
    class_weights: tuple[float, ...] | None = None
    """What a training example of each label counted; None where all counted alike."""
    main_metric: str | None = None
    """The metric that training and comparison go by; None for the task's own."""
    temperature: float | None = None
    """Outputs are divided by it before they become probabilities; None until a calibration has been fitted."""
    schema_version: int = TASK_SCHEMA_VERSION
    """Of this record as written."""

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ConfigError(
                "not a set of labels", where="labels", received=self.labels, allowed="two or more, distinct"
            )
        if self.max_length is not None and self.max_length < 3:
            raise ConfigError(
                "too short for any text", where="max_length", received=self.max_length, allowed="3 or more tokens"
            )
        weights = self.class_weights
        if weights is not None:
            if len(weights) != len(self.labels):
                raise ConfigError(
                    "one weight a label is needed",
                    where="class_weights",
                    received=f"{len(weights)} weights",
                    allowed=f"{len(self.labels)} weights, in the order {', '.join(self.labels)}",
                )
            if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
                raise ConfigError(
                    "weight out of range",
                    where="class_weights",
                    received=weights,
                    allowed="0 or more, not all of them 0",
                )
        if self.temperature is not None and not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError("value out of range", where="temperature", received=self.temperature, allowed="above 0")

    def to_dict(self) -> dict[str, object]:
        """Return the record as it stands in task.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object], *, where: str = "task.json") -> TaskConfig:
        """Read the record back.

        Args:
            values: as `to_dict` gave them, or as JSON gives them back.
            where: the file they came from, for messages.

        Raises:
            ConfigError: a key that does not exist, or a value out of range.
            CheckpointError: a key is missing, a value has another type, or a newer version wrote the file.
        """
        version = values.get("schema_version")
        if not _is(version, int) or not 1 <= cast(int, version) <= TASK_SCHEMA_VERSION:
            raise CheckpointError(
                "this version of Albertine cannot read the file",
                where=where,
                received=f"schema_version {version!r}",
                allowed=f"1 to {TASK_SCHEMA_VERSION}",
                next_step="Install the version that wrote it (see manifest.json) or a newer one",
            )
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                raise unknown_name("field", name, names, where=where)
        read = dict(values)
        for name, (outer, inner) in _FIELD_TYPES.items():
            if name not in values and name in ("task", "labels"):
                raise CheckpointError("a field is missing", where=f"{where}: {name}")
            value = values.get(name)
            items = value if isinstance(value, list | tuple) else ()
            if name in values and not (_is(value, *outer) and all(_is(item, *inner) for item in items)):
                raise CheckpointError("not a value of this field", where=f"{where}: {name}", received=repr(value))
            if inner and value is not None:
                read[name] = tuple(items)
        return cls(**read)  # type: ignore[arg-type]  # every value's type was checked above


# Types of a field's value and, where it is a list, of its items.
_FIELD_TYPES: dict[str, tuple[tuple[type, ...], tuple[type, ...]]] = {
    "task": ((str,), ()),
    "labels": ((list, tuple), (str,)),
    "max_length": ((int, type(None)), ()),
    "pairs": ((bool, type(None)), ()),
    "class_weights": ((list, tuple, type(None)), (float, int)),
    "main_metric": ((str, type(None)), ()),
    "temperature": ((float, int, type(None)), ()),
}


def _is(value: object, *types: type) -> bool:
    """Say whether a value is of one of the types; true and false are no numbers."""
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


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


@dataclass(frozen=True, slots=True)
class EncodedExamples(Sequence[Encoded]):
    """The encoded texts of a list of examples, and which of them did not fit."""

    items: tuple[Encoded, ...]
    """`items[i].example` is the index of the example that item i came from."""
    truncated: IntArray
    """Indices of the items that were cut to the maximum length."""

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Encoded, ...]: ...
    def __getitem__(self, index: int | slice) -> Encoded | tuple[Encoded, ...]:
        return self.items[index]

    def __iter__(self) -> Iterator[Encoded]:
        return iter(self.items)


class ReadFunction(Protocol):
    """Read the examples of a file."""

    def __call__(
        self,
        path: Path,
        *,
        columns: Columns = ...,
        encoding: str = ...,
        on_error: str = ...,
        labelled: bool = ...,
        quoting: str = ...,
    ) -> ReadResult:
        """Return the examples and what was noticed while reading."""


class PrepareFunction(Protocol):
    """Look at the training examples and fix everything that the task needs to know before training."""

    def __call__(
        self,
        examples: Sequence[Example],
        *,
        labels: Sequence[str] | None = None,
        tokenizer: Tokenizer | None = None,
        body: BodyConfig | None = None,
        max_length: int | None = None,
        class_weights: ClassWeights = "none",
        main_metric: str | None = None,
    ) -> TaskConfig:
        """Return the configuration.

        Args:
            examples: the training split, labelled.
            labels: every label in its order; None to take those of the examples, sorted.
            tokenizer: None for models that read texts whole.
            body: the encoder (or what stands in its place); None for models that read texts whole.
            max_length: tokens a text is cut to; None to choose from the examples' lengths, which is said aloud.
            class_weights: how much a training example of each label counts.
            main_metric: the metric to go by; None for the task's own.
        """


class DecodeFunction(Protocol):
    """Turn probabilities into predictions."""

    def __call__(
        self, probabilities: FloatArray, examples: Sequence[Example], task_config: TaskConfig
    ) -> list[Prediction]:
        """Return one prediction an example, in order."""


class ScoreFunction(Protocol):
    """Hold probabilities against the labels of the examples."""

    def __call__(
        self, examples: Sequence[Example], probabilities: FloatArray, task_config: TaskConfig
    ) -> dict[str, float]:
        """Return every metric of the task by its name, `Task.main_metric` among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task, as everything that trains, predicts, compares, explains or serves knows it."""

    name: str
    """As the command line and task.json name it."""
    read: ReadFunction
    """File to examples."""
    prepare: PrepareFunction
    """Training examples to `TaskConfig`."""
    check_inputs: Callable[[Sequence[Example], TaskConfig], None]
    """Raises a DataError where an example is not of the kind that the model was trained on (pairs, single texts)."""
    encode: Callable[[Tokenizer, Sequence[Example], TaskConfig], EncodedExamples]
    """Examples to token ids, with the label's index where the example has one. Texts are cut to
    `TaskConfig.max_length` only, and the result names those that were."""
    build: Callable[[BodyConfig, TaskConfig], nn.Module]
    """The module to train: an encoder with random weights and whatever the task needs on top of it. The encoder is
    its attribute `body`."""
    loss: LossFunction
    """The module's loss on a labelled batch."""
    outputs: Callable[[nn.Module, Batch], Tensor]
    """The module's raw outputs on a batch, [N, C] float32, before any calibration."""
    probabilities: Callable[[Tensor, TaskConfig], Tensor]
    """Raw outputs to calibrated probabilities, [N, C] float32."""
    decode: DecodeFunction
    """Probabilities to predictions."""
    score: ScoreFunction
    """Probabilities to metrics."""
    main_metric: str
    """The metric that training and comparison go by unless another is asked for."""
    greater_is_better: bool
    """The direction of the main metric."""


def with_methods(task: Task, methods: Sequence[Method]) -> Task:
    """Return the task with its loss wrapped by training methods, the first one innermost."""
    loss = task.loss
    for method in methods:
        loss = method(loss)
    return replace(task, loss=loss)
