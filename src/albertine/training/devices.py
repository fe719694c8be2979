"""The device that a training asks for by name."""

from __future__ import annotations

import torch

from albertine.errors import ConfigError, unknown_name

__all__ = ["find_device"]


def find_device(name: str) -> torch.device:
    """Return the device of a name: auto (a GPU where torch can use one), cpu, cuda or cuda:N.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise unknown_name("device", name, ("auto", "cpu", "cuda"))
    if name != "cpu" and not torch.cuda.is_available():
        raise ConfigError("there is no GPU that torch can use", where="device", received=name, allowed="auto, cpu")
    return torch.device(name)
