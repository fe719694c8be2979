"""The figures of the report: charts from `charts`, and confusion matrices as tables of shaded cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from albertine.catalogue import Catalogue
from albertine.comparison.charts import Curve, Point, curve_panel, marker, quality_against_cost, reliability_chart
from albertine.comparison.costs import Costs, costs_of
from albertine.comparison.depth_charts import DepthCurve, depth_chart
from albertine.comparison.depths import mean_depths
from albertine.comparison.formats import byte_size, compact, metric_name, milliseconds, percent, trimmed
from albertine.comparison.results import ComparisonReport, RunResult
from albertine.evaluation.calibration import reliability
from albertine.evaluation.metrics import confusion_matrix
from albertine.records import IntArray

__all__ = [
    "LARGEST_MATRIX",
    "MATRICES",
    "Confusion",
    "HeatCell",
    "Mistake",
    "Panel",
    "confusions",
    "cost_charts",
    "curve_panels",
    "depth_rows",
    "depths_chart",
    "key_marker",
    "matrix_size",
    "reliability_panels",
]

MATRICES = 6
"""Confusion matrices are drawn for this many candidates, the best ones."""
LARGEST_MATRIX = 40
"""With more labels than this a list of the most frequent confusions takes the matrix' place."""
_CONFUSIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatCell:
    """A cell of a confusion matrix."""

    percent: str
    """Share of its row, empty where nothing was counted."""
    alpha: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One label taken for another."""

    gold: str
    predicted: str
    count: str
    share: str
    """Of the items with the gold label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """The confusion matrix of a candidate, all its seeds together."""

    name: str
    marker: Markup
    rows: tuple[tuple[HeatCell, ...], ...]
    """Empty where there are too many labels."""
    most_frequent: tuple[Mistake, ...]
    """Where there are too many labels for rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A chart of a candidate."""

    name: str
    marker: Markup
    chart: Markup | None
    """None where a solver trained it and there is no curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthRow:
    """A depth of an elastic candidate."""

    name: str
    marker: Markup
    passes: str
    quality: str
    speed: str


def key_marker(index: int) -> Markup:
    """Return a candidate's marker as a small picture to stand before its name."""
    return Markup(f'<svg class="key" viewBox="0 0 16 16" aria-hidden="true">{marker(index, 8, 8, 5)}</svg>')


def matrix_size(labels: int) -> str:
    """Return how small the cells of a confusion matrix must be: roomy, medium or tiny; medium for a list."""
    if labels <= 4:
        return "roomy"
    return "medium" if labels <= 12 or labels > LARGEST_MATRIX else "tiny"


def cost_charts(report: ComparisonReport, texts: Catalogue) -> list[Markup]:
    """Draw quality against latency, and against size on disk, for the candidates of which both are known."""
    metric = metric_name(report.main_metric, texts)
    heading = metric[:1].upper() + metric[1:]
    kinds: tuple[tuple[str, Callable[[Costs], float | None], Callable[[float], str]], ...] = (
        ("latency", lambda costs: costs.latency_ms_p50, milliseconds),
        ("disk", lambda costs: costs.bytes_on_disk, byte_size),
    )
    charts = []
    for key, cost_of, write in kinds:
        points = [
            Point(name=one.name, series=index, cost=cost, cost_text=write(cost), quality=one.quality)
            for index, one in enumerate(report.candidates)
            if one.quality is not None and (cost := cost_of(costs_of(one)))
        ]
        if points:
            drawn = quality_against_cost(
                points,
                identifier=f"cost-{key}",
                title=texts(f"chart.{key}_title", metric=heading),
                x_label=texts(f"chart.{key}"),
                y_label=texts("chart.percent", metric=heading),
                tick_text=_ticks_of(write),
            )
            charts.append(Markup(drawn))
    return charts


def depths_chart(report: ComparisonReport, texts: Catalogue) -> Markup | None:
    """Draw what every depth of the elastic candidates is worth; None where there are none."""
    metric = metric_name(report.main_metric, texts)
    curves = [
        DepthCurve(name=one.name, series=index, points=points)
        for index, one in enumerate(report.candidates)
        if (points := mean_depths(one.runs))
    ]
    if not curves:
        return None
    drawn = depth_chart(
        curves,
        identifier="depths",
        title=texts("chart.depth_title", metric=metric[:1].upper() + metric[1:]),
        x_label=texts("chart.speed"),
        y_label=texts("chart.percent", metric=metric[:1].upper() + metric[1:]),
        fitted=texts("depth.fitted"),
    )
    return Markup(drawn)


def depth_rows(report: ComparisonReport, texts: Catalogue) -> list[DepthRow]:
    """Return what stands in the table of the depths."""
    return [
        DepthRow(
            name=one.name,
            marker=key_marker(index),
            passes=texts("depth.fitted_passes", passes=f"{point.passes:.1f}")
            if point.depth is None
            else str(point.depth),
            quality=percent(point.quality),
            speed=f"{point.speed:.2f}\u00a0×",
        )
        for index, one in enumerate(report.candidates)
        for point in mean_depths(one.runs)
    ]


def _ticks_of(write: Callable[[float], str]) -> Callable[[float], str]:
    """Return a function that writes the numbers of an axis: as `write` does, without zeros at the end."""
    return lambda value: trimmed(write(value))


