"""The losses held against their formulas, written out pair by pair in float64, values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from albertine.models.contrastive import (
    FIRST,
    NEGATIVE,
    SECOND,
    TextVectors,
    batch_loss,
    contrastive_loss,
    cosent_loss,
    cosines,
    false_negatives,
    joined_windows,
    squared_error,
)


def vectors(rows: int, seed: int = 0, width: int = 6) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def cosine(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second) / (first.norm() * second.norm())


def same_value_and_gradient(
    found: Callable[[Tensor], Tensor], expected: Callable[[Tensor], Tensor], at: Tensor
) -> None:
    single, double = at.clone().requires_grad_(), at.double().requires_grad_()
    one, other = found(single).sum(), expected(double).sum()
    assert one.item() == pytest.approx(other.item(), rel=1e-5, abs=1e-6)
    one.backward()
    other.backward()
    assert single.grad is not None
    assert double.grad is not None
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-3, atol=1e-5)


def slow_contrastive(
    anchors: Tensor, candidates: Tensor, positives: list[int], scale: float, masked: Tensor | None, *, symmetric: bool
) -> Tensor:
    def counted(row: int, column: int) -> bool:
        return masked is None or column == positives[row] or not bool(masked[row, column])

    losses = []
    for row, positive in enumerate(positives):
        others = [column for column in range(len(candidates)) if counted(row, column)]
        own = torch.exp(scale * cosine(anchors[row], candidates[positive]))
        loss = -torch.log(own / sum(torch.exp(scale * cosine(anchors[row], candidates[one])) for one in others))
        if symmetric:
            rows = [other for other in range(len(anchors)) if counted(other, positive)]
            every = sum(torch.exp(scale * cosine(anchors[one], candidates[positive])) for one in rows)
            loss = (loss - torch.log(own / every)) / 2
        losses.append(loss)
    return torch.stack(losses)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
def test_the_contrastive_loss_is_the_cross_entropy_of_the_partner(symmetric: bool, hidden: bool) -> None:
    positives = [3, 0, 5, 1]
    masked = torch.rand(4, 7, generator=torch.Generator().manual_seed(8)) < 0.4 if hidden else None

    def found(both: Tensor) -> Tensor:
        return contrastive_loss(
            both[:4], both[4:], torch.tensor(positives), scale=3.0, masked=masked, symmetric=symmetric
        )

    def expected(both: Tensor) -> Tensor:
        return slow_contrastive(both[:4], both[4:], positives, 3.0, masked, symmetric=symmetric)

    same_value_and_gradient(found, expected, vectors(11))


def test_hard_negatives_make_the_loss_larger() -> None:
    anchors, partners = vectors(3, 1), vectors(3, 2)
    places = torch.arange(3)
    plain = contrastive_loss(anchors, partners, places, scale=20.0)
    hard = contrastive_loss(anchors, torch.cat([partners, anchors[:1] + 0.01]), places, scale=20.0)
    assert (hard >= plain - 1e-6).all()
    assert hard[0] > plain[0] + 1


def test_a_batch_of_one_pair_has_nothing_to_tell_apart() -> None:
    assert contrastive_loss(vectors(1), vectors(1, 3), torch.tensor([0]), scale=20.0).item() == 0.0


def test_the_same_texts_elsewhere_in_the_batch_are_no_negatives() -> None:
    anchors = torch.tensor([1, 2, 1, 4])
    candidates = torch.tensor([10, 20, 30, 10, 2])
    found = false_negatives(anchors, candidates, torch.tensor([0, 1, 2, 3]))
    assert found.tolist() == [
        [True, False, True, True, False],  # its partner, that of the same text in row 2, its partner again in row 3
        [False, True, False, False, True],  # and the candidate that is its own text
        [True, False, True, True, False],
        [True, False, False, True, False],
    ]


def slow_cosent(similarities: Tensor, values: list[float], scale: float) -> Tensor:
    total = torch.ones((), dtype=similarities.dtype)
    for one, high in enumerate(values):
        for other, low in enumerate(values):
            if high > low:
                total = total + torch.exp(scale * (similarities[other] - similarities[one]))
    return torch.log(total)


def test_cosent_sums_over_all_pairs_that_have_an_order() -> None:
    values = [0.0, 1.0, 0.4, 1.0, 0.4, 0.9, 0.0]
    same_value_and_gradient(
        lambda rows: cosent_loss(cosines(rows[:7], rows[7:]), torch.tensor(values), scale=5.0),
        lambda rows: slow_cosent(
            torch.stack([cosine(*both) for both in zip(rows[:7], rows[7:], strict=True)]), values, 5.0
        ),
        vectors(14),
    )


def test_cosent_looks_at_the_order_alone() -> None:
    similarities, values = vectors(9)[:, 0], vectors(9, 4)[:, 0]
    plain = cosent_loss(similarities, values, scale=20.0)
    assert cosent_loss(similarities, values.exp() * 100, scale=20.0).item() == plain.item()
    assert cosent_loss(similarities, torch.ones(9), scale=20.0).item() == 0.0
    assert cosent_loss(similarities.sort().values, torch.arange(9), scale=1e3).item() < 1e-3


def test_the_squared_error_is_that_of_the_cosine() -> None:
    values = torch.tensor([0.0, 0.5, 1.0])
    same_value_and_gradient(
        lambda rows: squared_error(cosines(rows[:3], rows[3:]), values),
        lambda rows: torch.stack([(cosine(rows[one], rows[one + 3]) - float(values[one])) ** 2 for one in range(3)]),
        vectors(6),
    )


def test_a_vector_of_zeros_is_like_nothing() -> None:
    assert cosines(torch.zeros(2, 4), vectors(2, width=4)).tolist() == [0.0, 0.0]


def test_losses_are_computed_in_float32_under_autocast() -> None:
    anchors, candidates, places = vectors(5, 1), vectors(8, 2), torch.arange(5)
    masked = false_negatives(torch.arange(5), torch.arange(8) + 3, places)
    plain = contrastive_loss(anchors, candidates, places, scale=20.0, masked=masked)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = contrastive_loss(anchors, candidates, places, scale=20.0, masked=masked)
        again = false_negatives(torch.arange(5), torch.arange(8) + 3, places)
    assert reduced.dtype == torch.float32
    assert torch.equal(plain, reduced)
    assert torch.equal(masked, again)


def test_windows_of_one_text_are_averaged() -> None:
    rows = vectors(7)
    groups = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    targets = torch.tensor(
        [
            [FIRST, 5, 9],
            [FIRST, 5, 9],
            [SECOND, 5, 9],
            [FIRST, 6, 2],
            [SECOND, 7, 2],
            [NEGATIVE, 8, 2],
            [NEGATIVE, 9, 2],
        ]
    )
    found = joined_windows(rows, targets, groups)
    torch.testing.assert_close(found.vectors, torch.cat([rows[:2].mean(0, keepdim=True), rows[2:]]))
    assert found.roles.tolist() == [FIRST, SECOND, FIRST, SECOND, NEGATIVE, NEGATIVE]
    assert found.keys.tolist() == [5, 5, 6, 7, 8, 9]
    assert found.values.tolist() == [9, 9, 2, 2, 2, 2]


def texts(*roles: int) -> TextVectors:
    count = len(roles)
    return TextVectors(
        vectors=vectors(count), roles=torch.tensor(roles), keys=torch.arange(count), values=torch.arange(count) // 2
    )


def test_the_loss_of_a_batch_is_the_sum_over_its_pairs() -> None:
    batch = texts(FIRST, SECOND, FIRST, SECOND, NEGATIVE, FIRST, SECOND)
    rows = batch.vectors
    expected = slow_contrastive(
        rows[[0, 2, 5]].double(), rows[[1, 3, 4, 6]].double(), [0, 1, 3], 7.0, None, symmetric=False
    )
    assert batch_loss(batch, "contrastive", scale=7.0).item() == pytest.approx(expected.sum().item(), rel=1e-5)
    similarities = cosines(rows[[0, 2, 5]], rows[[1, 3, 6]])
    ordered = cosent_loss(similarities, torch.tensor([0, 1, 2]), scale=7.0)
    assert batch_loss(batch, "cosent", scale=7.0).item() == pytest.approx(3 * ordered.item())
    squared = squared_error(similarities, torch.tensor([0.0, 0.5, 1.0])).sum()
    assert batch_loss(batch, "squared-error", scale=7.0, unit=2.0).item() == pytest.approx(squared.item())


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_batch_of_negatives_alone_asks_for_nothing(symmetric: bool) -> None:
    batch = texts(NEGATIVE, NEGATIVE)
    batch.vectors.requires_grad_()
    loss = batch_loss(batch, "contrastive", scale=20.0, symmetric=symmetric)
    loss.backward()
    assert loss.item() == 0.0
    assert batch.vectors.grad is not None
    assert not batch.vectors.grad.any()


def test_the_loss_of_chance_is_the_logarithm_of_the_candidates() -> None:
    same = torch.ones(6, 4)
    assert contrastive_loss(same, same, torch.arange(6), scale=20.0).mean().item() == pytest.approx(math.log(6))
