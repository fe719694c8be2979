"""From which certainty on the exits of an elastic model may answer, found on labelled examples, and what each is worth.

D passes, M encoded texts.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from albertine.inference.early_exit import ExitingEngine, Trace
from albertine.inference.fused import inference_copy
from albertine.inference.model import Model
from albertine.records import Example

__all__ = ["ExitCurve", "calibrate_exits"]

logger = logging.getLogger("albertine")

_THRESHOLDS = 200
"""Quantiles of the certainty that are tried."""
_BELOW = 1e-4
"""A threshold lies so far below a text's certainty, which has other last digits in another batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitCurve:
    """What the exits of a model are worth on some examples."""

    metric: str
    by_depth: tuple[float, ...]
    """The metric with every text at depth 1, 2, … D."""
    allowed_loss: float
    threshold: float
    """The certainty from which on an answer is given; above 1 where no exit but the last is good enough."""
    value: float
    """The metric with it."""
    mean_depth: float
    """Passes that a text takes with it, on average."""

    def to_dict(self) -> dict[str, object]:
        """Return every field under its name, ready for JSON."""
        return dataclasses.asdict(self) | {"by_depth": list(self.by_depth)}


def calibrate_exits(model: Model, examples: Sequence[Example], *, allowed_loss: float = 0.005) -> ExitCurve:
    """Find the threshold that saves most passes and loses no more of the metric than is allowed.

    Args:
        model: trained with --elastic.
        examples: with their answers; not those that it was trained on.
        allowed_loss: of the main metric, against all passes.

    Raises:
        ConfigError: the task has no exits.
        DataError: an example without an answer.
    """
    task, config = model.task, model.task_config
    metric = config.main_metric or task.main_metric
    assert model.tokenizer is not None, "a model with an encoder reads tokens"
    engine = ExitingEngine(
        inference_copy(model.module, model.precision), model.tokenizer, task, config,
        threshold=2.0, precision=model.precision,
    )  # fmt: skip
    encoded = engine.encode_items(examples)
    trace = engine.trace(encoded)

    def worth(outputs: Sequence[Any]) -> float:
        return float(task.score(engine.joined(outputs, encoded, examples), examples, config)[metric])

    sign = 1.0 if task.greater_is_better else -1.0
    by_depth = tuple(worth(outputs) for outputs in trace.outputs)
    depth = len(by_depth)
    least = sign * by_depth[-1] - allowed_loss
    best = (float(depth), 2.0, by_depth[-1])
    for threshold in _tried(trace):
        taken = _depths(trace, threshold)
        if taken.mean() >= best[0]:
            continue
        value = worth([trace.outputs[one][place] for place, one in enumerate(taken - 1)])
        if sign * value >= least:
            best = (float(taken.mean()), threshold, value)
    mean_depth, threshold, value = best
    curve = ExitCurve(
        metric=metric,
        by_depth=by_depth,
        allowed_loss=allowed_loss,
        threshold=threshold,
        value=value,
        mean_depth=mean_depth,
    )
    logger.info(
        "exits: %.2f of %d passes on average keep %s at %.4f (%.4f with all of them)",
        mean_depth, depth, metric, value, by_depth[-1],
    )  # fmt: skip
    return curve


def _tried(trace: Trace) -> list[float]:
    """Return the thresholds that are worth trying, the highest first."""
    known = trace.certainty[:-1].ravel()
    return sorted({float(one) - _BELOW for one in np.quantile(known, np.linspace(0, 1, _THRESHOLDS))}, reverse=True)


def _depths(trace: Trace, threshold: float) -> npt.NDArray[np.int64]:
    """Return the depth at which every text leaves, [M], from 1."""
    sure = trace.certainty >= threshold
    sure[-1] = True
    depths: npt.NDArray[np.int64] = sure.argmax(axis=0).astype(np.int64) + 1
    return depths
