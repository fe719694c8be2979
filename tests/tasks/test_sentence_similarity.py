"""Sentence similarity as a record of functions: what it is prepared for, trained on, and measured by."""

from __future__ import annotations

import itertools
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from albertine.batching.packing import packed, padded
from albertine.errors import ConfigError, DataError
from albertine.inference.engine import Engine, EngineSettings
from albertine.inference.model import Model
from albertine.inference.vectors import load_vectors
from albertine.models.body import BodyConfig
from albertine.models.config import EncoderConfig
from albertine.models.contrastive import FIRST, NEGATIVE, SECOND
from albertine.models.layers import Dropout
from albertine.models.recurrent import RecurrentConfig
from albertine.models.word_vectors import WordVectorsConfig
from albertine.records import EncodedExamples, Example, Tokens
from albertine.tasks.config import TaskConfig, TaskRequest
from albertine.tasks.sentence_similarity import TASK, BiEncoder, SimilarityAnswer, sentence_pooling
from albertine.tasks.similarity_metrics import RANK
from albertine.tasks.similarity_options import SimilarityOptions
from albertine.tokenization.learn import learn_vocabulary

ENCODER = EncoderConfig.preset(
    "albert-base",
    vocab_size=99,
    hidden_size=16,
    embedding_size=6,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=22,
    max_position_embeddings=41,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    initializer_range=0.2,
)
BODIES: tuple[BodyConfig, ...] = (
    ENCODER,
    replace(ENCODER, add_pooler=False),
    RecurrentConfig(vocab_size=99, embedding_size=6, hidden_size=5),
    WordVectorsConfig(vocab_size=99, embedding_size=6, bigram_buckets=13),
)


class WordTokenizer:
    """A token a word: 2 words 3, or 2 first 3 second 3 for pairs; a word is hashed by its letters."""

    def tokenize(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        special_tokens: bool = True,
        offsets: bool = True,
    ) -> Tokens:
        rows, types, truncated = [], [], []
        for place, text in enumerate(texts):
            row = [2, *(word_id(word) for word in text.split()), 3]
            kinds = [0] * len(row)
            if pairs is not None:
                second = [*(word_id(word) for word in pairs[place].split()), 3]
                row, kinds = row + second, kinds + [1] * len(second)
            if max_length is not None and len(row) > max_length:
                truncated.append(place)
                row, kinds = [*row[: max_length - 1], 3], kinds[:max_length]
            rows.append(row)
            types.append(kinds)
        return Tokens(
            ids=np.array([one for row in rows for one in row], dtype=np.int32),
            token_type_ids=np.array([one for row in types for one in row], dtype=np.uint8),
            starts=np.cumsum([0, *map(len, rows)]),
            truncated=np.array(truncated, dtype=np.int64),
        )


def word_id(word: str) -> int:
    return 4 + zlib.crc32(word.encode()) % 90


def pairs(*rows: tuple[str, str | None, float | None]) -> list[Example]:
    return [
        Example(text=first, text_pair=second, value=value, file="pairs.csv", line=line)
        for line, (first, second, value) in enumerate(rows, start=2)
    ]


def prepare(rows: Sequence[Example], body: BodyConfig = ENCODER, **asked: object) -> TaskConfig:
    main_metric = asked.pop("main_metric", None)
    request = TaskRequest(tokenizer=WordTokenizer(), body=body, main_metric=main_metric, options=asked)  # type: ignore[arg-type]
    return TASK.prepare(rows, request)


def own(config: TaskConfig) -> SimilarityOptions:
    return config.own(SimilarityOptions)


def encode(rows: Sequence[Example], config: TaskConfig, *, labelled: bool = False) -> EncodedExamples:
    return TASK.encode(WordTokenizer(), rows, config, labelled=labelled)  # type: ignore[arg-type]


def answers(module: nn.Module, rows: Sequence[Example], config: TaskConfig) -> list[SimilarityAnswer]:
    """Do what the engine does, an odd number of texts at a time."""
    encoded = encode(rows, config)
    module.eval()
    outputs: list[npt.NDArray[np.float32]] = []
    with torch.inference_mode():
        for first in range(0, len(encoded), 7):
            outputs += TASK.outputs(module, packed(encoded[first : first + 7]), config)
    starts = encoded.starts.tolist()
    return [
        TASK.answer(outputs[start:end], encoded[start:end], example, config)
        for (start, end), example in zip(itertools.pairwise(starts), rows, strict=True)
    ]


