from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from albertine.models.word_prediction import predict_words


def parts(rows: int, vocabulary: int, width: int, *, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    words = (torch.randn(rows, width) * scale).requires_grad_()
    table = torch.randn(vocabulary, width).requires_grad_()
    bias = torch.randn(vocabulary).requires_grad_()
    return words, table, bias, torch.randint(0, vocabulary, (rows,))


def plain(words: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(words, table, bias).float(), targets, reduction="sum")


@pytest.mark.parametrize(("rows", "vocabulary", "width"), [(1, 2, 1), (7, 127, 5), (53, 129, 8), (600, 1_003, 12)])
@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_loss_and_gradients_are_those_of_the_plain_cross_entropy(
    rows: int, vocabulary: int, width: int, scale: float
) -> None:
    made = parts(rows, vocabulary, width, scale=scale)
    ours = predict_words(*made).total
    expected = plain(*made)
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-4)
    for mine, other in zip(
        torch.autograd.grad(3.0 * ours, made[:3]), torch.autograd.grad(3.0 * expected, made[:3]), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-4)


def test_the_gradient_is_the_slope_in_double_precision() -> None:
    words, table, bias, targets = (one.double() if one.is_floating_point() else one for one in parts(5, 131, 3))
    leaves = tuple(one.detach().requires_grad_() for one in (words, table, bias))

    def total(*given: Tensor) -> Tensor:
        return predict_words(*given, targets).total

    # sums are fp32, so that slopes are taken with a wide step
    assert torch.autograd.gradcheck(total, leaves, eps=1e-2, atol=2e-2, rtol=1e-2)


def test_a_word_with_a_vanishing_probability_costs_what_it_should() -> None:
    words, table = torch.tensor([[400.0]]), torch.tensor([[1.0], [-1.0], [0.5]])
    total = predict_words(words, table, torch.zeros(3), torch.tensor([1])).total
    assert total.item() == pytest.approx(800.0)


def test_no_masked_word_costs_nothing_and_learns_nothing() -> None:
    words, table, bias, targets = parts(0, 11, 4)
    total = predict_words(words, table, bias, targets).total
    assert total.item() == 0.0
    assert all(not grad.any() for grad in torch.autograd.grad(total, (words, table, bias)))


def test_bf16_products_stay_close_to_fp32() -> None:
    made = parts(211, 1_009, 32, scale=0.3)
    expected = plain(*made)
    with torch.autocast("cpu", torch.bfloat16):
        ours = predict_words(*made).total
    assert ours.dtype == torch.float32
    assert abs(ours.item() / expected.item() - 1.0) < 1e-3
    for mine, other in zip(torch.autograd.grad(ours, made[:3]), torch.autograd.grad(expected, made[:3]), strict=True):
        assert mine.dtype == torch.float32
        assert torch.linalg.vector_norm(mine - other) < 0.01 * torch.linalg.vector_norm(other)


def test_confident_predictions_keep_their_small_gradient_in_bf16() -> None:
    words = torch.full((4, 1), 8.0, requires_grad=True)
    table = torch.tensor([[1.0], [0.0]])
    with torch.autocast("cpu", torch.bfloat16):
        total = predict_words(words, table, torch.zeros(2), torch.zeros(4, dtype=torch.int64)).total
    torch.autograd.backward([total])
    assert words.grad is not None
    wrong = 1.0 / (1.0 + math.exp(8.0))
    torch.testing.assert_close(words.grad, torch.full((4, 1), -wrong), rtol=0.01, atol=0.0)
    assert total.item() == pytest.approx(4 * math.log1p(math.exp(-8.0)), rel=1e-3)


def test_weights_without_gradient_get_none() -> None:
    words, table, bias, targets = parts(3, 9, 4)
    torch.autograd.backward([predict_words(words, table.detach(), bias.detach(), targets).total])
    assert words.grad is not None
    assert table.grad is None


def test_the_best_word_is_the_one_with_the_highest_score() -> None:
    words, table, bias, targets = parts(40, 257, 6)
    found = predict_words(words, table, bias, targets, best=True).best
    assert found is not None
    assert torch.equal(found, F.linear(words, table, bias).argmax(dim=-1))


@pytest.mark.parametrize("vocabulary", [3, 128, 131, 300])
def test_words_are_drawn_as_often_as_they_are_probable(vocabulary: int) -> None:
    scores = torch.randn(vocabulary) * 2
    rows = 20_000
    drawn = predict_words(
        torch.ones(rows, 1),
        scores.unsqueeze(1),
        torch.zeros(vocabulary),
        torch.zeros(rows, dtype=torch.int64),
        uniform=(torch.arange(rows, dtype=torch.float64) + 0.5) / rows,
    ).drawn
    assert drawn is not None
    shares = torch.bincount(drawn, minlength=vocabulary) / rows
    # numbers spread evenly over [0, 1) draw every word to within one place of its share
    torch.testing.assert_close(shares, torch.softmax(scores, 0), rtol=0.0, atol=1.5 / rows)


def test_the_ends_of_the_random_numbers_draw_words_that_exist() -> None:
    words, table, bias, targets = parts(2, 130, 4)
    uniform = torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64)
    drawn = predict_words(words, table, bias, targets, uniform=uniform).drawn
    assert drawn is not None
    assert drawn.min() >= 0
    assert drawn.max() < 130


class LargeTensors(TorchDispatchMode):
    """Counts the tensors of at least so many numbers that operations make."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.storages: set[int] = set()
        self.kept: list[object] = []
        self.fp32 = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else (result,):
            if isinstance(one, Tensor) and one.numel() >= self.numbers:
                pointer = one.untyped_storage().data_ptr()
                if pointer not in self.storages:
                    self.storages.add(pointer)
                    self.kept.append(one)
                    self.fp32 += one.dtype == torch.float32
        return result


def test_one_array_of_all_scores_is_made_and_none_in_fp32_under_autocast() -> None:
    words, table, bias, targets = parts(1_500, 4_001, 8)
    with LargeTensors(1_500 * 4_001) as seen, torch.autocast("cpu", torch.bfloat16):
        torch.autograd.backward([predict_words(words, table, bias, targets).total])
    assert len(seen.storages) == 1
    assert seen.fp32 == 0
