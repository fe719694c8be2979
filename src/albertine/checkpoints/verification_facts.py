"""What two models say about themselves, compared without running them: sizes, tasks, labels, sentence pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from albertine.checkpoints.report import listed
from albertine.checkpoints.state import ModelState
from albertine.checkpoints.verification import OutputComparison
from albertine.models.pooling import SentencePooling
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["LabelOrder", "compare_facts", "compare_labels"]

_LABELS_SHOWN = 8
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
            f"the labels stand in another order ({_labels(first, second)} in a, {_labels(second, first)} in b); "
            "logits are compared label by label"
        )
        return LabelOrder(order=tuple(second.index(label) for label in first), notes=(note,))
    return LabelOrder(rows=(_differs("labels", _labels(first, second), _labels(second, first)),))


def compare_facts(
    a: ModelState, b: ModelState, tokenizers: tuple[Tokenizer | None, Tokenizer | None] = (None, None)
) -> tuple[OutputComparison, ...]:
    """Return a row for everything in which two models are not the same one, whatever they compute on the texts.

    Sizes are compared because the run reaches only what both have: a model with fewer words or positions cannot answer
    what the other does.

    Args:
        a: the first.
        b: the second.
        tokenizers: theirs; what they say of the longest text counts where both are there.
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
        of_a, of_b = tokenizers if None not in tokenizers else (None, None)
        sides = (_sentence_facts(a, a.pooling, of_a), _sentence_facts(b, b.pooling, of_b))
        rows += [
            _differs(name, sides[0][name], sides[1][name]) for name in sides[0] if sides[0][name] != sides[1][name]
        ]
    return tuple(rows)


def _sentence_facts(state: ModelState, pooling: SentencePooling, tokenizer: Tokenizer | None) -> dict[str, str]:
    """Return what else decides about a sentence's vector, by the name of its row."""
    positions = state.config.max_position_embeddings
    stated = pooling.max_length or (None if tokenizer is None else tokenizer.max_length) or positions
    whole = replace(pooling, truncate_dim=None).width(state.config.hidden_size)
    cut = pooling.truncate_dim is not None and pooling.truncate_dim < whole
    return {
        "sentence max_length": f"{min(stated, positions)} tokens",
        "sentence lowercase": str(pooling.lowercase),
        "sentence truncate_dim": str(pooling.truncate_dim if cut else None),
    }


def _differs(name: str, a: str, b: str) -> OutputComparison:
    return OutputComparison(
        name=name, sides="both", largest=None, scale=None, within=False, detail=f"{a} in a, {b} in b"
    )


def _labels(labels: Sequence[str], other: Sequence[str]) -> str:
    """Name labels; where they are too many, those from the first on that the other side has not in its place."""
    if max(len(labels), len(other)) <= _LABELS_SHOWN:
        return listed(labels, _LABELS_SHOWN)
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(labels, other, strict=False)))
    return f"{alike} as in the other, then {listed(labels[alike:], _LABELS_SHOWN) or 'none'}"
