"""Texts written by a decoder: beam search, of which the greedy search is the narrowest, and sampling.

N texts, K alternatives of each (beams, or samples), T tokens written, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from albertine.errors import ConfigError
from albertine.models.decoder import Decoder
from albertine.models.decoding import Decoding
from albertine.models.word_choice import Restriction, best_words, drawn_words, hide_repeated

__all__ = ["GenerationSettings", "Hypothesis", "Vocabulary", "generate", "length_penalty"]

# Scores of a step, of all alternatives of all texts that are written together: 128 MB in fp32.
_SCORES = 1 << 25
# The texts that are still being written move together when so many of them, as a share, have ended.
_ENDED = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """How texts are written.

    Raises:
        ConfigError: a field is out of its range.
    """

    beams: int = 4
    """Alternatives that beam search follows at a time; 1 always takes the most probable token."""
    length_penalty: float = 0.6
    """Log-probabilities are divided by ((5 + tokens) / 6) to this power before texts are compared (Wu et al. 2016,
    arXiv:1609.08144, section 7); 0 compares them as they are, which favours short texts."""
    n_best: int = 1
    """Texts that are given for an input, the best first; no more than beams."""
    min_length: int = 0
    """Tokens that are written before a text may end, where its longest allows so many."""
    no_repeat_ngram: int = 0
    """No run of so many tokens comes twice in a text; 0 allows it."""
    sampling: bool = False
    """Draw every token by chance instead of searching for the most probable text; `n_best` texts are drawn."""
    sampling_temperature: float = 1.0
    """Sampling: scores are divided by it; below 1 more probable tokens are preferred."""
    top_k: int = 0
    """Sampling: draw among so many most probable tokens; 0 among all."""
    top_p: float = 1.0
    """Sampling: draw among the fewest most probable tokens that together have this probability (Holtzman et al. 2020,
    arXiv:1904.09751)."""
    sampling_seed: int = 0
    """Sampling: another seed draws others. What is drawn for an input depends on it and the seed alone."""

    def __post_init__(self) -> None:
        for name, least in (
            ("beams", 1),
            ("n_best", 1),
            ("min_length", 0),
            ("no_repeat_ngram", 0),
            ("top_k", 0),
            ("sampling_seed", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigError(
                    "value out of range", where=name, received=getattr(self, name), allowed=f"{least} or more"
                )
        if not (math.isfinite(self.length_penalty) and self.length_penalty >= 0):
            raise ConfigError(
                "value out of range", where="length_penalty", received=self.length_penalty, allowed="0 or more"
            )
        if not (math.isfinite(self.sampling_temperature) and self.sampling_temperature > 0):
            raise ConfigError(
                "value out of range",
                where="sampling_temperature",
                received=self.sampling_temperature,
                allowed="above 0",
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError("value out of range", where="top_p", received=self.top_p, allowed="above 0, up to 1")
        if not self.sampling and self.n_best > self.beams:
            raise ConfigError(
                "more texts are asked for than the search follows",
                where="n_best",
                received=self.n_best,
                allowed=f"up to {self.beams}, the number of beams",
            )

    @property
    def alternatives(self) -> int:
        """Texts that are written side by side for an input, K."""
        return self.n_best if self.sampling else self.beams


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What the search has to know of the target's vocabulary."""

    begin: int
    """The token before a text, [CLS]; never written."""
    end: int
    """The token after it, [SEP]."""
    forbidden: tuple[int, ...] = ()
    """Other tokens that are never written; the rest share their probability."""
    size: int | None = None
    """Ids from here on stand for no token, as where a model has more rows than its tokenizer has tokens."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A text that was written."""

    tokens: npt.NDArray[np.int64]
    """Its tokens, without the ones before and after it."""
    log_probability: float
    """Of its tokens and its end, in nats; those that are never written share nothing."""
    score: float
    """The same by the length penalty: what texts are compared by."""

    @property
    def token_probability(self) -> float:
        """The geometric mean of its tokens' probabilities, its end among them: comparable between lengths."""
        return math.exp(self.log_probability / (len(self.tokens) + 1))


def length_penalty(tokens: Tensor, power: float) -> Tensor:
    """Return what log-probabilities are divided by (arXiv:1609.08144, equation 14).

    Args:
        tokens: how many were written, the end included.
        power: alpha there.
    """
    return ((5.0 + tokens) / 6.0) ** power


