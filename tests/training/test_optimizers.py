"""Weight decay leaves vectors alone, bad steps change nothing, and moments survive a round trip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from albertine.errors import CheckpointError
from albertine.training.config import TrainingConfig
from albertine.training.optimizers import (
    build_optimizer,
    lamb_step,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
    step_unless,
)

GOOD, BAD = torch.tensor(False), torch.tensor(True)


Arrays = dict[str, npt.NDArray[np.float64]]


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


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_a_bad_step_changes_neither_weights_nor_moments(name: str) -> None:
    module = small()
    optimizer = build_optimizer(module, TrainingConfig.from_dict({"optimizer": name}))
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


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_moments_put_into_a_new_optimizer_give_the_same_next_step(name: str) -> None:
    one, other = small(), small()
    optimizers = [build_optimizer(module, TrainingConfig.from_dict({"optimizer": name})) for module in (one, other)]
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


def lamb_in_numpy() -> Callable[[Arrays, Arrays, float], None]:
    """LAMB as ALBERT's authors ran it, from the paper's formulas, in float64: a step on named arrays in place."""
    first: Arrays = {}
    second: Arrays = {}

    def step(weights: Arrays, gradients: Arrays, rate: float) -> None:
        for name, weight in weights.items():
            gradient = gradients[name]
            first[name] = 0.9 * first.get(name, np.zeros_like(weight)) + 0.1 * gradient
            second[name] = 0.999 * second.get(name, np.zeros_like(weight)) + 0.001 * gradient**2
            update = first[name] / (np.sqrt(second[name]) + 1e-6)
            ratio = 1.0
            if weight.ndim > 1:
                update = update + 0.01 * weight
                sizes = np.sqrt((weight**2).sum()), np.sqrt((update**2).sum())
                ratio = sizes[0] / sizes[1] if min(sizes) > 0 else 1.0
            weights[name] = weight - rate * ratio * update

    return step


def gradients_like(module: nn.Module, step: int) -> Arrays:
    draw = np.random.default_rng(step)
    return {name: draw.normal(size=value.shape) / (1 + step) for name, value in module.named_parameters()}


def test_lamb_takes_the_steps_of_another_implementation() -> None:
    module = small()
    with torch.no_grad():
        module[2].weight.zero_()  # a norm of 0: the ratio is 1
    weights = {name: value.detach().double().numpy().copy() for name, value in module.named_parameters()}
    optimizer, step = build_optimizer(module, TrainingConfig(optimizer="lamb")), lamb_in_numpy()
    for number in range(33):
        gradients = gradients_like(module, number)
        for name, parameter in module.named_parameters():
            parameter.grad = torch.from_numpy(gradients[name]).float()
        rate = 0.02 * (number + 1) / 33
        set_learning_rate(optimizer, rate)
        step_unless(optimizer, GOOD)
        step(weights, gradients, rate)
    for name, value in module.named_parameters():
        np.testing.assert_allclose(value.detach().numpy(), weights[name], rtol=2e-5, atol=2e-7, err_msg=name)


def test_adamw_takes_the_steps_of_the_plain_one_of_torch() -> None:
    one, other = small(), small()
    optimizer = build_optimizer(one, TrainingConfig(weight_decay=0.1, beta2=0.98, epsilon=1e-6))
    matrices = [value for value in other.parameters() if value.ndim > 1]
    vectors = [value for value in other.parameters() if value.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    plain = torch.optim.AdamW(groups, lr=0.003, betas=(0.9, 0.98), eps=1e-6, foreach=False, fused=False)
    set_learning_rate(optimizer, 0.003)
    for number in range(33):
        gradients = gradients_like(one, number)
        for module in (one, other):
            for name, parameter in module.named_parameters():
                parameter.grad = torch.from_numpy(gradients[name]).float()
        step_unless(optimizer, GOOD)
        plain.step()
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("bad", [False, True])
def test_lamb_decides_on_the_device_as_it_does_on_the_host(bad: bool) -> None:
    def tensors() -> list[list[Tensor]]:
        torch.manual_seed(7)
        return [[torch.rand(5, 3), torch.rand(7)] for _ in range(5)]

    def take(kinds: list[list[Tensor]], skip: Tensor | None) -> list[Tensor]:
        options = {"betas": (0.9, 0.999), "epsilon": 1e-6, "weight_decay": 0.01, "adapted": True}
        lamb_step(*kinds, rate=0.1, skip=skip, **options)
        return [one for kind in (kinds[0], kinds[2], kinds[3]) for one in kind]

    kinds = tensors()
    if bad:
        expected = [one.clone() for kind in (kinds[0], kinds[2], kinds[3]) for one in kind]
        kinds[1][0][2, 1] = float("nan")
        kinds[1][1][3] = float("inf")
    else:
        expected = take(tensors(), None)
    found = take(kinds, torch.tensor(float(bad)))
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=0 if bad else 1e-6, atol=0 if bad else 1e-7)


def test_lamb_leaves_parameters_without_a_gradient_alone() -> None:
    module = small()
    optimizer = build_optimizer(module, TrainingConfig(optimizer="lamb"))
    set_learning_rate(optimizer, 0.1)
    give_gradients(module, 1.0)
    module[0].weight.grad = None
    before = module[0].weight.detach().clone()
    step_unless(optimizer, GOOD)
    assert torch.equal(module[0].weight, before)
    assert not any(name.startswith("0.weight") for name in optimizer_tensors(module, optimizer))
