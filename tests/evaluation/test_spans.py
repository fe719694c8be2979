"""Spans of tags by conlleval's rules, and metrics of spans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from albertine.errors import DataError
from albertine.evaluation.spans import (
    OUTSIDE,
    Chunk,
    Tag,
    chunks,
    ends_chunk,
    span_evidence,
    span_evidence_columns,
    span_metrics,
    span_rankings,
    starts_chunk,
)
from albertine.records import Span

# What happens between two tags, written by hand: "]" a span ends, "[" one begins, "." neither.
NEXT = ["O", "B-x", "I-x", "E-x", "S-x", "B-y", "I-y", "E-y", "S-y"]
TRANSITIONS = {
    "O": ".    [    [    [    [    [    [    [    [",
    "B-x": "]    ][   .    .    ][   ][   ][   ][   ][",
    "I-x": "]    ][   .    .    ][   ][   ][   ][   ][",
    "E-x": "]    ][   ][   ][   ][   ][   ][   ][   ][",
    "S-x": "]    ][   ][   ][   ][   ][   ][   ][   ][",
}


def tag(text: str) -> Tag:
    return OUTSIDE if text == "O" else Tag(text[0], text[2:])  # type: ignore[arg-type]


def tags(text: str) -> list[Tag]:
    return [tag(one) for one in text.split()]


def span(start: int, end: int, label: str) -> Span:
    return Span(start=start, end=end, label=label, text="?" * (end - start))


def happens(previous: str, following: str) -> str:
    """Look a transition up in the table, whatever the two types are called."""
    if previous == "O":
        return "." if following == "O" else "["
    same = following[2:] == previous[2:]
    column = "O" if following == "O" else f"{following[0]}-{'x' if same else 'y'}"
    return TRANSITIONS[f"{previous[0]}-x"].split()[NEXT.index(column)]


@pytest.mark.parametrize("previous", TRANSITIONS)
def test_every_transition_is_what_the_table_says(previous: str) -> None:
    for following, expected in zip(NEXT, TRANSITIONS[previous].split(), strict=True):
        found = "]" * ends_chunk(tag(previous), tag(following)) + "[" * starts_chunk(tag(previous), tag(following))
        assert (found or ".") == expected, f"{previous} then {following}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("O O", []),
        ("B-PER I-PER O B-LOC", [(0, 2, "PER"), (3, 4, "LOC")]),
        # IOB1: B- stands between two spans of one type and nowhere else
        ("I-PER I-PER B-PER I-LOC O I-LOC", [(0, 2, "PER"), (2, 3, "PER"), (3, 4, "LOC"), (5, 6, "LOC")]),
        ("I-A I-A I-B", [(0, 2, "A"), (2, 3, "B")]),
        ("B-A I-A E-A S-A B-A E-A", [(0, 3, "A"), (3, 4, "A"), (4, 6, "A")]),
        # not in order: an end without its beginning, an inside behind an end, another type in the middle
        ("O E-A O", [(1, 2, "A")]),
        ("B-A E-A I-A", [(0, 2, "A"), (2, 3, "A")]),
        ("B-A I-B I-B", [(0, 1, "A"), (1, 3, "B")]),
        ("B-A O I-A", [(0, 1, "A"), (2, 3, "A")]),
    ],
)
def test_spans_of_sentences(text: str, expected: list[tuple[int, int, str]]) -> None:
    assert chunks(tags(text)) == [Chunk(*one) for one in expected]


def streamed_counts(gold: Sequence[str], predicted: Sequence[str]) -> tuple[int, int, int]:
    """Count right, gold and predicted spans as the script does: in one pass over both columns, without any spans."""
    right = in_gold = in_predicted = 0
    together = False
    for place in range(len(gold) + 1):
        pairs = [
            (column[place - 1] if place else "O", column[place] if place < len(column) else "O")
            for column in (gold, predicted)
        ]
        one, other = (happens(*pair) for pair in pairs)
        if together:
            if "]" in one and "]" in other and pairs[0][0][2:] == pairs[1][0][2:]:
                right, together = right + 1, False
            elif ("]" in one) != ("]" in other) or pairs[0][1][2:] != pairs[1][1][2:]:
                together = False
        in_gold += "]" in one
        in_predicted += "]" in other
        if "[" in one and "[" in other and pairs[0][1][2:] == pairs[1][1][2:]:
            together = True
    return right, in_gold, in_predicted


def test_counts_are_those_of_the_script_on_any_tags() -> None:
    generator = np.random.default_rng(11)
    names = ["O", "O", *(f"{prefix}-{label}" for prefix in "BIES" for label in ("x", "y", "z"))]
    found = 0
    for _ in range(300):
        length = int(generator.integers(1, 12))
        gold = [names[index] for index in generator.integers(0, len(names), length)]
        # mostly the same, so that many spans are right
        predicted = [names[int(generator.integers(0, len(names)))] if generator.random() < 0.3 else one for one in gold]
        as_spans = [
            [span(chunk.first, chunk.end, chunk.label) for chunk in chunks([tag(one) for one in column])]
            for column in (gold, predicted)
        ]
        evidence = span_evidence(as_spans[:1], as_spans[1:], ("x", "y", "z"))
        assert tuple(evidence[0, :3]) == streamed_counts(gold, predicted)
        found += int(evidence[0, 0])
    assert found > 100


LABELS = ("LOC", "ORG", "PER")
GOLD = [
    [span(0, 2, "PER"), span(4, 9, "LOC")],
    [],
    [span(1, 3, "PER"), span(3, 5, "PER")],
]
PREDICTED = [
    [span(0, 2, "PER"), span(4, 9, "PER")],  # the second has the wrong type
    [span(2, 3, "LOC")],
    [span(1, 3, "PER"), span(3, 6, "PER")],  # the second has the wrong end
]


def test_a_span_is_right_only_with_both_ends_and_its_type() -> None:
    metrics = span_metrics(span_evidence(GOLD, PREDICTED, LABELS), LABELS)
    assert metrics["precision"] == pytest.approx(2 / 5)
    assert metrics["recall"] == pytest.approx(2 / 4)
    assert metrics["f1"] == pytest.approx(4 / 9)
    assert metrics["f1/PER"] == pytest.approx(4 / 7)
    assert metrics["f1/LOC"] == 0
    assert "f1/ORG" not in metrics  # neither in the data nor found
    assert metrics["macro_f1"] == pytest.approx((4 / 7 + 0) / 2)


def test_evidence_has_its_columns_and_adds_up() -> None:
    evidence = span_evidence(GOLD, PREDICTED, LABELS)
    columns = span_evidence_columns(LABELS)
    assert evidence.shape == (3, len(columns))
    assert columns[:6] == ("right", "gold", "predicted", "right/LOC", "gold/LOC", "predicted/LOC")
    for kind in ("right", "gold", "predicted"):
        of_label = [columns.index(f"{kind}/{label}") for label in LABELS]
        assert (evidence[:, of_label].sum(axis=1) == evidence[:, columns.index(kind)]).all()


def test_a_span_said_twice_counts_once() -> None:
    twice = [[span(0, 2, "PER"), span(0, 2, "PER")]]
    assert span_evidence(twice[:1], twice, LABELS)[0, :3].tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["f1", "precision", "recall", "macro_f1"])
def test_sums_over_resampled_examples_give_what_the_examples_give(name: str) -> None:
    metric = span_rankings(LABELS)[name]
    evidence = span_evidence(GOLD, PREDICTED, LABELS)
    generator = np.random.default_rng(3)
    drawn = generator.integers(0, 3, size=(50, 3))
    assert metric.statistics is not None
    assert metric.of_sums is not None
    sums = np.stack([metric.statistics(evidence)[rows].sum(axis=0) for rows in drawn])
    expected = [metric.of(evidence[rows]) for rows in drawn]
    np.testing.assert_allclose(metric.of_sums(sums), expected, rtol=1e-6)
    assert len(set(expected)) > 1


def test_nothing_there_and_nothing_found_is_zero_and_no_examples_are_refused() -> None:
    metrics = span_metrics(span_evidence([[]], [[]], LABELS), LABELS)
    assert {metrics[name] for name in ("f1", "precision", "recall", "macro_f1")} == {0.0}
    with pytest.raises(DataError, match="no examples"):
        span_metrics(span_evidence([], [], LABELS), LABELS)
