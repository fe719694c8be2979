"""Which precision to compute in, found by measuring, not by asking what processor this is."""

from __future__ import annotations

import contextlib
import copy
import functools
import time
from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

import torch
from torch import nn

from albertine.errors import ConfigError

__all__ = ["Precision", "autocast", "choose_precision", "reduced"]

Precision = Literal["fp32", "bf16"]

_ModuleT = TypeVar("_ModuleT", bound=nn.Module)

_WORTHWHILE = 1.3
"""How many times faster bf16 must be to be chosen; below it the rounding buys too little."""


def choose_precision(device: str | torch.device = "cpu", asked: Literal["auto", "fp32", "bf16"] = "auto") -> Precision:
    """Return the precision to compute matrix products in on `device`.

    Args:
        device: where the model is.
        asked: a precision, or "auto" to choose: bf16 where it is clearly faster, else fp32. On the processor both are
            timed once a process (some milliseconds); on CUDA bf16 is taken where the device supports it.

    Raises:
        ConfigError: no such precision.
    """
    if asked == "auto":
        return _measured(torch.device(device).type)
    if asked not in ("fp32", "bf16"):
        raise ConfigError("unknown precision", received=repr(asked), allowed="auto, fp32, bf16")
    return asked


def autocast(precision: Precision, device: str | torch.device = "cpu") -> contextlib.AbstractContextManager[object]:
    """Return a context in which matrix products run in `precision`; weights stay as they are."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def reduced(module: _ModuleT, precision: Precision, *, instead: Mapping[int, nn.Module] | None = None) -> _ModuleT:
    """Return a copy of the module whose linear layers hold their weights in `precision`, all else shared with it.

    Under `autocast` it computes what the module itself would, without rounding the weights anew at every call.

    Args:
        module: stays as it is.
        precision: of the matrix products.
        instead: by the `id` of a part, what stands in its place in the copy.
    """
    kept: dict[int, object] = {id(one): one for one in (*module.parameters(), *module.buffers())}
    for layer in module.modules() if precision == "bf16" else ():
        if isinstance(layer, nn.Linear):
            for parameter in layer.parameters():
                kept[id(parameter)] = nn.Parameter(parameter.detach().to(torch.bfloat16), requires_grad=False)
    return copy.deepcopy(module, {**kept, **(instead or {})})


@functools.cache
def _measured(device_type: str) -> Precision:
    if device_type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device_type != "cpu":
        return "fp32"
    return "bf16" if _seconds(torch.float32) >= _WORTHWHILE * _seconds(torch.bfloat16) else "fp32"


def _seconds(dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the best time of a few products of the size that small encoders have."""
    with torch.inference_mode():
        inputs = torch.ones(512, 256, dtype=dtype)
        weight = torch.ones(1024, 256, dtype=dtype)
        times = []
        for _ in range(6):
            begin = clock()
            torch.nn.functional.linear(inputs, weight)
            times.append(clock() - begin)
    return min(times[1:])
