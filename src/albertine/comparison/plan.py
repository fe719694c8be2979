"""What a comparison is to do, every option checked: the runs in their order, each as a job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from albertine.comparison.candidates import Contestant
from albertine.comparison.jobs import Job
from albertine.data.samples import Splits
from albertine.settings import Language
from albertine.training.config import TrainingConfig

__all__ = ["Plan", "Run", "splits_hash"]


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
    max_length: int | None
    vocabulary_size: int
    main_metric: str
    data_sha256: Mapping[str, str]
    """Of every file the splits come from."""
    splits_hash: str
    """Of what the splits hold."""
    device: str
    threads: int
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
            "training": {name: value for name, value in training.items() if name != "seed"},
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
            training=replace(self.training, seed=run.seed).to_dict(),
            max_length=self.max_length,
            vocabulary=vocabulary if one.learns_vocabulary else None,
            data=self.splits_hash,
            device=self.device,
            language=self.language,
        )


def splits_hash(splits: Splits) -> str:
    """Return a hash of the rows of all three splits, in their order."""
    digest = hashlib.sha256()
    for part in (splits.train, splits.dev, splits.test):
        for one in part:
            digest.update(json.dumps([one.text, one.text_pair, one.label]).encode())
        digest.update(b"\n")
    return digest.hexdigest()
