from __future__ import annotations

import pytest

from albertine.catalogue import catalogue
from albertine.comparison.recommendation import Recommendation, cheapest, equally_good, recommend
from albertine.comparison.results import CandidateSummary, PredictionCost, RunResult
from albertine.evaluation.significance import Interval
from albertine.settings import Language


def candidate(
    name: str,
    quality: float | None,
    *,
    kind: str = "encoder",
    difference: tuple[float, float, float] | None = None,
    p: float | None = None,
    latency: float | None = 5.0,
    size: int = 40_000_000,
    unique: int = 9_000_000,
    executed: int = 9_000_000,
    flops: float = 18e6,
    failed: int = 0,
    half: float = 0.01,
) -> CandidateSummary:
    cost = latency and PredictionCost(
        latency_ms_p50=latency,
        latency_ms_p95=latency * 2,
        latency_ms_p99=latency * 3,
        requests=100,
        texts_per_second=1000 / latency,
        tokens_per_second=30_000 / latency,
        peak_memory_bytes=300_000_000,
        bytes_on_disk=size,
        precision="fp32",
    )
    run = RunResult(
        candidate=name,
        seed=0,
        failed=None if quality is not None else "killed",
        prediction=cost or None,
        parameters_unique=unique,
        parameters_executed=executed,
        flops_per_token=flops,
    )
    return CandidateSummary(
        name=name,
        kind=kind,
        description="",
        quality=None if quality is None else Interval(value=quality, low=quality - half, high=quality + half),
        seeds=(0, 1, 2),
        failed=failed,
        difference_to_best=None
        if difference is None
        else Interval(value=difference[0], low=difference[1], high=difference[2]),
        p_value=p,
        runs=(run,),
    )


def advice(*candidates: CandidateSummary, language: Language = "en", items: int = 2000) -> Recommendation:
    return recommend(candidates, main_metric="accuracy", test_items=items, texts=catalogue(language))


def test_the_best_is_taken_when_the_others_are_measurably_worse() -> None:
    found = advice(
        candidate("big", 0.92, latency=4.0),
        candidate("small", 0.90, difference=(-0.02, -0.03, -0.01), p=0.002, latency=3.0),
    )
    assert found.name == "big"
    assert "big has the highest accuracy: 92.0 % (95 % interval 91.0 to 93.0)." in found.reasons
    assert any("measurably worse" in reason for reason in found.reasons)


def test_a_cheaper_one_is_taken_when_it_is_not_measurably_worse() -> None:
    found = advice(
        candidate("big", 0.92, latency=30.0, size=400_000_000),
        candidate("small", 0.915, difference=(-0.005, -0.012, 0.003), p=0.31, latency=3.0, size=16_500_000),
    )
    assert found.name == "small"
    text = " ".join(found.reasons)
    assert "a difference of −0.5 points that chance alone could explain (corrected p = 0.31;" in text
    assert "of the difference −1.2 to +0.3)" in text
    assert "3.00\u00a0ms a request where big takes 30.0\u00a0ms" in text
    assert "16.5\u00a0MB on disk where big takes 400\u00a0MB" in text


def test_a_large_loss_that_is_merely_not_ruled_out_is_not_equally_good() -> None:
    best = candidate("big", 0.92, latency=30.0)
    vague = candidate("small", 0.90, difference=(-0.02, -0.06, 0.02), p=0.4, latency=3.0)
    assert [one.name for one in equally_good([best, vague])] == ["big"]
    assert advice(best, vague).name == "big"


def test_a_dearer_equal_never_displaces_the_best() -> None:
    found = advice(
        candidate("quick", 0.92, latency=3.0),
        candidate("slow", 0.919, difference=(-0.001, -0.004, 0.003), p=0.8, latency=30.0),
    )
    assert found.name == "quick"
    assert "It is also the cheapest to run: 3.00\u00a0ms a request, 40.0\u00a0MB on disk." in found.reasons


def test_what_a_much_cheaper_and_worse_one_costs_and_saves_is_said() -> None:
    found = advice(
        candidate("big", 0.92, latency=30.0),
        candidate("quick", 0.90, difference=(-0.02, -0.03, -0.01), p=0.001, latency=2.5, size=2_000_000),
    )
    assert found.name == "big"
    (trade,) = (reason for reason in found.reasons if "speed counts" in reason)
    assert "quick answers 12 times as fast" in trade
    assert "−2.0 points" in trade


