"""The records that stages hand on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from albertine.records import Opinion, Prediction, Span

SPAN = Span(start=3, end=7, label="place", score=0.9, text="Oslo")
OPINION = Opinion(aspect=SPAN, expression=None, polarity="positive", score=0.8)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Prediction(label="a", score=0.9, scores={"a": 0.9}), Prediction(label="a", score=0.8, scores={"a": 0.8})),
        (Prediction(value=3.14), Prediction(value=3.15)),
        (Prediction(spans=(SPAN,)), Prediction(spans=(replace(SPAN, score=0.5),))),
        (Prediction(opinions=(OPINION,)), Prediction(opinions=(replace(OPINION, score=0.1),))),
        (Prediction(text="Oslo", spans=(SPAN,)), Prediction(text="Oslo", spans=(SPAN, replace(SPAN, start=0)))),
    ],
)
def test_numbers_and_lower_ranks_are_no_part_of_an_answer(one: Prediction, other: Prediction) -> None:
    assert one.answer == other.answer


@pytest.mark.parametrize(
    "other",
    [
        Prediction(label="b"),
        Prediction(label="a", abstained=True),
        Prediction(label="a", labels=("a",)),
        Prediction(label="a", spans=(SPAN,)),
        Prediction(label="a", text="a"),
        Prediction(label="a", opinions=(OPINION,)),
    ],
)
def test_everything_else_is(other: Prediction) -> None:
    assert Prediction(label="a").answer != other.answer


def test_opinions_differ_by_what_is_said_of_what() -> None:
    said = Prediction(opinions=(OPINION,)).answer
    for other in (replace(OPINION, polarity="negative"), replace(OPINION, aspect=None), replace(OPINION, category="x")):
        assert Prediction(opinions=(other,)).answer != said
