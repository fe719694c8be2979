"""The one inference engine: texts in, an answer for each out, in the order they came."""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from albertine.batching.packing import packed, token_budget_batches
from albertine.inference.precision import Precision, autocast
from albertine.records import Batch, Encoded, EncodedExamples, Example
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import AnyTask
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["Answers", "Engine", "EngineSettings", "PackedEngine", "warn_truncated"]

logger = logging.getLogger("albertine")

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How the engine cuts its work; none of it changes an answer beyond rounding."""

    max_tokens: int = 4096
    """The most that a batch may cost, its longest text times its number of texts."""
    max_texts: int = 512
    """The most texts in a batch."""
    chunk: int = 8192
    """Texts that are tokenized and sorted by length together; memory grows with it, not with the number of texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers(Generic[AnswerT]):
    """What is said of N items; every list is in their order."""

    rows: list[AnswerT]
    """An answer an item."""
    tokens: list[int]
    """Tokens that were read of each, over all its windows; 0 where none are."""
    truncated: list[int] = field(default_factory=list)
    """Places of the items of which something was cut off."""
    depths: list[int] | None = None
    """Passes that each took, of a long one's windows the most; None where all take the same."""


def warn_truncated(truncated: int, total: int, max_length: int | None) -> None:
    """Warn of items that were cut, where any were."""
    if truncated:
        logger.warning(
            "%d of %d texts (%.1f %%) were longer than %d tokens and were cut to their beginning",
            truncated,
            total,
            100 * truncated / total,
            max_length,
        )


class PackedEngine(ABC, Generic[ItemT, AnswerT]):
    """Runs a module on items, which are texts or examples, and gives an answer for each.

    Texts are tokenized a chunk at a time, sorted by length, and run in packed batches of like length, so that nothing
    is spent on padding; the same text gets the same answer alone and among others, but for rounding.

    Args:
        module: it stays the caller's, who may go on training it between calls.
        max_length: tokens that texts are cut to where they are cut, for the message that says so.
        precision: of the matrix products; answers are float32 in either.
        settings: how the work is cut.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        max_length: int | None,
        precision: Precision = "fp32",
        settings: EngineSettings | None = None,
    ) -> None:
        self.module = module
        self.max_length = max_length
        self.precision = precision
        self.settings = settings or EngineSettings()
        self.device = next(module.parameters()).device

    @abstractmethod
    def encode_items(self, items: Sequence[ItemT]) -> EncodedExamples:
        """Turn items into token ids, one encoded text an item, or several windows of a long one."""

    @abstractmethod
    def outputs(self, batch: Batch) -> Sequence[Any]:
        """Return what the module says of every text of a packed batch; called without gradients and dropout."""

    @abstractmethod
    def joined(self, outputs: Sequence[Any], encoded: EncodedExamples, items: Sequence[ItemT]) -> list[AnswerT]:
        """Make one answer an item of the outputs of all its texts."""

    def answers(self, items: Sequence[ItemT]) -> Answers[AnswerT]:
        """Return an answer an item, in the order of `items`."""
        parts: list[Answers[AnswerT]] = []
        truncated: list[int] = []
        for first in range(0, len(items), self.settings.chunk):
            chunk = items[first : first + self.settings.chunk]
            parts.append(self.encoded_answers(self.encode_items(chunk), chunk))
            truncated += [first + place for place in parts[-1].truncated]
        if len(parts) == 1:
            return parts[0]
        return Answers(
            rows=[row for part in parts for row in part.rows],
            tokens=[count for part in parts for count in part.tokens],
            truncated=truncated,
            depths=[depth for part in parts for depth in part.depths or ()] or None,
        )

    def reported_answers(self, items: Sequence[ItemT]) -> list[AnswerT]:
        """Return an answer an item, in the order of `items`; a warning says of how many something was cut off."""
        answers = self.answers(items)
        warn_truncated(len(answers.truncated), len(items), self.max_length)
        return answers.rows

    def encoded_answers(self, encoded: EncodedExamples, items: Sequence[ItemT]) -> Answers[AnswerT]:
        """Return an answer an item, of items that are encoded already."""
        with self._evaluating():
            outputs, depths = self._said(encoded)
        bounds = list(pairwise(encoded.starts.tolist()))
        return Answers(
            rows=self.joined(outputs, encoded, items),
            tokens=[sum(map(len, encoded[start:end])) for start, end in bounds],
            truncated=encoded.truncated.tolist(),
            depths=None if depths is None else [max(depths[start:end]) for start, end in bounds],
        )

    def _said(self, encoded: Sequence[Encoded]) -> tuple[Sequence[Any], list[int] | None]:
        """Return the module's outputs for every encoded text, and the passes that each took where they differ."""
        if len(encoded) == 1:  # one request: nothing to sort
            return self._run(encoded), None
        outputs: list[Any] = [None] * len(encoded)
        lengths = np.fromiter((len(one) for one in encoded), dtype=np.int64, count=len(encoded))
        for indices in token_budget_batches(lengths, self.settings.max_tokens, self.settings.max_texts):
            places = indices.tolist()
            found = self._run([encoded[place] for place in places])
            for place, one in zip(places, found, strict=True):
                outputs[place] = one
        return outputs, None

    def _run(self, encoded: Sequence[Encoded]) -> Sequence[Any]:
        batch = packed(encoded)
        if self.device.type != "cpu":
            batch = batch.to(self.device)
        return self.outputs(batch)

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Run without gradients and dropout, and leave the module in the mode it was met in."""
        training = self.module.training
        if training:
            self.module.eval()
        try:
            with torch.inference_mode(), autocast(self.precision, self.device):
                yield
        finally:
            if training:
                self.module.train()


class Engine(PackedEngine[Example, Any]):
    """Runs a task's module on examples, and gives the task's answers.

    Args:
        module: as `task.build` made it; it stays the caller's, who may go on training it between calls.
        tokenizer: the module's own.
        task: the task's record.
        task_config: what the task remembers.
        precision: of the matrix products; answers are float32 in either.
        settings: how the work is cut.
    """

    def __init__(
        self,
        module: nn.Module,
        tokenizer: Tokenizer,
        task: AnyTask,
        task_config: TaskConfig,
        *,
        precision: Precision = "fp32",
        settings: EngineSettings | None = None,
    ) -> None:
        super().__init__(module, max_length=task_config.max_length, precision=precision, settings=settings)
        self.tokenizer = tokenizer
        self.task = task
        self.task_config = task_config

    def encode_items(self, items: Sequence[Example]) -> EncodedExamples:
        """Turn examples into token ids as the task does, their answers aside."""
        return self.task.encode(self.tokenizer, items, self.task_config, labelled=False)

    def outputs(self, batch: Batch) -> Sequence[Any]:
        """Return the task's raw outputs for every text of a packed batch."""
        return self.task.outputs(self.module, batch, self.task_config)

    def joined(self, outputs: Sequence[Any], encoded: EncodedExamples, items: Sequence[Example]) -> list[Any]:
        """Return the task's answer to every example."""
        starts = encoded.starts.tolist()
        return [
            self.task.answer(outputs[start:end], encoded[start:end], example, self.task_config)
            for start, end, example in zip(starts, starts[1:], items, strict=False)
        ]
