"""The charts of the report: SVG with real text, coloured by the page's style sheet, readable without colours.

Every series has a colour (`s0` … `s7`, set in the style sheet for light and dark) and a marker shape of its own, and
stands beside its name.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from albertine.comparison.axes import WIDTH, Frame, axes, log_ticks, svg, ticks
from albertine.evaluation.calibration import Reliability
from albertine.evaluation.significance import Interval

__all__ = ["SERIES", "Curve", "Point", "curve_panel", "marker", "quality_against_cost", "reliability_chart"]

SERIES = 8
"""How many colours and marker shapes there are before they repeat."""

_LETTER = 7.8
"""Width of a bold Latin letter at the 12.5 px of the charts, in wide fonts; a Chinese character takes all 12.5."""

_LONGEST_NAME = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One candidate in a quality-against-cost chart."""

    name: str
    series: int
    """Its place among the candidates: decides colour and shape."""
    cost: float
    cost_text: str
    quality: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One seed's values."""

    seed: int
    x: tuple[float, ...]
    y: tuple[float, ...]


def marker(series: int, x: float, y: float, size: float = 5.5) -> str:
    """Draw the marker of a series: circle, square, triangle, diamond, and the same hollow."""
    if series % 4 == 0:
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}"'
    elif series % 4 == 1:
        shape = f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size:.1f}" height="{2 * size:.1f}"'
    else:
        tall = size * 1.25
        corners = [(x, y - tall), (x + tall, y + size), (x - tall, y + size)]
        if series % 4 == 3:
            corners = [(x, y - tall), (x + tall, y), (x, y + tall), (x - tall, y)]
        shape = '<polygon points="' + " ".join(f"{a:.1f},{b:.1f}" for a, b in corners) + '"'
    hollow = " hollow" if series % SERIES >= 4 else ""
    return f'{shape} class="mark s{series % SERIES}{hollow}"/>'


def quality_against_cost(
    points: Sequence[Point],
    *,
    identifier: str,
    title: str,
    x_label: str,
    y_label: str,
    tick_text: Callable[[float], str],
) -> str:
    """Draw quality (in percent, with intervals) over cost on a logarithmic axis.

    Args:
        points: at least one, every cost above 0.
        identifier: unique in the page.
        title: for readers who do not see the chart.
        x_label: what the cost is.
        y_label: what the quality is.
        tick_text: writes a cost.
    """
    costs = [point.cost for point in points]
    low, high = min(costs), max(costs)
    # At least a factor of four, so that candidates that cost the same do not seem far apart.
    widen = max(1.35, math.sqrt(4 / (high / low)))
    y_ticks = ticks(min(p.quality.low for p in points) * 100, max(p.quality.high for p in points) * 100, 5)
    frame = Frame(
        left=46,
        top=14,
        right=WIDTH - 14,
        bottom=278,
        x_range=(low / widen, high * widen),
        y_range=(y_ticks[0], y_ticks[-1]),
        log_x=True,
    )
    parts = axes(
        frame,
        [(value, tick_text(value)) for value in log_ticks(*frame.x_range)],
        [(value, f"{value:g}") for value in y_ticks],
        x_label=x_label,
        y_label=y_label,
    )
    places = {point.name: (frame.x(point.cost), frame.y(point.quality.value * 100)) for point in points}
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in places.values()]
    for point in points:
        x, y = places[point.name]
        top, bottom = frame.y(point.quality.high * 100), frame.y(point.quality.low * 100)
        colour = f"s{point.series % SERIES}"
        said = f"{point.name}: {point.quality.value * 100:.1f} % ({point.cost_text})"
        parts.append(
            f"<g><title>{escape(said)}</title>"
            f'<path class="whisker {colour}" d="M{x:.1f} {top:.1f}V{bottom:.1f}'
            f'M{x - 4:.1f} {top:.1f}h8M{x - 4:.1f} {bottom:.1f}h8"/>{marker(point.series, x, y)}</g>'
        )
    taken += [
        (x - 3, frame.y(point.quality.high * 100), x + 3, frame.y(point.quality.low * 100))
        for point, (x, _) in zip(points, places.values(), strict=True)
    ]
    labels = [_label(point.name, *places[point.name], frame, taken) for point in points]
    # Leaders under the markers, names above everything.
    parts = [*parts, *labels]
    description = "; ".join(
        f"{p.name}: {p.quality.value * 100:.1f} % ({p.quality.low * 100:.1f}–{p.quality.high * 100:.1f}), {p.cost_text}"
        for p in points
    )
    return svg(parts, height=324, identifier=identifier, title=title, description=description)


