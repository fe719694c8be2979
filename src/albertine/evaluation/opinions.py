"""Opinions found in texts, held against those of the data: exact matches of what the data mark.

N examples, K kinds of things that are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from albertine.errors import DataError
from albertine.evaluation.metrics import FloatArray, Metric
from albertine.evaluation.spans import GOLD, PREDICTED, RIGHT, span_rankings
from albertine.records import Opinion, Span

__all__ = [
    "OpinionKind",
    "opinion_evidence",
    "opinion_evidence_columns",
    "opinion_key",
    "opinion_kinds",
    "opinion_metrics",
    "opinion_parts",
    "opinion_rankings",
]

OpinionKind = Literal["opinion", "triplet", "pair", "aspect", "expression", "category"]
"""What is counted: opinions with all that the data mark of them; aspect, expression and polarity; aspect and
expression; each of the two alone, where it is not implied; and the categories that a text speaks of."""

_POLARITY = "polarity_accuracy"


def opinion_kinds(*, expressions: bool, categories: bool) -> tuple[OpinionKind, ...]:
    """Return what is counted where the data mark expressions and categories, or do not.

    Args:
        expressions: whether they are marked.
        categories: whether aspects have some.
    """
    kinds: tuple[OpinionKind, ...] = ("opinion", "aspect")
    if expressions:
        kinds = (*kinds, "triplet", "pair", "expression")
    return (*kinds, "category") if categories else kinds


def opinion_key(opinion: Opinion) -> tuple[tuple[int, int] | None, tuple[int, int] | None, str]:
    """Return what an opinion is about: the places of aspect and expression, and the category."""
    return _place(opinion.aspect), _place(opinion.expression), opinion.category


def opinion_parts(opinions: Iterable[Opinion], kind: OpinionKind, kinds: Sequence[OpinionKind]) -> set[Hashable]:
    """Return the things of a kind that opinions hold, each once.

    Args:
        opinions: of one text.
        kind: which.
        kinds: all that are counted; an opinion is compared by what is among them.
    """
    found: set[Hashable] = set()
    for one in opinions:
        aspect, expression, category = opinion_key(one)
        if kind == "opinion":
            marked = (expression if "expression" in kinds else None, category if "category" in kinds else None)
            found.add((aspect, *marked, one.polarity))
        elif kind == "triplet":
            found.add((aspect, expression, one.polarity))
        elif kind == "pair":
            found.add((aspect, expression))
        elif kind == "category":
            found.add(category)
        else:
            found.add(aspect if kind == "aspect" else expression)
    return found - {None}


def opinion_evidence(
    gold: Sequence[Sequence[Opinion]],
    predicted: Sequence[Sequence[Opinion]],
    judged: Sequence[Sequence[str]],
    kinds: Sequence[OpinionKind],
) -> npt.NDArray[np.float64]:
    """Count the opinions of every example.

    Args:
        gold: the opinions of the data, of N examples.
        predicted: those found.
        judged: the polarities that the model gives to the opinions of the data, when it is told what they are about.
        kinds: as from `opinion_kinds`.

    Returns:
        [N, 3K + 2] the columns of `opinion_evidence_columns`: of every kind those in both, in the data, and found;
        polarities that are right, and polarities. Sums over examples are the counts of all of them.
    """
    counts = np.zeros((len(gold), 3 * len(kinds) + 2))
    for row, expected, found, polarities in zip(counts, gold, predicted, judged, strict=True):
        for place, kind in enumerate(kinds):
            in_data, answered = (opinion_parts(one, kind, kinds) for one in (expected, found))
            row[3 * place : 3 * place + 3] = len(in_data & answered), len(in_data), len(answered)
        row[-2] = sum(one.polarity == said for one, said in zip(expected, polarities, strict=True))
        row[-1] = len(expected)
    return counts


def opinion_evidence_columns(kinds: Sequence[OpinionKind]) -> tuple[str, ...]:
    """Return the names of the columns of `opinion_evidence`."""
    counted = (f"{count}/{kind}" for kind in kinds for count in ("right", "gold", "predicted"))
    return (*counted, "right/polarity", "gold/polarity")


def opinion_rankings(kinds: Sequence[OpinionKind]) -> dict[str, Metric]:
    """Return the metrics by which models can be ranked.

    F1, precision and recall of whole opinions (`opinion_f1`, …) and of triplets, F1 of every other kind, and the share
    of right polarities where the model is told what they are about. What would be a division by zero is 0.

    Args:
        kinds: as from `opinion_kinds`.
    """
    metrics: list[Metric] = []
    for place, kind in enumerate(kinds):
        names = ("f1", "precision", "recall") if kind in ("opinion", "triplet") else ("f1",)
        metrics += [_moved(span_rankings(())[name], f"{kind}_{name}", 3 * place) for name in names]
    return {one.name: one for one in (*metrics, _share(_POLARITY))}


def opinion_metrics(evidence: FloatArray, kinds: Sequence[OpinionKind]) -> dict[str, float]:
    """Return every metric of opinions.

    Args:
        evidence: [N, 3K + 2], as from `opinion_evidence`.
        kinds: as from `opinion_kinds`.

    Raises:
        DataError: there are no examples.
    """
    if len(evidence) == 0:
        raise DataError("there are no examples to evaluate on", next_step="Give a file with labelled rows")
    return {name: metric.of(evidence) for name, metric in opinion_rankings(kinds).items()}


def _moved(metric: Metric, name: str, first: int) -> Metric:
    """Return a metric of the counts right, gold and predicted that stand from column `first` on."""
    columns = slice(first + RIGHT, first + max(GOLD, PREDICTED) + 1)
    assert metric.statistics is not None, "counts are summed up"
    statistics: Callable[[FloatArray], FloatArray] = metric.statistics
    return Metric(
        name=name,
        of=lambda evidence: metric.of(evidence[:, columns]),
        statistics=lambda evidence: statistics(evidence[:, columns]),
        of_sums=metric.of_sums,
    )


def _share(name: str) -> Metric:
    """Return the metric of the last two columns: how many of the second the first is."""

    def of_sums(sums: FloatArray) -> FloatArray:
        return np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] > 0)

    return Metric(
        name=name,
        of=lambda evidence: float(of_sums(evidence[:, -2:].sum(axis=0, keepdims=True, dtype=np.float64))[0]),
        statistics=lambda evidence: evidence[:, -2:].astype(np.float32),
        of_sums=lambda sums: of_sums(sums.astype(np.float64)),
    )


def _place(span: Span | None) -> tuple[int, int] | None:
    return None if span is None else (span.start, span.end)
