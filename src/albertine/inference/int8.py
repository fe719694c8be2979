"""An int8 plan made for a model: calibrated on texts, held against the unrounded model, and kept only where it pays."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from albertine.errors import ConfigError
from albertine.inference.bench import speed_ratio
from albertine.inference.engine import Engine
from albertine.inference.fused import Watch, inference_copy
from albertine.inference.int8_calibration import calibrated_plan
from albertine.inference.int8_plan import Int8Plan
from albertine.inference.kernels import int8_is_supported
from albertine.inference.model import Model
from albertine.inference.precision import Precision
from albertine.inference.products import Product
from albertine.models.encoder import Encoder
from albertine.records import Example

__all__ = ["Int8Result", "fit_int8", "model_plan"]

logger = logging.getLogger("albertine")

_WORTHWHILE = 1.1
"""Times as fast as the best floating-point type; below it int8 is not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Result:
    """What came of it."""

    plan: Int8Plan | None
    """None where int8 loses too much or is not faster."""
    metric: str
    unrounded: float
    """The metric on the examples as the model is."""
    rounded: float
    """The same with the plan."""
    changed: float
    """Share of the examples whose answer is another one."""
    left_out: tuple[tuple[int, Product], ...]
    """Passes and products that stayed in floating point."""
    speed: float
    """Examples a second in int8, over those in the model's own precision."""

    def facts(self) -> dict[str, object]:
        """Return everything but the plan, ready for JSON."""
        return {
            "metric": self.metric,
            "unrounded": self.unrounded,
            "rounded": self.rounded,
            "changed": self.changed,
            "left_out": [list(one) for one in self.left_out],
            "speed": self.speed,
        }


def fit_int8(
    model: Model, calibration: Sequence[Example], examples: Sequence[Example], *, allowed_loss: float = 0.005
) -> Int8Result:
    """Make an int8 plan for a model and measure what it costs and gains.

    Where the metric falls by more than is allowed, the products that are rounded worst go back to floating point, a
    fourth of those left at a time, until it does not.

    Args:
        model: with an encoder.
        calibration: texts like those that will come; their answers are not looked at.
        examples: with their answers; not those that the model was trained on.
        allowed_loss: of the main metric.

    Raises:
        ConfigError: the model has no encoder, or the processor no integer products.
        DataError: an example without an answer.
    """
    if not int8_is_supported():
        raise ConfigError("this build of PyTorch has no integer products on this processor", received="int8")
    plan, errors = model_plan(model, calibration)
    task, config = model.task, model.task_config
    metric = config.main_metric or task.main_metric
    plain = _engine(model, None)
    before = plain.reported_answers(examples)
    unrounded = task.score(before, examples, config)[metric]
    usual = [one.answer for one in task.decode(before, examples, config)]
    order = sorted(plan.ranges, key=lambda key: -errors[key])
    left_out: list[tuple[int, Product]] = []
    while True:
        engine = _engine(model, plan.without(*left_out))
        after = engine.reported_answers(examples)
        rounded = task.score(after, examples, config)[metric]
        changed = sum(
            one != other.answer for one, other in zip(usual, task.decode(after, examples, config), strict=True)
        ) / len(examples)
        loss = unrounded - rounded if task.greater_is_better else rounded - unrounded
        logger.info(
            "int8 in %d of %d products: %s %.4f instead of %.4f, %.2f %% of the answers changed",
            len(order) - len(left_out), len(order), metric, rounded, unrounded, 100 * changed,
        )  # fmt: skip
        if loss <= allowed_loss or len(left_out) == len(order):
            break
        rest = order[len(left_out) :]
        left_out += rest[: max(1, len(rest) // 4)]
    speed = speed_ratio(engine, plain, examples)
    logger.info("int8 answers %.2f times as fast as %s", speed, model.precision)
    result = Int8Result(
        plan=None,
        metric=metric,
        unrounded=float(unrounded),
        rounded=float(rounded),
        changed=changed,
        left_out=tuple(left_out),
        speed=speed,
    )
    if len(left_out) == len(order) or speed < _WORTHWHILE:
        return result
    return replace(result, plan=plan.without(*left_out).with_facts(result.facts()))


def model_plan(model: Model, examples: Sequence[Example]) -> tuple[Int8Plan, dict[tuple[int, Product], float]]:
    """Return what `calibrated_plan` does of the model's encoder, on texts like those that will come.

    Raises:
        ConfigError: the model has no encoder.
    """
    encoder = _encoder(model)
    return calibrated_plan(encoder, lambda watch: _engine(model, None, watch).reported_answers(examples))


def _encoder(model: Model) -> Encoder:
    """Return the model's encoder.

    Raises:
        ConfigError: it has none.
    """
    body = getattr(model.module, "body", None)
    if not isinstance(body, Encoder):
        raise ConfigError(
            "int8 is for models with an encoder", received=model.body_kind, next_step="Use the model as it is"
        )
    return body


def _engine(model: Model, plan: Int8Plan | None, watch: Watch | None = None) -> Engine:
    assert model.tokenizer is not None, "a model with an encoder reads tokens"
    precision: Precision = model.precision if watch is None else "fp32"
    module = inference_copy(model.module, precision, plan, watch=watch)
    return Engine(module, model.tokenizer, model.task, model.task_config, precision=precision)
