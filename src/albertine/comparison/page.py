"""What stands on the page of a comparison: the report's numbers as text, rows and charts, ready for the template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
from markupsafe import Markup

from albertine.catalogue import Catalogue, catalogue
from albertine.comparison.costs import costs_of
from albertine.comparison.figures import (
    confusions,
    cost_charts,
    curve_panels,
    depth_rows,
    depths_chart,
    key_marker,
    matrix_size,
    reliability_panels,
)
from albertine.comparison.formats import NONE, byte_size, compact, interval, metric_name, milliseconds, percent, rate
from albertine.comparison.recommendation import CHANCE, EQUAL_LATENCY, MARGIN
from albertine.comparison.results import CandidateSummary, ComparisonReport
from albertine.comparison.summary import RESAMPLES
from albertine.comparison.table import COLUMNS, Column
from albertine.settings import language
from albertine.tasks.classification_problems import IMBALANCE

__all__ = ["render_page"]

_LANGUAGE_TAGS = {"en": "en", "zh": "zh-Hans"}
_TABLES = (("table.quality_size", ("quality", "size")), ("table.time_memory", ("training", "prediction")))
"""The headings of the two big tables, with the groups of columns in each."""
_OTHER_METRICS = ("accuracy", "macro_f1", "matthews", "log_loss", "brier", "ece")
"""Of classification, in this order; other tasks show theirs as they come."""
_MOST_METRICS = 8
_SHARES = ("accuracy", "macro_f1", "micro_f1", "f1", "exact_match", "precision", "recall", "coverage", "bleu", "chrf")
"""Metrics that are written in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the table, with its column."""

    column: Column
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Where an interval lies on the scale of all candidates, in percent of its width."""

    low: float
    value: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A candidate in the table."""

    name: str
    description: str
    recommended: bool
    measured: bool
    """False where every run failed."""
    marker: Markup
    cells: tuple[Cell, ...]
    bar: Bar | None
    """None without a measurement."""
    metrics: tuple[str, ...]
    """The other metrics, in the order of the page's headings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A number with what it is."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCount:
    """How often a label occurs in the training split."""

    name: str
    count: str
    share: str
    width: float
    """Of its bar, in percent of the most frequent label's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A run that failed."""

    name: str
    seed: int
    why: str


def render_page(report: ComparisonReport) -> str:
    """Return the whole HTML page: style, text and charts in one file that needs nothing else."""
    texts = catalogue(language(report.language))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    here = resources.files("albertine.comparison")
    template = environment.from_string((here / "report.html.jinja").read_text(encoding="utf-8"))
    style = (here / "report.css").read_text(encoding="utf-8")
    chosen = next((one for one in report.candidates if one.name == report.recommended), None)
    seeds = max((len(one.seeds) for one in report.candidates), default=0)
    metric = metric_name(report.main_metric, texts)
    return template.render(
        report=report,
        t=texts,
        style=Markup(style),
        language_tag=_LANGUAGE_TAGS[texts.language],
        metric=metric,
        Metric=_capital(metric),
        metric_reason=_metric_reason(report, texts),
        facts=_facts(chosen, report, texts) if chosen else (),
        tables=_TABLES,
        columns=COLUMNS,
        rows=[_row(index, one, report, texts) for index, one in enumerate(report.candidates)],
        other_metrics=[(name, _column(name, texts)) for name in _other_metrics(report)],
        charts=cost_charts(report, texts),
        depths_chart=depths_chart(report, texts),
        depth_rows=depth_rows(report, texts),
        panels=curve_panels(report, texts),
        confusions=confusions(report, texts),
        reliability=reliability_panels(report, texts),
        one_label="predicted_label" in report.evidence_columns,
        size=matrix_size(len(report.data.labels)),
        labels=_label_counts(report),
        failures=[
            Failure(name=run.candidate, seed=run.seed, why=run.failed)
            for one in report.candidates
            for run in one.runs
            if run.failed is not None
        ],
        seeds=seeds,
        method=(
            texts("method.intervals", resamples=f"{RESAMPLES:,}"),
            texts("method.tests"),
            texts("method.costs"),
            texts(
                "method.rule",
                chance=CHANCE,
                margin=f"{MARGIN * 100:g}",
                factor=f"{(EQUAL_LATENCY - 1) * 100:.0f}",
            ),
        ),
    )


