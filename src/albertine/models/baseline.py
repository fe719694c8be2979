"""What a baseline is: a model of the field's history that encoders are held against, as a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

__all__ = ["Baseline"]

ConfigT = TypeVar("ConfigT")
ModelT = TypeVar("ModelT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline(Generic[ConfigT, ModelT]):
    """A named model that is trained on the user's texts alone."""

    name: str
    """The name under which it is registered and reported."""
    description: str
    """A line for the reader."""
    training: Literal["loop", "solver"]
    """loop: a module trained by the training loop on token ids; solver: fitted in one go on the texts themselves,
    without a tokenizer."""
    make_config: Callable[[int], ConfigT]
    """From the size of the vocabulary to the configuration; a solver does not use the size."""
    build: Callable[[ConfigT], ModelT]
    """From the configuration to the model: a module with random weights, or an unfitted model."""
    learning_rate: float | None = None
    """The peak learning rate (AdamW) that suits it; None for a solver."""
