"""The inference engine: the same answers whatever comes along, in order, without growing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from albertine.batching.packing import padded
from albertine.inference.engine import Engine, EngineSettings
from albertine.models.body import BodyConfig
from albertine.models.config import EncoderConfig
from albertine.models.recurrent import RecurrentConfig
from albertine.models.word_vectors import WordVectorsConfig
from albertine.records import Batch, Example, Tokens
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import FloatArray
from albertine.tasks.text_classification import TASK

CONFIG = TaskConfig(
    task="text-classification",
    labels=("a", "b", "c"),
    max_length=41,
    options=ClassificationOptions(long_texts="head"),
)
ENCODER = EncoderConfig.preset(
    "albert-base",
    vocab_size=99,
    hidden_size=14,
    embedding_size=6,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=22,
    max_position_embeddings=41,
    initializer_range=0.3,
)
BERT = replace(ENCODER, embedding_size=14, share="none", projection="never")
BODIES: dict[str, BodyConfig] = {
    "albert": ENCODER,
    "bert": BERT,
    "no-pooler": replace(BERT, add_pooler=False),
    "bilstm": RecurrentConfig(vocab_size=99, embedding_size=6, hidden_size=5, initializer_range=1.0),
    "word-vectors": WordVectorsConfig(vocab_size=99, embedding_size=6, bigram_buckets=13, initializer_range=1.0),
}


class CharacterTokenizer:
    """A token a character, between 2 and 3; it remembers how many texts came at a time."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def tokenize(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        special_tokens: bool = True,
        offsets: bool = True,
    ) -> Tokens:
        self.calls.append(len(texts))
        room = None if max_length is None else max_length - 2
        rows = [[2, *(4 + ord(sign) % 95 for sign in text[:room]), 3] for text in texts]
        cut = [place for place, text in enumerate(texts) if room is not None and len(text) > room]
        return Tokens(
            ids=np.array([one for row in rows for one in row], dtype=np.int32),
            token_type_ids=np.zeros(sum(map(len, rows)), dtype=np.uint8),
            starts=np.cumsum([0, *map(len, rows)]),
            truncated=np.array(cut, dtype=np.int64),
        )


