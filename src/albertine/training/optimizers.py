"""AdamW and LAMB over a module's parameters, with their state as named tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from albertine.errors import CheckpointError
from albertine.training.config import TrainingConfig

__all__ = [
    "Lamb",
    "build_optimizer",
    "lamb_step",
    "load_optimizer_tensors",
    "optimizer_tensors",
    "set_learning_rate",
    "step_unless",
]


class Lamb(torch.optim.Optimizer):
    """LAMB (You et al. 2020) as ALBERT was pretrained with it.

    Adam's step (plus decoupled weight decay) is scaled, matrix by matrix, by the norm of the matrix over the norm of
    the step, so that no matrix moves by more than its share however large the batch and the rate. As in Google's code
    there is no bias correction (warm-up takes its place), the ratio is not clipped, it is 1 where one of the norms is
    0, and groups without decay (biases, LayerNorm) are not scaled.

    Args:
        groups: parameter groups, each with its `weight_decay` and whether it is `adapted`.
        betas: decays of the means of gradients and of squared gradients.
        epsilon: added to the root of the latter.
    """

    found_inf: Tensor | None = None
    """Set by `step_unless`: a scalar above 0 leaves weights and moments as they are."""

    def __init__(self, groups: list[dict[str, object]], *, betas: tuple[float, float], epsilon: float) -> None:
        self._moves: dict[Tensor, Tensor] = {}
        super().__init__(groups, {"lr": 0.0, "betas": betas, "eps": epsilon, "weight_decay": 0.0, "adapted": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # nobody reads a loss from it
        """Take a step with the gradients as they stand."""
        assert closure is None, "the loop computes gradients itself"
        skip = self.found_inf
        if skip is not None and skip.device.type == "cpu":
            if skip:
                return
            skip = None
        for group in self.param_groups:
            parameters = [one for one in group["params"] if one.grad is not None]
            if not parameters:
                continue
            for one in parameters:
                if not self.state[one]:
                    self.state[one] = {"exp_avg": torch.zeros_like(one), "exp_avg_sq": torch.zeros_like(one)}
                if one not in self._moves:
                    # kept between steps, since fresh memory costs more than the arithmetic; no part of the state
                    self._moves[one] = torch.empty_like(one)
            lamb_step(
                parameters,
                [one.grad for one in parameters],
                [self.state[one]["exp_avg"] for one in parameters],
                [self.state[one]["exp_avg_sq"] for one in parameters],
                [self._moves[one] for one in parameters],
                rate=group["lr"],
                betas=group["betas"],
                epsilon=group["eps"],
                weight_decay=group["weight_decay"],
                adapted=group["adapted"],
                skip=skip,
            )


def lamb_step(
    parameters: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    moves: list[Tensor],
    *,
    rate: float,
    betas: tuple[float, float],
    epsilon: float,
    weight_decay: float,
    adapted: bool,
    skip: Tensor | None = None,
) -> None:
    """Take a step of LAMB in place, many tensors at once.

    Args:
        parameters: what is moved.
        gradients: theirs.
        means: of gradients, so far.
        squares: means of squared gradients, so far.
        moves: room of the same shapes; overwritten.
        rate: the learning rate.
        betas: how much of both means is kept.
        epsilon: added to the root of `squares`.
        weight_decay: share of a parameter that is added to its step.
        adapted: whether the step is scaled by the ratio of norms.
        skip: a scalar on the device; above 0 nothing changes, and the host need not know.
    """
    if skip is None:
        torch._foreach_lerp_(means, gradients, 1.0 - betas[0])
        torch._foreach_mul_(squares, betas[1])
        torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - betas[1])
    else:
        # a mean that is moved towards itself stays
        for mean, square, gradient in zip(means, squares, gradients, strict=True):
            mean.lerp_(torch.where(skip > 0, mean, gradient), 1.0 - betas[0])
            square.lerp_(torch.where(skip > 0, square, gradient * gradient), 1.0 - betas[1])
    torch._foreach_copy_(moves, squares)
    torch._foreach_sqrt_(moves)
    torch._foreach_add_(moves, epsilon)
    torch._foreach_reciprocal_(moves)
    torch._foreach_mul_(moves, means)
    if weight_decay:
        torch._foreach_add_(moves, parameters, alpha=weight_decay)
    if adapted:
        sizes, lengths = torch._foreach_norm(parameters), torch._foreach_norm(moves)
        for move, size, length in zip(moves, sizes, lengths, strict=True):
            move.mul_(torch.where((size > 0) & (length > 0), size / length, 1.0))
    if skip is not None:
        torch._foreach_mul_(moves, (skip == 0).to(moves[0].dtype))
    torch._foreach_add_(parameters, moves, alpha=-rate)


def build_optimizer(
    module: nn.Module, config: TrainingConfig, rate_scale: Callable[[str], float] | None = None
) -> torch.optim.Optimizer:
    """Build AdamW (Loshchilov and Hutter 2019) or LAMB with weight decay on matrices only.

    Biases, LayerNorm weights and other vectors are not decayed, as in BERT's own optimizer. Parameters that do not
    require gradients are left out. The learning rate is set before every step by `set_learning_rate`.

    Args:
        module: what is trained.
        config: how.
        rate_scale: what multiplies the learning rate of a parameter, by its name; None for 1 everywhere.
    """
    members: dict[tuple[bool, float], list[nn.Parameter]] = {(True, 1.0): [], (False, 1.0): []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            key = (parameter.ndim >= 2, 1.0 if rate_scale is None else rate_scale(name))
            members.setdefault(key, []).append(parameter)
    groups: list[dict[str, object]] = [
        {"params": own, "weight_decay": config.weight_decay if decayed else 0.0, "scale": scale, "adapted": decayed}
        for (decayed, scale), own in members.items()
    ]
    betas = (config.beta1, config.beta2)
    if config.optimizer == "lamb":
        return Lamb(groups, betas=betas, epsilon=config.optimizer_epsilon)
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=config.optimizer_epsilon, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every parameter group, each by its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


def step_unless(optimizer: torch.optim.Optimizer, bad: Tensor) -> None:
    """Take one step, or leave weights and moments as they are where `bad` (a scalar) is true.

    Both optimizers decide on the device, by the flag through which gradient scalers reach fused kernels: the host need
    not wait for the answer.
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
