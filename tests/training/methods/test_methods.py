"""Training methods: each does what its paper says, composes with others, and leaves a plain module behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from albertine.batching.packing import packed, padded
from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.recurrent import RecurrentConfig
from albertine.models.word_vectors import WordVectorsConfig
from albertine.records import Encoded
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import LossPart
from albertine.tasks.text_classification import TASK
from albertine.training.config import TrainingConfig
from albertine.training.loop import fit
from albertine.training.methods.adversarial import adversarial
from albertine.training.methods.choices import Methods
from albertine.training.methods.layer_decay import depth_scales
from albertine.training.methods.low_rank import add_low_rank, merge_low_rank
from albertine.training.methods.r_drop import R_DROP, r_drop
from albertine.training.optimizers import build_optimizer, set_learning_rate

CONFIG = TaskConfig(task="text-classification", labels=("a", "b", "c"), max_length=41)
ALBERT = EncoderConfig.preset(
    "albert-base",
    vocab_size=99,
    hidden_size=14,
    embedding_size=6,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=22,
    max_position_embeddings=41,
    hidden_dropout_prob=0.2,
    initializer_range=0.3,
)
BERT = replace(ALBERT, embedding_size=14, share="none", projection="never")


def texts(*lengths: int) -> list[Encoded]:
    generator = np.random.default_rng(5)
    return [
        Encoded(
            input_ids=generator.integers(4, 99, size=length).astype(np.int32),
            token_type_ids=np.zeros(length, dtype=np.uint8),
            target=np.array([place % 3]),
            example=place,
        )
        for place, length in enumerate(lengths)
    ]


def built(config: EncoderConfig = BERT) -> nn.Module:
    torch.manual_seed(0)
    return TASK.build(config, CONFIG).train()


def total(parts: dict[str, LossPart]) -> Tensor:
    return torch.stack([part.total / part.weight for part in parts.values()]).sum()


def taught(module: nn.Module, folder: Path, methods: Methods, steps: int = 12) -> None:
    batch = packed(texts(5, 9, 3, 7))
    methods.prepare(module)
    fit(
        module,
        methods.around(TASK).loss,
        lambda step: [batch],
        config=TrainingConfig(precision="fp32", seed=3),
        learning_rate=0.01,
        total_steps=steps,
        folder=folder,
        rate_scale=methods.scales(module),
        average=methods.average,
    )
    methods.finish(module)


# --- R-Drop


def test_r_drop_is_the_mean_loss_of_two_passes_and_their_symmetric_divergence() -> None:
    assert TASK.log_shares is not None
    module, batch = built(), packed(texts(5, 9, 3))
    torch.manual_seed(7)
    parts = r_drop(2.0, TASK.log_shares)(TASK.loss)(module, batch)
    torch.manual_seed(7)
    first, second = (module(batch).log_softmax(dim=-1) for _ in range(2))
    labels = torch.tensor([0, 1, 2])
    expected = (functional.nll_loss(first, labels) + functional.nll_loss(second, labels)) / 2
    torch.testing.assert_close(parts["classification"].total / parts["classification"].weight, expected)
    apart = ((first.exp() - second.exp()) * (first - second)).sum(dim=-1).mean() / 2
    torch.testing.assert_close(parts[R_DROP].total / parts[R_DROP].weight, 2.0 * apart)
    assert apart > 0


def test_r_drop_without_any_dropout_is_refused() -> None:
    assert TASK.log_shares is not None
    module = built(
        replace(BERT, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout_prob=0.0)
    )
    with pytest.raises(ConfigError, match="has none"):
        r_drop(1.0, TASK.log_shares)(TASK.loss)(module, packed(texts(5, 9)))


# --- adversarial


def test_the_second_pass_reads_words_moved_up_the_loss_by_the_length_asked_for() -> None:
    module = built(
        replace(BERT, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout_prob=0.0)
    )
    batch = packed(texts(5, 9, 3))
    parts = adversarial(0.5)(TASK.loss)(module, batch)
    assert list(parts) == ["classification", "adversarial_classification"]
    plain, moved = (float((part.total / part.weight).detach()) for part in parts.values())
    assert moved > plain
    nothing = adversarial(0.0)(TASK.loss)(module, batch)
    torch.testing.assert_close(nothing["adversarial_classification"].total, nothing["classification"].total)
    total(parts).backward()
    assert all(one.grad is not None for one in module.parameters())


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_every_text_is_moved_by_the_same_length(layout: str) -> None:
    module = built(replace(ALBERT, hidden_dropout_prob=0.0))
    rows = texts(5, 9, 3)
    batch = packed(rows) if layout == "packed" else padded(rows, pad_id=0)
    seen: list[Tensor] = []
    table = module.body.embeddings.word_embeddings  # type: ignore[union-attr]
    handle = module.body.embeddings.layer_norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))  # type: ignore[union-attr]
    adversarial(0.7)(TASK.loss)(module, batch)
    handle.remove()
    assert isinstance(table, nn.Embedding)
    move = (seen[1] - seen[0]).detach()
    lengths = [5, 9, 3]
    if layout == "packed":
        norms = [part.norm().item() for part in move.split(lengths)]
    else:
        norms = [row[:length].norm().item() for row, length in zip(move, lengths, strict=True)]
    assert norms == pytest.approx([0.7] * 3, rel=1e-4)


def test_a_recurrent_body_can_be_attacked_and_one_that_only_adds_vectors_up_cannot() -> None:
    torch.manual_seed(0)
    module = TASK.build(RecurrentConfig(vocab_size=99, embedding_size=6, hidden_size=5), CONFIG).train()
    parts = adversarial(0.5)(TASK.loss)(module, packed(texts(5, 9)))
    total(parts).backward()
    averages = TASK.build(WordVectorsConfig(vocab_size=99, embedding_size=6, bigram_buckets=13), CONFIG).train()
    with pytest.raises(ConfigError, match="no word embeddings"):
        adversarial(0.5)(TASK.loss)(averages, packed(texts(5, 9)))


def test_frozen_embeddings_cannot_be_attacked() -> None:
    module = built()
    Methods(freeze="body").prepare(module)
    with pytest.raises(ConfigError, match="frozen"):
        adversarial(0.5)(TASK.loss)(module, packed(texts(5, 9)))


# --- low rank


@pytest.mark.parametrize("config", [ALBERT, BERT])
def test_low_rank_starts_as_the_model_itself_and_can_be_merged(config: EncoderConfig) -> None:
    module, batch = built(config).eval(), packed(texts(5, 9, 3))
    before, names = module(batch), set(module.state_dict())
    add_low_rank(module, 2)
    torch.testing.assert_close(module(batch), before)
    trained = [name for name, one in module.named_parameters() if one.requires_grad]
    assert all(name.endswith((".up", ".down")) or not name.startswith("body.") for name in trained)
    with torch.no_grad():
        for name, one in module.named_parameters():
            if name.endswith(".up"):
                nn.init.normal_(one, std=0.1)
    changed = module(batch)
    assert not torch.allclose(changed, before, atol=1e-3)
    merge_low_rank(module)
    torch.testing.assert_close(module(batch), changed, atol=1e-5, rtol=1e-5)
    assert set(module.state_dict()) == names


def test_a_shared_block_has_one_change_for_all_its_passes() -> None:
    albert, bert = built(ALBERT), built(BERT)
    for module in (albert, bert):
        add_low_rank(module, 2)
    counts = [sum(name.endswith(".up") for name, _ in module.named_parameters()) for module in (albert, bert)]
    assert counts[1] == 3 * counts[0]


def test_a_rank_that_is_not_low_is_refused_and_a_body_without_blocks_too() -> None:
    with pytest.raises(ConfigError, match="below 14"):
        add_low_rank(built(), 14)
    with pytest.raises(ConfigError, match="no blocks"):
        add_low_rank(TASK.build(RecurrentConfig(vocab_size=99, embedding_size=6, hidden_size=5), CONFIG), 2)


def test_training_at_low_rank_learns_and_leaves_every_other_weight(tmp_path: Path) -> None:
    module = built()
    before = {name: one.detach().clone() for name, one in module.named_parameters()}
    taught(module, tmp_path, Methods(low_rank=2), steps=30)
    after = dict(module.named_parameters())
    assert set(after) == set(before)
    assert torch.equal(
        after["body.embeddings.word_embeddings.weight"], before["body.embeddings.word_embeddings.weight"]
    )
    matrices = [name for name in before if "_blocks." in name and before[name].ndim == 2]
    ranks = {int(torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-4)) for name in matrices}
    assert ranks <= {1, 2}
    assert all(one.requires_grad for one in module.parameters())
    assert not torch.equal(after["classifier.weight"], before["classifier.weight"])


# --- freezing, layer decay, averages


@pytest.mark.parametrize(
    ("what", "kept"),
    [
        ("embeddings", lambda name: name.startswith("body.embeddings.")),
        ("body", lambda name: name.startswith("body.")),
        ("2", lambda name: name.startswith("body.embeddings.") or "_blocks.0." in name or "_blocks.1." in name),
        ("nothing", lambda name: False),
    ],
)
def test_frozen_parts_keep_their_weights(what: str, kept: Callable[[str], bool], tmp_path: Path) -> None:
    module = built()
    before = {name: one.detach().clone() for name, one in module.named_parameters()}
    taught(module, tmp_path, Methods(freeze=what))
    same = {name for name, one in module.named_parameters() if torch.equal(one, before[name])}
    assert {name for name in before if kept(name)} <= same
    moved = {name for name in before if not kept(name)} - same
    assert "classifier.weight" in moved
    assert len(same - {name for name in before if kept(name)}) == 0


def test_a_model_with_fewer_blocks_says_so() -> None:
    with pytest.raises(ConfigError, match="its layers share them"):
        Methods(freeze="2").prepare(built(ALBERT))
    with pytest.raises(ConfigError, match="not a part"):
        Methods(freeze="head")


def test_layers_learn_slower_the_deeper_they_are() -> None:
    module = built()
    scale = depth_scales(module, 0.5)
    optimizer = build_optimizer(module, TrainingConfig(), scale)
    set_learning_rate(optimizer, 0.8)
    rates = {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}
    of = {name: rates[id(one)] for name, one in module.named_parameters()}
    assert of["classifier.weight"] == of["body.pooler.dense.weight"] == 0.8
    expected = {"2": 0.4, "1": 0.2, "0": 0.1}
    for name, rate in of.items():
        if "_blocks." in name:
            assert rate == pytest.approx(expected[name.split("_blocks.")[1][0]])
    assert of["body.embeddings.word_embeddings.weight"] == pytest.approx(0.05)
    decays = {id(one): group["weight_decay"] for group in optimizer.param_groups for one in group["params"]}
    assert {decays[id(one)] for one in module.parameters() if one.ndim < 2} == {0.0}


def test_the_average_is_what_is_evaluated_and_kept(tmp_path: Path) -> None:
    """Averages over weights that were written down by hand equal those of the run, also when it is resumed."""
    batch = packed(texts(5, 9, 3, 7))

    def run(folder: Path, steps: int, seen: list[Tensor] | None) -> nn.Module:
        module = built(replace(ALBERT, hidden_dropout_prob=0.0))
        fit(
            module,
            TASK.loss,
            lambda step: [batch],
            config=TrainingConfig(precision="fp32", schedule="constant", warmup=0.0, checkpoint_steps=1),
            learning_rate=0.01,
            total_steps=steps,
            folder=folder,
            average=0.6,
            progress=None if seen is None else lambda _: seen.append(module.classifier.weight.detach().clone()),  # type: ignore[union-attr]
        )
        return module

    weights: list[Tensor] = []
    module = run(tmp_path / "one", 9, weights)
    by_hand = weights[0]
    for step, weight in enumerate(weights[1:], start=1):
        keep = min(0.6, (1 + step) / (10 + step))
        by_hand = keep * by_hand + (1 - keep) * weight
    torch.testing.assert_close(module.classifier.weight.detach(), by_hand)  # type: ignore[union-attr]
    assert not torch.allclose(by_hand, weights[-1])


def test_methods_compose_and_their_parts_are_named(tmp_path: Path) -> None:
    module = built()
    methods = Methods(r_drop=1.0, adversarial=0.3, low_rank=2, layer_decay=0.9, average=0.9)
    methods = replace(methods, low_rank=0)
    methods.prepare(module)
    parts = methods.around(TASK).loss(module, packed(texts(5, 9, 3)))
    assert set(parts) == {"classification", R_DROP, "adversarial_classification", f"adversarial_{R_DROP}"}
    taught(built(), tmp_path, methods)


def test_only_what_differs_from_the_defaults_is_written_down() -> None:
    assert Methods().to_dict() == {}
    assert Methods.from_dict(Methods(low_rank=4, freeze="embeddings").to_dict()) == Methods(
        low_rank=4, freeze="embeddings"
    )
    with pytest.raises(ConfigError, match="low_rank"):
        Methods.from_dict({"lowrank": 4})


@pytest.mark.parametrize("wrong", [{"layer_decay": 0.0}, {"average": 1.0}, {"r_drop": -1.0}, {"low_rank": -1}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Methods(**wrong)  # type: ignore[arg-type]
