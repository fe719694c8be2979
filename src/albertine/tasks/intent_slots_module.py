"""The model of intents and slots: one body, a classifier over a text and a tagger over its tokens.

That is the joint model of Chen, Zhuo and Wang (2019), BERT for Joint Intent Classification and Slot Filling, section
3.2: the intent from the pooled first token, a slot tag from every token, and with `crf` a CRF above the tags.

Shapes: S tokens of a packed batch, T tokens of a text or a window, N texts, C intents, L tags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from albertine.errors import ConfigError
from albertine.models.body import BodyConfig, body_output_size
from albertine.models.config import EncoderConfig
from albertine.models.crf import IGNORED
from albertine.models.layers import initialize
from albertine.models.pooling import first_tokens
from albertine.records import Batch, Encoded, Example
from albertine.tasks import text_classification, token_classification
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.classification_problems import PROBLEMS
from albertine.tasks.config import TaskConfig, TaskOptions
from albertine.tasks.tagger import (
    Tagged,
    TaggingModule,
    TaggingOptions,
    TagScores,
    WindowTags,
    tag_log_shares,
    tagging_loss,
    window_tags,
)
from albertine.tasks.tagging_alignment import Scheme
from albertine.tasks.task import FloatArray, LossPart, text_rows

__all__ = [
    "Frame",
    "FrameScores",
    "IntentSlotTagger",
    "IntentSlotsOptions",
    "WindowFrame",
    "answer",
    "intent_part",
    "log_shares",
    "loss",
    "outputs",
    "slot_part",
]

_NEVER = -1e4
"""A logarithm of a probability that is 0 in any precision, with differences that are finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentSlotsOptions(TaskOptions):
    """What the joint task alone remembers, or can be asked for; the labels of the task are the intents."""

    slots: tuple[str, ...] | None = None
    """The types of slots; None for those of the training examples, sorted."""
    scheme: Scheme = "bioes"
    """The tags inside of the model, as in token classification."""
    crf: bool = False
    """Learn how tags follow on each other, as in token classification."""
    whole_words: bool | None = None
    """Slots begin and end between words only; None to do as the training slots do."""
    slot_weight: float = 1.0
    """What the loss of the slots counts beside that of the intent."""
    class_weights: tuple[float, ...] | None = None
    """What a training example of each intent counts; None where all count alike."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slot_weight) and self.slot_weight > 0):
            raise ConfigError("value out of range", where="slot_weight", received=self.slot_weight, allowed="above 0")


def intent_part(task_config: TaskConfig) -> TaskConfig:
    """Return what is remembered of the intents, as text classification knows it."""
    own = task_config.own(IntentSlotsOptions)
    return TaskConfig(
        task=text_classification.TASK.name,
        labels=task_config.labels,
        temperature=task_config.temperature,
        max_error=task_config.max_error,
        abstain_below=task_config.abstain_below,
        options=ClassificationOptions(class_weights=own.class_weights),
    )


def slot_part(task_config: TaskConfig) -> TaskConfig:
    """Return what is remembered of the slots, as token classification knows it."""
    own = task_config.own(IntentSlotsOptions)
    return TaskConfig(
        task=token_classification.TASK.name,
        labels=own.slots or (),
        max_length=task_config.max_length,
        overlap=task_config.overlap,
        options=TaggingOptions(scheme=own.scheme, crf=own.crf, whole_words=own.whole_words),
    )


class FrameScores(NamedTuple):
    """What the module says of a batch."""

    intents: Tensor
    """[N, C] logits."""
    tags: TagScores


class IntentSlotTagger(TaggingModule):
    """A body, a linear layer over the pooled vector and one over every token, with one dropout before them.

    A body without a pooler gives the last hidden state of the first token instead.

    Args:
        config: of the body.
        task_config: for the intents and the tags.
    """

    def __init__(self, config: BodyConfig, task_config: TaskConfig) -> None:
        super().__init__(config, slot_part(task_config))
        self.intents = nn.Linear(body_output_size(config), len(task_config.labels))
        if isinstance(config, EncoderConfig):
            initialize(self.intents, config.initializer_range)
        self.options = task_config.own(IntentSlotsOptions)

    def forward(self, batch: Batch) -> FrameScores:
        """Return the scores of every text's intents, and of every token's tags."""
        output = self.encoded(batch)
        pooled = output.pooler_output
        if pooled is None:
            pooled = first_tokens(output.last_hidden_state, batch.sequence_starts)
        return FrameScores(self.intents(self.dropout(pooled)), self.tag_scores(output))


def loss(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
    """Return the loss of the intents and that of the slots, each as its own task has it; the latter is weighted.

    The target of a text is a row of its length: the intent where [CLS] stands, a tag or nothing at every other token.
    """
    options = module.options if isinstance(module, IntentSlotTagger) else IntentSlotsOptions()
    scores: FrameScores = module(batch)
    intents, tags = _targets(batch)
    logits = scores.intents.float()
    if batch.groups is not None:
        logits, intents = text_classification.by_example(logits, intents, batch.groups)
    slots = tagging_loss(scores.tags, tags)
    return {
        "intent": PROBLEMS["single"].loss(logits, intents, ClassificationOptions(class_weights=options.class_weights)),
        "slots": replace(slots, total=options.slot_weight * slots.total),
    }


def _targets(batch: Batch) -> tuple[Tensor, Batch]:
    """Return the intent of every text, [N], and the batch with the tags alone for labels."""
    assert batch.labels is not None, "the loss needs labels"
    assert batch.label_starts is not None, "labels come with their starts"
    firsts = batch.label_starts[:-1]
    return batch.labels[firsts], replace(batch, labels=batch.labels.index_fill(0, firsts, IGNORED))


def log_shares(module: nn.Module, returned: Any, batch: Batch) -> Tensor:
    """Return the log-probabilities of intents and of the tags of tokens that have one, [N + M, max(C, L)].

    Raises:
        ConfigError: a CRF says how probable sequences are, not tokens.
    """
    del module
    scores: FrameScores = returned
    rows = [scores.intents.float().log_softmax(dim=-1), tag_log_shares(scores.tags, _targets(batch)[1])]
    width = max(one.shape[1] for one in rows)
    return torch.cat([functional.pad(one, (0, width - one.shape[1]), value=_NEVER) for one in rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFrame:
    """What the module says of a text or a window of one."""

    intents: FloatArray
    """[C] logits."""
    tags: WindowTags


def outputs(module: nn.Module, batch: Batch, task_config: TaskConfig) -> list[WindowFrame]:
    """Return what the module says of every text, or window of one."""
    scores: FrameScores = module(batch)
    tags = window_tags(scores.tags, batch, slot_part(task_config))
    return [
        WindowFrame(intents=intents, tags=one) for intents, one in zip(text_rows(scores.intents), tags, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What the model says of an example."""

    intents: FloatArray
    """[C] logits, the mean over its windows."""
    slots: Tagged


def answer(
    outputs: Sequence[WindowFrame], windows: Sequence[Encoded], example: Example, task_config: TaskConfig
) -> Frame:
    """Return intent and slots of an example, of all its windows."""
    return Frame(
        intents=text_classification.TASK.answer([one.intents for one in outputs], windows, example, task_config),
        slots=token_classification.TASK.answer([one.tags for one in outputs], windows, example, slot_part(task_config)),
    )
