"""The one inference engine: texts in, probabilities out, in the order they came."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from albertine.batching.packing import packed, token_budget_batches
from albertine.inference.precision import Precision, autocast
from albertine.records import Encoded, Example
from albertine.tasks.task import FloatArray, Task, TaskConfig
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["Engine", "EngineSettings"]

logger = logging.getLogger("albertine")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How the engine cuts its work; none of it changes an answer beyond rounding."""

    max_tokens: int = 4096
    """The most that a batch may cost, its longest text times its number of texts."""
    max_texts: int = 512
    """The most texts in a batch."""
    chunk: int = 8192
    """Texts that are tokenized and sorted by length together; memory grows with it, not with the number of texts."""


class Engine:
    """Runs a task's module on examples.

    Texts are tokenized a chunk at a time, sorted by length, and run in packed batches of like length, so that nothing
    is spent on padding; the same text gets the same answer alone and among others, but for rounding.

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
        self.module = module
        self.tokenizer = tokenizer
        self.task = task
        self.task_config = task_config
        self.precision = precision
        self.settings = settings or EngineSettings()
        self.device = next(module.parameters()).device

    def scores(self, examples: Sequence[Example]) -> FloatArray:
        """Return the probabilities of every label, [N, C] float32, in the order of `examples`.

        Labels of the examples are not looked at. Texts longer than `TaskConfig.max_length` are cut to it, and a
        warning says how many.
        """
        if len(examples) == 1:
            return self._one(examples[0])
        probabilities = np.zeros((len(examples), len(self.task_config.labels)), dtype=np.float32)
        truncated = 0
        for first in range(0, len(examples), self.settings.chunk):
            chunk = [_unlabelled(example) for example in examples[first : first + self.settings.chunk]]
            encoded = self.task.encode(self.tokenizer, chunk, self.task_config)
            truncated += len(encoded.truncated)
            probabilities[first : first + len(chunk)] = self.encoded_scores(encoded)
        self._report(truncated, len(examples))
        return probabilities

    def encoded_scores(self, encoded: Sequence[Encoded]) -> FloatArray:
        """Return the probabilities of texts that are encoded already, [N, C] float32, in their order."""
        probabilities = np.zeros((len(encoded), len(self.task_config.labels)), dtype=np.float32)
        lengths = np.fromiter((len(one) for one in encoded), dtype=np.int64, count=len(encoded))
        with self._evaluating():
            for indices in token_budget_batches(lengths, self.settings.max_tokens, self.settings.max_texts):
                probabilities[indices] = self._run([encoded[index] for index in indices.tolist()])
        return probabilities

    def _one(self, example: Example) -> FloatArray:
        """Answer one request: the same steps as for many, without chunks, sorting and groups."""
        encoded = self.task.encode(self.tokenizer, [_unlabelled(example)], self.task_config)
        self._report(len(encoded.truncated), 1)
        with self._evaluating():
            return self._run(encoded)

    def _run(self, encoded: Sequence[Encoded]) -> FloatArray:
        batch = packed(encoded)
        if self.device.type != "cpu":
            batch = batch.to(self.device)
        outputs = self.task.outputs(self.module, batch).float()
        result: FloatArray = self.task.probabilities(outputs, self.task_config).cpu().numpy()
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

    def _report(self, truncated: int, total: int) -> None:
        if truncated:
            logger.warning(
                "%d of %d texts (%.1f %%) were longer than %d tokens and were cut to their beginning",
                truncated,
                total,
                100 * truncated / total,
                self.task_config.max_length,
            )


def _unlabelled(example: Example) -> Example:
    return example if example.label is None else Example(text=example.text, text_pair=example.text_pair)
