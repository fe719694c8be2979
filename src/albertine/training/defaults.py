"""The learning rates that are used where none is given: one table."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from albertine.models.baseline import Baseline
from albertine.models.body import BodyConfig, body_output_size
from albertine.training.config import TrainingConfig

__all__ = ["chosen_learning_rate"]

logger = logging.getLogger("albertine")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rates:
    up_to_width: float
    pretrained: float
    random: float


# AdamW at batches of 16 to 64. Devlin et al. (2018) fine-tune at 2e-5 to 5e-5; the small published BERTs (Turc et al.
# 2019) want up to 3e-4. Random weights learn nothing at such rates within a few epochs; wide stacks with the norm
# after the sum diverge at those that suit narrow ones.
_ENCODERS = (
    _Rates(up_to_width=384, pretrained=1e-4, random=5e-4),
    _Rates(up_to_width=512, pretrained=5e-5, random=5e-4),
    _Rates(up_to_width=768, pretrained=5e-5, random=1e-4),
    _Rates(up_to_width=float("inf"), pretrained=2e-5, random=5e-5),
)
_OTHER_BODIES = 1e-3


def chosen_learning_rate(
    config: TrainingConfig, body: BodyConfig, *, pretrained: bool, baseline: Baseline[object, object] | None
) -> float:
    """Return the learning rate that was asked for, or the one that suits the model, and say which.

    Args:
        config: the training's configuration.
        body: the model's.
        pretrained: whether its weights come from a checkpoint.
        baseline: the record of a baseline, which names its own rate.
    """
    if config.learning_rate is not None:
        return config.learning_rate
    if baseline is not None:
        rate = baseline.learning_rate or _OTHER_BODIES
        why = baseline.name
    else:
        width = body_output_size(body)
        row = next(row for row in _ENCODERS if width <= row.up_to_width)
        rate = row.pretrained if pretrained else row.random
        why = f"{'pretrained' if pretrained else 'random'} weights, width {width}"
    logger.info("learning rate: %g, chosen for %s; choose another with --learning-rate", rate, why)
    return rate
