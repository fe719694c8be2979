"""A bar on a terminal, a line now and then elsewhere, nothing else."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from albertine.progress import ProgressBar
from albertine.training.progress import TrainingProgress


def at(step: int) -> TrainingProgress:
    return TrainingProgress(
        step=step,
        total_steps=99,
        fraction=step / 99,
        examples=step * 7,
        examples_per_second=70.0,
        tokens_per_second=1234.0,
        loss=0.5,
        dev_metric=None,
        seconds=step / 10,
        seconds_left=(99 - step) / 10,
    )


def test_loss_rate_and_time_left_stand_on_one_line() -> None:
    said = at(13).describe()
    for part in ("step 13/99", "loss 0.5000", "1,234 tokens/s", "70 examples/s", "0:09 left"):
        assert part in said
    assert "\n" not in said


def test_a_terminal_gets_a_bar_with_loss_rate_and_time_left() -> None:
    screen = io.StringIO()
    bar = ProgressBar(Console(file=screen, force_terminal=True, width=120))
    for step in range(1, 100):
        bar(at(step))
    bar.close()
    assert "loss 0.5000" in screen.getvalue()
    assert "100%" in screen.getvalue()


def test_elsewhere_a_line_is_logged_every_half_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    stream = io.StringIO()
    bar = ProgressBar(Console(file=stream, force_terminal=False), clock=lambda: now[0])
    with caplog.at_level("INFO", logger="albertine"):
        for step in range(1, 99):
            now[0] += 1.0
            bar(at(step))
    bar.close()
    assert stream.getvalue() == ""
    assert len(caplog.records) == 3
    assert "loss 0.5000" in caplog.text


def test_the_parts_of_a_loss_are_named_where_it_has_several() -> None:
    several = dataclasses.replace(at(13), parts={"masked_words": 6.51234, "pair": 0.7})
    assert "loss 0.5000 (masked_words 6.512, pair 0.700)" in several.describe()
    assert "(" not in dataclasses.replace(at(13), parts={"classification": 0.5}).describe()
