"""Answers found among the scores of tokens: at every place, by the right window, over several documents."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from albertine.records import Encoded, Example
from albertine.tasks.answer_spans import RankedSpans, answers_over
from albertine.tasks.config import TaskConfig
from albertine.tasks.question_answering import TASK
from albertine.tasks.question_options import QuestionAnsweringOptions
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

FILLERS = [f"w{number}" for number in range(30)]
COLOURS = ["red", "green", "blue", "pink"]
ANIMALS = ["cat", "dog", "cow", "owl"]
WORDS = [*FILLERS, *COLOURS, *ANIMALS, "dark", "which", "colour", "animal", "?", ".", ",", "é", "光", "荣", "人", "##s"]
TOKENIZER = Tokenizer(WordPieceModel([*SPECIAL_TOKENS, *WORDS], rules=Rules(lowercase=True, strip_accents=True)))
OPTIONS = QuestionAnsweringOptions()


def config(max_length: int | None = 24, overlap: int = 8, **options: object) -> TaskConfig:
    own = dataclasses.replace(OPTIONS, **options)  # type: ignore[arg-type]
    return TaskConfig(task=TASK.name, max_length=max_length, overlap=overlap, pairs=True, options=own)


def fillers(count: int, seed: int = 0) -> list[str]:
    return [str(word) for word in np.random.default_rng([seed, count]).choice(FILLERS, size=count)]


def known(row: Example, text: str, difference: float, certainty: float = 4.0) -> RankedSpans:
    """An answer of a model: this text, and "no answer" by so much more than it."""
    assert row.text_pair is not None
    start = row.text_pair.index(text)
    return RankedSpans(
        places=np.array([[start, start + len(text)], [0, 2]]),
        scores=np.array([-1.0, -1.0 - certainty]),
        logits=np.array([3.0, 1.0]),
        null_score=-1.0 + difference,
    )


def answered(logits: Sequence[np.ndarray], items: Sequence[Encoded], row: Example, task: TaskConfig) -> RankedSpans:
    found = TASK.answer([one.astype(np.float32) for one in logits], items, row, task)
    assert isinstance(found, RankedSpans)
    return found


def oracle(window: Encoded, start: int, end: int) -> np.ndarray:
    """The logits of a model that knows the answer: its ends where the window has it whole, else [CLS]."""
    assert window.offsets is not None
    logits = np.zeros((len(window), 2))
    first = np.flatnonzero((window.token_type_ids > 0) & (window.offsets[:, 0] == start) & (window.offsets[:, 1] > 0))
    last = np.flatnonzero((window.token_type_ids > 0) & (window.offsets[:, 1] == end))
    whole = len(first) == 1 and len(last) == 1
    logits[first[0] if whole else 0, 0] += 9
    logits[last[0] if whole else 0, 1] += 9
    return logits


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_answers_are_found_at_every_place_of_a_long_context(length: int) -> None:
    words = fillers(70)
    context = " ".join(words)
    starts = np.cumsum([0, *[len(word) + 1 for word in words]]).tolist()
    row = Example(text="which colour ?", text_pair=context)
    items = TASK.encode(TOKENIZER, [row], config(), labelled=False).items
    assert len(items) > 4
    for place in range(len(words) - length + 1):
        start, end = starts[place], starts[place + length] - 1
        found = answered([oracle(one, start, end) for one in items], items, row, config(no_answer_threshold=0.0))
        assert found.places[0].tolist() == [start, end]
        (prediction,) = TASK.decode([found], [row], config(no_answer_threshold=0.0))
        assert prediction.text == " ".join(words[place : place + length])
        assert prediction.spans[0].score == prediction.score
        assert prediction.score is not None
        assert prediction.score > 0.9


def test_one_window_is_searched_as_a_plain_search_would() -> None:
    generator = np.random.default_rng(11)
    for count in (1, 2, 9, 17):
        context = " ".join(fillers(count))
        row = Example(text="which ?", text_pair=context)
        (window,) = TASK.encode(TOKENIZER, [row], config(), labelled=False)
        assert window.offsets is not None
        logits = generator.normal(size=(len(window), 2))
        allowed = [0, *[place for place in range(len(window) - 1) if window.token_type_ids[place]]]
        scores = logits - np.log(np.exp(logits[allowed]).sum(axis=0))
        pairs = {
            (int(window.offsets[first, 0]), int(window.offsets[last, 1])): scores[first, 0] + scores[last, 1]
            for first in allowed[1:]
            for last in allowed[1:]
            if 0 <= last - first < 4
        }
        best = sorted(pairs, key=lambda pair: -pairs[pair])[:6]
        found = answered([logits], [window], row, config(max_answer_tokens=4, n_best=6))
        assert [tuple(place) for place in found.places.tolist()] == best
        np.testing.assert_allclose(found.scores, [pairs[pair] for pair in best], rtol=1e-4)
        assert found.null_difference == pytest.approx(scores[0].sum() - pairs[best[0]], rel=1e-4)


def test_windows_are_searched_by_the_one_with_the_most_context() -> None:
    generator = np.random.default_rng(12)
    words = fillers(50)
    row = Example(text="which colour ?", text_pair=" ".join(words))
    task = config(max_answer_tokens=12, n_best=2000)
    items = TASK.encode(TOKENIZER, [row], task, labelled=False).items
    logits = [generator.normal(size=(len(one), 2)) for one in items]
    found = answered(logits, items, row, task)
    by_owner: dict[tuple[int, int], float] = {}
    by_others: dict[tuple[int, int], list[float]] = {}
    for one, values in zip(items, logits, strict=True):
        assert one.offsets is not None
        assert one.owned is not None
        context = np.flatnonzero(one.token_type_ids)[:-1].tolist()
        scores = values - np.log(np.exp(values[[0, *context]]).sum(axis=0))
        for first in context:
            for last in context[context.index(first) :][:12]:
                place = (int(one.offsets[first, 0]), int(one.offsets[last, 1]))
                score = float(scores[first, 0] + scores[last, 1])
                if one.owned[first]:
                    by_owner[place] = score
                else:
                    by_others.setdefault(place, []).append(score)
    got = {
        (start, end): score for (start, end), score in zip(found.places.tolist(), found.scores.tolist(), strict=True)
    }
    # every answer of up to twelve tokens that some window has whole is there, those that cross a border too
    assert set(got) == set(by_owner) | set(by_others)
    assert set(by_others) - set(by_owner)
    for place, score in got.items():
        choices = [by_owner[place]] if place in by_owner else by_others[place]
        assert min(abs(score - choice) for choice in choices) < 1e-4
    assert found.null_score == pytest.approx(
        min(
            (values[0] - np.log(np.exp(values[np.r_[0, np.flatnonzero(one.token_type_ids)[:-1]]]).sum(axis=0))).sum()
            for one, values in zip(items, logits, strict=True)
        ),
        abs=1e-4,
    )


def test_answers_over_documents_are_ranked_by_what_is_comparable() -> None:
    documents = ["w1 dark red .", "w2 w3", "w4 pink"]
    rows = [Example(text="which colour ?", text_pair=text) for text in documents]
    answers = [
        dataclasses.replace(known(rows[0], "red", -1.0), logits=np.array([5.0, 1.0])),
        dataclasses.replace(known(rows[1], "w2", 6.0), logits=np.array([9.0, 8.0])),
        dataclasses.replace(known(rows[2], "pink", -3.0), logits=np.array([7.0, 2.0])),
    ]
    found = answers_over(answers, documents, no_answer_threshold=0.0, limit=3)
    assert [(one.document, one.span.text) for one in found] == [(2, "pink"), (0, "red"), (2, "w4")]
    assert [one.span.score for one in found] == sorted((one.span.score for one in found), reverse=True)
    everything = answers_over(answers, documents)
    assert [one.document for one in everything] == [1, 1, 2, 0, 2, 0]
    assert sum(one.span.score for one in everything) == pytest.approx(1.0)
    assert answers_over(answers, documents, no_answer_threshold=-99.0) == []
    assert answers_over([], []) == []