def train(
    rows: Sequence[Example], config: TaskConfig, body: BodyConfig = ENCODER, *, steps: int, rate: float
) -> nn.Module:
    torch.manual_seed(3)
    module = TASK.build(body, config)
    encoded = encode(rows, config, labelled=True)
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
    generator = np.random.default_rng(5)
    module.train()
    for _ in range(steps):
        chosen = generator.permutation(len(rows))[:16].tolist()
        parts = TASK.loss(module, packed([item for place in chosen for item in encoded.of_example(place)]))
        optimizer.zero_grad()
        torch.stack([part.total / part.weight for part in parts.values()]).sum().backward()
        optimizer.step()
    return module


TOPICS = [f"{a}{b}" for a in ("red", "tall", "wet", "odd") for b in ("fox", "map", "oak")]


def scored(count: int, seed: int = 0) -> list[Example]:
    """Pairs of three words each, whose score is how many they share."""
    generator = np.random.default_rng(seed)
    rows = []
    for place in range(count):
        first = generator.choice(TOPICS, size=3, replace=False).tolist()
        others = [topic for topic in TOPICS if topic not in first]
        shared = place % 4
        second = first[:shared] + generator.choice(others, size=3 - shared, replace=False).tolist()
        rows.append((" ".join(first), " ".join(generator.permutation(second)), float(shared)))
    return pairs(*rows)


SCORED = scored(160)
HELD_OUT = scored(60, seed=9)


# --- preparing


def test_the_range_of_the_scores_is_found() -> None:
    found = own(prepare(pairs(("a", "b", 0.2), ("c", "d", 4.8))))
    assert (found.lowest, found.highest, found.loss) == (0.0, 5.0, "cosent")
    found = own(prepare(pairs(("a", "b", 0.21), ("c", "d", 0.93))))
    assert (found.lowest, found.highest) == (0.0, 1.0)
    found = own(prepare(pairs(("a", "b", 1.0), ("c", "d", 5.0))))
    assert (found.lowest, found.highest) == (1.0, 5.0)


def test_a_stated_range_is_held_to() -> None:
    rows = pairs(("a", "b", 1.0), ("c", "d", 5.5))
    assert own(prepare(rows, score_range=(0.0, 10.0))).highest == 10.0
    with pytest.raises(DataError, match=r"pairs\.csv:3: a score outside the range.*0 to 5"):
        prepare(rows, score_range=(0.0, 5.0))
    with pytest.raises(ConfigError, match="score_range"):
        prepare(rows, score_range=(5.0, 0.0))


@pytest.mark.parametrize(
    ("rows", "loss", "metric"),
    [
        ([("a", "b", 1.0), ("c", "d", 1.0)], "contrastive", "mrr"),
        ([("a", "b", 1.0), ("a", "d", 0.0)], "contrastive", None),
        ([("a", "b", 1.0), ("c", "d", 0.0)], "cosent", None),
        ([("a", "b", 3.0), ("c", "d", 0.5)], "cosent", None),
        ([("a", None, None), ("c", None, None)], "contrastive", None),
    ],
)
def test_the_data_choose_the_loss(
    rows: list[tuple[str, str | None, float | None]], loss: str, metric: str | None
) -> None:
    config = prepare(pairs(*rows))
    assert (own(config).loss, config.main_metric, config.pairs) == (loss, metric, True)


def test_what_cannot_be_learnt_from_is_refused_with_its_place() -> None:
    with pytest.raises(DataError, match=r"pairs\.csv:3: a pair has no score"):
        prepare(pairs(("a", "b", 1.0), ("c", "d", None)))
    with pytest.raises(DataError, match=r"pairs\.csv:3: pairs and texts alone"):
        prepare(pairs(("a", "b", 1.0), ("c", None, None)))
    with pytest.raises(DataError, match="same score"):
        prepare(pairs(("a", "b", 0.0), ("c", "d", 0.0)))
    with pytest.raises(DataError, match="same score"):
        prepare(pairs(("a", "b", 1.0), ("c", "d", 1.0)), architecture="cross-encoder")
    with pytest.raises(DataError, match="same score"):
        prepare(pairs(("a", "b", 1.0), ("c", "d", 1.0)), loss="cosent")
    with pytest.raises(DataError, match="no training examples"):
        prepare([])


