"""What sentence similarity can be asked for, what of it the training data decide, and what they give to the loss."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from albertine.data.scored_pairs import text_key
from albertine.errors import ConfigError, DataError
from albertine.models.config import EncoderConfig
from albertine.models.contrastive import FIRST, NEGATIVE, SECOND
from albertine.records import Example
from albertine.tasks.config import TaskOptions, TaskRequest

__all__ = [
    "GivenText",
    "SimilarityOptions",
    "fitted_to_scores",
    "fitted_to_texts",
    "measured_range",
    "score_share",
    "texts_of",
    "with_dropout",
]

logger = logging.getLogger("albertine")

_DROPOUT = 0.1
"""What two passes of one text differ by (arXiv:2104.08821, table 2, finds 0.1 the best)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityOptions(TaskOptions):
    """What sentence similarity alone can be asked for and remembers."""

    architecture: Literal["bi-encoder", "cross-encoder"] = "bi-encoder"
    """A vector for each text, whose cosine is the answer; or one look at both texts."""
    pooling: Literal["mean", "cls", "max"] = "mean"
    """How a bi-encoder makes a text's vector of its tokens' states."""
    loss: Literal["auto", "cosent", "contrastive", "squared-error", "cross-entropy"] = "auto"
    """Of a bi-encoder: cosent (order by score), contrastive (find the partner among the texts of a batch), or
    squared-error of the cosine; of a cross-encoder cross-entropy. auto: contrastive for pairs that belong together,
    with or without texts that do not, and for texts alone; cosent for scores. The first two compare texts that are in
    memory together: a step that is accumulated, or cut because memory ran out, has fewer texts to tell a partner from
    (none of the other parts') than one of the same size in one piece, which gradient caching (arXiv:2101.06983) would
    change."""
    scale: float = 20.0
    """What cosines are multiplied by in the first two losses, the inverse of the temperature."""
    symmetric: bool = False
    """Whether the contrastive loss is taken in both directions."""
    hard_negatives: int = 1
    """With the contrastive loss: texts said not to belong to a first text that stand beside each of its partners."""
    encoder_dropout: float | None = None
    """The encoder's dropout in training; None for its own. Texts alone are learnt from nothing but dropout, so an
    encoder that has none, as ALBERT's second version, gets 0.1 for them."""
    long_texts: Literal["windows", "head"] = "windows"
    """Texts that are too long are read in windows, whose vectors (or outputs) are averaged, or their head alone is."""
    score_range: tuple[float, ...] | None = None
    """The lowest and the highest score there can be; others are bad rows. None to find both in the training data."""
    lowest: float = 0.0
    """The score of texts that have nothing in common."""
    highest: float = 1.0
    """The score of texts that mean the same."""
    slope: float = 1.0
    """What a cosine is multiplied by on its way to a score between 0 and 1, once that has been fitted."""
    intercept: float = 0.0
    """What is then added."""
    threshold: float | None = None
    """The predicted score from which on two texts are taken to belong together; None where nothing was fitted."""

    def __post_init__(self) -> None:
        stated = self.score_range
        if stated is not None and (len(stated) != 2 or not -math.inf < stated[0] < stated[1] < math.inf):
            raise ConfigError("not a range", where="score_range", received=stated, allowed="two numbers, ascending")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ConfigError("value out of range", where="scale", received=self.scale, allowed="above 0")
        if self.hard_negatives < 0:
            raise ConfigError("value out of range", where="hard_negatives", received=self.hard_negatives, allowed="0 …")
        chance = self.encoder_dropout
        if chance is not None and not 0 <= chance < 1:
            raise ConfigError("not a share", where="encoder_dropout", received=chance, allowed="0 ≤ share < 1")
        crossed = self.architecture == "cross-encoder"
        if self.loss != "auto" and (self.loss == "cross-entropy") != crossed:
            allowed = "cross-entropy" if crossed else "cosent, contrastive, squared-error"
            raise ConfigError(
                f"a {self.architecture} has no such loss", where="loss", received=self.loss, allowed=f"auto, {allowed}"
            )


class GivenText(NamedTuple):
    """A text of an example, one of millions."""

    role: int
    """FIRST, SECOND or NEGATIVE."""
    text: str


def fitted_to_texts(options: SimilarityOptions, request: TaskRequest) -> SimilarityOptions:
    """Choose loss and dropout for texts without pairs, where two passes of one text differ by dropout alone.

    Raises:
        ConfigError: another architecture or loss was asked for, no dropout, or a body that is no encoder.
    """
    body = request.body
    if options.architecture != "bi-encoder" or options.loss not in ("auto", "contrastive"):
        raise ConfigError(
            "texts alone are learnt by a bi-encoder with the contrastive loss",
            received=f"{options.architecture}, {options.loss}",
            next_step="Give pairs of texts with a score for anything else",
        )
    if body is not None and not isinstance(body, EncoderConfig):
        raise ConfigError("texts alone teach an encoder only", where="encoder", received=type(body).__name__)
    chance = options.encoder_dropout
    if chance is None and body is not None and not (body.hidden_dropout_prob or body.attention_probs_dropout_prob):
        chance = _DROPOUT
        logger.info("the encoder has no dropout, without which texts alone teach nothing: %g is used", chance)
    if chance == 0:
        raise ConfigError("without dropout texts alone teach nothing", where="encoder_dropout", received="0")
    lowest, highest = options.score_range or (options.lowest, options.highest)
    return replace(options, loss="contrastive", encoder_dropout=chance, lowest=lowest, highest=highest)


