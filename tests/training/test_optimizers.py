"""Weight decay leaves vectors alone, bad steps change nothing, and moments survive a round trip."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from albertine.errors import CheckpointError
from albertine.training.config import TrainingConfig
from albertine.training.optimizers import (
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
    step_unless,
)

GOOD, BAD = torch.tensor(False), torch.tensor(True)


def small() -> nn.Module:
    torch.manual_seed(13)
    return nn.Sequential(nn.Linear(7, 5), nn.LayerNorm(5), nn.Linear(5, 3))


def give_gradients(module: nn.Module, value: float) -> None:
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, value)


def test_decay_shrinks_matrices_and_neither_biases_nor_layer_norms() -> None:
    module = small()
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    optimizer = build_optimizer(module, TrainingConfig(weight_decay=0.1))
    set_learning_rate(optimizer, 0.5)
    give_gradients(module, 0.0)
    step_unless(optimizer, GOOD)
    for name, value in module.named_parameters():
        expected = before[name] * (1 - 0.5 * 0.1) if value.ndim == 2 else before[name]
        torch.testing.assert_close(value.detach(), expected)


def test_frozen_parameters_are_left_out() -> None:
    module = small()
    module[0].requires_grad_(False)
    optimizer = build_optimizer(module, TrainingConfig())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_a_bad_step_changes_neither_weights_nor_moments() -> None:
    module = small()
    optimizer = build_optimizer(module, TrainingConfig())
    set_learning_rate(optimizer, 0.1)
    give_gradients(module, 1.0)
    step_unless(optimizer, GOOD)
    weights = {name: value.detach().clone() for name, value in module.named_parameters()}
    moments = {name: value.clone() for name, value in optimizer_tensors(module, optimizer).items()}
    give_gradients(module, float("nan"))
    step_unless(optimizer, BAD)
    assert all(torch.equal(value, weights[name]) for name, value in module.named_parameters())
    assert all(torch.equal(value, moments[name]) for name, value in optimizer_tensors(module, optimizer).items())
    give_gradients(module, 1.0)
    step_unless(optimizer, GOOD)
    assert not torch.equal(module[0].weight, weights["0.weight"])


def test_moments_put_into_a_new_optimizer_give_the_same_next_step() -> None:
    one, other = small(), small()
    optimizers = [build_optimizer(module, TrainingConfig()) for module in (one, other)]
    set_learning_rate(optimizers[0], 0.1)
    give_gradients(one, 0.5)
    step_unless(optimizers[0], GOOD)
    other.load_state_dict(one.state_dict())
    load_optimizer_tensors(other, optimizers[1], optimizer_tensors(one, optimizers[0]), where="here")
    for module, optimizer in zip((one, other), optimizers, strict=True):
        set_learning_rate(optimizer, 0.05)
        give_gradients(module, -0.25)
        step_unless(optimizer, GOOD)
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)


def test_moments_of_another_model_are_refused() -> None:
    module = small()
    optimizer = build_optimizer(module, TrainingConfig())
    with pytest.raises(CheckpointError, match="does not fit"):
        load_optimizer_tensors(module, optimizer, {"0.weight.exp_avg": torch.zeros(2, 2)}, where="here")
    with pytest.raises(CheckpointError, match="does not fit"):
        load_optimizer_tensors(module, optimizer, {"9.weight.exp_avg": torch.zeros(2, 2)}, where="here")
