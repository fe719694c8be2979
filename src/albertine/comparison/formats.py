"""Numbers as a reader wants them: with a unit, three digits that matter, and no break before the unit."""

from __future__ import annotations

import math
import re

from albertine.catalogue import Catalogue
from albertine.evaluation.significance import Interval

__all__ = [
    "NONE",
    "byte_size",
    "compact",
    "duration",
    "interval",
    "metric_name",
    "milliseconds",
    "p_value",
    "percent",
    "points",
    "rate",
    "times",
    "trimmed",
]

NONE = "–"
"""Stands where there is nothing to show."""

_SPACE = "\u00a0"


def percent(share: float) -> str:
    """Write a share of 1 in percent, without the sign."""
    return f"{share * 100:.1f}"


def points(difference: float) -> str:
    """Write a difference of shares in percentage points, with its sign (a true minus)."""
    rounded = round(difference * 100, 1)
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")


def interval(value: Interval) -> str:
    """Write the ends of an interval of shares in percent."""
    return f"{percent(value.low)}–{percent(value.high)}"


def metric_name(name: str, texts: Catalogue) -> str:
    """Return what a metric is called in the report's language; a plug-in's goes by its own name."""
    key = f"metric.{name}"
    return texts(key) if key in texts else name.replace("_", " ")


def p_value(value: float) -> str:
    """Write a p-value; tiny ones as a bound, because the number of resamples is all that stops them."""
    if value < 0.001:
        return f"<{_SPACE}0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def compact(number: float) -> str:
    """Write a count: in full below 10,000, above with three digits and k, M or G."""
    if abs(number) < 10_000:
        return f"{number:,.0f}"
    return _scaled(number, 1000, ("", "k", "M", "G", "T"))


def byte_size(size: float) -> str:
    """Write bytes in kB, MB or GB (powers of 1000)."""
    return _scaled(size, 1000, ("B", "kB", "MB", "GB", "TB"))


def milliseconds(value: float) -> str:
    """Write a latency given in milliseconds."""
    return f"{value / 1000:.3g}{_SPACE}s" if value >= 10_000 else f"{_three_digits(value)}{_SPACE}ms"


def rate(value: float) -> str:
    """Write how many a second, without saying so."""
    return _three_digits(value) if value < 10_000 else compact(value)


def times(ratio: float) -> str:
    """Write a factor."""
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"


def trimmed(number: str) -> str:
    """Drop the zeros that end the decimals of a written number, as the ticks of an axis have them."""
    return re.sub(r"\.(\d*?)0+(?!\d)", lambda found: f".{found[1]}" if found[1] else "", number)


def duration(seconds: float, texts: Catalogue) -> str:
    """Write seconds as seconds, minutes or hours."""
    if seconds < 59.95:
        return texts("unit.seconds", seconds=f"{seconds:.1f}" if seconds < 9.95 else f"{seconds:.0f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return texts("unit.minutes", minutes=minutes, seconds=rest)
    return texts("unit.hours", hours=minutes // 60, minutes=minutes % 60)


def _three_digits(value: float) -> str:
    if not math.isfinite(value):
        return NONE
    value = float(f"{value:.3g}") if abs(value) < 1000 else value
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value)) + 1e-12))
    return f"{value:,.{min(digits, 4)}f}"


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    step = 0
    while abs(value) >= base * 0.9995 and step < len(units) - 1:
        value /= base
        step += 1
    return f"{_three_digits(value) if step else f'{value:.0f}'}{_SPACE}{units[step]}".rstrip(_SPACE)
