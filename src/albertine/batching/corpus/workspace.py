"""The folder of a build: whose it is, what was asked for, who is at work in it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from albertine.batching.corpus.blocks import BLOCKS
from albertine.batching.corpus.choices import CorpusChoices
from albertine.batching.corpus.exclusion import Excluded
from albertine.batching.corpus.report import REPORT_FILE
from albertine.batching.shard_format import INDEX_FILE, CorpusIndex, read_index
from albertine.errors import ConfigError, FailureError
from albertine.files import disk_errors, write_json

__all__ = ["Inputs", "Workspace"]

_INPUTS = "inputs.json"
_CLOCK = "seconds.json"
_SECONDS_BETWEEN_NOTES = 5.0
_OURS = ("work", "train", "held-out", INDEX_FILE, REPORT_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything that decides what is written."""

    files: tuple[Path, ...]
    choices: CorpusChoices
    """As they were asked for."""
    fingerprint: str
    """Of the tokenizer."""
    exclude: tuple[Excluded, ...] = ()
    """Evaluation texts that are kept out."""

    def to_dict(self) -> dict[str, object]:
        """Return it for JSON; files by name, size and time of their last change."""
        stats = [(path.name, path.stat()) for path in self.files]
        return {
            "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
            "choices": self.choices.to_dict(),
            "tokenizer": self.fingerprint,
            "exclude": [one.to_dict() for one in self.exclude],
        }


class Workspace:
    """The shard folder and, inside of it until the corpus is finished, the work folder.

    Args:
        out: the shard folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.work = out / "work"
        self._before = 0.0
        self._started = self._noted = time.monotonic()

    def finished(self, inputs: Inputs) -> bool:
        """Say whether this very corpus stands there.

        Raises:
            ConfigError: another finished corpus stands there.
            DataError: its index is damaged.
        """
        if not (self.out / INDEX_FILE).exists():
            return False
        index = read_index(self.out)
        different = _differences(_asked_of(index), inputs)
        if different:
            raise ConfigError(
                "another corpus stands in this folder",
                where=str(self.out),
                received=f"different: {', '.join(different)}",
                next_step="Give another --out, or --restart to replace it",
            )
        return True

    def check_not_foreign(self) -> None:
        """Make sure that nothing that belongs to no corpus is overwritten.

        Raises:
            ConfigError: files of something else stand there, or a file stands where the folder should.
        """
        if self.out.exists() and not self.out.is_dir():
            raise ConfigError(
                "a file stands where the corpus folder should be", where=str(self.out), next_step="Give another --out"
            )
        if self.out.is_dir() and not any((self.out / name).exists() for name in (INDEX_FILE, "work")):
            found = sorted(path.name for path in self.out.iterdir())
            if found:
                raise ConfigError(
                    "this folder holds files that belong to no corpus",
                    where=str(self.out),
                    received=", ".join(found[:5]) + (" …" if len(found) > 5 else ""),
                    next_step="Give a new folder as --out",
                )

    def check_apart(self, files: Sequence[Path]) -> None:
        """Make sure that the corpus is not read from the folder that it is written to.

        Raises:
            ConfigError: it would be.
        """
        inside = next((path for path in files if path.resolve().is_relative_to(self.out.resolve())), None)
        if inside is not None:
            raise ConfigError(
                "the corpus would be written into the folder that it is read from",
                where=str(inside),
                next_step="Give a folder elsewhere as --out",
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other builds out of the folder.

        Raises:
            FailureError: one is at work there, or the folder cannot be written to.
        """
        with disk_errors(self.out):
            self.work.mkdir(parents=True, exist_ok=True)
            with (self.work / "lock").open("wb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    raise FailureError(
                        "another build is at work in this folder",
                        where=str(self.out),
                        next_step="Wait for it, or give another --out",
                    ) from error
                yield

    def clear(self) -> None:
        """Remove what earlier builds left, but for the lock."""
        for name in _OURS[1:]:
            _remove(self.out / name)
        for path in self.work.iterdir():
            if path.name != "lock":
                _remove(path)

    def begin(self, inputs: Inputs) -> bool:
        """Take the work up.

        Returns:
            Whether there is a build to go on with.

        Raises:
            ConfigError: there is one of other inputs.
        """
        path = self.work / _INPUTS
        asked = inputs.to_dict()
        blocks = self.work / BLOCKS
        # Where nothing has been made yet, nothing is lost by beginning with other inputs.
        if path.exists() and blocks.is_dir() and any(blocks.iterdir()):
            before = json.loads(path.read_text(encoding="utf-8"))
            different = [name for name in asked if json.loads(json.dumps(asked[name])) != before.get(name, [])]
            if different:
                raise ConfigError(
                    "an unfinished corpus of other inputs stands in this folder",
                    where=str(self.out),
                    received=f"different: {', '.join(different)}",
                    next_step="Give the same files and options to go on with it, or --restart to begin again",
                )
            clock = self.work / _CLOCK
            self._before = json.loads(clock.read_text(encoding="utf-8"))["seconds"] if clock.exists() else 0.0
            return True
        self.clear()
        write_json(path, asked)
        return False

    @property
    def seconds(self) -> float:
        """Time on the clock, of this run and those before it."""
        return self._before + time.monotonic() - self._started

    def note_time(self) -> None:
        """Write the time down now and then, so that a killed run counts."""
        if time.monotonic() - self._noted >= _SECONDS_BETWEEN_NOTES:
            self._noted = time.monotonic()
            write_json(self.work / _CLOCK, {"seconds": self.seconds})

    def finish(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self.work, ignore_errors=True)


def _asked_of(index: CorpusIndex) -> Mapping[str, object]:
    return {
        "files": [[source["name"], source["bytes"]] for source in index.sources],
        "choices": index.choices.get("asked"),
        "tokenizer": index.fingerprint,
        "exclude": index.choices.get("exclude", []),
    }


def _differences(before: Mapping[str, object], inputs: Inputs) -> list[str]:
    asked = inputs.to_dict() | {"files": [[path.name, path.stat().st_size] for path in inputs.files]}
    return [name for name in asked if json.loads(json.dumps(asked[name])) != before[name]]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
