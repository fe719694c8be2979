"""Chains of tags: which tag may follow which, how likely a sequence is, and the best one of all.

The linear-chain conditional random field of Lafferty, McCallum and Pereira (2001). A sequence of tags scores the sum of
its tags' emissions and of its transitions; its probability is the exponential of that over the sum for all sequences.
Training runs in torch, decoding in NumPy, both over many sequences at a time and one token after another.

S tokens of N texts one after another, K sequences, M tokens of all of them, T tokens of the longest, L tags.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from albertine.records import IntArray

__all__ = [
    "CRF",
    "FORBIDDEN",
    "IGNORED",
    "BoolArray",
    "Chain",
    "FloatArray",
    "PathProbabilities",
    "best_paths",
    "decoding_chain",
    "negative_log_likelihood",
    "path_probabilities",
]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
ArrayT = TypeVar("ArrayT")

IGNORED = -100
"""The target of a token that stands in no sequence; what cross-entropy ignores too."""
FORBIDDEN = -10_000.0
"""The score of a transition that must not be: its exponential is 0, and yet sums of it stay finite."""


class Chain(NamedTuple, Generic[ArrayT]):
    """What is said of every transition, be it a score or whether it may be."""

    first: ArrayT
    """[L] a sequence begins with the tag."""
    next: ArrayT
    """[L, L] row: the tag before, column: the tag."""
    last: ArrayT
    """[L] a sequence ends with the tag."""


class CRF(nn.Module):
    """The transition scores of a chain, to be learnt; all are 0 at first.

    Args:
        rules: which transitions may be.
        rate_ratio: how much faster the scores move than their parameters, which are the scores over this number. An
            optimizer like Adam moves every parameter by about its learning rate, whatever the gradient, and a rate that
            fits a pretrained encoder (some 1e-5) would leave the transitions where they are.
        constrained: forbidden transitions have no probability in training either (Wei et al. 2021, Masked Conditional
            Random Field for Sequence Labeling), so that nothing is spent on learning what cannot be.
    """

    def __init__(self, rules: Chain[BoolArray], *, rate_ratio: float = 1.0, constrained: bool = True) -> None:
        super().__init__()
        tags = len(rules.first)
        self.rate_ratio = rate_ratio
        self.first = nn.Parameter(torch.zeros(tags))
        self.next = nn.Parameter(torch.zeros(tags, tags))
        self.last = nn.Parameter(torch.zeros(tags))
        for name, allowed in zip(Chain._fields, rules, strict=True):
            penalty = torch.from_numpy(np.where(allowed | (not constrained), 0.0, FORBIDDEN).astype(np.float32))
            self.register_buffer(f"{name}_penalty", penalty, persistent=False)

    def forward(self) -> Chain[Tensor]:
        """Return the score of every transition, with the penalty of those that must not be."""
        scores = {
            name: getattr(self, name) * self.rate_ratio + getattr(self, f"{name}_penalty") for name in Chain._fields
        }
        return Chain(**scores)


def negative_log_likelihood(
    emissions: Tensor,
    tags: Tensor,
    chain: Chain[Tensor],
    *,
    sequence_starts: Tensor,
    groups: Tensor | None = None,
) -> Tensor:
    """Return the negative logarithm of the probability of every tag sequence, [K]; 0 for one without tokens.

    Computed in float32 (float64 where the emissions are), whatever precision products are cast to around it.

    Args:
        emissions: [S, L].
        tags: [S] int64; tokens tagged `IGNORED` stand in no sequence, their neighbours follow on each other.
        chain: the scores of transitions.
        sequence_starts: [N+1] the first token of every text and the end.
        groups: [N] which sequence a text is a part of, the parts of one in their order; None where each is its own.
    """
    texts = torch.arange(len(sequence_starts) - 1, device=tags.device)
    owner = texts if groups is None else groups
    sequences = int(owner.max()) + 1 if len(owner) else 0
    kept = tags != IGNORED
    of_token = owner.repeat_interleave(sequence_starts.diff())[kept]
    emissions, tags = emissions[kept], tags[kept]
    if groups is not None:
        order = of_token.argsort(stable=True)
        of_token, emissions, tags = of_token[order], emissions[order], tags[order]
    with torch.autocast(emissions.device.type, enabled=False):
        emissions = emissions if emissions.dtype == torch.float64 else emissions.float()
        chain = Chain(*(scores.to(emissions.dtype) for scores in chain))
        counts = torch.bincount(of_token, minlength=sequences)
        place = torch.arange(len(tags), device=tags.device) - functional.pad(counts.cumsum(0), (1, 0))[of_token]
        before = functional.pad(tags, (1, 0))[:-1]
        score = emissions.gather(1, tags[:, None])[:, 0]
        score = score + torch.where(place == 0, chain.first[tags], chain.next[before, tags])
        score = score + torch.where(place + 1 == counts[of_token], chain.last[tags], 0.0)
        of_path = score.new_zeros(sequences).index_add(0, of_token, score)
        return torch.where(counts > 0, _log_partition(emissions, chain, of_token, place, counts) - of_path, 0.0)


def _log_partition(emissions: Tensor, chain: Chain[Tensor], of_token: Tensor, place: Tensor, counts: Tensor) -> Tensor:
    """Return the logarithm of the sum over all tag sequences, [K] (the forward algorithm).

    A step is a matrix product of exponentials, each shifted by the largest of its row or column. What is so small that
    it vanishes beside that, e^-87 of it in float32, is held at the smallest number, so that the result stays finite and
    is never below the score of any one sequence.
    """
    steps = int(counts.max()) if len(counts) else 0
    rows = emissions.new_zeros(steps, len(counts), emissions.shape[1]).index_put((place, of_token), emissions)
    highest = chain.next.detach().amax(dim=0)
    transitions = (chain.next - highest).exp()
    smallest = torch.finfo(emissions.dtype).tiny
    alpha = emissions.new_zeros(len(counts), emissions.shape[1])
    for step in range(steps):
        if step == 0:
            alpha = chain.first + rows[0]
            continue
        shift = alpha.detach().amax(dim=1, keepdim=True)
        summed = ((alpha - shift).exp() @ transitions).clamp(min=smallest).log() + shift + highest + rows[step]
        alpha = torch.where((counts > step)[:, None], summed, alpha)
    return (alpha + chain.last).logsumexp(dim=1)


def decoding_chain(rules: Chain[BoolArray], scores: Chain[FloatArray] | None) -> Chain[FloatArray]:
    """Return the scores to decode with: those learnt, or 0 where none were, and `FORBIDDEN` for what must not be."""
    learnt = scores or Chain(*(np.zeros(allowed.shape, dtype=np.float32) for allowed in rules))
    masked = (np.where(allowed, value, FORBIDDEN) for allowed, value in zip(rules, learnt, strict=True))
    return Chain(*(one.astype(np.float32) for one in masked))


class _Steps:
    """The tokens of chosen sequences by their place: step t has token t of every sequence that is so long."""

    def __init__(self, starts: IntArray, sequences: IntArray) -> None:
        lengths = np.diff(starts)[sequences]
        order = np.argsort(-lengths, kind="stable")
        order = order[: np.count_nonzero(lengths)]
        self.firsts: IntArray = starts[:-1][sequences][order]
        self.lengths: IntArray = lengths[order]
        self.longest = int(self.lengths[0]) if len(order) else 0
        # sequences stand by falling length, so that those that have ended are the last ones of a step
        counts = np.searchsorted(-self.lengths, -np.arange(self.longest), side="left")
        self.rows = [self.firsts[:count] + step for step, count in enumerate(counts.tolist())]
        """The tokens of every step."""


def best_paths(
    emissions: FloatArray,
    starts: IntArray,
    chain: Chain[FloatArray],
    *,
    held: BoolArray | None = None,
    holding: BoolArray | None = None,
) -> IntArray:
    """Return the best tag sequence of each of K sequences (the Viterbi algorithm), [M] int64.

    Where no transitions were learnt, the best tags of the tokens taken one by one are the best sequence if they are
    one that may be, which is nearly always so; only the others are searched for.

    Args:
        emissions: [M, L] float32.
        starts: [K+1] the first token of every sequence and the end.
        chain: as from `decoding_chain`.
        held: [M] tokens that must stand in one span, or outside of all, with the token before.
        holding: [L, L] the transitions that do so; needed with `held`.
    """
    tags: IntArray = emissions.argmax(axis=1).astype(np.int64) if len(emissions) else np.zeros(0, dtype=np.int64)
    sequences = np.arange(len(starts) - 1)
    if all(bool(((scores == 0) | (scores == FORBIDDEN)).all()) for scores in chain):
        sequences = sequences[_forbidden(tags, starts, chain, held, holding)]
    steps = _Steps(starts, sequences)
    if steps.longest:
        _search(emissions, steps, chain, held, holding, tags)
    return tags


def _forbidden(
    tags: IntArray, starts: IntArray, chain: Chain[FloatArray], held: BoolArray | None, holding: BoolArray | None
) -> BoolArray:
    """Say of every sequence whether it takes a transition that must not be, [K]."""
    filled = np.diff(starts) > 0
    firsts, lasts = starts[:-1][filled], starts[1:][filled] - 1
    wrong = np.zeros(len(tags), dtype=np.bool_)
    wrong[1:] = chain.next[tags[:-1], tags[1:]] == FORBIDDEN
    if held is not None and holding is not None:
        wrong[1:] |= held[1:] & ~holding[tags[:-1], tags[1:]]
    wrong[firsts] = chain.first[tags[firsts]] == FORBIDDEN
    wrong[lasts] |= chain.last[tags[lasts]] == FORBIDDEN
    before = np.concatenate([[0], np.cumsum(wrong)])
    return before[starts[1:]] > before[starts[:-1]]


def _search(
    emissions: FloatArray,
    steps: _Steps,
    chain: Chain[FloatArray],
    held: BoolArray | None,
    holding: BoolArray | None,
    tags: IntArray,
) -> None:
    """Write the best sequences into `tags`.

    What is kept of every step is how well each tag can be reached, not from where: that is looked for on the way back,
    for the tags of the best sequences alone.
    """
    parting = None if holding is None else np.where(holding, 0.0, FORBIDDEN).astype(np.float32)
    score = chain.first + emissions[steps.firsts]
    reached, final = [score], score.copy()
    for rows in steps.rows[1:]:
        before = reached[-1][: len(rows)]
        ways = (before - before.max(axis=1, keepdims=True))[:, :, None] + chain.next
        if held is not None and parting is not None and held[rows].any():
            ways += held[rows][:, None, None] * parting
        score = ways.max(axis=1) + emissions[rows]
        reached.append(score)
        final[: len(rows)] = score
    tag = (final + chain.last).argmax(axis=1)
    for rows, before in zip(reversed(steps.rows[1:]), reversed(reached[:-1]), strict=True):
        now = tag[: len(rows)].copy()
        tags[rows] = now
        way = before[: len(rows)] + chain.next[:, now].T
        if held is not None and parting is not None:
            way += held[rows][:, None] * parting[:, now].T
        tag[: len(rows)] = way.argmax(axis=1)
    tags[steps.firsts] = tag


@dataclass(frozen=True, slots=True, kw_only=True)
class PathProbabilities:
    """How probable the tags of given sequences are; tags form a Markov chain, so that these three say all of a run."""

    marginal: npt.NDArray[np.float64]
    """[M] of the tag, whatever the others are."""
    conditional: npt.NDArray[np.float64]
    """[M] of the tag, given the tag before; at a sequence's first token as `marginal`."""
    leaving: npt.NDArray[np.float64]
    """[M] that the span of the tag does not go on behind the token, given the tag."""

    def of_run(self, first: int, last: int) -> float:
        """Return the probability that tokens `first` to `last` have their tags and the span ends with them."""
        inner = self.conditional[first + 1 : last + 1].prod()
        return min(1.0, float(self.marginal[first] * inner * self.leaving[last]))

    def part(self, rows: slice) -> PathProbabilities:
        """Return those of some tokens."""
        return PathProbabilities(
            marginal=self.marginal[rows], conditional=self.conditional[rows], leaving=self.leaving[rows]
        )


