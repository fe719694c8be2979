"""The learning curve survives crashes and starts anew where a run does."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from albertine.errors import DataError, MissingDependencyError
from albertine.training.log import LogPoint, TrainingLog, read_log
from albertine.training.trackers import TensorBoardLog


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


def test_a_point_has_its_parts_and_notes_and_one_written_before_there_were_any_is_read(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl", keep=0)
    full = dataclasses.replace(point(7), parts={"masked_words": 6.5, "pair": 0.7}, gradient_norm=1.5, note="lowered")
    log.append(full)
    old = {name: value for name, value in dataclasses.asdict(point(1)).items() if name not in ("parts", "note")}
    with log.path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(old) + "\n")
    assert read_log(tmp_path / "log.jsonl") == (full, point(1))


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".log.jsonl.abc"
    left.write_text("half", encoding="utf-8")
    TrainingLog(tmp_path / "log.jsonl", keep=0)
    assert not left.exists()


def test_a_process_that_writes_no_file_keeps_the_points(tmp_path: Path) -> None:
    log = TrainingLog(None, keep=0, points=[point(1)])
    log.append(point(7))
    assert log.points == [point(1), point(7)]
    assert list(tmp_path.iterdir()) == []


def test_without_tensorboard_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"albertine\[tensorboard\]"):
        TensorBoardLog(tmp_path)


def test_tensorboard_is_shown_every_value_and_hides_steps_that_come_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for steps in ((1, 7, 13), (7, 9)):  # resumed at 7
        log = TensorBoardLog(tmp_path)
        for step in steps:
            log(
                dataclasses.replace(
                    point(step), parts={"pair": 0.7}, gradient_norm=1.5, note="lowered", dev_metrics={"f1": 0.5}
                )
            )
        log.close()
    shown = accumulator.EventAccumulator(str(tmp_path))
    shown.Reload()
    names = {"loss", "loss/pair", "learning_rate", "tokens", "gradient_norm", "dev/f1"}
    assert set(shown.Tags()["scalars"]) == names
    assert [event.step for event in shown.Scalars("loss")] == [1, 7, 9]
    assert shown.Scalars("loss/pair")[0].value == pytest.approx(0.7)