class Recorder(nn.Module):
    """Stands for a model and writes down what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.shapes: list[tuple[int, int]] = []
        self.modes: list[bool] = []

    def forward(self, batch: Batch) -> Tensor:
        assert batch.sequence_starts is not None
        lengths = batch.sequence_starts.diff()
        self.shapes.append((len(batch), int(lengths.max())))
        self.modes.append(self.training or torch.is_grad_enabled())
        return torch.stack([lengths.float(), torch.zeros(len(batch)), torch.zeros(len(batch))], dim=1) + self.weight


def texts(count: int, longest: int = 60, seed: int = 3) -> list[Example]:
    generator = np.random.default_rng(seed)
    signs = [chr(97 + one) for one in range(26)]
    return [Example(text="".join(generator.choice(signs, size=generator.integers(0, longest)))) for _ in range(count)]


def engine(body: BodyConfig = ENCODER, **changes: object) -> Engine:
    torch.manual_seed(0)
    module = TASK.build(body, CONFIG).eval()
    nn.init.normal_(module.classifier.weight)
    return Engine(module, CharacterTokenizer(), TASK, CONFIG, **changes)


def scores(one: Engine, examples: Sequence[Example]) -> FloatArray:
    """Return the probabilities of every label, [N, C]."""
    assert TASK.probabilities is not None
    return TASK.probabilities(one.reported_answers(examples), one.task_config)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("settings", [EngineSettings(), EngineSettings(max_tokens=70, max_texts=5, chunk=13)])
def test_a_text_gets_the_same_answer_alone_and_among_others(body: BodyConfig, settings: EngineSettings) -> None:
    examples = texts(53)
    one_by_one = engine(body)
    alone = np.concatenate([scores(one_by_one, [example]) for example in examples])
    together = scores(engine(body, settings=settings), examples)
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=0)
    assert (together.argmax(axis=1) == alone.argmax(axis=1)).all()
    assert np.ptp(together, axis=0).max() > 0.1
    assert together.dtype == np.float32
    np.testing.assert_allclose(together.sum(axis=1), 1.0, atol=1e-5)


def test_the_packed_engine_equals_the_padded_eager_reference() -> None:
    examples = texts(29, longest=39)
    one = engine()
    encoded = TASK.encode(one.tokenizer, examples, CONFIG, labelled=False)
    with torch.no_grad():
        reference = one.module(padded(encoded, pad_id=0))
    np.testing.assert_allclose(scores(one, examples), reference.softmax(dim=-1).numpy(), atol=1e-5)
    np.testing.assert_allclose(np.stack(one.encoded_answers(encoded, examples).rows), reference.numpy(), atol=1e-5)


def test_no_texts_give_no_answers() -> None:
    assert engine().reported_answers([]) == []


def test_a_long_text_is_answered_from_all_of_its_windows() -> None:
    one = engine()
    whole = Engine(one.module, one.tokenizer, TASK, replace(CONFIG, options=ClassificationOptions(), overlap=0))
    long = "a" * 39 + "b" * 39 + "c" * 39
    parts = scores_before_softmax(one, [Example(text=sign * 39) for sign in "abc"])
    (found,) = whole.reported_answers([Example(text=long)])
    np.testing.assert_allclose(found, parts.mean(axis=0), atol=1e-5)
    among = whole.reported_answers([*texts(13), Example(text=long), *texts(7)])
    np.testing.assert_allclose(among[13], found, atol=1e-5)


def scores_before_softmax(one: Engine, examples: Sequence[Example]) -> FloatArray:
    return np.stack(one.reported_answers(examples))


def test_batches_keep_to_the_budget_and_answers_to_the_order() -> None:
    module = Recorder()
    settings = EngineSettings(max_tokens=100, max_texts=5, chunk=37)
    one = Engine(module, CharacterTokenizer(), TASK, CONFIG, settings=settings)
    examples = texts(99)
    answers = np.stack(one.reported_answers(examples))
    expected = np.array([min(len(example.text) + 2, 41) for example in examples])
    np.testing.assert_allclose(answers[:, 0], expected)
    assert all(rows * longest <= 100 or rows == 1 for rows, longest in module.shapes)
    assert max(rows for rows, _ in module.shapes) == 5
    assert sum(rows for rows, _ in module.shapes) == 99


def test_texts_are_tokenized_a_chunk_at_a_time() -> None:
    tokenizer = CharacterTokenizer()
    Engine(Recorder(), tokenizer, TASK, CONFIG, settings=EngineSettings(chunk=37)).reported_answers(texts(99))
    assert tokenizer.calls == [37, 37, 25]


def test_the_module_is_run_without_dropout_and_gradients_and_left_as_it_was() -> None:
    module = Recorder()
    one = Engine(module, CharacterTokenizer(), TASK, CONFIG)
    module.train()
    scores(one, texts(7))
    scores(one, texts(1))
    assert module.modes == [False] * len(module.modes)
    assert module.training
    assert torch.is_grad_enabled()


def test_the_mode_is_given_back_after_a_failure_too() -> None:
    class Broken(Recorder):
        def forward(self, batch: Batch) -> Tensor:
            raise RuntimeError("broken")

    module = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        Engine(module, CharacterTokenizer(), TASK, CONFIG).reported_answers(texts(3))
    assert module.training


def test_a_module_that_goes_on_training_answers_with_its_new_weights() -> None:
    one = engine()
    examples = texts(5)
    before = scores(one, examples)
    with torch.no_grad():
        one.module.classifier.bias[0] += 5.0
    assert (scores(one, examples)[:, 0] > before[:, 0]).all()


def test_cut_texts_are_counted_in_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    one = engine(settings=EngineSettings(chunk=7))
    examples = [Example(text="x" * length) for length in [3, 39, 40, 200, 7, 99, 5, 6, 40, 8]]
    scores(one, examples)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "4 of 10 texts (40.0 %) were longer than 41 tokens" in caplog.text
    caplog.clear()
    scores(one, examples[:2])
    assert caplog.text == ""


def test_a_text_of_a_hundred_thousand_characters_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    one = engine()
    long = "very long " * 10_000
    found = scores(one, [Example(text=long)])
    np.testing.assert_allclose(found, scores(one, [Example(text=long[:39])]), atol=1e-6)
    assert "1 of 1 texts" in caplog.text


def test_labels_of_examples_are_not_looked_at() -> None:
    examples = texts(3)
    labelled = [replace(example, label="unheard of") for example in examples]
    one = engine()
    np.testing.assert_array_equal(scores(one, labelled), scores(one, examples))
    np.testing.assert_array_equal(scores(one, labelled[:1]), scores(one, examples[:1]))


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_bf16_answers_in_float32_and_near_fp32(body: BodyConfig) -> None:
    examples = texts(31)
    reduced = scores(engine(body, precision="bf16"), examples)
    assert reduced.dtype == np.float32
    np.testing.assert_allclose(reduced, scores(engine(body), examples), atol=0.05)


def test_a_fitted_temperature_softens_the_answers() -> None:
    one = engine()
    warm = Engine(one.module, one.tokenizer, TASK, replace(CONFIG, temperature=10.0))
    examples = texts(9)
    assert (scores(warm, examples).max(axis=1) < scores(one, examples).max(axis=1)).all()
