"""The losses of pretraining (masked words, text pairs, replaced tokens) and what is measured on held-out text.

N texts, S packed tokens, M masked places, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from albertine.batching.pretraining_batch import PretrainingBatch
from albertine.errors import ConfigError, DataError
from albertine.models.discriminator import ReplacedTokenModel
from albertine.models.heads import PretrainingModel
from albertine.models.word_prediction import predict_words
from albertine.records import Batch
from albertine.tasks.task import LossPart

__all__ = [
    "MASKED_WORDS",
    "PAIR",
    "REPLACED_TOKENS",
    "REPLACED_TOKENS_FACTOR",
    "PretrainingMetrics",
    "held_out_metrics",
    "ordinary_tokens",
    "part_weights",
    "pretraining_loss",
]

MASKED_WORDS = "masked_words"
PAIR = "pair"
REPLACED_TOKENS = "replaced_tokens"

REPLACED_TOKENS_FACTOR = 50.0
"""What the replaced-token loss counts beside the generator's (arXiv:2003.10555 section 3.1, lambda), so that both pull
about as hard: a yes or no costs a hundredth of a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outputs:
    """What the losses and the measurements are made of, for one batch."""

    masked_words: Tensor | None
    """Scalar, the sum of the cross entropies."""
    best_words: Tensor | None
    """[M], where they were asked for."""
    pair_logits: Tensor | None
    """[N, 2]."""
    replaced_logits: Tensor | None = None
    """[S]."""
    replaced: Tensor | None = None
    """[S] bool."""


def pretraining_loss(module: nn.Module, batch: PretrainingBatch) -> dict[str, LossPart]:
    """Return the loss of a batch as named sums.

    * `masked_words`: cross entropy of the M masked words in nats; weight M. Only these places are predicted.
    * `pair`: cross entropy of next sentence or sentence order; weight: the texts that have a label (one below 0 is
      none). Absent without a pair head or without labels.
    * `replaced_tokens`: of a `ReplacedTokenModel` only, binary cross entropy of every token of the text itself,
      [CLS] and [SEP] left out; weight: their number. The factor of 50 is inside the total and not in the weight: the
      part's `total / weight` is 50 times the mean cross entropy, the weight stays a count that adds up over
      micro-batches and processes, and the loop needs to know nothing of factors.

    Args:
        module: a `PretrainingModel` or a `ReplacedTokenModel`.
        batch: a packed batch, on the module's device.

    Raises:
        ConfigError: another module, or one without any head that this batch could train.
    """
    outputs = _run(module, batch, best=False)
    parts = {}
    if outputs.masked_words is not None:
        parts[MASKED_WORDS] = LossPart(total=outputs.masked_words, weight=_count(batch.positions.numel(), outputs))
    if outputs.pair_logits is not None and batch.pair_labels is not None:
        known = batch.pair_labels >= 0
        losses = F.cross_entropy(outputs.pair_logits.float(), batch.pair_labels.clamp_min(0), reduction="none")
        parts[PAIR] = LossPart(total=(losses * known).sum(), weight=known.sum().float())
    if outputs.replaced_logits is not None and outputs.replaced is not None:
        counted = ordinary_tokens(batch.batch)
        losses = F.binary_cross_entropy_with_logits(
            outputs.replaced_logits.float(), outputs.replaced.float(), reduction="none"
        )
        total = REPLACED_TOKENS_FACTOR * (losses * counted).sum()
        parts[REPLACED_TOKENS] = LossPart(total=total, weight=counted.sum().float())
    if not parts:
        raise ConfigError(
            "nothing in this model learns from this batch",
            received="a model without a masked-word head, and no pair to judge",
            next_step="Give the model a masked-word head, or the batches pair labels",
        )
    return parts


def part_weights(module: nn.Module, batch: PretrainingBatch) -> dict[str, float]:
    """Return the weights that `pretraining_loss` will give its parts, without running the module.

    Args:
        module: as there.
        batch: as there.
    """
    weights = {}
    replaced = isinstance(module, ReplacedTokenModel)
    if replaced or getattr(module, "masked_word_head", None) is not None:
        weights[MASKED_WORDS] = float(batch.positions.numel())
    if getattr(module, "pair_head", None) is not None and batch.pair_labels is not None:
        weights[PAIR] = float((batch.pair_labels >= 0).sum())
    if replaced:
        weights[REPLACED_TOKENS] = float(ordinary_tokens(batch.batch).sum())
    return weights


def ordinary_tokens(batch: Batch) -> Tensor:
    """Return [S] bool: the tokens of a packed batch that are text, not [CLS] or [SEP].

    Every text is `[CLS] first [SEP]` or `[CLS] first [SEP] second [SEP]`, so that the special tokens follow from where
    texts begin and segments change.
    """
    starts, types = batch.sequence_starts, batch.token_type_ids
    assert starts is not None, "packed"
    starts = starts.to(types.device)
    ordinary = torch.ones_like(types, dtype=torch.bool)
    # the last token of a first segment; a change between two texts falls on the last token of one, special anyway
    ordinary[:-1] = types[1:] == types[:-1]
    ordinary[starts[:-1]] = False
    ordinary[starts[1:] - 1] = False
    return ordinary


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingMetrics:
    """How well held-out text is predicted; None for what the model or the batches do not have."""

    masked_word_loss: float | None = None
    """Mean cross entropy of the masked words in nats; the generator's in replaced-token detection."""
    perplexity: float | None = None
    """e to that power."""
    masked_accuracy: float | None = None
    """Share of the masked words whose most probable word is the right one; the generator's, as above."""
    pair_accuracy: float | None = None
    """Share of the pairs judged right; 0.5 is chance."""
    replaced_accuracy: float | None = None
    """Share of the tokens judged right, replaced or not. Saying "never replaced" already gives about 0.9."""
    replaced_auc: float | None = None
    """Chance that a replaced token scores above one that is not: 0.5 knows nothing, 1 is perfect."""
    masked_words: int = 0
    """Masked words that were predicted."""
    pairs: int = 0
    """Pairs that were judged."""
    tokens: int = 0
    """Tokens that were read, special ones included."""

    def to_dict(self) -> dict[str, float | int | None]:
        """Return every field under its name, ready for JSON."""
        return dataclasses.asdict(self)


