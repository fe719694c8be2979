"""Layer-wise decay of the learning rate (Howard and Ruder 2018, section 3.2; Clark et al. 2020, table 7)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from torch import nn

from albertine.errors import ConfigError

__all__ = ["depth_scales"]

_BLOCK = re.compile(r"body\.(?:attention|feed_forward)_blocks\.(\d+)\.")


def depth_scales(module: nn.Module, decay: float) -> Callable[[str], float]:
    """Return what multiplies the learning rate of a parameter, by its name.

    What stands on the body, and the body's pooler, have the whole rate; every block of weights has `decay` times that
    of the block above it, the embeddings that of one more step. Blocks that layers share count once.

    Args:
        module: of a task, its body an encoder.
        decay: above 0, at most 1.

    Raises:
        ConfigError: the body has no blocks.
    """
    body = cast("nn.Module", module.body)
    blocks = max(
        (len(cast("nn.ModuleList", getattr(body, name, ()))) for name in ("attention_blocks", "feed_forward_blocks")),
        default=0,
    )
    if not blocks:
        raise ConfigError("this model has no layers", where="layer_decay", allowed="1")

    def scale(name: str) -> float:
        found = _BLOCK.match(name)
        if found is not None:
            return float(decay ** (blocks - int(found.group(1))))
        return float(decay ** (blocks + 1)) if name.startswith("body.embeddings.") else 1.0

    return scale