def test_options_that_do_not_fit_are_refused() -> None:
    rows = pairs(("a", "b", 1.0), ("c", "d", 0.0))
    with pytest.raises(ConfigError, match="cross-entropy"):
        prepare(rows, architecture="cross-encoder", loss="cosent")
    with pytest.raises(ConfigError, match="no such loss"):
        prepare(rows, loss="cross-entropy")
    with pytest.raises(ConfigError, match="cosent"):
        prepare(pairs(("a", "b", 1.0), ("c", "d", 0.5), ("e", "f", 0.0)), loss="contrastive")
    with pytest.raises(ConfigError, match="scale"):
        prepare(rows, scale=0.0)
    with pytest.raises(ConfigError, match="spearman"):
        prepare(rows, main_metric="speerman")
    with pytest.raises(ConfigError, match="pooling"):
        prepare(rows, poling="cls")


def test_texts_alone_need_dropout(caplog: pytest.LogCaptureFixture) -> None:
    rows = pairs(("a", None, None), ("b", None, None))
    with caplog.at_level("INFO", logger="albertine"):
        config = prepare(rows)
    assert own(config).encoder_dropout == 0.1
    assert "0.1" in caplog.text
    module = TASK.build(ENCODER, config)
    assert {part.chance for part in module.modules() if isinstance(part, Dropout)} == {0.1}
    assert own(prepare(rows, replace(ENCODER, hidden_dropout_prob=0.3))).encoder_dropout is None
    with pytest.raises(ConfigError, match="dropout"):
        prepare(rows, encoder_dropout=0.0)
    with pytest.raises(ConfigError, match="encoder"):
        prepare(rows, BODIES[2])
    with pytest.raises(ConfigError, match="bi-encoder"):
        prepare(rows, architecture="cross-encoder")


def test_the_maximum_length_is_that_of_what_is_read_at_a_time() -> None:
    rows = pairs(("word " * 10, "word " * 14, 1.0), ("a", "b", 0.0))
    assert prepare(rows).max_length == 16
    assert prepare(rows, architecture="cross-encoder").max_length == 32


def test_the_configuration_can_be_written_and_read() -> None:
    config = prepare(pairs(("a", "b", 1.0), ("c", "d", 0.0)), score_range=(0.0, 1.0), pooling="cls")
    written = json.loads(json.dumps(config.to_dict()))
    assert TaskConfig.from_dict(written, SimilarityOptions) == config


# --- encoding


def roles(encoded: EncodedExamples, place: int) -> list[int]:
    return [int(one.target[0, 0]) for one in encoded.of_example(place) if one.target is not None]


def test_a_pair_is_two_texts_of_one_example() -> None:
    rows = pairs(("a b", "c", 5.0), ("d", "e f g", 0.0))
    encoded = encode(rows, prepare(rows), labelled=True)
    assert [len(one) for one in encoded] == [4, 3, 3, 5]
    assert [one.example for one in encoded] == [0, 0, 1, 1]
    assert roles(encoded, 0) == roles(encoded, 1) == [FIRST, SECOND]
    assert not any(one.token_type_ids.any() for one in encoded)


def test_long_texts_become_windows_of_their_side() -> None:
    rows = pairs(("a " * 20, "b", 1.0), ("c", "d", 0.0))
    config = replace(prepare(rows), max_length=12, overlap=3)
    encoded = encode(rows, config)
    assert roles(encoded, 0) == [FIRST, FIRST, FIRST, SECOND]
    assert all(len(one) <= 12 for one in encoded)
    assert len(encoded.truncated) == 0
    cut = encode(rows, replace(config, options=replace(own(config), long_texts="head")))
    assert roles(cut, 0) == [FIRST, SECOND]
    assert cut.truncated.tolist() == [0]


