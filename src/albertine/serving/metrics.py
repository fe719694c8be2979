"""Numbers about the server in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from albertine.serving.records import RequestRecord
from albertine.serving.worker import BatchReport

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Every metric of one server, in a registry of its own.

    Labels are names of models and routes that exist, never what a client sent, so that their number stays small.

    Args:
        gauges: gives what is true now: by the metric's name without its prefix, a number by model.
        active: gives the requests to models that are being answered.
    """

    def __init__(self, gauges: Callable[[], Mapping[str, Mapping[str, float]]], active: Callable[[], float]) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "albertine_requests", "Requests by outcome.", ("route", "model", "status"), registry=registry
        )
        self._seconds = Histogram(
            "albertine_request_seconds", "From a request's arrival to its answer.", ("route",),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._waits = Histogram(
            "albertine_wait_seconds", "Time of answered requests in a model's queue.", ("model",),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._texts = Counter("albertine_texts", "Inputs that were answered.", ("model",), registry=registry)
        self._tokens = Counter("albertine_tokens", "Tokens that were read.", ("model",), registry=registry)
        self._refused = Counter(
            "albertine_refused", "Requests that were not answered, by the error's type.", ("reason",), registry=registry
        )
        self._batches = Histogram(
            "albertine_batch_seconds", "Time of a micro-batch.", ("model",), buckets=_SECONDS, registry=registry
        )
        self._sizes = Histogram(
            "albertine_batch_texts", "Inputs of a micro-batch.", ("model",), buckets=_COUNTS, registry=registry
        )
        self._reloads = Counter(
            "albertine_reloads", "Replacements of a model.", ("model", "outcome"), registry=registry
        )
        Gauge(
            "albertine_active_requests", "Requests to models that are being answered.", registry=registry
        ).set_function(active)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        registry.register(_Gauges(gauges))

    def answered(self, record: RequestRecord, seconds: float) -> None:
        """Count a request that is over."""
        self._requests.labels(record.route, record.model, str(record.status)).inc()
        self._seconds.labels(record.route).observe(seconds)
        if record.texts:
            self._waits.labels(record.model).observe(record.waited)
            self._texts.labels(record.model).inc(record.texts)
            self._tokens.labels(record.model).inc(record.tokens)

    def refused(self, reason: str) -> None:
        """Count a request that was not answered."""
        self._refused.labels(reason).inc()

    def batch(self, model: str, report: BatchReport) -> None:
        """Take in a micro-batch."""
        self._batches.labels(model).observe(report.seconds)
        self._sizes.labels(model).observe(report.texts)

    def reloaded(self, model: str, outcome: str) -> None:
        """Count a replacement, done or failed."""
        self._reloads.labels(model, outcome).inc()

    def text(self) -> bytes:
        """Return everything in the text format."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    """Numbers that are looked up when they are asked for."""

    def __init__(self, gauges: Callable[[], Mapping[str, Mapping[str, float]]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        for name, values in self._gauges().items():
            family = GaugeMetricFamily(f"albertine_{name}", name.replace("_", " "), labels=["model"])
            for model, value in values.items():
                family.add_metric([model], value)
            yield family
