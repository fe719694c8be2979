"""Every error that a user can meet, in one tree.

AlbertineError
├── UserError                exit code 2: the input, an option or a file of the user's is wrong
│   ├── DataError            a data file, a row, a column, an encoding
│   ├── ConfigError          an option, a configuration field, a name that does not exist
│   ├── CheckpointError      a model folder or a weights file
│   ├── TokenizerError       a vocabulary or a tokenizer file
│   └── MissingDependencyError   an optional package is not installed
└── FailureError             exit code 1: not the user's fault (full disk, a crashed worker)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AlbertineError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "FailureError",
    "MissingDependencyError",
    "TokenizerError",
    "UserError",
    "did_you_mean",
    "nearest",
    "unknown_name",
]


class AlbertineError(Exception):
    """The root of the tree; the command line prints its text on one line and exits with `exit_code`.

    The text is put together from parts, so that every message answers the same questions.

    Args:
        what: what is wrong, a sentence without its full stop.
        where: file, file:line or the path of a field.
        received: the value that was met.
        allowed: what would have been accepted.
        next_step: what to do about it, a sentence without its full stop; a question has its mark.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        received: object = None,
        allowed: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.received = received
        self.allowed = allowed
        self.next_step = next_step
        parts = [f"{where}: {what}." if where else f"{what}."]
        if received is not None:
            parts.append(f"Received: {received}.")
        if allowed:
            parts.append(f"Allowed: {allowed}.")
        if next_step:
            parts.append(next_step if next_step.endswith("?") else f"{next_step}.")
        super().__init__(" ".join(parts).replace("\n", " "))


class UserError(AlbertineError):
    """The user's input is wrong; the message says how to mend it."""

    exit_code = 2


class DataError(UserError):
    """A data file cannot be used as it is."""


class ConfigError(UserError):
    """An option, a configuration field or a name is not one that exists or is out of range."""


class CheckpointError(UserError):
    """A model folder or a weights file cannot be used."""


class TokenizerError(UserError):
    """A vocabulary or tokenizer file cannot be used, or does not fit the model."""


class MissingDependencyError(UserError):
    """A feature needs an optional package that is not installed.

    Args:
        package: the package as pip names it.
        extra: the extra of this project that brings it.
        feature: what needs it.
    """

    def __init__(self, package: str, *, extra: str, feature: str) -> None:
        super().__init__(
            f"{feature} needs the package {package}, which is not installed",
            next_step=f'Install it with: pip install "albertine[{extra}]"',
        )


class FailureError(AlbertineError):
    """Something failed that is not the user's fault; what was saved before stays usable."""

    exit_code = 1


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the existing name closest in spelling to `name`, or None when nothing comes near."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return found[0] if found else None


def did_you_mean(name: str, names: Iterable[str], *, option: str | None = None) -> str | None:
    """Ask whether the existing name closest in spelling was meant; None when nothing comes near.

    Args:
        name: the name that was received.
        names: the names that exist.
        option: the option that takes such a name, with its dashes, where the user may not have written it.
    """
    close = nearest(name, names)
    return None if close is None else f"Did you mean {f'{option} ' if option else ''}{close!r}?"


def unknown_name(kind: str, name: str, names: Iterable[str], *, where: str | None = None) -> ConfigError:
    """Build the error for a name that does not exist, with the nearest that does.

    Args:
        kind: what was named, such as "encoder" or "option".
        name: the name that was received.
        names: the names that exist.
        where: the file or field in which it stood.
    """
    known = sorted(names)
    return ConfigError(
        f"unknown {kind}",
        where=where,
        received=repr(name),
        allowed=", ".join(known),
        next_step=did_you_mean(name, known),
    )
