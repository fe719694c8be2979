"""From a model's scores to opinions: spans that are found, pairs of them, and what an example asks about.

Shapes: T tokens of a window, A aspects of it and E expressions, one that is implied among them, C categories,
P polarities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from albertine.data.opinion_files import ASPECT, EXPRESSION, in_order
from albertine.models.crf import BoolArray, best_paths, path_probabilities
from albertine.models.span_pairs import PairScores
from albertine.records import Batch, Encoded, Example, IntArray, Opinion, Span
from albertine.tasks.config import TaskConfig
from albertine.tasks.opinion_model import OpinionModel, OpinionScores
from albertine.tasks.opinion_options import OpinionOptions, options_of, tagging_of
from albertine.tasks.opinion_targets import marked_spans
from albertine.tasks.opinion_windows import IMPLIED, Place, TextWindows
from albertine.tasks.tagger import tags_of, window_tags
from albertine.tasks.task import FloatArray

__all__ = ["Said", "WindowOpinions", "opinion_answer", "opinion_outputs"]

_PRESENT = 0.5
"""From this probability on, a pair is an opinion."""
_PAIRS = 16_384
"""Pairs that are scored at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowOpinions:
    """What the module says of a text, or a window of one; tokens are counted within it, 0 is the first special one."""

    aspects: dict[Place, float]
    """[A] what may be spoken of: first the implied one, then those found with their probability, then those that only
    the example names, with 0."""
    expressions: dict[Place, float]
    """[E] likewise."""
    presence: FloatArray
    """[A, E, C] the probability that the pair is an opinion of the category; 1 where that was not to be learnt."""
    polarity: FloatArray
    """[A, E, C, P] of that opinion."""


def opinion_outputs(module: nn.Module, batch: Batch, task_config: TaskConfig) -> list[WindowOpinions]:
    """Find the spans of every text, or window of one, and score all pairs of them."""
    assert isinstance(module, OpinionModel), "the task's own module"
    scores: OpinionScores = module(batch)
    found = _spans(scores, batch, task_config)
    rows: IntArray = scores.targets.rows.cpu().numpy()
    for text, places in zip(scores.targets.texts.tolist(), rows[:, :4].tolist(), strict=True):
        for spans, place in zip(found[text], ((places[0], places[1]), (places[2], places[3])), strict=True):
            spans.setdefault(place, 0.0)
    counts = [len(aspects) * len(expressions) for aspects, expressions in found]
    grid = [
        (*aspect, *expression) for aspects, expressions in found for aspect in aspects for expression in expressions
    ]
    device = scores.states.device
    pairs = torch.tensor(grid, device=device)
    texts = torch.repeat_interleave(torch.arange(len(found), device=device), torch.tensor(counts, device=device))
    said = [_pairs(module, scores, texts[part], pairs[part]) for part in _parts(len(pairs))]
    presence: FloatArray = np.concatenate([one.presence.sigmoid().cpu().numpy() for one in said])
    polarity: FloatArray = np.concatenate([one.polarity.softmax(dim=-1).cpu().numpy() for one in said])
    if not options_of(task_config).presence:
        presence = np.ones_like(presence)
    outputs = []
    begin = 0
    for (aspects, expressions), count in zip(found, counts, strict=True):
        part, shape = slice(begin, begin + count), (len(aspects), len(expressions))
        begin += count
        outputs.append(
            WindowOpinions(
                aspects=aspects,
                expressions=expressions,
                presence=presence[part].reshape(*shape, *presence.shape[1:]),
                polarity=polarity[part].reshape(*shape, *polarity.shape[1:]),
            )
        )
    return outputs


def _parts(count: int) -> Iterator[slice]:
    for first in range(0, count, _PAIRS):
        yield slice(first, first + _PAIRS)


def _pairs(module: OpinionModel, scores: OpinionScores, texts: Tensor, pairs: Tensor) -> PairScores:
    said: PairScores = module.pairs(scores.states, scores.pooled, scores.starts, texts, pairs[:, :2], pairs[:, 2:])
    return PairScores(said.presence.float(), said.polarity.float())


