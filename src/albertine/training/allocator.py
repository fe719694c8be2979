"""Keeps the memory that a training step frees for the next one."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

__all__ = ["keep_freed_memory"]

# The numbers of glibc's mallopt: what is given back to the system, and what is asked of it directly.
_TRIM_THRESHOLD, _MOST_MAPPINGS = -1, -4
_USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell glibc to give no freed memory back to the system, and say whether that was done.

    Every step asks for the same large arrays. glibc gives them back in between, and the system hands every page out
    anew, filled with zeros: a twelfth of a step (docs/performance.md). The setting holds for the whole process and is
    left alone where the user has chosen one (`MALLOC_…_` in the environment), and where there is no glibc.

    Args:
        environment: of the process.
    """
    if sys.platform != "linux" or any(name in environment for name in _USERS_OWN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, -1)) and bool(mallopt(_MOST_MAPPINGS, 0))
