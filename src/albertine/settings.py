"""Where the environment is read: every variable that changes what Albertine does, and nothing else.

ALBERTINE_DATA    folder of the shared data sets that tests and result tables use (default ../shared/data)
ALBERTINE_LANG    en or zh, language of reports and model cards (default: from the locale)
ALBERTINE_DEBUG   1 shows the traceback behind an error line, as --debug does
ALBERTINE_API_KEYS, ALBERTINE_ADMIN_KEYS   keys that the server takes, divided by commas or white space

Passed on to libraries, and set where the user has not: GOMP_SPINCOUNT (unless OMP_WAIT_POLICY is set) by the command
line, ONEDNN_PRIMITIVE_CACHE_CAPACITY for the trainings of a comparison, and LRU_CACHE_CAPACITY too for the server and
wherever a file of texts is answered; see `prepare_computing`.
"""

from __future__ import annotations

import locale
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Literal, cast, get_args

from albertine.errors import ConfigError

__all__ = ["Language", "data_folder", "debug", "language", "prepare_computing", "server_keys"]

Language = Literal["en", "zh"]


def prepare_computing(
    environment: MutableMapping[str, str] = os.environ, *, training: bool = False, answering: bool = False
) -> None:
    """Let threads spin only shortly, and oneDNN keep fewer compiled products in training, unless the user has set it.

    Threads that spin for long while they wait are fastest on an idle machine and up to seven times slower as soon as
    another program wants a core. Packed texts make products of ever new shapes, of which oneDNN keeps a thousand; a
    hundred train as fast and save memory, but single requests, whose lengths come back, want them all.
    docs/performance.md has the measurements. Both settings are read once, when torch is first imported.

    Args:
        environment: of this process, or of one that is about to be started; changed in place.
        training: whether the process does nothing but train.
        answering: whether the process answers batches of texts. They have ever new shapes as well, and PyTorch keeps a
            thousand products of its own beside oneDNN's: two hundred batches of a small encoder took 1 GB more, with 64
            of each 0.2 GB, in the same time. These two are read at the first product.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", "1000")
    if training:
        environment.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    if answering:
        environment.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
        environment.setdefault("LRU_CACHE_CAPACITY", "64")


def data_folder() -> Path:
    """Return the folder of the shared data sets; it need not exist."""
    return Path(os.environ.get("ALBERTINE_DATA", "../shared/data"))


def debug() -> bool:
    """Say whether tracebacks are to be shown."""
    return os.environ.get("ALBERTINE_DEBUG", "") not in ("", "0")


def server_keys(variable: Literal["ALBERTINE_API_KEYS", "ALBERTINE_ADMIN_KEYS"]) -> tuple[str, ...]:
    """Return the keys that a variable holds."""
    return tuple(os.environ.get(variable, "").replace(",", " ").split())


def language(asked: str | None = None) -> Language:
    """Return the language of reports: `asked`, else `ALBERTINE_LANG`, else the locale's, else English.

    Raises:
        ConfigError: a language that there are no texts for was asked for.
    """
    chosen = asked or os.environ.get("ALBERTINE_LANG")
    if chosen:
        if chosen not in get_args(Language):
            raise ConfigError("unknown language", received=repr(chosen), allowed=", ".join(get_args(Language)))
        return cast(Language, chosen)
    name = os.environ.get("LC_ALL") or os.environ.get("LANG") or locale.getlocale()[0] or ""
    return "zh" if name.lower().startswith("zh") else "en"