def test_hard_negatives_stand_beside_the_partners_of_their_text() -> None:
    rows = pairs(
        ("q", "p", 1.0), ("q", "n1", 0.0), ("q", "n2", 0.0), ("Q ", "r", 1.0), ("k", "l", 1.0), ("q", "n3", 0.0)
    )
    config = prepare(rows, hard_negatives=2)
    assert own(config).loss == "contrastive"
    encoded = encode(rows, config, labelled=True)
    assert [roles(encoded, place) for place in range(6)] == [
        [FIRST, SECOND, NEGATIVE, NEGATIVE],
        [NEGATIVE],
        [NEGATIVE],
        [FIRST, SECOND, NEGATIVE, NEGATIVE],
        [FIRST, SECOND],
        [NEGATIVE],
    ]
    ids = [one.input_ids.tolist() for place in (0, 3) for one in encoded.of_example(place)[2:]]
    assert ids == [[2, word_id(word), 3] for word in ("n1", "n2", "n3", "n1")]
    assert [roles(encode(rows, config), place) for place in (0, 1)] == [[FIRST, SECOND]] * 2


def test_a_text_alone_is_its_own_partner_in_training() -> None:
    rows = pairs(("a b", None, None), ("c", None, None))
    config = prepare(rows)
    encoded = encode(rows, config, labelled=True)
    assert [one.input_ids.tolist() for one in encoded.of_example(0)] == [[2, word_id("a"), word_id("b"), 3]] * 2
    assert roles(encoded, 1) == [FIRST, SECOND]


def test_single_texts_are_not_compared() -> None:
    rows = pairs(("a", "b", 1.0), ("c", "d", 0.0))
    with pytest.raises(DataError, match="text 1: similarity needs two texts"):
        TASK.check_inputs([Example(text="a", text_pair="b"), Example(text="c")], prepare(rows))


def test_nothing_encodes_to_nothing() -> None:
    config = prepare(pairs(("a", "b", 1.0), ("c", "d", 0.0)))
    assert encode([], config).examples == 0


# --- the modules


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
@pytest.mark.parametrize("architecture", ["bi-encoder", "cross-encoder"])
def test_packed_and_padded_batches_give_the_same_and_every_body_can_be_trained(
    body: BodyConfig, architecture: str
) -> None:
    config = prepare(SCORED, body, architecture=architecture)
    module = TASK.build(body, config).eval()
    encoded = encode(SCORED[:5], config, labelled=True)
    with torch.inference_mode():
        one = TASK.outputs(module, packed(encoded), config)
        other = TASK.outputs(module, padded(encoded, pad_id=0), config)
    np.testing.assert_allclose(np.stack(one), np.stack(other), atol=1e-5)
    parts = TASK.loss(module, packed(encoded))
    (part,) = parts.values()
    part.total.backward()
    assert part.weight.item() == 5
    assert sum(float(one.grad.abs().sum()) for one in module.body.parameters() if one.grad is not None) > 0  # type: ignore[union-attr]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_vectors_are_those_of_the_encoder_with_the_pooling_that_is_handed_on(pooling: str) -> None:
    config = prepare(SCORED, pooling=pooling)
    module = TASK.build(ENCODER, config).eval()
    assert isinstance(module, BiEncoder)
    batch = packed(encode(SCORED[:3], config))
    assert sentence_pooling(config).modes == (pooling,)
    states = module.body(batch.input_ids, sequence_starts=batch.sequence_starts).last_hidden_state  # type: ignore[operator]
    assert batch.sequence_starts is not None
    rows = [states[start:end] for start, end in itertools.pairwise(batch.sequence_starts.tolist())]
    pool = {"mean": lambda row: row.mean(0), "cls": lambda row: row[0], "max": lambda row: row.amax(0)}[pooling]
    torch.testing.assert_close(module(batch), torch.stack([pool(row) for row in rows]))


@pytest.mark.parametrize("loss", ["cosent", "contrastive", "squared-error"])
def test_windows_count_as_one_text_in_the_loss(loss: str) -> None:
    rows = pairs(("a b " * 9, "b", 1.0), ("c", "d " * 22, 0.0), ("a b " * 9, "e", 0.0))
    config = replace(prepare(rows, loss=loss), max_length=12, overlap=3)
    module = TASK.build(ENCODER, config).eval()
    batch = packed(encode(rows, config, labelled=True))
    assert len(batch) > 6
    (part,) = TASK.loss(module, batch).values()
    found = [one.similarity for one in answers(module, rows, config)]
    if loss == "squared-error":
        expected = sum((one - value) ** 2 for one, value in zip(found, (1.0, 0.0, 0.0), strict=True))
        assert part.total.item() == pytest.approx(expected, rel=1e-4)
    elif loss == "cosent":
        expected = math.log1p(sum(math.exp(20 * (one - found[0])) for one in found[1:]))
        assert part.total.item() / 3 == pytest.approx(expected, rel=1e-4)
    else:
        assert part.weight.item() == 1


