"""The one training loop: any module, any loss of named parts, any batches; it knows no task.

A run is a function of its configuration: the examples of a step come from the step's number, dropout is seeded from
the run's seed, the step's number and the micro-batch's place in the step, evaluations draw no random numbers. So a run
that was interrupted and resumed ends with the very weights of one that was not (on one machine, at one precision and
number of threads), unless its budget is in minutes. Several processes share the micro-batches of a step and come to the
weights of one process up to rounding, as long as the step is cut into the same micro-batches.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import nn

from albertine.errors import FailureError
from albertine.inference.precision import Precision, autocast
from albertine.tasks.task import LossPart
from albertine.training.averaging import averaged, update_averages
from albertine.training.checkpointing import LoopState
from albertine.training.config import TrainingConfig
from albertine.training.gradients import OutOfMemory, StepGradients, StepLoss, TrainingBatch, memory_errors
from albertine.training.interrupts import Interrupts
from albertine.training.log import LogPoint
from albertine.training.optimizers import set_learning_rate, step_unless
from albertine.training.processes import SINGLE, Processes
from albertine.training.progress import ProgressCallback
from albertine.training.reporting import Reports, interventions
from albertine.training.result import TrainingResult
from albertine.training.schedule import Budget, learning_rate_factor
from albertine.training.standing import Standing
from albertine.training.verdicts import Watch

__all__ = ["TrainingResult", "fit"]

logger = logging.getLogger("albertine")

BAD_STEPS_IN_ROW = 5
"""So many steps in a row without a finite loss and gradient end a run."""

B = TypeVar("B", bound=TrainingBatch)


def fit(
    module: nn.Module,
    loss: Callable[[nn.Module, B], dict[str, LossPart]],
    batches: Callable[[int], Sequence[B]],
    *,
    config: TrainingConfig,
    learning_rate: float,
    total_steps: int | None,
    folder: Path,
    evaluate: Callable[[Precision], Mapping[str, float]] | None = None,
    main_metric: str | None = None,
    sanity_check: Callable[[Precision], object] | None = None,
    greater_is_better: bool = True,
    identity: Mapping[str, object] | None = None,
    resume: bool = True,
    progress: ProgressCallback | None = None,
    clock: Callable[[], float] = time.perf_counter,
    processes: Processes = SINGLE,
    weigh: Callable[[B], Mapping[str, float]] | None = None,
    watch: Watch | None = None,
    observers: Sequence[Callable[[LogPoint], None]] = (),
    smaller: Callable[[], int | None] | None = None,
    rate_scale: Callable[[str], float] | None = None,
    average: float | None = None,
) -> TrainingResult:
    """Train `module` in place, or go on training it where an interrupted run stopped.

    Args:
        module: what to train, in fp32, on its device; a resumed run needs it built as the first time.
        loss: the module's loss on a batch.
        batches: the micro-batches of a step, counted from 0; a function of the step's number alone, the same in every
            process. A process looks at its own share of the sequence only, so that a lazy one saves it the rest.
        config: how to train; its budget counts through `total_steps`, `tokens` and `minutes`, its `learning_rate` is
            not read.
        learning_rate: the highest learning rate.
        total_steps: the budget in steps; None where `config.minutes` or `config.tokens` bounds the run.
        folder: `checkpoints/last.safetensors`, `checkpoints/best.safetensors` and `log.jsonl` go there.
        evaluate: from the precision of the run to named metrics on the development split; None without one.
        main_metric: which of them decides which weights are kept.
        sanity_check: called once before the first step, so that an evaluation that cannot work fails now and not
            after an hour.
        greater_is_better: direction of the metric.
        identity: what else, besides `config` and `learning_rate`, must agree for a run to be continued; JSON values.
        resume: continue from `folder` where something stands there; False begins again.
        progress: called after every step.
        clock: seconds, monotonic.
        processes: those that share the work; only the first writes, evaluates and calls back.
        weigh: the weights of the loss's parts of a batch, without running the module; makes steps of several
            micro-batches and parts cheaper.
        watch: shown every point of the curve; its verdicts are carried out. A resumed run shows it the earlier points
            again, so that it remembers, and passes over what it says of them.
        observers: shown every new point of the curve too.
        smaller: called when memory runs out: has `batches` cut the steps to come into more micro-batches, and returns
            into how many, or None where it cannot. The step is then taken again; its result is the same but for
            dropout.
        rate_scale: what multiplies the learning rate of a parameter, by its name; None for 1 everywhere.
        average: evaluate and keep a moving average of the weights, of which a step keeps this share; None without one.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; the last checkpoint was saved first.
        ConfigError: another training stands in `folder`.
        FailureError: losses stayed non-finite, memory ran out, the disk is full, or another process ended.
    """
    standing = Standing(module, config, folder, processes, clock, rate_scale=rate_scale, average=average)
    budget = Budget.of(config, total_steps)
    reports = Reports(standing, budget, progress=progress, observers=observers, watch=watch)
    run = _Run(standing, reports, loss, batches, learning_rate, budget, clock, weigh)
    assert evaluate is None or main_metric is not None, "one of the metrics decides"
    run.smaller = smaller
    run.evaluate, run.main_metric, run.greater_is_better = evaluate, main_metric or "", greater_is_better
    everything = {**(identity or {}), "training": config.identity(), "learning_rate": learning_rate}
    resumed_from = standing.start(everything, resume=resume)
    if standing.state.step == 0 and sanity_check is not None:
        processes.on_first(lambda: _only_done(sanity_check, standing.precision))
    reports.prepare(fresh=resumed_from is None)
    with run.interrupts.caught(), torch.random.fork_rng(devices=_cuda_devices(standing.device)):
        run.train()
    standing.settle()
    module.eval()
    return _result(standing, resumed_from)


class _Run(Generic[B]):
    """One run: steps, and what is done between them."""

    evaluate: Callable[[Precision], Mapping[str, float]] | None
    main_metric: str
    greater_is_better: bool
    smaller: Callable[[], int | None] | None = None

    def __init__(
        self,
        standing: Standing,
        reports: Reports,
        loss: Callable[[nn.Module, B], dict[str, LossPart]],
        batches: Callable[[int], Sequence[B]],
        learning_rate: float,
        budget: Budget,
        clock: Callable[[], float],
        weigh: Callable[[B], Mapping[str, float]] | None,
    ) -> None:
        self.standing = standing
        self.reports = reports
        self.module = standing.module
        self.config = standing.config
        self.processes = standing.processes
        self.loss = loss
        self.batches = batches
        self.learning_rate = learning_rate
        self.budget = budget
        self.clock = clock
        self.gradients = StepGradients(self.parts, standing.parameters, self.processes, standing.device, weigh)
        self.interrupts = Interrupts()
        self.save_due = False
        self.between_steps = True

    @property
    def state(self) -> LoopState:
        """Where the run stands; another object after going back."""
        return self.standing.state

    def train(self) -> None:
        """Take steps until the budget is used or the run stops early; save before passing an interruption on."""
        self.module.train()
        try:
            while not self.state.finished:
                self.agree()
                self.look_around()
                if self.over():
                    self.state.finished = True
                    self.standing.save()
                    break
                with self.training_time():
                    self.between_steps = False
                    self.step()
                    self.between_steps = True
                self.reports.tell()
        except KeyboardInterrupt:
            if self.between_steps and self.processes.first:
                self.standing.write()
                logger.warning("interrupted at step %d; the same command continues there", self.state.step)
            raise

    def agree(self) -> None:
        """Settle what must be alike in every process: an interruption of any of them, the first one's clock.

        Raises:
            KeyboardInterrupt: one of them was asked to end.
        """
        asked = 0.0
        try:
            self.interrupts.check()
        except KeyboardInterrupt:
            asked = 1.0
        first = float(self.processes.first)
        by_time = first * (self.standing.seconds_since_save() > self.config.checkpoint_seconds)
        agreed = torch.tensor([asked, by_time, first * self.state.seconds], dtype=torch.float64)
        self.processes.all_sum([agreed])
        asked, by_time, self.state.seconds = agreed.tolist()
        if asked:
            raise KeyboardInterrupt
        self.save_due = bool(by_time) or self.standing.save_due()

    def over(self) -> bool:
        """Say whether the run has come to its end."""
        return self.state.stopped_early or self.budget.progress(*self.used()) >= 1.0

    def used(self) -> tuple[int, float, int]:
        """Return what is used of the budget: steps, seconds, tokens."""
        return self.state.step, self.state.seconds, self.state.tokens

    def look_around(self) -> None:
        """Do what is due between two steps: evaluate, record a point of the curve, heed a verdict on it, save."""
        state = self.state
        over = self.over() and state.step > 0
        evaluations = self.budget.evaluations_due(*self.used())
        points = self.budget.logs_due(*self.used())
        metrics: Mapping[str, float] = {}
        evaluated = self.evaluate is not None and (
            evaluations > state.evaluations or (over and not state.stopped_early)
        )
        if evaluated:
            metrics = self.evaluation()
            state.evaluations = evaluations
        if evaluated or points > state.points or over:
            state.points = points
            self.read_sums()
            point = self.reports.record(metrics, self.main_metric)
            if point is not None and self.reports.heed(point):
                return
        if evaluated or self.save_due:
            self.standing.save()

    def step(self) -> None:
        """Fetch, forward, loss over the weight of all micro-batches, backward, clip, finite check, step, maybe read."""
        state = self.state
        loss = self.loss_of_step()
        with memory_errors():
            state.learning_rate = self.rate(loss.tokens)
            set_learning_rate(self.standing.optimizer, state.learning_rate)
            limit = math.inf if self.config.max_grad_norm is None else self.config.max_grad_norm
            norm = torch.nn.utils.clip_grad_norm_(self.standing.parameters, limit)
            bad = ~(torch.isfinite(loss.loss) & torch.isfinite(norm))
            step_unless(self.standing.optimizer, bad)
            if self.standing.average is not None:
                update_averages(self.standing.parameters, self.standing.optimizer, self.standing.average, state.step)
            self.standing.optimizer.zero_grad(set_to_none=True)
        self.standing.sums.add(loss, norm, bad)
        state.step += 1
        state.examples += loss.examples
        state.tokens += loss.tokens
        if state.step == self.config.warmup_steps:
            state.warmed_up_at = self.budget.progress(*self.used())
        # on the processor nothing runs ahead, so that reading costs nothing; elsewhere it would hold up the next step
        if self.standing.device.type == "cpu" or self.budget.logs_due(*self.used()) > state.points:
            self.read_sums()

    def loss_of_step(self) -> StepLoss:
        """Leave the gradients of the step in the parameters; in smaller parts where memory runs out."""
        while True:
            try:
                with memory_errors():
                    return self.gradients(self.batches(self.state.step))
            except OutOfMemory:
                self.standing.optimizer.zero_grad(set_to_none=True)
                # several processes would have to agree on it in the middle of a step
                parts = self.smaller() if self.smaller is not None and self.processes.world == 1 else None
                if parts is None:
                    raise
                if self.standing.device.type == "cuda":
                    torch.cuda.empty_cache()
                logger.warning("memory ran out: from step %d on every step is cut into %d", self.state.step, parts)

    def rate(self, tokens: int) -> float:
        """Return the learning rate of the step to come, which has so many tokens."""
        state, config = self.state, self.config
        warmup, ramp = config.warmup, 1.0
        where = self.budget.rate_progress(*self.used(), tokens)
        if config.warmup_steps is not None:
            warmup = state.warmed_up_at
            if state.step < config.warmup_steps:
                ramp, where = (state.step + 0.5) / config.warmup_steps, 0.0
        factor = learning_rate_factor(where, warmup=warmup, schedule=config.schedule, cooldown=config.cooldown)
        return self.learning_rate * state.rate_factor * ramp * factor

    def parts(self, batch: B, place: int) -> dict[str, LossPart]:
        """Run the module forward on the micro-batch of that place in the step."""
        _seed(self.config.seed, self.state.step, place)
        with autocast(self.standing.precision, self.standing.device):
            return self.loss(self.module, batch)

    def read_sums(self) -> None:
        """Bring the sums to the host and stop a run that no longer learns."""
        state = self.state
        self.standing.sums.read(state)
        if state.skipped_in_row >= BAD_STEPS_IN_ROW:
            raise FailureError(
                f"the loss or its gradient was not finite in {state.skipped_in_row:.0f} steps in a row",
                where=f"step {state.step}, learning rate {state.learning_rate:.2g}, {state.precision}",
                next_step="Lower --learning-rate or choose --precision fp32, and begin again with --restart",
            )

    def evaluation(self) -> Mapping[str, float]:
        """Measure, keep the weights if they are the best so far, and count towards stopping early.

        Returns:
            The finite metrics.
        """
        with averaged(self.standing.parameters, self.standing.optimizer):
            return self.evaluation_of_these()

    def evaluation_of_these(self) -> Mapping[str, float]:
        """Do so with the weights as they stand in the module."""
        state, begun = self.state, self.clock()
        self.module.eval()
        metrics = self.processes.on_first(self.measured)
        metric = metrics[self.main_metric]
        self.module.train()
        state.evaluation_seconds += self.clock() - begun
        best = state.best_metric
        ahead = metric if self.greater_is_better else -metric
        behind = -math.inf if best is None else best if self.greater_is_better else -best
        # of equals the later one is kept: small development splits know few values, and the later has seen more
        state.without_gain = 0 if ahead > behind else state.without_gain + 1
        if math.isfinite(metric) and ahead >= behind:
            state.best_metric, state.best_step = metric, state.step
            self.standing.save_best()
        patience = self.config.early_stopping
        if patience is not None and state.without_gain >= patience:
            state.stopped_early = True
            if self.processes.first:
                logger.info("stopped early at step %d: %d evaluations without a gain", state.step, state.without_gain)
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    def measured(self) -> dict[str, float]:
        """Return the metrics, or let an interruption end the measuring at once."""
        assert self.evaluate is not None
        with self.interrupts.at_once():
            return {name: float(value) for name, value in self.evaluate(self.standing.precision).items()}

    @contextmanager
    def training_time(self) -> Iterator[None]:
        """Count the time of the block as training."""
        begun = self.clock()
        yield
        self.state.seconds += self.clock() - begun


def _result(standing: Standing, resumed_from: int | None) -> TrainingResult:
    state = standing.state
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
        precision=standing.precision,
        curve=tuple(standing.log.points),
        stop_reason=state.stop_reason,
        interventions=interventions(state),
    )


def _only_done(check: Callable[[Precision], object], precision: Precision) -> None:
    """Run a check whose result is of no use, and no JSON value perhaps."""
    check(precision)


def _seed(seed: int, step: int, place: int) -> None:
    """Make everything random in a step (dropout, a method's noise) a function of the run's seed and where it is.

    Every micro-batch has noise of its own, so that it is the same on whichever process the micro-batch runs.
    """
    key = [seed, step, place] if place else [seed, step]
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))


def _cuda_devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
