"""How fast a model is, learnt from what its micro-batches took."""

from __future__ import annotations

__all__ = ["Speed"]

_NEW = 0.5
"""Weight of a full micro-batch beside all before it: a machine that becomes slower is noticed within a few."""


class Speed:
    """Estimated tokens a second.

    Small micro-batches are slow for their size and say little about a queue, which is worked off in full ones: what a
    micro-batch counts grows with the square of its size, up to half of a full one.
    """

    def __init__(self) -> None:
        self._cost = 0.0
        self._seconds = 0.0

    def learn(self, cost: int, seconds: float, *, full: float) -> None:
        """Take in what a micro-batch took.

        Args:
            cost: its estimated tokens.
            seconds: its time.
            full: estimated tokens of a full one at present.
        """
        weight = min(1.0, (2 * cost / full) ** 2)
        keep = 1 - _NEW * weight
        self._cost = keep * self._cost + weight * cost
        self._seconds = keep * self._seconds + weight * max(seconds, 1e-6)

    @property
    def known(self) -> bool:
        """Whether anything has been measured."""
        return self._seconds > 0

    def seconds(self, cost: float) -> float:
        """Return what so many estimated tokens will take; 0 as long as nothing has been measured."""
        return cost * self._seconds / self._cost if self.known else 0.0

    def cost(self, seconds: float) -> float:
        """Return the estimated tokens that fit into a time; infinite as long as nothing has been measured."""
        return seconds * self._cost / self._seconds if self.known else float("inf")
