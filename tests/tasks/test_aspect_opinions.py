"""Opinions in texts as a record of functions: what is prepared, encoded, answered and measured."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from albertine.batching.packing import packed, padded
from albertine.errors import ConfigError, DataError
from albertine.models.body import BodyConfig
from albertine.models.config import EncoderConfig
from albertine.models.recurrent import RecurrentConfig
from albertine.models.span_pairs import distance_buckets
from albertine.models.word_vectors import WordVectorsConfig
from albertine.records import Encoded, EncodedExamples, Example, Opinion, Span
from albertine.tasks.aspect_opinions import TASK
from albertine.tasks.config import TaskConfig, TaskRequest
from albertine.tasks.opinion_answers import Said
from albertine.tasks.opinion_model import OpinionModel
from albertine.tasks.opinion_options import OpinionOptions, columns, options_of, tagging_of
from albertine.tasks.opinion_targets import PLACES
from albertine.tasks.opinion_windows import TextWindows
from albertine.tasks.tagger import tags_of
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["the", "food", "was", "good", "but", "room", "too", "small", "dark", "and", "it", "new", "phone", "cheap"]
TOKENIZER = Tokenizer(
    WordPieceModel(
        [*SPECIAL_TOKENS, *WORDS, *LETTERS, *(f"##{one}" for one in LETTERS), *"屏幕太小外观好但是", ".", ","],
        rules=Rules(lowercase=True, strip_accents=True),
    )
)
ENCODER = EncoderConfig.preset(
    "albert-base",
    vocab_size=TOKENIZER.vocab_size,
    hidden_size=16,
    embedding_size=12,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=64,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    classifier_dropout_prob=0.0,
)
BODIES: tuple[BodyConfig, ...] = (
    ENCODER,
    RecurrentConfig(vocab_size=TOKENIZER.vocab_size, embedding_size=6, hidden_size=5, classifier_dropout_prob=0.0),
    WordVectorsConfig(vocab_size=TOKENIZER.vocab_size, embedding_size=6, classifier_dropout_prob=0.0),
)


def example(
    text: str, *opinions: tuple[str | None, str | None, str] | tuple[str | None, str | None, str, str]
) -> Example:
    """Make an example of a text and of opinions, of which aspect and expression are pieces of it."""

    def span(piece: str | None, label: str) -> Span | None:
        if piece is None:
            return None
        start = text.index(piece)
        return Span(start=start, end=start + len(piece), label=label, text=piece)

    return Example(
        text=text,
        opinions=tuple(
            Opinion(
                aspect=span(one[0], "aspect"),
                expression=span(one[1], "opinion"),
                polarity=one[2],
                category=one[3] if len(one) > 3 else "",
            )
            for one in opinions
        ),
        file="train.jsonl",
        line=3,
    )


TRIPLETS = [
    example("the food was good but the room too small", ("food", "good", "POS"), ("room", "too small", "NEG")),
    example("the new phone was cheap and good", ("phone", "cheap", "POS"), ("phone", "good", "POS")),
    example("it was the room"),
]
ASPECTS = [
    example("外观好但是屏幕太小", ("外观", None, "Positive"), ("屏幕", None, "Negative")),
    example("屏幕好", ("屏幕", None, "Positive")),
]
QUADRUPLES = [
    example("the food was good, it was cheap", ("food", "good", "POS", "taste"), (None, "cheap", "POS", "price")),
    example("too small", (None, "too small", "NEG", "room"), (None, None, "NEG", "price")),
    example("the room", ("room", None, "NEG", "room"), ("room", None, "POS", "price")),
]
REVIEWS = [example("food good", (None, None, "POS", "taste")), example("it was", (None, None, "NEG", "price"))]
KINDS = {"triplets": TRIPLETS, "aspects": ASPECTS, "quadruples": QUADRUPLES, "reviews": REVIEWS}


def prepared(rows: Sequence[Example], **options: object) -> TaskConfig:
    return replace(TASK.prepare(rows, TaskRequest(options=options)), max_length=64)


def untrained(task_config: TaskConfig, body: BodyConfig = ENCODER, seed: int = 5) -> OpinionModel:
    """Make a module that finds many spans and opinions, if not the right ones."""
    torch.manual_seed(seed)
    module = OpinionModel(body, task_config).eval()
    for part in (module.classifier, module.pairs.presence, module.pairs.polarity):
        nn.init.normal_(part.weight, std=1.5)
    return module


def talkative(task_config: TaskConfig, row: Example, body: BodyConfig = ENCODER) -> OpinionModel:
    """Make a module that finds more than one opinion in a text."""
    for seed in range(40):
        module = untrained(task_config, body, seed=seed)
        nn.init.normal_(module.pairs.aspect.weight, std=0.5)
        if len(answers(module, [row], task_config)[0].opinions) > 1:
            return module
    raise AssertionError("no seed makes one")


def answers(module: nn.Module, rows: Sequence[Example], task_config: TaskConfig) -> list[Said]:
    """Answer as the engine does, in batches of three windows that mix examples."""
    encoded = TASK.encode(TOKENIZER, rows, task_config, labelled=False)
    found: list[object] = []
    module.eval()
    with torch.inference_mode():
        for first in range(0, len(encoded), 3):
            found += TASK.outputs(module, packed(encoded[first : first + 3]), task_config)
    return [
        TASK.answer(found[start:end], encoded[start:end], one, task_config)
        for one, start, end in zip(rows, encoded.starts.tolist(), encoded.starts[1:].tolist(), strict=False)
    ]


def table(one: Encoded, task_config: TaskConfig) -> list[list[int]]:
    """Return the rows of a target."""
    assert one.target is not None
    rows: list[list[int]] = one.target[len(one) :].reshape(-1, PLACES + columns(options_of(task_config))).tolist()
    return rows


def words(encoded: EncodedExamples, index: int, row: list[int]) -> tuple[str, str]:
    """Return the pieces that aspect and expression of a row are."""
    pieces = [TOKENIZER.id_to_token(token) for token in encoded[index].input_ids.tolist()]
    return " ".join(pieces[row[0] : row[1] + 1]), " ".join(pieces[row[2] : row[3] + 1])


# --- preparing


def test_what_the_data_mark_decides_what_the_model_does() -> None:
    triplets, aspects = prepared(TRIPLETS), prepared(ASPECTS)
    quadruples, reviews = prepared(QUADRUPLES), prepared(REVIEWS)
    assert options_of(triplets) == OpinionOptions(
        whole_words=True, expressions=True, implied_aspects=False, implied_expressions=False
    )
    assert options_of(aspects) == OpinionOptions(
        whole_words=True, expressions=False, implied_aspects=False, implied_expressions=False
    )
    assert options_of(quadruples) == OpinionOptions(
        whole_words=True,
        expressions=True,
        implied_aspects=True,
        implied_expressions=True,
        categories=("price", "room", "taste"),
    )
    assert options_of(reviews).implied_aspects
    assert not options_of(reviews).expressions
    assert (triplets.labels, aspects.labels) == (("NEG", "POS"), ("Negative", "Positive"))
    assert tagging_of(triplets).labels == ("aspect", "opinion")
    assert tagging_of(aspects).labels == ("aspect",)
    assert set(TASK.metrics(aspects)) == {
        *("opinion_f1", "opinion_precision", "opinion_recall", "aspect_f1", "polarity_accuracy"),
    }
    assert {"triplet_f1", "pair_f1", "expression_f1", "category_f1"} <= set(TASK.metrics(quadruples))


def test_what_cannot_be_learnt_from_or_is_not_possible_is_refused() -> None:
    with pytest.raises(DataError, match="no training examples"):
        TASK.prepare([], TaskRequest())
    with pytest.raises(DataError, match="have no opinions"):
        TASK.prepare([example("it was")], TaskRequest())
    with pytest.raises(DataError, match=r"train\.jsonl:7: a row does not say its opinions"):
        TASK.prepare([*TRIPLETS, Example(text="x", file="train.jsonl", line=7)], TaskRequest())
    with pytest.raises(DataError, match=r"train\.jsonl:3: an opinion without its polarity"):
        TASK.prepare([*TRIPLETS, example("the food", ("food", None, ""))], TaskRequest())
    with pytest.raises(DataError, match=r"train\.jsonl:3: a polarity that .*'NEG'.*POS"):
        TASK.prepare(TRIPLETS, TaskRequest(labels=("POS", "NEU")))
    with pytest.raises(DataError, match="single texts"):
        TASK.prepare([replace(TRIPLETS[0], text_pair="b")], TaskRequest())
    with pytest.raises(ConfigError, match="class weights"):
        TASK.prepare(TRIPLETS, TaskRequest(class_weights="balanced"))
    with pytest.raises(ConfigError, match=r"unknown metric.*opinion_f1"):
        TASK.prepare(ASPECTS, TaskRequest(main_metric="triplet_f1"))
    with pytest.raises(ConfigError, match="other categories"):
        TASK.prepare(QUADRUPLES, TaskRequest(options={"categories": ("price", "room")}))
    with pytest.raises(ConfigError, match="fewer positions"):
        TASK.prepare(TRIPLETS, TaskRequest(tokenizer=TOKENIZER, body=ENCODER, max_length=100))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_configuration_comes_back_from_json(kind: str) -> None:
    made = TASK.prepare(KINDS[kind], TaskRequest(tokenizer=TOKENIZER, body=ENCODER, options={"crf": True}))
    assert made.max_length is not None
    made = replace(made, temperature=1.5)
    assert TaskConfig.from_dict(json.loads(json.dumps(made.to_dict())), TASK.options) == made


# --- what is learnt


def test_opinions_are_learnt_beside_pairs_that_are_none() -> None:
    task_config = prepared(TRIPLETS)
    encoded = TASK.encode(TOKENIZER, TRIPLETS, task_config, labelled=True)
    rows = table(encoded[0], task_config)
    right = {words(encoded, 0, row): task_config.labels[row[-1]] for row in rows if row[-1] >= 0}
    wrong = {words(encoded, 0, row) for row in rows if row[-1] < 0}
    assert right == {("food", "good"): "POS", ("room", "too small"): "NEG"}
    assert {("food", "too small"), ("room", "good")} <= wrong
    # and spans that a tagger may find by mistake
    assert len(wrong) > 4
    assert not wrong & set(right)
    names = tags_of(tagging_of(task_config)).names
    target = encoded[0].target
    assert target is not None
    tagged = [names[tag] for tag in target[1 : len(encoded[0]) - 1].tolist()]
    assert tagged == ["O", "S-aspect", "O", "S-opinion", "O", "O", "S-aspect", "B-opinion", "E-opinion"]
    assert [row[-1] for row in table(encoded[2], task_config) if row[-1] >= 0] == []
    again = TASK.encode(TOKENIZER, TRIPLETS, task_config, labelled=True)
    assert all((one.target == other.target).all() for one, other in zip(encoded, again, strict=True))


def test_what_is_implied_is_the_first_token_and_a_pair_can_have_several_categories() -> None:
    task_config = prepared(QUADRUPLES)
    encoded = TASK.encode(TOKENIZER, QUADRUPLES, task_config, labelled=True)
    found = {}
    for index in range(3):
        for row in table(encoded[index], task_config):
            if max(row[PLACES:]) >= 0:
                polarities = [None if one < 0 else task_config.labels[one] for one in row[PLACES:]]
                found[index, *words(encoded, index, row)] = polarities
    # the categories are price, room and taste
    assert found == {
        (0, "food", "good"): [None, None, "POS"],
        (0, "[CLS]", "cheap"): ["POS", None, None],
        (1, "[CLS]", "too small"): [None, "NEG", None],
        (1, "[CLS]", "[CLS]"): ["NEG", None, None],
        (2, "room", "[CLS]"): ["POS", "NEG", None],
    }


def test_aspects_alone_have_no_pairs_that_are_none() -> None:
    task_config = prepared(ASPECTS)
    encoded = TASK.encode(TOKENIZER, ASPECTS, task_config, labelled=True)
    assert [row[-1] >= 0 for index in range(2) for row in table(encoded[index], task_config)] == [True] * 3
    parts = TASK.loss(OpinionModel(ENCODER, task_config), packed(encoded.items))
    assert set(parts) == {"spans", "polarity"}
    assert parts["polarity"].weight == 3


def test_the_parts_of_the_loss_are_named_for_what_they_are() -> None:
    for rows, name in ((TRIPLETS, "presence"), (QUADRUPLES, "category"), (REVIEWS, "category")):
        task_config = prepared(rows)
        encoded = TASK.encode(TOKENIZER, rows, task_config, labelled=True)
        parts = TASK.loss(OpinionModel(ENCODER, task_config), packed(encoded.items))
        assert set(parts) == {"spans", name, "polarity"}
        assert parts[name].weight == sum(len(table(one, task_config)) for one in encoded)
        assert all(torch.isfinite(part.total) for part in parts.values())


def test_a_batch_without_opinions_has_a_loss_of_nothing() -> None:
    task_config = prepared(TRIPLETS)
    module = OpinionModel(ENCODER, task_config)
    parts = TASK.loss(module, packed(TASK.encode(TOKENIZER, [example("")], task_config, labelled=True).items))
    assert {name: part.total.item() for name, part in parts.items()} == {"spans": 0, "presence": 0, "polarity": 0}
    assert {float(part.weight) for part in parts.values()} == {0.0}
    sum(part.total for part in parts.values()).backward()  # type: ignore[union-attr]


@pytest.mark.parametrize("body", BODIES, ids=["albert", "bilstm", "word-vectors"])
@pytest.mark.parametrize("crf", [False, True])
def test_padded_and_packed_batches_have_one_loss_and_it_adds_up(body: BodyConfig, crf: bool) -> None:
    task_config = prepared(QUADRUPLES, crf=crf)
    module = OpinionModel(body, task_config).eval()
    items = TASK.encode(TOKENIZER, QUADRUPLES, task_config, labelled=True).items
    whole = TASK.loss(module, packed(items))
    other = TASK.loss(module, padded(items, pad_id=0))
    first, second = (TASK.loss(module, packed(items[part])) for part in (slice(0, 1), slice(1, 3)))
    for name, part in whole.items():
        torch.testing.assert_close(part.total, other[name].total, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(part.total, first[name].total + second[name].total, rtol=1e-4, atol=1e-4)
        assert part.weight == other[name].weight == first[name].weight + second[name].weight
        part.total.backward(retain_graph=True)
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in module.pairs.parameters())


def test_log_shares_are_logarithms_of_probabilities() -> None:
    task_config = prepared(TRIPLETS)
    module = OpinionModel(ENCODER, task_config).eval()
    batch = packed(TASK.encode(TOKENIZER, TRIPLETS, task_config, labelled=True).items)
    assert TASK.log_shares is not None
    shares = TASK.log_shares(module, module(batch), batch)
    tokens = int(TASK.loss(module, batch)["spans"].weight)
    assert shares.shape[0] == tokens + 4
    torch.testing.assert_close(shares.exp().sum(dim=1), torch.ones(tokens + 4))
    with_crf = prepared(TRIPLETS, crf=True)
    module = OpinionModel(ENCODER, with_crf)
    with pytest.raises(ConfigError, match="CRF"):
        TASK.log_shares(module, module(batch), batch)


def test_distances_grow_in_either_direction() -> None:
    aspects = torch.tensor([[5, 6]] * 8 + [[0, 0], [5, 6]])
    expressions = torch.tensor([[7, 7], [4, 4], [10, 12], [12, 12], [5, 5], [6, 9], [80, 80], [1, 3], [5, 6], [0, 0]])
    found = distance_buckets(aspects, expressions).tolist()
    assert found[0] != found[1]  # one behind, one before
    assert found[2] == 4
    assert found[3] == 5
    assert found[4] == found[5] == 0  # they overlap
    assert found[6] == 9
    assert found[7] == 9 + 2
    assert found[8] == found[9] == 19


# --- windows


def long_example() -> Example:
    """Make a text of which pairs stand close together, and one far apart."""
    middle = " and it was the room" * 4
    return example(
        f"the food was good{middle} but the phone too dark", ("food", "good", "POS"), ("phone", "dark", "NEG")
    )


def test_every_pair_is_learnt_in_the_window_with_most_context() -> None:
    task_config = replace(prepared(TRIPLETS), max_length=12, overlap=4)
    one = long_example()
    encoded = TASK.encode(TOKENIZER, [one], task_config, labelled=True)
    assert len(encoded) > 3
    right = [
        (index, *words(encoded, index, row))
        for index in range(len(encoded))
        for row in table(encoded[index], task_config)
        if row[-1] >= 0
    ]
    assert right == [(0, "food", "good"), (len(encoded) - 1, "phone", "dark")]
    # what is far apart stands in no window
    assert not any(
        words(encoded, index, row) == ("food", "dark")
        for index in range(len(encoded))
        for row in table(encoded[index], task_config)
    )
    text = TextWindows(one.text, encoded.items, tagging_of(task_config))
    whole = TASK.encode(TOKENIZER, [one], replace(task_config, max_length=64), labelled=False)[0]
    assert whole.offsets is not None
    assert (text.offsets == whole.offsets).all()
    for span in (one.opinions or ())[1].aspect, (one.opinions or ())[1].expression:
        place = text.place(span)
        assert span is not None
        assert place is not None
        assert text.characters(place) == (span.start, span.end)
        best = text.best(place)
        assert best is not None
        assert text.context(best, place) == max(text.context(index, place) for index in range(len(encoded)))


def test_long_texts_are_answered_as_whole_ones_by_a_model_without_context() -> None:
    task_config = prepared(TRIPLETS)
    one = long_example()
    module = talkative(task_config, one, BODIES[2])
    # neither does the mean of all words count
    nn.init.zeros_(module.pairs.text.weight)
    (whole,) = answers(module, [one], task_config)
    (windowed,) = answers(module, [one], replace(task_config, max_length=14, overlap=6))
    assert len(whole.spans) > 3
    assert [(span.start, span.end, span.label) for span in windowed.spans] == [
        (span.start, span.end, span.label) for span in whole.spans
    ]

    def near(opinions: Sequence[Opinion]) -> dict[tuple[object, ...], float]:
        return {
            (one.aspect.start, one.expression.start, one.polarity): round(one.score, 4)
            for one in opinions
            if one.aspect is not None
            and one.expression is not None
            and abs(one.aspect.start - one.expression.start) < 12
        }

    assert near(windowed.opinions) == near(whole.opinions)
    assert near(whole.opinions)
    assert len(windowed.opinions) < len(whole.opinions)
    assert [round(said.score, 4) for said in windowed.judged] == [round(said.score, 4) for said in whole.judged]


# --- answers


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("body", BODIES, ids=["albert", "bilstm", "word-vectors"])
def test_what_is_found_does_not_depend_on_the_batch_or_on_what_the_data_say(kind: str, body: BodyConfig) -> None:
    rows = [*KINDS[kind], example("the good phone, the dark room"), example(" ")]
    task_config = prepared(KINDS[kind])
    module = untrained(task_config, body)
    together = answers(module, rows, task_config)
    for one, said in zip(rows, together, strict=True):
        (alone,) = answers(module, [replace(one, opinions=None)], task_config)
        assert [(span.start, span.end, span.label) for span in alone.spans] == [
            (span.start, span.end, span.label) for span in said.spans
        ]
        assert len(alone.opinions) == len(said.opinions)
        for left, right in zip(alone.opinions, said.opinions, strict=True):
            assert left.score == pytest.approx(right.score, abs=1e-4)
            assert replace(left, aspect=None, expression=None, score=0) == replace(
                right, aspect=None, expression=None, score=0
            )
            assert 0 <= left.score <= 1
    assert together[-1].spans == ()


def test_every_aspect_that_is_found_alone_has_an_opinion() -> None:
    for rows in (
        ASPECTS,
        [example("屏幕好", ("屏幕", None, "good", "screen")), example("外观", ("外观", None, "bad", "look"))],
    ):
        task_config = prepared(rows)
        for seed in range(4):
            for said in answers(untrained(task_config, seed=seed), rows, task_config):
                assert {one.aspect for one in said.opinions} == set(said.spans)


def test_aspects_without_a_polarity_are_judged_and_nothing_else() -> None:
    for rows in (TRIPLETS, ASPECTS, QUADRUPLES):
        task_config = prepared(rows)
        module = untrained(task_config)
        asked = example("the new phone, the food", ("food", None, ""), ("phone", None, ""))
        (said,) = answers(module, [asked], task_config)
        (prediction,) = TASK.decode([said], [asked], task_config)
        assert [one.aspect and one.aspect.text for one in prediction.opinions] == ["food", "phone"]
        assert all(one.polarity in task_config.labels for one in prediction.opinions)
        assert all(bool(one.category) == bool(options_of(task_config).categories) for one in prediction.opinions)
        (found,) = TASK.decode([said], [replace(asked, opinions=None)], task_config)
        assert found.opinions == said.opinions


def test_the_polarity_of_a_given_pair_is_that_of_the_pair_that_is_found() -> None:
    task_config = prepared(TRIPLETS)
    row = TRIPLETS[0]
    module = talkative(task_config, row)
    (said,) = answers(module, [row], task_config)
    (again,) = answers(module, [replace(row, opinions=said.opinions)], task_config)
    for one, other in zip(said.opinions, again.judged, strict=True):
        assert one.polarity == other.polarity
        assert other.score >= one.score


def test_spans_that_tokens_cannot_say_are_counted_and_listed(caplog: pytest.LogCaptureFixture) -> None:
    task_config = prepared(TRIPLETS)
    row = example("the food was good", ("foo", "good", "POS"))
    with caplog.at_level(logging.WARNING, logger="albertine"):
        encoded = TASK.encode(TOKENIZER, [row], task_config, labelled=True)
    assert "1 of 2 spans" in caplog.text
    assert "train.jsonl:3: 'foo'" in caplog.text
    assert ("food", "good") in [words(encoded, 0, one) for one in table(encoded[0], task_config) if one[-1] >= 0]
    metrics = TASK.score(answers(untrained(task_config), [row], task_config), [row], task_config)
    assert metrics["unrepresentable"] == 0.5


def test_overlapping_spans_are_judged_although_only_one_is_tagged(caplog: pytest.LogCaptureFixture) -> None:
    task_config = prepared(TRIPLETS)
    row = example("the good food was cheap", ("good food", "good", "POS"), ("food", "cheap", "NEG"))
    with caplog.at_level(logging.WARNING, logger="albertine"):
        encoded = TASK.encode(TOKENIZER, [row], task_config, labelled=True)
    assert "(not learnt)" in caplog.text
    right = {words(encoded, 0, one) for one in table(encoded[0], task_config) if one[-1] >= 0}
    assert right == {("good food", "good"), ("food", "cheap")}


# --- what an answer is worth


def test_every_ranking_metric_is_a_score_with_the_same_value() -> None:
    for rows in KINDS.values():
        task_config = prepared(rows)
        said = answers(untrained(task_config), rows, task_config)
        said[0] = replace(said[0], opinions=rows[0].opinions or ())
        metrics, found = TASK.score(said, rows, task_config), TASK.evidence(said, rows, task_config)
        assert found.shape == (len(rows), len(TASK.evidence_columns(task_config)))
        rankings = TASK.metrics(task_config)
        assert TASK.main_metric in rankings
        assert TASK.ranking_metric(task_config, {}, rows) in rankings
        for name, metric in rankings.items():
            assert metrics[name] == metric.of(found)
        assert metrics["opinion_f1"] > 0
        assert not TASK.did_not_learn(found, task_config)
        nothing = [replace(one, opinions=()) for one in said]
        assert TASK.did_not_learn(TASK.evidence(nothing, rows, task_config), task_config)


def test_what_cannot_be_measured_is_refused() -> None:
    task_config = prepared(TRIPLETS)
    said = answers(untrained(task_config), TRIPLETS[:1], task_config)
    with pytest.raises(DataError, match="no examples"):
        TASK.score([], [], task_config)
    with pytest.raises(DataError, match="does not say its opinions"):
        TASK.score(said, [Example(text="x")], task_config)
    with pytest.raises(DataError, match="an opinion without its polarity"):
        TASK.score(said, [example("the food", ("food", None, ""))], task_config)
    with pytest.raises(DataError, match=r"a polarity that .*'pos'.*POS"):
        TASK.score(said, [example("the food", ("food", None, "pos"))], task_config)
    with pytest.raises(DataError, match="single texts"):
        TASK.check_inputs([Example(text="a", text_pair="b")], task_config)


def overconfident(task_config: TaskConfig) -> tuple[list[Example], list[Said]]:
    """Make answers of which seven in ten are right, all with scores near 1, the right ones a bit nearer."""
    generator = np.random.default_rng(4)
    row = TRIPLETS[0]
    gold = row.opinions or ()
    made = []
    for place in range(400):
        right = place % 10 < 7
        chance = float(generator.uniform(0.97, 0.995 if right else 0.985))
        found = replace(gold[0], polarity="POS" if right else "NEG", score=chance)
        made.append(Said(spans=(), opinions=(found,), judged=gold, unrepresentable=()))
    del task_config
    return [row] * 400, made


def test_scores_are_brought_to_the_share_of_right_opinions() -> None:
    task_config = prepared(TRIPLETS)
    rows, made = overconfident(task_config)
    assert TASK.tune is not None
    tuned = TASK.tune(made, rows, task_config)
    assert tuned.temperature is not None
    scores = [prediction.opinions[0].score for prediction in TASK.decode(made, rows, tuned)]
    assert np.mean(scores) == pytest.approx(0.7, abs=0.05)
    metrics = TASK.score(made, rows, tuned)
    assert metrics["ece"] < 0.15 < metrics["ece_uncalibrated"]
    # too few: nothing can be fitted
    assert TASK.tune(made[:30], rows[:30], task_config) == task_config


def test_opinions_that_are_too_unsure_are_kept_back() -> None:
    task_config = replace(prepared(TRIPLETS), max_error=0.1)
    rows, made = overconfident(task_config)
    assert TASK.tune is not None
    tuned = TASK.tune(made, rows, task_config)
    predictions = TASK.decode(made, rows, tuned)
    given = [prediction for prediction in predictions if prediction.opinions]
    assert 0 < len(given) < len(predictions)
    assert all(prediction.abstained is not bool(prediction.opinions) for prediction in predictions)
    wrong = sum(prediction.opinions[0].polarity == "NEG" for prediction in given)
    assert wrong / len(given) <= 0.1
    assert TASK.score(made, rows, tuned)["coverage"] == pytest.approx(len(given) / len(predictions))