def test_the_same_text_elsewhere_in_the_batch_is_no_negative() -> None:
    rows = pairs(("a", "b", 1.0), ("A", "b ", 1.0), ("c", "b", 1.0))
    config = prepare(rows)
    module = TASK.build(ENCODER, config).eval()
    (part,) = TASK.loss(module, packed(encode(rows, config, labelled=True))).values()
    assert part.total.item() == pytest.approx(0.0, abs=1e-6)


def test_two_passes_of_a_text_differ_by_dropout_alone() -> None:
    rows = pairs(("a b c", None, None), ("d e", None, None))
    config = prepare(rows)
    torch.manual_seed(0)
    module = TASK.build(ENCODER, config)
    batch = packed(encode(rows, config, labelled=True))
    still = module.eval()(batch)
    assert torch.equal(still[0], still[1])
    moving = module.train()(batch)
    assert not torch.allclose(moving[0], moving[1])


def test_a_cross_encoder_sees_both_texts_at_once() -> None:
    config = prepare(SCORED, architecture="cross-encoder")
    module = TASK.build(ENCODER, config)
    encoded = encode(SCORED[:2], config, labelled=True)
    assert [one.token_type_ids.tolist() for one in encoded] == [[0] * 5 + [1] * 4] * 2
    (part,) = TASK.loss(module.eval(), packed(encoded)).values()
    logits = module(packed(encoded))[:, 0].double()
    wanted = torch.tensor([0.0, 1 / 3]).double()
    expected = -(wanted * torch.sigmoid(logits).log() + (1 - wanted) * torch.sigmoid(-logits).log()).sum()
    assert part.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert TASK.answer([np.array([-900.0])], encoded[:1], SCORED[0], config).similarity == 0.0


