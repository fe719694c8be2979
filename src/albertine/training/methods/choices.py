"""Which training methods a fine-tuning uses, and how they are put around its task and its module."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from albertine.errors import ConfigError, unknown_name
from albertine.tasks.task import AnyTask, Method, with_methods
from albertine.training.methods.adversarial import adversarial
from albertine.training.methods.elastic_depth import elastic_depth
from albertine.training.methods.freezing import freeze
from albertine.training.methods.layer_decay import depth_scales
from albertine.training.methods.low_rank import add_low_rank, computed_once, merge_low_rank
from albertine.training.methods.r_drop import r_drop

__all__ = ["Methods"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """The methods of a fine-tuning; by default none.

    Raises:
        ConfigError: a value out of range.
    """

    layer_decay: float = 1.0
    """The learning rate of a layer beside that of the layer above it, so that what is learnt best before changes
    least; 1 for one rate everywhere."""
    average: float | None = None
    """Evaluate and keep a moving average of the weights, of which every step keeps this share, such as 0.999."""
    r_drop: float = 0.0
    """Weight of the distance between two passes with different dropout (arXiv:2106.14448, equation 3), such as 1."""
    adversarial: float = 0.0
    """Length of the step against the loss that the word embeddings of a text are moved by in a second pass
    (arXiv:1605.07725, section 3), such as 1."""
    elastic: bool = False
    """Train the states after every pass to answer, so that a prediction can stop early (arXiv:2006.04152)."""
    exit_loss: float = 0.005
    """How much of the main metric the exits may cost; from which certainty on they answer is fitted to it."""
    low_rank: int = 0
    """Train, in place of every matrix of the blocks, a change of this rank (arXiv:2106.09685), such as 8."""
    freeze: str = "nothing"
    """What keeps its weights: nothing, embeddings, body, or a number of blocks from below and the embeddings."""

    def __post_init__(self) -> None:
        """Check every field."""
        _share("layer_decay", self.layer_decay)
        if self.average is not None:
            _share("average", self.average, open_end=True)
        for name in ("r_drop", "adversarial", "exit_loss"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError("value out of range", where=name, received=value, allowed="0 or more")
        if self.low_rank < 0:
            raise ConfigError("value out of range", where="low_rank", received=self.low_rank, allowed="0 or more")
        if self.freeze not in ("nothing", "embeddings", "body") and not self.freeze.isdecimal():
            raise ConfigError(
                "not a part of a model",
                where="freeze",
                received=repr(self.freeze),
                allowed="nothing, embeddings, body, or a number of blocks",
            )

    def around(self, task: AnyTask) -> AnyTask:
        """Return the task with its loss wrapped.

        Raises:
            ConfigError: a method that this task cannot be trained with.
        """
        wrappers: list[Method] = []
        if self.low_rank:
            wrappers.append(computed_once)
        if self.elastic:
            wrappers.append(elastic_depth(task.log_shares))
        if self.r_drop:
            if task.log_shares is None:
                raise ConfigError(
                    "R-Drop compares probabilities, and this task has none", received=task.name, where="r_drop"
                )
            wrappers.append(r_drop(self.r_drop, task.log_shares))
        if self.adversarial:
            wrappers.append(adversarial(self.adversarial))
        return with_methods(task, wrappers)

    def prepare(self, module: nn.Module) -> None:
        """Change what is trained of a task's module, in place; its weights are in it already.

        Raises:
            ConfigError: there is nothing of the kind in this module.
        """
        freeze(module, self.freeze)
        if self.low_rank:
            add_low_rank(module, self.low_rank)

    def finish(self, module: nn.Module) -> None:
        """Turn a trained module back into one that `task.build` could have made, in place."""
        if self.low_rank:
            merge_low_rank(module)
        for parameter in module.parameters():
            parameter.requires_grad_(True)

    def scales(self, module: nn.Module) -> Callable[[str], float] | None:
        """Return what multiplies the learning rate of a parameter, by its name; None for 1 everywhere."""
        return None if self.layer_decay == 1.0 else depth_scales(module, self.layer_decay)

    def to_dict(self) -> dict[str, object]:
        """Return the methods that are used, ready for JSON."""
        return {
            one.name: getattr(self, one.name)
            for one in dataclasses.fields(self)
            if getattr(self, one.name) != one.default
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Methods:
        """Build the record from named values.

        Raises:
            ConfigError: a name does not exist (the message has the nearest) or a value is out of range.
        """
        names = [one.name for one in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                raise unknown_name("training method", name, names)
        return cls(**values)  # type: ignore[arg-type]  # every value is checked in __post_init__


def _share(name: str, value: float, *, open_end: bool = False) -> None:
    if not 0 < value <= 1 or (open_end and value == 1):
        allowed = "above 0, below 1" if open_end else "above 0, at most 1"
        raise ConfigError("value out of range", where=name, received=value, allowed=allowed)
