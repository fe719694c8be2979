"""The batch of every training step, a function of the seed and the step alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from albertine.errors import ConfigError, DataError
from albertine.records import Encoded, EncodedExamples, IntArray

FloatArray = npt.NDArray[np.floating]

__all__ = ["TrainingBatches"]


class TrainingBatches:
    """Deals the training texts out into batches of one size, every text exactly once an epoch.

    The texts of step n follow from the seed and n alone, never from what was asked for before, from the number of
    processes or from how a batch is split for accumulation; so a resumed run meets the texts it would have met.

    The epochs stand one after another in an endless row of texts, and step n takes places `n * batch_size` to
    `(n + 1) * batch_size` of it: an incomplete last batch is filled up with the first texts of the next epoch, all
    steps weigh alike, and n steps are `n * batch_size` texts seen. An epoch is a permutation of the texts drawn from
    (seed, epoch). Within each window of `window` batches it is sorted by length (that of source and target together
    where a text is to be written), which saves the work on padding in attention, and the order of the batches in the
    window is drawn anew, so that lengths do not rise and fall.

    Args:
        encoded: the training texts; all windows of a long one are in the same batch.
        batch_size: texts in a batch; where there are fewer texts, all of them.
        seed: of the permutations.
        window: batches among which texts are sorted by length; 1 leaves batches as drawn. Larger windows make the
            lengths in a batch more alike, and with them whatever goes along with length in the data.
        weights: [N] how often each text is to come beside the others: an epoch is then as many texts drawn with
            replacement, by these weights. None for every text exactly once.

    Raises:
        DataError: there are no texts.
        ConfigError: a batch size, a window or a seed out of range.
    """

    def __init__(
        self,
        encoded: EncodedExamples,
        *,
        batch_size: int,
        seed: int,
        window: int = 8,
        weights: FloatArray | None = None,
    ) -> None:
        if not encoded.examples:
            raise DataError("there are no texts to train on", next_step="Look at the training file with: data check")
        for name, value, least in (("batch_size", batch_size, 1), ("window", window, 1), ("seed", seed, 0)):
            if value < least:
                raise ConfigError("value out of range", where=name, received=value, allowed=f"{least} or more")
        self.encoded = encoded
        self.batch_size = min(batch_size, encoded.examples)
        self.seed = seed
        self.window = window
        tokens = np.fromiter((one.training_tokens for one in encoded), dtype=np.int64, count=len(encoded))
        self.lengths: IntArray = np.add.reduceat(tokens, encoded.starts[:-1])
        self._shares = None if weights is None else weights / weights.sum()
        self._epochs: dict[int, IntArray] = {}

    def __len__(self) -> int:
        """Count the texts."""
        return self.encoded.examples

    def batch_indices(self, step: int) -> IntArray:
        """Return the indices of the texts of step `step`, counted from 0."""
        if step < 0:
            raise ConfigError("value out of range", where="step", received=step, allowed="0 or more")
        epoch, first = divmod(step * self.batch_size, len(self))
        indices = self._order(epoch)[first : first + self.batch_size]
        if len(indices) < self.batch_size:
            indices = np.concatenate([indices, self._order(epoch + 1)[: self.batch_size - len(indices)]])
        return indices

    def batch(self, step: int) -> list[Encoded]:
        """Return the texts of step `step`, counted from 0."""
        return self.select(self.batch_indices(step))

    def select(self, indices: IntArray) -> list[Encoded]:
        """Return the texts of these indices, in this order, long ones as their windows."""
        return [item for index in indices.tolist() for item in self.encoded.of_example(index)]

    def _order(self, epoch: int) -> IntArray:
        """Return the permutation of an epoch; the last two that were asked for are kept."""
        if epoch not in self._epochs:
            while len(self._epochs) > 1:
                del self._epochs[next(iter(self._epochs))]
            self._epochs[epoch] = self._draw(epoch)
        return self._epochs[epoch]

    def _draw(self, epoch: int) -> IntArray:
        generator = np.random.default_rng([self.seed, epoch])
        order: IntArray
        if self._shares is None:
            order = generator.permutation(len(self))
        else:
            order = generator.choice(len(self), size=len(self), p=self._shares)
        # The first texts complete the last batch of the epoch before; windows begin behind them, where batches do.
        carried = -epoch * len(self) % self.batch_size
        for first in range(carried, len(order), self.window * self.batch_size):
            part = order[first : first + self.window * self.batch_size]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            whole = len(part) // self.batch_size * self.batch_size
            batches = generator.permutation(part[:whole].reshape(-1, self.batch_size))
            order[first : first + len(part)] = np.concatenate([batches.reshape(-1), part[whole:]])
        return order
