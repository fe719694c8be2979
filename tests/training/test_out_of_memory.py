"""A step that needs more memory than there is goes on in smaller parts, with the same result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from albertine.batching.loader import TrainingBatches
from albertine.errors import FailureError
from albertine.models.config import EncoderConfig
from albertine.records import Batch, Encoded, EncodedExamples
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import LossFunction, LossPart
from albertine.tasks.text_classification import TASK
from albertine.training.config import TrainingConfig
from albertine.training.learning import MicroBatches
from albertine.training.loop import fit

CONFIG = TaskConfig(task="text-classification", labels=("a", "b"), max_length=41)
BODY = EncoderConfig.preset(
    "albert-base",
    vocab_size=99,
    hidden_size=14,
    embedding_size=6,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=22,
    max_position_embeddings=41,
    classifier_dropout_prob=0.0,
)


def texts(count: int) -> EncodedExamples:
    generator = np.random.default_rng(5)
    return EncodedExamples.one_each(
        [
            Encoded(
                input_ids=generator.integers(4, 99, size=3 + place % 7).astype(np.int32),
                token_type_ids=np.zeros(3 + place % 7, dtype=np.uint8),
                target=np.array([place % 2]),
            )
            for place in range(count)
        ]
    )


def room_for(most: int) -> LossFunction:
    """Return a loss that finds memory for so many texts at a time only."""

    def loss(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
        if len(batch) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 77 bytes")
        return TASK.loss(module, batch)

    return loss


def trained(loss: LossFunction, folder: Path, parts: int = 1) -> nn.Module:
    torch.manual_seed(0)
    module = TASK.build(BODY, CONFIG)
    batches = MicroBatches(TrainingBatches(texts(29), batch_size=13, seed=1), parts)
    config = TrainingConfig(batch_size=13, precision="fp32")
    fit(module, loss, batches, config=config, learning_rate=0.01, total_steps=5, folder=folder, smaller=batches.smaller)
    return module


def test_a_step_without_room_is_taken_in_parts_and_learns_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, cut = trained(TASK.loss, tmp_path / "whole"), trained(room_for(4), tmp_path / "cut")
    assert "every step is cut into 4" in caplog.text
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_where_one_text_is_too_much_the_run_ends_with_what_helps(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match="memory ran out"):
        trained(room_for(0), tmp_path)


def test_other_failures_are_not_taken_for_lack_of_memory(tmp_path: Path) -> None:
    def broken(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        trained(broken, tmp_path)
