"""What somebody who watches a run may ask of the loop, and the record of what was done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from albertine.errors import ConfigError, unknown_name
from albertine.training.log import LogPoint

__all__ = ["Action", "Intervention", "Verdict", "Watch"]

Action = Literal["continue", "lower", "roll_back", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be done after a point of the curve.

    Raises:
        ConfigError: an action that does not exist, a factor out of range, or no reason.
    """

    action: Action
    """continue only says its reason aloud; lower multiplies the learning rate by `factor` from here on; roll_back goes
    back to the last checkpoint, whenever that was written, and lowers the rate there; stop ends the run."""
    reason: str
    """Why, for the person who reads the log: what was seen and the likely cause."""
    factor: float = 0.5
    """What the learning rate is multiplied by, for lower and roll_back."""

    def __post_init__(self) -> None:
        if self.action not in get_args(Action):
            raise unknown_name("action", self.action, get_args(Action), where="verdict")
        if not 0.0 < self.factor <= 1.0:
            raise ConfigError(
                "out of range", where="verdict.factor", received=self.factor, allowed="above 0, at most 1"
            )
        if not self.reason:
            raise ConfigError("a verdict says why", where="verdict.reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervention:
    """A verdict that was carried out."""

    step: int
    """The step after which it was given."""
    action: Action
    reason: str
    rate_factor: float
    """What the schedule's learning rate is multiplied by from there on; every factor so far multiplied."""
    back_to: int | None = None
    """The step that was gone back to; None where none was."""

    def describe(self) -> str:
        """Put it on one line."""
        if self.action == "continue":
            return self.reason
        done = {
            "lower": f"the learning rate is lowered to {self.rate_factor:g} of its schedule",
            "roll_back": f"went back to step {self.back_to}, with {self.rate_factor:g} of the scheduled learning rate",
            "stop": "stopped",
        }[self.action]
        return f"{self.reason}: {done}"


Watch = Callable[[LogPoint], Verdict | None]
"""Shown every point of the curve after it was logged; None where there is nothing to do."""
