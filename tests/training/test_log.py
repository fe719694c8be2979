"""The learning curve survives crashes and starts anew where a run does."""

from __future__ import annotations

from pathlib import Path

import pytest

from albertine.errors import DataError
from albertine.training.log import LogPoint, TrainingLog, read_log


def point(step: int) -> LogPoint:
    return LogPoint(step=step, examples=step * 7, tokens=step * 99, seconds=0.5, loss=0.25, learning_rate=1e-3)


def test_points_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl", keep=0)
    for step in (1, 7, 13):
        log.append(point(step))
    assert read_log(tmp_path / "log.jsonl") == (point(1), point(7), point(13))


def test_a_resumed_run_keeps_the_points_up_to_its_checkpoint(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl", keep=0)
    for step in (1, 7, 13):
        log.append(point(step))
    TrainingLog(tmp_path / "log.jsonl", keep=2)
    assert read_log(tmp_path / "log.jsonl") == (point(1), point(7))
    TrainingLog(tmp_path / "log.jsonl", keep=0)
    assert read_log(tmp_path / "log.jsonl") == ()


def test_a_last_line_cut_off_by_a_crash_is_left_out_and_any_other_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path, keep=0)
    log.append(point(1))
    log.append(point(7))
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[:-20], encoding="utf-8")
    assert read_log(path) == (point(1),)
    path.write_text("nonsense\n" + whole, encoding="utf-8")
    with pytest.raises(DataError, match=r"log\.jsonl:1"):
        read_log(path)
