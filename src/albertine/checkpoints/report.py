"""What a load found, and what it did not: nothing is skipped in silence."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LoadReport", "Reshaped", "listed"]

_LOG = logging.getLogger("albertine")

_ABOUT_HEADS = frozenset(("architectures", "id2label", "label2id", "num_labels", "problem_type"))
"""Keys of a configuration that say nothing about the encoder, and do have an effect: on the head above it."""


def listed(names: Sequence[str], most: int = 6, *, total: int | None = None) -> str:
    """Name the first of many, and count the others; empty where there are none.

    Args:
        names: in the order in which they are named.
        most: how many are named.
        total: how many there are, where `names` are only the first of them.
    """
    rest = (len(names) if total is None else total) - min(most, len(names))
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshaped:
    """A tensor that is there, in another shape than the configuration asks for."""

    name: str
    """Its name in the file."""
    found: tuple[int, ...]
    """The shape in the file."""
    expected: tuple[int, ...]
    """The shape that the configuration asks for."""

    def __str__(self) -> str:
        return f"{self.name} {list(self.found)} where {list(self.expected)} was expected"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """Names everything in which a checkpoint and the model it became differ; tensor names are the file's."""

    missing: tuple[str, ...] = ()
    """Tensors that the configuration asks for and the file lacks (a part without which the model still works)."""
    absent: tuple[str, ...] = ()
    """Heads that were asked for and of which the file has nothing: it is a model without them."""
    unexpected: tuple[str, ...] = ()
    """Tensors that nothing in the model corresponds to, and whose purpose is not known."""
    unused: tuple[str, ...] = ()
    """Tensors whose purpose is known and that were not asked for: task heads, optimizer state, index buffers."""
    reshaped: tuple[Reshaped, ...] = ()
    """Tensors of another shape than expected, and therefore not used."""
    foreign_keys: tuple[str, ...] = ()
    """Keys of a foreign configuration that nothing here reads and whose meaning is not known."""
    ignored_keys: tuple[str, ...] = ()
    """Keys of a configuration that are known and say nothing about what the encoder computes."""
    notes: tuple[str, ...] = ()
    """Decisions that the load took by itself, in sentences."""

    @property
    def clean(self) -> bool:
        """Say whether there is nothing that a user should look at."""
        return not (self.missing or self.unexpected or self.reshaped or self.foreign_keys or self.notes)

    def lines(self) -> tuple[str, ...]:
        """Return what a user should look at, one line a kind."""
        kinds = (
            ("missing tensors", self.missing),
            ("unexpected tensors, not used", self.unexpected),
            ("tensors of another shape, not used", tuple(str(tensor) for tensor in self.reshaped)),
            ("configuration keys that are not read", self.foreign_keys),
        )
        found = tuple(f"{title}: {listed(names)}" for title, names in kinds if names)
        return found + self.notes

    def log(self, where: str) -> None:
        """Write the report to the logger `albertine`.

        Differences are warnings, tensors that are merely unused are information, and keys without effect, of which
        every published configuration has many, are there for debugging.

        Args:
            where: the folder that was loaded.
        """
        for line in self.lines():
            _LOG.warning("%s: %s", where, line)
        if self.absent:
            _LOG.info("%s: the file has no %s", where, ", no ".join(self.absent))
        if self.unused:
            _LOG.info("%s: known tensors that were not asked for: %s", where, listed(self.unused))
        without_effect = tuple(key for key in self.ignored_keys if key not in _ABOUT_HEADS)
        if without_effect:
            _LOG.debug("%s: known configuration keys without effect here: %s", where, listed(without_effect))
