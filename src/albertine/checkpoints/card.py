"""What is written beside an encoder that has no task: its card and its manifest."""

from __future__ import annotations

import platform

import torch

from albertine import __version__
from albertine.models.config import EncoderConfig, count_parameters

__all__ = ["encoder_card", "encoder_manifest"]


def encoder_card(config: EncoderConfig, name: str) -> str:
    """Return the card of an encoder: its counted parameters and its fields, by their names in every language."""
    count = count_parameters(config)
    rows = {"parameters.unique": f"{count.unique:,}", "parameters.executed": f"{count.executed:,}"}
    rows |= {key: str(value) for key, value in config.to_dict().items()}
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"# {name}\n\n| | |\n|---|---|\n{table}\n"


def encoder_manifest() -> dict[str, object]:
    """Return the versions with which an encoder was written."""
    return {
        "schema_version": 1,
        "versions": {"albertine": __version__, "python": platform.python_version(), "torch": torch.__version__},
    }
