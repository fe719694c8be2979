"""Everything that decides a fine-tuning but its data and its folder, as one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from albertine import registry
from albertine.data.samples import Splits
from albertine.errors import ConfigError
from albertine.tasks.config import TaskRequest
from albertine.tasks.task import AnyTask, Task
from albertine.tokenization.tokenizer import Tokenizer
from albertine.training.candidates import Candidate, find_candidate, tokenizer_fingerprint
from albertine.training.config import TrainingConfig
from albertine.training.default_encoder import AUTO, check_default
from albertine.training.methods.choices import Methods

__all__ = ["Recipe", "find_task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a fine-tuning but its data and its folder."""

    task: str
    """The task's name."""
    encoder: str | Path
    """What `find_candidate` knows; `auto`, until the data are read, for the default of their language."""
    config: TrainingConfig = field(default_factory=TrainingConfig)
    """How to train."""
    methods: Methods = field(default_factory=Methods)
    """R-Drop, low-rank adaptation and the like."""
    max_length: int | None = None
    """Tokens that the model reads at a time; None to choose from the training texts, which is said aloud."""
    overlap: int | None = None
    """Tokens that two windows of a longer text share; None for a quarter of `max_length`."""
    max_error: float | None = None
    """Share of the answers that may be wrong: the model keeps silent where it is too unsure; None: it never does."""
    options: Mapping[str, object] = field(default_factory=dict)
    """What can be asked of this task alone, by name."""
    tokenizer: Tokenizer | str | Path | None = None
    """For random weights, instead of a vocabulary learnt from the training split; or for a checkpoint without one."""
    vocabulary_size: int = 8000
    """Of a learnt vocabulary, at most."""
    main_metric: str | None = None
    """What the kept weights are chosen by; None for the task's own."""
    device: str = "auto"
    """cpu, cuda, or auto for a GPU where there is one."""

    def request(self, splits: Splits) -> TaskRequest:
        """Return what is asked of the task."""
        return TaskRequest(
            labels=splits.labels or None,
            max_length=self.max_length,
            overlap=self.overlap,
            class_weights=self.config.class_weights,
            main_metric=self.main_metric,
            max_error=self.max_error,
            options=self.options,
        )

    def inputs(self, splits: Splits, candidate: Candidate) -> dict[str, object]:
        """Return everything that decides a training, by value or by hash; what was not asked for is left out."""
        tokenizer = None if self.tokenizer is None else tokenizer_fingerprint(self.tokenizer)
        asked = {
            "overlap": self.overlap,
            "max_error": self.max_error,
            "main_metric": self.main_metric,
            "options": dict(self.options) or None,
            "methods": self.methods.to_dict() or None,
        }
        return {
            "task": self.task,
            "encoder": candidate.fingerprint(),
            "tokenizer": tokenizer,
            "vocabulary_size": self.vocabulary_size,
            "max_length": self.max_length,
            "data": {"files": dict(splits.sha256), "examples": splits.content_hash()},
            "training": self.config.to_dict(),
            **{name: value for name, value in asked.items() if value is not None},
        }

    def check(self) -> None:
        """Look up what is named, before anything is read.

        Raises:
            ConfigError: a name that does not exist, or none and no default.
        """
        find_task(self.task)
        if self.encoder == AUTO:
            check_default()
        else:
            find_candidate(self.encoder)


def find_task(name: str) -> AnyTask:
    """Return the record of a task.

    Raises:
        ConfigError: no such task.
    """
    record = registry.tasks.get(name)
    if not isinstance(record, Task):
        raise ConfigError(f"what is registered as the task {name!r} is not a task", received=type(record).__name__)
    return record
