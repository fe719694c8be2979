"""manifest.json: what it takes to train a model again, and what was measured while it was trained."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import albertine
from albertine.errors import CheckpointError, ConfigError
from albertine.training.checkpointing import check_identity
from albertine.training.result import TrainingResult

__all__ = [
    "MANIFEST_SCHEMA",
    "Measurements",
    "check_folder",
    "command_line",
    "forget_finished",
    "make_manifest",
    "read_measurements",
]

MANIFEST_SCHEMA = 1
MANIFEST = "manifest.json"

_PACKAGES = ("torch", "numpy", "safetensors", "tokenizers", "sentencepiece", "scikit-learn", "pyarrow")
_PRECIOUS = (
    "config.json",
    "model.safetensors",
    "task.json",
    "README.md",
    "tokenizer.json",
    "vocab.txt",
    "spiece.model",
)
"""Files that a model folder has and that somebody else's folder may have as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What a training took and what came of it."""

    main_metric: str
    """The metric that the kept weights were chosen by."""
    dev_metrics: dict[str, float] = field(default_factory=dict)
    """Every metric on the development split, at the kept weights; empty without one."""
    test_metrics: dict[str, float] = field(default_factory=dict)
    """Every metric on the test split; empty without one."""
    restarts: int = 0
    """How often the run was begun again because nothing had been learnt."""
    learning_rate: float | None = None
    """The highest learning rate; None for a solver."""
    precision: str = "fp32"
    """Of the matrix products in training."""
    device: str = "cpu"
    steps: int = 0
    """Optimizer steps taken; 0 for a solver."""
    best_step: int = 0
    """The step the kept weights are of."""
    examples: int = 0
    """Training examples seen, repetitions counted."""
    tokens: int = 0
    """Real tokens seen; 0 for models without tokens."""
    training_seconds: float = 0.0
    """Evaluations not counted."""
    evaluation_seconds: float = 0.0
    """Evaluations on the development split during training."""
    tokens_per_second: float = 0.0
    """Over the training time."""
    skipped_steps: int = 0
    """Steps left out because a loss or a gradient was not finite."""
    stopped_early: bool = False
    truncated: int = 0
    """Training texts that were cut to the maximum length."""
    exits: dict[str, object] | None = None
    """What every depth of an elastic model is worth on the development split; None for others."""

    @classmethod
    def of_run(
        cls,
        result: TrainingResult,
        *,
        main_metric: str,
        learning_rate: float,
        device: str,
        dev_metrics: dict[str, float] | None = None,
        truncated: int = 0,
        exits: dict[str, object] | None = None,
    ) -> Measurements:
        """Take what a run of the loop took, beside what it does not know."""
        return cls(
            main_metric=main_metric,
            dev_metrics=dev_metrics or {},
            learning_rate=learning_rate,
            precision=result.precision,
            device=device,
            steps=result.steps,
            best_step=result.best_step,
            examples=result.examples,
            tokens=result.tokens,
            training_seconds=round(result.seconds, 3),
            evaluation_seconds=round(result.evaluation_seconds, 3),
            tokens_per_second=round(result.tokens_per_second, 1),
            skipped_steps=result.skipped_steps,
            stopped_early=result.stopped_early,
            truncated=truncated,
            exits=exits,
        )


def make_manifest(
    *,
    inputs: Mapping[str, object],
    data: Mapping[str, object],
    measurements: Measurements,
    parameters: Mapping[str, int],
    command: str,
) -> dict[str, object]:
    """Put the manifest of a finished training together.

    Args:
        inputs: everything that decided the training; a later run into the same folder must have the same.
        data: source, sizes and notes of the splits.
        measurements: what came of it.
        parameters: unique and executed ones.
        command: the line that trains it again.
    """
    return {
        "schema_version": MANIFEST_SCHEMA,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "versions": _versions(),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count() or 0, "system": platform.system()},
        "inputs": dict(inputs),
        "data": dict(data),
        "parameters": dict(parameters),
        "measurements": dataclasses.asdict(measurements),
    }


def command_line(arguments: list[str]) -> str:
    """Return a process's arguments as a line for a shell, the program without its folder.

    Args:
        arguments: as `sys.argv`.
    """
    program = Path(arguments[0]).name if arguments and arguments[0] else Path(sys.executable).name
    return shlex.join(["albertine" if program == "__main__.py" else program, *arguments[1:]])


def read_measurements(manifest: Mapping[str, object], *, where: str) -> Measurements:
    """Return the measurements in a manifest.

    Raises:
        CheckpointError: it has none, or those of another version.
    """
    values = manifest.get("measurements")
    try:
        return Measurements(**values)  # type: ignore[arg-type]  # a wrong shape is the error below
    except TypeError as error:
        raise CheckpointError(
            "the manifest has no measurements of this version", where=where, next_step="Train again with --restart"
        ) from error


def check_folder(out: Path, inputs: Mapping[str, object]) -> bool:
    """Look at the folder that a training is to fill.

    Returns:
        True where the very training stands there, finished.

    Raises:
        ConfigError: another finished model stands there, or files that are no model's and would be overwritten.
    """
    manifest = out / MANIFEST
    if manifest.exists():
        before = _inputs_of(manifest)
        if before is None:
            raise ConfigError(
                "a model stands in this folder that was not trained here",
                where=str(out),
                next_step="Give another --out, or --restart to replace it",
            )
        check_identity(before, inputs, where=str(out))
        return True
    check_not_foreign(out)
    return False


def check_not_foreign(out: Path) -> None:
    """Make sure that nothing that belongs to no training is overwritten.

    Raises:
        ConfigError: there is such a file, or a file stands where the folder should.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(
            "a file stands where the model folder should be", where=str(out), next_step="Give another --out"
        )
    ours = any((out / name).exists() for name in (MANIFEST, "checkpoints", "log.jsonl"))
    foreign = [name for name in _PRECIOUS if (out / name).exists()]
    if foreign and not ours:
        raise ConfigError(
            "this folder holds files that are no training's and would be overwritten",
            where=str(out),
            received=", ".join(foreign),
            next_step="Give a new folder as --out",
        )


def forget_finished(out: Path) -> None:
    """Say of a folder whose training begins again that no finished one stands there any more."""
    (out / MANIFEST).unlink(missing_ok=True)


def _inputs_of(manifest: Path) -> Mapping[str, object] | None:
    try:
        values = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return None
    inputs = values.get("inputs") if isinstance(values, dict) else None
    return inputs if isinstance(inputs, dict) else None


def _versions() -> dict[str, str]:
    versions = {"albertine": albertine.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
