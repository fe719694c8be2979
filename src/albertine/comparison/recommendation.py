"""Which candidate to take, and why, from the numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from albertine.catalogue import Catalogue
from albertine.comparison.costs import costs_of, is_baseline
from albertine.comparison.formats import byte_size, compact, metric_name, milliseconds, p_value, percent, points, times
from albertine.comparison.results import CandidateSummary

__all__ = [
    "CHANCE",
    "EQUAL_LATENCY",
    "MARGIN",
    "MUCH_CHEAPER",
    "Recommendation",
    "cheapest",
    "equally_good",
    "recommend",
]

CHANCE = 0.05
"""A corrected p-value below this makes a difference measurable."""
MARGIN = 0.02
"""A candidate whose difference interval reaches further below the best than this is never called equally good: on few
items nothing is measurable, and a large loss not ruled out is not a small one."""
EQUAL_LATENCY = 1.1
"""Latencies within this factor count as equal, and bytes on disk decide."""
MUCH_CHEAPER = 2.0
"""A worse candidate is worth a sentence if it answers at least this many times faster."""
_WIDE = 0.02
"""An interval wider than this on either side calls for more test texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The candidate to take."""

    name: str | None
    """None where every run of every candidate failed."""
    reasons: tuple[str, ...]
    """One sentence each."""


def equally_good(candidates: Sequence[CandidateSummary]) -> list[CandidateSummary]:
    """Return the best candidate and those it is not shown to be better than.

    A candidate is as good as the best when its corrected p-value is at least `CHANCE` and the interval of its
    difference to the best does not reach below `-MARGIN`.
    """
    measured = [one for one in candidates if one.quality is not None]
    return measured[:1] + [
        one
        for one in measured[1:]
        if one.p_value is not None
        and one.p_value >= CHANCE
        and one.difference_to_best is not None
        and one.difference_to_best.low >= -MARGIN
    ]


def cheapest(candidates: Sequence[CandidateSummary]) -> CandidateSummary:
    """Return the candidate that answers one request fastest; among those as fast, the smallest on disk."""
    fastest = min(_latency(one) for one in candidates)
    as_fast = [one for one in candidates if _latency(one) <= fastest * EQUAL_LATENCY]
    return min(as_fast, key=_bytes)


def recommend(
    candidates: Sequence[CandidateSummary], *, main_metric: str, test_items: int, texts: Catalogue
) -> Recommendation:
    """Choose a candidate and say why.

    1. The best candidate and those as good as it (`equally_good`) are eligible, baselines like encoders.
    2. The cheapest of them in prediction is recommended (`cheapest`).
    3. The reasons name what the recommended one gives up against the best, what a much cheaper but worse one would save
       and lose, what ALBERT's sharing does and does not buy where a BERT was measured too, how many runs failed, and
       whether there were enough test texts.

    Args:
        candidates: as from `summarise`, best first.
        main_metric: the metric they are ranked by.
        test_items: texts in the test split.
        texts: the report's language.
    """
    measured = [one for one in candidates if one.quality is not None]
    failures = [
        texts("recommend.failed_runs", name=one.name, failed=one.failed, runs=len(one.seeds))
        for one in candidates
        if one.failed
    ]
    if not measured:
        return Recommendation(name=None, reasons=(texts("recommend.none"), *failures))
    eligible = equally_good(candidates)
    chosen = cheapest(eligible)
    reasons = _why(chosen, measured, eligible, metric_name(main_metric, texts), texts)
    reasons += _trade(chosen, measured, texts)
    if is_baseline(chosen) and any(not is_baseline(one) for one in measured):
        reasons.append(texts("recommend.baseline", name=chosen.name))
    reasons += _sharing(measured, texts)
    reasons += failures
    if chosen.quality is not None and (half := (chosen.quality.high - chosen.quality.low) / 2) > _WIDE:
        reasons.append(texts.counted("recommend.few_items", test_items, half=percent(half)))
    return Recommendation(name=chosen.name, reasons=tuple(reasons))


def _why(
    chosen: CandidateSummary,
    measured: Sequence[CandidateSummary],
    eligible: Sequence[CandidateSummary],
    metric: str,
    texts: Catalogue,
) -> list[str]:
    best = measured[0]
    assert best.quality is not None, "only measured candidates are compared"
    assert chosen.quality is not None, "only measured candidates are recommended"
    highest = texts(
        "recommend.best",
        name=best.name,
        metric=metric,
        quality=percent(best.quality.value),
        low=percent(best.quality.low),
        high=percent(best.quality.high),
    )
    if len(measured) == 1:
        return [highest, texts("recommend.only"), *_cost_sentence(chosen, texts)]
    if chosen is best:
        if cheapest(measured) is best:
            return [highest, *_cost_sentence(chosen, texts, "recommend.also_cheapest")]
        if len(eligible) > 1:
            return [highest, *_cost_sentence(chosen, texts, "recommend.cheapest_of_equals", count=len(eligible))]
        return [highest, texts("recommend.no_equal", margin=f"{MARGIN * 100:g}"), *_cost_sentence(chosen, texts)]
    assert chosen.difference_to_best is not None, "every other candidate is held against the best"
    assert chosen.p_value is not None, "every other candidate is held against the best"
    difference = chosen.difference_to_best
    reasons = [
        highest,
        texts(
            "recommend.not_worse",
            name=chosen.name,
            quality=percent(chosen.quality.value),
            difference=points(difference.value),
            low=points(difference.low),
            high=points(difference.high),
            p=p_value(chosen.p_value),
        ),
    ]
    if math.isfinite(_latency(best)) and math.isfinite(_latency(chosen)):
        reasons.append(
            texts(
                "recommend.cheaper",
                name=chosen.name,
                best=best.name,
                count=len(eligible),
                latency=milliseconds(_latency(chosen)),
                best_latency=milliseconds(_latency(best)),
                size=byte_size(_bytes(chosen)),
                best_size=byte_size(_bytes(best)),
            )
        )
    return reasons


def _cost_sentence(
    candidate: CandidateSummary, texts: Catalogue, key: str = "recommend.cost", **values: object
) -> list[str]:
    """Say what a request costs, where that was measured."""
    if not math.isfinite(_latency(candidate)):
        return []
    latency, size = milliseconds(_latency(candidate)), byte_size(_bytes(candidate))
    return [texts(key, name=candidate.name, latency=latency, size=size, **values)]


def _trade(chosen: CandidateSummary, measured: Sequence[CandidateSummary], texts: Catalogue) -> list[str]:
    """Name the best of the much cheaper candidates, and what it costs to take it."""
    cheap = [one for one in measured if _latency(one) * MUCH_CHEAPER <= _latency(chosen)]
    if not cheap or not math.isfinite(_latency(chosen)):
        return []
    other = cheap[0]
    assert other.quality is not None, "only measured candidates are compared"
    assert chosen.quality is not None, "only measured candidates are recommended"
    return [
        texts(
            "recommend.trade",
            name=other.name,
            chosen=chosen.name,
            ratio=times(_latency(chosen) / _latency(other)),
            latency=milliseconds(_latency(other)),
            chosen_latency=milliseconds(_latency(chosen)),
            size=byte_size(_bytes(other)),
            chosen_size=byte_size(_bytes(chosen)),
            difference=points(other.quality.value - chosen.quality.value),
        )
    ]


def _sharing(measured: Sequence[CandidateSummary], texts: Catalogue) -> list[str]:
    """Say what sharing buys, on the ALBERT and the BERT that are closest in arithmetic."""
    costs = {one.name: costs_of(one) for one in measured}
    pairs = [
        (abs(math.log(work_a / work_b)), albert, bert)
        for albert in measured
        for bert in measured
        if albert.kind == "albert"
        and bert.kind == "bert"
        and (work_a := costs[albert.name].flops_per_token)
        and (work_b := costs[bert.name].flops_per_token)
    ]
    if not pairs:
        return []
    distance, albert, bert = min(pairs, key=lambda pair: pair[0])
    own, other = costs[albert.name], costs[bert.name]
    values = {
        "albert": albert.name,
        "bert": bert.name,
        "albert_unique": compact(own.parameters_unique or 0),
        "bert_unique": compact(other.parameters_unique or 0),
        "albert_executed": compact(own.parameters_executed or 0),
        "bert_executed": compact(other.parameters_executed or 0),
    }
    sentences = [texts("recommend.sharing_same" if distance < math.log(1.25) else "recommend.sharing_other", **values)]
    if own.latency_ms_p50 and other.latency_ms_p50:
        sentences.append(
            texts(
                "recommend.sharing_measured",
                albert=albert.name,
                bert=bert.name,
                albert_latency=milliseconds(own.latency_ms_p50),
                bert_latency=milliseconds(other.latency_ms_p50),
            )
        )
    return sentences


def _latency(candidate: CandidateSummary) -> float:
    latency = costs_of(candidate).latency_ms_p50
    return math.inf if latency is None else latency


def _bytes(candidate: CandidateSummary) -> float:
    size = costs_of(candidate).bytes_on_disk
    return math.inf if size is None else size
