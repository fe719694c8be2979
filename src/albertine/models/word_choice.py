"""The next words out of the scores of a whole vocabulary: the most probable ones, or one by chance.

R rows, V vocabulary, C words of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from albertine.models.word_prediction import vocabulary_blocks

__all__ = ["Restriction", "Words", "best_words", "drawn_words", "hide_repeated"]

Restriction = Callable[[Tensor, slice], None]
"""Sets the scores of words that may not come next to -inf: in place, in a block of scores [rows, V], of which the rows
are those of the slice. What the other words' probabilities are stays as it was."""

# Words whose largest score is looked at first, when the largest of all are sought.
_RUN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Words that may come next, or do."""

    ids: Tensor
    """[R, C] int64."""
    log_probabilities: Tensor
    """[R, C] fp32; -inf for what may not come."""
    totals: Tensor
    """[R] fp32, the logarithm of the sum of the exponentials of a row's scores."""

    def required(self, scores: Tensor, word: int) -> Tensor:
        """Return the log-probability of one word in every row, [R]."""
        return scores[:, word].float() - self.totals


def best_words(scores: Tensor, count: int, *, restrict: Restriction, required: int, alone: Tensor) -> Words:
    """Return the most probable words of every row, the best first.

    Args:
        scores: [R, V]; may be overwritten.
        count: C; all words, where there are fewer.
        restrict: what may not come.
        required: a word that is never restricted.
        alone: [R] bool, where that word is the only one that may come.
    """
    rows, width = scores.shape
    count = min(count, width)
    ids = torch.empty(rows, count, dtype=torch.int64, device=scores.device)
    values = torch.empty(rows, count, device=scores.device)
    totals = torch.empty(rows, device=scores.device)
    # So many rows at a time that they stay in the processor's cache, and all scores come from memory once.
    for part in vocabulary_blocks(scores):
        block = scores[part].float()
        totals[part] = block.logsumexp(dim=1)
        restrict(block, part)
        values[part], ids[part] = _largest(block, count)
    words = Words(ids=ids, log_probabilities=values - totals[:, None], totals=totals)
    if bool(alone.any()):
        chance = words.required(scores, required)
        words.log_probabilities[alone] = -torch.inf
        words.log_probabilities[alone, 0] = chance[alone]
        words.ids[alone, 0] = required
    return words


def drawn_words(
    scores: Tensor, uniform: Tensor, *, restrict: Restriction, temperature: float, top_k: int, top_p: float
) -> Words:
    """Draw a word a row from what is left of its distribution; its probability is that in the whole of it.

    Args:
        scores: [R, V]; may be overwritten.
        uniform: [R] float64 in [0, 1).
        restrict: what may not come.
        temperature: what scores are divided by.
        top_k: draw among so many most probable words; 0: among all.
        top_p: draw among the fewest most probable words that together have this probability after the division by the
            temperature and the choice of `top_k`.
    """
    wide = scores.float()
    totals = wide.logsumexp(dim=1)
    restrict(wide, slice(0, len(wide)))
    if top_k and top_k < wide.shape[1]:
        values, ids = _largest(wide, top_k)
    else:
        values, ids = wide.sort(dim=1, descending=True)
    chances = torch.softmax(values.double() / temperature, dim=1)
    if top_p < 1.0:
        # a word stays as long as those before it do not have the share already
        before = chances.cumsum(dim=1) - chances
        chances = chances.masked_fill(before >= top_p, 0.0)
    reached = chances.cumsum(dim=1)
    # The sum is 1 only up to rounding and what was cut off: the number is taken as a share of what it really is.
    sought = uniform[:, None] * reached[:, -1:]
    place = torch.searchsorted(reached, sought, right=True)
    place = place.minimum((chances > 0).sum(dim=1, keepdim=True) - 1).clamp_min(0)
    return Words(ids=ids.gather(1, place), log_probabilities=values.gather(1, place) - totals[:, None], totals=totals)


def hide_repeated(scores: Tensor, tokens: Tensor, length: int) -> None:
    """Take out of the scores every word that would repeat a run of `length` tokens.

    Args:
        scores: [R, V], changed in place.
        tokens: [R, T] what was written so far.
        length: of the runs, 1 or more.
    """
    if tokens.shape[1] < length:
        return
    runs = tokens.unfold(1, length, 1)
    latest = tokens[:, None, tokens.shape[1] - length + 1 :]
    repeated = (runs[:, :, :-1] == latest).all(dim=2)
    row, place = repeated.nonzero(as_tuple=True)
    scores[row, runs[row, place, -1]] = -torch.inf


def _largest(block: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` largest values of every row, descending, and their places.

    The largest of each run of words is found first: a word among the `count` largest is in one of the `count` runs
    with the largest peaks. Those are found in one reading of the scores; `topk` would sort pairs of score and place.
    """
    width = block.shape[1]
    runs = width // _RUN
    if runs <= 4 * count:
        values, ids = block.topk(count, dim=1)
        return values, ids
    whole = runs * _RUN
    peaks = block[:, :whole].reshape(-1, runs, _RUN).amax(dim=2)
    chosen = peaks.topk(count, dim=1, sorted=False).indices
    inside = torch.arange(_RUN, device=block.device)
    places = (chosen[:, :, None] * _RUN + inside).flatten(1)
    rest = torch.arange(whole, width, device=block.device).expand(len(block), -1)
    places = torch.cat([places, rest], dim=1)
    values, order = block.gather(1, places).topk(count, dim=1)
    return values, places.gather(1, order)
