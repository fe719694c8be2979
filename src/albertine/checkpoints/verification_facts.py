"""What two models say about themselves, compared without running them: sizes, tasks, labels, sentence pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from albertine.checkpoints.state import ModelState
from albertine.checkpoints.verification import OutputComparison

__all__ = ["LabelOrder", "compare_facts", "compare_labels"]

_SIZES = ("vocab_size", "max_position_embeddings", "type_vocab_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOrder:
    """How the labels of two fine-tuned heads correspond."""

    order: tuple[int, ...] | None = None
    """For every label of a, its row in b; None where they are compared row by row."""
    rows: tuple[OutputComparison, ...] = ()
    notes: tuple[str, ...] = ()


def compare_labels(a: ModelState, b: ModelState) -> LabelOrder:
    """Find out which rows of two heads mean the same; other labels are another model."""
    if a.head is None or b.head is None or a.head.task != b.head.task or a.head.labels == b.head.labels:
        return LabelOrder()
    first, second = a.head.labels, b.head.labels
    if sorted(first) == sorted(second) and len(set(first)) == len(first):
        note = (
            f"the labels stand in another order ({_listed(first)} in a, {_listed(second)} in b); logits are compared "
            "label by label"
        )
        return LabelOrder(order=tuple(second.index(label) for label in first), notes=(note,))
    return LabelOrder(rows=(_differs("labels", _listed(first), _listed(second)),))


def compare_facts(a: ModelState, b: ModelState) -> tuple[OutputComparison, ...]:
    """Return a row for everything in which two models are not the same one, whatever they compute on the texts.

    Sizes are compared because the run reaches only what both have: a model with fewer words or positions cannot answer
    what the other does.
    """
    rows = [
        _differs(name, str(getattr(a.config, name)), str(getattr(b.config, name)))
        for name in _SIZES
        if getattr(a.config, name) != getattr(b.config, name)
    ]
    if a.head is not None and b.head is not None and a.head.task != b.head.task:
        rows.append(_differs("task", a.head.task, b.head.task))
    if a.head is not None and b.head is not None and a.head.problem != b.head.problem:
        rows.append(_differs("problem", a.head.problem, b.head.problem))
    if a.pooling is not None and b.pooling is not None:
        first, second = (
            min(one.pooling.max_length or one.config.max_position_embeddings, one.config.max_position_embeddings)
            for one in (a, b)
            if one.pooling is not None
        )
        if first != second:
            rows.append(_differs("sentence max_length", f"{first} tokens", f"{second} tokens"))
        if a.pooling.lowercase != b.pooling.lowercase:
            rows.append(_differs("sentence lowercase", str(a.pooling.lowercase), str(b.pooling.lowercase)))
    return tuple(rows)


def _differs(name: str, a: str, b: str) -> OutputComparison:
    return OutputComparison(
        name=name, sides="both", largest=None, scale=None, within=False, detail=f"{a} in a, {b} in b"
    )


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels)