def test_bytes_decide_between_latencies_that_are_as_good_as_equal() -> None:
    light, heavy = candidate("light", 0.9, latency=3.2, size=5), candidate("heavy", 0.9, latency=3.0, size=9)
    assert cheapest([heavy, light]).name == "light"
    assert cheapest([heavy, candidate("slower", 0.9, latency=3.4, size=5)]).name == "heavy"
    assert cheapest([heavy, candidate("unmeasured", 0.9, latency=None)]).name == "heavy"


def test_a_baseline_is_recommended_when_the_numbers_say_so() -> None:
    found = advice(
        candidate("bag-of-words", 0.92, kind="bag-of-words", latency=0.2),
        candidate("bert", 0.91, kind="bert", difference=(-0.01, -0.02, 0.001), p=0.06, latency=5.0),
    )
    assert found.name == "bag-of-words"
    assert any("no encoder is worth its price" in reason for reason in found.reasons)


def test_a_baseline_among_baselines_is_not_called_a_defeat_of_encoders() -> None:
    found = advice(candidate("bag-of-words", 0.92, kind="bag-of-words"))
    assert not any("encoder" in reason for reason in found.reasons)
    assert "It is the only candidate that was measured." in found.reasons


def test_albert_and_bert_of_equal_arithmetic_are_explained() -> None:
    found = advice(
        candidate("b", 0.92, kind="bert", unique=9_400_000, executed=9_400_000, latency=3.1),
        candidate(
            "a",
            0.9,
            kind="albert",
            unique=4_100_000,
            executed=9_100_000,
            latency=3.0,
            difference=(-0.02, -0.03, -0.01),
            p=0.01,
        ),
        candidate(
            "a-big", 0.89, kind="albert", executed=89_000_000, flops=170e6, difference=(-0.03, -0.04, -0.02), p=0.01
        ),
    )
    (sharing,) = (reason for reason in found.reasons if "sharing saves" in reason)
    assert "a stores 4.10\u00a0M parameters where b stores 9.40\u00a0M" in sharing
    assert "9.10\u00a0M in the one and 9.40\u00a0M in the other" in sharing
    assert any("3.00\u00a0ms a request for a, 3.10\u00a0ms for b" in reason for reason in found.reasons)


def test_albert_and_bert_of_unequal_arithmetic_are_told_apart() -> None:
    found = advice(
        candidate("b", 0.92, kind="bert", executed=110_000_000, flops=170e6),
        candidate("a", 0.9, kind="albert", executed=9_000_000, difference=(-0.02, -0.03, -0.01), p=0.01),
    )
    assert any("Time follows the matrix products" in reason for reason in found.reasons)


def test_nothing_is_said_of_sharing_without_a_bert() -> None:
    found = advice(candidate("a", 0.92, kind="albert"))
    assert not any("sharing" in reason for reason in found.reasons)


def test_failed_runs_are_named_and_all_failed_recommends_nothing() -> None:
    found = advice(candidate("a", 0.9, failed=1), candidate("b", None, failed=3))
    assert found.name == "a"
    assert "a: 1 of 3 runs failed and are not in its numbers." in found.reasons
    assert "b: 3 of 3 runs failed and are not in its numbers." in found.reasons
    assert advice(candidate("b", None, failed=3)).name is None


def test_few_test_texts_are_named_as_the_limit() -> None:
    found = advice(candidate("a", 0.9, half=0.04), items=99)
    assert any("99 test texts" in reason and "4.0 points" in reason for reason in found.reasons)
    assert not any("test text" in reason for reason in advice(candidate("a", 0.9, half=0.015)).reasons)


def test_a_candidate_without_measured_costs_can_still_be_recommended() -> None:
    found = advice(candidate("a", 0.9, latency=None), candidate("b", 0.8, latency=None, difference=(-0.1,) * 3, p=0.01))
    assert found.name == "a"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_reason_is_one_sentence_in_the_language(language: Language) -> None:
    found = advice(
        candidate("大", 0.92, kind="bert", latency=30.0, failed=1, half=0.03),
        candidate("小", 0.915, kind="albert", difference=(-0.005, -0.01, 0.0), p=0.3, latency=9.0),
        candidate("词袋", 0.7, kind="bag-of-words", difference=(-0.2, -0.3, -0.1), p=0.001, latency=0.2),
        language=language,
    )
    assert found.name == "小"
    assert all(reason.endswith("。" if language == "zh" else ".") for reason in found.reasons)
