"""Metrics of opinions: what counts as found, and that sums over examples are enough."""

from __future__ import annotations

import numpy as np
import pytest

from albertine.errors import DataError
from albertine.evaluation.opinions import (
    OpinionKind,
    opinion_evidence,
    opinion_evidence_columns,
    opinion_kinds,
    opinion_metrics,
    opinion_rankings,
)
from albertine.records import Opinion, Span

ALL: tuple[OpinionKind, ...] = opinion_kinds(expressions=True, categories=True)


def span(start: int, end: int) -> Span:
    return Span(start=start, end=end, label="", text="x" * (end - start))


def opinion(
    aspect: tuple[int, int] | None, expression: tuple[int, int] | None, polarity: str, category: str = ""
) -> Opinion:
    return Opinion(
        aspect=None if aspect is None else span(*aspect),
        expression=None if expression is None else span(*expression),
        polarity=polarity,
        category=category,
    )


GOLD = [
    [opinion((0, 4), (8, 12), "POS", "food"), opinion((0, 4), (20, 23), "NEG", "food")],
    [opinion(None, (5, 7), "NEG", "price")],
    [],
]
FOUND = [
    [opinion((0, 4), (8, 12), "POS", "food"), opinion((0, 4), (20, 23), "POS", "price")],
    [opinion(None, (5, 7), "NEG", "room"), opinion((1, 2), (5, 8), "NEG", "price")],
    [opinion((3, 4), None, "POS", "food")],
]
JUDGED = [["POS", "NEG"], ["POS"], []]


def test_what_is_compared_is_what_the_data_mark() -> None:
    metrics = opinion_metrics(opinion_evidence(GOLD, FOUND, JUDGED, ALL), ALL)
    assert metrics["opinion_precision"] == pytest.approx(1 / 5)
    assert metrics["opinion_recall"] == pytest.approx(1 / 3)
    assert metrics["opinion_f1"] == pytest.approx(2 / 8)
    # without the category one more is right, without the polarity another
    assert metrics["triplet_precision"] == pytest.approx(2 / 5)
    assert metrics["triplet_recall"] == pytest.approx(2 / 3)
    assert metrics["triplet_f1"] == pytest.approx(4 / 8)
    assert metrics["pair_f1"] == pytest.approx(6 / 8)
    # (0, 4) is one aspect however many opinions there are of it, and an implied one is none
    assert metrics["aspect_f1"] == pytest.approx(2 / (1 + 3))
    assert metrics["expression_f1"] == pytest.approx(6 / (3 + 4))
    # categories of a text: food and price where food is right, room and price for price, food for nothing
    assert metrics["category_f1"] == pytest.approx(4 / (2 + 5))
    assert metrics["polarity_accuracy"] == pytest.approx(2 / 3)


def test_aspects_with_polarities_alone() -> None:
    kinds = opinion_kinds(expressions=False, categories=False)
    gold = [[opinion((0, 2), None, "Positive"), opinion((5, 7), None, "Negative")]]
    found = [[opinion((0, 2), (3, 4), "Positive", "any"), opinion((5, 7), None, "Positive")]]
    metrics = opinion_metrics(opinion_evidence(gold, found, [["Positive", "Positive"]], kinds), kinds)
    assert metrics == {
        "opinion_f1": 0.5,
        "opinion_precision": 0.5,
        "opinion_recall": 0.5,
        "aspect_f1": 1.0,
        "polarity_accuracy": 0.5,
    }


def test_an_opinion_said_twice_counts_once() -> None:
    kinds = opinion_kinds(expressions=True, categories=False)
    one = opinion((0, 4), (8, 12), "POS")
    evidence = opinion_evidence([[one]], [[one, one]], [["POS"]], kinds)
    columns = opinion_evidence_columns(kinds)
    assert evidence.shape == (1, len(columns))
    row = dict(zip(columns, evidence[0].tolist(), strict=True))
    assert [row[f"{name}/opinion"] for name in ("right", "gold", "predicted")] == [1, 1, 1]
    assert (row["right/polarity"], row["gold/polarity"]) == (1, 1)


@pytest.mark.parametrize("name", sorted(opinion_rankings(ALL)))
def test_sums_over_resampled_examples_give_what_the_examples_give(name: str) -> None:
    metric = opinion_rankings(ALL)[name]
    assert metric.name == name
    evidence = opinion_evidence(GOLD, FOUND, JUDGED, ALL)
    drawn = np.random.default_rng(3).integers(0, 3, size=(50, 3))
    assert metric.statistics is not None
    assert metric.of_sums is not None
    sums = np.stack([metric.statistics(evidence)[rows].sum(axis=0) for rows in drawn])
    expected = [metric.of(evidence[rows]) for rows in drawn]
    np.testing.assert_allclose(metric.of_sums(sums), expected, rtol=1e-6)
    assert len(set(expected)) > 1


def test_nothing_there_and_nothing_found_is_zero_and_no_examples_are_refused() -> None:
    metrics = opinion_metrics(opinion_evidence([[]], [[]], [[]], ALL), ALL)
    assert set(metrics.values()) == {0.0}
    with pytest.raises(DataError, match="no examples"):
        opinion_metrics(opinion_evidence([], [], [], ALL), ALL)
