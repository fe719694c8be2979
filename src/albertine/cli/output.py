"""Results go to stdout, everything else to stderr; errors become one line and an exit code."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import TextIO

import typer

from albertine.errors import AlbertineError
from albertine.settings import debug

__all__ = ["run_guarded", "say", "show_json", "show_text", "start_messages"]

_INTERRUPTED = 130

_AGAIN = "run the same command again"
_AFTER_CTRL_C: Mapping[str, str] = {
    "finetune": "what was trained is saved, and the same command continues",
    "compare": "what is finished is saved, and the same command continues",
    "demo": "what is finished is saved, and the same command continues",
    "convert": f"nothing was converted; {_AGAIN}",
    "encode": f"vectors that were printed are whole, a file is written in the end only; {_AGAIN}",
    "corpus": "finished blocks are saved, and the same command goes on behind the last of them",
    "vocab": f"nothing was written; {_AGAIN} to begin anew",
    "pretrain": "what was trained is saved, and the same command continues at the last checkpoint",
    "predict": f"answers that were printed are whole; {_AGAIN}",
}
"""What is true when a verb was interrupted; of the others there is nothing to say."""


class _Messages(logging.Handler):
    """Messages of the package as plain lines on stderr, above a progress bar where one is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        say(f"{level}{record.getMessage()}")


def start_messages(*, quiet: bool = False) -> None:
    """Show the package's messages on stderr: warnings always, information unless `quiet`."""
    logger = logging.getLogger("albertine")
    if not any(isinstance(handler, _Messages) for handler in logger.handlers):
        logger.addHandler(_Messages())
        logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def say(text: str) -> None:
    """Print a message for the person at the terminal (stderr)."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except BrokenPipeError:  # nobody reads the messages any more; the work goes on
        _to_nowhere(sys.stderr)


def show_text(text: str) -> None:
    """Print a result (stdout).

    Raises:
        typer.Exit: the reader of stdout has gone away, which ends the command quietly.
    """
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        _to_nowhere(sys.stdout)
        raise typer.Exit from error


def show_json(document: Mapping[str, object], *, indent: int | None = 2) -> None:
    """Print a result as JSON (stdout), characters outside ASCII as they are."""
    show_text(json.dumps(document, ensure_ascii=False, indent=indent))


def run_guarded(command: Callable[[], object], *, verb: str = "") -> int:
    """Run `command` and return the exit code of its outcome; every failure is one line on stderr.

    0 done or the reader of stdout has gone away; 1 not the user's fault; 2 the user's input; 130 interrupted.

    Args:
        command: what to run.
        verb: what the user knows it by, to say what an interruption leaves behind.
    """
    if not debug():
        warnings.simplefilter("ignore")  # a library's warning to its programmers is no message to our user
    try:
        _reencode_streams()
        code = command()
        sys.stdout.flush()
        if code == _INTERRUPTED:  # what the option parser makes of Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except typer.Exit as leaving:
        return leaving.exit_code
    except (KeyboardInterrupt, typer.Abort):
        left = _AFTER_CTRL_C.get(verb)
        return _fail("interrupted" if left is None else f"interrupted: {left}", _INTERRUPTED)
    except AlbertineError as error:
        return _fail(str(error), error.exit_code)
    except typer.TyperException as error:  # a wrong option or argument
        hint = "Run the command with --help to see what it takes."
        return _fail(f"{error.format_message().rstrip('.')}. {hint}", error.exit_code)
    except BrokenPipeError:
        _to_nowhere(sys.stdout)
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail("the disk is full; free some space and run the same command again", 1)
        return _fail(f"the operating system refused: {error}", 1)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".replace("\n", " ")
        return _fail(f"unexpected failure, a fault of Albertine's: {text} (--debug shows where)", 1)


def _fail(text: str, code: int) -> int:
    if debug():
        traceback.print_exc()
    say(f"albertine: {text}")
    return code


def _reencode_streams() -> None:
    """Write UTF-8 whatever the locale, so that Chinese labels survive LANG=C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _to_nowhere(stream: TextIO) -> None:
    """Point a stream at nothing, so that the interpreter's last flush does not complain about the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
