"""Token classification as a record of functions: alignment, windows, learning, answers."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from albertine.batching.packing import packed, padded
from albertine.checkpoints.state import TaskHead
from albertine.errors import ConfigError, DataError
from albertine.models.body import BodyConfig
from albertine.models.config import EncoderConfig
from albertine.models.crf import IGNORED
from albertine.models.recurrent import RecurrentConfig
from albertine.models.word_vectors import WordVectorsConfig
from albertine.records import Batch, Encoded, Example, Span
from albertine.tasks.config import TaskConfig, TaskRequest
from albertine.tasks.tagger import Tagged, Tagger, TaggingOptions, TagScores, tags_of
from albertine.tasks.tagging_alignment import Scheme, held_tokens, place_spans, tag_set, token_span
from albertine.tasks.token_classification import TASK
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
CHINESE = "他在北京用手机打过分马云的"
WORDS = ["he", "lives", "in", "met", "and", "the", "never", "phone", "##phone", "20", "##08"]
TOKENIZER = Tokenizer(
    WordPieceModel(
        [*SPECIAL_TOKENS, *WORDS, *LETTERS, *(f"##{one}" for one in LETTERS), *CHINESE, ".", "-"],
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
LABELS = ("LOC", "PER")


def config(*, max_length: int | None = 64, overlap: int | None = None, **options: object) -> TaskConfig:
    return TaskConfig(
        task="token-classification",
        labels=LABELS,
        max_length=max_length,
        overlap=overlap,
        options=TaggingOptions(**options),  # type: ignore[arg-type]
    )


def example(marked: str, line: int = 1) -> Example:
    """Make an example of a text in which spans are marked: `he met [PER ada]`."""
    text, spans = "", []
    for place, part in enumerate(marked.replace("]", "[").split("[")):
        if place % 2:
            label, piece = part.split(" ", 1)
            spans.append(Span(start=len(text), end=len(text) + len(piece), label=label, text=piece))
            part = piece
        text += part
    return Example(text=text, spans=tuple(spans), file="train.jsonl", line=line)


def tag_names(one: Encoded, task_config: TaskConfig) -> list[str]:
    assert one.target is not None
    names = tags_of(task_config).names
    return ["." if tag == IGNORED else names[tag] for tag in one.target.tolist()]


def pieces(one: Encoded) -> list[str]:
    return [TOKENIZER.id_to_token(index) for index in one.input_ids.tolist()]


def predicted(module: nn.Module, examples: Sequence[Example], task_config: TaskConfig) -> list[Tagged]:
    """Answer as the engine does, in batches of three windows that mix examples."""
    encoded = TASK.encode(TOKENIZER, examples, task_config, labelled=False)
    found: list[object] = []
    module.eval()
    with torch.inference_mode():
        for first in range(0, len(encoded), 3):
            found += TASK.outputs(module, packed(encoded[first : first + 3]), task_config)
    return [
        TASK.answer(found[start:end], encoded[start:end], one, task_config)
        for one, start, end in zip(examples, encoded.starts.tolist(), encoded.starts[1:].tolist(), strict=False)
    ]


class Fixed(nn.Module):
    """Says of every token what a table says of its piece."""

    def __init__(self, table: dict[str, str], task_config: TaskConfig) -> None:
        super().__init__()
        names = tags_of(task_config).names
        scores = torch.zeros(TOKENIZER.vocab_size, len(names))
        scores[:, names.index("O")] = 4.0
        for piece, tag in table.items():
            index = TOKENIZER.token_to_id(piece)
            assert index is not None
            scores[index] = 0.0
            scores[index, names.index(tag)] = 4.0
        self.scores = nn.Parameter(scores)

    def forward(self, batch: Batch) -> TagScores:
        return TagScores(self.scores[batch.input_ids], None)


# --- preparing


def test_types_are_sorted_and_the_maximum_length_is_measured() -> None:
    examples = [example("[PER ada] lives in [LOC rome]"), example("he met [PER bob]")]
    made = TASK.prepare(examples, TaskRequest(tokenizer=TOKENIZER, body=ENCODER))
    assert made.labels == LABELS
    assert made.max_length is not None
    assert made.max_length % 8 == 0
    assert TASK.prepare(examples, TaskRequest(labels=("PER", "LOC", "ORG"))).labels == ("PER", "LOC", "ORG")


def test_the_training_spans_decide_whether_words_are_kept_whole() -> None:
    between = [example("[PER ada]-born [PER bob] in 北[LOC 京]20[LOC 手]")]
    inside = [example("[PER ada]s phone"), example("he met [PER bob]")]
    for examples, whole in ((between, True), (inside, False), (between * 700 + inside, True)):
        options = TASK.prepare(examples, TaskRequest()).own(TaggingOptions)
        assert options.whole_words is whole
    asked = TASK.prepare(between, TaskRequest(options={"whole_words": False, "crf": True}))
    assert asked.own(TaggingOptions) == TaggingOptions(whole_words=False, crf=True)


def test_what_cannot_be_learnt_from_or_is_not_possible_is_refused() -> None:
    good = [example("he met [PER bob]")]
    with pytest.raises(DataError, match="no training examples"):
        TASK.prepare([], TaskRequest())
    with pytest.raises(DataError, match="have no spans"):
        TASK.prepare([example("he met")], TaskRequest())
    with pytest.raises(DataError, match=r"train\.jsonl:7: a row does not say its spans"):
        TASK.prepare([*good, Example(text="he", file="train.jsonl", line=7)], TaskRequest())
    with pytest.raises(DataError, match=r"train\.jsonl:1: a type of span.*'PER'.*LOC"):
        TASK.prepare(good, TaskRequest(labels=("LOC",)))
    with pytest.raises(DataError, match=r"train\.jsonl:1: the model reads single texts"):
        TASK.prepare([replace(good[0], text_pair="b")], TaskRequest())
    with pytest.raises(ConfigError, match="class weights"):
        TASK.prepare(good, TaskRequest(class_weights="balanced"))
    with pytest.raises(ConfigError, match=r"unknown metric.*f1"):
        TASK.prepare(good, TaskRequest(main_metric="accuracy"))
    with pytest.raises(ConfigError, match="scheme"):
        TASK.prepare(good, TaskRequest(options={"scheme": "iob1"}))
    with pytest.raises(ConfigError, match="another program's"):
        TASK.prepare(good, TaskRequest(options={"tags": ("O", "B-PER")}))
    with pytest.raises(ConfigError, match="fewer positions"):
        TASK.prepare(good, TaskRequest(tokenizer=TOKENIZER, body=ENCODER, max_length=100))


def test_a_tokenizer_without_capitals_is_warned_of_where_names_have_them(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="albertine"):
        TASK.prepare([example("he met [PER bob]")], TaskRequest(tokenizer=TOKENIZER, body=ENCODER))
        assert not caplog.records
        TASK.prepare([example("he met [PER Bob]")], TaskRequest(tokenizer=TOKENIZER, body=ENCODER))
    assert "cased encoder" in caplog.text


def test_the_configuration_comes_back_from_json() -> None:
    made = TASK.prepare([example("he met [PER bob]")], TaskRequest(options={"scheme": "bio", "crf": True}))
    made = replace(made, temperature=1.5)
    assert TaskConfig.from_dict(json.loads(json.dumps(made.to_dict())), TASK.options) == made


# --- alignment


@pytest.mark.parametrize(
    ("marked", "scheme", "expected"),
    [
        (
            "他[PER 马云]用i[LOC phone4]手机",
            "bioes",
            "他/O 马/B-PER 云/E-PER 用/O i/O ##phone/B-LOC ##4/E-LOC 手/O 机/O",
        ),
        (
            "在[LOC 2008]北[LOC 7.7]的[PER 他]",
            "bioes",
            "在/O 20/B-LOC ##08/E-LOC 北/O 7/B-LOC ./I-LOC 7/E-LOC 的/O 他/S-PER",
        ),
        ("[PER ada][LOC 北京] the", "bio", "a/B-PER ##d/I-PER ##a/I-PER 北/B-LOC 京/I-LOC the/O"),
    ],
)
def test_spans_become_tags_by_character(marked: str, scheme: Scheme, expected: str) -> None:
    task_config = config(scheme=scheme, whole_words=False)
    (one,) = TASK.encode(TOKENIZER, [example(marked)], task_config, labelled=True)
    found = [f"{piece}/{tag}" for piece, tag in zip(pieces(one), tag_names(one, task_config), strict=True)]
    assert " ".join(found) == f"[CLS]/. {expected} [SEP]/."


@pytest.mark.parametrize("scheme", ["bioes", "bio"])
def test_any_spans_of_tokens_come_back_as_they_went_in(scheme: Scheme) -> None:
    generator = np.random.default_rng(7)
    alphabet = list("ab 7.北京 é")
    for _ in range(200):
        text = "".join(generator.choice(alphabet, size=generator.integers(1, 30)))
        tokens = TOKENIZER.tokenize([text])
        assert tokens.offsets is not None
        offsets = tokens.offsets[1:-1]
        cuts = np.sort(generator.choice(len(offsets) + 1, size=min(4, len(offsets) + 1), replace=False))
        spans = []
        for first, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            start, stop = token_span(text, offsets, first, end - 1)
            label = LABELS[int(generator.integers(2))]
            spans.append(Span(start=start, end=stop, label=label, text=text[start:stop]))
        placed = place_spans(text, offsets, held_tokens(text, offsets, whole_words=False), spans)
        assert all(one.exact for one in placed)
        tags = tag_set(LABELS, scheme)
        task_config = config(scheme=scheme, whole_words=False)
        (one,) = TASK.encode(TOKENIZER, [Example(text=text, spans=tuple(spans))], task_config, labelled=True)
        assert one.target is not None
        back = [
            (*token_span(text, offsets, run.first, run.last), LABELS[run.label]) for run in tags.runs(one.target[1:-1])
        ]
        assert back == [(span.start, span.end, span.label) for span in spans]


def test_spans_that_tokens_cannot_say_are_listed_learnt_as_near_as_can_be_and_counted_as_missed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task_config = config(whole_words=True)
    rows = [
        example("he met [PER bob]"),
        example("the [PER ad]as", line=2),
        # a character that no vocabulary knows: the word is one token
        example("in [LOC ☃]☃[PER ☃]", line=3),
    ]
    with caplog.at_level(logging.WARNING, logger="albertine"):
        encoded = TASK.encode(TOKENIZER, rows, task_config, labelled=True)
    assert "3 of 4 spans" in caplog.text
    assert "but for 1 without tokens" in caplog.text
    assert "train.jsonl:2: 'ad'; train.jsonl:3: '☃'; train.jsonl:3: '☃' (not learnt)" in caplog.text
    assert tag_names(encoded[1], task_config) == [".", "O", "B-PER", "I-PER", "I-PER", "E-PER", "."]
    assert tag_names(encoded[2], task_config) == [".", "O", "S-LOC", "."]
    module = Fixed({"b": "S-PER"}, task_config)
    answers = predicted(module, rows, task_config)
    scores = TASK.score(answers, rows, task_config)
    assert [one.unrepresentable for one in answers] == [(), rows[1].spans, rows[2].spans]
    assert scores["unrepresentable"] == pytest.approx(3 / 4)
    assert TASK.evidence(answers, rows, task_config)[:, 1].sum() == 4  # all of them are in the data


@pytest.mark.parametrize("marked", ["the [PER ad]as in", "the ad[PER as] in", "the a[PER da]s in", "the[PER  adas] in"])
def test_a_span_of_a_part_of_a_word_is_learnt_as_the_word(marked: str) -> None:
    task_config = config(whole_words=True)
    (one,) = TASK.encode(TOKENIZER, [example(marked)], task_config, labelled=True)
    assert tag_names(one, task_config)[1:-1] == ["O", "B-PER", "I-PER", "I-PER", "E-PER", "O"]


def test_two_spans_in_one_token_keep_the_first_and_list_the_second() -> None:
    text = "he 20-20"
    offsets = np.array([[0, 2], [3, 8]])
    spans = [
        Span(start=3, end=5, label="LOC", text="20"),
        Span(start=6, end=8, label="PER", text="20"),
        Span(start=2, end=3, label="PER", text=" "),
    ]
    nothing, first, second = place_spans(text, offsets, np.array([False, False]), spans)
    assert (nothing.tokens, nothing.exact) == (None, False)
    assert (first.tokens, first.exact) == ((1, 1), False)
    assert (second.tokens, second.exact) == (None, False)


def test_texts_are_encoded_alike_with_and_without_spans() -> None:
    rows = [example("[PER ada] lives in [LOC rome]"), example("he")]
    labelled = TASK.encode(TOKENIZER, rows, config(max_length=8), labelled=True)
    plain = TASK.encode(TOKENIZER, [Example(text=one.text) for one in rows], config(max_length=8), labelled=False)
    assert all(one.target is None for one in plain)
    assert [one.input_ids.tolist() for one in plain] == [one.input_ids.tolist() for one in labelled]
    with pytest.raises(DataError, match="does not say its spans"):
        TASK.encode(TOKENIZER, [Example(text="he")], config(), labelled=True)


# --- windows


LONG = example("[PER ada] lives in [LOC rome] and met [PER bob] in the [LOC 北京] phone and never met [PER eve]")


def without_context(task_config: TaskConfig) -> Tagger:
    """Make a model that says of every token what its piece alone says."""
    module = Tagger(WordVectorsConfig(vocab_size=TOKENIZER.vocab_size, embedding_size=8), task_config)
    for name, one in module.named_parameters():
        if name in ("body.tokens.weight", "classifier.weight", "crf.next", "crf.first", "crf.last"):
            nn.init.normal_(one)
    return module


def test_windows_answer_for_every_token_once() -> None:
    (whole,) = TASK.encode(TOKENIZER, [LONG], config(), labelled=True)
    for max_length in (8, 13, 20):
        parts = TASK.encode(TOKENIZER, [LONG], config(max_length=max_length, overlap=3), labelled=True)
        assert len(parts) > 1
        assert whole.target is not None
        owned = [tag for part in parts if part.target is not None for tag in part.target.tolist() if tag != IGNORED]
        assert owned == whole.target[1:-1].tolist()


@pytest.mark.parametrize("crf", [False, True])
def test_a_model_without_context_answers_alike_in_windows_and_whole(crf: bool) -> None:
    task_config = config(crf=crf)
    module = without_context(task_config)
    rows = [LONG, example("he met [PER bob]"), LONG]
    whole = predicted(module, rows, task_config)
    assert any(one.spans for one in whole)
    for max_length in (8, 13):
        parts = predicted(module, rows, replace(task_config, max_length=max_length, overlap=2))
        for one, other in zip(whole, parts, strict=True):
            assert [span.text for span in one.spans] == [span.text for span in other.spans]
            scores = [[span.score for span in each.spans] for each in (one, other)]
            np.testing.assert_allclose(scores[0], scores[1], rtol=1e-4)


@pytest.mark.parametrize("crf", [False, True])
def test_the_loss_of_windows_is_that_of_the_whole_text_for_a_model_without_context(crf: bool) -> None:
    task_config = config(crf=crf)
    module = without_context(task_config)
    rows = [LONG, example("he met [PER bob]")]
    whole = TASK.loss(module, packed(TASK.encode(TOKENIZER, rows, task_config, labelled=True).items))["tagging"]
    windowed = TASK.encode(TOKENIZER, rows, replace(task_config, max_length=9, overlap=2), labelled=True)
    parts = TASK.loss(module, packed(windowed.items))["tagging"]
    torch.testing.assert_close(parts.total, whole.total, rtol=1e-5, atol=1e-4)
    assert parts.weight == whole.weight == len(TOKENIZER.tokenize([one.text for one in rows]).ids) - 4


# --- the module and what it learns


BODIES: tuple[BodyConfig, ...] = (
    ENCODER,
    RecurrentConfig(vocab_size=TOKENIZER.vocab_size, embedding_size=6, hidden_size=5),
    WordVectorsConfig(vocab_size=TOKENIZER.vocab_size, embedding_size=6),
)


@pytest.mark.parametrize("body", BODIES, ids=["albert", "bilstm", "word-vectors"])
@pytest.mark.parametrize("crf", [False, True])
def test_padded_and_packed_batches_have_one_loss(body: BodyConfig, crf: bool) -> None:
    task_config = config(crf=crf)
    module = Tagger(body, task_config).eval()
    items = TASK.encode(
        TOKENIZER, [LONG, example("he met [PER bob]"), example("北京")], task_config, labelled=True
    ).items
    one = TASK.loss(module, packed(items))["tagging"]
    other = TASK.loss(module, padded(items, pad_id=0))["tagging"]
    torch.testing.assert_close(one.total, other.total, rtol=1e-4, atol=1e-4)
    assert one.weight == other.weight


def test_transitions_keep_up_with_the_small_steps_of_an_encoder() -> None:
    for body, step in ((ENCODER, 1e-2), (BODIES[1], 1e-4)):
        task_config = config(crf=True)
        module = Tagger(body, task_config)
        assert module.crf is not None
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-4)
        TASK.loss(module, packed(TASK.encode(TOKENIZER, [LONG], task_config, labelled=True).items))[
            "tagging"
        ].total.backward()
        optimizer.step()
        names = tags_of(task_config).names
        assert module.crf().next[names.index("O"), names.index("O")].item() == pytest.approx(step, rel=0.01)


def test_losses_of_parts_add_up_to_that_of_the_batch() -> None:
    for crf in (False, True):
        task_config = config(crf=crf)
        module = Tagger(ENCODER, task_config).eval()
        items = TASK.encode(TOKENIZER, [LONG, example("he met [PER bob]"), LONG], task_config, labelled=True).items
        parts = [TASK.loss(module, packed(items[part]))["tagging"] for part in (slice(0, 1), slice(1, 3))]
        whole = TASK.loss(module, packed(items))["tagging"]
        torch.testing.assert_close(sum(part.total for part in parts), whole.total, rtol=1e-4, atol=1e-4)
        assert sum(part.weight for part in parts) == whole.weight


def toy(count: int, seed: int) -> list[Example]:
    """Names stand behind "met", places behind "in"; the same words are neither elsewhere."""
    generator = np.random.default_rng(seed)
    words = ["ada", "bob", "eve 7", "马云", "zoe-x"]
    rows = []
    for _ in range(count):
        one, other, third = (words[index] for index in generator.integers(0, len(words), 3))
        order = [f"met [PER {one}]", f"in [LOC {other}]", f"and {third}"]
        rows.append(example("the " + " ".join(order[place] for place in generator.permutation(3)) + " never"))
    return rows


RECURRENT = RecurrentConfig(
    vocab_size=TOKENIZER.vocab_size,
    embedding_size=16,
    hidden_size=16,
    embedding_dropout_prob=0.0,
    classifier_dropout_prob=0.0,
    initializer_range=0.3,
)
STACK = replace(
    ENCODER, num_hidden_layers=2, hidden_size=32, embedding_size=32, intermediate_size=64, initializer_range=0.15
)


@pytest.mark.parametrize(
    ("body", "rate", "steps", "scheme", "crf", "least"),
    [
        (RECURRENT, 2e-2, 60, "bioes", False, 0.97),
        (RECURRENT, 2e-2, 60, "bio", False, 0.97),
        (RECURRENT, 2e-2, 60, "bioes", True, 0.97),
        (RECURRENT, 2e-2, 60, "bio", True, 0.97),
        (STACK, 5e-3, 120, "bioes", False, 0.8),
        (STACK, 5e-3, 100, "bioes", True, 0.8),
    ],
)
def test_a_toy_pattern_is_learnt(
    body: BodyConfig, rate: float, steps: int, scheme: Scheme, crf: bool, least: float
) -> None:
    train, test = toy(120, 1), toy(40, 2)
    request = TaskRequest(tokenizer=TOKENIZER, body=body, options={"scheme": scheme, "crf": crf})
    task_config = TASK.prepare(train, request)
    module = Tagger(body, task_config)
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
    encoded = TASK.encode(TOKENIZER, train, task_config, labelled=True)
    nothing = TASK.evidence([Tagged(spans=(), unrepresentable=())] * 40, test, task_config)
    assert TASK.did_not_learn(nothing, task_config)
    module.train()
    for step in range(steps):
        batch = packed(encoded[step % 5 * 24 : step % 5 * 24 + 24])
        part = TASK.loss(module, batch)["tagging"]
        optimizer.zero_grad()
        (part.total / part.weight).backward()
        optimizer.step()
    answers = predicted(module, test, task_config)
    metrics = TASK.score(answers, test, task_config)
    assert metrics["f1"] > least
    assert metrics["unrepresentable"] == 0
    assert not TASK.did_not_learn(TASK.evidence(answers, test, task_config), task_config)
    predictions = TASK.decode(answers, test, task_config)
    for one, prediction in zip(test, predictions, strict=True):
        assert prediction.score is None
        assert all(one.text[span.start : span.end] == span.text for span in prediction.spans)
        assert all(0 < span.score <= 1 for span in prediction.spans)


# --- answers


def test_an_answer_does_not_depend_on_what_stands_in_the_batch() -> None:
    task_config = config(crf=True)
    module = Tagger(ENCODER, task_config)
    nn.init.normal_(module.classifier.weight)
    rows = [LONG, example("he met bob"), example("北京"), example(" "), LONG]
    together = predicted(module, rows, task_config)
    for place, one in enumerate(rows):
        (alone,) = predicted(module, [one], task_config)
        assert [(span.start, span.end, span.label) for span in alone.spans] == [
            (span.start, span.end, span.label) for span in together[place].spans
        ]
    assert together[3].spans == ()
    assert any(one.spans for one in together)


def test_tags_that_must_not_be_are_not_answered() -> None:
    task_config = config(whole_words=False)
    # a beginning of one type and an end of another cannot both be: one type wins both
    module = Fixed({"he": "B-PER", "lives": "E-LOC", "met": "I-PER"}, task_config)
    (one,) = predicted(module, [Example(text="he lives in")], task_config)
    assert [span.text for span in one.spans] == ["he lives"]
    module = Fixed({"he": "B-PER", "met": "I-PER", "lives": "E-PER"}, task_config)
    (one,) = predicted(module, [Example(text="in he met lives in")], task_config)
    assert [(span.text, span.label) for span in one.spans] == [("he met lives", "PER")]
    # the rules leave less room for anything else than three tokens had by themselves
    assert one.spans[0].score > 0.8 > (np.exp(4) / (np.exp(4) + 8)) ** 3


def test_words_are_parted_only_where_the_training_spans_do_so() -> None:
    table = {"i": "S-PER"}
    row = Example(text="he iphone in 他i手")
    (free,) = predicted(Fixed(table, config(whole_words=False)), [row], config(whole_words=False))
    assert [span.text for span in free.spans] == ["i", "i"]
    (whole,) = predicted(Fixed(table, config(whole_words=True)), [row], config(whole_words=True))
    assert "i" not in [row.text[span.start : span.end] for span in whole.spans if span.start < 9]
    assert whole.spans[-1].start == row.text.index("他") + 1
    with_rest = {"i": "B-PER", "##phone": "E-PER"}
    (whole,) = predicted(Fixed(with_rest, config(whole_words=True)), [row], config(whole_words=True))
    assert whole.spans[0].text == "iphone"


def test_blanks_at_the_ends_are_no_part_of_a_span() -> None:
    assert token_span("a  b ", np.array([[0, 2], [2, 5]]), 0, 1) == (0, 4)
    assert token_span("a  b ", np.array([[0, 1], [1, 4]]), 1, 1) == (3, 4)


def test_every_ranking_metric_is_a_score_with_the_same_value() -> None:
    rows = [LONG, example("he met [PER bob]"), example("in [LOC 北京]")]
    task_config = config()
    answers = predicted(
        Fixed({"bob"[0]: "B-PER", "##b": "E-PER", "##o": "I-PER", "京": "S-LOC"}, task_config), rows, task_config
    )
    metrics, found = TASK.score(answers, rows, task_config), TASK.evidence(answers, rows, task_config)
    assert found.shape == (3, len(TASK.evidence_columns(task_config)))
    rankings = TASK.metrics(task_config)
    assert TASK.main_metric in rankings
    for name, metric in rankings.items():
        assert metrics[name] == metric.of(found)
    assert 0 < metrics["f1"] < 1
    with pytest.raises(DataError, match="no examples"):
        TASK.score([], [], task_config)
    with pytest.raises(DataError, match="a type of span"):
        TASK.score(answers[:1], [example("[ORG he]")], task_config)


def overconfident() -> tuple[list[Example], list[Tagged]]:
    """Make answers of which seven in ten are right, all of them with scores near 1, the right ones a bit nearer."""
    generator = np.random.default_rng(4)
    rows, answers = [], []
    for place in range(400):
        right = place % 10 < 7
        rows.append(example("he met [PER bob]"))
        spans = (
            Span(
                start=7 if right else 3,
                end=10 if right else 6,
                label="PER",
                score=float(generator.uniform(0.97, 0.995 if right else 0.985)),
                text="bob" if right else "met",
            ),
        )
        answers.append(Tagged(spans=spans, unrepresentable=()))
    return rows, answers


def test_scores_are_brought_to_the_share_of_right_spans() -> None:
    rows, answers = overconfident()
    task_config = config()
    assert TASK.decode(answers, rows, task_config)[0].spans == answers[0].spans
    assert TASK.tune is not None
    tuned = TASK.tune(answers, rows, task_config)
    assert tuned.temperature is not None
    assert tuned.temperature > 1.5
    scores = [prediction.spans[0].score for prediction in TASK.decode(answers, rows, tuned)]
    assert np.mean(scores) == pytest.approx(0.7, abs=0.05)
    metrics = TASK.score(answers, rows, tuned)
    assert metrics["ece"] < 0.15 < metrics["ece_uncalibrated"]
    assert metrics["ece_uncalibrated"] == TASK.score(answers, rows, task_config)["ece"]
    # too few, or all of one kind: nothing can be fitted
    assert TASK.tune(answers[:30], rows[:30], task_config) == task_config
    assert TASK.tune([answers[0]] * 100, [rows[0]] * 100, task_config) == task_config


def test_spans_below_the_score_that_an_error_rate_asks_for_are_kept_back() -> None:
    rows, answers = overconfident()
    asked = TASK.prepare(rows, TaskRequest(max_error=0.1))
    assert TASK.tune is not None
    tuned = TASK.tune(answers, rows, asked)
    assert tuned.abstain_below is not None
    predictions = TASK.decode(answers, rows, tuned)
    given = [one for one, row in zip(predictions, rows, strict=True) if one.spans]
    wrong = sum(one.spans[0].text != "bob" for one in given)
    assert 0 < wrong / len(given) <= 0.1
    assert [bool(one.spans) for one in predictions] == [not one.abstained for one in predictions]
    metrics = TASK.score(answers, rows, tuned)
    assert metrics["coverage"] == pytest.approx(len(given) / 400)
    assert metrics["answered_error"] == pytest.approx(wrong / len(given))
    assert metrics["f1"] == TASK.score(answers, rows, config())["f1"]


# --- other programs' heads, and training methods


def test_a_head_of_another_program_is_read_by_the_rules_of_the_script() -> None:
    assert TASK.adopt is not None
    names = ("I-LOC", "O", "B-PER", "I-PER", "[PAD]")
    adopted = TASK.adopt(TaskHead(task="token-classification", labels=names, module="classifier"), 64)
    assert adopted.labels == LABELS
    assert adopted.max_length == 64
    assert TaskConfig.from_dict(json.loads(json.dumps(adopted.to_dict())), TASK.options) == adopted
    # in its scheme a span may begin with I-
    module = Fixed({"he": "I-PER", "met": "I-PER", "in": "I-LOC", "the": "B-PER"}, adopted)
    (one,) = predicted(module, [Example(text="never he met in the he")], adopted)
    assert [(span.text, span.label) for span in one.spans] == [("he met", "PER"), ("in", "LOC"), ("the he", "PER")]
    assert all(0 < span.score < 1 for span in one.spans)
    with pytest.raises(ConfigError, match="nothing of spans"):
        TASK.adopt(TaskHead(task="token-classification", labels=("NOUN", "VERB"), module="classifier"), 64)


def test_only_a_head_without_a_crf_is_one_that_others_have() -> None:
    assert TASK.head is not None
    head = TASK.head(config(scheme="bio"))
    assert head is not None
    assert head.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert TASK.head(config(crf=True)) is None


def test_log_shares_are_those_of_the_tokens_that_have_a_tag() -> None:
    assert TASK.log_shares is not None
    task_config = config(max_length=9, overlap=2)
    module = Tagger(ENCODER, task_config)
    items = TASK.encode(TOKENIZER, [LONG, example("he met [PER bob]")], task_config, labelled=True).items
    for batch in (packed(items), padded(items, pad_id=0)):
        shares = TASK.log_shares(module, module(batch), batch)
        part = TASK.loss(module, batch)["tagging"]
        assert batch.labels is not None
        kept = batch.labels[batch.labels != IGNORED]
        torch.testing.assert_close(-shares.gather(1, kept[:, None]).sum(), part.total)
        assert len(shares) == part.weight
    crf = Tagger(ENCODER, config(crf=True))
    with pytest.raises(ConfigError, match="a CRF gives no probabilities"):
        TASK.log_shares(crf, crf(batch), batch)


def test_a_module_made_without_memory_and_filled_is_the_same() -> None:
    task_config = config(crf=True)
    module = Tagger(ENCODER, task_config).eval()
    with torch.device("meta"):
        empty = Tagger(ENCODER, task_config)
    empty.load_state_dict(module.state_dict(), assign=True)
    rows = [LONG, example("he met [PER bob]")]
    batch = packed(TASK.encode(TOKENIZER, rows, task_config, labelled=True).items)
    torch.testing.assert_close(
        TASK.loss(empty.eval(), batch)["tagging"].total, TASK.loss(module, batch)["tagging"].total
    )


def test_unused_gradients_and_reduced_precision_do_no_harm() -> None:
    task_config = config(crf=True)
    module = Tagger(ENCODER, task_config)
    batch = packed(TASK.encode(TOKENIZER, [LONG], task_config, labelled=True).items)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        part = TASK.loss(module, batch)["tagging"]
    assert part.total.dtype == torch.float32
    part.total.backward()
    gradients: list[Tensor | None] = [one.grad for name, one in module.named_parameters() if "crf" in name]
    assert all(one is not None and torch.isfinite(one).all() for one in gradients)
