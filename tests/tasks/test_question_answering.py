"""Question answering as a record: preparing, predicting, measuring, tuning, and a pattern that is learnt."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from albertine.batching.packing import packed
from albertine.checkpoints.state import TaskHead
from albertine.errors import ConfigError, DataError
from albertine.models.config import EncoderConfig
from albertine.records import Encoded, Example, Span
from albertine.tasks.answer_spans import RankedSpans, answers_over
from albertine.tasks.config import TaskConfig, TaskRequest
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


def encoder(**sizes: int) -> EncoderConfig:
    given: dict[str, float] = {
        "vocab_size": TOKENIZER.vocab_size,
        "hidden_size": 24,
        "embedding_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.15,
        **sizes,
    }
    return EncoderConfig.preset("bert-base", **given)


def spans(context: str, *answers: str) -> tuple[Span, ...]:
    return tuple(
        Span(start=context.index(one), end=context.index(one) + len(one), label="answer", text=one) for one in answers
    )


def example(context: str, *answers: str, question: str = "which colour ?") -> Example:
    return Example(text=question, text_pair=context, spans=spans(context, *answers), file="qa.json", line=3)


def fillers(count: int, seed: int = 0) -> list[str]:
    return [str(word) for word in np.random.default_rng([seed, count]).choice(FILLERS, size=count)]


# --- preparing


def request(**asked: object) -> TaskRequest:
    return TaskRequest(**{"tokenizer": TOKENIZER, "body": encoder(), **asked})  # type: ignore[arg-type]


def test_lengths_and_the_rule_are_measured_and_said(caplog: pytest.LogCaptureFixture) -> None:
    long = " ".join(fillers(45))
    rows = [example(f"red {' '.join(fillers(20))}", "red") for _ in range(9)]
    with caplog.at_level("INFO", logger="albertine"):
        found = TASK.prepare([*rows, example(f"red {long}", long)], request())
    own = found.own(QuestionAnsweringOptions)
    assert (found.max_length, found.pairs, found.labels) == (56, True, ())
    assert found.overlap == 26
    assert own.max_answer_tokens == 44
    assert (own.no_answer_threshold, own.answer_rule) == (None, "squad")
    for said in ("56 tokens", "44 tokens", "rule of SQuAD"):
        assert said in caplog.text


def test_short_answers_leave_the_customary_length_and_requests_are_kept() -> None:
    rows = [example("red w1", "red")]
    assert TASK.prepare(rows, request()).own(QuestionAnsweringOptions).max_answer_tokens == 30
    asked = request(max_length=20, overlap=3, options={"max_answer_tokens": 4, "answer_rule": "cmrc", "n_best": 2})
    found = TASK.prepare(rows, asked)
    assert (found.max_length, found.overlap) == (20, 3)
    assert found.own(QuestionAnsweringOptions) == dataclasses.replace(
        OPTIONS, max_answer_tokens=4, answer_rule="cmrc", n_best=2
    )


def test_chinese_answers_are_compared_by_characters() -> None:
    found = TASK.prepare([example("光荣人 w1 w2", "光荣", question="光荣 ?")], request())
    assert found.own(QuestionAnsweringOptions).answer_rule == "cmrc"


def test_questions_without_answers_turn_the_threshold_on() -> None:
    found = TASK.prepare([example("red", "red"), example("w1")], request())
    assert found.own(QuestionAnsweringOptions).no_answer_threshold == 0.0


def test_what_cannot_be_learnt_is_refused() -> None:
    with pytest.raises(DataError, match="no training examples"):
        TASK.prepare([], request())
    with pytest.raises(DataError, match="no training question has an answer"):
        TASK.prepare([example("w1"), example("w2")], request())
    with pytest.raises(DataError, match=r"qa\.json:3.*does not say what answers it"):
        TASK.prepare([dataclasses.replace(example("w1"), spans=None)], request())
    with pytest.raises(DataError, match="no context"):
        TASK.prepare([Example(text="which ?", spans=())], request())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tokenizer": None, "body": None}, "a model that reads tokens"),
        ({"max_length": 65}, "64, the positions"),
        ({"max_length": 7}, "from 8"),
        ({"labels": ["a", "b"]}, "labels"),
        ({"class_weights": "balanced"}, "class_weights"),
        ({"main_metric": "f2"}, "Did you mean 'f1'"),
        ({"options": {"max_answer_token": 3}}, "max_answer_tokens"),
        ({"options": {"n_best": 0}}, "n_best"),
        ({"options": {"answer_rule": "drcd"}}, "answer_rule"),
        ({"options": {"no_answer_threshold": float("nan")}}, "no_answer_threshold"),
    ],
)
def test_requests_that_do_not_fit_are_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TASK.prepare([example("red", "red")], request(**asked))


def test_the_configuration_comes_back_from_json() -> None:
    asked = config(no_answer_threshold=-1.25, answer_rule="cmrc", max_answer_tokens=7)
    written = json.loads(json.dumps(asked.to_dict()))
    assert TaskConfig.from_dict(written, QuestionAnsweringOptions) == asked


# --- predicting


def answered(logits: Sequence[np.ndarray], items: Sequence[Encoded], row: Example, task: TaskConfig) -> RankedSpans:
    found = TASK.answer([one.astype(np.float32) for one in logits], items, row, task)
    assert isinstance(found, RankedSpans)
    return found


def test_texts_are_exact_in_any_script_and_without_blanks_at_their_ends() -> None:
    context = " \t😀 Red's É,  光荣 (n\u0303) 人 𠀀 "
    row = Example(text="which ?", text_pair=context)
    (window,) = TASK.encode(TOKENIZER, [row], config(max_length=64), labelled=False)
    logits = np.random.default_rng(1).normal(size=(len(window), 2))
    found = answered([logits], [window], row, config(max_length=64, n_best=500))
    (prediction,) = TASK.decode([found], [row], config(max_length=64))
    texts = [span.text for span in prediction.spans]
    assert {"😀", "Red", "Red's", "光荣", "É", "人 𠀀", "(n\u0303)"} <= set(texts)
    assert len({(span.start, span.end) for span in prediction.spans}) == len(texts)
    for span in prediction.spans:
        assert context[span.start : span.end] == span.text == span.text.strip()


def test_probabilities_of_all_answers_and_of_none_add_up_to_one() -> None:
    row = Example(text="which ?", text_pair="red , pink")
    (window,) = TASK.encode(TOKENIZER, [row], config(), labelled=False)
    logits = np.random.default_rng(2).normal(size=(len(window), 2))
    found = answered([logits], [window], row, config())
    (given,) = TASK.decode([found], [row], config())
    (silent,) = TASK.decode([found], [row], config(no_answer_threshold=-1e9))
    assert (silent.text, silent.spans) == ("", ())
    scores = [span.score for span in given.spans]
    assert len(scores) == 6
    assert scores == sorted(scores, reverse=True)
    assert silent.score is not None
    assert sum(scores) + silent.score == pytest.approx(1.0)
    (flat,) = TASK.decode([found], [row], dataclasses.replace(config(), temperature=1e6))
    assert [span.score for span in flat.spans] == pytest.approx([1 / 7] * 6, rel=1e-3)


def test_the_list_of_answers_is_as_long_as_asked_for() -> None:
    row = Example(text="which ?", text_pair="red , pink")
    (window,) = TASK.encode(TOKENIZER, [row], config(), labelled=False)
    found = answered([np.zeros((len(window), 2))], [window], row, config(n_best=4, max_answer_tokens=1))
    assert len(TASK.decode([found], [row], config(n_best=4))[0].spans) == 3


def test_a_context_without_a_token_is_answered_with_nothing() -> None:
    rows = [Example(text="which ?", text_pair=blank, spans=()) for blank in (" ", "", "\u200b")]
    items = TASK.encode(TOKENIZER, rows, config(), labelled=True)
    found = [answered([np.ones((len(one), 2))], [one], row, config()) for one, row in zip(items, rows, strict=True)]
    for prediction in TASK.decode(found, rows, config()):
        assert (prediction.text, prediction.spans) == ("", ())
        assert prediction.score == pytest.approx(1.0)
    assert TASK.score(found, rows, config())["no_answer_accuracy"] == 1
    assert TASK.tune is not None
    assert TASK.tune(found, rows, config(no_answer_threshold=0.5)).own(QuestionAnsweringOptions) == config(
        no_answer_threshold=0.5
    ).own(QuestionAnsweringOptions)


# --- measuring and tuning


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


def measured() -> tuple[list[RankedSpans], list[Example]]:
    rows = [
        example("w1 dark red .", "dark red", "red"),
        example("w1 pink .", "pink"),
        example("w1 w2 w3"),
        example("w1 the blue cat", "blue cat"),
        example("w3 w4"),
    ]
    answers = [
        known(rows[0], "red", -5.0),
        known(rows[1], "w1", 3.0),
        known(rows[2], "w2", 2.0),
        known(rows[3], "cat", 1.0),
        known(rows[4], "w4", -2.0),
    ]
    return answers, rows


def test_scores_are_those_of_the_given_answers() -> None:
    answers, rows = measured()
    always = TASK.score(answers, rows, config())
    assert 0 < always.pop("ece") < 1
    assert always == pytest.approx(
        {
            "exact_match": 1 / 5,
            "f1": (1 + 2 / 3) / 5,
            "has_answer_exact_match": 1 / 3,
            "has_answer_f1": (1 + 2 / 3) / 3,
            "no_answer_accuracy": 0,
        }
    )
    wary = TASK.score(answers, rows, config(no_answer_threshold=1.5))
    assert wary["no_answer_accuracy"] == 1 / 2
    assert wary["f1"] == pytest.approx((1 + 1 + 2 / 3) / 5)
    assert set(TASK.score(answers[:1], rows[:1], config())) == {"exact_match", "f1", "ece"}
    with pytest.raises(DataError, match="no questions"):
        TASK.score([], [], config())
    with pytest.raises(DataError, match="does not say"):
        TASK.score(answers[:1], [dataclasses.replace(rows[0], spans=None)], config())


def test_evidence_gives_the_scores_again() -> None:
    answers, rows = measured()
    task = config(no_answer_threshold=1.5)
    kept = TASK.evidence(answers, rows, task)
    assert kept.shape == (5, len(TASK.evidence_columns(task)))
    for name, metric in TASK.metrics(task).items():
        assert metric.of(kept) == TASK.score(answers, rows, task)[name]
    assert TASK.main_metric in TASK.metrics(task)
    assert TASK.ranking_metric(task, {}, []) in TASK.metrics(task)


def test_a_model_that_never_answers_has_not_learnt() -> None:
    answers, rows = measured()
    for threshold, hopeless in ((-99.0, True), (None, True), (1.5, False)):
        task = config(no_answer_threshold=threshold)
        assert TASK.did_not_learn(TASK.evidence(answers, rows, task), task) is hopeless


def test_the_threshold_is_the_best_one_on_the_development_split() -> None:
    answers, rows = measured()
    assert TASK.tune is not None
    tuned = TASK.tune(answers, rows, config(no_answer_threshold=0.0))
    threshold = tuned.own(QuestionAnsweringOptions).no_answer_threshold
    # -5: +1, -2: -1 (no answer), 1: +2/3, 2: -1, 3: 0 beside two questions without an answer
    assert threshold == pytest.approx((-5 - 2) / 2)
    by_hand = [TASK.score(answers, rows, config(no_answer_threshold=one))["f1"] for one in (-9, -3.5, -1, 1.5, 2.5, 9)]
    assert TASK.score(answers, rows, tuned)["f1"] == max(by_hand) == pytest.approx(3 / 5)
    # where no question was without an answer, there always is one
    assert TASK.tune(answers, rows, config()).own(QuestionAnsweringOptions).no_answer_threshold is None


def sure_of_everything() -> tuple[list[RankedSpans], list[Example]]:
    """Answers of which three in five are right, most of them far too sure."""
    generator = np.random.default_rng(5)
    row = example("w1 dark red .", "red")
    answers = [
        known(row, "red" if right else "dark", -9.0, certainty=float(certainty))
        for right, certainty in zip(generator.random(400) < 0.6, generator.choice([5.0, 9.0], size=400), strict=True)
    ]
    return answers, [row] * len(answers)


def test_the_temperature_makes_scores_as_sure_as_they_are_right() -> None:
    answers, rows = sure_of_everything()
    assert TASK.tune is not None
    tuned = TASK.tune(answers, rows, config())
    scores = TASK.score(answers, rows, tuned)
    given = [one.score or 0.0 for one in TASK.decode(answers, rows, tuned)]
    before = [one.score or 0.0 for one in TASK.decode(answers, rows, config())]
    assert min(before) > 0.98
    assert np.mean(given) == pytest.approx(scores["exact_match"], abs=0.03)
    assert scores["ece"] < 0.2 * scores["ece_uncalibrated"]
    assert scores["ece_uncalibrated"] == TASK.score(answers, rows, config())["ece"]
    # nothing can be fitted on a few answers, or where all are right
    assert TASK.tune(answers[:40], rows[:40], config()).temperature is None
    right = [one for one in answers if one.places[0, 0] == 8]
    assert TASK.tune(right, rows[: len(right)], config()).temperature is None


def test_a_limit_of_errors_makes_the_model_keep_silent_where_it_is_unsure() -> None:
    row = example("w1 dark red .", "red")
    answers = [known(row, "red", -3.0, certainty=5.0) for _ in range(60)]
    answers += [known(row, "dark" if number % 2 else "red", -3.0, certainty=0.1) for number in range(40)]
    rows = [row] * len(answers)
    assert TASK.tune is not None
    tuned = TASK.tune(answers, rows, dataclasses.replace(config(), max_error=0.1))
    scores = TASK.score(answers, rows, tuned)
    assert scores["coverage"] == pytest.approx(0.6)
    assert scores["answered_error"] == 0
    predictions = TASK.decode(answers, rows, tuned)
    assert [one.abstained for one in predictions] == [False] * 60 + [True] * 40
    # the answers stay to be looked at
    assert predictions[-1].text == "dark"
    assert "coverage" not in TASK.score(answers, rows, config())
    hopeless = TASK.tune(answers[61::2], rows[61::2], dataclasses.replace(config(), max_error=0.1))
    assert hopeless.abstain_below == 1.0


# --- heads of other programs


def test_a_head_of_transformers_is_taken_up_and_given_back() -> None:
    assert TASK.head is not None
    assert TASK.adopt is not None
    own = TASK.head(config())
    assert own == TaskHead(task="question-answering", labels=("start", "end"), module="qa_outputs")
    adopted = TASK.adopt(own, 64)
    assert (adopted.max_length, adopted.shared_tokens) == (64, 16)
    module = TASK.build(encoder(), adopted)
    assert {name for name in module.state_dict() if not name.startswith("body.")} == {
        "qa_outputs.weight",
        "qa_outputs.bias",
    }
    rows = [example(" ".join([*fillers(90), "red"]), "red")]
    found = predicted(module, rows, adopted)
    assert TASK.decode(found, rows, adopted)[0].text


# --- learning


def made(seed: int, count: int, *, longest: int = 32, unanswerable: float = 0.3) -> list[Example]:
    """Contexts with a colour, dark or not, and an animal, of which one may be missing; the question asks for either."""
    generator = np.random.default_rng([seed, 99])
    rows = []
    for _ in range(count):
        words = generator.choice(FILLERS, size=int(generator.integers(2, longest))).tolist()
        asked = ("colour", "animal")[int(generator.integers(2))]
        answers = {"colour": str(generator.choice(COLOURS)), "animal": str(generator.choice(ANIMALS))}
        if generator.random() < 0.5:
            answers["colour"] = "dark " + answers["colour"]
        if generator.random() < unanswerable:
            del answers[asked]
        for answer in answers.values():
            words.insert(int(generator.integers(len(words) + 1)), answer)
        context = " ".join(words)
        rows.append(example(context, *([answers[asked]] if asked in answers else []), question=f"which {asked} ?"))
    return rows


def predicted(module: nn.Module, rows: Sequence[Example], task: TaskConfig) -> list[RankedSpans]:
    """What the engine does: encode without answers, run packed batches, join the windows."""
    encoded = TASK.encode(TOKENIZER, rows, task, labelled=False)
    found: list[np.ndarray] = []
    with torch.inference_mode():
        for start in range(0, len(encoded), 64):
            found += TASK.outputs(module.eval(), packed(encoded[start : start + 64]), task)
    starts = encoded.starts.tolist()
    return [
        TASK.answer(found[start:end], encoded[start:end], row, task)
        for start, end, row in zip(starts, starts[1:], rows, strict=False)
    ]


@functools.cache
def trained() -> tuple[nn.Module, TaskConfig]:
    """A model of two layers, trained on windows of 24 tokens by a plain loop."""
    torch.manual_seed(0)
    task = config(no_answer_threshold=0.0)
    module = TASK.build(encoder(hidden_size=32, embedding_size=32, intermediate_size=64), task)
    optimizer = torch.optim.AdamW(module.parameters(), lr=4e-3)
    steps = 120
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for step in range(steps):
        part = TASK.loss(module, packed(TASK.encode(TOKENIZER, made(step, 32), task, labelled=True).items))["span"]
        (part.total / part.weight).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return module.eval(), task


def test_a_small_encoder_learns_to_read() -> None:
    module, task = trained()
    rows = made(10_001, 200)
    answers = predicted(module, rows, task)
    scores = TASK.score(answers, rows, task)
    assert scores["has_answer_f1"] > 0.9
    assert scores["no_answer_accuracy"] > 0.9
    assert not TASK.did_not_learn(TASK.evidence(answers, rows, task), task)
    assert TASK.tune is not None
    tuned = TASK.tune(answers, rows, task)
    assert TASK.score(answers, rows, tuned)["f1"] >= scores["f1"]


def test_it_finds_answers_at_every_place_of_texts_longer_than_it_was_trained_on() -> None:
    module, task = trained()
    words = fillers(90)
    rows = [
        example(" ".join([*words[:place], "dark pink", *words[place:]]), "dark pink") for place in range(len(words) + 1)
    ]
    assert TASK.score(predicted(module, rows, task), rows, task)["exact_match"] > 0.9


def test_it_finds_the_document_with_the_answer() -> None:
    module, task = trained()
    right = 0
    for seed in range(30):
        words = [fillers(20 + 3 * number, seed=seed + 1) for number in range(5)]
        place = seed % 5
        words[place].insert(seed % len(words[place]), "blue")
        documents = [" ".join(one) for one in words]
        rows = [Example(text="which colour ?", text_pair=text) for text in documents]
        found = answers_over(predicted(module, rows, task), documents, no_answer_threshold=0.0)
        right += bool(found) and (found[0].document, found[0].span.text) == (place, "blue")
    assert right >= 27


def test_windows_alone_give_what_they_give_among_others() -> None:
    module, task = trained()
    rows = made(5, 3)
    for row, found in zip(rows, predicted(module, rows, task), strict=True):
        items = TASK.encode(TOKENIZER, [row], task, labelled=False).items
        with torch.inference_mode():
            alone = [TASK.outputs(module, packed([one]), task)[0] for one in items]
        again = TASK.answer(alone, items, row, task)
        assert again.places[0].tolist() == found.places[0].tolist()
        assert again.scores[0] == pytest.approx(found.scores[0], abs=1e-4)
