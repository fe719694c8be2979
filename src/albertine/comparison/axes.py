"""What every chart stands on: the frame that values fall into, axes with round numbers, the picture around it all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["WIDTH", "Frame", "axes", "log_ticks", "svg", "ticks"]

WIDTH = 440.0
"""Of every chart, in its own units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The plotting area and how values fall into it."""

    left: float
    top: float
    right: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    log_x: bool = False

    def x(self, value: float) -> float:
        """Return where a value falls across the picture."""
        low, high = self.x_range
        if self.log_x:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return how far below the picture's upper edge a value falls."""
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def svg(parts: Sequence[str], *, height: float, identifier: str, title: str, description: str) -> str:
    """Put a chart's parts into a picture that says what it shows to readers who do not see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-labelledby="{identifier}-title {identifier}-desc">'
        f'<title id="{identifier}-title">{escape(title)}</title>'
        f'<desc id="{identifier}-desc">{escape(description)}</desc>' + "".join(parts) + "</svg>"
    )


def axes(
    frame: Frame,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    *,
    x_label: str = "",
    y_label: str = "",
) -> list[str]:
    """Draw both axes; ticks are values with what is written at them."""
    parts = []
    for value, text in y_ticks:
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{frame.left:.1f} {y:.1f}H{frame.right:.1f}"/>')
        parts.append(f'<text class="tick end" x="{frame.left - 6:.1f}" y="{y + 4:.1f}">{escape(text)}</text>')
    for value, text in x_ticks:
        x = frame.x(value)
        parts.append(f'<path class="axis" d="M{x:.1f} {frame.bottom:.1f}v4"/>')
        if text:
            # A number at the very edge would be cut.
            anchor = " end" if x > frame.right - 12 else " middle"
            shift = 10 if anchor == " end" else 0
            parts.append(
                f'<text class="tick{anchor}" x="{x + shift:.1f}" y="{frame.bottom + 18:.1f}">{escape(text)}</text>'
            )
    parts.append(f'<path class="axis" d="M{frame.left:.1f} {frame.bottom:.1f}H{frame.right:.1f}"/>')
    if x_label:
        middle = (frame.left + frame.right) / 2
        parts.append(
            f'<text class="caption middle" x="{middle:.1f}" y="{frame.bottom + 38:.1f}">{escape(x_label)}</text>'
        )
    if y_label:
        middle = (frame.top + frame.bottom) / 2
        parts.append(
            f'<text class="caption middle" transform="translate(11 {middle:.1f}) rotate(-90)">{escape(y_label)}</text>'
        )
    return parts


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return round values from at or below `low` to at or above `high`, about `count` steps apart."""
    large = max(abs(high), 1.0)
    span = high - low if high - low > 1e-6 * large else 0.1 * large  # what differs by rounding is equal
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return the 1, 2, 5 of every power of ten between two values; powers alone where these would be many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    within = [value for value in fine if low <= value <= high]
    coarse = [10.0**power for power in powers if low <= 10.0**power <= high]
    return coarse if len(within) > 7 and len(coarse) > 1 else within
