"""Time and memory of this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

if sys.platform != "win32":
    import resource

__all__ = ["Clock", "Percentiles", "peak_memory_bytes", "percentiles"]

Clock = Callable[[], float]
"""Seconds since some fixed moment, never running backwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """What half, 95 % and 99 % of the values do not exceed; in the values' unit."""

    p50: float
    p95: float
    p99: float


def percentiles(values: Sequence[float]) -> Percentiles:
    """Return the percentiles of at least one value, interpolated between neighbours."""
    assert len(values) > 0, "percentiles of nothing"
    p50, p95, p99 = np.percentile(np.asarray(values, dtype=np.float64), [50, 95, 99])
    return Percentiles(p50=float(p50), p95=float(p95), p99=float(p99))


def peak_memory_bytes(*, platform: str = sys.platform, status: Path = Path("/proc/self/status")) -> int:
    """Return the largest resident memory this process has had; 0 where the system does not say.

    On Linux it is read from `/proc`: there the figure of `getrusage` survives `exec`, so that a small process
    started by a big one would report the big one's peak.

    Args:
        platform: as `sys.platform`; it decides where to look and in which unit the answer comes.
        status: the file in which Linux keeps the peak.
    """
    if platform == "win32":
        return 0
    if platform == "linux" and status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS answers in bytes, every other system in KiB.
    return peak if platform == "darwin" else peak * 1024
