"""The baseline for pairs of texts: what they have in common word by word, and a linear model over it.

What a pair means, it does not see; a model that is to understand pairs has to be better. Prediction needs neither
scikit-learn nor a tokenizer. N pairs, D features, C outputs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from albertine.errors import CheckpointError, DataError
from albertine.evaluation.correlation import pearson, spearman
from albertine.models.baseline import Baseline
from albertine.models.logistic import FloatArray, label_quality, logistic_fits, refuse_one_label, shares_of
from albertine.models.ngram_lists import listed, unlisted
from albertine.models.pair_features import FEATURES, KINDS, Frequencies, Kind, OverlapConfig, PairFeatures

__all__ = ["BASELINE", "Overlap"]

log = logging.getLogger("albertine")

_ALONE = ("character_cosine",)
_GRID = (0.01, 0.1, 1.0)
"""From strongly to weakly held back; among a dozen features the choice hardly matters."""
_UNTUNED = 0.1

_Quality = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Linear:
    """A linear model over some of the features: rows @ weights + intercept."""

    features: tuple[str, ...]
    strength: float | None
    """C, the inverse of the regularisation; None where nothing was fitted."""
    weights: npt.NDArray[np.float64]
    """[D, C]"""
    intercept: npt.NDArray[np.float64]
    """[C]"""

    def outputs(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return [N, C] of rows with all features."""
        found: npt.NDArray[np.float64] = rows[:, _columns(self.features)] @ self.weights + self.intercept
        return found


