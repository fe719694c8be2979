"""How long the rows of a step are, and which slots it takes; phases and a batch that grows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from albertine.errors import ConfigError

__all__ = ["Phase", "StepPlan", "StepSlots"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a run in which rows have one length."""

    length: int
    """The most tokens of a text, special ones included."""
    share: float = 1.0
    """Share of the run's steps; those of all phases add up to 1."""

    def __post_init__(self) -> None:
        if self.length < 8:
            raise ConfigError("rows are too short", where="length", received=self.length, allowed="8 tokens or more")
        if not 0.0 < self.share <= 1.0:
            raise ConfigError("share out of range", where="share", received=self.share, allowed="above 0, at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSlots:
    """The slots of a step."""

    phase: int
    """Index of the phase."""
    length: int
    """Of the rows."""
    first: int
    """Place of the first slot in the phase's endless row of slots."""
    count: int
    """Slots in the step, 1 or more."""


class StepPlan:
    """Says for every step which slots it takes, in closed form, so that no step needs those before it.

    A step's size is counted in tokens, so that it stays the same when rows grow longer. Every phase goes through the
    corpus from the beginning of an epoch of its own. Steps beyond the last one belong to the last phase.

    Args:
        phases: in their order.
        tokens_per_step: tokens of a step, counted in full rows.
        first_tokens_per_step: of the very first step, where the size grows; None where it does not.
        ramp: share of the steps in which it grows, on a straight line.
        total_steps: of the run.

    Raises:
        ConfigError: a value out of range, or a step smaller than a row.
    """

    def __init__(
        self,
        phases: Sequence[Phase],
        *,
        tokens_per_step: int,
        first_tokens_per_step: int | None,
        ramp: float,
        total_steps: int,
    ) -> None:
        total_share = math.fsum(phase.share for phase in phases)
        if abs(total_share - 1.0) > 1e-6:
            raise ConfigError(
                "the shares of the phases do not add up", where="phases", received=f"{total_share:g}", allowed="1"
            )
        first = tokens_per_step if first_tokens_per_step is None else first_tokens_per_step
        longest = max(phase.length for phase in phases)
        if first < longest or tokens_per_step < first:
            raise ConfigError(
                "a step's tokens are out of range",
                where="tokens_per_step",
                received=str(tokens_per_step) if first_tokens_per_step is None else f"{first} to {tokens_per_step}",
                allowed=f"{longest} (the longest row) or more, and not falling",
            )
        if not 0.0 <= ramp <= 1.0:
            raise ConfigError("value out of range", where="ramp", received=ramp, allowed="0 to 1")
        if total_steps < 1:
            raise ConfigError("value out of range", where="total_steps", received=total_steps, allowed="1 or more")
        self.phases = tuple(phases)
        self.total_steps = total_steps
        self._first_tokens, self._tokens = first, tokens_per_step
        self._ramp_steps = 0 if first == tokens_per_step else round(ramp * total_steps)
        ends = [math.fsum(phase.share for phase in phases[: number + 1]) for number in range(len(phases))]
        self._phase_starts = [0, *(round(end * total_steps) for end in ends[:-1])]

    def at(self, step: int) -> StepSlots:
        """Return what step `step`, counted from 0, takes.

        Raises:
            ConfigError: a step below 0.
        """
        if step < 0:
            raise ConfigError("value out of range", where="step", received=step, allowed="0 or more")
        phase = max(number for number, start in enumerate(self._phase_starts) if start <= step)
        length = self.phases[phase].length
        before = self._tokens_before(self._phase_starts[phase])
        first = (self._tokens_before(step) - before) // length
        stop = (self._tokens_before(step + 1) - before) // length
        return StepSlots(phase=phase, length=length, first=first, count=stop - first)

    def progress(self, step: int) -> float:
        """Return how much of the run is over in the middle of a step, at most 1."""
        return min(1.0, (step + 0.5) / self.total_steps)

    def _tokens_before(self, step: int) -> int:
        """Add up the tokens of all steps before `step`; whole numbers, so that it is exact however long a run is."""
        ramped = min(step, self._ramp_steps)
        tokens = self._first_tokens * ramped + self._tokens * (step - ramped)
        if ramped:
            tokens += (self._tokens - self._first_tokens) * ramped * ramped // (2 * self._ramp_steps)
        return tokens
