"""The learning rates that are used where none is given: one table."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from albertine.models.baseline import Baseline
from albertine.models.body import BodyConfig, body_output_size
from albertine.models.config import EncoderConfig
from albertine.training.config import TrainingConfig

__all__ = ["chosen_learning_rate", "chosen_pretraining_rate"]

logger = logging.getLogger("albertine")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rates:
    up_to_width: float
    pretrained: float
    random: float
    shared: float | None = None
    """Pretrained weights that layers share; None for those of any other stack."""


# AdamW at batches of 16 to 64. Devlin et al. (2018) fine-tune at 2e-5 to 5e-5; the small published BERTs (Turc et al.
# 2019) want up to 3e-4. Random weights learn nothing at such rates within a few epochs; wide stacks with the norm
# after the sum diverge at those that suit narrow ones. ALBERT is fine-tuned at 1e-5 to 3e-5 (arXiv:1909.11942 table
# 14): what moves in a shared block moves in every layer.
_ENCODERS = (
    _Rates(up_to_width=384, pretrained=1e-4, random=5e-4),
    _Rates(up_to_width=512, pretrained=5e-5, random=5e-4),
    _Rates(up_to_width=768, pretrained=5e-5, random=1e-4, shared=2e-5),
    _Rates(up_to_width=float("inf"), pretrained=2e-5, random=5e-5, shared=1e-5),
)
_OTHER_BODIES = 1e-3

# AdamW in pretraining, at steps of some thousand tokens and budgets below a few billion: far above BERT's 1e-4, which
# is for a million steps (ELECTRA's small model 5e-4, arXiv:2003.10555 table 6; Izsak et al. 2021 up to 1e-3). Going on
# from a checkpoint asks for less, or what it knows is lost first.
_PRETRAINING = (
    _Rates(up_to_width=384, pretrained=2e-4, random=1e-3),
    _Rates(up_to_width=512, pretrained=1e-4, random=5e-4),
    _Rates(up_to_width=768, pretrained=5e-5, random=2e-4),
    _Rates(up_to_width=float("inf"), pretrained=3e-5, random=1e-4),
)
_LAMB_RATE, _LAMB_TOKENS = 0.00176, 4096 * 512
"""Of ALBERT (arXiv:1909.11942 section 4.1), for steps of so many tokens; LAMB's rates go with the root of the batch
(arXiv:1904.00962 section 4.3)."""


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
        if pretrained and row.shared is not None and isinstance(body, EncoderConfig) and body.share != "none":
            rate, why = row.shared, f"{why}, layers that share them"
    logger.info("learning rate: %g, chosen for %s; choose another with --learning-rate", rate, why)
    return rate


def chosen_pretraining_rate(config: TrainingConfig, width: int, *, pretrained: bool, tokens_per_step: int) -> float:
    """Return the learning rate that was asked for, or the one that suits the encoder, and say which.

    Args:
        config: the training's configuration.
        width: of the encoder.
        pretrained: whether its weights come from a checkpoint.
        tokens_per_step: of a full step.
    """
    if config.learning_rate is not None:
        return config.learning_rate
    kind = "pretrained" if pretrained else "random"
    if config.optimizer == "lamb":
        rate = _LAMB_RATE * math.sqrt(tokens_per_step / _LAMB_TOKENS) * (0.2 if pretrained else 1.0)
        why = f"LAMB, {kind} weights, steps of {tokens_per_step:,} tokens"
    else:
        row = next(row for row in _PRETRAINING if width <= row.up_to_width)
        rate = row.pretrained if pretrained else row.random
        why = f"{kind} weights, width {width}"
    rate = float(f"{rate:.2g}")
    logger.info("learning rate: %g, chosen for %s; choose another with --learning-rate", rate, why)
    return rate
