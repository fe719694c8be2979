from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from albertine.batching.packing import packed
from albertine.batching.pretraining_batch import ExampleCounts, PretrainingBatch, micro_batches
from albertine.errors import ConfigError, DataError
from albertine.models.config import EncoderConfig
from albertine.models.discriminator import ReplacedTokenModel
from albertine.models.encoder import Encoder
from albertine.models.heads import PretrainingModel
from albertine.records import Encoded
from albertine.tasks.pretraining import (
    MASKED_WORDS,
    PAIR,
    REPLACED_TOKENS,
    REPLACED_TOKENS_FACTOR,
    PretrainingMetrics,
    held_out_metrics,
    ordinary_tokens,
    part_weights,
    pretraining_loss,
)
from albertine.training.gradients import StepGradients
from albertine.training.processes import SINGLE

CLS, SEP, MASK, FIRST = 2, 3, 4, 5
THEMES = 9
VOCABULARY = FIRST + 2 * THEMES


def small(family: str = "albert", **overrides: str | int | float | bool) -> EncoderConfig:
    sizes: dict[str, str | int | float | bool] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 36,
        "embedding_size": 36 if family == "bert" else 13,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 55,
        "max_position_embeddings": 40,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.15,
    }
    return EncoderConfig.preset(f"{family}-base", **{**sizes, **overrides})


def made(step: int, texts: int = 9, *, labels: bool = True, seed: int = 77) -> PretrainingBatch:
    """Texts that say one word again and again and then another that always follows it, one token in five hidden.

    Half of the pairs are swapped: the word that follows comes first.
    """
    generator = np.random.default_rng([seed, step])
    rows, swapped = [], []
    for _ in range(texts):
        length = int(generator.integers(6, 16))
        theme, cut = int(generator.integers(THEMES)) + FIRST, int(generator.integers(2, length - 1))
        first, second = [theme] * cut, [theme + THEMES] * (length - cut)
        swapped.append(int(generator.integers(2)))
        if swapped[-1]:
            first, second = second, first
        ids = np.array([CLS, *first, SEP, *second, SEP], dtype=np.int32)
        types = np.array([0] * (len(first) + 2) + [1] * (len(second) + 1), dtype=np.uint8)
        rows.append(Encoded(input_ids=ids, token_type_ids=types))
    whole = packed(rows)
    places = torch.from_numpy(
        np.flatnonzero((whole.input_ids >= FIRST).numpy() & (generator.random(whole.token_count) < 0.2))
    )
    return PretrainingBatch(
        batch=dataclasses.replace(whole, input_ids=whole.input_ids.index_fill(0, places, MASK)),
        positions=places,
        targets=whole.input_ids[places],
        pair_labels=torch.tensor(swapped) if labels else None,
        counts=ExampleCounts(texts=texts, tokens=whole.token_count, masked=len(places)),
    )


def mean(module: nn.Module, batch: PretrainingBatch, name: str) -> float:
    part = pretraining_loss(module, batch)[name]
    return float(part.total.detach() / part.weight)


def test_parts_are_sums_over_masked_words_and_pairs() -> None:
    module, batch = PretrainingModel(small()), made(0)
    out = module(
        batch.batch.input_ids,
        token_type_ids=batch.batch.token_type_ids,
        sequence_starts=batch.batch.sequence_starts,
        positions=batch.positions,
    )
    parts = pretraining_loss(module, batch)
    assert list(parts) == [MASKED_WORDS, PAIR]
    words = F.cross_entropy(out.prediction_logits, batch.targets, reduction="sum")
    torch.testing.assert_close(parts[MASKED_WORDS].total, words)
    assert parts[MASKED_WORDS].weight.item() == len(batch.positions)
    assert batch.pair_labels is not None
    torch.testing.assert_close(parts[PAIR].total, F.cross_entropy(out.pair_logits, batch.pair_labels, reduction="sum"))
    assert parts[PAIR].weight.item() == 9


def test_an_untrained_model_is_as_unsure_as_chance() -> None:
    module, batch = PretrainingModel(small(initializer_range=1e-3)), made(0, 40)
    assert mean(module, batch, MASKED_WORDS) == pytest.approx(math.log(VOCABULARY), rel=0.01)
    assert mean(module, batch, PAIR) == pytest.approx(math.log(2), rel=0.01)


def test_texts_without_a_label_weigh_nothing() -> None:
    module, batch = PretrainingModel(small()), made(0)
    assert batch.pair_labels is not None
    whole = pretraining_loss(module, batch)[PAIR]
    labels = batch.pair_labels.clone()
    labels[[1, 4]] = -100
    part = pretraining_loss(module, dataclasses.replace(batch, pair_labels=labels))[PAIR]
    assert part.weight.item() == 7
    assert part.total < whole.total
    none = pretraining_loss(module, dataclasses.replace(batch, pair_labels=torch.full((9,), -100)))[PAIR]
    assert (none.total.item(), none.weight.item()) == (0.0, 0.0)


