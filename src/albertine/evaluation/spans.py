"""Spans: from tags to spans by the rules of the CoNLL script, and strict metrics of spans found.

A span counts as found where first character, end and label are all the same. N examples, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from albertine.errors import DataError
from albertine.evaluation.metrics import FloatArray, Metric
from albertine.records import Span

__all__ = [
    "OUTSIDE",
    "Chunk",
    "Prefix",
    "Tag",
    "chunks",
    "ends_chunk",
    "span_evidence",
    "span_evidence_columns",
    "span_metrics",
    "span_rankings",
    "starts_chunk",
]

Prefix = Literal["B", "I", "E", "S", "O"]

RIGHT, GOLD, PREDICTED = 0, 1, 2
"""The first columns of the evidence: spans that are in both, spans in the data, spans found."""


@dataclass(frozen=True, slots=True)
class Tag:
    """The tag of one token."""

    prefix: Prefix
    """Beginning, inside, end, single, outside."""
    label: str
    """The type of the span; empty outside."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens that are a span together."""

    first: int
    """Index of the first token."""
    end: int
    """One past the last token."""
    label: str


OUTSIDE = Tag("O", "")


def starts_chunk(previous: Tag, tag: Tag) -> bool:
    """Say whether a span begins with `tag`, by the rules of conlleval (Tjong Kim Sang and Buchholz 2000).

    The script knows O, B, I and E; S, and what follows an E, are read as the widely used Python port of it does.

    Args:
        previous: the tag of the token before; `OUTSIDE` for the first one.
        tag: of the token.
    """
    if tag.prefix == "O":
        return False
    return tag.prefix in "BS" or previous.prefix in "OES" or previous.label != tag.label


def ends_chunk(previous: Tag, tag: Tag) -> bool:
    """Say whether a span ends before `tag`, by the same rules.

    Args:
        previous: the tag of the token before.
        tag: of the token; `OUTSIDE` behind the last one.
    """
    if previous.prefix == "O":
        return False
    return previous.prefix in "ES" or tag.prefix in "OBS" or previous.label != tag.label


def chunks(tags: Sequence[Tag]) -> list[Chunk]:
    """Return the spans of a sentence's tags, whatever their scheme (IO, IOB1, BIO, IOE, BIOES) and its faults."""
    found: list[Chunk] = []
    previous, first = OUTSIDE, 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        if ends_chunk(previous, tag):
            found.append(Chunk(first, place, previous.label))
        if starts_chunk(previous, tag):
            first = place
        previous = tag
    return found


def span_evidence(
    gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]], labels: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Count the spans of every example.

    Args:
        gold: the spans of the data, of N examples; all their labels are among `labels`.
        predicted: the spans found, likewise.
        labels: the C labels.

    Returns:
        [N, 3 + 3C] the columns of `span_evidence_columns`: spans in both, in the data, and found; of all labels, then
        of each. Sums over examples are the counts of all of them.
    """
    column = {label: 3 + 3 * index for index, label in enumerate(labels)}
    counts = np.zeros((len(gold), 3 + 3 * len(labels)))
    for row, expected, found in zip(counts, gold, predicted, strict=True):
        in_data, answered = _keys(expected), _keys(found)
        for kind, members in ((RIGHT, in_data & answered), (GOLD, in_data), (PREDICTED, answered)):
            row[kind] = len(members)
            for _, _, label in members:
                row[column[label] + kind] += 1
    return counts


def span_evidence_columns(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns of `span_evidence`."""
    kinds = ("right", "gold", "predicted")
    return (*kinds, *(f"{kind}/{label}" for label in labels for kind in kinds))


def span_rankings(labels: Sequence[str]) -> dict[str, Metric]:
    """Return the metrics by which models can be ranked: f1, precision and recall over all spans, and macro_f1.

    macro_f1 is the mean F1 of the labels that occur in the data or among the spans found. What would be a division by
    zero is 0, as in conlleval.

    Args:
        labels: the C labels.
    """
    everything, each = slice(0, 3), slice(3, 3 + 3 * len(labels))

    def mean_f1(sums: FloatArray) -> FloatArray:
        by_label = sums.reshape(len(sums), -1, 3)
        present = (by_label[:, :, GOLD] + by_label[:, :, PREDICTED]) > 0
        return _ratio((_f1(by_label) * present).sum(axis=1), present.sum(axis=1).astype(np.float64))

    return {
        "f1": _metric("f1", everything, _f1),
        "precision": _metric("precision", everything, lambda sums: _ratio(sums[:, RIGHT], sums[:, PREDICTED])),
        "recall": _metric("recall", everything, lambda sums: _ratio(sums[:, RIGHT], sums[:, GOLD])),
        "macro_f1": _metric("macro_f1", each, mean_f1),
    }


def span_metrics(evidence: FloatArray, labels: Sequence[str]) -> dict[str, float]:
    """Return every metric of spans.

    Args:
        evidence: [N, 3 + 3C], as from `span_evidence`.
        labels: the C labels.

    Returns:
        f1, precision, recall, macro_f1 and, for every label that the data or the spans found contain, `f1/LABEL`.

    Raises:
        DataError: there are no examples.
    """
    if len(evidence) == 0:
        raise DataError("there are no examples to evaluate on", next_step="Give a file with labelled rows")
    by_label = evidence.sum(axis=0)[3:].reshape(-1, 3)
    of_label = {
        f"f1/{label}": float(value)
        for label, value, counts in zip(labels, _f1(by_label), by_label, strict=True)
        if counts[GOLD] + counts[PREDICTED] > 0
    }
    return {name: metric.of(evidence) for name, metric in span_rankings(labels).items()} | of_label


def _metric(name: str, columns: slice, of_sums: Callable[[FloatArray], FloatArray]) -> Metric:
    """Make a metric that is a function of the summed columns."""

    def of(evidence: FloatArray) -> float:
        return float(of_sums(evidence[:, columns].sum(axis=0, keepdims=True, dtype=np.float64))[0])

    return Metric(
        name=name,
        of=of,
        statistics=lambda evidence: evidence[:, columns].astype(np.float32),
        of_sums=lambda sums: of_sums(sums.astype(np.float64)),
    )


def _keys(spans: Iterable[Span]) -> set[tuple[int, int, str]]:
    return {(span.start, span.end, span.label) for span in spans}


def _f1(counts: FloatArray) -> FloatArray:
    """[..., 3] counts to [...]."""
    return _ratio(2 * counts[..., RIGHT], counts[..., GOLD] + counts[..., PREDICTED])


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.divide(numerator, denominator, out=np.zeros(denominator.shape), where=denominator > 0)
