"""The batch of a pretraining step, and its parts for micro-batches and processes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from albertine.errors import ConfigError
from albertine.records import Batch

__all__ = ["ExampleCounts", "PretrainingBatch", "micro_batches", "share"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleCounts:
    """What became of the slots of a step; those of several steps can be added."""

    slots: int = 0
    """Slots of the corpus that were taken."""
    short_slots: int = 0
    """Those that were cut into shorter texts."""
    texts: int = 0
    tokens: int = 0
    """Special tokens included."""
    masked: int = 0
    """Tokens to predict."""
    trimmed: int = 0
    """Tokens left out because their text was longer than a row."""
    unlabelled: int = 0
    """Texts without a pair label, as they are of one sentence or stayed over when segments were exchanged."""

    def __add__(self, other: ExampleCounts) -> ExampleCounts:
        return ExampleCounts(
            **{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(ExampleCounts)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingBatch:
    """N texts of S tokens, M of them to predict."""

    batch: Batch
    """Packed: `input_ids` (what the model sees) and `token_type_ids` [S], `sequence_starts` [N+1]."""
    positions: torch.Tensor
    """[M] int64 the tokens to predict, as indices into the S, rising."""
    targets: torch.Tensor
    """[M] int64 what stood there."""
    pair_labels: torch.Tensor | None
    """[N] int64: 0 for B behind A, 1 for swapped segments or a B of another document, -100 for neither; None without a
    pair objective."""
    counts: ExampleCounts
    """Of the step; a part of a batch counts its own texts, tokens and masks, and nothing else."""

    def __len__(self) -> int:
        """Count the texts."""
        return len(self.batch)

    @property
    def example_count(self) -> int:
        """Texts."""
        return len(self.batch)

    @property
    def token_count(self) -> int:
        """Tokens, special ones included."""
        return self.batch.token_count

    def to(self, device: str | torch.device) -> PretrainingBatch:
        """Return the batch with every tensor on `device`."""
        return replace(
            self,
            batch=self.batch.to(device),
            positions=self.positions.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
            pair_labels=None if self.pair_labels is None else self.pair_labels.to(device, non_blocking=True),
        )


def micro_batches(batch: PretrainingBatch, parts: int) -> list[PretrainingBatch]:
    """Cut a batch on the CPU into parts of nearly equal numbers of tokens, at the borders of texts.

    Losses that are sums over texts and over masked tokens add up over the parts to those of the whole, as masks and
    pairs were made before.

    Args:
        batch: of a step.
        parts: how many; fewer come back where there are fewer texts.

    Raises:
        ConfigError: fewer than one part.
    """
    if parts < 1:
        raise ConfigError("value out of range", where="parts", received=parts, allowed="1 or more")
    return _cut(batch, min(parts, len(batch)))


def share(batch: PretrainingBatch, rank: int, world: int) -> PretrainingBatch:
    """Return the part of one process of several; those of all make up the whole batch.

    Args:
        batch: of a step, the same in all processes.
        rank: of this process, from 0.
        world: number of processes.

    Raises:
        ConfigError: there is no such process, or the step has fewer texts than processes.
    """
    if not 0 <= rank < world:
        raise ConfigError("no such process", where="rank", received=rank, allowed=f"0 to {world - 1}")
    if len(batch) < world:
        raise ConfigError(
            "a step has fewer texts than there are processes",
            where="tokens_per_step",
            received=f"{len(batch)} texts for {world} processes",
            next_step="Use more tokens per step or fewer processes",
        )
    return batch if world == 1 else _cut(batch, world)[rank]


def _cut(batch: PretrainingBatch, parts: int) -> list[PretrainingBatch]:
    assert batch.batch.sequence_starts is not None, "a pretraining batch is packed"
    if parts == 1:
        return [batch]
    starts = batch.batch.sequence_starts.numpy()
    wanted = starts[-1] * np.arange(1, parts) / parts
    right = np.clip(np.searchsorted(starts, wanted), 1, len(starts) - 1)
    nearest = np.where(starts[right] - wanted <= wanted - starts[right - 1], right, right - 1)
    # A cut needs a text for itself on its left, and as many on its right as there are parts to come.
    cuts = [0]
    for part, cut in enumerate(nearest.tolist(), start=1):
        cuts.append(min(max(cut, cuts[-1] + 1), len(batch) - (parts - part)))
    cuts.append(len(batch))
    masks = np.searchsorted(batch.positions.numpy(), starts[cuts]).tolist()
    tokens = starts[cuts].tolist()
    return [
        _part(batch, slice(cuts[i], cuts[i + 1]), slice(tokens[i], tokens[i + 1]), slice(masks[i], masks[i + 1]))
        for i in range(parts)
    ]


def _part(batch: PretrainingBatch, texts: slice, tokens: slice, masks: slice) -> PretrainingBatch:
    starts = batch.batch.sequence_starts
    assert starts is not None, "a pretraining batch is packed"
    return PretrainingBatch(
        batch=Batch(
            input_ids=batch.batch.input_ids[tokens],
            token_type_ids=batch.batch.token_type_ids[tokens],
            sequence_starts=starts[texts.start : texts.stop + 1] - tokens.start,
        ),
        positions=batch.positions[masks] - tokens.start,
        targets=batch.targets[masks],
        pair_labels=None if batch.pair_labels is None else batch.pair_labels[texts],
        counts=ExampleCounts(
            texts=texts.stop - texts.start, tokens=tokens.stop - tokens.start, masked=masks.stop - masks.start
        ),
    )
