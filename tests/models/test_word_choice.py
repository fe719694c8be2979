from __future__ import annotations

import pytest
import torch
from torch import Tensor

from albertine.models.word_choice import Words, best_words, drawn_words, hide_repeated


def anything(scores: Tensor, rows: slice) -> None:
    del scores, rows


def nowhere(rows: int) -> Tensor:
    return torch.zeros(rows, dtype=torch.bool)


@pytest.mark.parametrize("vocabulary", [3, 64, 1_000, 5_003])
@pytest.mark.parametrize("count", [1, 5])
def test_the_best_words_are_those_of_a_sort(count: int, vocabulary: int) -> None:
    scores = torch.randn(301, vocabulary)
    count = min(count, vocabulary)
    expected = torch.log_softmax(scores, dim=1).sort(dim=1, descending=True)
    found = best_words(scores.clone(), count, restrict=anything, required=0, alone=nowhere(301))
    assert torch.equal(found.ids, expected.indices[:, :count])
    torch.testing.assert_close(found.log_probabilities, expected.values[:, :count])


def test_more_words_than_there_are_gives_all_of_them() -> None:
    found = best_words(torch.randn(2, 3), 7, restrict=anything, required=0, alone=nowhere(2))
    assert found.ids.sort(dim=1).values.tolist() == [[0, 1, 2]] * 2


def test_what_is_restricted_comes_last_and_leaves_the_other_probabilities() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    exact = torch.log_softmax(scores, dim=1)

    def no_first(block: Tensor, rows: slice) -> None:
        assert rows.start == 0
        block[:, 0] = -torch.inf

    found = best_words(scores.clone(), 4, restrict=no_first, required=3, alone=nowhere(1))
    assert found.ids.tolist() == [[1, 2, 3, 0]]
    torch.testing.assert_close(found.log_probabilities[:, :3], exact[:, 1:])
    assert found.log_probabilities[0, 3] == -torch.inf


def test_a_row_that_must_end_has_its_end_alone() -> None:
    scores = torch.randn(2, 9)
    exact = torch.log_softmax(scores, dim=1)
    found = best_words(scores.clone(), 4, restrict=anything, required=8, alone=torch.tensor([False, True]))
    assert found.ids[1, 0] == 8
    torch.testing.assert_close(found.log_probabilities[1, 0], exact[1, 8])
    assert found.log_probabilities[1, 1:].tolist() == [-torch.inf] * 3
    torch.testing.assert_close(found.log_probabilities[0], exact[0].sort(descending=True).values[:4])


def draw(scores: Tensor, uniform: Tensor, **options: float) -> Words:
    chosen = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **options}
    return drawn_words(
        scores,
        uniform,
        restrict=anything,
        temperature=chosen["temperature"],
        top_k=int(chosen["top_k"]),
        top_p=chosen["top_p"],
    )


def shares(scores: Tensor, **options: float) -> list[float]:
    """Return how much of [0, 1) draws each word."""
    grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    words = draw(scores.expand(len(grid), -1), grid, **options).ids.squeeze(1)
    return (torch.bincount(words, minlength=scores.shape[1]) / len(grid)).tolist()


SCORES = torch.tensor([[1.0, 3.0, 2.0, 0.0, 2.5]])


def test_words_are_drawn_as_often_as_they_are_probable() -> None:
    assert shares(SCORES) == pytest.approx(torch.softmax(SCORES[0], dim=0).tolist(), abs=1e-3)


def test_a_temperature_below_one_prefers_the_probable() -> None:
    expected = torch.softmax(SCORES[0] / 0.5, dim=0).tolist()
    assert shares(SCORES, temperature=0.5) == pytest.approx(expected, abs=1e-3)


def test_top_k_draws_among_the_best_in_their_proportion() -> None:
    expected = torch.zeros(5)
    expected[[1, 4]] = torch.softmax(SCORES[0, [1, 4]], dim=0)
    assert shares(SCORES, top_k=2) == pytest.approx(expected.tolist(), abs=1e-3)


def test_top_p_draws_among_the_fewest_that_have_the_share() -> None:
    exact = torch.softmax(SCORES[0], dim=0)
    two = float(exact[1] + exact[4])
    for share, words in ((two - 0.01, [1, 4]), (two + 0.01, [1, 4, 2]), (1e-6, [1])):
        expected = torch.zeros(5)
        expected[words] = exact[words] / exact[words].sum()
        assert shares(SCORES, top_p=share) == pytest.approx(expected.tolist(), abs=1e-3)


def test_the_probability_of_a_drawn_word_is_that_of_the_whole_distribution() -> None:
    found = draw(SCORES, torch.tensor([0.99], dtype=torch.float64), temperature=0.7, top_k=2, top_p=0.9)
    exact = torch.log_softmax(SCORES, dim=1)
    torch.testing.assert_close(found.log_probabilities, exact.gather(1, found.ids))


@pytest.mark.parametrize("top_k", [0, 3])
def test_among_many_words_the_drawn_one_is_the_inverse_of_the_distribution(top_k: int) -> None:
    scores, uniform = torch.randn(50, 2_011), torch.rand(50, dtype=torch.float64)
    found = draw(scores, uniform, top_k=top_k).ids.squeeze(1)
    values, order = scores.double().sort(dim=1, descending=True)
    chances = torch.softmax(values[:, :top_k] if top_k else values, dim=1)
    for row in range(50):
        place = int((chances[row].cumsum(0) <= uniform[row]).sum())
        assert int(found[row]) == int(order[row, place])


def test_no_run_of_words_comes_twice() -> None:
    tokens = torch.tensor([[5, 6, 7, 5, 6], [1, 1, 1, 1, 1], [1, 2, 3, 4, 5]])
    expected = {1: [{5, 6, 7}, {1}, {1, 2, 3, 4, 5}], 2: [{7}, {1}, set()], 3: [{7}, {1}, set()], 6: [set()] * 3}
    for length, hidden in expected.items():
        scores = torch.zeros(3, 9)
        hide_repeated(scores, tokens, length)
        assert [set(row.isinf().nonzero().flatten().tolist()) for row in scores] == hidden