class Overlap:
    """Features of a pair (`albertine.models.pair_features`) and a linear model over them.

    Labels come from multinomial logistic regression, numbers from ridge regression. Where the training texts do not say
    how numbers differ, the cosine of the texts' character n-grams is the answer.
    """

    def __init__(self, config: OverlapConfig) -> None:
        self.config = config
        self.dev_metric: float | None = None
        self._features = PairFeatures(Frequencies(texts=0, counts={kind: {} for kind in KINDS}))
        self._linear = _Linear(
            features=config.features, strength=None, weights=np.zeros((len(config.features), 0)), intercept=np.zeros(0)
        )

    @property
    def parameter_count(self) -> int:
        """Weights, intercepts and the frequencies of n-grams."""
        kept = sum(map(len, self._features.frequencies.counts.values()))
        return self._linear.weights.size + self._linear.intercept.size + kept

    @property
    def output_size(self) -> int:
        """C; 0 before fitting."""
        return len(self._linear.intercept)

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
    ) -> Overlap:
        """Learn from the training split; choose features and strength on the development split.

        Args:
            texts: N first texts.
            targets: label indices below `classes`, or numbers.
            classes: C; None for numbers.
            pairs: the second texts; where all numbers are the same there need be none, as nothing but the frequencies
                of n-grams is learnt then.
            dev_texts: first texts on which is chosen; without any, all features are kept, moderately held back.
            dev_targets: their labels or numbers.
            dev_pairs: their second texts.
            metric: by which is chosen: a key of `classification_metrics`; for numbers pearson, else spearman.
            class_weights: the weight of every class in the loss.
            seed: where the solver of the logistic regression starts.

        Returns:
            The model itself, fitted.

        Raises:
            DataError: a text without a second one, or one label only.
        """
        if classes is not None:
            refuse_one_label([int(one) for one in targets])
        untaught = classes is None and len(set(targets)) < 2
        seconds = [one for one in pairs or () if one is not None] if untaught else _both(texts, pairs)
        self._features = PairFeatures(Frequencies.learn([*texts, *seconds], self.config.max_features))
        if untaught:
            self._adopt(_Linear(features=_ALONE, strength=None, weights=np.ones((1, 1)), intercept=np.zeros(1)))
            log.info("overlap: nothing says how numbers differ, the cosine of character n-grams is taken as it is")
            return self
        rows = self._features.of(texts, seconds)
        dev = self._features.of(dev_texts, _both(dev_texts, dev_pairs))
        fixed = self.config.inverse_regularization
        grid: tuple[float, ...] = (fixed,) if fixed else _GRID if len(dev) else (_UNTUNED,)
        if classes is None and metric != "pearson":
            metric = "spearman"
        judge = _judge(dev_targets, classes, metric)
        best, quality = None, (0.0, 0.0)
        for features in dict.fromkeys([self.config.features, _ALONE] if len(dev) else [self.config.features]):
            for one in _fits(rows, features, targets, classes, grid, class_weights, seed):
                reached = judge(one.outputs(dev)) if len(dev) else quality
                if best is None or reached > quality:
                    best, quality = one, reached
        assert best is not None, "there is a strength to fit with"
        self.dev_metric = quality[0] if len(dev) else None
        self._adopt(best)
        told = f"{len(best.features)} features" if best.features != _ALONE else "the cosine of character n-grams alone"
        measured = f", {metric} {quality[0]:.4f} on the development split" if len(dev) else ""
        log.info("overlap: %s, C = %g%s", told, best.strength, measured)
        return self

    def outputs(self, texts: Sequence[str], pairs: Sequence[str | None] | None = None) -> FloatArray:
        """Return the logarithm of every label's probability, or the number, [N, C] float32, in the order of the pairs.

        Args:
            texts: N first texts.
            pairs: the second texts.

        Raises:
            DataError: a text without a second one.
        """
        found = self._linear.outputs(self._features.of(texts, _both(texts, pairs)))
        if self.output_size > 1:
            found = np.log(np.maximum(shares_of(found), np.finfo(np.float32).tiny))
        return found.astype(np.float32)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return everything fitted, named.

        `weights` [D, C], `intercept` [C], `texts` [1], how many texts were counted, and for every kind of n-gram
        `counts.KIND` [F], in how many of them each stands, and `features.KIND`, their spelling (`ngram_lists`).
        """
        frequencies = self._features.frequencies
        named = {
            "weights": torch.from_numpy(self._linear.weights.astype(np.float32)),
            "intercept": torch.from_numpy(self._linear.intercept.astype(np.float32)),
            "texts": torch.tensor([frequencies.texts]),
        }
        for kind, counts in frequencies.counts.items():
            named[f"features.{kind}"] = listed(counts)
            named[f"counts.{kind}"] = torch.tensor(list(counts.values()), dtype=torch.int64)
        return named

    @classmethod
    def from_tensors(cls, config: OverlapConfig, tensors: Mapping[str, torch.Tensor]) -> Overlap:
        """Build the fitted model again from `tensors()`.

        Raises:
            CheckpointError: a tensor is missing, or their sizes disagree.
        """
        parts = [f"{part}.{kind}" for part in ("features", "counts") for kind in KINDS]
        wanted = ["weights", "intercept", "texts", *parts]
        if missing := [name for name in wanted if name not in tensors]:
            raise CheckpointError(
                "the overlap baseline lacks tensors", received=", ".join(sorted(tensors)), allowed=", ".join(missing)
            )
        counts: dict[Kind, dict[str, int]] = {}
        for kind in KINDS:
            ngrams, times = unlisted(tensors[f"features.{kind}"]), tensors[f"counts.{kind}"].tolist()
            if len(ngrams) != len(times):
                raise CheckpointError(
                    "the sizes of the overlap baseline disagree",
                    received=f"{len(ngrams)} n-grams ({kind}), {len(times)} counts",
                )
            counts[kind] = dict(zip(ngrams, times, strict=True))
        weights, intercept = (tensors[name].numpy().astype(np.float64) for name in ("weights", "intercept"))
        if weights.shape != (len(config.features), len(intercept)) or tensors["texts"].numel() != 1:
            raise CheckpointError(
                "the sizes of the overlap baseline disagree",
                received=f"{len(config.features)} features, weights {weights.shape}, intercept {intercept.shape}",
            )
        model = cls(config)
        model._features = PairFeatures(Frequencies(texts=int(tensors["texts"].item()), counts=counts))
        model._linear = _Linear(
            features=config.features, strength=config.inverse_regularization, weights=weights, intercept=intercept
        )
        return model

    def _adopt(self, linear: _Linear) -> None:
        """Keep what was fitted, rounded to what the file holds, so that a saved model answers as this one does."""
        weights, intercept = (part.astype(np.float32).astype(np.float64) for part in (linear.weights, linear.intercept))
        self._linear = replace(linear, weights=weights, intercept=intercept)
        self.config = replace(self.config, features=linear.features, inverse_regularization=linear.strength)


def _fits(
    rows: npt.NDArray[np.float64],
    features: tuple[str, ...],
    targets: Sequence[int] | Sequence[float],
    classes: int | None,
    grid: Sequence[float],
    class_weights: Sequence[float] | None,
    seed: int,
) -> Iterator[_Linear]:
    """Fit some of the features for every strength; they are standardised before, and their weights taken back after."""
    chosen = rows[:, _columns(features)]
    mean, spread = chosen.mean(axis=0), chosen.std(axis=0)
    spread[spread < 1e-9] = 1.0
    standard = (chosen - mean) / spread
    if classes is None:
        fitted = _ridge_fits(standard, np.asarray(targets, dtype=np.float64), grid)
    else:
        labels = np.asarray(targets, dtype=np.int64)
        found = logistic_fits(standard, labels, classes, grid=grid, class_weights=class_weights, seed=seed)
        fitted = ((one.strength, one.weights, one.intercept) for one in found)
    for strength, weights, intercept in fitted:
        own = weights / spread[:, None]
        yield _Linear(features=features, strength=strength, weights=own, intercept=intercept - mean @ own)


def _ridge_fits(
    rows: npt.NDArray[np.float64], targets: npt.NDArray[np.float64], grid: Sequence[float]
) -> Iterator[tuple[float, npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Yield C, weights [D, 1] and intercept [1]: least squares with 1 / C times the squared weights (Hoerl 1970)."""
    middle = targets.mean()
    for strength in grid:
        held = rows.T @ rows + np.eye(rows.shape[1]) / strength
        yield strength, np.linalg.solve(held, rows.T @ (targets - middle))[:, None], np.array([middle])


def _judge(
    targets: Sequence[int] | Sequence[float], classes: int | None, metric: str
) -> Callable[[npt.NDArray[np.float64]], _Quality]:
    """Return what says how good outputs [N, C] are."""
    gold = np.asarray(targets)
    if classes is not None:
        return lambda outputs: label_quality(gold, outputs, metric)
    correlation = pearson if metric == "pearson" else spearman
    return lambda outputs: (correlation(gold, outputs[:, 0]), 0.0)


def _columns(features: Sequence[str]) -> list[int]:
    return [FEATURES.index(name) for name in features]


def _both(texts: Sequence[str], pairs: Sequence[str | None] | None) -> list[str]:
    """Return the second texts.

    Raises:
        DataError: one is missing.
    """
    seconds = [one for one in pairs or () if one is not None]
    if len(seconds) != len(texts):
        raise DataError(
            "overlap compares the two texts of a pair",
            received=f"{len(texts) - len(seconds):,} of {len(texts):,} texts without a second one",
            next_step="Give pairs of texts, or take another baseline, such as bag-of-words",
        )
    return seconds


BASELINE: Baseline[OverlapConfig, Overlap] = Baseline(
    name="overlap",
    description="what two texts share: TF-IDF cosines, common words and n-grams, a linear model over them",
    training="solver",
    make_config=lambda vocab_size: OverlapConfig(),
    build=Overlap,
)
