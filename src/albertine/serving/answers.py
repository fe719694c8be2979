"""What the model says, as it goes over the wire."""

from __future__ import annotations

import base64

import numpy as np

from albertine.inference.search import Hit
from albertine.records import Opinion, Prediction, Span
from albertine.serving.compatible_schemas import Embedding
from albertine.serving.jobs import Answered
from albertine.serving.schemas import OpinionOut, PredictionOut, SearchHit, SpanOut
from albertine.tasks.task import FloatArray

__all__ = ["embedding", "hit", "prediction"]


def prediction(answered: Answered, *, scores: bool) -> PredictionOut:
    """Return a prediction without what its task does not give.

    Args:
        answered: its value is a `Prediction`.
        scores: whether the probability of every label was asked for.
    """
    found: Prediction = answered.value
    # An empty list says "none found" where spans are the answer, and nothing where they are none of the task's.
    other = (found.label, found.labels, found.value, found.text, found.opinions)
    spans = bool(found.spans) or all(one is None for one in other)
    return PredictionOut(
        label=found.label,
        labels=None if found.labels is None else list(found.labels),
        value=found.value,
        output=found.text,
        score=found.score,
        scores=dict(found.scores) if scores and found.scores else None,
        spans=[_span(one) for one in found.spans] if spans else None,
        opinions=None if found.opinions is None else [_opinion(one) for one in found.opinions],
        abstained=True if found.abstained else None,
        truncated=True if answered.truncated else None,
        depth=found.depth,
    )


def hit(found: Hit) -> SearchHit:
    """Return a document that was found."""
    return SearchHit(
        place=found.place, text=found.text, score=found.score, file=found.file or None, line=found.line or None
    )


def embedding(index: int, vector: FloatArray, form: str) -> Embedding:
    """Return a vector as OpenAI's clients read it, as numbers or as base64 of little-endian float32."""
    if form == "base64":
        return Embedding(index=index, embedding=base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode())
    return Embedding.model_construct(index=index, embedding=vector.tolist())


def _span(span: Span) -> SpanOut:
    return SpanOut(start=span.start, end=span.end, label=span.label, score=span.score, text=span.text)


def _opinion(opinion: Opinion) -> OpinionOut:
    return OpinionOut(
        aspect=None if opinion.aspect is None else _span(opinion.aspect),
        expression=None if opinion.expression is None else _span(opinion.expression),
        polarity=opinion.polarity,
        category=opinion.category or None,
        score=opinion.score,
    )
