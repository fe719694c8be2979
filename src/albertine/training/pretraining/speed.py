"""What a pretraining step costs on this machine, measured on a copy of the module before a run starts."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from albertine.batching.pretraining_batch import PretrainingBatch
from albertine.evaluation.timing import peak_memory_bytes
from albertine.inference.precision import Precision, autocast
from albertine.tasks.pretraining import pretraining_loss
from albertine.tasks.task import LossPart
from albertine.training.config import TrainingConfig
from albertine.training.gradients import StepGradients, memory_errors
from albertine.training.optimizers import build_optimizer
from albertine.training.processes import SINGLE, Processes

__all__ = ["StepCost", "measure_cost"]

_SECONDS_EACH = 3.0
_LEAST_RUNS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """The cost of a step, the slowest of all processes."""

    seconds_per_token: tuple[float, ...]
    """Of forward and backward, for every phase's row length; in one process."""
    seconds_per_update: float
    """Of clipping and the optimizer, once a step."""
    memory_bytes: int
    """The most that one process takes."""


def measure_cost(
    module: nn.Module,
    batches: Sequence[Sequence[PretrainingBatch]],
    config: TrainingConfig,
    precision: Precision,
    processes: Processes,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> StepCost:
    """Take some steps on a copy of the module; the module itself and the random numbers stay as they are.

    All processes measure at the same time, as they will share cores and memory bandwidth.

    Args:
        module: what is to be trained, on its device.
        batches: for every phase one or more micro-batches of the size that the run will have.
        config: for the optimizer.
        precision: of the matrix products.
        processes: those of the run.
        clock: seconds, monotonic.

    Raises:
        FailureError: memory ran out.
    """
    device = next(module.parameters()).device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    tried = copy.deepcopy(module).train()
    parameters = [one for one in tried.parameters() if one.requires_grad]
    optimizer = build_optimizer(tried, config)

    def parts(batch: PretrainingBatch, _place: int) -> dict[str, LossPart]:
        with autocast(precision, device):
            return pretraining_loss(tried, batch)

    gradients = StepGradients[PretrainingBatch](parts, parameters, SINGLE, device)
    updates: list[float] = []

    def step(batch: PretrainingBatch) -> float:
        begun = clock()
        gradients([batch])
        _wait(device)
        between = clock()
        torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm or math.inf)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _wait(device)
        updates.append(clock() - between)
        return between - begun

    with memory_errors(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        costs = [_per_token(step, phase, clock) for phase in batches]
    copied = sum(one.numel() * one.element_size() for one in tried.parameters())
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory_bytes()
    told = processes.gather([*costs, statistics.median(updates), float(memory - copied)])
    slowest = [max(values) for values in zip(*told, strict=True)]
    return StepCost(
        seconds_per_token=tuple(slowest[: len(costs)]),
        seconds_per_update=slowest[-2],
        memory_bytes=round(slowest[-1]),
    )


def _per_token(
    step: Callable[[PretrainingBatch], float], batches: Sequence[PretrainingBatch], clock: Callable[[], float]
) -> float:
    """Return the median seconds a token of some steps, the first one left out, which pays for what is made once."""
    step(batches[0])
    costs: list[float] = []
    begun = clock()
    while len(costs) < _LEAST_RUNS or clock() - begun < _SECONDS_EACH:
        batch = batches[(len(costs) + 1) % len(batches)]
        costs.append(step(batch) / batch.token_count)
    return statistics.median(costs)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
