"""How a model is trained, as one checked record."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from albertine.errors import ConfigError, unknown_name

__all__ = ["DEFAULT_EPOCHS", "ClassWeights", "OptimizerName", "PrecisionChoice", "ScheduleName", "TrainingConfig"]

ScheduleName = Literal["linear", "cosine", "constant"]
OptimizerName = Literal["adamw", "lamb"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]
ClassWeights = Literal["none", "balanced"]

DEFAULT_EPOCHS = 3.0
_EPSILON: dict[OptimizerName, float] = {"adamw": 1e-8, "lamb": 1e-6}
_BUDGETS = ("epochs", "examples", "tokens", "minutes")
_WHOLE = (
    "examples",
    "tokens",
    "max_steps",
    "warmup_steps",
    "early_stopping",
    "evaluate_every",
    "log_every",
    "checkpoint_steps",
    "batch_tokens",
)
_KEEPING = ("checkpoint_seconds", "checkpoint_steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Everything that decides how weights move; the model and the data are named elsewhere.

    At most one of `epochs`, `examples`, `tokens` and `minutes` may be given; with none of them a run takes 3 epochs.

    Raises:
        ConfigError: a field is out of its range, or two budgets were given.
    """

    learning_rate: float | None = None
    """Highest learning rate, reached after warm-up; None chooses by the kind of model and by whether its weights are
    pretrained, and says which."""
    epochs: float | None = None
    """Budget in passes over the training examples; None is 3 where no other budget is given."""
    examples: int | None = None
    """Budget in training examples, repetitions counted; the same for every model it is given to."""
    tokens: int | None = None
    """Budget in real tokens, repetitions counted; the learning rate decays with the tokens seen."""
    minutes: float | None = None
    """Budget in minutes of training steps (evaluations not counted); the learning rate decays with the time used."""
    max_steps: int | None = None
    """No more optimizer steps than this, whatever the budget says."""
    batch_size: int = 32
    """Examples in one optimizer step."""
    batch_tokens: int | None = None
    """Tokens in one optimizer step at most, instead of a number of examples."""
    accumulation: int = 1
    """Micro-batches that the examples of one step are cut into: less memory, the same result."""
    warmup: float = 0.1
    """Share of the run in which the learning rate rises from 0."""
    warmup_steps: int | None = None
    """Steps in which it rises, instead of a share; 0 begins at the highest rate."""
    schedule: ScheduleName = "linear"
    """How the learning rate falls after warm-up: linear or cosine to 0, or constant."""
    cooldown: float = 0.0
    """Share of the run, at its end, in which the rate falls on a straight line to 0 from where the schedule has it;
    with a constant schedule this is warm-up, stable, decay. It goes by the budget like everything else, so that a run
    of so many minutes ends with it however fast the machine was."""
    optimizer: OptimizerName = "adamw"
    """adamw, or lamb for large batches: every matrix moves in proportion to its own norm."""
    weight_decay: float = 0.01
    """Decoupled weight decay; never on biases and LayerNorm."""
    beta1: float = 0.9
    """Decay of Adam's mean of gradients."""
    beta2: float = 0.999
    """Decay of Adam's mean of squared gradients."""
    epsilon: float | None = None
    """Adam's epsilon; None is 1e-8 for adamw and 1e-6 for lamb."""
    max_grad_norm: float | None = 1.0
    """Gradients are scaled down to this global norm; None leaves them."""
    precision: PrecisionChoice = "auto"
    """Precision of the matrix products (weights are always fp32); auto measures which is faster here."""
    dropout: float | None = None
    """Of an encoder's layers while it is trained; None takes its own (BERT 0.1, ALBERT 0)."""
    class_weights: ClassWeights = "none"
    """balanced weighs every class by the inverse of its frequency in the training split."""
    early_stopping: int | None = None
    """Stop after this many evaluations in a row without a better one; None never does."""
    evaluations: int = 6
    """Evaluations on the development split in a run, evenly spread, the last one at its end."""
    evaluate_every: int | None = None
    """Evaluate every so many steps instead (and at the end)."""
    log_every: int | None = None
    """Record the loss every so many steps; None records it about 100 times a run."""
    checkpoint_seconds: float = 600.0
    """Save at least every so many seconds, between the evaluations, after each of which a run saves anyway."""
    checkpoint_steps: int | None = None
    """Save every so many steps too."""
    seed: int = 0
    """Decides first weights, order of examples and dropout."""

    def __post_init__(self) -> None:
        """Check every field."""
        _positive("learning_rate", self.learning_rate, optional=True)
        _positive("epochs", self.epochs, optional=True)
        _positive("minutes", self.minutes, optional=True)
        _positive("epsilon", self.epsilon, optional=True)
        _positive("checkpoint_seconds", self.checkpoint_seconds)
        _positive("max_grad_norm", self.max_grad_norm, optional=True)
        for name in _WHOLE:
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), low=0 if name == "warmup_steps" else 1)
        for name in ("batch_size", "accumulation", "evaluations"):
            _whole(name, getattr(self, name), low=1)
        _whole("seed", self.seed, low=0)
        for name in ("warmup", "cooldown", "beta1", "beta2"):
            _number_in(name, getattr(self, name), high=1.0)
        if self.dropout is not None:
            _number_in("dropout", self.dropout, high=1.0)
        _number_in("weight_decay", self.weight_decay, high=math.inf)
        _choice("schedule", self.schedule, get_args(ScheduleName))
        _choice("optimizer", self.optimizer, get_args(OptimizerName))
        _choice("precision", self.precision, get_args(PrecisionChoice))
        _choice("class_weights", self.class_weights, get_args(ClassWeights))
        given = [name for name in _BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(
                "more than one budget was given",
                received=", ".join(f"{name} = {getattr(self, name)}" for name in given),
                allowed="one of epochs, examples, tokens and minutes",
                next_step="Leave out all but one",
            )
        if self.batch_tokens is None and self.accumulation > self.batch_size:
            raise ConfigError(
                "there are more micro-batches than examples in a step",
                received=f"accumulation = {self.accumulation}, batch_size = {self.batch_size}",
                allowed="accumulation up to batch_size",
            )
        if self.warmup_steps is None and self.warmup + self.cooldown > 1.0:
            raise ConfigError(
                "warm-up and cool-down overlap",
                where="training.cooldown",
                received=f"warmup = {self.warmup:g}, cooldown = {self.cooldown:g}",
                allowed="at most 1 together",
            )

    @property
    def optimizer_epsilon(self) -> float:
        """Return the epsilon, whether given or the optimizer's own."""
        return _EPSILON[self.optimizer] if self.epsilon is None else self.epsilon

    def passes(self, train_examples: int) -> float | None:
        """Return the budget in passes over `train_examples` rows; None where only time or tokens bound the run."""
        if self.minutes is not None or self.tokens is not None:
            return None
        return (self.epochs or DEFAULT_EPOCHS) if self.examples is None else self.examples / train_examples

    def total_steps(self, train_examples: int) -> int | None:
        """Count the optimizer steps of a run over `train_examples` rows; None where only time or tokens bound it.

        Every step has `batch_size` examples, or all of them where there are fewer, so that the last one may go past a
        budget in examples by less than a batch.
        """
        if self.minutes is not None or self.tokens is not None:
            return self.max_steps
        budget = self.examples
        if budget is None:
            # a hair is taken off because 1 / 3 * 99 may come out just above 33
            budget = math.ceil((self.epochs or DEFAULT_EPOCHS) * train_examples - 1e-9)
        steps = max(1, -(-budget // min(self.batch_size, train_examples)))
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def to_dict(self) -> dict[str, object]:
        """Return every field under its name, ready for JSON."""
        return dataclasses.asdict(self)

    def identity(self) -> dict[str, object]:
        """Return what a run and the one that it continues must have in common: not how often it is saved."""
        return {name: value for name, value in self.to_dict().items() if name not in _KEEPING}

    @classmethod
    def from_dict(cls, values: Mapping[str, object], *, where: str | None = None) -> TrainingConfig:
        """Build a configuration from named values.

        Raises:
            ConfigError: a name does not exist (the message has the nearest) or a value is out of range.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                raise unknown_name("training option", name, names, where=where)
        return cls(**values)  # type: ignore[arg-type]  # every value is checked in __post_init__


def _number(name: str, value: object, allowed: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ConfigError("not a number", where=f"training.{name}", received=repr(value), allowed=allowed)
    return float(value)


def _positive(name: str, value: object, *, optional: bool = False) -> None:
    if value is None and optional:
        return
    allowed = "a number above 0" + (", or none" if optional else "")
    if not 0 < _number(name, value, allowed) < math.inf:
        raise ConfigError("out of range", where=f"training.{name}", received=repr(value), allowed=allowed)


def _number_in(name: str, value: object, *, high: float) -> None:
    allowed = "a number from 0 on" if high == math.inf else f"a number from 0 to below {high:g}"
    if not 0 <= _number(name, value, allowed) < high:
        raise ConfigError("out of range", where=f"training.{name}", received=repr(value), allowed=allowed)


def _whole(name: str, value: object, *, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ConfigError(
            "out of range", where=f"training.{name}", received=repr(value), allowed=f"a whole number from {low} on"
        )


def _choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise unknown_name("value", str(value), allowed, where=f"training.{name}")
