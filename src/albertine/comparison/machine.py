"""What a comparison ran on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import albertine

__all__ = ["core_count", "machine_info"]


def machine_info(device: str, threads: int) -> dict[str, str]:
    """Return processor, cores, memory and versions, each as a text for the report.

    Args:
        device: where models were trained and measured.
        threads: of every process.
    """
    return {
        "processor": _processor(),
        "cores": str(core_count()),
        "threads": str(threads),
        "memory": _memory(),
        "device": device,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "albertine": albertine.__version__,
    }


def core_count() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return "unknown"
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
