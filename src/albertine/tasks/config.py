"""What a trained model remembers of its task (task.json), and what a person may ask of a task before training."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, Union, cast, get_args, get_origin

from albertine.checkpoints.native import TASK_SCHEMA_VERSION
from albertine.errors import CheckpointError, ConfigError, unknown_name
from albertine.models.body import BodyConfig
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["ClassWeights", "TaskConfig", "TaskOptions", "TaskRequest", "options_from", "parse_options"]

ClassWeights = Literal["none", "balanced"] | tuple[float, ...]
"""How much a training example of each label counts: all alike, by the inverse of the label's frequency, or as given,
one weight a label in the order of the labels."""

OptionsT = TypeVar("OptionsT", bound="TaskOptions")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What one task alone has to remember or can be asked for; every task extends it by its own fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """What a person asks of a task before training; None leaves the choice to the task."""

    labels: Sequence[str] | None = None
    """Every label in its order; None to take those of the examples, sorted."""
    tokenizer: Tokenizer | None = None
    """None for models that read texts whole."""
    body: BodyConfig | None = None
    """The encoder (or what stands in its place); None for models that read texts whole."""
    max_length: int | None = None
    """Tokens that the model reads at a time; None to choose from the examples' lengths, which is said aloud."""
    overlap: int | None = None
    """Tokens that two windows of a longer text share; None for a quarter of `max_length`."""
    class_weights: ClassWeights = "none"
    """How much a training example of each label counts."""
    main_metric: str | None = None
    """The metric to go by; None for the task's own."""
    max_error: float | None = None
    """Share of the answers that may be wrong: the model keeps silent where it is too unsure; None: it never does."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Values for the task's own options, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskConfig:
    """What a trained model remembers of its task (task.json)."""

    task: str
    """The task's name."""
    labels: tuple[str, ...] = ()
    """Every label; a label's index is its column in the model's outputs. Empty for tasks without labels."""
    max_length: int | None = None
    """Tokens that the model reads at a time, special tokens included; None for models that read texts whole."""
    overlap: int | None = None
    """Tokens that two windows of a longer text share; None for a quarter of `max_length`."""
    pairs: bool | None = False
    """True where an input is two texts; None where that is not known, as of a head that another program trained."""
    main_metric: str | None = None
    """The metric that training and comparison go by; None for the task's own."""
    temperature: float | None = None
    """Outputs are divided by it before they become probabilities; None until a calibration has been fitted."""
    max_error: float | None = None
    """Share of the answers that may be wrong, for which `abstain_below` is fitted on the development split."""
    abstain_below: float | None = None
    """The model keeps silent where the probability of its answer is below; None: it always answers."""
    elastic: bool = False
    """Whether the states after every pass were trained to answer."""
    exit_at: float | None = None
    """How certain an exit must be to answer before the last pass (fitted, above 1: never); None: not fitted."""
    options: TaskOptions = field(default_factory=TaskOptions)
    """What this task alone remembers; in task.json its fields stand beside the others."""
    schema_version: int = TASK_SCHEMA_VERSION
    """Of this record as written."""

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            raise ConfigError("not a set of labels", where="labels", received=self.labels, allowed="distinct ones")
        if self.max_length is not None and self.max_length < 3:
            raise ConfigError(
                "too short for any text", where="max_length", received=self.max_length, allowed="3 or more tokens"
            )
        if self.overlap is not None and not 0 <= self.overlap <= (self.max_length or 0) // 2:
            raise ConfigError(
                "value out of range",
                where="overlap",
                received=self.overlap,
                allowed=f"from 0 to half of max_length, {(self.max_length or 0) // 2}",
            )
        if self.temperature is not None and not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError("value out of range", where="temperature", received=self.temperature, allowed="above 0")
        for name in ("max_error", "abstain_below"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError("value out of range", where=name, received=value, allowed="from 0 to 1")
        if self.exit_at is not None and not self.exit_at >= 0:
            raise ConfigError("value out of range", where="exit_at", received=self.exit_at, allowed="0 or more")

    def to_dict(self) -> dict[str, object]:
        """Return the record as it stands in task.json."""
        own = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "options"}
        return own | dataclasses.asdict(self.options)

    @property
    def shared_tokens(self) -> int:
        """Return the tokens that two windows of a long text share, asked for or not."""
        return (self.max_length or 0) // 4 if self.overlap is None else self.overlap

    @classmethod
    def from_dict(
        cls, values: Mapping[str, object], options: type[TaskOptions], *, where: str = "task.json"
    ) -> TaskConfig:
        """Read the record back.

        Args:
            values: as `to_dict` gave them, or as JSON gives them back.
            options: the class of the task's own options.
            where: the file they came from, for messages.

        Raises:
            ConfigError: a key that does not exist, or a value out of range.
            CheckpointError: a key is missing, a value has another type, or a newer version wrote the file.
        """
        version = values.get("schema_version")
        if not _fits(version, int) or not 1 <= cast(int, version) <= TASK_SCHEMA_VERSION:
            raise CheckpointError(
                "this version of Albertine cannot read the file",
                where=where,
                received=f"schema_version {version!r}",
                allowed=f"1 to {TASK_SCHEMA_VERSION}",
                next_step="Install the version that wrote it (see manifest.json) or a newer one",
            )
        if "task" not in values:
            raise CheckpointError("a field is missing", where=f"{where}: task")
        shared = {one.name for one in dataclasses.fields(cls)} - {"options"}
        names = [*sorted(shared), *(one.name for one in dataclasses.fields(options))]
        for name in values:
            if name not in names:
                raise unknown_name("field", name, names, where=where)
        own = {name: value for name, value in values.items() if name not in shared}
        read = _read(cls, {name: values[name] for name in values if name in shared}, where)
        return cls(**read, options=options(**_read(options, own, where)))  # type: ignore[arg-type]  # types were checked

    def own(self, options: type[OptionsT]) -> OptionsT:
        """Return the task's own options, as the class that the task knows them by; without any, their defaults."""
        if isinstance(self.options, options):
            return self.options
        assert type(self.options) is TaskOptions, "a task meets its own options"
        return options()


