"""The program of a worker process: python -m albertine.batching.corpus.worker blocks|plan WORK NUMBER."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from albertine.batching.corpus.blocks import BlockMaker
from albertine.batching.corpus.plan import plan_asked
from albertine.batching.corpus.reading import DocumentBlock
from albertine.batching.corpus.workers import serve

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Do what comes over stdin until it is closed."""
    task, work, number = arguments[0], Path(arguments[1]), int(arguments[2])

    def open_task() -> Callable[[bytes], str]:
        if task == "plan":
            return lambda data: plan_asked(data, work)
        maker = BlockMaker(work, process=number)
        return lambda data: maker(DocumentBlock.from_bytes(data))

    # Answers have a pipe of their own: what a library prints goes with the messages.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        serve(open_task, sys.stdin.buffer, replies)


if __name__ == "__main__":
    main(sys.argv[1:])
