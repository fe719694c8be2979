from __future__ import annotations

import signal
import sys
import textwrap
from pathlib import Path

import pytest

from albertine.comparison import processes
from albertine.comparison.jobs import JobFolder
from albertine.comparison.processes import run_process
from albertine.training.progress import TrainingProgress

PROGRESS = (
    '{"step": 3, "total_steps": 9, "fraction": 0.3, "examples": 39, "examples_per_second": 13.0, '
    '"tokens_per_second": 99.0, "loss": 0.5, "dev_metric": null, "seconds": 3.0, "seconds_left": 6.0}'
)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module that stands in for the real process."""
    monkeypatch.setattr(processes, "MODULE", "stand_in")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "stand_in.py"


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    (tmp_path / "job").mkdir()
    return JobFolder(tmp_path / "job")


def write(worker: Path, code: str) -> None:
    worker.write_text("import json, os, signal, sys, time\n" + textwrap.dedent(code), encoding="utf-8")


def test_a_process_gets_its_stage_its_folder_its_threads_and_the_command(
    worker: Path, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/some/where/albertine", "compare", "my data.csv"])
    write(worker, "print(sys.argv[1:], os.environ['OMP_NUM_THREADS'], file=sys.stderr)")
    assert run_process("measure", folder, threads=3) is None
    shown = "albertine compare 'my data.csv'"
    assert folder.log.read_text(encoding="utf-8") == f"{['measure', str(folder.path), '3', shown]} 3\n"


def test_what_a_training_says_is_passed_on_and_half_lines_are_not(worker: Path, folder: JobFolder) -> None:
    seen: list[TrainingProgress] = []
    write(worker, f"print({PROGRESS!r}); print('{{\"step\": 4'); print('[]'); print('null')")
    assert run_process("train", folder, threads=1, progress=seen.append) is None
    assert [progress.step for progress in seen] == [3]
    assert seen[0].seconds_left == 6.0


def test_the_reason_that_a_process_leaves_is_told(worker: Path, folder: JobFolder) -> None:
    write(worker, f"open({str(folder.error)!r}, 'w').write(json.dumps({{'error': 'no such file'}})); sys.exit(1)")
    assert run_process("train", folder, threads=1) == "no such file"


def test_without_a_reason_the_last_line_of_the_log_is_told(worker: Path, folder: JobFolder) -> None:
    write(worker, "raise RuntimeError('the disk melted')")
    assert run_process("train", folder, threads=1) == "RuntimeError: the disk melted"


def test_a_process_that_dies_silently_is_told_by_its_exit_code(worker: Path, folder: JobFolder) -> None:
    write(worker, "sys.exit(7)")
    assert run_process("measure", folder, threads=1) == "the measure process ended with exit code 7"


def test_a_killed_process_is_told_by_its_signal(worker: Path, folder: JobFolder) -> None:
    write(worker, "os.kill(os.getpid(), signal.SIGKILL)")
    reason = run_process("train", folder, threads=1)
    assert reason is not None
    assert "SIGKILL" in reason
    assert "memory" in reason


def test_an_interruption_lets_the_process_save_and_then_goes_on(worker: Path, folder: JobFolder) -> None:
    write(
        worker,
        f"""
        def save(number, frame):
            open({str(folder.path / "saved")!r}, "w").write("whole")
            sys.exit(130)
        signal.signal(signal.SIGTERM, save)
        print({PROGRESS!r}, flush=True)
        time.sleep(60)
        """,
    )

    def interrupt(progress: TrainingProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_process("train", folder, threads=1, progress=interrupt)
    assert (folder.path / "saved").read_text(encoding="utf-8") == "whole"


def test_a_process_that_does_not_end_in_time_is_killed(
    worker: Path, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "SECONDS_TO_SAVE", 0.2)
    write(worker, f"signal.signal(signal.SIGTERM, signal.SIG_IGN); print({PROGRESS!r}, flush=True); time.sleep(60)")

    def interrupt(progress: TrainingProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_process("train", folder, threads=1, progress=interrupt)


def test_ctrl_c_does_not_reach_the_process_by_itself(worker: Path, folder: JobFolder) -> None:
    write(worker, "print(os.getsid(0) == os.getpid(), file=sys.stderr)")
    assert run_process("train", folder, threads=1) is None
    assert folder.log.read_text(encoding="utf-8") == "True\n"


def test_a_process_told_to_end_by_somebody_else_is_a_failure(worker: Path, folder: JobFolder) -> None:
    write(worker, "sys.exit(130)")
    assert run_process("train", folder, threads=1) == "the train process was told to end"
    write(worker, f"os.kill(os.getpid(), {int(signal.SIGTERM)})")
    assert run_process("train", folder, threads=1) == "the train process was told to end"