def path_probabilities(
    emissions: FloatArray,
    starts: IntArray,
    chain: Chain[FloatArray],
    tags: IntArray,
    *,
    continuing: BoolArray,
    sequences: IntArray | None = None,
) -> PathProbabilities:
    """Return how probable given tags are among all sequences that may be (the forward-backward algorithm).

    Without learnt transitions this is the distribution of independent tokens, given that the whole is a sequence that
    may be.

    Args:
        emissions: [M, L] float32.
        starts: [K+1] the first token of every sequence and the end.
        chain: as from `decoding_chain`.
        tags: [M] sequences that may be, as from `best_paths`.
        continuing: [L, L] the transitions within a span.
        sequences: those to look at, of the others nothing is said (1 throughout); None for all.
    """
    chosen = np.arange(len(starts) - 1) if sequences is None else sequences
    steps = _Steps(starts, chosen)
    found = PathProbabilities(marginal=np.ones(len(tags)), conditional=np.ones(len(tags)), leaving=np.ones(len(tags)))
    if not steps.longest:
        return found
    transitions = np.exp((chain.next - chain.next.max()).astype(np.float64))
    weights = np.exp((emissions - emissions.max(axis=1, keepdims=True)).astype(np.float64))
    forward, backward = np.zeros_like(weights), np.zeros_like(weights)
    lasts = steps.firsts + steps.lengths - 1
    forward[steps.firsts] = _scaled(np.exp(chain.first.astype(np.float64)) * weights[steps.firsts])
    for rows in steps.rows[1:]:
        forward[rows] = _scaled((forward[rows - 1] @ transitions) * weights[rows])
    backward[lasts] = np.exp(chain.last.astype(np.float64))
    for rows in reversed(steps.rows[1:]):
        backward[rows - 1] = _scaled((weights[rows] * backward[rows]) @ transitions.T)
    together = np.concatenate(steps.rows)
    posterior = _scaled(forward[together] * backward[together])
    found.marginal[together] = posterior[np.arange(len(together)), tags[together]]
    found.conditional[steps.firsts] = found.marginal[steps.firsts]
    later = together[len(steps.firsts) :]
    origin = tags[later - 1]
    following = _scaled(transitions[origin] * weights[later] * backward[later])
    found.conditional[later] = following[np.arange(len(later)), tags[later]]
    found.leaving[later - 1] = 1.0 - (following * continuing[origin]).sum(axis=1)
    return found


def _scaled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Divide every row by its sum."""
    scaled: npt.NDArray[np.float64] = values / np.maximum(values.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return scaled
