"""The first losses of pretraining, number for number: a change that should not alter them does not.

A change that should alter them writes them anew, on purpose, with: python tests/golden/test_pretraining_curves.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from albertine.batching.packing import packed
from albertine.batching.pretraining_batch import ExampleCounts, PretrainingBatch
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel
from albertine.records import Encoded
from albertine.tasks.pretraining import held_out_metrics, pretraining_loss

FILE = Path(__file__).with_name("pretraining.json")
STEPS = 24
CLS, SEP, MASK, FIRST, WORDS = 2, 3, 4, 5, 21

SIZES: dict[str, dict[str, str | int | float | bool]] = {
    "bert": {"hidden_size": 33, "embedding_size": 33, "num_attention_heads": 3},
    "albert": {"hidden_size": 42, "embedding_size": 11, "num_attention_heads": 3},
}


def batch(step: int) -> PretrainingBatch:
    """Thirteen texts of two segments, each about three neighbouring words; words rise, then fall, or the reverse."""
    generator = np.random.default_rng([1909, step])
    rows, labels = [], []
    for _ in range(13):
        words = FIRST + 3 * generator.integers(WORDS // 3) + generator.integers(3, size=generator.integers(2, 9))
        first, second = sorted(words), sorted(words, reverse=True)
        labels.append(int(generator.integers(2)))
        if labels[-1]:
            first, second = second, first
        ids = np.array([CLS, *first, SEP, *second, SEP], dtype=np.int32)
        types = np.array([0] * (len(words) + 2) + [1] * (len(words) + 1), dtype=np.uint8)
        rows.append(Encoded(input_ids=ids, token_type_ids=types))
    whole = packed(rows)
    ids = whole.input_ids.clone()
    places = torch.from_numpy(np.flatnonzero((ids >= FIRST).numpy() & (generator.random(len(ids)) < 0.2)))
    targets = ids[places]
    ids[places] = MASK
    return PretrainingBatch(
        batch=type(whole)(input_ids=ids, token_type_ids=whole.token_type_ids, sequence_starts=whole.sequence_starts),
        positions=places,
        targets=targets,
        pair_labels=torch.tensor(labels),
        counts=ExampleCounts(texts=13, tokens=len(ids), masked=len(places)),
    )


def curve(family: str) -> dict[str, list[float]]:
    """Train for some steps; return the parts of every step and what is measured on other texts at the end."""
    config = EncoderConfig.preset(
        f"{family}-base",
        vocab_size=FIRST + WORDS,
        num_hidden_layers=3,
        intermediate_size=77,
        max_position_embeddings=32,
        initializer_range=0.1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **SIZES[family],
    )
    torch.manual_seed(1909)
    module = PretrainingModel(config)
    optimizer = torch.optim.AdamW(module.parameters(), lr=4e-3)
    seen: dict[str, list[float]] = {"masked_words": [], "pair": []}
    for step in range(STEPS):
        parts = pretraining_loss(module, batch(step))
        for name, part in parts.items():
            seen[name].append(float(part.total.detach() / part.weight))
        torch.autograd.backward([torch.stack([part.total / part.weight for part in parts.values()]).sum()])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    metrics = held_out_metrics(module, [batch(STEPS), batch(STEPS + 1)])
    assert metrics.masked_word_loss is not None
    return {**seen, "held_out": [metrics.masked_word_loss]}


@pytest.mark.parametrize("family", sorted(SIZES))
def test_the_first_losses_of_pretraining_are_the_ones_that_were_recorded(family: str) -> None:
    recorded = json.loads(FILE.read_text(encoding="utf-8"))[family]
    found = curve(family)
    assert found.keys() == recorded.keys()
    for name, values in found.items():
        assert values == pytest.approx(recorded[name], rel=2e-4), name


@pytest.mark.parametrize("family", sorted(SIZES))
def test_the_recorded_masked_word_losses_fall(family: str) -> None:
    losses = json.loads(FILE.read_text(encoding="utf-8"))[family]["masked_words"]
    assert len(losses) == STEPS
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


if __name__ == "__main__":
    torch.set_num_threads(1)
    FILE.write_text(json.dumps({family: curve(family) for family in SIZES}, indent=1) + "\n", encoding="utf-8")
