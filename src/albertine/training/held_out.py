"""What an evaluation of a pretraining run measures on held-out text, as the named numbers of a learning curve."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from albertine.batching.pretraining_batch import PretrainingBatch
from albertine.inference.precision import Precision
from albertine.tasks.pretraining import PretrainingMetrics, held_out_metrics
from albertine.training.hidden_rank import HiddenStateRank, hidden_state_rank

__all__ = ["HeldOut", "measure_held_out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """How well held-out text is predicted, and whether the states behind it are still different ones."""

    metrics: PretrainingMetrics
    rank: HiddenStateRank

    def values(self) -> dict[str, float]:
        """Return every number under its name; what does not apply is absent."""
        known = {**self.metrics.to_dict(), **{f"state_{name}": one for name, one in _fields(self.rank).items()}}
        return {name: float(value) for name, value in known.items() if value is not None}

    @classmethod
    def of_values(cls, values: Mapping[str, float]) -> HeldOut | None:
        """Take up what `values` gave; None where these are other metrics."""
        ranked = {one.name: values.get(f"state_{one.name}") for one in dataclasses.fields(HiddenStateRank)}
        if None in ranked.values():
            return None
        counts = {"masked_words", "pairs", "tokens"}
        measured = {
            one.name: int(values[one.name]) if one.name in counts else values[one.name]
            for one in dataclasses.fields(PretrainingMetrics)
            if one.name in values
        }
        return cls(
            metrics=PretrainingMetrics(**measured),  # type: ignore[arg-type]  # the types of `values`
            rank=HiddenStateRank(**ranked),  # type: ignore[arg-type]  # likewise
        )


def measure_held_out(module: nn.Module, batches: Sequence[PretrainingBatch], precision: Precision) -> HeldOut:
    """Measure a model on fixed batches, without dropout.

    Args:
        module: a `PretrainingModel` or a `ReplacedTokenModel`; it leaves in the mode in which it came.
        batches: at least one; the states of the first one's tokens are looked at.
        precision: of the matrix products; the states are looked at in fp32.

    Raises:
        DataError: there are no batches.
    """
    metrics = held_out_metrics(module, batches, precision)
    device = next(module.parameters()).device
    return HeldOut(metrics=metrics, rank=hidden_state_rank(module, batches[0].batch.to(device)))


def _fields(record: HiddenStateRank) -> dict[str, float]:
    return {one.name: getattr(record, one.name) for one in dataclasses.fields(record)}
