"""What a model of opinions learns: which words belong together, what they say, and what is implied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from albertine.batching.packing import packed
from albertine.models.body import BodyConfig
from albertine.models.config import EncoderConfig
from albertine.models.recurrent import RecurrentConfig
from albertine.records import Example, Opinion, Span
from albertine.tasks.aspect_opinions import TASK
from albertine.tasks.config import TaskConfig, TaskRequest
from albertine.tasks.opinion_answers import Said
from albertine.tasks.opinion_model import OpinionModel
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

THINGS = {"soup": "food", "rice": "food", "bed": "room", "lamp": "room", "night bus": "trip"}
GOOD, BAD = ("good", "fine", "very warm"), ("bad", "dull", "too cold")
IMPLIED = {"came late": ("trip", "bad"), "never again": ("", "bad"), "will be back": ("", "good")}
FILLERS = ("we took the", "then there was a", "the old", "and the")
_WORDS = {word for piece in (*THINGS, *GOOD, *BAD, *IMPLIED, *FILLERS, "was", ",", "a") for word in piece.split()}
TOKENIZER = Tokenizer(
    WordPieceModel([*SPECIAL_TOKENS, *sorted(_WORDS)], rules=Rules(lowercase=True, strip_accents=True))
)
RECURRENT = RecurrentConfig(
    vocab_size=TOKENIZER.vocab_size,
    embedding_size=16,
    hidden_size=16,
    embedding_dropout_prob=0.0,
    classifier_dropout_prob=0.0,
    initializer_range=0.3,
)
ENCODER = EncoderConfig.preset(
    "bert-tiny",
    vocab_size=TOKENIZER.vocab_size,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=48,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    classifier_dropout_prob=0.0,
    initializer_range=0.15,
)


class Review:
    """A text that grows by pieces, and the opinions in it."""

    def __init__(self) -> None:
        self.text = ""
        self.opinions: list[Opinion] = []

    def add(self, piece: str, label: str | None = None) -> Span | None:
        """Put a piece behind the text."""
        start = len(self.text) + bool(self.text)
        self.text = f"{self.text} {piece}".strip()
        return None if label is None else Span(start=start, end=start + len(piece), label=label, text=piece)

    def example(self) -> Example:
        """Return the whole."""
        return Example(text=self.text, opinions=tuple(self.opinions))


def reviews(count: int, seed: int, *, expressions: bool, categories: bool, implied: bool) -> list[Example]:
    """Clauses of a thing and what it was like; words of opinion stand near things that they do not speak of, too."""
    generator = np.random.default_rng(seed)

    def any_of(choices: Sequence[str]) -> str:
        return choices[int(generator.integers(len(choices)))]

    made = []
    for _ in range(count):
        review = Review()
        for _ in range(int(generator.integers(1, 4))):
            if implied and generator.random() < 0.4:
                words = any_of(tuple(IMPLIED))
                category, polarity = IMPLIED[words]
                if not category and any(one.category == "all" for one in review.opinions):
                    continue  # the whole is judged once
                span = review.add(words, "opinion" if category else None)
                review.opinions.append(
                    Opinion(aspect=None, expression=span, polarity=polarity, category=category or "all")
                )
            elif generator.random() < 0.2:
                review.add(f"{any_of(FILLERS)} a")  # nothing is said
            else:
                good = generator.random() < 0.5
                thing = any_of(tuple(THINGS))
                review.add(any_of(FILLERS))
                aspect = review.add(thing, "aspect")
                review.add("was")
                said = review.add(any_of(GOOD if good else BAD), "opinion")
                review.opinions.append(
                    Opinion(
                        aspect=aspect,
                        expression=said if expressions else None,
                        polarity="good" if good else "bad",
                        category=THINGS[thing] if categories else "",
                    )
                )
            review.add(",")
        made.append(review.example())
    return made


def learnt(body: BodyConfig, rate: float, steps: int, train: Sequence[Example]) -> tuple[OpinionModel, TaskConfig]:
    task_config = TASK.prepare(train, TaskRequest(tokenizer=TOKENIZER, body=body))
    torch.manual_seed(0)
    module = OpinionModel(body, task_config)
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
    encoded = TASK.encode(TOKENIZER, train, task_config, labelled=True)
    size = 32
    for step in range(steps):
        first = step * size % len(encoded)
        parts = TASK.loss(module, packed(encoded[first : first + size]))
        optimizer.zero_grad()
        torch.stack([part.total / part.weight.clamp_min(1) for part in parts.values()]).sum().backward()
        optimizer.step()
    return module.eval(), task_config


def answers(module: OpinionModel, rows: Sequence[Example], task_config: TaskConfig) -> list[Said]:
    encoded = TASK.encode(TOKENIZER, rows, task_config, labelled=False)
    with torch.inference_mode():
        found = TASK.outputs(module, packed(encoded.items), task_config)
    return [
        TASK.answer(found[start:end], encoded[start:end], one, task_config)
        for one, start, end in zip(rows, encoded.starts.tolist(), encoded.starts[1:].tolist(), strict=False)
    ]


@pytest.mark.parametrize(
    ("body", "rate", "steps"), [(RECURRENT, 2e-2, 120), (ENCODER, 3e-3, 400)], ids=["bilstm", "bert"]
)
@pytest.mark.parametrize(
    ("expressions", "categories", "implied", "least"),
    [(True, False, False, 0.9), (False, False, False, 0.9), (False, True, False, 0.9), (True, True, True, 0.8)],
    ids=["triplets", "aspects", "aspects-categories", "quadruples"],
)
def test_what_the_data_mark_is_learnt(
    body: BodyConfig, rate: float, steps: int, expressions: bool, categories: bool, implied: bool, least: float
) -> None:
    train, test = (
        reviews(count, seed, expressions=expressions, categories=categories, implied=implied)
        for count, seed in ((1024, 1), (60, 2))
    )
    module, task_config = learnt(body, rate, steps, train)
    said = answers(module, test, task_config)
    metrics = TASK.score(said, test, task_config)
    assert metrics["opinion_f1"] > least, metrics
    assert metrics["aspect_f1"] > least
    assert metrics["polarity_accuracy"] > least
    assert metrics["unrepresentable"] == 0
    assert not TASK.did_not_learn(TASK.evidence(said, test, task_config), task_config)
    for one, prediction in zip(test, TASK.decode(said, test, task_config), strict=True):
        for opinion in prediction.opinions or ():
            for span in (opinion.aspect, opinion.expression):
                assert span is None or one.text[span.start : span.end] == span.text
            assert 0 < opinion.score <= 1


def test_a_given_aspect_is_judged_by_what_is_said_of_it() -> None:
    train = reviews(256, 1, expressions=True, categories=False, implied=False)
    module, task_config = learnt(RECURRENT, 2e-2, 120, train)
    review = Review()
    asked = []
    for thing, words in (("soup", "good"), ("bed", "too cold"), ("rice", "fine")):
        review.add("and the")
        asked.append(review.add(thing, "aspect"))
        review.add("was")
        review.add(words)
        review.add(",")
    question = Example(
        text=review.text, opinions=tuple(Opinion(aspect=one, expression=None, polarity="") for one in asked)
    )
    (prediction,) = TASK.decode(answers(module, [question], task_config), [question], task_config)
    assert [(one.aspect and one.aspect.text, one.polarity) for one in prediction.opinions] == [
        ("soup", "good"),
        ("bed", "bad"),
        ("rice", "good"),
    ]
    # and by which words, though nobody gave them
    assert [one.expression and one.expression.text for one in prediction.opinions] == ["good", "too cold", "fine"]
