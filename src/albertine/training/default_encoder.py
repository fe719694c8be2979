"""The encoder that is taken where none is named: the one that ships for the language of the data."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from albertine.data.languages import language_shares
from albertine.errors import ConfigError
from albertine.records import Example
from albertine.shipped import shipped_encoders

__all__ = ["AUTO", "check_default", "default_encoder", "default_encoders"]

AUTO = "auto"
"""Asks for the default."""

_SAMPLE = 200
"""Examples that are looked at, spread over all."""
_CHARACTERS = 500
"""Of each, at most."""
_NAMES = {"zh": "Chinese", "en": "English"}

logger = logging.getLogger("albertine")


def default_encoders(examples: Sequence[Example], most: int | None = None) -> tuple[str, ...]:
    """Return the shipped encoders for the language of the data, the first choice first, and say which were taken.

    Args:
        examples: of the training split; a sample of them is looked at.
        most: how many are wanted; None for all that are meant to be taken unnamed.

    Returns:
        Their names; empty where none ships for this language.
    """
    offered = [one for one in shipped_encoders() if one.default is not None]
    if not offered:
        return ()
    sample = examples[:: max(1, len(examples) // _SAMPLE)]
    texts = (text[:_CHARACTERS] for one in sample for text in (one.text, one.text_pair) if text)
    shares = language_shares("\n".join(texts))
    found = shares.largest
    chosen = sorted((one for one in offered if found in one.languages), key=lambda one: (one.default or 0, one.name))
    names = tuple(one.name for one in chosen)[:most]
    if names:
        share = {"zh": shares.zh, "en": shares.en}[found]
        logger.info(
            "the texts are %s (%.0f %% of their letters, by bytes); taken: %s",
            _NAMES[found],
            100 * share,
            ", ".join(names),
        )
    return names


def default_encoder(examples: Sequence[Example]) -> str:
    """Return the first of `default_encoders`, and say it.

    Raises:
        ConfigError: none ships for the language of the data.
    """
    names = default_encoders(examples, 1)
    if not names:
        raise _unnamed("no encoder ships for the language of these texts, so that one has to be named")
    return names[0]


def check_default() -> None:
    """Refuse to go without a name, before anything is read, where no encoder ships at all.

    Raises:
        ConfigError: there is none.
    """
    if not any(one.default is not None for one in shipped_encoders()):
        raise _unnamed("no encoder is named, and none ships with this installation")


def _unnamed(what: str) -> ConfigError:
    return ConfigError(
        what,
        where="--encoder",
        allowed="a folder, preset:NAME for random weights, hub:ORGANISATION/NAME, or a baseline's name",
    )
