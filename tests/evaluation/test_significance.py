from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from albertine.evaluation.metrics import (
    FloatArray,
    Metric,
    accuracy,
    classification_rankings,
    confusion_matrix,
    matthews,
)
from albertine.evaluation.significance import (
    Interval,
    PairedDifference,
    Resamples,
    bootstrap_interval,
    holm,
    paired_bootstrap,
    paired_permutation_test,
    resample_items,
)

IntArray = npt.NDArray[np.int64]

RANKINGS = classification_rankings(5)
ACCURACY = RANKINGS["accuracy"]


def some_gold(items: int, classes: int = 2, seed: int = 0) -> IntArray:
    return np.random.default_rng([9, seed]).integers(0, classes, items)


def answers(gold: IntArray, quality: list[float], *, seed: int) -> IntArray:
    """Return one row of predictions for every seed, right with the given probability."""
    generator = np.random.default_rng(seed)
    classes = int(gold.max()) + 1
    wrong = (gold + generator.integers(1, max(classes, 2), (len(quality), len(gold)))) % classes
    return np.where(generator.random((len(quality), len(gold))) < np.array(quality)[:, None], gold, wrong)


def of_matthews(rows: FloatArray) -> float:
    return matthews(confusion_matrix(rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), 5))


MATTHEWS = Metric(name="matthews", of=of_matthews, bounded=False)


def evidence(gold: IntArray, predicted: IntArray) -> FloatArray:
    """Return [S, N, 2] for the predictions [S, N] of every seed."""
    runs = np.atleast_2d(predicted)
    return np.stack([np.tile(gold, (len(runs), 1)), runs], axis=2).astype(np.float64)


def resampled(gold: IntArray, predicted: IntArray, *, metric: Metric, resamples: int, seed: int) -> Resamples:
    return resample_items(evidence(gold, predicted), metric, resamples=resamples, seed=seed)


def interval(gold: IntArray, predicted: IntArray, *, metric: Metric = ACCURACY, **kept: int) -> Interval:
    return bootstrap_interval(evidence(gold, predicted), metric, **kept)


def difference(
    gold: IntArray, first: IntArray, second: IntArray, *, metric: Metric = ACCURACY, **kept: int
) -> PairedDifference:
    return paired_bootstrap(evidence(gold, first), evidence(gold, second), metric, **kept)


def permutation(gold: IntArray, first: IntArray, second: IntArray, *, metric: Metric = ACCURACY, **kept: int) -> float:
    return paired_permutation_test(evidence(gold, first), evidence(gold, second), metric, **kept)


@pytest.mark.parametrize("name", RANKINGS)
@pytest.mark.parametrize("classes", [2, 5])
def test_the_vectorised_metrics_equal_one_resample_at_a_time(name: str, classes: int) -> None:
    metric = RANKINGS[name]
    gold = some_gold(53, classes)
    predicted = answers(gold, [0.7, 0.8, 0.6], seed=1)
    fast = resampled(gold, predicted, metric=metric, resamples=300, seed=4)
    slow = resampled(gold, predicted, metric=replace(metric, statistics=None), resamples=300, seed=4)
    np.testing.assert_allclose(fast.values, slow.values, atol=1e-6)
    np.testing.assert_allclose(fast.measured, slow.measured)


@pytest.mark.parametrize("name", RANKINGS)
@pytest.mark.parametrize("seeds", [(3, 3), (3, 2)])
def test_the_vectorised_permutation_equals_one_swap_at_a_time(name: str, seeds: tuple[int, int]) -> None:
    metric = RANKINGS[name]
    gold = some_gold(61, 2)
    first = answers(gold, [0.7] * seeds[0], seed=1)
    second = answers(gold, [0.62] * seeds[1], seed=2)
    fast = permutation(gold, first, second, metric=metric, resamples=199)
    slow = permutation(gold, first, second, metric=replace(metric, statistics=None), resamples=199)
    assert 0.005 < fast < 1
    assert fast == slow


def test_an_interval_holds_its_value_and_narrows_with_more_items() -> None:
    widths = []
    for items in (99, 2499):
        gold = some_gold(items)
        found = interval(gold, answers(gold, [0.8], seed=3))
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 3


def test_seeds_that_disagree_widen_the_interval() -> None:
    gold = some_gold(999)
    steady = interval(gold, answers(gold, [0.8, 0.8, 0.8], seed=3))
    shaky = interval(gold, answers(gold, [0.7, 0.8, 0.9], seed=3))
    assert shaky.high - shaky.low > 3 * (steady.high - steady.low)


def test_an_interval_stays_within_what_the_metric_can_be() -> None:
    gold = some_gold(30)
    predicted = np.stack([gold, gold, 1 - gold])
    found = interval(gold, predicted)
    assert found.low >= 0.0
    assert found.high <= 1.0
    assert interval(gold, gold).low == 1.0


