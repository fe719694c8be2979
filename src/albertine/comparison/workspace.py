"""The folder of a comparison: the splits and the vocabulary that every candidate shares, the jobs, the report."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from albertine.comparison.jobs import JobFolder
from albertine.data.columns import Columns
from albertine.data.samples import SplitCounts, Splits
from albertine.errors import ConfigError
from albertine.files import atomic_path, disk_errors, write_json
from albertine.records import Example, example_from_dict, example_to_dict

__all__ = ["Workspace"]

SCHEMA_VERSION = 1
"""Of comparison.json."""

_PARTS = ("train", "dev", "test")
_OWN = ("comparison.json", "data", "vocabulary", "jobs", "report.json", "report.html")


@dataclass(frozen=True, slots=True)
class Workspace:
    """The files of a comparison."""

    path: Path

    @property
    def vocabulary(self) -> Path:
        """The tokenizer learnt from the training split."""
        return self.path / "vocabulary"

    @property
    def _data(self) -> Path:
        return self.path / "data"

    @property
    def _identity(self) -> Path:
        return self.path / "comparison.json"

    def job(self, name: str, seed: int) -> JobFolder:
        """Return the folder of a candidate's run."""
        return JobFolder(self.path / "jobs" / f"{name}-seed{seed}")

    def claim(self, identity: Mapping[str, object], *, resume: bool) -> bool:
        """Make sure that the folder is this comparison's, or free.

        Args:
            identity: what a comparison must have in common with the one that it continues; JSON values.
            resume: False throws away what an earlier comparison left.

        Returns:
            True where this very comparison stands here already, splits and vocabulary complete.

        Raises:
            ConfigError: another comparison stands here, or files that are no comparison's.
        """
        if not resume:
            self._clear()
        if not self._identity.exists():
            if foreign := self._foreign():
                raise ConfigError(
                    "the folder holds files that are no comparison's",
                    where=str(self.path),
                    received=foreign,
                    next_step="Choose another folder with --out",
                )
            # From here on the folder is known as a comparison's, also when it is interrupted before it is complete.
            self._write_identity(identity, complete=False)
            return False
        try:
            found = json.loads(self._identity.read_text(encoding="utf-8"))
            before, complete = found["identity"], bool(found["complete"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                "the file is damaged", where=str(self._identity), next_step="Choose another folder with --out"
            ) from error
        now = json.loads(json.dumps(identity))
        if differing := sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
            raise ConfigError(
                "another comparison stands in this folder",
                where=str(self.path),
                received="; ".join(f"{name}: {_short(now.get(name))}" for name in differing),
                allowed="; ".join(f"{name}: {_short(before.get(name))}" for name in differing),
                next_step="Choose another folder with --out, or remove this one",
            )
        return complete

    def seal(self, identity: Mapping[str, object]) -> None:
        """Write down whose folder this is; splits and vocabulary are complete from here on."""
        self._write_identity(identity, complete=True)

    def write_splits(self, splits: Splits) -> None:
        """Write the splits once, so that every candidate reads the very same.

        They are the user's texts: no other user of the machine may read them.
        """
        with disk_errors(self._data):
            self._data.mkdir(parents=True, exist_ok=True)
            self._data.chmod(0o700)
        for name in _PARTS:
            _write_examples(self._data / f"{name}.jsonl", getattr(splits, name))
        about = {
            "labels": splits.labels,
            "notes": splits.notes,
            "sha256": dict(splits.sha256),
            "source": splits.source,
            "counts": dataclasses.asdict(splits.counts),
        }
        write_json(self._data / "splits.json", about)

    def read_splits(self) -> Splits:
        """Read the splits back, in a candidate's process."""
        about = json.loads((self._data / "splits.json").read_text(encoding="utf-8"))
        train, dev, test = (_read_examples(self._data / f"{name}.jsonl") for name in _PARTS)
        return Splits(
            train=train,
            dev=dev,
            test=test,
            labels=tuple(about["labels"]),
            notes=tuple(about["notes"]),
            sha256=about["sha256"],
            source=about["source"],
            bad_rows=(),
            columns=Columns(text="text", label="label"),
            counts=SplitCounts(**about["counts"]),
        )

    def read_test(self) -> tuple[Example, ...]:
        """Read the test split alone."""
        return _read_examples(self._data / "test.jsonl")

    def _write_identity(self, identity: Mapping[str, object], *, complete: bool) -> None:
        write_json(self._identity, {"schema_version": SCHEMA_VERSION, "complete": complete, "identity": dict(identity)})

    def _foreign(self) -> str | None:
        """Name something that lies in a folder which no comparison has claimed."""
        if self.path.exists() and not self.path.is_dir():
            return "a file"
        names = sorted(path.name for path in self.path.iterdir()) if self.path.exists() else []
        return next((name for name in names if not name.startswith(".")), None)

    def _clear(self) -> None:
        if self._identity.exists():
            for name in _OWN:
                place = self.path / name
                shutil.rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink(missing_ok=True)


def _write_examples(path: Path, examples: Iterable[Example]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for one in examples:
            file.write(json.dumps(example_to_dict(one)) + "\n")


def _read_examples(path: Path) -> tuple[Example, ...]:
    with path.open(encoding="utf-8") as file:
        return tuple(example_from_dict(json.loads(line)) for line in file)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
