from __future__ import annotations

import pytest
import torch

from albertine.models.layers import Dropout, drop


@pytest.mark.parametrize("chance", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("shape", [(99_991,), (37, 13, 211)])
def test_the_asked_share_is_dropped_and_the_expectation_stays(chance: float, shape: tuple[int, ...]) -> None:
    values = drop(torch.ones(shape), chance)
    deviation = (chance * (1 - chance) / values.numel()) ** 0.5
    assert (values == 0).float().mean().item() == pytest.approx(chance, abs=5 * deviation)
    assert values.max().item() == pytest.approx(1 / (1 - chance), rel=1e-4)
    assert values.mean().item() == pytest.approx(1.0, abs=5 * deviation / (1 - chance))


def test_every_place_of_a_number_is_dropped_alike() -> None:
    dropped = (drop(torch.ones(4 * 50_000), 0.2) == 0).view(-1, 4).float().mean(dim=0)
    assert (dropped - 0.2).abs().max().item() < 0.01
    neighbours = (drop(torch.ones(4 * 50_000), 0.2) == 0).view(-1, 4).float()
    assert torch.corrcoef(neighbours.T).fill_diagonal_(0).abs().max().item() < 0.03


def test_gradients_pass_where_values_pass() -> None:
    values = torch.randn(7, 13, requires_grad=True)
    dropped = drop(values, 0.5)
    dropped.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad == 0, dropped == 0)


def test_the_seed_decides_and_evaluation_changes_nothing() -> None:
    layer = Dropout(0.3)
    values = torch.randn(13, 7, dtype=torch.bfloat16)
    torch.manual_seed(99)
    first = layer(values)
    torch.manual_seed(99)
    assert torch.equal(layer(values), first)
    assert first.dtype == torch.bfloat16
    assert not torch.equal(layer(values), first)
    assert layer.eval()(values) is values
