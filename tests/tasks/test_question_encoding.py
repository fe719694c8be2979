"""Questions and contexts as windows, with the answers as targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from albertine.errors import DataError
from albertine.records import Encoded, Example, Span
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


def spans(context: str, *answers: str) -> tuple[Span, ...]:
    return tuple(
        Span(start=context.index(one), end=context.index(one) + len(one), label="answer", text=one) for one in answers
    )


def example(context: str, *answers: str, question: str = "which colour ?") -> Example:
    return Example(text=question, text_pair=context, spans=spans(context, *answers), file="qa.json", line=3)


def targets(items: Sequence[Encoded]) -> list[list[list[int]]]:
    assert all(one.target is not None for one in items)
    return [[] if one.target is None else one.target.tolist() for one in items]


def covered(window: Encoded, pair: Sequence[int], context: str) -> str:
    """The piece of the context that a target names."""
    assert window.offsets is not None
    return context[int(window.offsets[pair[0], 0]) : int(window.offsets[pair[1], 1])]


def test_a_short_pair_is_one_window_with_the_answer_by_its_tokens() -> None:
    (one,) = TASK.encode(TOKENIZER, [example("w1 dark red .", "dark red")], config(), labelled=True)
    assert [TOKENIZER.id_to_token(int(index)) for index in one.input_ids] == [
        *(["[CLS]", "which", "colour", "?", "[SEP]"]),
        *(["w1", "dark", "red", ".", "[SEP]"]),
    ]
    assert targets([one]) == [[[6, 7]]]
    assert one.owned is None


def test_every_answer_is_learnt_whole_wherever_it_stands() -> None:
    words = fillers(60)
    for place in range(len(words) - 2):
        context = " ".join([*words[:place], "dark red ,", *words[place:]])
        found = TASK.encode(TOKENIZER, [example(context, "dark red")], config(), labelled=True)
        assert len(found) > 3
        kinds = [
            [covered(one, pair, context) for pair in rows]
            for one, rows in zip(found, targets(found.items), strict=True)
        ]
        assert ["dark red"] in kinds
        assert all(kind in (["dark red"], [""]) for kind in kinds)
        for one, rows in zip(found, targets(found.items), strict=True):
            tokens = [TOKENIZER.id_to_token(int(index)) for index in one.input_ids]
            assert len(one) <= 24
            assert tokens[:5] == ["[CLS]", "which", "colour", "?", "[SEP]"]
            assert tokens[-1] == "[SEP]"
            # [CLS] is learnt exactly where the answer is not whole
            assert (rows == [[0, 0]]) == ("dark red" not in " ".join(tokens))


def test_windows_together_hold_every_token_of_the_context_and_own_it_once() -> None:
    for count in range(1, 90, 7):
        context = " ".join(fillers(count))
        found = TASK.encode(TOKENIZER, [Example(text="which ?", text_pair=context)], config(), labelled=False)
        assert len(found.truncated) == 0
        assert all(one.target is None for one in found)
        owned: list[tuple[int, int]] = []
        for one in found:
            assert one.offsets is not None
            mine = one.token_type_ids > 0 if one.owned is None else (one.token_type_ids > 0) & one.owned
            owned += [tuple(pair) for pair in one.offsets[mine].tolist() if pair[1]]
        pieces = [context[start:end] for start, end in owned]
        assert pieces == context.split()


def test_all_acceptable_answers_of_a_window_are_its_target() -> None:
    (one,) = TASK.encode(TOKENIZER, [example("dark red w1 red .", "dark red", "red", "red .")], config(), labelled=True)
    assert targets([one]) == [[[5, 6], [6, 6], [8, 9]]]
    again = example("dark red", "dark red")
    doubled = dataclasses.replace(again, spans=again.spans * 2 if again.spans else None)
    assert targets(TASK.encode(TOKENIZER, [doubled], config(), labelled=True).items) == [[[5, 6]]]


def test_pieces_of_words_are_learnt_with_the_tokens_that_hold_them() -> None:
    context = "W1, REDS (É)!"
    rows = [example(context, piece) for piece in ("REDS", "RED", "S", "É", "(É")]
    found = TASK.encode(TOKENIZER, rows, config(), labelled=True)
    shown = [covered(one, rows[0], context) for one, rows in zip(found, targets(found.items), strict=True)]
    assert shown == ["REDS", "RED", "S", "É", "(É"]


def test_a_long_question_is_cut_only_where_it_leaves_no_half_to_the_context() -> None:
    long, short = " ".join(fillers(30)), " ".join(fillers(4))
    rows = [
        Example(text=" ".join(fillers(13)), text_pair=short),
        Example(text=long, text_pair="w1 dark red"),
        Example(text=" ".join(fillers(10)), text_pair=long),
        Example(text=long, text_pair=long),
    ]
    found = TASK.encode(TOKENIZER, rows, config(), labelled=False)
    assert found.truncated.tolist() == [1, 3]
    for index, length in enumerate([13, 10, 10, 10]):
        for one in found.of_example(index):
            assert len(one) <= 24
            assert int((one.token_type_ids == 0).sum()) == length + 2


def test_an_answer_longer_than_windows_share_gets_a_window_of_its_own() -> None:
    words = fillers(60)
    for length in (12, 16, 22):
        for place in range(60 - length):
            answer = " ".join(words[place : place + length])
            context = " ".join(words)
            start = len(" ".join(words[:place])) + (place > 0)
            row = dataclasses.replace(
                example(context), spans=(Span(start=start, end=start + len(answer), label="answer", text=answer),)
            )
            found = TASK.encode(TOKENIZER, [row], config(), labelled=True)
            learnt = [
                covered(one, pair, context)
                for one, rows in zip(found, targets(found.items), strict=True)
                for pair in rows
                if pair != [0, 0]
            ]
            # 24 tokens of which 6 are not the context's
            assert learnt
            assert set(learnt) == {" ".join(words[place : place + min(length, 18)])}
            assert (found.truncated.tolist() == [0]) == (length > 18)
            assert max(map(len, found)) <= 24


def test_what_is_not_labelled_is_refused_for_training_only() -> None:
    unknown = Example(text="which ?", text_pair="w1")
    with pytest.raises(DataError, match=r"question 0: .*does not say"):
        TASK.encode(TOKENIZER, [unknown], config(), labelled=True)
    assert TASK.encode(TOKENIZER, [unknown], config(), labelled=False)[0].target is None
    with pytest.raises(DataError, match=r"question 1: .*no context"):
        TASK.check_inputs([unknown, Example(text="which ?")], config())
    TASK.check_inputs([unknown], config())
