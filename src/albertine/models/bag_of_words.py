"""The oldest baseline: words and character n-grams, weighted by TF-IDF, and multinomial logistic regression.

Prediction needs neither scikit-learn nor a tokenizer: a text's n-grams are looked up in a dictionary and their rows
of weights added up. N texts, F features, C classes.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from albertine.errors import CheckpointError
from albertine.models.baseline import Baseline
from albertine.models.logistic import FloatArray, refuse_one_label, shares_of
from albertine.models.ngram_lists import listed, unlisted
from albertine.models.ngram_solver import Tuning, solve
from albertine.models.ngrams import BagOfWordsConfig, block_features, learn_block, with_pair

__all__ = ["BASELINE", "BagOfWords"]

log = logging.getLogger("albertine")


class BagOfWords:
    """TF-IDF features of words and characters, and a linear model over them.

    Every block of features (words, characters) has its own unit length, as in a scikit-learn `FeatureUnion` of
    `TfidfVectorizer(sublinear_tf=True)`, and the probabilities are those of its `LogisticRegression`.
    """

    def __init__(self, config: BagOfWordsConfig) -> None:
        self.config = config
        self.dev_metric: float | None = None
        self._blocks: tuple[dict[str, int], ...] = ()
        self._idf = np.zeros(0)
        self._weights = np.zeros((0, 0))  # [F, C]
        self._intercept = np.zeros(0)  # [C]

    @property
    def feature_count(self) -> int:
        """F: every kept n-gram; 0 before fitting."""
        return len(self._idf)

    @property
    def parameter_count(self) -> int:
        """Weights, intercepts and inverse document frequencies."""
        return self._weights.size + self._intercept.size + self._idf.size

    @property
    def output_size(self) -> int:
        """C; 0 before fitting."""
        return len(self._intercept)

    def fit(
        self,
        texts: Sequence[str],
        targets: Sequence[int] | Sequence[float],
        classes: int | None,
        *,
        pairs: Sequence[str | None] | None = None,
        dev_texts: Sequence[str] = (),
        dev_targets: Sequence[int] | Sequence[float] = (),
        dev_pairs: Sequence[str | None] | None = None,
        metric: str = "accuracy",
        class_weights: Sequence[float] | None = None,
        seed: int = 0,
    ) -> BagOfWords:
        """Learn the features and the weights from the training split; tune both on the development split.

        Args:
            texts: N training texts.
            targets: their label indices, below `classes`.
            classes: C; this baseline gives no numbers.
            pairs: the second texts of pairs.
            dev_texts: texts on which the kind of features and C are chosen; without any, the middle of the grid serves.
            dev_targets: their labels.
            dev_pairs: their second texts.
            metric: the metric that chooses, a key of `classification_metrics`; ties go to the lower log loss.
            class_weights: the weight of every class in the loss.
            seed: where the solver starts; the problem is convex, so that seeds agree up to its tolerance.

        Returns:
            The model itself, fitted.

        Raises:
            DataError: fewer than two classes among the training labels.
        """
        assert classes is not None, "a bag of words tells labels apart"
        labels = np.asarray(targets, dtype=np.int64)
        refuse_one_label(labels)
        joined = [with_pair(*both) for both in zip(texts, pairs or [None] * len(texts), strict=True)]
        joined_dev = [with_pair(*both) for both in zip(dev_texts, dev_pairs or [None] * len(dev_texts), strict=True)]
        learnt = [learn_block(joined, block, self.config) for block in self.config.blocks]
        solution = solve(
            self.config,
            learnt,
            joined,
            labels,
            classes,
            Tuning(texts=joined_dev, labels=np.asarray(dev_targets, dtype=np.int64), metric=metric),
            class_weights=class_weights,
            seed=seed,
        )
        self.config = solution.config
        self.dev_metric = solution.dev_metric
        self._adopt(solution.blocks, solution.idf, solution.weights, solution.intercept)
        log.info("bag of words: %s", solution.message)
        return self

    def scores(self, texts: Sequence[str], pairs: Sequence[str | None] | None = None) -> FloatArray:
        """Return the probability of every class, [N, C] float64, in the order of the texts.

        Args:
            texts: N texts.
            pairs: their second texts, where the model was fitted on pairs.
        """
        logits = np.empty((len(texts), self.output_size))
        for row, (text, pair) in enumerate(zip(texts, pairs or [None] * len(texts), strict=True)):
            logits[row] = self._intercept
            for counts, base in self._counted(with_pair(text, pair)):
                if not counts:
                    continue
                found = np.fromiter(counts.keys(), dtype=np.int64, count=len(counts)) + base
                values = (1.0 + np.log(np.fromiter(counts.values(), dtype=np.float64, count=len(counts)))) * self._idf[
                    found
                ]
                logits[row] += (values @ self._weights[found]) / math.sqrt(values @ values)
        return shares_of(logits)

    def outputs(self, texts: Sequence[str], pairs: Sequence[str | None] | None = None) -> FloatArray:
        """Return the logarithm of every class's probability, [N, C] float32; else as `scores`."""
        return np.log(np.maximum(self.scores(texts, pairs), np.finfo(np.float32).tiny)).astype(np.float32)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return everything fitted, named.

        `weights` [F, C], `intercept` [C], `idf` [F], and a `features.BLOCK` for every kind of feature: the spelling of
        its n-grams (`ngram_lists`) in the order of their rows.
        """
        named = {
            "weights": torch.from_numpy(self._weights.astype(np.float32)),
            "intercept": torch.from_numpy(self._intercept.astype(np.float32)),
            "idf": torch.from_numpy(self._idf.astype(np.float32)),
        }
        for block, vocabulary in zip(self.config.blocks, self._blocks, strict=True):
            named[f"features.{block}"] = listed(vocabulary)
        return named

    @classmethod
    def from_tensors(cls, config: BagOfWordsConfig, tensors: Mapping[str, torch.Tensor]) -> BagOfWords:
        """Build the fitted model again from `tensors()`.

        Raises:
            CheckpointError: a tensor is missing, or their sizes disagree.
        """
        model = cls(config)
        wanted = ["weights", "intercept", "idf", *(f"features.{block}" for block in config.blocks)]
        if missing := [name for name in wanted if name not in tensors]:
            raise CheckpointError(
                "the bag of words lacks tensors", received=", ".join(sorted(tensors)), allowed=", ".join(missing)
            )
        blocks = []
        for block in config.blocks:
            ngrams = unlisted(tensors[f"features.{block}"])
            blocks.append({ngram: index for index, ngram in enumerate(ngrams)})
        weights, intercept, idf = (tensors[name].numpy() for name in ("weights", "intercept", "idf"))
        count = sum(len(block) for block in blocks)
        if weights.shape != (count, len(intercept)) or idf.shape != (count,):
            raise CheckpointError(
                "the sizes of the bag of words disagree",
                received=f"{count} features, weights {weights.shape}, idf {idf.shape}, intercept {intercept.shape}",
            )
        model._adopt(tuple(blocks), idf, weights, intercept)
        return model

    def _adopt(
        self, blocks: tuple[dict[str, int], ...], idf: FloatArray, weights: FloatArray, intercept: FloatArray
    ) -> None:
        """Keep what was fitted, rounded to what the file holds, so that a saved model answers as this one does."""
        self._blocks = blocks
        self._idf = idf.astype(np.float32).astype(np.float64)
        self._weights = weights.astype(np.float32).astype(np.float64)
        self._intercept = intercept.astype(np.float32).astype(np.float64)

    def _counted(self, text: str) -> list[tuple[dict[int, int], int]]:
        """Count the known features of a text: for every block the counts by index, and the block's first row."""
        counted, base = [], 0
        for block, vocabulary in zip(self.config.blocks, self._blocks, strict=True):
            known = Counter(block_features(text, block, self.config))
            counted.append(({vocabulary[one]: times for one, times in known.items() if one in vocabulary}, base))
            base += len(vocabulary)
        return counted


BASELINE: Baseline[BagOfWordsConfig, BagOfWords] = Baseline(
    name="bag-of-words",
    description="words and character n-grams with TF-IDF, multinomial logistic regression",
    training="solver",
    make_config=lambda vocab_size: BagOfWordsConfig(),
    build=BagOfWords,
)
