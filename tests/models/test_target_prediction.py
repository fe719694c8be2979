from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from albertine.models.target_prediction import predict_targets


def parts(places: int, vocabulary: int = 57, width: int = 7) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    words = torch.randn(places, width).requires_grad_()
    table = torch.randn(vocabulary, width).requires_grad_()
    bias = torch.randn(vocabulary).requires_grad_()
    return words, table, bias, torch.randint(0, vocabulary, (places,))


def plain(words: Tensor, table: Tensor, bias: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    scores = F.linear(words, table, bias).float()
    return F.cross_entropy(scores, targets, label_smoothing=smoothing, reduction="sum")


@pytest.mark.parametrize("scores", [1, 57, 400, 1 << 20])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("places", [1, 23])
def test_loss_and_gradients_are_those_of_pytorchs_smoothed_cross_entropy(
    places: int, smoothing: float, scores: int
) -> None:
    made = parts(places)
    ours = predict_targets(*made, smoothing=smoothing, scores=scores)
    expected = plain(*made, smoothing)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)
    for mine, other in zip(
        torch.autograd.grad(3.0 * ours, made[:3]), torch.autograd.grad(3.0 * expected, made[:3]), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("learning", [(True, False, False), (False, True, False), (False, False, True)])
def test_in_runs_only_what_learns_gets_a_gradient(learning: tuple[bool, bool, bool]) -> None:
    made = parts(11)
    for one, learns in zip(made[:3], learning, strict=True):
        one.requires_grad_(learns)
    predict_targets(*made, smoothing=0.1, scores=114).backward()
    expected = [one.detach().clone().requires_grad_(learns) for one, learns in zip(made[:3], learning, strict=True)]
    plain(*expected, made[3], 0.1).backward()
    for one, other in zip(made[:3], expected, strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None and other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scores", [200, 1 << 20])
def test_without_gradients_the_loss_is_the_same(scores: int) -> None:
    made = parts(23)
    with torch.no_grad():
        found = predict_targets(*made, smoothing=0.1, scores=scores)
    assert not found.requires_grad
    torch.testing.assert_close(found, plain(*made, 0.1).detach(), rtol=1e-5, atol=1e-4)


def test_in_bf16_runs_and_a_single_run_are_near_the_exact_loss() -> None:
    made = parts(64, vocabulary=301, width=32)
    exact = plain(*made, 0.1)
    for scores in (3010, 1 << 20):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = predict_targets(*made, smoothing=0.1, scores=scores)
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(exact.item(), rel=1e-2)
        gradients = torch.autograd.grad(found, made[:3])
        for mine, other in zip(gradients, torch.autograd.grad(plain(*made, 0.1), made[:3]), strict=True):
            assert float((mine - other).norm()) < 0.05 * float(other.norm())
