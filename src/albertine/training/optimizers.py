"""AdamW over a module's parameters, with its state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from albertine.errors import CheckpointError
from albertine.training.config import TrainingConfig

__all__ = ["build_optimizer", "load_optimizer_tensors", "optimizer_tensors", "set_learning_rate", "step_unless"]


def build_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Build AdamW (Loshchilov and Hutter 2019) with weight decay on matrices only.

    Biases, LayerNorm weights and other vectors are not decayed, as in BERT's own optimizer. Parameters that do not
    require gradients are left out. The learning rate is set before every step by `set_learning_rate`.
    """
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            (decayed if parameter.ndim >= 2 else plain).append(parameter)
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=0.0,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def step_unless(optimizer: torch.optim.Optimizer, bad: Tensor) -> None:
    """Take one step, or leave weights and moments as they are where `bad` (a scalar) is true.

    The fused kernels decide on the device, by the flag through which gradient scalers reach them: the host need not
    wait for the answer.
    """
    optimizer.found_inf = bad.to(torch.float32)  # type: ignore[attr-defined]  # where fused optimizers look for it
    optimizer.step()


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as `PARAMETER.MOMENT` named tensors (views)."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}.{key}"] = value
    return tensors


def load_optimizer_tensors(
    module: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], *, where: str
) -> None:
    """Put back what `optimizer_tensors` returned.

    Raises:
        CheckpointError: the tensors belong to another model.
    """
    parameters = dict(module.named_parameters())
    for name, value in tensors.items():
        parameter_name, _, key = name.rpartition(".")
        parameter = parameters.get(parameter_name)
        if parameter is None or (value.ndim > 0 and value.shape != parameter.shape):
            raise CheckpointError(
                "the optimizer's state does not fit the model",
                where=where,
                received=f"{name} {tuple(value.shape)}",
                next_step="Start over with --restart, or give another --out",
            )
        optimizer.state[parameter][key] = value.to(parameter.device, copy=True)
