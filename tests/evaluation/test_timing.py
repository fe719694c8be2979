from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from albertine.evaluation.timing import Percentiles, peak_memory_bytes, percentiles


def test_percentiles_interpolate() -> None:
    assert percentiles([float(value) for value in range(101)]) == Percentiles(p50=50.0, p95=95.0, p99=99.0)
    assert percentiles([7.0]) == Percentiles(p50=7.0, p95=7.0, p99=7.0)
    assert percentiles([1.0, 2.0]).p50 == 1.5


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_memory_bytes()
    held = np.ones(60_000_000 // 8)
    assert 1_000_000 < before < 1 << 40
    assert peak_memory_bytes() >= held.nbytes
    assert peak_memory_bytes() >= before


def test_linux_peak_is_read_in_kibibytes(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  999 kB\nVmHWM:\t    1300 kB\n", encoding="ascii")
    assert peak_memory_bytes(platform="linux", status=status) == 1300 * 1024


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage")
def test_other_systems_are_asked_in_their_own_unit(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    in_kibibytes = peak_memory_bytes(platform="freebsd", status=absent)
    # The peak may grow by a few pages from one question to the next; the units are 1024 apart.
    assert in_kibibytes == pytest.approx(peak_memory_bytes(platform="linux", status=absent), rel=0.05)
    assert in_kibibytes == pytest.approx(1024 * peak_memory_bytes(platform="darwin", status=absent), rel=0.05)
    assert peak_memory_bytes(platform="win32", status=absent) == 0
