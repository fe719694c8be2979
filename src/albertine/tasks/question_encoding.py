"""Questions with their contexts as a model reads them, `[CLS] question [SEP] context [SEP]`, long ones in windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from albertine.batching.windows import windows
from albertine.errors import DataError
from albertine.records import Encoded, EncodedExamples, Example, IntArray, Tokens
from albertine.tasks.answer_spans import answer_tokens, context_tokens
from albertine.tasks.config import TaskConfig
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["SPECIAL_TOKENS", "check_contexts", "encode_questions", "has_answer", "question_tokens"]

SPECIAL_TOKENS = 3
"""[CLS] and both [SEP]."""


def check_contexts(examples: Sequence[Example]) -> None:
    """Make sure that every question has a context.

    Raises:
        DataError: one has none.
    """
    for place, example in enumerate(examples):
        if example.text_pair is None:
            raise DataError(
                "a question has no context to be answered from",
                where=example.where or f"question {place}",
                next_step="Give every question its context, as the second text of a pair",
            )


def has_answer(examples: Sequence[Example]) -> npt.NDArray[np.bool_]:
    """Say of every question whether it has an answer, [N].

    Raises:
        DataError: one does not say what answers it.
    """
    for place, example in enumerate(examples):
        if example.spans is None:
            raise DataError(
                "a question does not say what answers it",
                where=example.where or f"question {place}",
                next_step="Give its answers, an empty list where there is none",
            )
    return np.array([bool(example.spans) for example in examples], dtype=np.bool_)


def encode_questions(
    tokenizer: Tokenizer, examples: Sequence[Example], task_config: TaskConfig, *, labelled: bool
) -> EncodedExamples:
    """Turn questions and contexts into token ids, contexts that are too long as windows, each with the whole question.

    A question that leaves no half of a window to its context is cut to the other half. The target of a window is
    [A, 2], the first and the last token of every acceptable answer that stands in it whole; where none does, the one
    row (0, 0), its [CLS]. With `labelled`, a question of which no answer stands whole in a window gets one more around
    its first answer, so that it is not learnt to have none; what of that answer is longer than a window is cut.

    Raises:
        DataError: a question without a context, or with `labelled` one that does not say what answers it.
    """
    check_contexts(examples)
    if labelled:
        has_answer(examples)
    items: list[Encoded] = []
    cut: list[int] = []
    for place, (row, example) in enumerate(zip(question_tokens(tokenizer, examples).rows(), examples, strict=True)):
        limit = task_config.max_length or len(row)
        text = _with_room(row, limit)
        room = limit - SPECIAL_TOKENS - _question_length(text)
        # every token says where it stood, so that the answers find their place in each window
        numbered = replace(text, target=np.arange(len(text)))
        parts = windows(numbered, max_length=limit, overlap=min(task_config.shared_tokens, room // 2))
        too_long = False
        answers: IntArray = np.zeros((0, 2), dtype=np.int64)
        if labelled and example.spans:
            answers = answer_tokens(text, example.spans)
            if not len(answers):
                raise DataError("no token of the answer is in the vocabulary", where=example.where)
            if not any(len(_inside(part, answers)) for part in parts):
                first, last = answers[0].tolist()
                too_long = last - first >= room
                answers = np.array([[first, min(last, first + room - 1)]])
                parts.append(_around(numbered, answers[0], room))
        if too_long or len(text) < len(row):
            cut.append(place)
        items += [replace(part, target=_target(part, answers) if labelled else None) for part in parts]
    return EncodedExamples.windows(items, len(examples), truncated=np.array(cut, dtype=np.int64))


def question_tokens(tokenizer: Tokenizer, examples: Sequence[Example]) -> Tokens:
    """Cut questions and their whole contexts into tokens, with offsets."""
    return tokenizer.tokenize([one.text for one in examples], [one.text_pair or "" for one in examples])


def _question_length(text: Encoded) -> int:
    return len(text) - int(text.token_type_ids.sum(dtype=np.int64)) - 2


def _with_room(text: Encoded, limit: int) -> Encoded:
    """Cut a question to half of a window, where it is longer and the whole does not fit."""
    question, half = _question_length(text), (limit - SPECIAL_TOKENS) // 2
    if len(text) <= limit or question <= half:
        return text
    return _selected(text, np.concatenate([np.arange(1 + half), np.arange(1 + question, len(text))]))


def _around(text: Encoded, answer: IntArray, room: int) -> Encoded:
    """Return the window that has an answer in its middle; it owns no token."""
    context = context_tokens(text)
    first, last = answer.tolist()
    begin = first - (room - (last - first + 1)) // 2
    begin = max(int(context[0]), min(begin, int(context[-1]) + 1 - room))
    kept = np.concatenate([np.arange(context[0]), np.arange(begin, begin + room), [len(text) - 1]])
    return replace(_selected(text, kept), owned=np.zeros(len(kept), dtype=np.bool_))


def _selected(text: Encoded, kept: IntArray) -> Encoded:
    """Return the text with some of its tokens only."""
    return replace(
        text,
        input_ids=text.input_ids[kept],
        token_type_ids=text.token_type_ids[kept],
        offsets=None if text.offsets is None else text.offsets[kept],
        target=None if text.target is None else text.target[kept],
    )


def _inside(window: Encoded, answers: IntArray) -> IntArray:
    """Return where answers stand in a window, [A, 2], each once; without those that do not stand in it whole.

    Args:
        window: its target numbers its tokens by those of the whole text.
        answers: [M, 2] first and last tokens of the whole text.
    """
    assert window.target is not None, "its tokens are numbered"
    context = context_tokens(window)
    numbers = window.target[context]
    whole = answers[np.isin(answers, numbers).all(axis=1)]
    return np.unique(context[np.searchsorted(numbers, whole)], axis=0)


def _target(window: Encoded, answers: IntArray) -> npt.NDArray[np.int64]:
    """Return the target of a window: the answers in it, or [CLS] where there are none."""
    inside = _inside(window, answers)
    return inside.astype(np.int64) if len(inside) else np.zeros((1, 2), dtype=np.int64)