def test_heads_and_labels_decide_which_parts_there_are() -> None:
    assert list(pretraining_loss(PretrainingModel(small(), pair=False), made(0))) == [MASKED_WORDS]
    assert list(pretraining_loss(PretrainingModel(small()), made(0, labels=False))) == [MASKED_WORDS]
    assert list(pretraining_loss(PretrainingModel(small(), masked_word=False), made(0))) == [PAIR]
    with pytest.raises(ConfigError, match="nothing in this model learns"):
        pretraining_loss(PretrainingModel(small(), masked_word=False), made(0, labels=False))
    with pytest.raises(ConfigError, match="Encoder"):
        pretraining_loss(Encoder(small()), made(0))


def test_ordinary_tokens_are_those_between_the_special_ones() -> None:
    batch = made(0)
    original = batch.batch.input_ids.index_copy(0, batch.positions, batch.targets)
    assert torch.equal(ordinary_tokens(batch.batch), original >= FIRST)
    single = packed(
        [
            Encoded(input_ids=np.array(ids), token_type_ids=np.zeros(len(ids), np.uint8))
            for ids in ([2, 9, 9, 3], [2, 8, 3])
        ]
    )
    assert ordinary_tokens(single).tolist() == [False, True, True, False, False, True, False]


def test_the_replaced_token_part_counts_every_ordinary_token_and_holds_the_factor() -> None:
    module, batch = ReplacedTokenModel(small(), pair=True), made(0)
    parts = pretraining_loss(module, batch)
    assert list(parts) == [MASKED_WORDS, PAIR, REPLACED_TOKENS]
    part = parts[REPLACED_TOKENS]
    assert part.weight.item() == ordinary_tokens(batch.batch).sum().item()
    with torch.no_grad():
        module.head.output.weight.zero_()
        module.head.output.bias.zero_()
    assert REPLACED_TOKENS_FACTOR == 50.0
    assert mean(module, batch, REPLACED_TOKENS) == pytest.approx(50.0 * math.log(2))


@pytest.mark.parametrize("announced", [False, True])
@pytest.mark.parametrize("kind", [PretrainingModel, ReplacedTokenModel])
def test_micro_batches_leave_the_gradient_of_the_whole_step(
    kind: type[PretrainingModel] | type[ReplacedTokenModel], announced: bool
) -> None:
    module, batch = kind(small(), pair=True), made(1, 12)
    parameters = list(module.parameters())
    step = StepGradients[PretrainingBatch](
        lambda one, _: pretraining_loss(module, one),
        parameters,
        SINGLE,
        torch.device("cpu"),
        (lambda one: part_weights(module, one)) if announced else None,
    )
    losses, gradients = [], []
    for count in (1, 5):
        module.zero_grad(set_to_none=True)
        losses.append(step(micro_batches(batch, count)).loss)
        gradients.append([one.grad for one in parameters])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=0.0)
    for whole, cut in zip(*gradients, strict=True):
        if whole is not None or cut is not None:
            torch.testing.assert_close(whole, cut, rtol=1e-4, atol=1e-6)


def test_announced_weights_are_those_of_the_parts() -> None:
    batch = made(1, 12)
    assert batch.pair_labels is not None
    unlabelled = dataclasses.replace(batch, pair_labels=batch.pair_labels.index_fill(0, torch.tensor([0, 3]), -100))
    for module in (
        PretrainingModel(small()),
        PretrainingModel(small(), pair=False),
        PretrainingModel(small(), masked_word=False),
        ReplacedTokenModel(small()),
        ReplacedTokenModel(small(), pair=True),
    ):
        for one in (batch, unlabelled):
            parts = pretraining_loss(module, one)
            assert part_weights(module, one) == {name: part.weight.item() for name, part in parts.items()}


def test_bf16_losses_stay_close_to_fp32() -> None:
    for module in (PretrainingModel(small("bert")), ReplacedTokenModel(small("bert"))):
        batch = made(2, 40)
        exact = {name: float(part.total.detach()) for name, part in pretraining_loss(module, batch).items()}
        with torch.autocast("cpu", torch.bfloat16):
            parts = pretraining_loss(module, batch)
        for name, value in exact.items():
            assert parts[name].total.dtype == torch.float32
            # other words may be drawn where a number falls on a border between two
            assert float(parts[name].total.detach()) == pytest.approx(value, rel=0.02), name


