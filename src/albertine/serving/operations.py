"""What a model can be asked to do with the items of many requests at once: predict, encode, search, explain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from albertine.errors import FailureError
from albertine.inference.engine import Answers
from albertine.inference.model import Model
from albertine.inference.search import Index
from albertine.inference.vectors import VectorModel
from albertine.records import Example, Prediction
from albertine.serving.jobs import Answered

__all__ = ["Encoding", "Explainer", "Explaining", "Predicting", "Query", "Searching"]

Query = tuple[str, int]
"""What to look for, and how many documents at most."""


@runtime_checkable
class Explainer(Protocol):
    """What `albertine.registry.explainers` registers: something that says why a model answers as it does."""

    def explain(self, model: Model, example: Example, label: str | None) -> Mapping[str, object]:
        """Explain one answer, ready for JSON.

        Args:
            model: the model.
            example: what it was asked about.
            label: the label to explain; None for the predicted one.

        Raises:
            UserError: this model or this input cannot be explained.
        """


class Predicting:
    """Examples to predictions.

    Args:
        model: any task model.
    """

    name = "predict"

    def __init__(self, model: Model) -> None:
        self.model = model
        self.longest: int | None = None
        if getattr(model.task_config.options, "long_texts", None) == "head":
            self.longest = model.task_config.max_length

    def run(self, items: Sequence[Example]) -> list[Answered]:
        """Return every example's prediction, as `Prediction`.

        Raises:
            UserError: an example is not of the model's kind.
            FailureError: the model gave a number that is none.
        """
        answers = self.model.answers(items)
        predictions = self.model.predictions(answers, items)
        for one in predictions:
            _check_finite(one)
        return _answered(predictions, answers)


class Encoding:
    """Texts to vectors.

    Args:
        vectors: what makes them.
    """

    name = "encode"

    def __init__(self, vectors: VectorModel) -> None:
        self.vectors = vectors
        self.longest: int | None = vectors.max_length

    def run(self, items: Sequence[str]) -> list[Answered]:
        """Return every text's vector, [width] float32.

        Raises:
            FailureError: a number of a vector is none.
        """
        found = self.vectors.engine.answers(items)
        if not all(np.isfinite(row).all() for row in found.rows):
            raise FailureError("the encoder gives vectors that are not finite")
        return _answered(found.rows, found)


class Searching:
    """Queries to the documents of an index.

    Args:
        index: with its encoder.
    """

    name = "search"

    def __init__(self, index: Index) -> None:
        self.index = index
        self.longest: int | None = index.encoder.max_length

    def run(self, items: Sequence[Query]) -> list[Answered]:
        """Return every query's documents, as a list of `Hit`, the nearest first.

        Raises:
            UserError: a query without any text.
        """
        index = self.index
        texts = [text for text, _ in items]
        found = index.search(texts, max(k for _, k in items))
        read = index.encoder.engine.encode_items([index.query_prompt + text for text in texts])
        return [Answered(hits[:k], len(one)) for hits, (_, k), one in zip(found, items, read, strict=True)]


class Explaining:
    """Examples to explanations, one after another.

    Args:
        model: any task model.
        explainer: what explains it.
    """

    name = "explain"

    def __init__(self, model: Model, explainer: Explainer) -> None:
        self.model, self.explainer = model, explainer
        self.longest: int | None = None

    def run(self, items: Sequence[tuple[Example, str | None]]) -> list[Answered]:
        """Return every example's explanation, as the explainer gives it."""
        return [Answered(self.explainer.explain(self.model, example, label), 0) for example, label in items]


def _answered(values: Sequence[object], found: Answers[Any]) -> list[Answered]:
    """Return what goes to the callers, beside it what was read for it."""
    cut = set(found.truncated)
    return [
        Answered(value, count, place in cut)
        for place, (value, count) in enumerate(zip(values, found.tokens, strict=True))
    ]


def _check_finite(prediction: Prediction) -> None:
    spans = [one.score for one in prediction.spans]
    numbers = [prediction.score, prediction.value, *prediction.scores.values(), *spans]
    if not all(number is None or math.isfinite(number) for number in numbers):
        raise FailureError("the model gives a number that is not finite")
