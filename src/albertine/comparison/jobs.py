"""One candidate trained and measured with one seed: what is asked for, where it lies on disk, what came of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from albertine.comparison.results import CurvePoint, DepthPoint, PredictionCost, RunResult, TrainingCost
from albertine.errors import CheckpointError
from albertine.files import write_json
from albertine.training.config import TrainingConfig

__all__ = ["Job", "JobFolder", "Trained"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that decides a run; two runs of equal jobs are the same run."""

    candidate: str
    """Its name in the report."""
    source: str
    """What training calls it."""
    fingerprint: Mapping[str, object]
    """What identifies its weights."""
    seed: int
    task: str
    main_metric: str
    training: Mapping[str, object]
    """The fields of `TrainingConfig`, the seed among them."""
    max_length: int | None
    options: Mapping[str, object]
    """Of the task, as they were asked for."""
    vocabulary: str | None
    """The hash of the learnt vocabulary it reads; None for a candidate with a tokenizer of its own, or without any."""
    data: str
    """The hash of the splits."""
    device: str
    threads: int
    methods: Mapping[str, object]
    """The fields of `Methods` that are not as usual."""
    versions: Mapping[str, str]
    """Of the packages whose change could change what is measured."""
    language: str
    """Of the model card."""

    @property
    def key(self) -> str:
        """The hash of everything above but the language: a report in another one measures nothing anew."""
        values = dataclasses.asdict(self)
        del values["language"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def training_config(self) -> TrainingConfig:
        """Return the record that the fields were taken from."""
        return TrainingConfig(**self.training)  # type: ignore[arg-type]  # the record checks its fields

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read a job that `JobFolder.prepare` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8"))["job"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What the training process hands over."""

    cost: TrainingCost
    dev_metric: float | None
    """The main metric on the development split, at the kept weights."""
    curve: tuple[CurvePoint, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The files of one job, under `jobs/` of the comparison."""

    path: Path

    @property
    def job(self) -> Path:
        """What is asked for."""
        return self.path / "job.json"

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.path / "model"

    @property
    def log(self) -> Path:
        """What both processes said."""
        return self.path / "log.txt"

    @property
    def error(self) -> Path:
        """Why a process failed; there is no such file after a success."""
        return self.path / "error.json"

    @property
    def _trained(self) -> Path:
        return self.path / "train.json"

    @property
    def _measured(self) -> Path:
        return self.path / "measure.json"

    def prepare(self, job: Job) -> None:
        """Make the folder ready for a job: what another job left there goes, what this one finished stays."""
        if _key(self.job) != job.key:
            shutil.rmtree(self.path, ignore_errors=True)
            write_json(self.job, {"key": job.key, "job": dataclasses.asdict(job)})
        self.error.unlink(missing_ok=True)

    def write_trained(self, job: Job, trained: Trained) -> None:
        """Hand over what the training process found."""
        write_json(self._trained, {"key": job.key, "trained": dataclasses.asdict(trained)})

    def read_trained(self, job: Job) -> Trained | None:
        """Return what the training process found; None where it has not finished this job."""
        if _key(self._trained) != job.key or not (self.model / "config.json").exists():
            return None
        values = json.loads(self._trained.read_text(encoding="utf-8"))["trained"]
        return Trained(
            cost=TrainingCost(**values["cost"]),
            dev_metric=values["dev_metric"],
            curve=tuple(CurvePoint(**point) for point in values["curve"]),
        )

    def write_measured(self, job: Job, result: RunResult) -> None:
        """Hand over what the measuring process found."""
        write_json(self._measured, {"key": job.key, "result": dataclasses.asdict(result)})

    def read_measured(self, job: Job) -> RunResult | None:
        """Return the finished run; None where the measuring process has not finished this job."""
        if self.read_trained(job) is None or _key(self._measured) != job.key:
            return None
        values = json.loads(self._measured.read_text(encoding="utf-8"))["result"]
        return RunResult(
            **{
                **values,
                "evidence": tuple(tuple(row) for row in values["evidence"]),
                "curve": tuple(CurvePoint(**point) for point in values["curve"]),
                "training": TrainingCost(**values["training"]),
                "prediction": PredictionCost(**values["prediction"]),
                "depths": tuple(DepthPoint(**point) for point in values["depths"]),
            }
        )

    def write_error(self, message: str) -> None:
        """Leave the reason of a failure."""
        write_json(self.error, {"error": message})

    def read_error(self) -> str | None:
        """Return the reason of a failure, where the process could leave one."""
        try:
            return str(json.loads(self.error.read_text(encoding="utf-8"))["error"])
        except (OSError, ValueError, KeyError):
            return None

    def forget_checkpoints(self) -> None:
        """Delete what only a training needs that is to go on; the model folder stays whole."""
        shutil.rmtree(self.model / "checkpoints", ignore_errors=True)

    def require_trained(self, job: Job) -> Trained:
        """Return what the training process found.

        Raises:
            CheckpointError: it has not finished.
        """
        trained = self.read_trained(job)
        if trained is None:
            raise CheckpointError("this job has not been trained", where=str(self.path))
        return trained


def _key(path: Path) -> object:
    """Return the key that a file was written for; None for a missing or damaged one."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values.get("key") if isinstance(values, dict) else None
