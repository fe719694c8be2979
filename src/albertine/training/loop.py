"""The one training loop: any module, any loss of named parts, any batches; it knows no task.

A run is a function of its configuration: the examples of a step come from the step's number, dropout is seeded from
the run's seed and the step's number, evaluations draw no random numbers. So a run that was interrupted and resumed
ends with the very weights of one that was not (on one machine, at one precision and number of threads), unless its
budget is in minutes.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from albertine.errors import FailureError
from albertine.inference.precision import Precision, autocast, choose_precision
from albertine.records import Batch
from albertine.tasks.task import LossFunction, LossPart
from albertine.training.checkpointing import Checkpoints, LoopState, check_identity
from albertine.training.config import TrainingConfig
from albertine.training.gradients import accumulate, memory_errors
from albertine.training.interrupts import Interrupts
from albertine.training.log import LogPoint, TrainingLog
from albertine.training.optimizers import build_optimizer, set_learning_rate, step_unless
from albertine.training.progress import ProgressCallback, TrainingProgress
from albertine.training.schedule import Budget, learning_rate_factor

__all__ = ["TrainingResult", "fit"]

logger = logging.getLogger("albertine")

BAD_STEPS_IN_ROW = 5
"""So many steps in a row without a finite loss and gradient end a run."""
SECONDS_BETWEEN_CHECKPOINTS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What came of a run; the module holds the weights of the best evaluation, or the last ones without any."""

    steps: int
    """Optimizer steps taken."""
    examples: int
    """Training examples seen, repetitions counted."""
    tokens: int
    """Real tokens seen, padding not counted."""
    seconds: float
    """Training time, evaluations not counted."""
    evaluation_seconds: float
    best_metric: float | None
    """Main metric on the development split at the kept weights; None without evaluations."""
    best_step: int
    """The step the kept weights are of."""
    skipped_steps: int
    """Steps left out because a loss or a gradient was not finite."""
    stopped_early: bool
    resumed_from: int | None
    """The step an earlier part of the run had reached; None where this is the first part."""
    precision: Precision
    curve: tuple[LogPoint, ...]

    @property
    def tokens_per_second(self) -> float:
        """Real tokens over training time."""
        return self.tokens / self.seconds if self.seconds else 0.0