def with_dropout(config: EncoderConfig, options: SimilarityOptions) -> EncoderConfig:
    """Return an encoder's configuration with the dropout that the task asks for."""
    chance = options.encoder_dropout
    if chance is None:
        return config
    return replace(config, hidden_dropout_prob=chance, attention_probs_dropout_prob=chance)


def fitted_to_scores(examples: Sequence[Example], options: SimilarityOptions) -> SimilarityOptions:
    """Find the range of the scores and choose the loss for pairs that all have one.

    Raises:
        DataError: a score outside the stated range, or nothing to tell apart.
        ConfigError: the loss that was asked for does not fit the scores.
    """
    values = np.array([one.value for one in examples], dtype=np.float64)
    low, high = options.score_range or (float(np.floor(values.min())), float(np.ceil(values.max())))
    if options.score_range is None and low >= 0 and (high <= 1 or low == high):
        low, high = 0.0, max(high, 1.0)  # such as 0.2 to 0.9, or one value alone
    outside = (values < low) | (values > high)
    if outside.any():
        one = examples[int(outside.argmax())]
        raise DataError(
            "a score outside the range", where=one.where, received=one.value, allowed=f"{low:g} to {high:g}"
        )
    positive = values == high
    if np.ptp(values) == 0 and not (
        positive.all() and options.loss in ("auto", "contrastive") and options.architecture == "bi-encoder"
    ):
        raise DataError(
            "all training examples have the same score, there is nothing to tell apart",
            where=examples[0].file or None,
            received=f"{values[0]:g}",
            next_step="Add pairs with other scores; pairs that belong together alone teach a bi-encoder with the "
            "contrastive loss",
        )
    yes_or_no = bool((positive | (values == low)).all()) and bool(positive.any())
    if options.loss == "contrastive" and not yes_or_no:
        raise ConfigError(
            "the contrastive loss needs pairs that belong together or do not",
            where="loss",
            received=f"scores from {values.min():g} to {values.max():g}",
            allowed=f"scores of {low:g} and {high:g} alone",
            next_step="Take cosent, which learns the order of the scores",
        )
    options = replace(options, lowest=low, highest=high)
    if options.architecture == "cross-encoder":
        return replace(options, loss="cross-entropy")
    if options.loss == "auto":
        partnered = {text_key(one.text) for one, good in zip(examples, positive, strict=True) if good}
        belong = yes_or_no and all(text_key(one.text) in partnered for one in examples)
        options = replace(options, loss="contrastive" if belong else "cosent")
    return options


def measured_range(options: SimilarityOptions, examples: Sequence[Example]) -> SimilarityOptions:
    """Widen the range of scores to those that a model is measured on, where it learnt only what belongs together.

    Args:
        options: as they were fitted to the training data.
        examples: scored pairs.
    """
    values = [one.value for one in examples if one.value is not None]
    if options.loss != "contrastive" or options.score_range is not None or not values:
        return options
    lowest, highest = math.floor(min(values)), math.ceil(max(values))
    return replace(options, lowest=min(options.lowest, lowest), highest=max(options.highest, highest))


def score_share(example: Example, options: SimilarityOptions) -> float:
    """Return an example's score as a share of the way from the lowest to the highest.

    Raises:
        DataError: it has none.
    """
    if example.value is None:
        raise DataError("a pair has no score", where=example.where, next_step="Give every pair its score")
    return min(1.0, max(0.0, (example.value - options.lowest) / (options.highest - options.lowest)))


def texts_of(examples: Sequence[Example], options: SimilarityOptions, *, contrasted: bool) -> list[list[GivenText]]:
    """Return the texts that every example gives to a bi-encoder: its own two, or what the contrastive loss wants.

    There, a text that is said not to belong to a first text stands as a hard negative beside the partners of that text,
    which share them out among them in turn, and once by itself; a text alone is its own partner.

    Args:
        examples: pairs or texts alone.
        options: for the number of hard negatives.
        contrasted: for the contrastive loss.
    """
    if not contrasted:
        return [
            [GivenText(FIRST, one.text), *([] if one.text_pair is None else [GivenText(SECOND, one.text_pair)])]
            for one in examples
        ]
    negatives: dict[bytes, list[str]] = defaultdict(list)
    for one in examples:
        if one.text_pair is not None and score_share(one, options) < 1:
            negatives[text_key(one.text)].append(one.text_pair)
    begin: dict[bytes, int] = defaultdict(int)
    given = []
    for one in examples:
        if one.text_pair is not None and score_share(one, options) < 1:
            given.append([GivenText(NEGATIVE, one.text_pair)])
            continue
        key = text_key(one.text)
        known = negatives.get(key, [])
        chosen = [known[(begin[key] + step) % len(known)] for step in range(min(options.hard_negatives, len(known)))]
        begin[key] += len(chosen)
        texts = [GivenText(FIRST, one.text), GivenText(SECOND, one.text if one.text_pair is None else one.text_pair)]
        given.append([*texts, *(GivenText(NEGATIVE, text) for text in chosen)])
    return given
