"""What is said of a run while it goes: points of the curve, progress, and the verdicts of whoever watches it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

from albertine.training.checkpointing import LoopState
from albertine.training.log import LogPoint
from albertine.training.progress import ProgressCallback, TrainingProgress
from albertine.training.schedule import Budget
from albertine.training.standing import Standing
from albertine.training.verdicts import Intervention, Verdict, Watch

__all__ = ["Reports", "interventions"]

logger = logging.getLogger("albertine")

ROLLBACKS_TO_ONE_STEP = 3
"""A verdict to go back to one checkpoint once more ends a run."""
LEAST_RATE_FACTOR = 0.002
"""Going back, each time with a lower rate, ends a run below this: what was kept is itself what went wrong."""


class Reports:
    """Tells the log, the observers, the watch and the progress callback; only in the first process.

    Args:
        standing: where the run stands.
        budget: what it may use.
        progress: called after every step.
        observers: shown every new point of the curve.
        watch: shown it too, and answers.
    """

    def __init__(
        self,
        standing: Standing,
        budget: Budget,
        *,
        progress: ProgressCallback | None,
        observers: Sequence[Callable[[LogPoint], None]],
        watch: Watch | None,
    ) -> None:
        self._standing = standing
        self._budget = budget
        self._progress = progress
        self._observers = observers
        self._watch = watch
        self._processes = standing.processes

    def prepare(self, *, fresh: bool) -> None:
        """Let the watch remember what an earlier part of the run showed it, and have something to go back to."""
        if self._watch is None:
            return
        if self._processes.first:
            for point in self._standing.log.points:
                self._watch(point)
        if fresh:
            self._standing.save()

    def record(self, metrics: Mapping[str, float], main: str) -> LogPoint | None:
        """Write a point of the curve and start its sums anew.

        Args:
            metrics: the finite ones of an evaluation; empty where there was none.
            main: the name of the main one.

        Returns:
            The point; None where it would say nothing new.
        """
        standing, state = self._standing, self._standing.state
        standing.sums.read(state)
        norm = None
        if state.loss_steps:
            norm = state.norm_sum / state.loss_steps
            state.last_loss = state.loss_sum / state.loss_steps
            state.last_parts = {name: total / (weight or 1.0) for name, (total, weight) in state.part_sums.items()}
        standing.sums.restart(state)
        metric = metrics.get(main)
        if metric is not None:
            state.last_metric = metric
        if state.last_loss is None or (state.log_step == state.step and not metrics):
            return None
        point = LogPoint(
            step=state.step,
            examples=state.examples,
            tokens=state.tokens,
            seconds=round(state.seconds, 3),
            loss=state.last_loss,
            learning_rate=state.learning_rate,
            dev_metric=metric,
            dev_metrics=metrics,
            parts=state.last_parts,
            gradient_norm=norm,
            note="; ".join(one.describe() for one in interventions(state)[state.told :]) or None,
        )
        self._processes.on_first(lambda: self._show(point))
        if not self._processes.first:
            standing.log.append(point)
        state.told = len(state.interventions)
        state.log_step = state.step
        state.log_lines = len(standing.log.points)
        return point

    def heed(self, point: LogPoint) -> bool:
        """Ask the watch about a new point and carry out what it says.

        Returns:
            Whether the run went back.
        """
        if self._watch is None:
            return False
        told = self._processes.on_first(lambda: self._asked(point))
        if told is None:
            return False
        verdict = Verdict(**told)  # type: ignore[arg-type]  # the values of one
        standing = self._standing
        back_to = None
        if verdict.action == "roll_back":
            standing.go_back()
            back_to = standing.state.log_step = standing.state.step
        state = standing.state
        if verdict.action in ("lower", "roll_back"):
            state.rate_factor *= verdict.factor
        done = Intervention(
            step=point.step,
            action=verdict.action,
            reason=verdict.reason,
            rate_factor=state.rate_factor,
            back_to=back_to,
        )
        state.interventions.append(dataclasses.asdict(done))
        if self._processes.first:
            logger.warning("step %d: %s", point.step, done.describe())
        if verdict.action == "stop":
            self._stop(verdict.reason)
        elif back_to is not None and self._times_back_to(back_to) > ROLLBACKS_TO_ONE_STEP:
            self._stop(f"going back to step {back_to} {ROLLBACKS_TO_ONE_STEP} times did not help: {verdict.reason}")
        elif back_to is not None and state.rate_factor < LEAST_RATE_FACTOR:
            times = sum(one.back_to is not None for one in interventions(state))
            self._stop(f"going back {times} times did not help: {verdict.reason}")
        if verdict.action != "continue":
            standing.save()  # a run that is killed now and resumed knows of it
        return back_to is not None

    def tell(self) -> None:
        """Call back after a step."""
        if self._progress is None or not self._processes.first:
            return
        state = self._standing.state
        fraction = self._budget.progress(state.step, state.seconds, state.tokens)
        seconds = max(state.seconds, 1e-9)
        sums = {name: total / (weight or 1.0) for name, (total, weight) in state.part_sums.items()}
        self._progress(
            TrainingProgress(
                step=state.step,
                total_steps=self._budget.steps,
                fraction=fraction,
                examples=state.examples,
                examples_per_second=state.examples / seconds,
                tokens_per_second=state.tokens / seconds,
                loss=state.last_loss if not state.loss_steps else state.loss_sum / state.loss_steps,
                dev_metric=state.last_metric,
                seconds=state.seconds,
                seconds_left=state.seconds * (1.0 - fraction) / fraction if fraction else None,
                parts=sums if state.loss_steps else state.last_parts,
            )
        )

    def _show(self, point: LogPoint) -> None:
        self._standing.log.append(point)
        for observer in self._observers:
            observer(point)

    def _asked(self, point: LogPoint) -> dict[str, object] | None:
        assert self._watch is not None
        verdict = self._watch(point)
        return None if verdict is None else dataclasses.asdict(verdict)

    def _stop(self, reason: str) -> None:
        self._standing.state.stopped_early = True
        self._standing.state.stop_reason = reason

    def _times_back_to(self, step: int) -> int:
        return sum(one.back_to == step for one in interventions(self._standing.state))


def interventions(state: LoopState) -> tuple[Intervention, ...]:
    """Return the verdicts that were carried out."""
    return tuple(Intervention(**one) for one in state.interventions)  # type: ignore[arg-type]  # written by `heed`
