"""What a comparison is to do, every option checked: the runs in their order, each as a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata

import albertine
from albertine.comparison.candidates import Contestant
from albertine.comparison.jobs import Job
from albertine.inference.precision import Precision
from albertine.settings import Language
from albertine.training.config import TrainingConfig
from albertine.training.methods.choices import Methods

__all__ = ["Plan", "Run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One candidate with one seed."""

    contestant: Contestant
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A comparison, all of its options checked."""

    task: str
    contestants: tuple[Contestant, ...]
    seeds: tuple[int, ...]
    training: TrainingConfig
    methods: Methods
    """Of the encoders; baselines know none."""
    max_length: int | None
    options: Mapping[str, object]
    """Of the task, as they were asked for."""
    vocabulary_size: int
    main_metric: str
    data_sha256: Mapping[str, str]
    """Of every file the splits come from."""
    splits_hash: str
    """Of what the splits hold."""
    device: str
    threads: int
    precision: Precision
    """Of the matrix products, measured once for all runs where the configuration leaves it open."""
    language: Language

    def identity(self) -> dict[str, object]:
        """Return what a comparison must have in common with one that it continues; candidates may be added."""
        training = self.training.to_dict()
        return {
            "task": self.task,
            "data": dict(self.data_sha256),
            "splits": self.splits_hash,
            "vocabulary_size": self.vocabulary_size,
            "max_length": self.max_length,
            "options": dict(self.options),
            "training": {name: value for name, value in training.items() if name != "seed"},
            "methods": self.methods.to_dict(),
        }

    def runs(self) -> Iterator[Run]:
        """Yield every run, seed by seed, so that an interrupted comparison has something of every candidate.

        A solver has no randomness: it runs once.
        """
        for place, seed in enumerate(self.seeds):
            for one in self.contestants:
                if place == 0 or not one.candidate.fitted_by_solver:
                    yield Run(contestant=one, seed=seed)

    def job(self, run: Run, vocabulary: str | None) -> Job:
        """Return what decides a run.

        Args:
            run: one of `runs()`.
            vocabulary: the hash of the learnt vocabulary.
        """
        one = run.contestant
        return Job(
            candidate=one.info.name,
            source=one.source,
            fingerprint=one.candidate.fingerprint(),
            seed=run.seed,
            task=self.task,
            main_metric=self.main_metric,
            training=replace(self.training, seed=run.seed, precision=self.precision).to_dict(),
            max_length=self.max_length,
            options=dict(self.options),
            vocabulary=vocabulary if one.learns_vocabulary else None,
            data=self.splits_hash,
            device=self.device,
            threads=self.threads,
            methods=self.methods.to_dict() if one.candidate.baseline is None else {},
            versions={"albertine": albertine.__version__, "torch": metadata.version("torch")},
            language=self.language,
        )
