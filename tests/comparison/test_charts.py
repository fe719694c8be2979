from __future__ import annotations

import re

from albertine.comparison.charts import Curve, curve_panel


def test_qualities_that_differ_by_rounding_alone_are_drawn_as_one_line() -> None:
    quality = 86.27635262664036
    drawn = curve_panel(
        upper=[Curve(seed=0, x=(64.0, 128.0, 192.0), y=(quality, quality + 1e-14, quality))],
        lower=[Curve(seed=0, x=(64.0, 128.0, 192.0), y=(1.0, 0.5, 0.25))],
        series=0,
        identifier="curve-0",
        title="curves",
        description="of one candidate",
        upper_label="quality",
        lower_label="loss",
        x_label="examples",
        upper_range=(quality, quality + 1e-14),
        tick_text=str,
    )
    (path,) = re.findall(r'class="mean[^"]*" d="M([^"]+)"', drawn)[:1]
    heights = [float(point.split()[1]) for point in path.split("L")]
    assert len(heights) == 3
    assert max(heights) - min(heights) < 0.1
