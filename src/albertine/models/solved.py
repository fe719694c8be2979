"""Models that a solver fits in one go to the texts themselves: what they all can do, and how one is opened again.

N texts or pairs, C outputs: the logits of as many labels, or 1 for a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from albertine.models.bag_of_words import BagOfWords
from albertine.models.body import SolverConfig
from albertine.models.logistic import FloatArray
from albertine.models.ngrams import BagOfWordsConfig
from albertine.models.text_overlap import Overlap

__all__ = ["SolvedModel", "restored_model"]


class SolvedModel(Protocol):
    """A baseline that is fitted by a solver: it reads texts whole, and needs neither tokenizer nor module."""

    @property
    def config(self) -> SolverConfig:
        """Its configuration, with what the development split chose."""

    @property
    def parameter_count(self) -> int:
        """Every number that was fitted or counted."""

    @property
    def output_size(self) -> int:
        """C; 0 before fitting."""

    def fit(
        self,
        texts: Sequence[str],
        targets: Sequence[int] | Sequence[float],
        classes: int | None,
        /,
        *,
        pairs: Sequence[str | None] | None,
        dev_texts: Sequence[str],
        dev_targets: Sequence[int] | Sequence[float],
        dev_pairs: Sequence[str | None] | None,
        metric: str,
        class_weights: Sequence[float] | None,
        seed: int,
    ) -> SolvedModel:
        """Learn from the training split, choose on the development split.

        Args:
            texts: N training texts.
            targets: label indices below `classes`, or numbers.
            classes: how many labels there are; None for numbers.
            pairs: the second texts of pairs.
            dev_texts: texts on which is chosen; none: nothing is.
            dev_targets: their labels or numbers.
            dev_pairs: their second texts.
            metric: by which is chosen, as the task names it.
            class_weights: the weight of every class in the loss.
            seed: where the solver starts.

        Raises:
            DataError: there is nothing that it could learn.
        """

    def outputs(self, texts: Sequence[str], pairs: Sequence[str | None] | None = None) -> FloatArray:
        """Return the outputs for texts, or pairs of texts, [N, C] float32, in their order."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return everything fitted, named."""


def restored_model(config: SolverConfig, tensors: Mapping[str, torch.Tensor]) -> SolvedModel:
    """Build a fitted model again from its configuration and `SolvedModel.tensors()`.

    Raises:
        CheckpointError: a tensor is missing, or their sizes disagree.
    """
    if isinstance(config, BagOfWordsConfig):
        return BagOfWords.from_tensors(config, tensors)
    return Overlap.from_tensors(config, tensors)
