"""The chart of an elastic encoder: what quality every depth gives, and how fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from albertine.comparison.axes import WIDTH, Frame, axes, svg, ticks
from albertine.comparison.charts import SERIES, marker
from albertine.comparison.results import DepthPoint

__all__ = ["DepthCurve", "depth_chart"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthCurve:
    """One candidate's depths."""

    name: str
    series: int
    """Its place among the candidates: decides colour and shape."""
    points: tuple[DepthPoint, ...]


def depth_chart(
    curves: Sequence[DepthCurve], *, identifier: str, title: str, x_label: str, y_label: str, fitted: str
) -> str:
    """Draw quality (in percent) over speed (all passes are 1), a line a candidate with a marker a depth.

    Args:
        curves: at least one, each with a point.
        identifier: unique in the page.
        title: for readers who do not see the chart.
        x_label: what speed is.
        y_label: what quality is.
        fitted: what stands at the point where every text takes as many passes as it needs.
    """
    points = [point for curve in curves for point in curve.points]
    x_ticks = ticks(0, max(point.speed for point in points), 5)
    y_ticks = ticks(min(point.quality for point in points) * 100, max(point.quality for point in points) * 100, 5)
    frame = Frame(
        left=46, top=14, right=WIDTH - 14, bottom=278, x_range=(0, x_ticks[-1]), y_range=(y_ticks[0], y_ticks[-1])
    )
    parts = axes(
        frame,
        [(value, f"{value:g}") for value in x_ticks],
        [(value, f"{value:g}") for value in y_ticks],
        x_label=x_label,
        y_label=y_label,
    )
    said = []
    for curve in curves:
        whole = [point for point in curve.points if point.depth is not None]
        line = "L".join(f"{frame.x(point.speed):.1f} {frame.y(point.quality * 100):.1f}" for point in whole)
        if len(whole) > 1:
            parts.append(f'<path class="mean s{curve.series % SERIES}" d="M{line}"/>')
        for point in curve.points:
            name = fitted if point.depth is None else str(point.depth)
            x, y = frame.x(point.speed), frame.y(point.quality * 100)
            said.append(f"{curve.name}, {name}: {point.quality * 100:.1f} %, {point.speed:.2f} ×")
            size = 7.5 if point.depth is None else 4.5
            parts.append(f"<g><title>{escape(said[-1])}</title>{marker(curve.series, x, y, size)}</g>")
            # a number at the right edge would be cut
            anchor, at = ("end", x - 9) if x > frame.right - 40 else ("start", x + 9)
            parts.append(f'<text class="tick {anchor}" x="{at:.1f}" y="{y - 7:.1f}">{escape(name)}</text>')
    return svg(parts, height=324, identifier=identifier, title=title, description="; ".join(said))
