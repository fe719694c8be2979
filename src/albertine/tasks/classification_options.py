"""What text classification alone remembers, or can be asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from albertine.errors import ConfigError
from albertine.tasks.config import TaskOptions

__all__ = ["ClassificationOptions", "Imbalance"]

Imbalance = Literal["none", "weights", "focal", "sampling"]
"""What is done about labels that are rare: nothing; their examples count more; examples that are answered well count
less (arXiv:1708.02002, section 3.2); their examples are drawn more often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationOptions(TaskOptions):
    """What text classification alone remembers, or can be asked for."""

    problem: Literal["single", "multi", "regression"] = "single"
    """What an answer is: one label, any number of labels, or a number."""
    label_separator: str = "|"
    """What stands between the labels of a text, where any number applies and a file has them in one field."""
    imbalance: Imbalance = "none"
    """What is done about rare labels."""
    class_weights: tuple[float, ...] | None = None
    """What a training example of each label counted; with several labels, what a text that has it counted. None where
    all counted alike."""
    focal_gamma: float = 2.0
    """The exponent of focal loss."""
    label_smoothing: float = 0.0
    """The share of a label's probability that training spreads over all labels."""
    thresholds: tuple[float, ...] | None = None
    """With several labels, the probability from which on each applies; None for 0.5, until they have been fitted."""
    value_mean: float = 0.0
    """Of the numbers of the training examples; the model learns how far a number is from it, in `value_spread`s."""
    value_spread: float = 1.0
    """Their standard deviation."""
    long_texts: Literal["windows", "head"] = "windows"
    """Texts that are too long are read in windows, whose outputs are averaged, or their head alone is."""

    def __post_init__(self) -> None:
        weights = self.class_weights
        if weights is not None and (
            not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights)
        ):
            raise ConfigError(
                "weight out of range", where="class_weights", received=weights, allowed="0 or more, not all of them 0"
            )
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                "value out of range", where="label_smoothing", received=self.label_smoothing, allowed="0 to below 1"
            )
        if self.focal_gamma < 0:
            raise ConfigError("value out of range", where="focal_gamma", received=self.focal_gamma, allowed="0 or more")
        if not self.label_separator:
            raise ConfigError("a separator is needed", where="label_separator", received="nothing", allowed="such as |")
        if self.problem == "regression" and (self.imbalance != "none" or weights is not None or self.label_smoothing):
            raise ConfigError(
                "numbers have no labels to weigh or to smooth",
                where="problem=regression",
                received=f"imbalance={self.imbalance}, label_smoothing={self.label_smoothing}",
                allowed="imbalance=none, label_smoothing=0",
            )
