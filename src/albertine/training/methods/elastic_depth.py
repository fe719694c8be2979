"""Elastic depth: the states after every pass are trained to answer, so that fewer passes can be run later.

Every pass is an exit: the task's own head, the same for all of them, reads the states that it leaves. The exits' losses
are averaged with weights that grow with the depth (Zhou et al. 2020, arXiv:2006.04152, equation 6), and the shallower
ones learn what the deepest says beside the labels (Hinton et al. 2015, arXiv:1503.02531). With shared weights all of it
is one block, run once, twice, …; the passes are computed once for all exits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from albertine.errors import ConfigError
from albertine.models.encoder import Encoder
from albertine.models.outputs import EncoderOutput
from albertine.records import Batch
from albertine.tasks.task import LossFunction, LossPart, Method

__all__ = ["DEEPEST", "elastic_depth"]

DEEPEST = "deepest"
"""The part of the loss in which shallow exits follow the deepest."""


class _Exits(nn.Module):
    """Stands in a module for its encoder: runs all passes when first called, then gives the output of one exit.

    Args:
        encoder: its passes are run once a batch.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.depth = encoder.config.num_passes
        self._outputs: list[EncoderOutput] = []

    def forward(self, *args: Any, positions: Tensor | None = None, **given: Any) -> EncoderOutput:
        """Return what `Encoder.forward` would with `depth`; the arguments count at the first call alone."""
        del positions  # every pass but the last needs the states of all tokens
        if not self._outputs:
            encoder = self.encoder
            layout = encoder.layout(
                *args, **{name: given.get(name) for name in ("inputs_embeds", "attention_mask", "sequence_starts")}
            )
            done = encoder(*args, output_hidden_states=True, **given)
            self._outputs = [
                EncoderOutput(last_hidden_state=hidden, pooler_output=encoder.pool(hidden, layout))
                for hidden in done.hidden_states[1:]
            ]
        return self._outputs[self.depth - 1]


def elastic_depth(log_shares: Callable[[nn.Module, Tensor, Batch], Tensor] | None) -> Method:
    """Return the method, which must be the innermost: within it a module is run once for all of its losses.

    Args:
        log_shares: a module, what it returned and the batch, to [M, K] log-probabilities of M predictions; None for a
            task without, whose exits learn from the labels alone.
    """

    def method(loss: LossFunction) -> LossFunction:
        def wrapped(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
            body: Any = module.body
            if not isinstance(body, Encoder) or body.config.num_passes < 2:
                raise ConfigError(
                    "elastic depth needs an encoder of two passes or more",
                    where="elastic",
                    next_step="Leave it out, or take a deeper encoder",
                )
            seen: list[Tensor] = []
            handle = module.register_forward_hook(lambda _, __, returned: seen.append(returned))
            exits = _Exits(body)
            module.body = exits
            try:
                found = []
                for depth in range(1, body.config.num_passes + 1):
                    exits.depth = depth
                    found.append(loss(module, batch))
                return _averaged(found) | _following(module, seen, batch, log_shares)
            finally:
                module.body = body
                handle.remove()

        return wrapped

    return method


def _averaged(found: list[dict[str, LossPart]]) -> dict[str, LossPart]:
    """Return the mean of the exits' losses, the deepest counting most."""
    whole = len(found) * (len(found) + 1) / 2
    return {
        name: LossPart(
            total=torch.stack([depth * one[name].total for depth, one in enumerate(found, 1)]).sum() / whole,
            weight=part.weight,
        )
        for name, part in found[-1].items()
    }


def _following(
    module: nn.Module,
    seen: list[Tensor],
    batch: Batch,
    log_shares: Callable[[nn.Module, Tensor, Batch], Tensor] | None,
) -> dict[str, LossPart]:
    """Return how far the shallower exits are from the deepest, on average; the deepest does not learn from it."""
    if log_shares is None:
        return {}
    try:
        deepest = log_shares(module, seen[-1], batch).detach()
    except ConfigError:  # what this model answers with has no probability, such as a number
        return {}
    apart = torch.stack(
        [
            functional.kl_div(log_shares(module, one, batch), deepest, log_target=True, reduction="sum")
            for one in seen[:-1]
        ]
    )
    return {DEEPEST: LossPart(total=apart.mean(), weight=apart.new_tensor(len(deepest)))}