def curve_panel(
    upper: Sequence[Curve],
    lower: Sequence[Curve],
    *,
    series: int,
    identifier: str,
    title: str,
    description: str,
    upper_label: str,
    lower_label: str,
    x_label: str,
    upper_range: tuple[float, float],
    tick_text: Callable[[float], str],
) -> str:
    """Draw one candidate's learning curves: every seed thin, their mean bold; quality above, training loss below.

    Args:
        upper: quality on the development split in percent, a curve a seed.
        lower: training loss, a curve a seed.
        series: decides the colour.
        identifier: unique in the page.
        title: for readers who do not see the chart.
        description: the same, longer.
        upper_label: what the quality is.
        lower_label: what the loss is.
        x_label: what both run over.
        upper_range: quality range in percent, the same for every candidate so that panels can be compared.
        tick_text: writes a position on the x axis.
    """
    last = max((curve.x[-1] for curve in (*upper, *lower) if curve.x), default=1.0) or 1.0
    x_ticks = [value for value in ticks(0, last, 4) if value <= last * 1.001]
    y_ticks = ticks(*upper_range, 4)
    parts: list[str] = []
    frame = Frame(left=46, top=26, right=WIDTH - 14, bottom=176, x_range=(0, last), y_range=(y_ticks[0], y_ticks[-1]))
    parts += axes(frame, [(value, "") for value in x_ticks], [(value, f"{value:g}") for value in y_ticks])
    parts += _curves(upper, frame, series)
    parts.append(f'<text class="caption" x="4" y="14">{escape(upper_label)}</text>')
    losses = [value for curve in lower for value in curve.y if math.isfinite(value)]
    loss_ticks = ticks(0, max(losses, default=1.0), 3)
    frame = Frame(left=46, top=214, right=WIDTH - 14, bottom=290, x_range=(0, last), y_range=(0, loss_ticks[-1] or 1.0))
    parts += axes(
        frame,
        [(value, tick_text(value)) for value in x_ticks],
        [(value, f"{value:g}") for value in loss_ticks],
        x_label=x_label,
    )
    parts += _curves(lower, frame, series)
    parts.append(f'<text class="caption" x="4" y="204">{escape(lower_label)}</text>')
    return svg(parts, height=334, identifier=identifier, title=title, description=description)


def reliability_chart(
    found: Reliability,
    *,
    series: int,
    identifier: str,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
) -> str:
    """Draw how often answers are right over their confidence, both in percent; on the diagonal the two are equal.

    Args:
        found: by level of confidence; empty levels are left out, a marker is larger where there are more answers.
        series: decides colour and marker.
        identifier: unique in the page.
        title: for readers who do not see the chart.
        description: the same, longer.
        x_label: what confidence is.
        y_label: what being right is.
    """
    frame = Frame(left=46, top=14, right=WIDTH - 14, bottom=278, x_range=(0, 100), y_range=(0, 100))
    shares = [(float(value), str(value)) for value in range(0, 101, 20)]
    parts = axes(frame, shares, shares, x_label=x_label, y_label=y_label)
    parts.append(
        f'<path class="diagonal" d="M{frame.x(0):.1f} {frame.y(0):.1f}L{frame.x(100):.1f} {frame.y(100):.1f}"/>'
    )
    filled = [
        (frame.x(100 * level), frame.y(100 * right), count)
        for level, right, count in zip(found.confidence, found.accuracy, found.counts, strict=True)
        if count
    ]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in filled)
    parts.append(f'<path class="mean s{series % SERIES}" d="M{path}"/>')
    most = max(count for _, _, count in filled)
    for x, y, count in filled:
        said = f"<title>{count:,}</title>"
        parts.append(f"<g>{said}{marker(series, x, y, 2.5 + 4.0 * math.sqrt(count / most))}</g>")
    return svg(parts, height=324, identifier=identifier, title=title, description=description)


