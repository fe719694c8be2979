"""From where on a model that may be wrong only so often keeps silent.

N examples.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from albertine.evaluation.calibration import silence_for
from albertine.evaluation.metrics import FloatArray
from albertine.tasks.config import TaskConfig

__all__ = ["with_silence"]

logger = logging.getLogger("albertine")


def with_silence(confidence: FloatArray, right: npt.NDArray[np.bool_], task_config: TaskConfig) -> TaskConfig:
    """Fit the confidence below which the model keeps silent, where an error rate is wanted, and say what that leaves.

    Args:
        confidence: [N] of the answers to the development split, calibrated.
        right: [N] whether they are right.
        task_config: for `max_error`.
    """
    if task_config.max_error is None:
        return task_config
    silence = silence_for(confidence, right.astype(np.int64), max_error=task_config.max_error)
    if silence is None:
        logger.warning(
            "no part of the development split, however confident, has at most %g %% wrong answers: the model keeps "
            "silent wherever it is not certain",
            100 * task_config.max_error,
        )
        return replace(task_config, abstain_below=1.0)
    logger.info(
        "below a confidence of %.4f the model keeps silent: it answers %.1f %% of the development split, %.2f %% of "
        "that wrongly",
        silence.below,
        100 * silence.coverage,
        100 * silence.error,
    )
    return replace(task_config, abstain_below=silence.below)
