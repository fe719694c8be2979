"""Chains of tags, held against the sum over all sequences, written out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from albertine.models.crf import (
    CRF,
    FORBIDDEN,
    IGNORED,
    Chain,
    best_paths,
    decoding_chain,
    negative_log_likelihood,
    path_probabilities,
)

TAGS = 4
LENGTHS = (3, 1, 0, 4)
STARTS = torch.tensor([0, 3, 4, 4, 8])
FREE = Chain(np.ones(TAGS, bool), np.ones((TAGS, TAGS), bool), np.ones(TAGS, bool))
# tag 3 never begins, never follows on 0, and 1 never ends
STRICT = Chain(
    np.array([True, True, True, False]),
    np.array([[True, True, True, False], *[[True] * TAGS] * 3]),
    np.array([True, False, True, True]),
)


def drawn(seed: int, tokens: int = 8, *, spread: float = 2.0) -> tuple[Tensor, Chain[Tensor]]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return spread * torch.randn(*shape, generator=generator, dtype=torch.float64)

    return normal(tokens, TAGS), Chain(normal(TAGS), normal(TAGS, TAGS), normal(TAGS))


def as_arrays(emissions: Tensor, chain: Chain[Tensor]) -> tuple[np.ndarray, Chain[np.ndarray]]:
    return emissions.float().numpy(), Chain(*(one.float().numpy() for one in chain))


def sequence_score(emissions: np.ndarray, chain: Chain[np.ndarray], tags: Sequence[int]) -> float:
    score = chain.first[tags[0]] + chain.last[tags[-1]]
    score += sum(emissions[place, tag] for place, tag in enumerate(tags))
    return float(score + sum(chain.next[one, other] for one, other in itertools.pairwise(tags)))


def all_sequences(length: int) -> list[tuple[int, ...]]:
    return list(itertools.product(range(TAGS), repeat=length))


def allowed(rules: Chain[np.ndarray], tags: Sequence[int]) -> bool:
    inner = all(rules.next[one, other] for one, other in itertools.pairwise(tags))
    return bool(rules.first[tags[0]] and rules.last[tags[-1]] and inner)


def log_sum(scores: Sequence[float]) -> float:
    largest = max(scores)
    return largest + math.log(sum(math.exp(score - largest) for score in scores))


# --- the likelihood


@pytest.mark.parametrize("rules", [FREE, STRICT], ids=["free", "strict"])
def test_the_likelihood_is_the_share_of_one_sequence_among_all_that_may_be(rules: Chain[np.ndarray]) -> None:
    emissions, chain = drawn(1)
    chain = Chain(
        *(one + torch.from_numpy(np.where(rule, 0, FORBIDDEN)) for one, rule in zip(chain, rules, strict=True))
    )
    tags = torch.tensor([1, 3, 2, 2, 1, 2, 0, 2])
    found = negative_log_likelihood(emissions, tags, chain, sequence_starts=STARTS)
    arrays = Chain(*(one.numpy() for one in chain))
    first = 0
    for place, length in enumerate(LENGTHS):
        if not length:
            assert found[place] == 0
            continue
        own = emissions[first : first + length].numpy()
        scores = [sequence_score(own, arrays, one) for one in all_sequences(length) if allowed(rules, one)]
        expected = log_sum(scores) - sequence_score(own, arrays, tags[first : first + length].tolist())
        assert found[place].item() == pytest.approx(expected, rel=1e-9)
        first += length


def test_gradients_are_those_of_finite_differences() -> None:
    emissions, chain = drawn(2)
    tags = torch.tensor([1, 3, IGNORED, 2, 1, 2, 0, 2])
    inputs = [one.requires_grad_() for one in (emissions, *chain)]

    def loss(*values: Tensor) -> Tensor:
        return negative_log_likelihood(values[0], tags, Chain(*values[1:]), sequence_starts=STARTS)

    assert torch.autograd.gradcheck(loss, inputs)


def test_a_sequence_gives_the_same_alone_and_among_others() -> None:
    emissions, chain = drawn(3)
    tags = torch.tensor([1, 3, 2, 2, 1, 2, 0, 2])
    together = negative_log_likelihood(emissions, tags, chain, sequence_starts=STARTS)
    for place in (0, 1, 3):
        rows = slice(int(STARTS[place]), int(STARTS[place + 1]))
        alone = negative_log_likelihood(
            emissions[rows], tags[rows], chain, sequence_starts=torch.tensor([0, LENGTHS[place]])
        )
        torch.testing.assert_close(alone[0], together[place])


def test_ignored_tokens_are_as_if_they_were_not_there() -> None:
    emissions, chain = drawn(4)
    tags = torch.tensor([IGNORED, 3, 2, IGNORED, 1, IGNORED, 0, 2])
    kept = tags != IGNORED
    found = negative_log_likelihood(emissions, tags, chain, sequence_starts=STARTS)
    expected = negative_log_likelihood(
        emissions[kept], tags[kept], chain, sequence_starts=torch.tensor([0, 2, 2, 2, 5])
    )
    torch.testing.assert_close(found, expected)
    assert (found == 0).tolist() == [False, True, True, False]


def test_parts_of_a_group_are_one_sequence_even_where_another_stands_between() -> None:
    emissions, chain = drawn(5)
    tags = torch.tensor([1, 3, 2, 2, 1, 2, 0, 2])
    starts = torch.tensor([0, 2, 5, 8])
    found = negative_log_likelihood(emissions, tags, chain, sequence_starts=starts, groups=torch.tensor([0, 1, 0]))
    order = torch.tensor([0, 1, 5, 6, 7, 2, 3, 4])
    expected = negative_log_likelihood(emissions[order], tags[order], chain, sequence_starts=torch.tensor([0, 5, 8]))
    torch.testing.assert_close(found, expected)


def test_reduced_precision_around_it_changes_nothing() -> None:
    emissions, chain = drawn(6)
    emissions, chain = emissions.float(), Chain(*(one.float() for one in chain))
    tags = torch.tensor([1, 3, 2, 2, 1, 2, 0, 2])
    expected = negative_log_likelihood(emissions, tags, chain, sequence_starts=STARTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = negative_log_likelihood(emissions, tags, chain, sequence_starts=STARTS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    coarse = negative_log_likelihood(emissions.bfloat16(), tags, chain, sequence_starts=STARTS)
    assert coarse.dtype == torch.float32


@pytest.mark.parametrize("scale", [1e2, 1e3])
def test_extreme_scores_stay_finite_and_no_likelihood_exceeds_one(scale: float) -> None:
    emissions, chain = drawn(7, spread=scale)
    values = [one.float().requires_grad_() for one in (emissions, *chain)]
    tags = torch.tensor([1, 3, 2, 2, 1, 2, 0, 2])
    found = negative_log_likelihood(values[0], tags, Chain(*values[1:]), sequence_starts=STARTS)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert (found >= -1e-4 * scale).all()
    assert all(torch.isfinite(one.grad).all() for one in values if one.grad is not None)


def test_a_sequence_that_must_not_be_costs_beyond_measure() -> None:
    chain = CRF(STRICT)()
    found = negative_log_likelihood(
        torch.zeros(2, TAGS), torch.tensor([0, 3]), chain, sequence_starts=torch.tensor([0, 2])
    )
    assert found.item() > 9_000
    chain = CRF(STRICT, constrained=False)()
    found = negative_log_likelihood(
        torch.zeros(2, TAGS), torch.tensor([0, 3]), chain, sequence_starts=torch.tensor([0, 2])
    )
    assert found.item() == pytest.approx(2 * math.log(TAGS), rel=1e-5)


def test_transitions_are_learnt_at_their_own_rate() -> None:
    crf = CRF(FREE, rate_ratio=100.0)
    optimizer = torch.optim.Adam(crf.parameters(), lr=1e-3)
    tags = torch.tensor([0, 1, 2, 3] * 3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = negative_log_likelihood(torch.zeros(12, TAGS), tags, crf(), sequence_starts=torch.tensor([0, 12])).sum()
        loss.backward()
        optimizer.step()
    chain = decoding_chain(FREE, Chain(*(one.detach().numpy() for one in crf())))
    path = best_paths(np.zeros((8, TAGS), np.float32), np.array([0, 8]), chain)
    assert path.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert set(crf.state_dict()) == {"first", "next", "last"}


# --- decoding


@pytest.mark.parametrize("rules", [FREE, STRICT], ids=["free", "strict"])
@pytest.mark.parametrize("learnt", [True, False], ids=["learnt", "rules-only"])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_sequence_is_the_best_of_all(rules: Chain[np.ndarray], learnt: bool, seed: int) -> None:
    emissions, scores = as_arrays(*drawn(seed))
    chain = decoding_chain(rules, scores if learnt else None)
    starts = STARTS.numpy()
    found = best_paths(emissions, starts, chain)
    for first, end in itertools.pairwise(starts.tolist()):
        if first == end:
            continue
        own = emissions[first:end]
        best = max(
            (one for one in all_sequences(end - first) if allowed(rules, one)),
            key=lambda one: sequence_score(own, chain, one),
        )
        assert tuple(found[first:end].tolist()) == best


def test_rules_turn_the_best_tags_of_single_tokens_down() -> None:
    emissions = np.zeros((2, TAGS), np.float32)
    emissions[0, 0] = emissions[1, 3] = 5
    emissions[1, 2] = 4
    assert best_paths(emissions, np.array([0, 2]), decoding_chain(FREE, None)).tolist() == [0, 3]
    assert best_paths(emissions, np.array([0, 2]), decoding_chain(STRICT, None)).tolist() == [0, 2]


@pytest.mark.parametrize("learnt", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_held_tokens_take_holding_transitions_only(learnt: bool, seed: int) -> None:
    emissions, scores = as_arrays(*drawn(seed))
    chain = decoding_chain(FREE, scores if learnt else None)
    holding = np.eye(TAGS, dtype=bool)
    held = np.array([False, True, False, False, False, True, True, False])
    found = best_paths(emissions, STARTS.numpy(), chain, held=held, holding=holding)
    for first, end in itertools.pairwise(STARTS.tolist()):
        fitting = [
            one
            for one in all_sequences(end - first)
            if all(one[place - 1] == one[place] for place in range(1, len(one)) if held[first + place])
        ]
        if end > first:
            best = max(fitting, key=lambda one: sequence_score(emissions[first:end], chain, one))
            assert tuple(found[first:end].tolist()) == best


def test_very_long_sequences_keep_their_precision() -> None:
    generator = np.random.default_rng(1)
    emissions = np.log(generator.dirichlet(np.full(TAGS, 0.3), size=20_000) + 1e-12).astype(np.float32)
    scores = Chain(*(0.1 * generator.normal(size=rule.shape).astype(np.float32) for rule in FREE))
    found = best_paths(emissions, np.array([0, 20_000]), decoding_chain(FREE, scores))
    # what stands far away decides nothing: a piece from the middle gives the same away from its ends
    piece = best_paths(emissions[9_000:9_200], np.array([0, 200]), decoding_chain(FREE, scores))
    assert found[9_050:9_150].tolist() == piece[50:150].tolist()


@pytest.mark.parametrize("rules", [FREE, STRICT], ids=["free", "strict"])
@pytest.mark.parametrize("learnt", [True, False], ids=["learnt", "rules-only"])
def test_probabilities_of_runs_are_sums_over_sequences(rules: Chain[np.ndarray], learnt: bool) -> None:
    emissions, scores = as_arrays(*drawn(8))
    chain = decoding_chain(rules, scores if learnt else None)
    starts = STARTS.numpy()
    continuing = np.zeros((TAGS, TAGS), dtype=bool)
    continuing[1, 2] = continuing[2, 2] = True
    path = best_paths(emissions, starts, chain)
    found = path_probabilities(emissions, starts, chain, path, continuing=continuing)
    for begin, end in itertools.pairwise(starts.tolist()):
        own, tags = emissions[begin:end], tuple(path[begin:end].tolist())
        if not tags:
            continue
        weights = {
            one: math.exp(sequence_score(own, chain, one)) for one in all_sequences(len(tags)) if allowed(rules, one)
        }
        total = sum(weights.values())
        for first, last in itertools.combinations_with_replacement(range(len(tags)), 2):
            holding = sum(
                weight
                for one, weight in weights.items()
                if one[first : last + 1] == tags[first : last + 1]
                and not (last + 1 < len(one) and continuing[one[last], one[last + 1]])
            )
            assert found.of_run(begin + first, begin + last) == pytest.approx(holding / total, rel=1e-5)


def test_probabilities_of_chosen_sequences_are_those_of_all_and_parts_are_parts() -> None:
    emissions, scores = as_arrays(*drawn(9))
    chain = decoding_chain(FREE, scores)
    starts = STARTS.numpy()
    path = best_paths(emissions, starts, chain)
    continuing = np.zeros((TAGS, TAGS), dtype=bool)
    everything = path_probabilities(emissions, starts, chain, path, continuing=continuing)
    last = path_probabilities(emissions, starts, chain, path, continuing=continuing, sequences=np.array([3]))
    np.testing.assert_allclose(last.marginal[4:], everything.marginal[4:])
    assert (last.marginal[:4] == 1).all()
    assert everything.part(slice(4, 8)).of_run(0, 2) == pytest.approx(everything.of_run(4, 6))


def test_tokens_that_are_sure_of_what_must_not_be_still_give_probabilities() -> None:
    emissions = np.full((3, TAGS), -300.0, np.float32)
    emissions[0, 0] = emissions[1, 3] = emissions[2, 1] = 0.0
    chain = decoding_chain(STRICT, None)
    path = best_paths(emissions, np.array([0, 3]), chain)
    found = path_probabilities(emissions, np.array([0, 3]), chain, path, continuing=np.zeros((TAGS, TAGS), bool))
    assert np.isfinite(found.marginal).all()
    assert (found.marginal > 0).all()
    assert found.of_run(0, 2) <= 1
