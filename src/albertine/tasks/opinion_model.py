"""The model of opinions: a tagger for aspects and expressions, and a scorer of pairs of them over the same states.

Shapes: S tokens of a packed batch, N texts or windows of them, R rows of their targets (see `opinion_targets`), L tags,
C categories, P polarities, K tokens or opinions that something is predicted of.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from albertine.models.body import BodyConfig, body_output_size
from albertine.models.config import EncoderConfig
from albertine.models.layers import initialize
from albertine.models.pooling import first_tokens
from albertine.models.span_pairs import PairScores, SpanPairScorer
from albertine.records import Batch
from albertine.tasks.config import TaskConfig
from albertine.tasks.opinion_options import columns, options_of, tagging_of
from albertine.tasks.opinion_targets import NO_OPINION, PLACES
from albertine.tasks.tagger import TaggingModule, TagScores, tag_log_shares, tagging_loss
from albertine.tasks.task import LossPart

__all__ = ["OpinionModel", "OpinionScores", "Targets", "opinion_log_shares", "opinion_loss"]

_NO_SHARE = -1e4
"""The logarithm of a share that is 0 in float32."""


class Targets(NamedTuple):
    """The targets of a batch, taken apart."""

    tokens: Tensor
    """[S]."""
    rows: Tensor
    """[R, 4 + C]."""
    texts: Tensor
    """[R] which text a row belongs to."""


class OpinionScores(NamedTuple):
    """What the module says of a batch."""

    spans: TagScores
    """Of the tokens."""
    states: Tensor
    """[S, H]."""
    pooled: Tensor
    """[N, H]."""
    starts: Tensor
    """[N+1] the first token of every text and the end."""
    targets: Targets
    """As the batch has them."""
    pairs: PairScores
    """Of the rows."""


class OpinionModel(TaggingModule):
    """An encoder (or what stands in its place), and over its states a tagger and a scorer of pairs of spans.

    Args:
        config: of the body.
        task_config: for tags, categories and polarities.
    """

    def __init__(self, config: BodyConfig, task_config: TaskConfig) -> None:
        super().__init__(config, tagging_of(task_config))
        self.options = options_of(task_config)
        self.pairs = SpanPairScorer(
            body_output_size(config),
            categories=columns(self.options),
            polarities=len(task_config.labels),
            dropout=config.classifier_dropout_prob,
        )
        if isinstance(config, EncoderConfig):
            initialize(self.pairs, config.initializer_range)

    def forward(self, batch: Batch) -> OpinionScores:
        """Return the scores of every token's tags and of the rows of the targets, which every batch has."""
        output = self.encoded(batch)
        states, pooled = output.last_hidden_state, output.pooler_output
        if pooled is None:
            pooled = first_tokens(states, batch.sequence_starts)
        if batch.sequence_starts is not None:
            starts = batch.sequence_starts
        else:
            assert batch.attention_mask is not None, "a padded batch has a mask"
            states = states[batch.attention_mask.bool()]
            starts = functional.pad(batch.attention_mask.sum(dim=1).cumsum(0), (1, 0))
        targets = _targets(batch, starts, columns(self.options))
        aspects, expressions = targets.rows[:, :2], targets.rows[:, 2:PLACES]
        return OpinionScores(
            spans=self.tag_scores(output),
            states=states,
            pooled=pooled,
            starts=starts,
            targets=targets,
            pairs=self.pairs(states, pooled, starts, targets.texts, aspects, expressions),
        )


def _targets(batch: Batch, starts: Tensor, categories: int) -> Targets:
    assert batch.labels is not None, "encoded texts have targets, to be learnt or to be judged"
    assert batch.label_starts is not None, "labels come with their starts"
    of_value = torch.repeat_interleave(batch.label_starts.diff(), output_size=len(batch.labels))
    place = torch.arange(len(batch.labels), device=batch.labels.device) - batch.label_starts[of_value]
    token = place < starts.diff()[of_value]
    width = PLACES + categories
    return Targets(
        tokens=batch.labels[token],
        rows=batch.labels[~token].reshape(-1, width),
        texts=of_value[~token].reshape(-1, width)[:, 0],
    )


def opinion_loss(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
    """Return the loss in parts.

    `spans` is that of token classification, a token's mean. `presence` is the cross-entropy of whether a pair of spans
    is an opinion, summed over the categories, a pair's mean; it is named `category` where there are several, and absent
    where every aspect has an opinion. `polarity` is the cross-entropy of an opinion's polarity, an opinion's mean.
    """
    scores: OpinionScores = module(batch)
    parts = {"spans": tagging_loss(scores.spans, _tagged(batch, scores))}
    polarities = scores.targets.rows[:, PLACES:]
    present = polarities != NO_OPINION
    if not isinstance(module, OpinionModel) or module.options.presence:
        logits = scores.pairs.presence.float()
        total = functional.binary_cross_entropy_with_logits(logits, present.to(logits.dtype), reduction="sum")
        name = "category" if polarities.shape[1] > 1 else "presence"
        parts[name] = LossPart(total=total, weight=logits.new_tensor(len(polarities)))
    found = scores.pairs.polarity.float()[present]
    total = functional.cross_entropy(found, polarities[present], reduction="sum")
    parts["polarity"] = LossPart(total=total, weight=present.sum().to(total.dtype))
    return parts


def opinion_log_shares(module: nn.Module, returned: Any, batch: Batch) -> Tensor:
    """Return the log-probabilities of the tags of tokens and of the polarities of opinions, [K, max(L, P)].

    Raises:
        ConfigError: a CRF says how probable sequences are, not tokens.
    """
    del module
    scores: OpinionScores = returned
    tags = tag_log_shares(scores.spans, _tagged(batch, scores))
    present = scores.targets.rows[:, PLACES:] != NO_OPINION
    polarities = scores.pairs.polarity.float().log_softmax(dim=-1)[present]
    width = max(tags.shape[1], polarities.shape[1])
    filled = [functional.pad(one, (0, width - one.shape[1]), value=_NO_SHARE) for one in (tags, polarities)]
    return torch.cat(filled)


def _tagged(batch: Batch, scores: OpinionScores) -> Batch:
    """Return the batch with the tags of its tokens alone for labels."""
    return replace(batch, labels=scores.targets.tokens, label_starts=scores.starts)
