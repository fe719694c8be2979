"""Elastic depth: every exit is trained, the passes run once, and the module is left as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from albertine.batching.packing import packed, padded
from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.records import Batch, Encoded
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import LossPart
from albertine.tasks.text_classification import TASK
from albertine.training.methods.choices import Methods
from albertine.training.methods.elastic_depth import DEEPEST, elastic_depth
from albertine.training.methods.r_drop import R_DROP

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
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    classifier_dropout_prob=0.0,
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


def built(config: EncoderConfig) -> nn.Module:
    torch.manual_seed(0)
    return TASK.build(config, CONFIG).train()


def logits(module: nn.Module, batch: Batch, depth: int) -> Tensor:
    body = module.body
    assert isinstance(body, Encoder)
    pooled = body(
        batch.input_ids,
        token_type_ids=batch.token_type_ids,
        attention_mask=batch.attention_mask,
        sequence_starts=batch.sequence_starts,
        depth=depth,
    ).pooler_output
    found: Tensor = module.classifier(pooled)  # type: ignore[operator]
    return found


def mean(part: LossPart) -> Tensor:
    return part.total / part.weight


@pytest.mark.parametrize("config", [BERT, ALBERT], ids=["bert", "albert"])
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_the_loss_is_that_of_models_of_every_depth_and_of_their_distance_from_the_deepest(
    config: EncoderConfig, layout: str
) -> None:
    rows = texts(5, 9, 3, 7)
    batch = packed(rows) if layout == "packed" else padded(rows, pad_id=0)
    module = built(config)
    parts = elastic_depth(TASK.log_shares)(TASK.loss)(module, batch)
    each = [logits(module, batch, depth).log_softmax(dim=-1) for depth in (1, 2, 3)]
    labels = torch.tensor([0, 1, 2, 0])
    expected = sum(depth * functional.nll_loss(one, labels) for depth, one in enumerate(each, 1)) / 6
    torch.testing.assert_close(mean(parts["classification"]), expected)
    deepest = each[2].detach()
    apart = [(deepest.exp() * (deepest - one)).sum(dim=-1).mean() for one in each[:2]]
    torch.testing.assert_close(mean(parts[DEEPEST]), sum(apart) / 2)
    assert min(apart) > 0

    whole = mean(parts["classification"]) + mean(parts[DEEPEST])
    same = expected + sum(apart) / 2
    names, parameters = zip(*module.named_parameters(), strict=True)
    for name, one, other in zip(
        names, torch.autograd.grad(whole, parameters), torch.autograd.grad(same, parameters), strict=True
    ):
        torch.testing.assert_close(one, other, msg=name)


def test_passes_run_once_for_all_exits() -> None:
    module = built(ALBERT)
    runs = 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    module.body.attention_blocks[0].register_forward_hook(count)  # type: ignore[index, union-attr]
    elastic_depth(TASK.log_shares)(TASK.loss)(module, packed(texts(5, 9)))
    assert runs == 3


def test_the_module_is_left_as_it_was_also_after_a_failure() -> None:
    module = built(BERT)
    body, names = module.body, [name for name, _ in module.named_parameters()]
    elastic_depth(TASK.log_shares)(TASK.loss)(module, packed(texts(5, 9)))
    with pytest.raises(ConfigError, match="longer than the model's positions"):
        elastic_depth(TASK.log_shares)(TASK.loss)(module, packed(texts(5, 42)))
    assert module.body is body
    assert [name for name, _ in module.named_parameters()] == names
    assert not module._forward_hooks


def test_an_encoder_of_one_pass_is_refused() -> None:
    with pytest.raises(ConfigError, match="two passes or more"):
        elastic_depth(TASK.log_shares)(TASK.loss)(built(replace(BERT, num_hidden_layers=1)), packed(texts(5)))


def test_it_composes_with_r_drop_and_an_adversarial_step() -> None:
    module = built(replace(BERT, hidden_dropout_prob=0.3))
    task = Methods(elastic=True, r_drop=1.0, adversarial=0.5).around(TASK)
    parts = task.loss(module, packed(texts(5, 9, 3)))
    assert set(parts) == {
        "classification", DEEPEST, R_DROP,
        "adversarial_classification", f"adversarial_{DEEPEST}", f"adversarial_{R_DROP}",
    }  # fmt: skip
    assert all(float(mean(part).detach()) > 0 for part in parts.values())
    torch.stack([mean(part) for part in parts.values()]).sum().backward()
    assert all(one.grad is not None for one in module.parameters())