def _spans(
    scores: OpinionScores, batch: Batch, task_config: TaskConfig
) -> list[tuple[dict[Place, float], dict[Place, float]]]:
    """Return the aspects and the expressions of every text with their probabilities, the implied ones first."""
    tagging = tagging_of(task_config)
    tags = tags_of(tagging)
    held: BoolArray = scores.targets.tokens.cpu().numpy() == 1
    starts = scores.starts.tolist()
    found = []
    for window, begin, end in zip(window_tags(scores.spans, batch, tagging), starts, starts[1:], strict=False):
        path, probabilities, parted = window.tags, window.probabilities, held[begin + 1 : end - 1]
        if (parted[1:] & ~tags.holding[path[:-1], path[1:]]).any():
            whole = np.array([0, len(path)])
            path = best_paths(window.emissions, whole, window.chain, held=parted, holding=tags.holding)
            probabilities = path_probabilities(window.emissions, whole, window.chain, path, continuing=tags.continuing)
        spans: dict[str, dict[Place, float]] = {ASPECT: {IMPLIED: 1.0}, EXPRESSION: {IMPLIED: 1.0}}
        for run in tags.runs(path):
            spans[tagging.labels[run.label]][run.first + 1, run.last + 1] = probabilities.of_run(run.first, run.last)
        found.append((spans[ASPECT], spans[EXPRESSION]))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the model says of an example."""

    spans: tuple[Span, ...]
    """The aspects and expressions that were found, in the order of the text."""
    opinions: tuple[Opinion, ...]
    """The opinions that were found. The score of one is the probability of its spans, times that of the pair being an
    opinion, times that of the polarity."""
    judged: tuple[Opinion, ...]
    """The example's own opinions, in their order, with the polarity that the model gives them; the score is that of
    the polarity."""
    unrepresentable: tuple[Span, ...]
    """Spans of the example itself that do not begin and end where tokens do, or overlap others: no model can find
    them."""


def opinion_answer(
    outputs: Sequence[WindowOpinions], windows: Sequence[Encoded], example: Example, task_config: TaskConfig
) -> Said:
    """Return the opinions of an example.

    A span is found in the window that owns its first token. A pair is judged in the window that has most context for
    it among those that have both of its spans; one of which both sides are implied by the mean of all windows. An
    expression that an example's opinion does not give is the one that makes an opinion with its aspect most probable.
    """
    answers = _Answers(outputs, windows, example, task_config)
    return Said(
        spans=tuple(sorted(answers.spans.values(), key=lambda one: (one.start, one.end, one.label))),
        opinions=in_order(list(answers.opinions())),
        judged=tuple(answers.judged(one) for one in example.opinions or ()),
        unrepresentable=answers.text.inexact(marked_spans(example, task_config)) if example.opinions else (),
    )


class _Answers:
    """The outputs of all windows of an example, looked up by the tokens of the whole text."""

    def __init__(
        self,
        outputs: Sequence[WindowOpinions],
        windows: Sequence[Encoded],
        example: Example,
        task_config: TaskConfig,
    ) -> None:
        self.outputs = outputs
        self.options: OpinionOptions = options_of(task_config)
        self.labels = task_config.labels
        self.categories = self.options.categories or ("",)
        self.text = TextWindows(example.text, windows, tagging_of(task_config))
        self.spans = self._found(windows)
        """The spans that were found, by label and tokens."""

    def opinions(self) -> Iterator[Opinion]:
        """Yield the opinions that were found."""
        aspects = [place for label, place in self.spans if label == ASPECT]
        expressions = [place for label, place in self.spans if label == EXPRESSION]
        implied = not self.options.expressions or self.options.implied_expressions
        for aspect in ([IMPLIED] if self.options.implied_aspects else []) + aspects:
            for expression in ([IMPLIED] if implied else []) + expressions:
                said = self._said(aspect, expression)
                if said is None:
                    continue
                presence, polarity = said
                certain = aspect != IMPLIED and not self.options.expressions
                chosen = np.flatnonzero(presence >= _PRESENT).tolist()
                for category in chosen or ([int(presence.argmax())] if certain else []):
                    best = int(polarity[category].argmax())
                    spans = self.spans.get((ASPECT, aspect)), self.spans.get((EXPRESSION, expression))
                    chances = [span.score for span in spans if span is not None]
                    yield Opinion(
                        aspect=spans[0],
                        expression=spans[1],
                        polarity=self.labels[best],
                        category=self.categories[category],
                        score=float(np.prod([*chances, presence[category], polarity[category, best]])),
                    )

    def judged(self, opinion: Opinion) -> Opinion:
        """Return an opinion of which aspect, and maybe expression and category, are given, with its polarity."""
        aspect = self.text.place(opinion.aspect) or IMPLIED
        expression = self.text.place(opinion.expression) or IMPLIED if self.options.expressions else IMPLIED
        choices = [expression]
        if self.options.expressions and expression == IMPLIED:
            choices += [place for label, place in self.spans if label == EXPRESSION]
            if not self.options.implied_expressions and len(choices) > 1:
                choices = choices[1:]
        said = {place: one for place in choices if (one := self._said(aspect, place)) is not None}
        if not said:  # no window holds both
            said = {IMPLIED: self._said(aspect, IMPLIED) or self._said(IMPLIED, IMPLIED) or self._mean()}
        known = self.categories.index(opinion.category) if opinion.category in self.categories else None
        wanted = slice(None) if known is None else slice(known, known + 1)
        place = max(said, key=lambda one: float(said[one][0][wanted].max()))
        presence, polarity = said[place]
        category = int(presence.argmax()) if known is None else known
        best = int(polarity[category].argmax())
        return replace(
            opinion,
            expression=opinion.expression or self.spans.get((EXPRESSION, place)),
            polarity=self.labels[best],
            category=opinion.category or self.categories[category],
            score=float(polarity[category, best]),
        )

    def _found(self, windows: Sequence[Encoded]) -> dict[tuple[str, Place], Span]:
        """Return the spans that were found, each in the window that owns its first token."""
        found: dict[tuple[str, Place], Span] = {}
        for index, (output, window) in enumerate(zip(self.outputs, windows, strict=True)):
            for label, places in ((ASPECT, output.aspects), (EXPRESSION, output.expressions)):
                for place, chance in places.items():
                    if place == IMPLIED or not chance or not (window.owned is None or window.owned[place[0]]):
                        continue
                    whole = self.text.outside(index, place)
                    start, end = self.text.characters(whole)
                    if start < end:
                        span = Span(start=start, end=end, label=label, score=chance, text=self.text.text[start:end])
                        found[label, whole] = span
        return found if len(windows) == 1 else _without_overlaps(found)

    def _said(self, aspect: Place, expression: Place) -> tuple[FloatArray, FloatArray] | None:
        """Return presence [C] and polarity [C, P] of a pair; None where no window has both of its spans."""
        if aspect == expression == IMPLIED:
            return self._mean()
        best, found = -1.0, None
        for index, output in enumerate(self.outputs):
            places = self.text.inside(index, aspect), self.text.inside(index, expression)
            if places[0] in output.aspects and places[1] in output.expressions:
                context = self.text.context(index, aspect, expression)
                if context > best:
                    row, column = list(output.aspects).index(places[0]), list(output.expressions).index(places[1])
                    best, found = context, (output.presence[row, column], output.polarity[row, column])
        return found

    def _mean(self) -> tuple[FloatArray, FloatArray]:
        presence: FloatArray = np.mean([one.presence[0, 0] for one in self.outputs], axis=0)
        polarity: FloatArray = np.mean([one.polarity[0, 0] for one in self.outputs], axis=0)
        return presence, polarity


def _without_overlaps(found: dict[tuple[str, Place], Span]) -> dict[tuple[str, Place], Span]:
    """Leave out what overlaps a more probable span, as windows may see a text differently where they meet."""
    kept: dict[tuple[str, Place], Span] = {}
    for key, span in sorted(found.items(), key=lambda one: -one[1].score):
        if all(span.end <= other.start or other.end <= span.start for other in kept.values()):
            kept[key] = span
    return kept
