"""By what models of sentence similarity are ranked, and when they have learnt nothing.

N pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from albertine.evaluation.correlation import GOLD_VALUE, PREDICTED_VALUE, correlation_rankings, spearman
from albertine.evaluation.metrics import Metric
from albertine.evaluation.ranking import rank_metrics, reciprocal_rank_metric
from albertine.records import Example
from albertine.tasks.config import TaskConfig
from albertine.tasks.similarity_options import SimilarityOptions
from albertine.tasks.task import Evidence

__all__ = ["RANK", "belonging", "did_not_learn", "ranking_metric", "similarity_rankings"]

RANK = 2
"""Column of the evidence: the place of the second text among all, from 1; 0 where it was not looked for."""
_LITTLE = 0.1
"""A rank correlation below which a model has learnt nothing worth the name, whatever the number of pairs."""


def belonging(gold: Evidence, options: SimilarityOptions) -> npt.NDArray[np.bool_]:
    """Say which pairs mean the same, [N]: those with the highest score of the training data, or a higher one.

    Where scores go beyond those of the training data only the highest ones do; where partners are what was learnt and
    no pair has a score as high, too.
    """
    highest = max(options.highest, gold.max())
    if options.loss == "contrastive" and np.ptp(gold) > 0:
        highest = gold.max()
    found: npt.NDArray[np.bool_] = gold >= highest
    return found


def similarity_rankings(options: SimilarityOptions) -> Mapping[str, Metric]:
    """Return the correlations, and the mean reciprocal rank where a model is, or may be, trained to find partners."""
    found = correlation_rankings()
    if options.loss == "contrastive" or (options.loss == "auto" and options.architecture == "bi-encoder"):
        found["mrr"] = reciprocal_rank_metric(RANK)
    return found


def ranking_metric(task_config: TaskConfig, label_counts: Mapping[str, int], measured: Sequence[Example]) -> str:
    """Return what models are compared by: the correlation with the scores, or how soon partners are found.

    That is what is left where all pairs have one score, and what is meant where the contrastive loss was asked for and
    pairs only say yes or no.
    """
    del label_counts
    options = task_config.own(SimilarityOptions)
    scores = {one.value for one in measured}
    ranked = len(scores) == 1 or (options.loss == "contrastive" and len(scores) <= 2)
    return "mrr" if ranked and "mrr" in similarity_rankings(options) else "spearman"


def did_not_learn(evidence: Evidence, task_config: TaskConfig) -> bool:
    """Say whether all pairs get one score, or scores hardly go along with those in the data.

    Where all of those are one, whether partners are found no sooner than by chance. What lies within two standard
    deviations of chance is nothing learnt.
    """
    gold, predicted, ranks = evidence[:, GOLD_VALUE], evidence[:, PREDICTED_VALUE], evidence[:, RANK]
    if not np.isfinite(predicted).all() or np.ptp(predicted) == 0:
        return True
    if np.ptp(gold) > 0:
        return spearman(gold, predicted) < min(_LITTLE, 2 / math.sqrt(len(gold)))
    chances = 1 / np.arange(1, len(ranks) + 1)
    return bool(ranks.all() and rank_metrics(ranks)["mrr"] < chances.mean() + 2 * chances.std() / math.sqrt(len(ranks)))
