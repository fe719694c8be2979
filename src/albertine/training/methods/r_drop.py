"""R-Drop: two passes with different dropout are to agree (Wu et al. 2021, arXiv:2106.14448)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from albertine.errors import ConfigError
from albertine.models.dropout import Dropout
from albertine.records import Batch
from albertine.tasks.task import LossFunction, LossPart, Method

__all__ = ["R_DROP", "r_drop"]

R_DROP = "r_drop"


def r_drop(weight: float, log_shares: Callable[[nn.Module, Tensor, Batch], Tensor]) -> Method:
    """Return the method.

    Every part of the loss becomes the mean of two passes, and a part of its own is the symmetric divergence of what
    they predict, `weight` times its mean over the predictions.

    Args:
        weight: alpha of equation 3.
        log_shares: a module, what it returned and the batch, to [M, K] log-probabilities of M predictions.
    """

    def method(loss: LossFunction) -> LossFunction:
        def wrapped(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
            if not any(_drops(one) for one in module.modules()):
                raise ConfigError(
                    "R-Drop compares two passes with different dropout, and this model has none",
                    where="r_drop",
                    next_step="Leave it out, or give the encoder's configuration a dropout",
                )
            seen: list[Tensor] = []
            handle = module.register_forward_hook(lambda _, __, returned: seen.append(returned))
            try:
                first = loss(module, batch)
                returned = [seen[-1]]  # a method inside of this one may run the module more than once
                second = loss(module, batch)
                returned.append(seen[-1])
            finally:
                handle.remove()
            parts = {
                name: LossPart(total=(part.total + second[name].total) / 2, weight=part.weight)
                for name, part in first.items()
            }
            one, other = (log_shares(module, each, batch) for each in returned)
            apart = functional.kl_div(one, other, log_target=True, reduction="sum")
            apart = apart + functional.kl_div(other, one, log_target=True, reduction="sum")
            parts[R_DROP] = LossPart(total=weight * apart / 2, weight=apart.new_tensor(len(one)))
            return parts

        return wrapped

    return method


def _drops(module: nn.Module) -> bool:
    """Say whether a module is a dropout that does something."""
    return (isinstance(module, nn.Dropout) and module.p > 0) or (isinstance(module, Dropout) and module.chance > 0)
