"""Intent and slots as a record of functions: preparing, targets, losses, answers, strict metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from albertine.batching.packing import packed, padded
from albertine.errors import ConfigError, DataError
from albertine.evaluation.calibration import fit_temperature
from albertine.evaluation.frames import FRAME_COLUMNS
from albertine.models.body import BodyConfig
from albertine.models.config import EncoderConfig
from albertine.models.crf import IGNORED
from albertine.models.recurrent import RecurrentConfig
from albertine.records import Batch, Example, Span
from albertine.tasks.config import TaskConfig, TaskRequest
from albertine.tasks.intent_slots import TASK
from albertine.tasks.intent_slots_module import Frame, IntentSlotsOptions, IntentSlotTagger, slot_part
from albertine.tasks.tagger import Tagged, tags_of
from albertine.tasks.text_classification import TASK as CLASSIFICATION
from albertine.tasks.token_classification import TASK as TAGGING
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel
from albertine.training.methods.r_drop import R_DROP, r_drop

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["play", "rain", "in", "by", "the", "oslo", "rome", "jazz", "hello", "miles", "davis", "now", "is", "it"]
TOKENIZER = Tokenizer(
    WordPieceModel(
        [*SPECIAL_TOKENS, *WORDS, *LETTERS, *(f"##{one}" for one in LETTERS)],
        rules=Rules(lowercase=True, strip_accents=True),
    )
)
ENCODER = EncoderConfig.preset(
    "bert-tiny",
    vocab_size=TOKENIZER.vocab_size,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=64,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    classifier_dropout_prob=0.0,
    pad_token_id=TOKENIZER.pad_id,
)
RECURRENT = RecurrentConfig(vocab_size=TOKENIZER.vocab_size, embedding_size=8, hidden_size=8)
INTENTS, SLOTS = ("chat", "music", "weather"), ("artist", "city")


def example(intent: str | None, marked: str, line: int = 1) -> Example:
    """Make an example of a text in which slots are marked: `rain in [city oslo]`."""
    text, spans = "", []
    for place, part in enumerate(marked.replace("]", "[").split("[")):
        if place % 2:
            label, piece = part.split(" ", 1)
            spans.append(Span(start=len(text), end=len(text) + len(piece), label=label, text=piece))
            part = piece
        text += part
    return Example(text=text, label=intent, spans=tuple(spans), file="train.jsonl", line=line)


ROWS = [
    example("weather", "is it rain in [city oslo] now"),
    example("music", "play jazz by [artist miles davis] now"),
    example("chat", "hello"),
    example("weather", "rain in [city rome]"),
]
LONG = example("music", "play jazz by [artist miles davis] and it is rain in [city oslo] and in the rome")


def config(*, max_length: int | None = 64, overlap: int | None = None, **options: object) -> TaskConfig:
    return TaskConfig(
        task="intent-slots",
        labels=INTENTS,
        max_length=max_length,
        overlap=overlap,
        options=IntentSlotsOptions(slots=SLOTS, **options),  # type: ignore[arg-type]
    )


def built(body: BodyConfig = ENCODER, **options: object) -> IntentSlotTagger:
    module = IntentSlotTagger(body, config(**options))
    for layer in (module.intents, module.classifier):
        nn.init.normal_(layer.weight)
    return module


def answered(module: nn.Module, examples: Sequence[Example], task_config: TaskConfig) -> list[Frame]:
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


def frame(intent: str, marked: str, sure: float = 5.0) -> Frame:
    """Make the answer of a model that is sure of an intent and of the slots that are marked."""
    logits = np.zeros(len(INTENTS), dtype=np.float32)
    logits[INTENTS.index(intent)] = sure
    return Frame(intents=logits, slots=Tagged(spans=example(None, marked).spans or (), unrepresentable=()))


# --- preparing


def test_intents_and_slots_are_taken_from_the_training_examples() -> None:
    made = TASK.prepare(ROWS, TaskRequest(tokenizer=TOKENIZER, body=ENCODER, options={"crf": True}))
    options = made.own(IntentSlotsOptions)
    assert (made.labels, options.slots) == (INTENTS, SLOTS)
    assert (options.crf, options.whole_words, options.class_weights) == (True, True, None)
    assert made.max_length == 8
    asked = TASK.prepare(ROWS, TaskRequest(tokenizer=TOKENIZER, body=ENCODER, max_length=24, overlap=5))
    assert (asked.max_length, asked.overlap) == (24, 5)
    assert TASK.prepare(ROWS, TaskRequest(options={"slots": ("city", "artist", "year")})).own(
        IntentSlotsOptions
    ).slots == ("city", "artist", "year")


def test_rare_intents_can_count_more() -> None:
    balanced = TASK.prepare(ROWS, TaskRequest(class_weights="balanced")).own(IntentSlotsOptions)
    assert balanced.class_weights == pytest.approx((4 / 3, 4 / 3, 2 / 3))
    given = TASK.prepare(ROWS, TaskRequest(class_weights=(1.0, 2.0, 3.0))).own(IntentSlotsOptions)
    assert given.class_weights == (1.0, 2.0, 3.0)


def test_what_cannot_be_learnt_from_or_is_not_possible_is_refused() -> None:
    cases: list[tuple[list[Example], dict[str, object], str]] = [
        ([], {}, "no training examples"),
        ([ROWS[0], ROWS[3]], {}, "the same label"),
        ([ROWS[2], replace(ROWS[2], label="music")], {}, "no spans"),
        ([*ROWS, replace(ROWS[0], label=None)], {}, r"train\.jsonl:1: a row has no label"),
        ([*ROWS, replace(ROWS[0], spans=None)], {}, "does not say its spans"),
        ([*ROWS, replace(ROWS[0], text_pair="b")], {}, "single texts"),
        (ROWS, {"options": {"slots": ("city",)}}, "'artist'"),
        (ROWS, {"options": {"slot_weight": 0.0}}, "slot_weight"),
        (ROWS, {"options": {"crff": True}}, "did you mean crf|crf"),
        (ROWS, {"main_metric": "exakt"}, "exact"),
        (ROWS, {"class_weights": (1.0, 2.0)}, "one weight a label"),
    ]
    for examples, asked, message in cases:
        with pytest.raises((DataError, ConfigError), match=message):
            TASK.prepare(examples, TaskRequest(**asked))  # type: ignore[arg-type]


def test_the_configuration_comes_back_from_json() -> None:
    made = replace(config(crf=True, class_weights=(1.0, 2.0, 0.5), slot_weight=0.5), temperature=1.5, max_error=0.1)
    values = json.loads(json.dumps(made.to_dict()))
    assert values["slots"] == list(SLOTS)
    assert TaskConfig.from_dict(values, TASK.options) == made


# --- targets


def test_the_intent_stands_at_the_first_token_and_a_tag_at_every_other() -> None:
    task_config = config()
    one = TASK.encode(TOKENIZER, ROWS, task_config, labelled=True)[1]
    assert one.target is not None
    names = tags_of(slot_part(task_config)).names
    assert one.target[0] == INTENTS.index("music")
    assert [names[tag] for tag in one.target[1:-1]] == ["O", "O", "O", "B-artist", "E-artist", "O"]
    assert one.target[-1] == IGNORED
    assert TASK.encode(TOKENIZER, ROWS, task_config, labelled=False)[1].target is None


def test_every_window_has_the_intent_and_the_tags_that_it_answers_for() -> None:
    encoded = TASK.encode(TOKENIZER, [ROWS[0], LONG], config(max_length=9, overlap=3), labelled=True)
    windows = encoded.of_example(1)
    assert len(windows) > 2
    assert all(one.target is not None and one.target[0] == 1 for one in windows)
    whole = TASK.encode(TOKENIZER, [LONG], config(), labelled=True)[0]
    assert whole.target is not None
    tagged = [one.target[1:-1] for one in windows if one.target is not None]
    assert sum(int((tags != IGNORED).sum()) for tags in tagged) == len(whole) - 2
    assert np.concatenate([tags[tags != IGNORED] for tags in tagged]).tolist() == whole.target[1:-1].tolist()


def test_an_intent_or_slot_that_training_did_not_have_cannot_be_learnt() -> None:
    for row, name in ((example("wether", "rain"), "weather"), (example("chat", "in [citi rome]"), "city")):
        with pytest.raises(DataError, match=name):
            TASK.encode(TOKENIZER, [row], config(), labelled=True)
        assert len(TASK.encode(TOKENIZER, [row], config(), labelled=False)) == 1


# --- losses


def encoded_batch(task_config: TaskConfig, rows: Sequence[Example] = (*ROWS, LONG)) -> Batch:
    return packed(TASK.encode(TOKENIZER, rows, task_config, labelled=True).items)


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("windows", [{}, {"max_length": 9, "overlap": 2}])
def test_the_two_losses_are_those_of_the_two_tasks(crf: bool, windows: dict[str, int]) -> None:
    task_config = config(crf=crf, slot_weight=0.25, class_weights=(2.0, 1.0, 0.5), **windows)
    module = IntentSlotTagger(ENCODER, task_config)
    parts = TASK.loss(module, encoded_batch(task_config))
    assert set(parts) == {"intent", "slots"}
    tagging = slot_part(task_config)
    tagger = TAGGING.build(ENCODER, tagging)
    missing = tagger.load_state_dict(module.state_dict(), strict=False).missing_keys
    assert not missing
    alone = TAGGING.loss(tagger, packed(TAGGING.encode(TOKENIZER, [*ROWS, LONG], tagging, labelled=True).items))
    torch.testing.assert_close(parts["slots"].total, 0.25 * alone["tagging"].total)
    assert parts["slots"].weight == alone["tagging"].weight
    told = replace(task_config, options=CLASSIFICATION.options(class_weights=(2.0, 1.0, 0.5)))  # type: ignore[call-arg]
    classifier = CLASSIFICATION.build(ENCODER, told)
    state = {name.replace("intents.", "classifier."): value for name, value in module.state_dict().items()
             if not name.startswith(("classifier", "crf"))}  # fmt: skip
    classifier.load_state_dict(state)
    alone = CLASSIFICATION.loss(
        classifier, packed(CLASSIFICATION.encode(TOKENIZER, [*ROWS, LONG], told, labelled=True).items)
    )
    torch.testing.assert_close(parts["intent"].total, alone["classification"].total)
    assert parts["intent"].weight == alone["classification"].weight == 2.0 + 2 * 0.5 + 2 * 1.0


@pytest.mark.parametrize("body", [ENCODER, replace(ENCODER, add_pooler=False), RECURRENT])
def test_padded_and_packed_batches_have_one_loss_and_everything_learns(body: BodyConfig) -> None:
    task_config = config(crf=True)
    module = IntentSlotTagger(body, task_config).eval()
    items = TASK.encode(TOKENIZER, [*ROWS, LONG], task_config, labelled=True).items
    one, other = TASK.loss(module, packed(items)), TASK.loss(module, padded(items, pad_id=TOKENIZER.pad_id))
    for name in ("intent", "slots"):
        torch.testing.assert_close(one[name].total, other[name].total, rtol=1e-4, atol=1e-4)
        assert one[name].weight == other[name].weight
    sum(part.total / part.weight for part in one.values()).backward()  # type: ignore[union-attr]
    unused = [name for name, value in module.named_parameters() if value.grad is None]
    assert not unused


def test_losses_of_parts_add_up_to_that_of_the_batch() -> None:
    for task_config in (config(), config(max_length=9, overlap=2), config(crf=True, class_weights=(1.0, 3.0, 0.5))):
        module = IntentSlotTagger(ENCODER, task_config).eval()
        whole = TASK.loss(module, encoded_batch(task_config))
        parts = [TASK.loss(module, encoded_batch(task_config, rows)) for rows in (ROWS[:1], [*ROWS[1:], LONG])]
        for name, part in whole.items():
            torch.testing.assert_close(sum(one[name].total for one in parts), part.total, rtol=1e-4, atol=1e-4)
            assert sum(one[name].weight for one in parts) == part.weight


def test_r_drop_adds_the_divergence_of_intents_and_of_tags() -> None:
    assert TASK.log_shares is not None
    task_config = config()
    module = IntentSlotTagger(replace(ENCODER, classifier_dropout_prob=0.3), task_config).train()
    batch = encoded_batch(task_config)
    torch.manual_seed(7)
    part = r_drop(1.0, TASK.log_shares)(TASK.loss)(module, batch)[R_DROP]
    torch.manual_seed(7)
    first, second = module(batch), module(batch)
    assert batch.label_starts is not None
    assert batch.labels is not None
    kept = batch.labels != IGNORED
    kept[batch.label_starts[:-1]] = False
    apart = torch.zeros(())
    for one, other in ((first.intents, second.intents), *[(first.tags.emissions[kept], second.tags.emissions[kept])]):
        p, q = one.log_softmax(dim=-1), other.log_softmax(dim=-1)
        apart = apart + ((p.exp() - q.exp()) * (p - q)).sum() / 2
    torch.testing.assert_close(part.total, apart)
    assert part.weight == len(first.intents) + int(kept.sum())
    assert apart > 0
    crf = IntentSlotTagger(ENCODER, config(crf=True))
    scores = crf(batch)
    with pytest.raises(ConfigError, match="a CRF gives no probabilities"):
        TASK.log_shares(crf, scores, batch)


def test_a_module_made_without_memory_and_filled_is_the_same() -> None:
    task_config = config(crf=True)
    module = IntentSlotTagger(ENCODER, task_config).eval()
    with torch.device("meta"):
        empty = TASK.build(ENCODER, task_config)
    empty.load_state_dict(module.state_dict(), assign=True)
    batch = encoded_batch(task_config)
    for name, part in TASK.loss(empty.eval(), batch).items():
        torch.testing.assert_close(part.total, TASK.loss(module, batch)[name].total)


# --- answers


@pytest.mark.parametrize("body", [ENCODER, RECURRENT])
def test_an_answer_does_not_depend_on_what_stands_in_the_batch(body: BodyConfig) -> None:
    task_config = config(max_length=9, overlap=2, crf=True)
    module = built(body, max_length=9, overlap=2, crf=True)
    nn.init.normal_(module.classifier.bias, std=2.0)
    rows = [LONG, *ROWS, example(None, " "), LONG]
    together = answered(module, rows, task_config)
    for place, one in enumerate(rows):
        (alone,) = answered(module, [one], task_config)
        np.testing.assert_allclose(alone.intents, together[place].intents, rtol=1e-4, atol=1e-5)
        assert [(span.start, span.end, span.label) for span in alone.slots.spans] == [
            (span.start, span.end, span.label) for span in together[place].slots.spans
        ]
    assert any(one.slots.spans for one in together)


def test_the_intent_of_a_long_text_is_the_mean_over_its_windows() -> None:
    task_config = config(max_length=9, overlap=2)
    module = built().eval()
    items = TASK.encode(TOKENIZER, [LONG], task_config, labelled=False).items
    (found,) = answered(module, [LONG], task_config)
    with torch.inference_mode():
        expected = module(packed(items)).intents.mean(dim=0).numpy()
    assert len(items) > 1
    np.testing.assert_allclose(found.intents, expected, rtol=1e-4, atol=1e-5)


def test_predictions_have_the_intent_with_its_probability_and_the_slots() -> None:
    task_config = replace(config(), temperature=2.0, max_error=0.1, abstain_below=0.6)
    answers = [frame("music", "by [artist miles]", 4.0), frame("chat", "in [city oslo]", 0.2)]
    sure, unsure = TASK.decode(answers, ROWS[:2], task_config)
    shares = functional.softmax(torch.tensor([0.0, 2.0, 0.0]), dim=0).tolist()
    assert sure.label == "music"
    assert sure.scores == pytest.approx(dict(zip(INTENTS, shares, strict=True)))
    assert sure.score == pytest.approx(shares[1])
    assert [(span.label, span.text) for span in sure.spans] == [("artist", "miles")]
    assert (sure.abstained, unsure.abstained) == (False, True)
    assert [span.text for span in unsure.spans] == ["oslo"]
    assert TASK.probabilities is not None
    np.testing.assert_allclose(TASK.probabilities(answers, task_config)[0], shares, rtol=1e-5)
    assert TASK.probabilities([], task_config).shape == (0, 3)


# --- metrics


GOLD = [
    example("weather", "rain in [city oslo] now"),
    example("weather", "rain in [city rome]"),
    example("music", "play by [artist miles davis] in [city rome]"),
    example("chat", "hello"),
    example("chat", "hello now"),
    example("unheard", "in the [city rome]"),
    example("weather", "in [sea rome]"),
]
ANSWERS = [
    frame("weather", "rain in [city oslo] now"),
    frame("chat", "rain in [city rome]"),
    frame("music", "play by [artist miles] davis in [city rome]"),
    frame("chat", "hello"),
    frame("chat", "[city hello] now"),
    frame("weather", "in the [city rome]"),
    frame("weather", "in [city rome]"),
]


def test_a_frame_is_right_where_the_intent_and_all_slots_are() -> None:
    metrics = TASK.score(ANSWERS, GOLD, config())
    assert metrics["exact"] == pytest.approx(2 / 7)
    assert metrics["intent_accuracy"] == pytest.approx(5 / 7)
    # 6 slots in the data, 7 found, 4 in both: rome at an unknown intent counts, the unknown type is missed
    assert metrics["slot_precision"] == pytest.approx(4 / 7)
    assert metrics["slot_recall"] == pytest.approx(4 / 6)
    assert metrics["slot_f1"] == pytest.approx(8 / 13)
    assert metrics["unknown_intents"] == pytest.approx(1 / 7)
    assert metrics["unknown_slots"] == pytest.approx(1 / 6)


def test_metrics_are_those_of_scikit_learn_and_of_counting_anew() -> None:
    from sklearn.metrics import f1_score

    gold = [one.label for one in GOLD]
    said = [INTENTS[int(one.intents.argmax())] for one in ANSWERS]
    metrics = TASK.score(ANSWERS, GOLD, config())
    assert metrics["intent_macro_f1"] == pytest.approx(f1_score(gold, said, average="macro", zero_division=0))
    assert metrics["intent_f1/weather"] == pytest.approx(f1_score(gold, said, labels=["weather"], average="macro"))
    types = {"city": (4, 4, 6), "artist": (0, 1, 1), "sea": (0, 1, 0)}
    for name, (right, in_data, found) in types.items():
        assert metrics[f"slot_f1/{name}"] == pytest.approx(2 * right / (in_data + found))
    assert metrics["slot_macro_f1"] == pytest.approx(sum(2 * r / (g + p) for r, g, p in types.values()) / 3)
    shares = np.exp(5.0) / (np.exp(5.0) + 2)
    assert metrics["ece"] == pytest.approx(shares - 5 / 7, abs=1e-5)
    assert "ece_uncalibrated" not in metrics


def test_metrics_that_rank_are_the_same_from_the_evidence_and_from_its_sums() -> None:
    task_config = config()
    metrics = TASK.score(ANSWERS, GOLD, task_config)
    evidence = TASK.evidence(ANSWERS, GOLD, task_config)
    assert TASK.evidence_columns(TaskConfig(task="intent-slots", labels=INTENTS)) == FRAME_COLUMNS
    assert evidence.shape == (7, len(FRAME_COLUMNS))
    rankings = TASK.metrics(TaskConfig(task="intent-slots", labels=INTENTS))
    assert list(rankings) == [
        "exact", "intent_accuracy", "intent_macro_f1", "slot_f1", "slot_precision", "slot_recall",
    ]  # fmt: skip
    assert TASK.main_metric == TASK.ranking_metric(task_config, {}, GOLD) == "exact"
    picked = np.random.default_rng(0).integers(0, 7, size=(20, 7))
    for name, metric in rankings.items():
        assert metric.name == name
        assert metric.of(evidence) == pytest.approx(metrics[name]), name
        assert metric.statistics is not None
        assert metric.of_sums is not None
        sums = np.stack([metric.statistics(evidence)[rows].sum(axis=0) for rows in picked])
        again = [metric.of(evidence[rows]) for rows in picked]
        np.testing.assert_allclose(metric.of_sums(sums), again, rtol=1e-6, err_msg=name)


def test_rows_without_an_intent_or_slots_cannot_be_measured() -> None:
    with pytest.raises(DataError, match="no examples"):
        TASK.score([], [], config())
    with pytest.raises(DataError, match=r"train\.jsonl:1: a row has no label"):
        TASK.score(ANSWERS[:1], [replace(GOLD[0], label=None)], config())
    with pytest.raises(DataError, match="does not say its slots"):
        TASK.score(ANSWERS[:1], [replace(GOLD[0], spans=None)], config())


def test_one_intent_for_all_and_no_slots_is_not_learning() -> None:
    task_config = config()
    usual = [frame("weather", one.text) for one in GOLD]
    assert TASK.did_not_learn(TASK.evidence(usual, GOLD, task_config), task_config)
    assert not TASK.did_not_learn(TASK.evidence(ANSWERS, GOLD, task_config), task_config)
    some_slots = [ANSWERS[0], *usual[1:]]
    assert not TASK.did_not_learn(TASK.evidence(some_slots, GOLD, task_config), task_config)
    some_intents = [frame(one.label if one.label in INTENTS else "chat", one.text) for one in GOLD]
    assert not TASK.did_not_learn(TASK.evidence(some_intents, GOLD, task_config), task_config)


# --- confidence


def dev(count: int, unknown: int) -> tuple[list[Frame], list[Example]]:
    """Make answers of a model that is too sure: right in three of four, and wrong where the intent is unknown."""
    generator = np.random.default_rng(5)
    answers, examples = [], []
    for place in range(count):
        intent = INTENTS[place % 3]
        said = intent if generator.random() < 0.75 else INTENTS[(place + 1) % 3]
        answers.append(frame(said, "now", float(generator.uniform(1, 9)) * (1.3 if said == intent else 0.7)))
        examples.append(example("unheard" if place < unknown else intent, "now"))
    return answers, examples


def test_the_temperature_is_fitted_on_intents_that_are_known() -> None:
    assert TASK.tune is not None
    answers, examples = dev(200, unknown=20)
    tuned = TASK.tune(answers, examples, config())
    logits = np.stack([one.intents for one in answers[20:]])
    gold = np.array([INTENTS.index(one.label or "") for one in examples[20:]])
    assert tuned.temperature == pytest.approx(fit_temperature(logits, gold), abs=1e-3)
    assert tuned.abstain_below is None
    metrics = TASK.score(answers, examples, tuned)
    assert metrics["ece"] < metrics["ece_uncalibrated"]
    assert TASK.tune(answers[:10], examples[:10], config()).temperature is None


def test_silence_counts_unknown_intents_as_wrong_answers() -> None:
    assert TASK.tune is not None
    answers, examples = dev(300, unknown=15)
    tuned = TASK.tune(answers, examples, replace(config(), max_error=0.1))
    assert tuned.abstain_below is not None
    metrics = TASK.score(answers, examples, tuned)
    assert 0 < metrics["answered_error"] <= 0.1
    assert 0 < metrics["coverage"] < 1
    silent = [one.abstained for one in TASK.decode(answers, examples, tuned)]
    assert np.mean(silent) == pytest.approx(1 - metrics["coverage"])
    known_only = TASK.tune(answers[15:], examples[15:], replace(config(), max_error=0.1))
    assert known_only.abstain_below is not None
    assert known_only.abstain_below < tuned.abstain_below