def generate(
    decoder: Decoder,
    memory: Tensor,
    lengths: Sequence[int],
    *,
    limits: Sequence[int],
    vocabulary: Vocabulary,
    settings: GenerationSettings,
    keys: Sequence[Sequence[int]] | None = None,
) -> list[list[Hypothesis]]:
    """Write a text, or several, for every source; call it without gradients, with the decoder in evaluation mode.

    A text is not influenced by the others that are written with it, but for rounding. Beam search gives up on a source
    as soon as none of the alternatives that it still follows can come among the best any more, however they go on; so
    its answer is the one that it would have found at the full length.

    Args:
        decoder: the decoder.
        memory: [M, H] what the encoder made of the sources, one after another.
        lengths: tokens of every source, N of them.
        limits: the most tokens of every text, 1 or more, the ones before and after it not counted. A text that comes so
            far ends there, with the probability that its end has.
        vocabulary: its special tokens.
        settings: how to write.
        keys: sampling: what tells the sources apart, such as their token ids.

    Returns:
        For every source `n_best` texts, the best first; fewer where there are no more.
    """
    assert max(limits) < decoder.config.max_position_embeddings, "the decoder has a position for every token"
    found: list[list[Hypothesis]] = []
    together = max(1, _SCORES // (settings.alternatives * decoder.config.vocab_size))
    first_row = 0
    for first in range(0, len(lengths), together):
        part = slice(first, first + together)
        rows = sum(lengths[part])
        decoding = Decoding(
            decoder,
            memory[first_row : first_row + rows],
            lengths[part],
            alternatives=settings.alternatives,
            longest=max(limits[part]) + 1,
            forbidden=(*vocabulary.forbidden, vocabulary.begin),
            vocabulary=vocabulary.size,
        )
        allowed = torch.tensor(limits[part], device=memory.device)
        if settings.sampling:
            assert keys is not None, "what tells the sources apart"
            found += _sampled(decoding, allowed, vocabulary, settings, keys[part])
        else:
            found += _searched(decoding, allowed, vocabulary, settings)
        first_row += rows
    return found


# --------------------------------------------------------------------------------------------------------- beam search


class _Search:
    """What is known of the texts that are being written."""

    def __init__(self, limits: Tensor, vocabulary: Vocabulary, settings: GenerationSettings) -> None:
        texts, beams, best = len(limits), settings.beams, settings.n_best
        room, device = int(limits.max()) + 2, limits.device
        self.penalty = settings.length_penalty
        self.limits = limits
        self.which = torch.arange(texts, device=device)
        self.tokens = torch.full((texts, beams, room), vocabulary.end, device=device)
        self.tokens[:, :, 0] = vocabulary.begin
        self.sums = torch.full((texts, beams), -torch.inf, device=device)
        # all alternatives are alike at first: only one of them may have children
        self.sums[:, 0] = 0.0
        self.best_scores = torch.full((texts, best), -torch.inf, device=device)
        self.best_sums = self.best_scores.clone()
        self.best_tokens = self.tokens[:, :1].expand(texts, best, room).clone()

    def end(self, ended: Tensor, sums: Tensor, parents: Tensor, length: int) -> None:
        """Take the texts that have come to an end among the best, where they are.

        Args:
            ended: [N, K] whether a candidate is one.
            sums: [N, K] their log-probabilities.
            parents: [N, K] the alternatives that they end.
            length: tokens of each, the end included.
        """
        scores = sums / length_penalty(torch.tensor(float(length)), self.penalty).item()
        scores = torch.cat([self.best_scores, scores.masked_fill(~ended, -torch.inf)], dim=1)
        self.best_scores, place = scores.topk(self.best_scores.shape[1])
        self.best_sums = torch.cat([self.best_sums, sums], dim=1).gather(1, place)
        written = self.tokens.gather(1, parents[:, :, None].expand_as(self.tokens))
        written = torch.cat([self.best_tokens, written], dim=1)
        self.best_tokens = written.gather(1, place[:, :, None].expand(-1, -1, written.shape[2]))

    def go_on(self, sums: Tensor, parents: Tensor, words: Tensor, place: int) -> None:
        """Write a word for every alternative; the arguments are [N, K]."""
        self.sums = sums
        self.tokens = self.tokens.gather(1, parents[:, :, None].expand_as(self.tokens))
        self.tokens[:, :, place] = words

    def settled(self) -> Tensor:
        """Say for which texts nothing better can come, [N], and stop following them.

        A sum only falls from here on; at the greatest length it is divided by most.
        """
        attainable = self.sums.amax(dim=1) / length_penalty(self.limits + 1.0, self.penalty)
        over = attainable <= self.best_scores[:, -1]
        self.sums = self.sums.masked_fill(over[:, None], -torch.inf)
        return over

    def keep(self, texts: Tensor) -> None:
        """Go on with some of the texts."""
        for name in ("limits", "which", "tokens", "sums", "best_scores", "best_sums", "best_tokens"):
            setattr(self, name, getattr(self, name).index_select(0, texts))

    def hand_over(self, texts: Tensor, results: list[list[Hypothesis]], end: int) -> None:
        """Put the best of these texts in their places among the results."""
        for text in texts.tolist():
            rows = zip(
                self.best_tokens[text].cpu().numpy(),
                self.best_sums[text].tolist(),
                self.best_scores[text].tolist(),
                strict=True,
            )
            results[int(self.which[text])] = [
                _hypothesis(tokens, total, score, end) for tokens, total, score in rows if score > -math.inf
            ]


def _searched(
    decoding: Decoding, limits: Tensor, vocabulary: Vocabulary, settings: GenerationSettings
) -> list[list[Hypothesis]]:
    beams, end = settings.beams, vocabulary.end
    search = _Search(limits, vocabulary, settings)
    results: list[list[Hypothesis]] = [[] for _ in range(len(limits))]
    while True:
        place = decoding.length
        scores = decoding.step(search.tokens[:, :, place])
        texts = decoding.texts
        # The end is one of an alternative's words; without it as many are left as there are alternatives.
        words = best_words(
            scores,
            beams + 1,
            restrict=_restriction(search.tokens, place, search.limits, end, settings),
            required=end,
            alone=(search.limits == place).repeat_interleave(beams),
        )
        sums = (search.sums.view(-1, 1) + words.log_probabilities).view(texts, -1)
        top, candidate = sums.topk(2 * beams)
        parents = candidate // words.ids.shape[1]
        chosen = words.ids.view(texts, -1).gather(1, candidate)
        ended = chosen == end
        ending = ended[:, :beams] & torch.isfinite(top[:, :beams])
        if bool(ending.any()):
            search.end(ending, top[:, :beams], parents[:, :beams], place + 1)
        alive, rank = top.masked_fill(ended, -torch.inf).topk(beams)
        parents = parents.gather(1, rank)
        search.go_on(alive, parents, chosen.gather(1, rank), place + 1)
        over = search.settled()
        left = (~over).nonzero().squeeze(1)
        if not len(left):
            search.hand_over(torch.arange(texts), results, end)
            return results
        decoding.reorder(parents)
        if len(left) <= (1 - _ENDED) * texts:
            search.hand_over(over.nonzero().squeeze(1), results, end)
            search.keep(left)
            decoding.keep(left)


# ------------------------------------------------------------------------------------------------------------ sampling


def _sampled(
    decoding: Decoding,
    limits: Tensor,
    vocabulary: Vocabulary,
    settings: GenerationSettings,
    keys: Sequence[Sequence[int]],
) -> list[list[Hypothesis]]:
    texts, samples, end = len(limits), settings.n_best, vocabulary.end
    room, device = int(limits.max()) + 2, limits.device
    tokens = torch.full((texts, samples, room), end, device=device)
    tokens[:, :, 0] = vocabulary.begin
    totals = torch.zeros(texts, samples, device=device)
    ended = torch.zeros(texts, samples, dtype=torch.bool, device=device)
    numbers = np.stack([np.random.default_rng([settings.sampling_seed, *key]).random((room, samples)) for key in keys])
    uniform = torch.from_numpy(numbers).to(device)
    left = torch.arange(texts, device=device)
    while len(left):
        place = decoding.length
        scores = decoding.step(tokens[left, :, place])
        words = drawn_words(
            scores,
            uniform[left, place].flatten(),
            restrict=_restriction(tokens[left], place, limits[left], end, settings),
            temperature=settings.sampling_temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
        )
        # at its limit a text ends, whatever was drawn
        last = (limits[left] == place).repeat_interleave(samples)
        ids = words.ids.squeeze(1).masked_fill(last, end)
        chances = torch.where(last, words.required(scores, end), words.log_probabilities.squeeze(1))
        before = ended[left]
        totals[left] += chances.view_as(before).masked_fill(before, 0.0)
        tokens[left, :, place + 1] = ids.view_as(before).masked_fill(before, end)
        ended[left] = before | (ids.view_as(before) == end)
        going = (~ended[left].all(dim=1)).nonzero().squeeze(1)
        if len(going) < len(left):
            decoding.keep(going)
            left = left[going]
    lengths = (tokens[:, :, 1:] == end).int().argmax(dim=2) + 1
    order = (totals / length_penalty(lengths, settings.length_penalty)).sort(dim=1, descending=True)
    rows = tokens.cpu().numpy()
    return [
        [
            _hypothesis(rows[text, one], float(totals[text, one]), float(score), end)
            for score, one in zip(*pair, strict=True)
        ]
        for text, pair in enumerate(zip(order.values.tolist(), order.indices.tolist(), strict=True))
    ]


def _restriction(tokens: Tensor, place: int, limits: Tensor, end: int, settings: GenerationSettings) -> Restriction:
    """Say which words may not come next.

    Args:
        tokens: [N, K, …] what was written, the token before the text at first.
        place: tokens that were written, that one not counted.
        limits: [N].
        end: the token after a text.
        settings: what is asked for.
    """
    alternatives = tokens.shape[1]
    early = (limits > place).repeat_interleave(alternatives) if place < settings.min_length else None
    written = tokens[:, :, 1 : place + 1].flatten(0, 1) if settings.no_repeat_ngram else None

    def restrict(scores: Tensor, rows: slice) -> None:
        if early is not None:
            scores[:, end].masked_fill_(early[rows], -torch.inf)
        if written is not None:
            hide_repeated(scores, written[rows], settings.no_repeat_ngram)

    return restrict


def _hypothesis(tokens: npt.NDArray[np.int64], total: float, score: float, end: int) -> Hypothesis:
    """Cut a row of tokens to what stands between its begin and its end."""
    length = int((tokens[1:] == end).argmax())
    return Hypothesis(tokens[1 : length + 1].copy(), total, score)