def curve_panels(report: ComparisonReport, texts: Catalogue) -> list[Panel]:
    """Draw the learning curves of every candidate that has some, all on the same scale of quality."""
    metric = metric_name(report.main_metric, texts)
    metric = metric[:1].upper() + metric[1:]
    qualities = [
        value for one in report.candidates for curve in _dev_curves(one.runs) for value in curve.y if np.isfinite(value)
    ]
    if not qualities:
        return []
    panels = []
    for index, one in enumerate(report.candidates):
        upper, lower = _dev_curves(one.runs), _loss_curves(one.runs)
        chart = None
        if any(len(curve.x) > 1 for curve in (*upper, *lower)):
            ends = ", ".join(
                texts("chart.seed_end", seed=curve.seed, quality=f"{curve.y[-1]:.1f}") for curve in upper if curve.y
            )
            chart = Markup(
                curve_panel(
                    upper,
                    lower,
                    series=index,
                    identifier=f"curve-{index}",
                    title=texts("chart.curve_title", name=one.name),
                    description=texts("chart.curve_description", metric=metric, ends=ends),
                    upper_label=texts("chart.dev", metric=metric),
                    lower_label=texts("chart.loss"),
                    x_label=texts("chart.examples"),
                    upper_range=(min(qualities), max(qualities)),
                    tick_text=_ticks_of(compact),
                )
            )
        panels.append(Panel(name=one.name, marker=key_marker(index), chart=chart))
    return panels


def reliability_panels(report: ComparisonReport, texts: Catalogue) -> list[Panel]:
    """Draw how far confidence can be trusted, for every candidate whose answers have one, all its seeds together."""
    columns = report.evidence_columns
    if "confidence" not in columns or "predicted_label" not in columns:
        return []
    panels = []
    for index, one in enumerate(report.candidates[:MATRICES]):
        finished = [np.asarray(run.evidence) for run in one.runs if run.failed is None]
        if not finished:
            continue
        rows = np.concatenate(finished)
        right = rows[:, columns.index("gold_label")] == rows[:, columns.index("predicted_label")]
        found = reliability(rows[:, columns.index("confidence")], right.astype(np.int64))
        chart = reliability_chart(
            found,
            series=index,
            identifier=f"reliability-{index}",
            title=texts("chart.reliability_title", name=one.name),
            description=texts("chart.reliability_description", error=percent(found.error)),
            x_label=texts("chart.confidence"),
            y_label=texts("chart.right"),
        )
        panels.append(Panel(name=one.name, marker=key_marker(index), chart=Markup(chart)))
    return panels


def _dev_curves(runs: Sequence[RunResult]) -> list[Curve]:
    return [
        Curve(
            seed=run.seed,
            x=tuple(float(point.examples) for point in run.curve if point.dev_metric is not None),
            y=tuple(point.dev_metric * 100 for point in run.curve if point.dev_metric is not None),
        )
        for run in runs
        if any(point.dev_metric is not None for point in run.curve)
    ]


def _loss_curves(runs: Sequence[RunResult]) -> list[Curve]:
    return [
        Curve(
            seed=run.seed,
            x=tuple(float(point.examples) for point in run.curve),
            y=tuple(point.loss for point in run.curve),
        )
        for run in runs
        if run.curve
    ]


def confusions(report: ComparisonReport, texts: Catalogue) -> list[Confusion]:
    """Return the confusion matrices of the best candidates, each over all seeds that did not fail.

    There are none where an example has no one label.
    """
    columns = report.evidence_columns
    if "gold_label" not in columns or "predicted_label" not in columns:
        return []
    labels = report.data.labels
    found = []
    for index, one in enumerate(report.candidates[:MATRICES]):
        finished = [run for run in one.runs if run.failed is None]
        if not finished:
            continue
        counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
        for run in finished:
            evidence = np.asarray(run.evidence, dtype=np.int64)
            gold, predicted = evidence[:, columns.index("gold_label")], evidence[:, columns.index("predicted_label")]
            counts += confusion_matrix(gold, predicted, len(labels))
        small = len(labels) <= LARGEST_MATRIX
        found.append(
            Confusion(
                name=one.name,
                marker=key_marker(index),
                rows=_heat(counts, labels, texts) if small else (),
                most_frequent=() if small else _most_frequent(counts, labels),
            )
        )
    return found


def _heat(counts: IntArray, labels: Sequence[str], texts: Catalogue) -> tuple[tuple[HeatCell, ...], ...]:
    totals = np.maximum(counts.sum(axis=1), 1)
    return tuple(
        tuple(
            HeatCell(
                percent=f"{counts[row, column] / totals[row] * 100:.0f}" if counts[row, column] else "",
                alpha=round(float(counts[row, column] / totals[row]), 3),
                title=texts(
                    "confusion.cell",
                    gold=labels[row],
                    predicted=labels[column],
                    count=f"{counts[row, column]:,}",
                    total=f"{counts[row].sum():,}",
                ),
            )
            for column in range(len(labels))
        )
        for row in range(len(labels))
    )


def _most_frequent(counts: IntArray, labels: Sequence[str]) -> tuple[Mistake, ...]:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    rows, columns = np.unravel_index(order, wrong.shape)
    return tuple(
        Mistake(
            gold=labels[row],
            predicted=labels[column],
            count=f"{wrong[row, column]:,}",
            share=f"{percent(wrong[row, column] / counts[row].sum())}\u00a0%",
        )
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if wrong[row, column]
    )