def held_out_metrics(
    module: nn.Module, batches: Iterable[PretrainingBatch], precision: Literal["fp32", "bf16"] = "fp32"
) -> PretrainingMetrics:
    """Measure a model on batches, without dropout; the same weights and batches give the same numbers.

    Args:
        module: a `PretrainingModel` or a `ReplacedTokenModel`; it leaves in the mode in which it came.
        batches: fixed ones, at least one.
        precision: of the matrix products.

    Raises:
        DataError: there are no batches.
        ConfigError: another module.
    """
    device = next(module.parameters()).device
    sums = _Sums()
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            for batch in batches:
                on_device = batch.to(device)
                sums.add(on_device, _run(module, on_device, best=True))
    finally:
        module.train(training)
    if not sums.tokens:
        raise DataError("there is no held-out text to measure on", next_step="Set more documents apart")
    return sums.metrics()


class _Sums:
    """What is counted over the batches of an evaluation."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.words = self.right_words = self.pairs = self.right_pairs = self.tokens = 0
        self.scores: list[npt.NDArray[np.float32]] = []
        self.replaced: list[npt.NDArray[np.bool_]] = []

    def add(self, batch: PretrainingBatch, outputs: _Outputs) -> None:
        """Count a batch."""
        self.tokens += batch.batch.token_count
        if outputs.masked_words is not None and outputs.best_words is not None:
            self.loss += float(outputs.masked_words)
            self.words += batch.targets.numel()
            self.right_words += int((outputs.best_words == batch.targets).sum())
        if outputs.pair_logits is not None and batch.pair_labels is not None:
            self.pairs += int((batch.pair_labels >= 0).sum())
            self.right_pairs += int((outputs.pair_logits.argmax(dim=-1) == batch.pair_labels).sum())
        if outputs.replaced_logits is not None and outputs.replaced is not None:
            counted = ordinary_tokens(batch.batch)
            self.scores.append(outputs.replaced_logits[counted].float().cpu().numpy())
            self.replaced.append(outputs.replaced[counted].cpu().numpy())

    def metrics(self) -> PretrainingMetrics:
        """Divide."""
        loss = self.loss / self.words if self.words else None
        scores = np.concatenate([np.zeros(0, dtype=np.float32), *self.scores])
        replaced = np.concatenate([np.zeros(0, dtype=np.bool_), *self.replaced])
        return PretrainingMetrics(
            masked_word_loss=loss,
            perplexity=None if loss is None else math.exp(min(loss, 700.0)),
            masked_accuracy=self.right_words / self.words if self.words else None,
            pair_accuracy=self.right_pairs / self.pairs if self.pairs else None,
            replaced_accuracy=float(np.mean((scores > 0) == replaced)) if len(scores) else None,
            replaced_auc=_area_under_curve(scores, replaced),
            masked_words=self.words,
            pairs=self.pairs,
            tokens=self.tokens,
        )


def _area_under_curve(scores: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_]) -> float | None:
    """Return the chance that a positive scores above a negative, equal scores counting half; None without both."""
    if positive.all() or not positive.any():
        return None
    negatives = np.sort(scores[~positive])
    below = np.searchsorted(negatives, scores[positive], side="left")
    up_to = np.searchsorted(negatives, scores[positive], side="right")
    return float((below + up_to).mean() / (2 * len(negatives)))


def _run(module: nn.Module, batch: PretrainingBatch, *, best: bool) -> _Outputs:
    """Run encoder and heads."""
    if isinstance(module, ReplacedTokenModel):
        made = module(batch.batch, batch.positions, batch.targets, best=best)
        return _Outputs(
            masked_words=made.masked_words,
            best_words=made.best_words,
            pair_logits=made.pair_logits,
            replaced_logits=made.replaced_logits,
            replaced=made.replaced,
        )
    if not isinstance(module, PretrainingModel):
        raise ConfigError(
            "this model cannot be pretrained",
            received=type(module).__name__,
            allowed="PretrainingModel, ReplacedTokenModel",
        )
    packed = batch.batch
    encoded = module.encoder(
        packed.input_ids,
        token_type_ids=packed.token_type_ids,
        position_ids=packed.position_ids,
        sequence_starts=packed.sequence_starts,
        # nothing but the masked words and the pooler looks at the last states
        positions=None if module.masked_word_head is None else batch.positions,
    )
    words = best_words = None
    if module.masked_word_head is not None:
        head, embeddings = module.masked_word_head, module.encoder.embeddings
        hidden = head.words(encoded.last_hidden_state, embeddings)
        prediction = predict_words(hidden, head.table(embeddings), head.bias, batch.targets, best=best)
        words, best_words = prediction.total, prediction.best
    pair = None if module.pair_head is None else module.pair_head(encoded.pooler_output)
    return _Outputs(masked_words=words, best_words=best_words, pair_logits=pair)


def _count(number: int, outputs: _Outputs) -> Tensor:
    """Return a count as a weight, on the device of the losses."""
    assert outputs.masked_words is not None, "asked for beside it"
    return torch.tensor(float(number), device=outputs.masked_words.device)
