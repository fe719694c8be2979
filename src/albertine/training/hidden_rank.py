"""How different the states of tokens are: the measure of rank collapse."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from albertine.errors import ConfigError
from albertine.models.encoder import Encoder
from albertine.records import Batch

__all__ = ["HiddenStateRank", "hidden_state_rank", "state_rank"]

_MOST_TOKENS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenStateRank:
    """How many directions the states of a batch's tokens really use."""

    effective_rank: float
    """e to the entropy of the normalised singular values (Roy and Vetterli 2007): 1 where all states are multiples of
    one vector, at most the width."""
    mean_cosine: float
    """Mean cosine of two different tokens' states; 1 where all point the same way. Trained encoders may well have 0.9,
    by a few large dimensions that all tokens share (Timkey and van Schijndel 2021), so that it says little alone."""
    width: int
    """Of the states."""
    tokens: int
    """How many states were looked at."""


def hidden_state_rank(module: nn.Module, batch: Batch) -> HiddenStateRank:
    """Measure the last hidden states of a batch, without dropout.

    Args:
        module: an `Encoder`, or a module whose `encoder` is one; it leaves in the mode in which it came.
        batch: padded or packed, on the module's device, with two tokens or more; of more than 4096, as many are looked
            at, evenly spread.

    Raises:
        ConfigError: there is no encoder in the module.
    """
    encoder = module if isinstance(module, Encoder) else getattr(module, "encoder", None)
    if not isinstance(encoder, Encoder):
        raise ConfigError("there is no encoder in this module", received=type(module).__name__)
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            states = encoder(
                batch.input_ids,
                attention_mask=batch.attention_mask,
                token_type_ids=batch.token_type_ids,
                position_ids=batch.position_ids,
                sequence_starts=batch.sequence_starts,
            ).last_hidden_state
    finally:
        encoder.train(training)
    return state_rank(states if batch.attention_mask is None else states[batch.attention_mask.bool()])


def state_rank(states: Tensor) -> HiddenStateRank:
    """Measure states, [..., H]; at least two of them."""
    rows = states.detach().reshape(-1, states.shape[-1])
    rows = rows[:: -(-len(rows) // _MOST_TOKENS)].double()
    unit = torch.nn.functional.normalize(rows, dim=-1)
    count = len(unit)
    together = unit.sum(dim=0)
    cosine = (together @ together - unit.square().sum()) / (count * (count - 1))
    # singular values by the smaller Gram matrix: what rounding turns negative is 0
    gram = rows.t() @ rows if count >= rows.shape[1] else rows @ rows.t()
    values = torch.linalg.eigvalsh(gram).clamp_min(0.0).sqrt()
    shares = values / values.sum().clamp_min(torch.finfo(torch.float64).tiny)
    entropy = torch.special.entr(shares).sum()
    return HiddenStateRank(
        effective_rank=float(entropy.exp()),
        mean_cosine=float(cosine.clamp(-1.0, 1.0)),
        width=rows.shape[1],
        tokens=count,
    )
