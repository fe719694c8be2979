"""What a candidate costs, taken together over its seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from albertine.comparison.results import CandidateSummary

__all__ = ["ENCODER_KINDS", "Costs", "costs_of", "is_baseline"]

ENCODER_KINDS = ("bert", "albert", "encoder")
"""The kinds of candidates that are encoders; every other kind is a baseline's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Means over the runs that did not fail, for memory the largest; None where nothing was measured."""

    parameters_unique: int | None = None
    parameters_executed: int | None = None
    flops_per_token: float | None = None
    training_seconds: float | None = None
    training_tokens_per_second: float | None = None
    """None for models without tokens."""
    training_memory_bytes: int | None = None
    latency_ms_p50: float | None = None
    latency_ms_p95: float | None = None
    latency_ms_p99: float | None = None
    texts_per_second: float | None = None
    prediction_memory_bytes: int | None = None
    bytes_on_disk: float | None = None
    precision: str | None = None


def is_baseline(candidate: CandidateSummary) -> bool:
    """Say whether a candidate is a baseline rather than an encoder."""
    return candidate.kind not in ENCODER_KINDS


def costs_of(candidate: CandidateSummary) -> Costs:
    """Take the costs of a candidate's runs together."""
    runs = [run for run in candidate.runs if run.failed is None]
    trained = [run.training for run in runs if run.training is not None]
    served = [run.prediction for run in runs if run.prediction is not None]
    return Costs(
        parameters_unique=max((run.parameters_unique for run in runs), default=0) or None,
        parameters_executed=max((run.parameters_executed for run in runs), default=0) or None,
        flops_per_token=_mean(run.flops_per_token for run in runs if run.flops_per_token),
        training_seconds=_mean(cost.seconds for cost in trained),
        training_tokens_per_second=_mean(cost.tokens_per_second for cost in trained if cost.tokens),
        training_memory_bytes=max((cost.peak_memory_bytes for cost in trained), default=0) or None,
        latency_ms_p50=_mean(cost.latency_ms_p50 for cost in served),
        latency_ms_p95=_mean(cost.latency_ms_p95 for cost in served),
        latency_ms_p99=_mean(cost.latency_ms_p99 for cost in served),
        texts_per_second=_mean(cost.texts_per_second for cost in served),
        prediction_memory_bytes=max((cost.peak_memory_bytes for cost in served), default=0) or None,
        bytes_on_disk=_mean(cost.bytes_on_disk for cost in served),
        precision=", ".join(sorted({cost.precision for cost in served})) or None,
    )


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None
