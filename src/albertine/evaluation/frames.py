"""Intent and slots together: strict metrics of semantic frames (Goo et al. 2018, section 4.2).

A frame is right where the intent is and so are all slots, none too few and none too many. N examples, C intents.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from albertine.errors import DataError
from albertine.evaluation import spans
from albertine.evaluation.metrics import (
    FloatArray,
    Metric,
    classification_rankings,
    confusion_matrix,
    f1_per_class,
)
from albertine.records import IntArray, Span

__all__ = ["FRAME_COLUMNS", "INTENT_COLUMNS", "frame_evidence", "frame_metrics", "frame_rankings"]

FRAME_COLUMNS = ("gold_intent", "predicted_intent", "confidence", "slots_right", "slots_gold", "slots_predicted")
"""What is kept of every example: the index of the intent in the data, C for one that no model was taught; the one that
was answered and its probability; and how many slots are in both, in the data, and found."""
INTENT_COLUMNS = slice(0, 3)
_SLOT_COLUMNS = slice(3, 6)


def frame_evidence(
    gold: IntArray, probabilities: FloatArray, in_data: Sequence[Iterable[Span]], found: Sequence[Iterable[Span]]
) -> npt.NDArray[np.float64]:
    """Return what is kept of every example, [N, 6], the columns of `FRAME_COLUMNS`.

    Args:
        gold: [N] the intents of the data; C for those that the model does not know.
        probabilities: [N, C] of the intents.
        in_data: the slots of the data.
        found: the slots that were found.
    """
    intents = np.stack([gold, probabilities.argmax(axis=1), probabilities.max(axis=1).round(5)], axis=1)
    slots = spans.span_evidence(in_data, found, _types(in_data, found))[:, :3]
    return np.concatenate([intents.astype(np.float64), slots], axis=1)


def frame_rankings(intents: int) -> dict[str, Metric]:
    """Return the metrics by which models can be ranked, by their key in `frame_metrics`.

    `exact` is the share of right frames, `intent_accuracy` that of right intents, `intent_macro_f1` the mean F1 of the
    intents that occur, in which those that the model does not know count as one more; `slot_f1`, `slot_precision` and
    `slot_recall` count slots of all examples.

    Args:
        intents: C.
    """
    of_intents, of_slots = classification_rankings(intents + 1), spans.span_rankings(())
    return {
        "exact": Metric(
            name="exact",
            of=lambda evidence: float(_right(evidence).mean()),
            statistics=lambda evidence: np.stack([_right(evidence), np.ones(len(evidence))], axis=1),
            of_sums=lambda sums: sums[:, 0] / sums[:, 1],
        ),
        **{
            f"intent_{name}": _of(of_intents[name], f"intent_{name}", INTENT_COLUMNS)
            for name in ("accuracy", "macro_f1")
        },
        **{
            f"slot_{name}": _of(of_slots[name], f"slot_{name}", _SLOT_COLUMNS) for name in ("f1", "precision", "recall")
        },
    }


def frame_metrics(
    evidence: FloatArray, intents: Sequence[str], in_data: Sequence[Iterable[Span]], found: Sequence[Iterable[Span]]
) -> dict[str, float]:
    """Return every metric of intents and slots.

    Args:
        evidence: [N, 6], as from `frame_evidence`.
        intents: the C intents that the model knows.
        in_data: the slots of the data.
        found: the slots that were found.

    Returns:
        Those of `frame_rankings`; `slot_macro_f1`; `intent_f1/INTENT` and `slot_f1/TYPE` for all that the data or the
        answers contain; `unknown_intents`, the share of examples whose intent the model does not know.

    Raises:
        DataError: there are no examples.
    """
    if len(evidence) == 0:
        raise DataError("there are no examples to evaluate on", next_step="Give a file with labelled rows")
    gold, predicted = (evidence[:, column].astype(np.int64) for column in (0, 1))
    by_intent = f1_per_class(confusion_matrix(gold, predicted, len(intents) + 1))[: len(intents)]
    types = _types(in_data, found)
    by_type = spans.span_metrics(spans.span_evidence(in_data, found, types), types)
    return {
        **{name: metric.of(evidence) for name, metric in frame_rankings(len(intents)).items()},
        "slot_macro_f1": by_type["macro_f1"],
        "unknown_intents": float((gold == len(intents)).mean()),
        **{
            f"intent_f1/{intent}": float(value)
            for intent, value in zip(intents, by_intent, strict=True)
            if not np.isnan(value)
        },
        **{f"slot_{name}": value for name, value in by_type.items() if name.startswith("f1/")},
    }


def _right(evidence: FloatArray) -> FloatArray:
    """Say of every example whether its frame is right, [N] of zeros and ones."""
    gold, predicted, _, right, in_data, found = evidence.T
    frames: FloatArray = ((gold == predicted) & (right == in_data) & (right == found)).astype(np.float64)
    return frames


def _of(metric: Metric, name: str, columns: slice) -> Metric:
    """Return the metric for evidence that has its columns among others."""
    assert metric.statistics is not None, "it is a function of sums"
    statistics = metric.statistics
    return Metric(
        name=name,
        of=lambda evidence: metric.of(evidence[:, columns]),
        statistics=lambda evidence: statistics(evidence[:, columns]),
        of_sums=metric.of_sums,
    )


def _types(*sides: Sequence[Iterable[Span]]) -> list[str]:
    return sorted({span.label for side in sides for example in side for span in example})
