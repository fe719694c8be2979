"""What is served: the words after `albertine serve`, as names and folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from albertine.errors import ConfigError, UserError

__all__ = ["ModelSource", "model_sources"]

_NAME = re.compile(r"[^\W_][\w.-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A name and what stands behind it."""

    name: str
    """As paths and bodies take it."""
    folder: str | None
    """A model folder or an encoder, as `load` and `load_vectors` open them; None for an index with its own encoder."""
    index: Path | None = None
    """The folder of an index that is searched under this name."""


def model_sources(models: Sequence[str | Path], indexes: Sequence[str | Path] = ()) -> list[ModelSource]:
    """Give every model its name: that before the equals sign, else its folder's.

    An index whose name is that of a served encoder is searched with that encoder; any other is opened with the one that
    it names itself, and is then a model of its own that also encodes.

    Args:
        models: each FOLDER or NAME=FOLDER; an encoder's own name also stands for a folder.
        indexes: the same, of indexes.

    Raises:
        UserError: nothing to serve.
        ConfigError: two of one name, or a name that a path cannot hold.
    """
    if not models and not indexes:
        raise UserError("nothing to serve", next_step="Name a model folder: albertine serve FOLDER")
    found: dict[str, ModelSource] = {}
    for word in models:
        name, folder = _split(word)
        if name in found:
            raise ConfigError(
                "two models have the same name",
                received=f"{name}: {found[name].folder} and {folder}",
                next_step="Give one of them another name: NAME=FOLDER",
            )
        found[name] = ModelSource(name=name, folder=folder)
    for word in indexes:
        name, folder = _split(word)
        known = found.get(name, ModelSource(name=name, folder=None))
        if known.index is not None:
            raise ConfigError(
                "two indexes have the same name",
                received=f"{name}: {known.index} and {folder}",
                next_step="Give one of them another name: NAME=FOLDER",
            )
        found[name] = replace(known, index=Path(folder))
    return list(found.values())


def _split(word: str | Path) -> tuple[str, str]:
    """Return name and folder of NAME=FOLDER or FOLDER; a folder that has such a name itself is a folder."""
    text = str(word)
    before, equals, after = text.partition("=")
    if equals and not Path(text).exists():
        name, folder = before, after
    else:
        folder = text
        name = Path(text).name or Path(text).resolve().name
        if name in (".", ".."):
            name = Path(text).resolve().name
    if not folder:
        raise ConfigError("a model without a folder", received=repr(text), allowed="FOLDER or NAME=FOLDER")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "this cannot be a model's name",
            received=repr(name),
            allowed="letters, digits, '.', '-' and '_', beginning with a letter or digit, 64 at most",
            next_step=f"Choose one: NAME={folder}",
        )
    return name, folder
