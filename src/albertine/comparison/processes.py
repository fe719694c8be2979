"""Running a job's processes, one at a time, and learning why one failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import IO, Literal

from albertine.comparison.jobs import JobFolder
from albertine.settings import prepare_computing
from albertine.training.manifest import command_line
from albertine.training.progress import ProgressCallback, TrainingProgress

__all__ = ["run_process"]

SECONDS_TO_SAVE = 120.0
"""What an interrupted training is given to write its checkpoint."""
INTERRUPTED = 130

MODULE = "albertine.comparison.worker"


def run_process(
    stage: Literal["train", "measure"],
    folder: JobFolder,
    *,
    threads: int,
    progress: ProgressCallback | None = None,
) -> str | None:
    """Train or measure a job in a process of its own, and wait for it.

    Args:
        stage: which process.
        folder: the job's; the process writes its results and its log there.
        threads: for its arithmetic.
        progress: called with what a training says.

    Returns:
        Why it failed, None where it did not.

    Raises:
        KeyboardInterrupt: this process was interrupted; the other one was told to save and has ended.
    """
    variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    prepare_computing(variables, training=stage == "train")
    command = [sys.executable, "-m", MODULE, stage, str(folder.path), str(threads), command_line(sys.argv)]
    with (
        folder.log.open("a", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=variables,
            text=True,
            encoding="utf-8",
            # A session of its own: Ctrl-C reaches this process alone, which passes it on exactly once.
            start_new_session=True,
        ) as child,
    ):
        try:
            assert child.stdout is not None, "stdout is a pipe"
            _listen(child.stdout, progress)
            code = child.wait()
        except BaseException:
            _end(child)
            raise
    return None if code == 0 else _reason(stage, folder, code)


def _listen(lines: IO[str], progress: ProgressCallback | None) -> None:
    """Pass on what the process says until it closes the channel."""
    for line in lines:
        if progress is not None:
            try:
                told = TrainingProgress(**json.loads(line))
            except (ValueError, TypeError):  # a killed process may leave half a line
                continue
            progress(told)


def _end(child: subprocess.Popen[str]) -> None:
    """Tell a process to save and end; take no longer than a second interruption or the time it is given."""
    child.terminate()
    try:
        child.communicate(timeout=SECONDS_TO_SAVE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.kill()
        child.wait()


def _reason(stage: str, folder: JobFolder, code: int) -> str:
    if told := folder.read_error():
        return told
    if code == INTERRUPTED or code == -signal.SIGTERM:
        return f"the {stage} process was told to end"
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", perhaps because the memory was full" if -code == signal.SIGKILL else ""
        return f"the {stage} process was ended by {name}{hint}"
    lines = [line for line in folder.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"the {stage} process ended with exit code {code}"
