"""What the depths of an elastic model are worth on the test split: quality, and speed beside all passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from albertine.comparison.results import DepthPoint, RunResult
from albertine.inference.bench import speed_ratio
from albertine.inference.engine import Engine
from albertine.inference.loading import load
from albertine.inference.model import Depth, Model
from albertine.inference.precision import Precision
from albertine.models.config import EncoderConfig
from albertine.records import Example

__all__ = ["mean_depths", "measure_depths"]

_TIMED = 1000
"""Texts that speed is measured on, spread over the test split."""


def measure_depths(
    folder: Path, examples: Sequence[Example], metric: str, *, precision: Precision, device: str
) -> tuple[DepthPoint, ...]:
    """Measure every depth of an elastic model, and as many passes as each text needs where that was fitted.

    Args:
        folder: the model's.
        examples: the test split.
        metric: the main metric.
        precision: of the matrix products.
        device: where to compute.
    """
    usual = load(folder, device=device, precision=precision)
    timed = examples[:: max(1, len(examples) // _TIMED)]
    assert isinstance(usual.config, EncoderConfig), "elastic models have encoders"
    depths: list[Depth] = list(range(1, usual.config.num_passes + 1))
    if usual.task_config.exit_at is not None and usual.task.certainty is not None:
        depths.append("auto")
    return tuple(
        _point(load(folder, device=device, precision=precision, depth=depth), usual, depth, examples, timed, metric)
        for depth in depths
    )


def mean_depths(runs: Iterable[RunResult]) -> tuple[DepthPoint, ...]:
    """Return the means over the runs that were measured at every depth, shallow first, the fitted one last."""
    found: dict[int | None, list[DepthPoint]] = {}
    for run in runs:
        for one in run.depths:
            found.setdefault(one.depth, []).append(one)
    return tuple(
        DepthPoint(
            depth=depth,
            passes=fmean(one.passes for one in same),
            quality=fmean(one.quality for one in same),
            speed=fmean(one.speed for one in same),
        )
        for depth, same in found.items()
    )


def _point(
    model: Model, usual: Model, depth: Depth, examples: Sequence[Example], timed: Sequence[Example], metric: str
) -> DepthPoint:
    assert isinstance(model.predictor, Engine), "elastic models have encoders"
    assert isinstance(usual.predictor, Engine), "elastic models have encoders"
    answers = model.answers(examples)
    return DepthPoint(
        depth=None if depth == "auto" else depth,
        passes=float(depth) if isinstance(depth, int) else fmean(answers.depths or ()),
        quality=model.task.score(answers.rows, examples, model.task_config)[metric],
        speed=speed_ratio(model.predictor, usual.predictor, timed),
    )
