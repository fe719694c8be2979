"""The model of token classification: what it is trained on, and from its scores to the spans of a text.

The head is that of Devlin et al. (2018), section 5.3, with a search for the best sequence of tags that may be (Lester
et al. 2020, Constrained Decoding for Computationally Efficient Named Entity Recognition Taggers), or a CRF above it.

Shapes: S tokens of a packed batch, T tokens of a text or a window, M of them without special ones, N texts, L tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from albertine.errors import ConfigError
from albertine.models.body import BodyConfig, body_output_size, build_body
from albertine.models.config import EncoderConfig
from albertine.models.crf import (
    CRF,
    IGNORED,
    BoolArray,
    Chain,
    FloatArray,
    PathProbabilities,
    best_paths,
    decoding_chain,
    negative_log_likelihood,
    path_probabilities,
)
from albertine.models.encoder import EncoderOutput
from albertine.models.layers import initialize
from albertine.records import Batch, Encoded, Example, IntArray, Span
from albertine.tasks.config import TaskConfig, TaskOptions
from albertine.tasks.tagging_alignment import (
    Scheme,
    TagSet,
    foreign_tag_set,
    held_tokens,
    place_spans,
    tag_set,
    token_span,
)
from albertine.tasks.task import LossPart

__all__ = [
    "TagScores",
    "Tagged",
    "Tagger",
    "TaggingModule",
    "TaggingOptions",
    "WindowTags",
    "answer",
    "log_shares",
    "loss",
    "outputs",
    "tag_log_shares",
    "tagging_loss",
    "tags_of",
    "tokens_held",
    "window_tags",
]

_CRF_RATE_RATIO = 100.0
"""How much faster than an encoder's weights transitions move: encoders are tuned at some 1e-5, baselines at 1e-3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggingOptions(TaskOptions):
    """What token classification alone remembers."""

    scheme: Scheme = "bioes"
    """The tags inside of the model; the files may have others. Tags of their own for ends and single tokens tell the
    search more about what may be, and are better on average (Ratinov and Roth 2009)."""
    crf: bool = False
    """Learn how tags follow on each other. The rules are kept either way; what a CRF adds to them is small beside a
    good encoder and more beside a small one."""
    whole_words: bool | None = None
    """Spans begin and end between words only; None to do as the training spans do."""
    tags: tuple[str, ...] | None = None
    """The tags of a head that another program trained; None for those of `scheme`."""


class TagScores(NamedTuple):
    """What the module says of a batch."""

    emissions: Tensor
    """[S, L] packed, [B, T, L] padded."""
    chain: Chain[Tensor] | None
    """The scores of transitions; None without a CRF."""


class TaggingModule(nn.Module):
    """An encoder (or what stands in its place), dropout, and a linear layer over every token.

    What is made of them when the module is called, its subclasses say.

    Args:
        config: of the body.
        task_config: for the tags.
    """

    def __init__(self, config: BodyConfig, task_config: TaskConfig) -> None:
        super().__init__()
        tags = tags_of(task_config)
        self.body = build_body(config)
        self.dropout = nn.Dropout(config.classifier_dropout_prob)
        self.classifier = nn.Linear(body_output_size(config), len(tags.names))
        ratio = 1.0
        if isinstance(config, EncoderConfig):
            initialize(self.classifier, config.initializer_range)
            ratio = _CRF_RATE_RATIO
        self.crf = CRF(tags.rules, rate_ratio=ratio) if task_config.own(TaggingOptions).crf else None

    def encoded(self, batch: Batch) -> EncoderOutput:
        """Run the body."""
        output: EncoderOutput = self.body(
            batch.input_ids,
            attention_mask=batch.attention_mask,
            token_type_ids=batch.token_type_ids,
            sequence_starts=batch.sequence_starts,
            position_ids=batch.position_ids,
        )
        return output

    def tag_scores(self, output: EncoderOutput) -> TagScores:
        """Return the scores of every token's tags, special tokens among them."""
        emissions: Tensor = self.classifier(self.dropout(output.last_hidden_state))
        return TagScores(emissions, None if self.crf is None else self.crf())


class Tagger(TaggingModule):
    """The model of token classification."""

    def forward(self, batch: Batch) -> TagScores:
        """Return the scores of every token's tags, special tokens among them."""
        return self.tag_scores(self.encoded(batch))