def options_from(options: type[OptionsT], values: Mapping[str, object], *, task: str) -> OptionsT:
    """Build a task's options from named values; those that are not named have their defaults.

    Raises:
        ConfigError: a name that the task does not have (the message has the nearest), or a value of the wrong type.
    """
    names = [one.name for one in dataclasses.fields(options)]
    for name in values:
        if name not in names:
            raise unknown_name(f"option of {task}", name, names)
    try:
        return options(**_read(options, values, task))
    except CheckpointError as error:
        raise ConfigError(str(error)) from error


def parse_options(options: type, pairs: Sequence[str], *, of: str) -> dict[str, object]:
    """Read NAME=VALUE, as a command line has them, into values of the types that a record's fields have.

    Args:
        options: a dataclass, such as a task's options.
        pairs: as they were written.
        of: whose options they are, for messages.

    Raises:
        ConfigError: no equals sign, a name that the record does not have, or a value of the wrong type.
    """
    hints = typing.get_type_hints(options)
    names = [one.name for one in dataclasses.fields(options)]
    read: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"an option of {of} needs a value", received=pair, allowed="NAME=VALUE")
        if name not in names:
            raise unknown_name(f"option of {of}", name, names)
        fitting = [value for value in _meanings(text) if _fits(value, hints[name])]
        if not fitting:
            raise ConfigError("not a value of this option", where=name, received=text, allowed=_described(hints[name]))
        read[name] = fitting[0]
    return read


def _meanings(text: str) -> list[object]:
    """Return what a text may stand for, the narrowest first."""
    found: list[object] = (
        [{"true": True, "false": False, "none": None}[text]] if text in ("true", "false", "none") else []
    )
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            found.append(kind(text))
    parts = tuple(part.strip() for part in text.split(","))
    with contextlib.suppress(ValueError):
        found.append(tuple(float(part) for part in parts))
    return [*found, text, parts]


def _described(hint: object) -> str:
    """Say what a type allows."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_described(one) for one in get_args(hint))
    if origin is Literal:
        return ", ".join(map(str, get_args(hint)))
    if origin is tuple:
        return f"{_described(get_args(hint)[0])}s divided by commas"
    names: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return names.get(hint, "none" if hint is type(None) else str(hint))


def _read(record: type, values: Mapping[str, object], where: str) -> dict[str, object]:
    """Check every value against its field's type; lists become tuples."""
    hints = typing.get_type_hints(record)
    read = {}
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise CheckpointError("not a value of this field", where=f"{where}: {name}", received=repr(value))
        read[name] = tuple(value) if isinstance(value, list) else value
    return read


def _fits(value: object, hint: object) -> bool:
    """Say whether a value is of a type; true and false are no numbers, and a whole number is a number."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(one, get_args(hint)[0]) for one in value)
    if origin is not None and issubclass(cast(type, origin), Mapping):
        return isinstance(value, Mapping) and all(_fits(one, get_args(hint)[1]) for one in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is type(None):
        return value is None
    return isinstance(value, cast(type, hint)) and (hint is bool or not isinstance(value, bool))
