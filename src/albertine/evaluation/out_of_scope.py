"""How well a classifier notices texts that belong to none of its labels, by the probability of its best answer.

That score is the baseline of Hendrycks and Gimpel (2017, A Baseline for Detecting Misclassified and Out-of-Distribution
Examples in Neural Networks). N texts with a known label, M texts without.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

__all__ = ["AUROC", "FPR95", "NOTICED", "out_of_scope_metrics"]

AUROC = "out_of_scope_auroc"
FPR95 = "out_of_scope_fpr95"
NOTICED = "out_of_scope_noticed"

_ACCEPTED = 0.95


def out_of_scope_metrics(
    known: npt.NDArray[np.floating], foreign: npt.NDArray[np.floating], threshold: float | None
) -> dict[str, float]:
    """Return how well scores tell texts with a label from those without.

    Args:
        known: [N] the probability of the best answer to every text with a label.
        foreign: [M] the same of the texts without.
        threshold: below it the model keeps silent; None where it never does.

    Returns:
        `out_of_scope_auroc`: the chance that a text with a label scores above one without (a tie counts a half);
        `out_of_scope_fpr95`: the share of texts without that are answered where 95 % of those with are; and, where
        there is a threshold, `out_of_scope_noticed`: the share of texts without on which the model keeps silent.
    """
    truth = np.concatenate([np.ones(len(known)), np.zeros(len(foreign))])
    bound = np.sort(known)[int((1 - _ACCEPTED) * len(known))]
    metrics = {
        AUROC: float(roc_auc_score(truth, np.concatenate([known, foreign]))),
        FPR95: float((foreign >= bound).mean()),
    }
    if threshold is not None:
        metrics[NOTICED] = float((foreign < threshold).mean())
    return metrics
