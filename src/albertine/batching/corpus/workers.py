"""Blocks of documents handed to processes, one block each at a time; memory stays flat, Ctrl-C and kill leave no trace.

The processes are started as programs, not forked, so nothing of the caller's is run or copied; they end by themselves
when the caller is gone. A block goes to a process as JSON over a pipe; the process writes the block's file itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from albertine import errors
from albertine.batching.corpus.reading import DocumentBlock
from albertine.errors import AlbertineError, FailureError

__all__ = ["ask_process", "make_blocks", "serve"]

MODULE = "albertine.batching.corpus.worker"
_HEADER = struct.Struct("<Q")
_LOG_TAIL = 1 << 14


def make_blocks(blocks: Iterable[DocumentBlock], *, work: Path, workers: int, done: Callable[[str], None]) -> None:
    """Have every block made and written; the order in which they are finished does not matter.

    Args:
        blocks: read in this process, a few ahead of the workers.
        work: the folder with everything that workers need to know.
        workers: processes.
        done: called in this thread with what is kept of each block: `blocks.BlockSummary` as JSON.

    Raises:
        AlbertineError: what a worker met, or what reading met.
        FailureError: a worker died; the blocks that were finished stay.
    """
    waiting: queue.Queue[DocumentBlock | None] = queue.Queue(maxsize=1)
    finished: queue.Queue[str | BaseException] = queue.Queue()
    processes = [_WorkerProcess(work, "blocks", number + 1) for number in range(workers)]
    threads = [threading.Thread(target=_feed, args=(process, waiting, finished), daemon=True) for process in processes]

    def collect(*, wait: bool = False) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                result = finished.get(timeout=0.2) if wait else finished.get_nowait()
                if isinstance(result, BaseException):
                    raise result
                done(result)

    def hand_over(block: DocumentBlock | None) -> None:
        while True:
            collect()
            with contextlib.suppress(queue.Full):
                waiting.put(block, timeout=0.2)
                return

    try:
        for thread in threads:
            thread.start()
        for block in blocks:
            hand_over(block)
        for _ in threads:
            hand_over(None)
        while any(thread.is_alive() for thread in threads):
            collect(wait=True)
        collect()
    finally:
        for process in processes:
            process.end()


class _WorkerProcess:
    """A process that makes blocks, seen from the one that feeds it."""

    def __init__(self, work: Path, task: str, number: int) -> None:
        self._log = work / f"worker-{number}.log"
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, task, str(work), str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=variables,
                # A session of its own: Ctrl-C reaches the caller alone, which ends this one.
                start_new_session=True,
            )

    def ask(self, data: bytes, *, where: str) -> str:
        """Send something and wait for the answer.

        Args:
            data: what the process is to work on.
            where: what that is, for messages.

        Raises:
            AlbertineError: what the process met.
            FailureError: it died.
        """
        assert self._process.stdin is not None, "stdin is a pipe"
        assert self._process.stdout is not None, "stdout is a pipe"
        try:
            self._process.stdin.write(_HEADER.pack(len(data)))
            self._process.stdin.write(data)
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (BrokenPipeError, ValueError):
            line = b""
        if not line.endswith(b"\n"):
            raise self._death(where)
        reply = json.loads(line)
        if "error" in reply:
            raise _rebuilt(reply["error"])
        return str(reply["answer"])

    def end(self) -> None:
        """Have it gone; a block that it is at is lost."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _death(self, where: str) -> FailureError:
        code = self._process.wait()
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _LOG_TAIL))
            lines = log.read().decode("utf-8", errors="replace").strip().splitlines()
        reason = f"exit code {code}"
        if code < 0:
            reason = f"ended by {signal.Signals(-code).name}"
            reason += ", perhaps because the memory was full" if -code == signal.SIGKILL else ""
        return FailureError(
            f"a worker process died ({reason})",
            where=where,
            received=lines[-1].strip() if lines else None,
            next_step="What was finished is kept: run the same command again, with fewer --workers if memory is short",
        )


def _feed(
    process: _WorkerProcess,
    waiting: queue.Queue[DocumentBlock | None],
    finished: queue.Queue[str | BaseException],
) -> None:
    """Give one process block after block."""
    try:
        while (block := waiting.get()) is not None:
            finished.put(process.ask(block.to_bytes(), where=block.where))
    except BaseException as error:  # handed to the main thread, which raises it
        finished.put(error)


def _rebuilt(told: dict[str, str | None]) -> AlbertineError:
    """Return the error that a worker told of."""
    kind = getattr(errors, str(told["kind"]), FailureError)
    error: AlbertineError = (kind if kind is not errors.MissingDependencyError else errors.UserError)(
        str(told["what"]),
        where=told["where"],
        received=told["received"],
        allowed=told["allowed"],
        next_step=told["next_step"],
    )
    return error


def _told(error: AlbertineError) -> dict[str, str | None]:
    return {
        "kind": type(error).__name__,
        "what": error.what,
        "where": error.where,
        "received": None if error.received is None else str(error.received),
        "allowed": error.allowed,
        "next_step": error.next_step,
    }


def ask_process(work: Path, task: str, data: bytes, *, where: str) -> str:
    """Have something done in a process of its own, which gives its memory back.

    Args:
        work: the work folder.
        task: see `worker`.
        data: what the task is done on.
        where: what that is, for messages.

    Raises:
        AlbertineError: what the process met.
        FailureError: it died.
    """
    process = _WorkerProcess(work, task, 0)
    try:
        return process.ask(data, where=where)
    finally:
        process.end()


def serve(open_task: Callable[[], Callable[[bytes], str]], received: BinaryIO, replies: BinaryIO) -> None:
    """Answer until the pipe is closed: what a worker process does.

    Args:
        open_task: gives what makes an answer of what is received; called when the first thing has come.
        received: where things come from.
        replies: where the answers go.
    """
    task: Callable[[bytes], str] | None = None
    while len(header := received.read(_HEADER.size)) == _HEADER.size:
        (size,) = _HEADER.unpack(header)
        data = received.read(size)
        if len(data) < size:
            return
        try:
            task = task or open_task()
            reply: dict[str, object] = {"answer": task(data)}
        except AlbertineError as error:
            reply = {"error": _told(error)}
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            reply = {"error": _told(FailureError(f"a worker process failed ({type(error).__name__}: {error})"))}
        try:
            replies.write(json.dumps(reply).encode() + b"\n")
            replies.flush()
        except BrokenPipeError:
            return
