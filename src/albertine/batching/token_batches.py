"""Batches of about so many tokens instead of so many texts, a function of the seed and the step alone."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import numpy.typing as npt

from albertine.errors import ConfigError, DataError
from albertine.records import Encoded, EncodedExamples, IntArray

__all__ = ["TokenBatches"]

_WINDOW = 32
"""Batches among which texts are sorted by length."""


class TokenBatches:
    """Deals the training texts out into batches of at most a budget of tokens, every text exactly once an epoch.

    Where texts differ in length, batches of one size cost very different work, and the longest batch decides how much
    memory a run needs. These cost about the same. As with `TrainingBatches` the texts of step n follow from the seed
    and n alone, and lengths are alike within a batch and random from one to the next; but an epoch ends with a batch of
    its own.

    Args:
        encoded: the training texts; all windows of a long one are in the same batch.
        max_tokens: tokens of a batch, those of the texts to be written among them; a text that is longer makes a batch
            of its own.
        seed: of the permutations.
        weights: [N] how often each text is to come beside the others, as in `TrainingBatches`.

    Raises:
        DataError: there are no texts.
        ConfigError: a budget below 1.
    """

    def __init__(
        self,
        encoded: EncodedExamples,
        *,
        max_tokens: int,
        seed: int,
        weights: npt.NDArray[np.floating] | None = None,
    ) -> None:
        if not encoded.examples:
            raise DataError("there are no texts to train on", next_step="Look at the training file with: data check")
        if max_tokens < 1:
            raise ConfigError("value out of range", where="batch_tokens", received=max_tokens, allowed="1 or more")
        self.encoded = encoded
        self.max_tokens = max_tokens
        self.seed = seed
        tokens = np.fromiter((one.training_tokens for one in encoded), dtype=np.int64, count=len(encoded))
        self.lengths: IntArray = np.add.reduceat(tokens, encoded.starts[:-1])
        self._shares = None if weights is None else weights / weights.sum()
        self._ends: list[int] = []
        self._epochs: dict[int, list[IntArray]] = {}

    def __len__(self) -> int:
        """Count the texts."""
        return self.encoded.examples

    def steps(self, epochs: float) -> int:
        """Return how many batches so many passes over the texts are."""
        whole, part = divmod(epochs, 1.0)
        last = round(part * len(self._batches(int(whole)))) if part else 0
        return max(1, self._start(int(whole)) + last)

    def batch_indices(self, step: int) -> IntArray:
        """Return the indices of the texts of step `step`, counted from 0."""
        if step < 0:
            raise ConfigError("value out of range", where="step", received=step, allowed="0 or more")
        epoch = 0
        while self._start(epoch + 1) <= step:
            epoch += 1
        return self._batches(epoch)[step - self._start(epoch)]

    def select(self, indices: IntArray) -> list[Encoded]:
        """Return the texts of these indices, in this order, long ones as their windows."""
        return [item for index in indices.tolist() for item in self.encoded.of_example(index)]

    def _start(self, epoch: int) -> int:
        """Return the first step of an epoch."""
        while len(self._ends) < epoch:
            before = self._ends[-1] if self._ends else 0
            self._ends.append(before + len(self._batches(len(self._ends))))
        return self._ends[epoch - 1] if epoch else 0

    def _batches(self, epoch: int) -> list[IntArray]:
        """Return the batches of an epoch; the last two that were asked for are kept."""
        if epoch not in self._epochs:
            while len(self._epochs) > 1:
                del self._epochs[next(iter(self._epochs))]
            self._epochs[epoch] = self._draw(epoch)
        return self._epochs[epoch]

    def _draw(self, epoch: int) -> list[IntArray]:
        generator = np.random.default_rng([self.seed, epoch])
        order: IntArray
        if self._shares is None:
            order = generator.permutation(len(self))
        else:
            order = generator.choice(len(self), size=len(self), p=self._shares)
        found: list[IntArray] = []
        totals = np.cumsum(self.lengths[order])
        for window in np.split(order, self._cuts(totals, _WINDOW * self.max_tokens)):
            by_length = window[np.argsort(self.lengths[window], kind="stable")]
            sums = list(accumulate(self.lengths[by_length].tolist()))
            cuts: list[int] = []
            begun = 0
            for place, total in enumerate(sums):
                if total - begun > self.max_tokens and place > (cuts[-1] if cuts else 0):
                    cuts.append(place)
                    begun = sums[place - 1]
            found += np.split(by_length, cuts)
        return [found[place] for place in generator.permutation(len(found))]

    def _cuts(self, totals: IntArray, budget: int) -> IntArray:
        """Return where windows of about so many tokens begin, the first one aside."""
        wanted = np.arange(budget, int(totals[-1]), budget)
        cuts: IntArray = np.unique(np.searchsorted(totals, wanted))
        return cuts[(cuts > 0) & (cuts < len(totals))]
