"""What may be asked of a conversion, looked at before anything is opened."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from albertine.checkpoints.archives import is_archive
from albertine.checkpoints.fitting import TargetFormat
from albertine.checkpoints.storage import Storage, check_storage
from albertine.errors import ConfigError, unknown_name
from albertine.models.pooling import PoolingMode

__all__ = ["ACTIVATIONS", "check_options", "check_target"]

ACTIVATIONS: Mapping[str, Literal["gelu", "gelu_tanh"]] = {"erf": "gelu", "tanh": "gelu_tanh"}
_NEW = "Name a new folder"


def check_options(
    *,
    to: TargetFormat | None,
    storage: Storage | None,
    activation: str | None,
    share: str | int | None,
    groups: int,
    unshare: bool,
    pooling: str | None,
    tolerance: float,
) -> TargetFormat:
    """Refuse options that cannot be meant, before anything is read; they are those of `convert`.

    Returns:
        The format to write.

    Raises:
        ConfigError: naming the option.
    """
    if to is None and storage is None:
        raise ConfigError(
            "nothing says what is to be made",
            where="to",
            allowed=", ".join(get_args(TargetFormat)),
            next_step="Name the format with --to, or with --storage how large the weights are to be",
        )
    to = to or "albertine"
    if to not in get_args(TargetFormat):
        raise unknown_name("format", to, get_args(TargetFormat), where="to")
    if activation is not None and activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, tuple(ACTIVATIONS), where="activation")
    if share is not None and unshare:
        raise ConfigError("a model is either shared or unshared", where="share", received="both")
    if isinstance(share, str) and share != "average":
        raise ConfigError(
            "this is no way to share layers", where="share", received=share, allowed="average, or a layer's number"
        )
    if share is None and groups != 1:
        raise ConfigError(
            "groups are made where layers are shared",
            where="groups",
            received=groups,
            next_step="Say too how: --share average, or the number of a layer",
        )
    if pooling is not None and to != "sentence-transformers":
        raise ConfigError(
            "only a sentence-transformers folder has a place for a pooling", where="pooling", received=f"to {to}"
        )
    if pooling is not None and pooling not in get_args(PoolingMode):
        raise unknown_name("pooling", pooling, get_args(PoolingMode), where="pooling")
    if storage is not None:
        check_storage(storage, format=to)
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError("not a tolerance", where="tolerance", received=tolerance, allowed="a number, 0 or more")
    return to


def check_target(source: str | Path, target: Path) -> None:
    """Refuse a place that nothing can or should be written to, before anything is read.

    Raises:
        ConfigError: a file, a place without the right to write, or the source itself.
    """
    if target.exists() and not target.is_dir():
        raise ConfigError(
            "the target is a folder, and a file stands there", where="target", received=str(target), next_step=_NEW
        )
    # The nearest folder that exists: what lies between it and the target is made.
    ground = next((place for place in (target, *target.parents) if place.exists()), target)
    if not ground.is_dir() or not os.access(ground, os.W_OK | os.X_OK):
        raise ConfigError(
            "no folder can be made here" if ground.is_dir() else "this is a file, and no folder can be made in it",
            where=str(ground),
            received=f"the target {target}",
            next_step="Choose another place for the target",
        )
    origin = Path(source)
    if is_archive(origin) or not (origin.exists() or origin.with_name(f"{origin.name}.index").exists()):
        return  # nothing in it is written over
    folder, place = (origin if origin.is_dir() else origin.parent).resolve(), target.resolve()
    same = place == folder
    if same or (origin.is_dir() and place.is_relative_to(folder)):
        raise ConfigError(
            "source and target are the same folder" if same else "the target lies inside the source",
            where="target",
            received=str(target),
            next_step=_NEW,
        )