@pytest.mark.parametrize("architecture", ["bi-encoder", "cross-encoder"])
def test_the_engine_gives_the_same_answers_whatever_it_reads_together(architecture: str) -> None:
    rows = [*SCORED[:9], *pairs(("redfox " * 30, "wetmap", 1.0))]
    config = replace(prepare(rows, architecture=architecture), max_length=12, overlap=3)
    module = TASK.build(ENCODER, config)
    engine = Engine(module, WordTokenizer(), TASK, config, settings=EngineSettings(max_tokens=40, chunk=4))  # type: ignore[arg-type]
    found = [one.similarity for one in engine.answers(rows).rows]
    assert found == pytest.approx([one.similarity for one in answers(module, rows, config)], abs=1e-5)
    assert found[3] == pytest.approx(engine.answers(rows[3:4]).rows[0].similarity, abs=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_encoder_of_a_saved_model_gives_its_vectors(tmp_path: Path, pooling: str) -> None:
    tokenizer = learn_vocabulary([" ".join(TOPICS)] * 9, size=60)
    body = replace(ENCODER, vocab_size=tokenizer.vocab_size)
    rows = scored(12)
    config = TASK.prepare(rows, TaskRequest(tokenizer=tokenizer, body=body, options={"pooling": pooling}))
    model = Model(
        TASK.build(body, config), config=body, tokenizer=tokenizer, task=TASK, task_config=config, precision="fp32"
    )
    model.save(tmp_path)
    told = sentence_pooling(config)
    vectors = load_vectors(tmp_path, pooling=told.modes[0], max_length=told.max_length).encode(
        [text for one in rows for text in (one.text, one.text_pair or "")]
    )
    first, second = vectors[::2], vectors[1::2]
    cosines = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    found = [one.value for one in model.predict([(one.text, one.text_pair or "") for one in rows])]
    assert found == pytest.approx((np.clip(cosines, 0, 1) * 3).tolist(), abs=1e-5)


# --- learning


@pytest.mark.parametrize("loss", ["cosent", "squared-error"])
def test_a_bi_encoder_learns_how_much_two_texts_share(loss: str) -> None:
    config = prepare(SCORED, loss=loss)
    torch.manual_seed(3)
    before = TASK.score(answers(TASK.build(ENCODER, config), HELD_OUT, config), HELD_OUT, config)
    module = train(SCORED, config, steps=120, rate=3e-3)
    found = answers(module, HELD_OUT, config)
    after = TASK.score(found, HELD_OUT, config)
    assert after["spearman"] > max(0.75, before["spearman"] + 0.15)
    assert not TASK.did_not_learn(TASK.evidence(found, HELD_OUT, config), config)


def test_a_cross_encoder_learns_from_yes_and_no() -> None:
    def asked(rows: Sequence[Example]) -> list[Example]:
        return [replace(one, value=float("redfox" in f"{one.text} {one.text_pair}")) for one in rows]

    rows, held = asked(SCORED), asked(HELD_OUT)
    body = WordVectorsConfig(vocab_size=99, bigram_buckets=0)
    config = prepare(rows, body, architecture="cross-encoder")
    assert own(config).loss == "cross-entropy"
    module = train(rows, config, body, steps=120, rate=1e-2)
    found = TASK.score(answers(module, held, config), held, config)
    assert found["average_precision"] > 0.95
    assert set(found) == {"spearman", "pearson", "average_precision"}


def test_a_bi_encoder_learns_to_find_partners() -> None:
    turned = [f"{topic} {other}" for topic, other in itertools.combinations(TOPICS, 2)]
    rows = pairs(*((text, f"about {' '.join(reversed(text.split()))} here", 1.0) for text in turned))
    config = prepare(rows)
    assert config.main_metric == "mrr"
    module = train(rows[::2], config, steps=150, rate=3e-3)
    found = answers(module, rows[1::2], config)
    metrics = TASK.score(found, rows[1::2], config)
    assert metrics["mrr"] > 0.7
    assert metrics["spearman"] == 0.0
    assert not TASK.did_not_learn(TASK.evidence(found, rows[1::2], config), config)


def test_texts_alone_teach_what_is_alike() -> None:
    texts = list(dict.fromkeys(one.text for one in SCORED))
    rows = pairs(*((text, None, None) for text in texts))
    config = prepare(rows)
    module = train(rows, config, steps=80, rate=1e-3)
    found = answers(module, HELD_OUT, config)
    assert TASK.score(found, HELD_OUT, config)["spearman"] > 0.5


# --- measuring


def said(*similarities: float) -> list[SimilarityAnswer]:
    return [SimilarityAnswer(similarity=one) for one in similarities]


GRADED = pairs(("a", "b", 0.0), ("c", "d", 2.5), ("e", "f", 5.0), ("g", "h", 4.0))
YES_NO = pairs(("a", "b", 0.0), ("c", "d", 1.0), ("e", "f", 1.0), ("g", "h", 0.0))


def test_predictions_are_in_the_range_of_the_data() -> None:
    config = prepare(GRADED)
    found = TASK.decode(said(-0.2, 0.5, 1.0), GRADED[:3], config)
    assert [one.value for one in found] == pytest.approx([0.0, 2.5, 5.0])
    assert found[0].score is None
    assert TASK.decode([], [], config) == []


def test_tuning_fits_the_line_from_cosines_to_scores() -> None:
    config = TASK.tune(said(0.90, 0.95, 1.0, 0.98), GRADED, prepare(GRADED)) if TASK.tune else prepare(GRADED)
    values = [one.value for one in TASK.decode(said(0.90, 0.95, 1.0, 0.98), GRADED, config)]
    assert values == pytest.approx([0.0, 2.5, 5.0, 4.0], abs=1e-6)
    assert own(config).threshold is None


def test_tuning_fits_a_threshold_where_scores_say_yes_or_no() -> None:
    config = prepare(YES_NO)
    found = said(0.90, 0.95, 0.99, 0.91)
    assert "accuracy" not in TASK.score(found, YES_NO, config)
    assert TASK.tune is not None
    tuned = TASK.tune(found, YES_NO, config)
    metrics = TASK.score(found, YES_NO, tuned)
    assert (metrics["accuracy"], metrics["f1"], metrics["average_precision"]) == (1.0, 1.0, 1.0)
    threshold = own(tuned).threshold
    assert threshold is not None
    called = [(one.value or 0.0) >= threshold for one in TASK.decode(found, YES_NO, tuned)]
    assert called == [False, True, True, False]


@pytest.mark.parametrize("similarities", [(0.9, 0.9, 0.9, 0.9), (0.9, 0.8, 0.1, 0.2), (math.nan, 0.1, 0.2, 0.3)])
def test_answers_that_say_nothing_are_not_fitted_to(similarities: tuple[float, ...]) -> None:
    assert TASK.tune is not None
    tuned = own(TASK.tune(said(*similarities), GRADED, prepare(GRADED)))
    assert (tuned.slope, tuned.intercept) == (1.0, 0.0)


def test_metrics_for_ranking_are_among_the_scores_with_the_same_values() -> None:
    rows = pairs(("a", "b", 1.0), ("a", "c", 0.0), ("d", "e", 1.0))
    config = prepare(rows)
    generator = np.random.default_rng(2)
    vectors = generator.normal(size=(3, 2, 4))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    found = [SimilarityAnswer(similarity=float(one @ other), vectors=(one, other)) for one, other in vectors]
    evidence, metrics = TASK.evidence(found, rows, config), TASK.score(found, rows, config)
    assert evidence.shape == (3, len(TASK.evidence_columns(config)))
    assert evidence[1, RANK] == 0
    assert (evidence[[0, 2], RANK] >= 1).all()
    assert {name: metric.of(evidence) for name, metric in TASK.metrics(config).items()} == pytest.approx(
        {name: metrics[name] for name in TASK.metrics(config)}
    )
    assert set(TASK.metrics(config)) == {"spearman", "pearson", "mrr"}
    assert set(TASK.metrics(prepare(GRADED))) == {"spearman", "pearson"}


def test_scores_beyond_those_of_training_are_measured_as_they_are() -> None:
    rows = pairs(("a", "b", 1.0), ("c", "d", 1.0))
    config = prepare(rows)
    vectors = np.eye(4)
    found = [
        SimilarityAnswer(similarity=one, vectors=(vectors[place], vectors[place]))
        for place, one in enumerate((0.1, 0.5, 0.9, 0.6))
    ]
    metrics = TASK.score(found, GRADED, config)
    assert metrics["spearman"] == pytest.approx(1.0)
    assert metrics["mrr"] == 1.0
    assert "average_precision" not in metrics


def test_what_has_no_score_is_not_measured() -> None:
    config = prepare(GRADED)
    with pytest.raises(DataError, match=r"pairs\.csv:2: .*--dev"):
        TASK.score(said(0.5), pairs(("a", None, None)), config)
    with pytest.raises(DataError, match=r"pairs\.csv:2"):
        TASK.score(said(0.5), pairs(("a", "b", None)), config)
    with pytest.raises(DataError, match="no examples"):
        TASK.score([], [], config)


def evidence_of(
    gold: Sequence[float], predicted: Sequence[float], ranks: Sequence[float] = ()
) -> npt.NDArray[np.float64]:
    return np.stack([gold, predicted, ranks or [0.0] * len(gold)], axis=1).astype(np.float64)


def test_a_model_that_learnt_nothing_is_told() -> None:
    config = prepare(GRADED)
    gold = np.arange(100.0).tolist()
    generator = np.random.default_rng(0)
    assert TASK.did_not_learn(evidence_of(gold, [0.9] * 100), config)
    assert TASK.did_not_learn(evidence_of(gold, [math.nan, *gold[1:]]), config)
    assert TASK.did_not_learn(evidence_of(gold, (-np.array(gold)).tolist()), config)
    assert not TASK.did_not_learn(evidence_of(gold, (np.array(gold) + generator.normal(0, 60, 100)).tolist()), config)
    ones, some = [1.0] * 50, generator.normal(size=50).tolist()
    assert TASK.did_not_learn(evidence_of(ones, some, generator.permutation(50 - np.arange(50)).tolist()), config)
    assert not TASK.did_not_learn(evidence_of(ones, some, [1.0, 9.0] * 25), config)


def test_the_comparison_goes_by_what_was_asked_for() -> None:
    counts: dict[str, int] = {}
    plain = TaskConfig(task="sentence-similarity", options=SimilarityOptions())
    assert TASK.ranking_metric(plain, counts, []) == "spearman"
    asked = replace(plain, options=SimilarityOptions(loss="contrastive"))
    assert TASK.ranking_metric(asked, counts, []) == "mrr"
    assert TASK.format(SimilarityOptions(score_range=(0.0, 5.0))).labels(GRADED[0]) == ()
