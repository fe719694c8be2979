"""The rules of SQuAD and CMRC 2018, by cases worked out by hand from their published definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertine.errors import DataError
from albertine.evaluation.answers import (
    AnswerRule,
    answer_metrics,
    answer_rankings,
    best_no_answer_threshold,
    score_answers,
)


def scored(rule: AnswerRule, prediction: str, *golds: str) -> tuple[float, float]:
    found = score_answers([prediction], [golds], rule)
    return float(found.exact[0]), float(found.f1[0])


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "f1"),
    [
        ("The Eiffel Tower!", ["eiffel  tower"], 1, 1),
        ("an apple a day", ["apple day"], 1, 1),
        ("another", ["other"], 0, 0),
        ("well-known", ["wellknown"], 1, 1),
        ("well-known", ["well known"], 0, 0),
        ("SÃO Paulo.", ["são paulo"], 1, 1),
        ("são paulo", ["sao paulo"], 0, 1 / 2),
        # only ASCII punctuation goes
        ("«paris»", ["paris"], 0, 0),
        # big, red, dog against red, dog, house: two in common
        ("the big red dog", ["red dog house"], 0, 2 / 3),
        # order does not count, and a word counts as often as both have it
        ("house dog red", ["red dog house"], 0, 1),
        ("no no no", ["no no"], 0, 4 / 5),
        ("1066", ["the year 1066", "in 1066", "10 66"], 0, 2 / 3),
        ("in 1066", ["the year 1066", "in 1066"], 1, 1),
        ("", ["x"], 0, 0),
        ("", [], 1, 1),
        ("x", [], 0, 0),
        # nothing is left of these
        ("the", [], 1, 1),
        ("...", ["x"], 0, 0),
        ("", ["the", "x"], 0, 0),
        ("", ["a"], 1, 1),
    ],
)
def test_squad_compares_words_without_case_punctuation_and_articles(
    prediction: str, golds: list[str], exact: float, f1: float
) -> None:
    assert scored("squad", prediction, *golds) == pytest.approx((exact, f1))


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "f1"),
    [
        ("《战国无双3》", ["战国无双3"], 1, 1),
        ("Koei。", ["koei"], 1, 1),
        # a blank stays in exact match, and divides nothing in F1
        ("1998年", ["1998 年。"], 0, 1),
        # the longest piece in common is two characters of four
        ("北京大学", ["大学北京"], 0, 1 / 2),
        ("北京市大学", ["北京大学"], 0, 2 * 2 / 9),
        # ωforce 公 司 against 光 荣 和 ωforce: one of three and of four
        ("ω-force公司", ["光荣和ω-force"], 0, 2 / 7),
        # a number with its decimals is one piece: 3.5 % against 3.5, not 3 . 5
        ("3.5%", ["3.5"], 0, 2 / 3),
        ("2,000人", ["2,000"], 0, 2 / 3),
        # full-width digits and ASCII stops are characters like others
        ("１９９８", ["1998"], 0, 0),
        ("是。", ["是."], 0, 2 / 3),
        ("村雨城", ["任天堂游戏谜之村雨城", "村雨"], 0, 4 / 5),
        ("", ["村雨城"], 0, 0),
        ("", [], 1, 1),
        ("村", [], 0, 0),
        ("", ["。", "村"], 0, 0),
    ],
)
def test_cmrc_compares_characters_and_words_without_chinese_punctuation(
    prediction: str, golds: list[str], exact: float, f1: float
) -> None:
    assert scored("cmrc", prediction, *golds) == pytest.approx((exact, f1))


def test_both_kinds_of_questions_are_measured_apart() -> None:
    found = score_answers(["", "red dog", "x", "the dog"], [[], ["dog"], [], ["dog", "cat"]], "squad")
    has_answer = np.array([False, True, False, True])
    assert answer_metrics(found.exact, found.f1, has_answer) == pytest.approx(
        {
            "exact_match": 2 / 4,
            "f1": (1 + 2 / 3 + 0 + 1) / 4,
            "has_answer_exact_match": 1 / 2,
            "has_answer_f1": (2 / 3 + 1) / 2,
            "no_answer_accuracy": 1 / 2,
        }
    )


def test_parts_without_questions_are_not_named() -> None:
    ones = np.ones(3)
    assert set(answer_metrics(ones, ones, np.ones(3, dtype=bool))) == {"exact_match", "f1"}
    assert set(answer_metrics(ones, ones, np.zeros(3, dtype=bool))) == {"exact_match", "f1", "no_answer_accuracy"}
    with pytest.raises(DataError, match="no questions"):
        answer_metrics(np.zeros(0), np.zeros(0), np.zeros(0, dtype=bool))


def test_the_ranking_metrics_are_those_that_are_reported() -> None:
    generator = np.random.default_rng(7)
    evidence = np.stack([generator.integers(2, size=57), generator.random(57), generator.integers(2, size=57)], axis=1)
    reported = answer_metrics(evidence[:, 0], evidence[:, 1], evidence[:, 2] > 0)
    resample = generator.integers(57, size=(5, 57))
    for name, metric in answer_rankings().items():
        assert metric.of(evidence) == reported[name]
        assert metric.statistics is not None
        assert metric.of_sums is not None
        sums = metric.statistics(evidence)[resample].sum(axis=1)
        np.testing.assert_allclose(metric.of_sums(sums), [metric.of(evidence[rows]) for rows in resample])


def test_the_threshold_is_the_middle_between_the_last_answer_that_pays_and_the_next() -> None:
    # worth in order of the difference: +1, +1, -1 (no answer), +0.5, -1 (no answer)
    fitted = best_no_answer_threshold(
        np.array([0.5, 0.0, 1.0, 0.0, 1.0]),
        np.array([3.0, 7.0, -4.0, 2.0, -1.0]),
        np.array([True, False, True, False, True]),
        np.ones(5, dtype=bool),
    )
    assert fitted.threshold == pytest.approx((-1.0 + 2.0) / 2)
    assert fitted.score == pytest.approx((2 + 2) / 5)


def test_where_answers_never_pay_none_is_given_and_where_they_always_do_all_are() -> None:
    differences = np.array([-8.0, -9.0, 5.0])
    worthless = best_no_answer_threshold(
        np.zeros(3), differences, np.array([True, False, False]), np.ones(3, dtype=bool)
    )
    assert worthless.threshold < -9
    assert worthless.score == pytest.approx(2 / 3)
    perfect = best_no_answer_threshold(np.ones(3), differences, np.ones(3, dtype=bool), np.ones(3, dtype=bool))
    assert perfect.threshold > 5
    assert perfect.score == 1


def test_questions_without_any_answer_to_give_do_not_move_the_threshold() -> None:
    infinite = np.array([np.inf, 1.0])
    fitted = best_no_answer_threshold(np.array([0.0, 1.0]), infinite, np.array([False, True]), np.array([False, True]))
    assert fitted.threshold == pytest.approx(1.5)
    assert fitted.score == 1
    silent = best_no_answer_threshold(np.zeros(2), np.full(2, np.inf), np.array([False, True]), np.zeros(2, dtype=bool))
    assert (silent.threshold, silent.score) == (0.0, 0.5)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.3, 1.0]), st.integers(-4, 4), st.booleans(), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_no_threshold_is_better_and_the_fitted_one_is_as_good_as_it_says(
    rows: list[tuple[float, int, bool, bool]],
) -> None:
    worth = np.array([row[0] for row in rows])
    differences = np.array([float(row[1]) for row in rows])
    has_answer = np.array([row[2] for row in rows])
    answered = np.array([row[3] for row in rows])
    # what an answer is worth where there is none to give, or where there should be none
    worth = np.where(has_answer & answered, worth, np.where(~has_answer & ~answered, 1.0, 0.0))

    def applied(threshold: float) -> float:
        return float(np.where(differences > threshold, ~has_answer, worth).mean())

    fitted = best_no_answer_threshold(worth, differences, has_answer, answered)
    best = max(applied(threshold) for threshold in np.arange(-6.5, 6.5))
    assert fitted.score == pytest.approx(best)
    assert applied(fitted.threshold) == pytest.approx(best)