def test_any_metric_of_gold_and_predictions_can_be_resampled() -> None:
    gold = some_gold(80, 5)
    found = interval(gold, answers(gold, [0.6, 0.7], seed=5), metric=MATTHEWS, resamples=200)
    assert 0.3 < found.low < found.value < found.high < 0.9


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_intervals_over_items_contain_the_truth_about_95_times_in_100(name: str) -> None:
    hits = 0
    for trial in range(200):
        gold = some_gold(150, seed=trial)
        found = interval(gold, answers(gold, [0.8], seed=trial), metric=RANKINGS[name], resamples=400)
        hits += found.low <= 0.8 <= found.high
    assert 180 <= hits <= 199


def test_intervals_over_items_and_seeds_contain_the_mean_of_all_seeds() -> None:
    generator = np.random.default_rng(11)
    hits = 0
    for trial in range(150):
        gold = some_gold(150, seed=trial)
        quality = np.clip(generator.normal(0.8, 0.03, size=5), 0, 1).tolist()
        found = interval(gold, answers(gold, quality, seed=trial), resamples=400)
        hits += found.low <= 0.8 <= found.high
    assert 132 <= hits <= 150


@pytest.mark.parametrize("name", RANKINGS)
def test_p_values_are_spread_evenly_when_there_is_no_difference(name: str) -> None:
    p_values = []
    for trial in range(150):
        gold = some_gold(120, 3, seed=trial)
        first, second = answers(gold, [0.7, 0.7], seed=1000 + trial), answers(gold, [0.7, 0.7], seed=2000 + trial)
        p_values.append(permutation(gold, first, second, metric=RANKINGS[name], resamples=299))
    assert sum(p < 0.05 for p in p_values) <= 17
    assert 0.4 < float(np.mean(p_values)) < 0.62
    assert sum(p < 0.5 for p in p_values) >= 50


def test_the_paired_bootstrap_seldom_sees_a_difference_where_seeds_alone_differ() -> None:
    generator = np.random.default_rng(5)
    false_alarms = 0
    for trial in range(100):
        gold = some_gold(400, seed=trial)
        first, second = (
            answers(gold, np.clip(generator.normal(0.8, 0.03, size=3), 0, 1).tolist(), seed=trial * 2 + part)
            for part in range(2)
        )
        false_alarms += difference(gold, first, second, resamples=400).p_value < 0.05
    assert false_alarms <= 16


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_a_clearly_better_candidate_is_recognised(name: str) -> None:
    metric = RANKINGS[name]
    gold = some_gold(600, 4)
    better, worse = answers(gold, [0.9] * 3, seed=1), answers(gold, [0.8] * 3, seed=2)
    assert permutation(gold, better, worse, metric=metric) < 0.01
    found = difference(gold, better, worse, metric=metric)
    assert found.p_value < 0.01
    assert 0.03 < found.interval.low < found.interval.value < found.interval.high < 0.17


def test_equal_predictions_differ_by_nothing() -> None:
    gold = some_gold(40)
    same = answers(gold, [0.7, 0.8], seed=1)
    assert permutation(gold, same, same) == 1.0
    one = difference(gold, same[:1], same[:1])
    assert (one.interval.low, one.interval.value, one.interval.high) == (0.0, 0.0, 0.0)
    assert one.p_value == 1.0


def test_pairing_makes_the_interval_of_a_difference_narrow() -> None:
    gold = some_gold(500)
    first = answers(gold, [0.75], seed=1)
    second = first.copy()
    second[0, :7] = gold[:7]
    found = difference(gold, second, first)
    assert found.interval.high - found.interval.low < 0.02
    alone = interval(gold, first)
    assert alone.high - alone.low > 0.06


def test_equal_seeds_give_equal_numbers_and_other_seeds_others() -> None:
    gold = some_gold(200, 3)
    first, second = answers(gold, [0.7, 0.75], seed=1), answers(gold, [0.68, 0.7], seed=2)
    assert interval(gold, first, seed=3) == interval(gold, first, seed=3)
    assert interval(gold, first, seed=3) != interval(gold, first, seed=4)
    assert difference(gold, first, second) == difference(gold, first, second)
    assert permutation(gold, first, second) == permutation(gold, first, second)


def test_holm_agrees_with_values_computed_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 -> times 4, 3, 2, 1 -> 0.02, 0.03, 0.06, 0.04, never falling: 0.06 at the end.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.5, 0.9]) == pytest.approx((1.0, 1.0))
    assert holm([0.2]) == (0.2,)
    assert holm([]) == ()


def test_the_value_is_that_of_the_items_as_they_are() -> None:
    gold = some_gold(50)
    predicted = answers(gold, [0.8], seed=1)
    assert interval(gold, predicted).value == accuracy(gold, predicted[0])