def _metric_reason(report: ComparisonReport, texts: Catalogue) -> str:
    counts = [count for count in report.data.label_counts.values() if count]
    if report.main_metric not in ("accuracy", "macro_f1"):
        return texts("data.metric_other", metric=metric_name(report.main_metric, texts))
    key = "data.metric_macro_f1" if report.main_metric == "macro_f1" else "data.metric_accuracy"
    ratio = max(counts) / min(counts) if counts else 1.0
    return texts(key, ratio=f"{ratio:.1f}", limit=f"{IMBALANCE:g}")


def _facts(chosen: CandidateSummary, report: ComparisonReport, texts: Catalogue) -> tuple[Fact, ...]:
    """Return the numbers that stand beside the recommendation."""
    costs = costs_of(chosen)
    facts = []
    if chosen.quality:
        facts.append(
            Fact(
                label=_capital(metric_name(report.main_metric, texts)),
                value=f"{percent(chosen.quality.value)}\u00a0%",
                note=texts("fact.interval", interval=interval(chosen.quality)),
            )
        )
    if costs.latency_ms_p50 is not None:
        facts.append(
            Fact(
                label=texts("fact.latency"),
                value=milliseconds(costs.latency_ms_p50),
                note=texts("fact.throughput", rate=rate(costs.texts_per_second or 0.0)),
            )
        )
    if costs.bytes_on_disk is not None:
        facts.append(
            Fact(
                label=texts("fact.disk"),
                value=byte_size(costs.bytes_on_disk),
                note=texts("fact.memory", size=byte_size(costs.prediction_memory_bytes or 0)),
            )
        )
    if costs.parameters_unique is not None:
        executed = compact(costs.parameters_executed or 0)
        facts.append(
            Fact(
                label=texts("fact.parameters"),
                value=compact(costs.parameters_unique),
                note=texts("fact.executed", executed=executed),
            )
        )
    return tuple(facts)


def _capital(text: str) -> str:
    """Return the text as a heading begins; only the first letter, unlike `str.capitalize`."""
    return text[:1].upper() + text[1:]


def _row(index: int, candidate: CandidateSummary, report: ComparisonReport, texts: Catalogue) -> Row:
    costs = costs_of(candidate)
    return Row(
        name=candidate.name,
        description=candidate.description,
        recommended=candidate.name == report.recommended,
        measured=candidate.quality is not None,
        marker=key_marker(index),
        cells=tuple(Cell(column=column, text=column.cell(candidate, costs, texts)) for column in COLUMNS),
        bar=_bar(candidate, report.candidates),
        metrics=tuple(_metric_text(name, candidate.metrics.get(name)) for name in _other_metrics(report)),
    )


def _metric_text(name: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    return percent(value) if name in _SHARES else f"{value:.3f}"


def _other_metrics(report: ComparisonReport) -> list[str]:
    """Return the metrics of the second table: none of single labels, and not too many."""
    found = dict.fromkeys(name for one in report.candidates for name in one.metrics if "/" not in name)
    usual = [name for name in _OTHER_METRICS if name in found]
    return (usual if "accuracy" in found and "macro_f1" in found else list(found))[:_MOST_METRICS]


def _column(name: str, texts: Catalogue) -> str:
    if f"column_metric.{name}" in texts:
        return texts(f"column_metric.{name}")
    return _capital(metric_name(name, texts)) + (", %" if name in _SHARES else "")


def _bar(candidate: CandidateSummary, candidates: Sequence[CandidateSummary]) -> Bar | None:
    measured = [one.quality for one in candidates if one.quality]
    if candidate.quality is None:
        return None
    low, high = min(one.low for one in measured), max(one.high for one in measured)
    span = (high - low) or 1.0
    quality = candidate.quality
    place = [(value - low) / span * 100 for value in (quality.low, quality.value, quality.high)]
    return Bar(low=place[0], value=place[1], high=place[2])


def _label_counts(report: ComparisonReport) -> tuple[LabelCount, ...]:
    counts = report.data.label_counts
    total, most = sum(counts.values()) or 1, max(counts.values(), default=0) or 1
    return tuple(
        LabelCount(
            name=label,
            count=f"{counts.get(label, 0):,}",
            share=f"{percent(counts.get(label, 0) / total)}\u00a0%",
            width=counts.get(label, 0) / most * 100,
        )
        for label in report.data.labels
    )
