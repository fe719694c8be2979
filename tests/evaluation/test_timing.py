from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from albertine.evaluation.timing import Percentiles, Stopwatch, peak_memory_bytes, percentiles


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_stopwatch_adds_up_its_rounds_and_not_the_time_between() -> None:
    clock = FakeClock()
    watch = Stopwatch(clock)
    assert watch.seconds == 0.0
    with watch:
        clock.now += 3.0
        assert watch.seconds == 3.0
    clock.now += 50.0
    watch.start()
    clock.now += 0.5
    assert watch.stop() == 3.5
    clock.now += 9.0
    assert watch.seconds == 3.5


def test_starting_twice_and_stopping_twice_change_nothing() -> None:
    clock = FakeClock()
    watch = Stopwatch(clock).start()
    clock.now += 2.0
    watch.start()
    clock.now += 1.0
    assert watch.stop() == 3.0
    assert watch.stop() == 3.0


def test_a_stopwatch_stops_when_its_block_fails() -> None:
    clock = FakeClock()
    watch = Stopwatch(clock)

    def failing_work() -> None:
        with watch:
            clock.now += 1.0
            raise KeyError

    with pytest.raises(KeyError):
        failing_work()
    clock.now += 1.0
    assert watch.seconds == 1.0


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
    assert in_kibibytes == peak_memory_bytes(platform="linux", status=absent)
    assert in_kibibytes == 1024 * peak_memory_bytes(platform="darwin", status=absent)
    assert peak_memory_bytes(platform="win32", status=absent) == 0
