"""Parts of a model that keep their weights."""

from __future__ import annotations

from typing import cast

from torch import nn

from albertine.errors import ConfigError

__all__ = ["freeze"]


def freeze(module: nn.Module, what: str) -> None:
    """Keep a part of a task module's body from being trained, in place.

    Args:
        module: of a task.
        what: nothing, embeddings, body, or a number of blocks, counted from below, and the embeddings.

    Raises:
        ConfigError: the body has no such part, or fewer blocks.
    """
    if what == "nothing":
        return
    body = cast("nn.Module", module.body)
    if what == "body":
        body.requires_grad_(False)
        return
    embeddings = getattr(body, "embeddings", None)
    if not isinstance(embeddings, nn.Module):
        raise ConfigError("this model has no such part", where="freeze", received=what, allowed="nothing, body")
    embeddings.requires_grad_(False)
    if what == "embeddings":
        return
    blocks = [list(cast("nn.ModuleList", getattr(body, name))) for name in ("attention_blocks", "feed_forward_blocks")]
    number = int(what)
    most = max(map(len, blocks))
    if number > most:
        raise ConfigError(
            "the model has fewer blocks of weights",
            where="freeze",
            received=what,
            allowed=f"up to {most}" + (" (its layers share them)" if most == 1 else ""),
        )
    for kind in blocks:
        for block in kind[:number]:
            block.requires_grad_(False)