def trained(module: nn.Module, steps: int, *, rate: float = 5e-3) -> list[dict[str, float]]:
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, betas=(0.9, 0.98))
    seen = []
    for step in range(steps):
        torch.manual_seed(step)
        parts = pretraining_loss(module, made(step, 24))
        torch.autograd.backward([torch.stack([part.total / part.weight for part in parts.values()]).sum()])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen.append({name: float(part.total.detach() / part.weight) for name, part in parts.items()})
    return seen


def average(curve: Sequence[dict[str, float]], name: str) -> float:
    return sum(point[name] for point in curve) / len(curve)


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_replaced_tokens_are_learnt_by_both_families(family: str) -> None:
    torch.manual_seed(4)
    module = ReplacedTokenModel(small(family), pair=True)
    before = held_out_metrics(module, [made(step, 30, seed=5) for step in range(2)])
    curve = trained(module, 120)
    after = held_out_metrics(module, [made(step, 30, seed=5) for step in range(2)])
    assert average(curve[-10:], MASKED_WORDS) < 0.8 * average(curve[:5], MASKED_WORDS)
    assert average(curve[-10:], REPLACED_TOKENS) < 0.5 * average(curve[:5], REPLACED_TOKENS)
    assert before.replaced_auc is not None
    assert after.replaced_auc is not None
    assert after.replaced_auc > max(0.8, before.replaced_auc)


def test_masked_words_and_order_are_learnt() -> None:
    torch.manual_seed(4)
    module = PretrainingModel(small())
    trained(module, 120)
    metrics = held_out_metrics(module, [made(step, 30, seed=5) for step in range(2)])
    assert metrics.masked_word_loss is not None
    assert metrics.masked_word_loss < 0.5 * math.log(2 * THEMES)
    assert metrics.perplexity == pytest.approx(math.exp(metrics.masked_word_loss))
    assert metrics.masked_accuracy is not None
    assert metrics.masked_accuracy > 0.8
    assert metrics.pair_accuracy is not None
    assert metrics.pair_accuracy > 0.9


def test_metrics_are_those_of_the_logits() -> None:
    module, batch = PretrainingModel(small()).eval(), made(3)
    out = module(
        batch.batch.input_ids,
        token_type_ids=batch.batch.token_type_ids,
        sequence_starts=batch.batch.sequence_starts,
        positions=batch.positions,
    )
    assert batch.pair_labels is not None
    loss = float(F.cross_entropy(out.prediction_logits, batch.targets).detach())
    metrics = held_out_metrics(module, [batch])
    assert metrics.masked_word_loss == pytest.approx(loss)
    assert metrics.perplexity == pytest.approx(math.exp(loss))
    assert dataclasses.replace(metrics, masked_word_loss=None, perplexity=None) == PretrainingMetrics(
        masked_accuracy=float((out.prediction_logits.argmax(-1) == batch.targets).double().mean()),
        pair_accuracy=float((out.pair_logits.argmax(-1) == batch.pair_labels).double().mean()),
        masked_words=len(batch.positions),
        pairs=9,
        tokens=batch.token_count,
    )


def test_metrics_weigh_batches_by_what_is_in_them() -> None:
    module, batch = ReplacedTokenModel(small(), pair=True).eval(), made(3, 11)
    whole = held_out_metrics(module, [batch])
    cut = held_out_metrics(module, micro_batches(batch, 4))
    assert None not in whole.to_dict().values()
    assert cut.to_dict() == pytest.approx(whole.to_dict(), rel=1e-5)


@pytest.mark.parametrize("kind", [PretrainingModel, ReplacedTokenModel])
def test_evaluations_repeat_themselves_and_leave_training_as_it_was(
    kind: type[PretrainingModel] | type[ReplacedTokenModel],
) -> None:
    module = kind(small(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3), pair=True).train()
    batches = [made(step) for step in range(3)]
    first = held_out_metrics(module, batches)
    state = torch.random.get_rng_state()
    torch.manual_seed(123)
    assert held_out_metrics(module, batches) == first
    assert module.training
    assert all(one.training for one in module.modules())
    torch.random.set_rng_state(state)
    held_out_metrics(module, batches)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(one.grad is None for one in module.parameters())


def test_the_area_under_the_curve_counts_ties_half() -> None:
    module, batch = ReplacedTokenModel(small()), made(0)
    with torch.no_grad():
        module.head.output.weight.zero_()
    assert held_out_metrics(module, [batch]).replaced_auc == 0.5


def test_no_held_out_batches_are_an_error() -> None:
    with pytest.raises(DataError, match="held-out"):
        held_out_metrics(PretrainingModel(small()), [])
