"""What a model of opinions is given beside the tokens: a number a token, then rows of pairs of spans.

In training a token's number is its tag, and the rows are the opinions of the data and pairs that are none. Else the
number says whether the token is held together with the one before, and the rows are the spans that an example speaks
of, so that they are judged beside those that are found. T tokens of a window, R rows, C categories.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from albertine.errors import DataError, did_you_mean
from albertine.records import Encoded, EncodedExamples, Example, IntArray, Opinion, Span
from albertine.tasks import token_classification
from albertine.tasks.config import TaskConfig
from albertine.tasks.opinion_options import columns, options_of, tagging_of
from albertine.tasks.opinion_windows import IMPLIED, Place, TextWindows
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["NO_OPINION", "PLACES", "check_opinions", "encode_opinions", "marked_spans"]

PLACES = 4
"""Columns of a row before those of the categories: the ends of aspect and expression, as the window counts tokens."""
NO_OPINION = -1
"""What a row has for a category in which the pair is no opinion; else it has the index of the polarity."""

_Row = tuple[Place, Place, Sequence[int]]
"""Aspect and expression by the tokens of the whole text, and the polarity in every category."""


def encode_opinions(
    tokenizer: Tokenizer, examples: Sequence[Example], task_config: TaskConfig, *, labelled: bool
) -> EncodedExamples:
    """Turn examples into token ids, texts that are too long as windows, each with a target [T + R * (4 + C)].

    A pair is learnt in the window that has most context for it; one of which both sides are implied in all of them.
    Pairs that no window holds whole are not learnt. Spans that do not end where tokens do are learnt as the tokens that
    hold them, and a warning lists them.

    Raises:
        DataError: a pair of texts; with `labelled`, an example that does not say its opinions or their polarities, or
            a polarity or category that the task does not know.
    """
    if labelled:
        check_opinions(examples, task_config)
    tagged = [
        replace(one, spans=marked_spans(one, task_config) if labelled else None, opinions=None) for one in examples
    ]
    tagging = tagging_of(task_config)
    encoded = token_classification.TASK.encode(tokenizer, tagged, tagging, labelled=labelled)
    items: list[Encoded] = []
    for index, example in enumerate(examples):
        windows = encoded.of_example(index)
        text = TextWindows(example.text, windows, tagging)
        rows = _training_rows(example, text, task_config) if labelled else []
        owners = [text.best(aspect, expression) for aspect, expression, _ in rows]
        for place, window in enumerate(windows):
            tokens = text.held[text.places[place]] if window.target is None else window.target
            own = _learnt_in(place, rows, owners, text) if labelled else _asked_in(place, example, text, task_config)
            items.append(replace(window, target=_target(tokens, own, columns(options_of(task_config)))))
    return replace(encoded, items=tuple(items))


def _target(tokens: npt.NDArray[np.generic], rows: Iterable[_Row], categories: int) -> IntArray:
    flat = [(*aspect, *expression, *polarities) for aspect, expression, polarities in rows]
    table = np.array(flat, dtype=np.int64).reshape(-1, PLACES + categories)
    return np.concatenate([tokens.astype(np.int64), table.ravel()])


def marked_spans(example: Example, task_config: TaskConfig) -> tuple[Span, ...]:
    """Return the aspects and, where the model finds them, the expressions of an example, each once, by place."""
    opinions = example.opinions or ()
    spans = [one.aspect for one in opinions]
    if options_of(task_config).expressions:
        spans += [one.expression for one in opinions]
    labels = tagging_of(task_config).labels
    found = {(one.start, one.end, labels.index(one.label)): one for one in spans if one is not None}
    return tuple(found[key] for key in sorted(found))


# --- in training


def _learnt_in(window: int, rows: Sequence[_Row], owners: Sequence[int | None], text: TextWindows) -> list[_Row]:
    found: list[_Row] = []
    for (aspect, expression, polarities), owner in zip(rows, owners, strict=True):
        if aspect == expression == IMPLIED or owner == window:
            here = text.inside(window, aspect), text.inside(window, expression)
            assert here[0] is not None
            assert here[1] is not None
            found.append((here[0], here[1], polarities))
    return found


def _training_rows(example: Example, text: TextWindows, task_config: TaskConfig) -> list[_Row]:
    """Return the opinions of an example, and pairs that are none.

    Those are every other aspect with every other expression. Where expressions are found, also what a tagger may
    find by mistake: a span that is a token longer or shorter, and a piece of the text that is neither.
    """
    options = options_of(task_config)
    count = columns(options)
    rows: dict[tuple[Place, Place], list[int]] = {}
    for opinion in example.opinions or ():
        aspect = text.place(opinion.aspect)
        expression = text.place(opinion.expression) if options.expressions else IMPLIED
        if aspect is None or expression is None:
            continue
        category = options.categories.index(opinion.category) if options.categories else 0
        cells = rows.setdefault((aspect, expression), [NO_OPINION] * count)
        # where the data contradict themselves, the first one counts
        if cells[category] == NO_OPINION:
            cells[category] = task_config.labels.index(opinion.polarity)
    known = list(rows)
    nothing = [NO_OPINION] * count
    aspects = dict.fromkeys(([IMPLIED] if options.implied_aspects else []) + [one for one, _ in known])
    implied = not options.expressions or options.implied_expressions
    expressions = dict.fromkeys(([IMPLIED] if implied else []) + [one for _, one in known])
    others = [(one, other) for one in aspects for other in expressions]
    if options.expressions:
        others += _mistakes(known, list(aspects), list(expressions), text)
    for pair in others:
        rows.setdefault(pair, nothing)
    return [(aspect, expression, cells) for (aspect, expression), cells in rows.items()]


def _mistakes(
    known: Sequence[tuple[Place, Place]], aspects: Sequence[Place], expressions: Sequence[Place], text: TextWindows
) -> list[tuple[Place, Place]]:
    """Return pairs with spans that are none, the same ones for the same text."""
    generator = np.random.default_rng(zlib.crc32(text.text.encode(errors="surrogatepass")))
    last = len(text.offsets) - 2
    found: list[tuple[Place, Place]] = []

    def beside(place: Place) -> Place:
        first, end = place[0] + int(generator.integers(-1, 2)), place[1] + int(generator.integers(-1, 2))
        return max(1, first), min(last, end)

    for aspect, expression in known:
        if aspect != IMPLIED and (near := beside(aspect)) not in aspects and near[0] <= near[1]:
            found.append((near, expression))
        if expression != IMPLIED and (near := beside(expression)) not in expressions and near[0] <= near[1]:
            found.append((aspect, near))
    for _ in range(2 if last else 0):
        first = int(generator.integers(1, last + 1))
        piece = first, min(last, first + int(generator.integers(0, 2)))
        found += [(piece, one) for one in expressions if piece not in aspects]
        found += [(one, piece) for one in aspects if piece not in expressions]
    return found


# --- else


def _asked_in(window: int, example: Example, text: TextWindows, task_config: TaskConfig) -> list[_Row]:
    """Return the spans that an example speaks of, as far as a window holds them; no polarity is among them."""
    options = options_of(task_config)
    nothing = [NO_OPINION] * columns(options)
    rows: dict[tuple[Place, Place], _Row] = {}
    for opinion in example.opinions or ():
        spans = (opinion.aspect, opinion.expression if options.expressions else None)
        places = [text.inside(window, text.place(span) or IMPLIED) or IMPLIED for span in spans]
        rows[places[0], places[1]] = (places[0], places[1], nothing)
    return [row for pair, row in rows.items() if pair != (IMPLIED, IMPLIED)]


# --- what is wrong with examples


def check_opinions(examples: Sequence[Example], task_config: TaskConfig) -> list[tuple[Opinion, ...]]:
    """Return the opinions of every example.

    Raises:
        DataError: those of one are not known, or have no polarity or one that the task does not know.
    """
    found = []
    for example in examples:
        if example.opinions is None:
            raise DataError(
                "a row does not say its opinions", where=example.where, allowed="opinions, none of them maybe"
            )
        for opinion in example.opinions:
            if opinion.polarity not in task_config.labels:
                raise DataError(
                    "a polarity that the training data does not have"
                    if opinion.polarity
                    else "an opinion without its polarity",
                    where=example.where,
                    received=repr(opinion.polarity) if opinion.polarity else None,
                    allowed=", ".join(task_config.labels),
                    next_step=did_you_mean(opinion.polarity, task_config.labels)
                    or "Correct the row, or train on data that has this polarity",
                )
        found.append(example.opinions)
    return found
