from __future__ import annotations

import numpy as np
import pytest

from albertine.comparison.results import CandidateSummary, RunResult
from albertine.comparison.summary import CandidateInfo, summarise
from albertine.evaluation.metrics import accuracy, classification_rankings, macro_f1

RANKINGS = classification_rankings(3)
GOLD = np.random.default_rng(3).integers(0, 3, 399)


def run_of(name: str, seed: int, quality: float) -> RunResult:
    generator = np.random.default_rng([seed, len(name), round(quality * 1000)])
    wrong = (GOLD + generator.integers(1, 3, len(GOLD))) % 3
    predicted = np.where(generator.random(len(GOLD)) < quality, GOLD, wrong)
    return RunResult(
        candidate=name,
        seed=seed,
        evidence=tuple((float(gold), float(one), 0.5) for gold, one in zip(GOLD, predicted, strict=True)),
        metrics={"accuracy": accuracy(GOLD, predicted), "ece": 0.01 * seed},
    )


def infos(*names: str) -> list[CandidateInfo]:
    return [CandidateInfo(name=name, kind="encoder", description=f"about {name}") for name in names]


def summary_of(
    qualities: dict[str, float], *, metric: str = "accuracy", seeds: int = 3
) -> tuple[CandidateSummary, ...]:
    runs = [run_of(name, seed, quality) for name, quality in qualities.items() for seed in range(seeds)]
    return summarise(runs, candidates=infos(*qualities), metric=RANKINGS[metric], resamples=400, permutations=999)


def test_candidates_come_best_first_each_held_against_the_best() -> None:
    worst, best, middle = "far behind", "ahead", "close"
    found = summary_of({worst: 0.6, best: 0.9, middle: 0.89})
    assert [one.name for one in found] == [best, middle, worst]
    assert found[0].p_value is None
    assert found[0].difference_to_best is None
    assert found[1].p_value is not None
    assert found[2].p_value is not None
    assert found[2].p_value < 0.01 < 0.1 < found[1].p_value
    assert found[2].difference_to_best is not None
    assert found[2].difference_to_best.high < -0.2
    assert found[0].description == "about ahead"


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_quality_is_the_mean_of_the_seeds(metric: str) -> None:
    found = summary_of({"a": 0.8, "b": 0.7}, metric=metric)
    compute = {"accuracy": accuracy, "macro_f1": macro_f1}[metric]
    expected = np.mean([compute(GOLD, np.array(run.evidence)[:, 1].astype(int)) for run in found[0].runs])
    assert found[0].quality is not None
    assert found[0].quality.value == pytest.approx(float(expected))
    assert found[0].quality.low < expected < found[0].quality.high
    assert found[0].metrics["ece"] == pytest.approx(0.01)


def test_failed_runs_are_counted_and_left_out() -> None:
    runs = [
        run_of("a", 2, 0.8),
        RunResult(candidate="a", seed=0, failed="loss became NaN"),
        run_of("a", 1, 0.8),
        RunResult(candidate="b", seed=0, failed="killed"),
        RunResult(candidate="b", seed=1, failed="killed"),
        run_of("c", 0, 0.5),
    ]
    found = summarise(runs, candidates=infos("b", "a", "c"), metric=RANKINGS["accuracy"], resamples=200)
    assert [one.name for one in found] == ["a", "c", "b"]
    assert [one.failed for one in found] == [1, 0, 2]
    assert found[0].seeds == (0, 1, 2)
    assert found[2].quality is None
    assert found[2].p_value is None
    assert found[1].p_value is not None


def test_a_single_candidate_has_no_one_to_be_held_against() -> None:
    (found,) = summary_of({"alone": 0.8}, seeds=1)
    assert found.quality is not None
    assert (found.p_value, found.difference_to_best) == (None, None)


def test_nothing_measured_is_still_a_summary() -> None:
    runs = [RunResult(candidate="a", seed=0, failed="killed")]
    (found,) = summarise(runs, candidates=infos("a"), metric=RANKINGS["accuracy"])
    assert (found.quality, found.failed) == (None, 1)


def test_p_values_are_corrected_for_the_number_of_candidates() -> None:
    qualities = {"best": 0.9, "worse": 0.86}
    alone = summary_of(qualities)[1].p_value
    among_many = {one.name: one.p_value for one in summary_of({**qualities, "c": 0.899, "dd": 0.898, "eee": 0.897})}
    assert alone is not None
    if among_many["worse"] is not None:
        assert among_many["worse"] >= alone


def test_the_same_runs_in_another_order_give_the_same_summary() -> None:
    runs = [run_of(name, seed, quality) for name, quality in (("a", 0.8), ("b", 0.7)) for seed in range(3)]
    forward, backward = (
        summarise(order, candidates=infos("a", "b"), metric=RANKINGS["accuracy"], resamples=200, permutations=199)
        for order in (runs, runs[::-1])
    )
    assert forward == backward