def mean_curve(curves: Sequence[Curve]) -> Curve | None:
    """Return the mean of several curves where all of them have values, interpolated; None where they do not overlap."""
    known = [curve for curve in curves if curve.x]
    if len(known) < 2:
        return None
    first, last = max(curve.x[0] for curve in known), min(curve.x[-1] for curve in known)
    places = sorted({value for curve in known for value in curve.x if first <= value <= last})
    if not places:
        return None
    means = [sum(_at(curve, place) for curve in known) / len(known) for place in places]
    return Curve(seed=-1, x=tuple(places), y=tuple(means))


def _at(curve: Curve, place: float) -> float:
    """Return the curve's value at a place within its range, on the line between its neighbours."""
    for index in range(1, len(curve.x)):
        if place <= curve.x[index]:
            before, after = curve.x[index - 1], curve.x[index]
            share = (place - before) / (after - before) if after > before else 1.0
            return curve.y[index - 1] + share * (curve.y[index] - curve.y[index - 1])
    return curve.y[-1]


def _curves(curves: Sequence[Curve], frame: Frame, series: int) -> list[str]:
    mean = mean_curve(curves)
    drawn = [(curve, "seed") for curve in curves] + ([(mean, "mean")] if mean else [])
    parts = []
    for curve, kind in drawn:
        kept = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y)]
        path = "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in kept)
        kind = "mean" if len(curves) == 1 else kind
        if len(kept) == 1:
            parts.append(marker(series, frame.x(kept[0][0]), frame.y(kept[0][1]), 4))
        elif kept:
            parts.append(f'<path class="{kind} s{series % SERIES}" d="M{path}"/>')
    return parts


def _label(name: str, x: float, y: float, frame: Frame, taken: list[tuple[float, float, float, float]]) -> str:
    """Write a name beside its marker, where it covers least of what is there; remember the place in `taken`."""
    shown = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    width = sum(12.5 if unicodedata.east_asian_width(letter) in "WF" else _LETTER for letter in shown)
    best, least = ("start", x + 10, y + 4), math.inf
    for step in range(-24, 25):
        rise = step * 4.0
        for anchor, at in (("start", x + 10), ("end", x - 10)):
            left = at if anchor == "start" else at - width
            box = (left, y + rise - 8, left + width, y + rise + 7)
            outside = max(0.0, frame.left + 2 - box[0]) + max(0.0, box[2] - frame.right - 12)
            outside += max(0.0, frame.top - 12 - box[1]) + max(0.0, box[3] - frame.bottom)
            covered = outside * 40 + abs(rise) * 0.8 + sum(_overlap(box, other) for other in taken)
            if covered < least - 1e-9:
                best, least, chosen = (anchor, at, y + rise + 4), covered, box
    taken.append(chosen)
    anchor, at, base = best
    text = f'<text class="name {anchor}" x="{at:.1f}" y="{base:.1f}">{escape(shown)}</text>'
    if abs(base - 4 - y) <= 12:
        return text
    # A name that had to move away is tied to its marker.
    end = at - 2 if anchor == "start" else at + 2
    return f'<path class="leader" d="M{x:.1f} {y:.1f}L{end:.1f} {base - 4:.1f}"/>{text}'


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    return wide * tall if wide > 0 and tall > 0 else 0.0
