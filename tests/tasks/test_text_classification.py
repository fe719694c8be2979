"""Text classification as a record of functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from albertine.models.word_vectors import WordVectorsConfig
from albertine.records import Batch, Encoded, Example, Tokens
from albertine.tasks.task import LossFunction, LossPart, TaskConfig, with_methods
from albertine.tasks.text_classification import TASK, Classifier, balanced_weights, default_max_length, label_indices

LABELS = ("bad", "good", "so-so")
CONFIG = TaskConfig(task="text-classification", labels=LABELS, max_length=7)
ENCODER = EncoderConfig.preset(
    "albert-base",
    vocab_size=99,
    hidden_size=14,
    embedding_size=6,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=22,
    max_position_embeddings=41,
)
BODIES: tuple[BodyConfig, ...] = (
    ENCODER,
    replace(ENCODER, add_pooler=False),
    RecurrentConfig(vocab_size=99, embedding_size=6, hidden_size=5),
    WordVectorsConfig(vocab_size=99, embedding_size=6, bigram_buckets=13),
)


class WordTokenizer:
    """A token a word: 2 words 3, or 2 first 3 second 3 for pairs; a word is hashed by its letters."""

    def __init__(self) -> None:
        self.asked: list[int | None] = []

    def tokenize(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        special_tokens: bool = True,
        offsets: bool = True,
    ) -> Tokens:
        self.asked.append(max_length)
        rows, types, truncated = [], [], []
        for place, text in enumerate(texts):
            row = [2, *(4 + sum(map(ord, word)) % 90 for word in text.split()), 3]
            kinds = [0] * len(row)
            if pairs is not None:
                second = [*(4 + sum(map(ord, word)) % 90 for word in pairs[place].split()), 3]
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


def examples(*rows: tuple[str, str | None]) -> list[Example]:
    return [
        Example(text=text, label=label, file="reviews.csv", line=line)
        for line, (text, label) in enumerate(rows, start=2)
    ]


def encoded(*lengths: int, labels: Sequence[int | None] | None = None) -> list[Encoded]:
    generator = np.random.default_rng(5)
    return [
        Encoded(
            input_ids=generator.integers(4, 99, size=length).astype(np.int32),
            token_type_ids=np.zeros(length, dtype=np.uint8),
            label=None if labels is None else labels[place],
        )
        for place, length in enumerate(lengths)
    ]


def total(parts: dict[str, LossPart]) -> torch.Tensor:
    return torch.stack([part.total / part.weight for part in parts.values()]).sum()


# --- preparing


def test_labels_are_taken_from_the_examples_sorted() -> None:
    rows = examples(("a", "good"), ("b", "bad"), ("c", "good"), ("d", "so-so"))
    assert TASK.prepare(rows).labels == LABELS
    assert TASK.prepare(rows, labels=["so-so", "good", "bad"]).labels == ("so-so", "good", "bad")


def test_whole_numbers_are_sorted_by_their_value() -> None:
    rows = examples(*((f"text {label}", label) for label in ["10", "9", "-1", "0"]))
    assert TASK.prepare(rows).labels == ("-1", "0", "9", "10")


def test_one_label_only_is_refused_with_the_label() -> None:
    with pytest.raises(DataError, match="same label") as caught:
        TASK.prepare(examples(("a", "good"), ("b", "good")))
    assert "'good'" in str(caught.value)
    with pytest.raises(DataError, match="no training examples"):
        TASK.prepare([])


def test_a_row_without_a_label_is_refused_with_its_place() -> None:
    with pytest.raises(DataError, match=r"reviews\.csv:3: a row has no label"):
        TASK.prepare(examples(("a", "good"), ("b", None), ("c", "bad")))


def test_pairs_and_single_texts_do_not_mix() -> None:
    rows = [*examples(("a", "good")), Example(text="b", text_pair="c", label="bad", file="pairs.csv", line=7)]
    with pytest.raises(DataError, match=r"pairs\.csv:7"):
        TASK.prepare(rows)
    both = [replace(one, text_pair="second") for one in rows]
    assert TASK.prepare(both).pairs is True


def test_the_maximum_length_fits_nearly_all_training_texts_and_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    rows = examples(*(("word " * (place % 20), LABELS[place % 3]) for place in range(199)), ("word " * 99, "good"))
    with caplog.at_level("INFO", logger="albertine"):
        config = TASK.prepare(rows, tokenizer=WordTokenizer(), body=WordVectorsConfig(vocab_size=99))
    assert config.max_length == 24
    assert "24 tokens" in caplog.text
    assert "101" in caplog.text
    assert "0.5 %" in caplog.text


def test_the_maximum_length_never_exceeds_the_positions_of_the_encoder() -> None:
    rows = examples(("word " * 60, "good"), ("word " * 70, "bad"))
    assert TASK.prepare(rows, tokenizer=WordTokenizer(), body=ENCODER).max_length == 41
    with pytest.raises(ConfigError, match="fewer positions"):
        TASK.prepare(rows, tokenizer=WordTokenizer(), body=ENCODER, max_length=42)


def test_a_given_maximum_length_is_taken_and_models_that_read_whole_texts_have_none() -> None:
    rows = examples(("a b c", "good"), ("b", "bad"))
    assert TASK.prepare(rows, tokenizer=WordTokenizer(), body=ENCODER, max_length=13).max_length == 13
    assert TASK.prepare(rows, max_length=13).max_length is None


@pytest.mark.parametrize(
    ("lengths", "limit", "expected"), [([8] * 50, None, 8), ([9] * 50, None, 16), ([900], 512, 512)]
)
def test_the_default_length_is_rounded_up_to_eight(lengths: list[int], limit: int | None, expected: int) -> None:
    assert default_max_length(np.array(lengths), limit) == expected


def test_balanced_weights_make_every_label_count_alike() -> None:
    indices = np.array([0] * 7 + [1] * 2 + [2])
    weights = np.array(balanced_weights(indices, 3))
    assert weights * np.bincount(indices) == pytest.approx([10 / 3] * 3)
    assert weights[indices].mean() == pytest.approx(1.0)
    assert balanced_weights(np.array([0, 0, 2]), 3) == pytest.approx((0.75, 0.0, 1.5))


def test_class_weights_are_balanced_on_request_or_taken_as_given() -> None:
    rows = examples(("a", "good"), ("b", "good"), ("c", "good"), ("d", "bad"))
    assert TASK.prepare(rows).class_weights is None
    assert TASK.prepare(rows, class_weights="balanced").class_weights == pytest.approx((2.0, 2 / 3))
    assert TASK.prepare(rows, class_weights=(1.0, 0.5)).class_weights == (1.0, 0.5)
    with pytest.raises(ConfigError, match="class_weights"):
        TASK.prepare(rows, class_weights=(1.0, 0.5, 2.0))


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    rows = examples(("a", "good"), ("b", "bad"))
    assert TASK.prepare(rows, main_metric="macro_f1").main_metric == "macro_f1"
    with pytest.raises(ConfigError, match="macro_f1"):
        TASK.prepare(rows, main_metric="macrof1")


# --- encoding


def test_encoding_keeps_order_labels_and_places() -> None:
    rows = examples(("a b", "good"), ("", "bad"), ("a b c", "so-so"))
    result = TASK.encode(WordTokenizer(), rows, CONFIG)
    assert [len(one) for one in result] == [4, 2, 5]
    assert [one.label for one in result] == [1, 0, 2]
    assert [one.example for one in result] == [0, 1, 2]
    assert len(result.truncated) == 0


def test_texts_beyond_the_maximum_length_are_cut_and_named() -> None:
    rows = examples(("a b", None), ("a b c d e f g", None), ("a b c d e", None))
    result = TASK.encode(WordTokenizer(), rows, CONFIG)
    assert [len(one) for one in result] == [4, 7, 7]
    assert result.truncated.tolist() == [1]


def test_nothing_is_cut_without_a_maximum_length() -> None:
    tokenizer = WordTokenizer()
    result = TASK.encode(tokenizer, examples(("a " * 99, None)), replace(CONFIG, max_length=None))
    assert len(result[0]) == 101
    assert tokenizer.asked == [None]


def test_pairs_are_encoded_with_their_second_text() -> None:
    result = TASK.encode(WordTokenizer(), [Example(text="a b", text_pair="c")], replace(CONFIG, pairs=True))
    assert result[0].token_type_ids.tolist() == [0, 0, 0, 0, 1, 1]
    with pytest.raises(DataError, match="pairs of texts"):
        TASK.encode(WordTokenizer(), [Example(text="a b")], replace(CONFIG, pairs=True))
    with pytest.raises(DataError, match="single texts"):
        TASK.encode(WordTokenizer(), [Example(text="a", text_pair="b")], CONFIG)


def test_a_label_that_training_did_not_have_is_named_with_its_place_and_the_nearest() -> None:
    with pytest.raises(DataError) as caught:
        label_indices(examples(("a", "good"), ("b", "goood")), LABELS)
    message = str(caught.value)
    for part in ("reviews.csv:3", "'goood'", "bad, good, so-so", "Did you mean 'good'?"):
        assert part in message


def test_a_long_list_of_labels_is_shortened_in_the_message() -> None:
    labels = [f"intent-{number}" for number in range(99)]
    with pytest.raises(DataError, match="and 79 more"):
        label_indices(examples(("a", "?")), labels)


# --- the module and its loss


@pytest.mark.parametrize("body", BODIES)
def test_a_classifier_gives_one_row_a_text_packed_as_padded(body: BodyConfig) -> None:
    torch.manual_seed(0)
    module = TASK.build(body, CONFIG).eval()
    texts = encoded(5, 13, 1, 7)
    with torch.inference_mode():
        flat = TASK.outputs(module, packed(texts))
        square = TASK.outputs(module, padded(texts, pad_id=0))
    assert flat.shape == (4, 3)
    assert flat.dtype == torch.float32
    torch.testing.assert_close(flat, square, atol=1e-5, rtol=0)


def test_every_parameter_of_a_classifier_learns() -> None:
    module = TASK.build(ENCODER, CONFIG)
    total(TASK.loss(module, packed(encoded(5, 9, labels=[0, 2])))).backward()
    assert [name for name, one in module.named_parameters() if one.grad is None] == []


@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.25)])
def test_the_loss_of_parts_adds_up_to_that_of_the_whole_batch(weights: tuple[float, ...] | None) -> None:
    torch.manual_seed(0)
    module = TASK.build(ENCODER, replace(CONFIG, class_weights=weights)).eval()
    texts = encoded(5, 13, 1, 7, 9, labels=[0, 2, 1, 1, 2])
    whole = TASK.loss(module, packed(texts))["classification"]
    pieces = [TASK.loss(module, packed(part))["classification"] for part in (texts[:1], texts[1:4], texts[4:])]
    torch.testing.assert_close(sum(part.total for part in pieces), whole.total)
    torch.testing.assert_close(sum(part.weight for part in pieces), whole.weight)
    reference = nn.CrossEntropyLoss(weight=None if weights is None else torch.tensor(weights))
    logits = TASK.outputs(module, packed(texts))
    torch.testing.assert_close(whole.total / whole.weight, reference(logits, torch.tensor([0, 2, 1, 1, 2])))


def test_the_dropout_before_the_classifier_is_the_bodys() -> None:
    module = TASK.build(replace(ENCODER, classifier_dropout_prob=0.35), CONFIG)
    assert isinstance(module, Classifier)
    assert module.dropout.p == 0.35


def test_training_methods_wrap_the_loss_and_compose() -> None:
    """One method adds a part (as R-Drop does), another one scales every part (as a curriculum does)."""

    def agreeing(outputs: Callable[[nn.Module, Batch], torch.Tensor]) -> Callable[[LossFunction], LossFunction]:
        def method(loss: LossFunction) -> LossFunction:
            def wrapped(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
                first, second = (outputs(module, batch).log_softmax(dim=-1) for _ in range(2))
                distance = nn.functional.kl_div(first, second, log_target=True, reduction="sum")
                part = LossPart(total=distance, weight=distance.new_tensor(len(batch)))
                return {**loss(module, batch), "agreement": part}

            return wrapped

        return method

    def doubled(loss: LossFunction) -> LossFunction:
        def wrapped(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
            return {name: replace(part, total=2 * part.total) for name, part in loss(module, batch).items()}

        return wrapped

    torch.manual_seed(0)
    module = TASK.build(ENCODER, CONFIG)
    batch = packed(encoded(5, 9, labels=[0, 2]))
    both = with_methods(TASK, [agreeing(TASK.outputs), doubled])
    parts = both.loss(module, batch)
    assert set(parts) == {"classification", "agreement"}
    assert parts["agreement"].total > 0
    total(parts).backward()
    module.eval()
    plain = TASK.loss(module, batch)["classification"]
    torch.testing.assert_close(both.loss(module, batch)["classification"].total, 2 * plain.total)
    assert both.loss(module, batch)["agreement"].total.item() == pytest.approx(0.0, abs=1e-6)
    assert with_methods(TASK, []) == TASK


# --- answers and scores


def test_probabilities_are_sharpened_by_the_temperature() -> None:
    logits = torch.tensor([[1.0, 2.0, 4.0]])
    plain = TASK.probabilities(logits, CONFIG)
    torch.testing.assert_close(plain, logits.softmax(dim=-1))
    cooled = TASK.probabilities(logits, replace(CONFIG, temperature=2.0))
    torch.testing.assert_close(cooled, (logits / 2).softmax(dim=-1))


def test_decoding_names_the_most_probable_label_and_all_scores() -> None:
    probabilities = np.array([[0.25, 0.5, 0.25], [0.75, 0.125, 0.125]], dtype=np.float32)
    first, second = TASK.decode(probabilities, examples(("a", None), ("b", None)), CONFIG)
    assert (first.label, first.score) == ("good", 0.5)
    assert second.scores == {"bad": 0.75, "good": 0.125, "so-so": 0.125}
    assert second.label == "bad"


def test_scores_hold_predictions_against_the_labels() -> None:
    probabilities = np.array([[0.2, 0.7, 0.1], [0.8, 0.1, 0.1], [0.1, 0.6, 0.3], [0.1, 0.1, 0.8]], dtype=np.float32)
    rows = examples(("a", "good"), ("b", "bad"), ("c", "so-so"), ("d", "so-so"))
    metrics = TASK.score(rows, probabilities, CONFIG)
    assert metrics["accuracy"] == 0.75
    assert TASK.main_metric in metrics
    assert TASK.greater_is_better
    with pytest.raises(DataError, match="no examples"):
        TASK.score([], probabilities[:0], CONFIG)
    with pytest.raises(DataError, match="label"):
        TASK.score(examples(("a", "unheard")), probabilities[:1], CONFIG)


def test_the_record_answers_for_anything_called_like_its_module() -> None:
    """`outputs` and `loss` ask no more of a module than to be called with a batch."""
    logits = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]])

    class Fixed(nn.Module):
        def forward(self, batch: Batch) -> torch.Tensor:
            return logits[: len(batch)]

    part = TASK.loss(Fixed(), packed(encoded(3, 4, labels=[1, 0])))["classification"]
    torch.testing.assert_close(part.total, nn.functional.cross_entropy(logits, torch.tensor([1, 0]), reduction="sum"))
