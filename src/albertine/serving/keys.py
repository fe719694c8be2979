"""API keys: read once, kept as hashes, compared in a time that says nothing about them."""

from __future__ import annotations

import hashlib
import hmac
import logging
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from albertine.errors import ConfigError
from albertine.serving.options import ServerOptions
from albertine.settings import server_keys

__all__ = ["Keys", "KnownKey", "read_keys"]

_LOG = logging.getLogger("albertine")

_SHORTEST = 16
"""Characters of a key; what is shorter can be guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """A key that the server knows."""

    shown: str
    """What the log has of it: the beginning of its hash."""
    admin: bool
    """Whether it may replace models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Who may ask for what; SHA-256 of every key."""

    api: tuple[bytes, ...] = ()
    """Keys that may ask models; none: everyone may."""
    admin: tuple[bytes, ...] = ()
    """Keys that may also replace models; none: nobody may."""

    @property
    def needed(self) -> bool:
        """Whether a request to a model needs a key."""
        return bool(self.api)

    def known(self, key: bytes) -> KnownKey | None:
        """Return what is known of a key; None for a wrong one."""
        digest = hashlib.sha256(key).digest()
        # Every hash is looked at, so that the time does not tell which one came near.
        admin = sum(hmac.compare_digest(digest, one) for one in self.admin) > 0
        api = sum(hmac.compare_digest(digest, one) for one in self.api) > 0
        return KnownKey(shown=digest.hex()[:12], admin=admin) if admin or api else None


def read_keys(options: ServerOptions) -> Keys:
    """Read the keys from the files that the options name, and from the environment.

    Raises:
        ConfigError: a file cannot be read, holds no key, or one that is too short.
    """
    return Keys(
        api=_digests(options.api_keys, server_keys("ALBERTINE_API_KEYS"), "ALBERTINE_API_KEYS"),
        admin=_digests(options.admin_keys, server_keys("ALBERTINE_ADMIN_KEYS"), "ALBERTINE_ADMIN_KEYS"),
    )


def _digests(path: Path | None, others: Sequence[str], variable: str) -> tuple[bytes, ...]:
    found = [(key, variable) for key in others]
    if path is not None:
        lines = _lines(path)
        found += [(line, f"{path}:{number}") for number, line in lines]
        if not lines:
            raise ConfigError("there is no key in this file", where=str(path), allowed="one key a line")
    for key, where in found:
        if len(key) < _SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError(
                "not a key that can be used",
                where=where,
                received=f"{len(key)} characters",
                allowed=f"{_SHORTEST} printable ASCII characters or more, without spaces",
                next_step='Make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"',
            )
    return tuple(hashlib.sha256(key.encode()).digest() for key, _ in found)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a key file with their numbers, without blank ones and comments."""
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the file of keys cannot be read", where=str(path), received=str(error)) from None
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        _LOG.warning("%s: others can read these keys; chmod 600 makes the file yours alone", path)
    numbered = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, line) for number, line in numbered if line and not line.startswith("#")]
