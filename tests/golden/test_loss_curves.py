"""The first steps of training, number for number: a change that should not alter training does not alter these.

A change that should alter them writes them anew, on purpose, with: python tests/golden/test_loss_curves.py
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from albertine.batching.loader import TrainingBatches
from albertine.models.config import EncoderConfig
from albertine.records import Batch, Encoded, EncodedExamples
from albertine.tasks.config import TaskConfig
from albertine.tasks.text_classification import TASK
from albertine.training.config import TrainingConfig
from albertine.training.learning import MicroBatches
from albertine.training.log import LogPoint
from albertine.training.loop import fit

GOLDEN = Path(__file__).parent
STEPS = 12

WARM = ["sun", "sand", "fire", "noon", "summer", "oven", "desert"]
COLD = ["snow", "ice", "frost", "night", "winter", "freezer", "glacier"]
OTHER = ["a", "the", "and", "of", "in", "near", "under", "with", "old", "grey", "quiet", "door", "hill"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WARM, *COLD, *OTHER]

SIZES: dict[str, dict[str, str | int | float | bool]] = {
    "bert": {
        "hidden_size": 48,
        "embedding_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 99,
    },
    "albert": {
        "hidden_size": 52,
        "embedding_size": 13,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 99,
        "num_hidden_groups": 2,
        "hidden_dropout_prob": 0.1,
    },
}


def texts(count: int) -> list[Encoded]:
    """Sentences of warm or cold words, of 6 to 20 tokens."""
    generator = random.Random(2019)
    made = []
    for number in range(count):
        words = [generator.choice((WARM, COLD)[number % 2]) for _ in range(generator.randint(3, 6))]
        words += [generator.choice(OTHER) for _ in range(generator.randint(1, 12))]
        generator.shuffle(words)
        ids = np.array([WORDS.index(word) for word in ["[CLS]", *words, "[SEP]"]], dtype=np.int32)
        made.append(
            Encoded(input_ids=ids, token_type_ids=np.zeros(len(ids), dtype=np.uint8), target=np.array([number % 2]))
        )
    return made


def loss_curve(family: str, folder: Path) -> tuple[LogPoint, ...]:
    config = EncoderConfig.preset(
        f"{family}-base", vocab_size=len(WORDS), max_position_embeddings=32, initializer_range=0.1, **SIZES[family]
    )
    torch.manual_seed(1810)
    module = TASK.build(config, TaskConfig(task=TASK.name, labels=("warm", "cold"), max_length=32))
    training = TrainingConfig(precision="fp32", batch_size=13, log_every=1, seed=4805)
    of_step = MicroBatches(TrainingBatches(EncodedExamples.one_each(texts(65)), batch_size=13, seed=4805), 1)

    def batches(step: int) -> Sequence[Batch]:
        return of_step(step)

    result = fit(
        module, TASK.loss, batches, config=training, learning_rate=3e-3, total_steps=STEPS, folder=folder, resume=False
    )
    return result.curve


@pytest.mark.parametrize("family", sorted(SIZES))
def test_the_first_losses_are_the_ones_that_were_recorded(family: str, tmp_path: Path) -> None:
    recorded = json.loads((GOLDEN / f"{family}.json").read_text(encoding="utf-8"))
    curve = loss_curve(family, tmp_path)
    assert [point.loss for point in curve] == pytest.approx(recorded["loss"], rel=1e-4)
    assert [point.tokens for point in curve] == recorded["tokens"]
    assert [point.learning_rate for point in curve] == pytest.approx(recorded["learning_rate"])


@pytest.mark.parametrize("family", sorted(SIZES))
def test_the_recorded_losses_fall(family: str) -> None:
    losses = json.loads((GOLDEN / f"{family}.json").read_text(encoding="utf-8"))["loss"]
    assert len(losses) == STEPS
    assert min(losses[-3:]) < 0.9 * losses[0]


def record() -> None:
    """Write the curves of this machine as the ones to hold others against."""
    torch.set_num_threads(1)
    for family in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            curve = loss_curve(family, Path(folder))
        values = {
            "loss": [point.loss for point in curve],
            "tokens": [point.tokens for point in curve],
            "learning_rate": [point.learning_rate for point in curve],
        }
        (GOLDEN / f"{family}.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
