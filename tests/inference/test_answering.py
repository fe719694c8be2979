"""A question asked of several documents."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from albertine.errors import ConfigError, UserError
from albertine.inference.engine import EngineSettings
from albertine.inference.model import Model
from albertine.models.body import BodyConfig
from albertine.models.config import EncoderConfig
from albertine.records import Batch, DocumentAnswer
from albertine.tasks.config import TaskConfig
from albertine.tasks.question_answering import TASK
from albertine.tasks.question_options import QuestionAnsweringOptions
from albertine.tasks.sentence_similarity import TASK as SIMILARITY
from albertine.tasks.span_predictor import SpanPredictor
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

COLOURS = {"red": 9.0, "green": 7.0, "blue": 5.0}
"""How sure the model is of each."""
WORDS = [*(f"w{number}" for number in range(12)), *COLOURS, "which", "colour", "?"]
TOKENIZER = Tokenizer(WordPieceModel([*SPECIAL_TOKENS, *WORDS], rules=Rules(lowercase=True, strip_accents=True)))
NONE = 4.0
"""The score of [CLS], which says that nothing here is an answer."""
QUESTION = "which colour ?"


class FindsColours(SpanPredictor):
    """Gives every token the score of its word, and [CLS] the one of no answer."""

    def __init__(self, config: BodyConfig, task_config: TaskConfig) -> None:
        super().__init__(config, task_config)
        table = torch.zeros(TOKENIZER.vocab_size)
        table[TOKENIZER.cls_id] = NONE
        table[[TOKENIZER.token_to_id(word) for word in COLOURS]] = torch.tensor(list(COLOURS.values()))
        self.table = torch.nn.Parameter(table)

    def forward(self, batch: Batch) -> Tensor:
        return self.table[batch.input_ids][..., None].expand(*batch.input_ids.shape, 2) / 2


def reader(threshold: float | None = None, **changes: object) -> Model:
    options = QuestionAnsweringOptions(no_answer_threshold=threshold, max_answer_tokens=1)
    config = TaskConfig(task=TASK.name, max_length=14, overlap=4, pairs=True, options=options)
    config = dataclasses.replace(config, **changes)  # type: ignore[arg-type]
    shape = EncoderConfig.preset(
        "bert-tiny", vocab_size=TOKENIZER.vocab_size, hidden_size=8, embedding_size=8, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=8, max_position_embeddings=16,
    )  # fmt: skip
    return Model(
        FindsColours(shape, config),
        config=shape,
        tokenizer=TOKENIZER,
        task=TASK,
        task_config=config,
        precision="fp32",
        settings=EngineSettings(chunk=2),
    )


def said(answers: Sequence[DocumentAnswer]) -> list[tuple[int, str]]:
    return [(one.document, one.span.text) for one in answers]


LONG = " ".join([*(f"w{number % 12}" for number in range(40)), "red", *(f"w{number % 12}" for number in range(31))])
"""Several windows; the answer stands in one of them."""
DOCUMENTS = ["w1 w2 blue w3", "w4 w5", LONG, "w1 green", ""]


def test_the_best_answers_over_all_documents_say_where_they_stand() -> None:
    found = reader().answer(QUESTION, DOCUMENTS, top=3)
    assert said(found) == [(2, "red"), (3, "green"), (0, "blue")]
    for one in found:
        assert DOCUMENTS[one.document][one.span.start : one.span.end] == one.span.text
    scores = [one.span.score for one in found]
    assert all(above > below for above, below in pairwise(scores))
    assert 0 < sum(scores) <= 1
    assert said(reader().answer(QUESTION, DOCUMENTS, top=1)) == [(2, "red")]


def test_the_order_of_documents_changes_nothing_but_their_numbers() -> None:
    order = [4, 2, 0, 3, 1]
    found = reader().answer(QUESTION, [DOCUMENTS[place] for place in order], top=3)
    assert [(order[one.document], one.span.text) for one in found] == [(2, "red"), (3, "green"), (0, "blue")]


def test_one_document_is_answered_as_predict_answers_it() -> None:
    model = reader()
    for document in DOCUMENTS[:4]:
        predicted = model.predict([(QUESTION, document)])[0]
        found = model.answer(QUESTION, [document], top=2)
        assert [one.span.text for one in found] == [span.text for span in predicted.spans[:2]]
        assert [(one.span.start, one.span.end) for one in found] == [(s.start, s.end) for s in predicted.spans[:2]]


def test_documents_that_say_there_is_no_answer_give_none() -> None:
    # by the threshold a word without a score is none: the logarithm of its share is 4 below that of no answer
    model = reader(threshold=0.0)
    found = model.answer(QUESTION, DOCUMENTS, top=99)
    assert {one.document for one in found} == {0, 2, 3}
    assert said(found)[:3] == [(2, "red"), (3, "green"), (0, "blue")]
    assert model.answer(QUESTION, ["w1 w2", "w3", ""]) == []
    assert {one.document for one in reader().answer(QUESTION, DOCUMENTS, top=99)} == {0, 1, 2, 3}


def test_where_the_model_is_too_unsure_it_keeps_silent() -> None:
    careful = reader(abstain_below=0.9)
    for document, sure in (("w1 red", True), ("w1 w2 w3 blue w4", False)):
        assert careful.predict([(QUESTION, document)])[0].abstained is not sure
        assert bool(careful.answer(QUESTION, [document])) is sure
    found = careful.answer(QUESTION, ["w1 w2 w3 blue w4", "w5 red"], top=1)
    assert said(found) == [(1, "red")]


def test_a_score_is_the_share_among_the_answers_of_all_documents() -> None:
    warm, cold = (reader(temperature=value).answer(QUESTION, DOCUMENTS, top=1)[0].span.score for value in (3.0, 0.5))
    assert warm < cold
    np.testing.assert_allclose(
        sum(one.span.score for one in reader().answer(QUESTION, DOCUMENTS[:2], top=99)), 1.0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ([], "a list of documents is expected"),
        ("one text", "a list of documents is expected"),
        (["fine", 3], r"item 1: this is not a text"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(documents: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        reader().answer(QUESTION, documents)  # type: ignore[arg-type]


def test_no_answers_at_all_cannot_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="top"):
        reader().answer(QUESTION, DOCUMENTS, top=0)


def test_other_tasks_answer_no_questions() -> None:
    model = reader()
    model.task = SIMILARITY
    with pytest.raises(UserError, match=r"answers no questions.*sentence-similarity"):
        model.answer(QUESTION, DOCUMENTS)