def loss(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
    """Return the loss of the tags."""
    return {"tagging": tagging_loss(module(batch), batch)}


def tagging_loss(scores: TagScores, batch: Batch) -> LossPart:
    """Return the cross-entropy of every token's tag, or the likelihood of every text's tags under the CRF.

    Both weigh as many as there are tokens, so that they are of one size. A text in windows is one sequence to the CRF.
    """
    assert batch.labels is not None, "the loss needs labels"
    emissions, starts = _packed(scores.emissions, batch)
    if scores.chain is None:
        total = functional.cross_entropy(emissions.float(), batch.labels, ignore_index=IGNORED, reduction="sum")
    else:
        total = negative_log_likelihood(
            emissions, batch.labels, scores.chain, sequence_starts=starts, groups=batch.groups
        ).sum()
    return LossPart(total=total, weight=(batch.labels != IGNORED).sum().to(total.dtype))


def log_shares(module: nn.Module, returned: Any, batch: Batch) -> Tensor:
    """Return the log-probabilities of the tags of every token that has one, [M, L].

    Raises:
        ConfigError: a CRF says how probable sequences are, not tokens.
    """
    del module
    return tag_log_shares(returned, batch)


def tag_log_shares(scores: TagScores, batch: Batch) -> Tensor:
    """Return what `log_shares` does, of scores, and raise what it raises."""
    if scores.chain is not None:
        raise ConfigError(
            "a CRF gives no probabilities of single tokens to compare", where="r_drop", received="crf=true"
        )
    assert batch.labels is not None, "in training tokens have tags"
    return _packed(scores.emissions, batch)[0].float().log_softmax(dim=-1)[batch.labels != IGNORED]


def _packed(values: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the real tokens of all texts, [S, …], and where each text starts, [N+1]."""
    if batch.sequence_starts is not None:
        return values, batch.sequence_starts
    assert batch.attention_mask is not None, "a padded batch has a mask"
    return values[batch.attention_mask.bool()], functional.pad(batch.attention_mask.sum(dim=1).cumsum(0), (1, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowTags:
    """What the module says of a text or a window of one, [M, …]: its tags as if it were whole, and their grounds."""

    emissions: FloatArray
    """[M, L] logarithms of probabilities."""
    chain: Chain[FloatArray]
    """What transitions score; shared by all windows of a batch."""
    tags: IntArray
    """[M] the best sequence."""
    probabilities: PathProbabilities
    """Of these tags."""


def outputs(module: nn.Module, batch: Batch, task_config: TaskConfig) -> list[WindowTags]:
    """Return scores and best tags of every text, or window of one."""
    return window_tags(module(batch), batch, task_config)


def window_tags(scores: TagScores, batch: Batch, task_config: TaskConfig) -> list[WindowTags]:
    """Return scores and best tags of every text, or window of one; the search runs over the whole batch at a time."""
    tags = tags_of(task_config)
    values, text_starts = _packed(scores.emissions.float().log_softmax(dim=-1), batch)
    starts: IntArray = text_starts.cpu().numpy()
    inner = np.ones(len(values), dtype=np.bool_)
    inner[starts[:-1]] = inner[starts[1:] - 1] = False
    emissions: FloatArray = values.cpu().numpy()[inner]
    starts = starts - 2 * np.arange(len(starts))
    learnt = None if scores.chain is None else Chain(*(one.float().cpu().numpy() for one in scores.chain))
    chain = decoding_chain(tags.rules, learnt)
    path = best_paths(emissions, starts, chain)
    with_spans = np.unique(np.searchsorted(starts, np.flatnonzero(tags.types[path] >= 0), side="right") - 1)
    probabilities = path_probabilities(emissions, starts, chain, path, continuing=tags.continuing, sequences=with_spans)
    parts = [slice(*ends) for ends in zip(starts.tolist(), starts[1:].tolist(), strict=False)]
    return [
        WindowTags(emissions=emissions[part], chain=chain, tags=path[part], probabilities=probabilities.part(part))
        for part in parts
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """What the model says of an example."""

    spans: tuple[Span, ...]
    """In the order of the text. A span's score is the probability that it stands there, exactly so and with this type:
    the share that all sequences of tags with it have among all that may be."""
    unrepresentable: tuple[Span, ...]
    """Spans of the example itself that do not begin and end where tokens do, so that no model could find them."""


def answer(
    outputs: Sequence[WindowTags], windows: Sequence[Encoded], example: Example, task_config: TaskConfig
) -> Tagged:
    """Return the spans of an example: the best sequence of tags over all tokens, each from the window that owns it.

    A text of one window has its tags already, unless they would part a word where spans end between words.
    """
    owned = [_owned(window) for window in windows]
    offsets: IntArray = np.concatenate([_offsets(window)[own] for window, own in zip(windows, owned, strict=True)])
    held = tokens_held(example, offsets, task_config)
    tags = tags_of(task_config)
    path, probabilities = outputs[0].tags, outputs[0].probabilities
    if len(outputs) > 1 or (held[1:] & ~tags.holding[path[:-1], path[1:]]).any():
        emissions: FloatArray = np.concatenate([one.emissions[own] for one, own in zip(outputs, owned, strict=True)])
        whole, chain = np.array([0, len(emissions)]), outputs[0].chain
        path = best_paths(emissions, whole, chain, held=held, holding=tags.holding)
        probabilities = path_probabilities(emissions, whole, chain, path, continuing=tags.continuing)
    spans = []
    for run in tags.runs(path):
        start, end = token_span(example.text, offsets, run.first, run.last)
        if start < end:
            score = probabilities.of_run(run.first, run.last)
            label = task_config.labels[run.label]
            spans.append(Span(start=start, end=end, label=label, score=score, text=example.text[start:end]))
    placed = place_spans(example.text, offsets, held, example.spans) if example.spans else []
    return Tagged(spans=tuple(spans), unrepresentable=tuple(one.span for one in placed if not one.exact))


def _owned(window: Encoded) -> BoolArray:
    """Say which tokens a window answers for, [M]."""
    return np.ones(len(window) - 2, dtype=np.bool_) if window.owned is None else window.owned[1:-1]


def _offsets(window: Encoded) -> IntArray:
    """Return the character ranges of a window's tokens, [M, 2]."""
    assert window.offsets is not None, "offsets were asked for"
    return window.offsets[1:-1]


def tags_of(task_config: TaskConfig) -> TagSet:
    """Return the tags of a model."""
    options = task_config.own(TaggingOptions)
    return tag_set(task_config.labels, options.scheme) if options.tags is None else foreign_tag_set(options.tags)


def tokens_held(example: Example, offsets: IntArray, task_config: TaskConfig) -> BoolArray:
    """Say which tokens of a text no span of this model can part from the one before, [M]; offsets are [M, 2]."""
    return held_tokens(example.text, offsets, whole_words=bool(task_config.own(TaggingOptions).whole_words))