def fit(
    module: nn.Module,
    loss: LossFunction,
    batches: Callable[[int], Sequence[Batch]],
    *,
    config: TrainingConfig,
    learning_rate: float,
    total_steps: int | None,
    folder: Path,
    evaluate: Callable[[Precision], float] | None = None,
    sanity_check: Callable[[Precision], object] | None = None,
    greater_is_better: bool = True,
    identity: Mapping[str, object] | None = None,
    resume: bool = True,
    progress: ProgressCallback | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainingResult:
    """Train `module` in place, or go on training it where an interrupted run stopped.

    Args:
        module: what to train, in fp32, on its device; a resumed run needs it built as the first time.
        loss: the module's loss on a batch.
        batches: the micro-batches of a step, counted from 0; a function of the step's number alone.
        config: how to train; its budget counts through `total_steps` and `minutes`, its `learning_rate` is not read.
        learning_rate: the highest learning rate.
        total_steps: the budget in steps; None where `config.minutes` bounds the run.
        folder: `checkpoints/last.safetensors`, `checkpoints/best.safetensors` and `log.jsonl` go there.
        evaluate: from the precision of the run to the main metric on the development split; None without one.
        sanity_check: called once before the first step, so that an evaluation that cannot work fails now and not
            after an hour.
        greater_is_better: direction of the metric.
        identity: what else, besides `config` and `learning_rate`, must agree for a run to be continued; JSON values.
        resume: continue from `folder` where something stands there; False begins again.
        progress: called after every step.
        clock: seconds, monotonic.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; the last checkpoint was saved first.
        ConfigError: another training stands in `folder`.
        FailureError: losses stayed non-finite, memory ran out, or the disk is full.
    """
    everything = {**(identity or {}), "training": config.to_dict(), "learning_rate": learning_rate}
    run = _Run(module, loss, batches, config, learning_rate, Budget.of(config, total_steps), folder, clock)
    run.evaluate, run.greater_is_better, run.progress = evaluate, greater_is_better, progress
    resumed_from = run.start(everything, resume=resume)
    if run.state.step == 0 and sanity_check is not None:
        sanity_check(run.precision)
    with run.interrupts.caught(), torch.random.fork_rng(devices=_cuda_devices(run.device)):
        run.train()
    if run.state.best_metric is not None and run.state.best_step != run.state.step:
        run.checkpoints.load_best(module)
    module.eval()
    state = run.state
    return TrainingResult(
        steps=state.step,
        examples=state.examples,
        tokens=state.tokens,
        seconds=state.seconds,
        evaluation_seconds=state.evaluation_seconds,
        best_metric=state.best_metric,
        best_step=state.step if state.best_metric is None else state.best_step,
        skipped_steps=int(state.skipped),
        stopped_early=state.stopped_early,
        resumed_from=resumed_from,
        precision=run.precision,
        curve=tuple(run.log.points),
    )


class _Run:
    """One run: the module, the optimizer, and where they stand."""

    evaluate: Callable[[Precision], float] | None
    greater_is_better: bool
    progress: ProgressCallback | None
    log: TrainingLog
    precision: Precision

    def __init__(
        self,
        module: nn.Module,
        loss: LossFunction,
        batches: Callable[[int], Sequence[Batch]],
        config: TrainingConfig,
        learning_rate: float,
        budget: Budget,
        folder: Path,
        clock: Callable[[], float],
    ) -> None:
        self.module = module
        self.loss = loss
        self.batches = batches
        self.config = config
        self.learning_rate = learning_rate
        self.budget = budget
        self.folder = folder
        self.clock = clock
        self.optimizer = build_optimizer(module, config)
        self.parameters = [one for one in module.parameters() if one.requires_grad]
        self.device = self.parameters[0].device
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.interrupts = Interrupts()
        self.state = LoopState()
        # sum of losses, steps in it, steps skipped, steps skipped in a row: kept on the device, read when logging
        self.sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        self.saved_at = clock()
        self.between_steps = True

    def start(self, identity: dict[str, object], *, resume: bool) -> int | None:
        """Take up what stands in the folder; return the step reached there, None for a fresh start."""
        found = self.checkpoints.read_state() if resume else None
        if found is None:
            self.checkpoints.remove()
            self.state = LoopState(identity=identity)
            self.state.precision = choose_precision(self.device, self.config.precision)
        else:
            check_identity(found.identity, identity, where=str(self.folder))
            self.checkpoints.load_last(self.module, self.optimizer)
            self.state = found
            counted = (found.loss_sum, found.loss_steps, found.skipped, found.skipped_in_row)
            self.sums.copy_(torch.tensor(counted, dtype=torch.float64))
            logger.info("continuing at step %d", found.step)
        self.precision = "bf16" if self.state.precision == "bf16" else "fp32"
        self.log = TrainingLog(self.folder / "log.jsonl", keep=self.state.log_lines)
        return None if found is None else found.step

    def train(self) -> None:
        """Take steps until the budget is used or the run stops early; save before passing an interruption on."""
        self.module.train()
        try:
            while not self.state.finished:
                self.interrupts.check()
                self.look_around()
                if self.over():
                    self.state.finished = True
                    self.save()
                    break
                with self.training_time():
                    self.between_steps = False
                    self.step()
                    self.between_steps = True
                self.tell()
        except KeyboardInterrupt:
            if self.between_steps:
                self.save()
                logger.warning("interrupted at step %d; the same command continues there", self.state.step)
            raise

    def over(self) -> bool:
        """Say whether the run has come to its end."""
        return self.state.stopped_early or self.budget.progress(self.state.step, self.state.seconds) >= 1.0

    def look_around(self) -> None:
        """Do what is due between two steps: evaluate, record a point of the curve, save."""
        state, budget = self.state, self.budget
        over = self.over() and state.step > 0
        evaluations = budget.evaluations_due(state.step, state.seconds)
        points = budget.logs_due(state.step, state.seconds)
        metric = None
        evaluated = self.evaluate is not None and (
            evaluations > state.evaluations or (over and not state.stopped_early)
        )
        if evaluated:
            metric = self.evaluation()
            state.evaluations = evaluations
        if evaluated or points > state.points or over:
            state.points = points
            self.record(metric)
        if evaluated or self.clock() - self.saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            self.save()

    def step(self) -> None:
        """Fetch, forward, loss over the weight of all micro-batches, backward, clip, finite check, step, maybe read."""
        state = self.state
        micro_batches = self.batches(state.step)
        _seed(self.config.seed, state.step)
        state.learning_rate = self.rate()
        set_learning_rate(self.optimizer, state.learning_rate)
        with memory_errors():
            loss = accumulate(self.parts, [batch.to(self.device) for batch in micro_batches], self.parameters)
            limit = math.inf if self.config.max_grad_norm is None else self.config.max_grad_norm
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit)
            bad = ~(torch.isfinite(loss) & torch.isfinite(norm))
            step_unless(self.optimizer, bad)
            self.optimizer.zero_grad(set_to_none=True)
        self.count(loss, bad)
        state.step += 1
        state.examples += sum(len(batch) for batch in micro_batches)
        state.tokens += sum(batch.token_count for batch in micro_batches)
        # on the processor nothing runs ahead, so that reading costs nothing; elsewhere it would hold up the next step
        if self.device.type == "cpu" or self.budget.logs_due(state.step, state.seconds) > state.points:
            self.read_counts()

    def rate(self) -> float:
        """Return the learning rate of the step to come."""
        where = self.budget.rate_progress(self.state.step, self.state.seconds)
        factor = learning_rate_factor(where, warmup=self.config.warmup, schedule=self.config.schedule)
        return self.learning_rate * factor

    def parts(self, batch: Batch) -> dict[str, LossPart]:
        """Run the module forward."""
        with autocast(self.precision, self.device):
            return self.loss(self.module, batch)

    def count(self, loss: Tensor, bad: Tensor) -> None:
        """Add a step to the sums, without waiting for the device."""
        skipped = bad.to(torch.float64)
        finite = torch.where(bad, 0.0, loss.to(torch.float64))
        in_row = (self.sums[3] + 1.0) * skipped
        self.sums = torch.stack([self.sums[0] + finite, self.sums[1] + 1.0 - skipped, self.sums[2] + skipped, in_row])

    def read_counts(self) -> None:
        """Bring the sums to the host and stop a run that no longer learns."""
        state = self.state
        state.loss_sum, state.loss_steps, state.skipped, state.skipped_in_row = self.sums.tolist()
        if state.skipped_in_row >= BAD_STEPS_IN_ROW:
            raise FailureError(
                f"the loss or its gradient was not finite in {state.skipped_in_row:.0f} steps in a row",
                where=f"step {state.step}, learning rate {state.learning_rate:.2g}, {self.precision}",
                next_step="Lower --learning-rate or choose --precision fp32, and begin again with --restart",
            )

    def evaluation(self) -> float | None:
        """Measure, keep the weights if they are the best so far, and count towards stopping early."""
        assert self.evaluate is not None
        state, begun = self.state, self.clock()
        self.module.eval()
        with self.interrupts.at_once():
            metric = self.evaluate(self.precision)
        self.module.train()
        state.evaluation_seconds += self.clock() - begun
        best = state.best_metric
        ahead = metric if self.greater_is_better else -metric
        behind = -math.inf if best is None else best if self.greater_is_better else -best
        # of equals the later one is kept: small development splits know few values, and the later has seen more
        state.without_gain = 0 if ahead > behind else state.without_gain + 1
        if math.isfinite(metric) and ahead >= behind:
            state.best_metric, state.best_step = metric, state.step
            self.checkpoints.save_best(self.module, state)
        patience = self.config.early_stopping
        if patience is not None and state.without_gain >= patience:
            state.stopped_early = True
            logger.info("stopped early at step %d: %d evaluations without a gain", state.step, state.without_gain)
        return metric if math.isfinite(metric) else None

    def record(self, metric: float | None) -> None:
        """Write a point of the curve and start its sums anew."""
        state = self.state
        self.read_counts()
        if state.loss_steps:
            state.last_loss = state.loss_sum / state.loss_steps
        self.sums[:2] = 0.0
        state.loss_sum = state.loss_steps = 0.0
        if metric is not None:
            state.last_metric = metric
        if state.last_loss is None or (state.log_step == state.step and metric is None):
            return
        self.log.append(
            LogPoint(
                step=state.step,
                examples=state.examples,
                tokens=state.tokens,
                seconds=round(state.seconds, 3),
                loss=state.last_loss,
                learning_rate=state.learning_rate,
                dev_metric=metric,
            )
        )
        state.log_step = state.step
        state.log_lines = len(self.log.points)

    def save(self) -> None:
        """Write the last checkpoint."""
        self.read_counts()
        self.checkpoints.save_last(self.module, self.optimizer, self.state)
        self.saved_at = self.clock()

    def tell(self) -> None:
        """Call back."""
        if self.progress is None:
            return
        state = self.state
        fraction = self.budget.progress(state.step, state.seconds)
        seconds = max(state.seconds, 1e-9)
        self.progress(
            TrainingProgress(
                step=state.step,
                total_steps=self.budget.steps,
                fraction=fraction,
                examples=state.examples,
                examples_per_second=state.examples / seconds,
                tokens_per_second=state.tokens / seconds,
                loss=state.last_loss if not state.loss_steps else state.loss_sum / state.loss_steps,
                dev_metric=state.last_metric,
                seconds=state.seconds,
                seconds_left=state.seconds * (1.0 - fraction) / fraction if fraction else None,
            )
        )

    @contextmanager
    def training_time(self) -> Iterator[None]:
        """Count the time of the block as training."""
        begun = self.clock()
        yield
        self.state.seconds += self.clock() - begun


def _seed(seed: int, step: int) -> None:
    """Make everything random in a step (dropout, a method's noise) a function of the run's seed and the step."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]))


def _cuda_devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
