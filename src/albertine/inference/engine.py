"""The one inference engine: texts in, a row of numbers for each out, in the order they came."""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from albertine.batching.packing import packed, token_budget_batches
from albertine.inference.precision import Precision, autocast
from albertine.records import Batch, Encoded, Example
from albertine.tasks.task import EncodedExamples, FloatArray, Task, TaskConfig
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["Answers", "Engine", "EngineSettings", "PackedEngine"]

logger = logging.getLogger("albertine")

ItemT = TypeVar("ItemT")


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
class Answers:
    """What the engine gives for a list of items."""

    rows: FloatArray
    """[N, width], in the order of the items."""
    truncated: int
    """Texts that were cut to the maximum length."""


class PackedEngine(ABC, Generic[ItemT]):
    """Runs a module on items, which are texts or examples, and gives a row of numbers for each.

    Texts are tokenized a chunk at a time, sorted by length, and run in packed batches of like length, so that nothing
    is spent on padding; the same text gets the same answer alone and among others, but for rounding.

    Args:
        module: it stays the caller's, who may go on training it between calls.
        width: numbers a row.
        max_length: tokens that texts are cut to, for the message that says so; None where nothing is cut.
        precision: of the matrix products; answers are float32 in either.
        settings: how the work is cut.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        width: int,
        max_length: int | None,
        precision: Precision = "fp32",
        settings: EngineSettings | None = None,
    ) -> None:
        self.module = module
        self.width = width
        self.max_length = max_length
        self.precision = precision
        self.settings = settings or EngineSettings()
        self.device = next(module.parameters()).device

    @abstractmethod
    def encode_items(self, items: Sequence[ItemT]) -> EncodedExamples:
        """Turn items into token ids, one encoded text an item, in their order."""

    @abstractmethod
    def answer(self, batch: Batch) -> Tensor:
        """Return a row for every text of a packed batch, [N, width] float32; called without gradients and dropout."""

    def rows(self, items: Sequence[ItemT]) -> FloatArray:
        """Return [N, width] float32, in the order of `items`; a warning says how many texts were cut."""
        answers = self.answers(items)
        self.report(answers.truncated, len(items))
        return answers.rows

    def answers(self, items: Sequence[ItemT]) -> Answers:
        """Do what `rows` does, and count the texts that were cut instead of warning of them."""
        if len(items) == 1:
            return self._one(items[0])
        rows = np.zeros((len(items), self.width), dtype=np.float32)
        truncated = 0
        for first in range(0, len(items), self.settings.chunk):
            chunk = items[first : first + self.settings.chunk]
            encoded = self.encode_items(chunk)
            truncated += len(encoded.truncated)
            rows[first : first + len(chunk)] = self.encoded_rows(encoded)
        return Answers(rows=rows, truncated=truncated)

    def report(self, truncated: int, total: int) -> None:
        """Warn of texts that were cut, where any were."""
        if truncated:
            logger.warning(
                "%d of %d texts (%.1f %%) were longer than %d tokens and were cut to their beginning",
                truncated,
                total,
                100 * truncated / total,
                self.max_length,
            )

    def encoded_rows(self, encoded: Sequence[Encoded]) -> FloatArray:
        """Return [N, width] float32 of texts that are encoded already, in their order."""
        rows = np.zeros((len(encoded), self.width), dtype=np.float32)
        lengths = np.fromiter((len(one) for one in encoded), dtype=np.int64, count=len(encoded))
        with self._evaluating():
            for indices in token_budget_batches(lengths, self.settings.max_tokens, self.settings.max_texts):
                rows[indices] = self._run([encoded[index] for index in indices.tolist()])
        return rows

    def _one(self, item: ItemT) -> Answers:
        """Answer one request: the same steps as for many, without chunks, sorting and groups."""
        encoded = self.encode_items([item])
        with self._evaluating():
            return Answers(rows=self._run(encoded), truncated=len(encoded.truncated))

    def _run(self, encoded: Sequence[Encoded]) -> FloatArray:
        batch = packed(encoded)
        if self.device.type != "cpu":
            batch = batch.to(self.device)
        result: FloatArray = self.answer(batch).cpu().numpy()
        return result

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


class Engine(PackedEngine[Example]):
    """Runs a task's module on examples, and gives the probabilities of its labels.

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
        task: Task,
        task_config: TaskConfig,
        *,
        precision: Precision = "fp32",
        settings: EngineSettings | None = None,
    ) -> None:
        super().__init__(
            module,
            width=len(task_config.labels),
            max_length=task_config.max_length,
            precision=precision,
            settings=settings,
        )
        self.tokenizer = tokenizer
        self.task = task
        self.task_config = task_config

    def scores(self, examples: Sequence[Example]) -> FloatArray:
        """Return the probabilities of every label, [N, C] float32, in the order of `examples`.

        Labels of the examples are not looked at. Texts longer than `TaskConfig.max_length` are cut to it, and a
        warning says how many.
        """
        return self.rows(examples)

    def encoded_scores(self, encoded: Sequence[Encoded]) -> FloatArray:
        """Return the probabilities of texts that are encoded already, [N, C] float32, in their order."""
        return self.encoded_rows(encoded)

    def encode_items(self, items: Sequence[Example]) -> EncodedExamples:
        """Turn examples into token ids as the task does, their labels aside."""
        return self.task.encode(self.tokenizer, [_unlabelled(example) for example in items], self.task_config)

    def answer(self, batch: Batch) -> Tensor:
        """Return the probabilities of every label, [N, C] float32."""
        return self.task.probabilities(self.task.outputs(self.module, batch).float(), self.task_config)


def _unlabelled(example: Example) -> Example:
    return example if example.label is None else Example(text=example.text, text_pair=example.text_pair)
