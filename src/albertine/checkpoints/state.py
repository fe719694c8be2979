"""A model as named tensors in memory, free of any format: what conversions work on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from albertine.models.config import EncoderConfig
from albertine.models.pooling import SentencePooling

__all__ = ["HEAD_MODULES", "HeadModule", "HeadProblem", "ModelState", "TaskHead"]

HeadModule = Literal["classifier", "qa_outputs"]

HeadProblem = Literal["single", "multi", "regression"]

HEAD_MODULES: Mapping[str, HeadModule] = {
    "text-classification": "classifier",
    "token-classification": "classifier",
    "question-answering": "qa_outputs",
}
"""The tasks whose head is one linear layer, and what that is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHead:
    """A linear head that a fine-tuned model has on top of its encoder."""

    task: str
    """text-classification (on the pooled vector), token-classification or question-answering (on every token)."""
    labels: tuple[str, ...]
    """A label's index is its row in the head's weight; `start` and `end` for question answering."""
    module: HeadModule
    """The tensors are `{module}.weight` [C, H] and `{module}.bias` [C]."""
    problem: HeadProblem = "single"
    """single: one of the labels; multi: any number of them, each for itself; regression: the scores are the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """An encoder with whatever stands on it."""

    config: EncoderConfig
    """Of the encoder; `add_pooler` says whether the pooler's tensors are there."""
    tensors: Mapping[str, Tensor]
    """By the names of `PretrainingModel` (`encoder.…`, `masked_word_head.…`, `pair_head.…`; a head is there whole or
    not at all), with those of the task's head and of the sentence pooling (`pooling.…`) where there are any."""
    head: TaskHead | None = None
    """The fine-tuned head; None for an encoder, pretrained or not."""
    pooling: SentencePooling | None = None
    """How a text's vector is made of its tokens' states; None where the source says nothing about it."""
