from __future__ import annotations

from albertine.catalogue import catalogue
from albertine.comparison.formats import byte_size, compact, duration, milliseconds, p_value, points, rate, trimmed


def test_numbers_are_written_with_units_and_digits_that_matter() -> None:
    english, chinese = catalogue("en"), catalogue("zh")
    assert [compact(value) for value in (312, 9_999, 11_683_584, 999_700, 1.2e9)] == [
        "312",
        "9,999",
        "11.7\u00a0M",
        "1.00\u00a0M",
        "1.20\u00a0G",
    ]
    assert [byte_size(value) for value in (0, 999, 16_500_000)] == ["0\u00a0B", "999\u00a0B", "16.5\u00a0MB"]
    assert [milliseconds(value) for value in (0.0312, 3.456, 220, 12_000)] == [
        "0.0312\u00a0ms",
        "3.46\u00a0ms",
        "220\u00a0ms",
        "12\u00a0s",
    ]
    assert [rate(value) for value in (0.0, 78.6, 1507.3, 20_600)] == ["0", "78.6", "1,507", "20.6\u00a0k"]
    assert [points(value) for value in (0.0123, -0.0123, -0.0001)] == ["+1.2", "−1.2", "0.0"]
    assert [p_value(value) for value in (0.0004, 0.0123, 0.5, 1.0)] == ["<\u00a00.001", "0.012", "0.50", "1.00"]
    assert [duration(value, english) for value in (4.2, 59.97, 252, 3900)] == [
        "4.2\u00a0s",
        "1\u00a0min 0\u00a0s",
        "4\u00a0min 12\u00a0s",
        "1\u00a0h 5\u00a0min",
    ]
    assert duration(252, chinese) == "4\u00a0分\u00a012\u00a0秒"
    assert [trimmed(text) for text in ("1.00 ms", "20.0 k", "2.50 MB", "100 ms", "0.0310")] == [
        "1 ms",
        "20 k",
        "2.5 MB",
        "100 ms",
        "0.031",
    ]
