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
from albertine.records import Batch, Encoded, EncodedExamples, Example, Tokens
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.classification_problems import balanced_weights, label_indices
from albertine.tasks.classifier import Classifier
from albertine.tasks.config import ClassWeights, TaskConfig, TaskRequest
from albertine.tasks.lengths import default_max_length
from albertine.tasks.task import LossFunction, LossPart, with_methods
from albertine.tasks.text_classification import TASK

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


def encoded(*lengths: int, labels: Sequence[int] | None = None) -> list[Encoded]:
    generator = np.random.default_rng(5)
    return [
        Encoded(
            input_ids=generator.integers(4, 99, size=length).astype(np.int32),
            token_type_ids=np.zeros(length, dtype=np.uint8),
            target=None if labels is None else np.array([labels[place]]),
            example=place,
        )
        for place, length in enumerate(lengths)
    ]


def prepare(rows: Sequence[Example], **asked: object) -> TaskConfig:
    return TASK.prepare(rows, TaskRequest(**asked))


def encode(rows: Sequence[Example], config: TaskConfig = CONFIG, *, labelled: bool = False) -> EncodedExamples:
    return TASK.encode(WordTokenizer(), rows, config, labelled=labelled)


def logits_of(module: nn.Module, batch: Batch) -> torch.Tensor:
    return torch.from_numpy(np.stack(TASK.outputs(module, batch, CONFIG)))


def total(parts: dict[str, LossPart]) -> torch.Tensor:
    return torch.stack([part.total / part.weight for part in parts.values()]).sum()


# --- preparing


def test_labels_are_taken_from_the_examples_sorted() -> None:
    rows = examples(("a", "good"), ("b", "bad"), ("c", "good"), ("d", "so-so"))
    assert prepare(rows).labels == LABELS
    assert prepare(rows, labels=["so-so", "good", "bad"]).labels == ("so-so", "good", "bad")


def test_whole_numbers_are_sorted_by_their_value() -> None:
    rows = examples(*((f"text {label}", label) for label in ["10", "9", "-1", "0"]))
    assert prepare(rows).labels == ("-1", "0", "9", "10")


def test_one_label_only_is_refused_with_the_label() -> None:
    with pytest.raises(DataError, match="same label") as caught:
        prepare(examples(("a", "good"), ("b", "good")))
    assert "'good'" in str(caught.value)
    with pytest.raises(DataError, match="no training examples"):
        prepare([])


def test_a_row_without_a_label_is_refused_with_its_place() -> None:
    with pytest.raises(DataError, match=r"reviews\.csv:3: a row has no label"):
        prepare(examples(("a", "good"), ("b", None), ("c", "bad")))


def test_pairs_and_single_texts_do_not_mix() -> None:
    rows = [*examples(("a", "good")), Example(text="b", text_pair="c", label="bad", file="pairs.csv", line=7)]
    with pytest.raises(DataError, match=r"pairs\.csv:7"):
        prepare(rows)
    both = [replace(one, text_pair="second") for one in rows]
    assert prepare(both).pairs is True


def test_the_maximum_length_fits_nearly_all_training_texts_and_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    rows = examples(*(("word " * (place % 20), LABELS[place % 3]) for place in range(199)), ("word " * 99, "good"))
    with caplog.at_level("INFO", logger="albertine"):
        config = prepare(rows, tokenizer=WordTokenizer(), body=WordVectorsConfig(vocab_size=99))
    assert config.max_length == 24
    assert "24 tokens" in caplog.text
    assert "101" in caplog.text
    assert "0.5 %" in caplog.text


def test_the_maximum_length_never_exceeds_the_positions_of_the_encoder() -> None:
    rows = examples(("word " * 60, "good"), ("word " * 70, "bad"))
    assert prepare(rows, tokenizer=WordTokenizer(), body=ENCODER).max_length == 41
    with pytest.raises(ConfigError, match="fewer positions"):
        prepare(rows, tokenizer=WordTokenizer(), body=ENCODER, max_length=42)


def test_a_given_maximum_length_is_taken_and_models_that_read_whole_texts_have_none() -> None:
    rows = examples(("a b c", "good"), ("b", "bad"))
    assert prepare(rows, tokenizer=WordTokenizer(), body=ENCODER, max_length=13).max_length == 13
    assert prepare(rows, max_length=13).max_length is None


@pytest.mark.parametrize(
    ("lengths", "limit", "expected"), [([8] * 50, None, 8), ([9] * 50, None, 16), ([900], 512, 512)]
)
def test_the_default_length_is_rounded_up_to_eight(lengths: list[int], limit: int | None, expected: int) -> None:
    assert default_max_length(np.array(lengths), limit) == expected


def test_balanced_weights_make_every_label_count_alike() -> None:
    counts = np.array([7, 2, 1])
    weights = np.array(balanced_weights(counts))
    assert weights * counts == pytest.approx([10 / 3] * 3)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)
    assert balanced_weights(np.array([2, 0, 1])) == pytest.approx((0.75, 0.0, 1.5))


def test_class_weights_are_balanced_on_request_or_taken_as_given() -> None:
    rows = examples(("a", "good"), ("b", "good"), ("c", "good"), ("d", "bad"))

    def weights(asked: ClassWeights) -> tuple[float, ...] | None:
        return prepare(rows, class_weights=asked).own(ClassificationOptions).class_weights

    assert weights("none") is None
    assert weights("balanced") == pytest.approx((2.0, 2 / 3))
    assert weights((1.0, 0.5)) == (1.0, 0.5)
    with pytest.raises(ConfigError, match="class_weights"):
        prepare(rows, class_weights=(1.0, 0.5, 2.0))


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    rows = examples(("a", "good"), ("b", "bad"))
    assert prepare(rows, main_metric="macro_f1").main_metric == "macro_f1"
    with pytest.raises(ConfigError, match="macro_f1"):
        prepare(rows, main_metric="macrof1")


# --- encoding


def test_encoding_keeps_order_labels_and_places() -> None:
    rows = examples(("a b", "good"), ("", "bad"), ("a b c", "so-so"))
    result = encode(rows, labelled=True)
    assert [len(one) for one in result] == [4, 2, 5]
    assert [one.target.tolist() for one in result if one.target is not None] == [[1], [0], [2]]
    assert [one.example for one in result] == [0, 1, 2]
    assert len(result.truncated) == 0


def test_texts_beyond_the_maximum_length_are_read_in_windows_that_lose_nothing() -> None:
    rows = examples(("a b", "bad"), ("a b c d e f g h i j k l", "good"), ("a b c d e", "good"))
    result = encode(rows, replace(CONFIG, overlap=2), labelled=True)
    assert [one.example for one in result] == [0, 1, 1, 1, 1, 2]
    assert result.starts.tolist() == [0, 1, 5, 6]
    assert all(len(one) <= 7 and one.input_ids[0] == 2 and one.input_ids[-1] == 3 for one in result)
    whole = encode(rows[1:2], replace(CONFIG, max_length=None))[0].input_ids
    assert set(whole.tolist()) == {int(one) for window in result[1:5] for one in window.input_ids}
    assert [one.target.tolist() for one in result[1:5] if one.target is not None] == [[1]] * 4
    assert len(result.truncated) == 0


def test_texts_are_cut_and_named_where_their_head_alone_is_asked_for() -> None:
    rows = examples(("a b", None), ("a b c d e f g", None), ("a b c d e", None))
    result = encode(rows, replace(CONFIG, options=ClassificationOptions(long_texts="head")))
    assert [len(one) for one in result] == [4, 7, 7]
    assert result.truncated.tolist() == [1]


def test_nothing_is_divided_without_a_maximum_length() -> None:
    result = encode(examples(("a " * 99, None)), replace(CONFIG, max_length=None))
    assert len(result) == 1
    assert len(result[0]) == 101


def test_pairs_are_encoded_with_their_second_text() -> None:
    result = encode([Example(text="a b", text_pair="c")], replace(CONFIG, pairs=True))
    assert result[0].token_type_ids.tolist() == [0, 0, 0, 0, 1, 1]
    with pytest.raises(DataError, match="pairs of texts"):
        encode([Example(text="a b")], replace(CONFIG, pairs=True))
    with pytest.raises(DataError, match="single texts"):
        encode([Example(text="a", text_pair="b")])


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
        flat = logits_of(module, packed(texts))
        square = logits_of(module, padded(texts, pad_id=0))
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
    module = TASK.build(ENCODER, replace(CONFIG, options=ClassificationOptions(class_weights=weights))).eval()
    texts = encoded(5, 13, 1, 7, 9, labels=[0, 2, 1, 1, 2])
    whole = TASK.loss(module, packed(texts))["classification"]
    pieces = [TASK.loss(module, packed(part))["classification"] for part in (texts[:1], texts[1:4], texts[4:])]
    torch.testing.assert_close(sum(part.total for part in pieces), whole.total)
    torch.testing.assert_close(sum(part.weight for part in pieces), whole.weight)
    reference = nn.CrossEntropyLoss(weight=None if weights is None else torch.tensor(weights))
    with torch.no_grad():
        logits = logits_of(module, packed(texts))
    torch.testing.assert_close(whole.total.detach() / whole.weight, reference(logits, torch.tensor([0, 2, 1, 1, 2])))


def test_the_windows_of_a_text_are_learnt_from_as_one_text() -> None:
    """The loss of a long text is that of the mean of its windows' logits, which is what answers are made of."""
    torch.manual_seed(0)
    module = TASK.build(ENCODER, CONFIG).eval()
    rows = examples(("a b", "bad"), ("a b c d e f g h i j k l", "so-so"))
    found = encode(rows, labelled=True)
    batch = packed(found)
    assert batch.example_count == 2
    part = TASK.loss(module, batch)["classification"]
    with torch.no_grad():
        outputs = TASK.outputs(module, batch, CONFIG)
    answers = [
        TASK.answer(outputs[:1], found[:1], rows[0], CONFIG),
        TASK.answer(outputs[1:], found[1:], rows[1], CONFIG),
    ]
    expected = nn.functional.cross_entropy(torch.from_numpy(np.stack(answers)), torch.tensor([0, 2]), reduction="sum")
    torch.testing.assert_close(part.total.detach(), expected)
    assert part.weight == 2


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
    both = with_methods(TASK, [agreeing(lambda module, batch: module(batch)), doubled])
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


def logarithms(*rows: Sequence[float]) -> list[np.ndarray]:
    """Return answers whose probabilities are these."""
    return list(np.log(np.array(rows, dtype=np.float32)))


def test_probabilities_are_sharpened_by_the_temperature() -> None:
    assert TASK.probabilities is not None
    logits = np.array([1.0, 2.0, 4.0], dtype=np.float32)
    plain = TASK.probabilities([logits], CONFIG)
    np.testing.assert_allclose(plain[0], torch.from_numpy(logits).softmax(dim=-1).numpy(), rtol=1e-6)
    cooled = TASK.probabilities([logits], replace(CONFIG, temperature=2.0))
    np.testing.assert_allclose(cooled[0], torch.from_numpy(logits / 2).softmax(dim=-1).numpy(), rtol=1e-6)
    assert TASK.probabilities([], CONFIG).shape == (0, 3)


def test_decoding_names_the_most_probable_label_and_all_scores() -> None:
    answers = logarithms([0.25, 0.5, 0.25], [0.75, 0.125, 0.125])
    first, second = TASK.decode(answers, examples(("a", None), ("b", None)), CONFIG)
    assert (first.label, first.score) == ("good", pytest.approx(0.5))
    assert second.scores == pytest.approx({"bad": 0.75, "good": 0.125, "so-so": 0.125})
    assert second.label == "bad"


def test_scores_hold_predictions_against_the_labels() -> None:
    answers = logarithms([0.2, 0.7, 0.1], [0.8, 0.1, 0.1], [0.1, 0.6, 0.3], [0.1, 0.1, 0.8])
    rows = examples(("a", "good"), ("b", "bad"), ("c", "so-so"), ("d", "so-so"))
    metrics = TASK.score(answers, rows, CONFIG)
    assert metrics["accuracy"] == 0.75
    assert TASK.main_metric in metrics
    assert TASK.greater_is_better
    with pytest.raises(DataError, match="no examples"):
        TASK.score([], [], CONFIG)
    with pytest.raises(DataError, match="label"):
        TASK.score(answers[:1], examples(("a", "unheard")), CONFIG)


def test_metrics_that_rank_are_the_same_from_the_evidence() -> None:
    answers = logarithms([0.2, 0.7, 0.1], [0.8, 0.1, 0.1], [0.1, 0.6, 0.3], [0.1, 0.1, 0.8])
    rows = examples(("a", "good"), ("b", "bad"), ("c", "so-so"), ("d", "so-so"))
    scores, evidence = TASK.score(answers, rows, CONFIG), TASK.evidence(answers, rows, CONFIG)
    assert evidence.shape == (4, len(TASK.evidence_columns(CONFIG)))
    for name, metric in TASK.metrics(CONFIG).items():
        assert metric.of(evidence) == pytest.approx(scores[name])
        assert metric.statistics is not None
        assert metric.of_sums is not None
        assert metric.of_sums(metric.statistics(evidence).sum(axis=0, keepdims=True))[0] == pytest.approx(scores[name])


def test_answering_with_one_label_is_not_learning() -> None:
    def learnt(predicted: Sequence[int]) -> bool:
        rows = [[1, predicted[0], 0.9], [1, predicted[1], 0.9], [0, predicted[2], 0.9]]
        return not TASK.did_not_learn(np.array(rows), CONFIG)

    assert not learnt((1, 1, 1))
    assert not learnt((0, 0, 1))
    assert learnt((1, 1, 0))


def test_macro_f1_ranks_when_one_class_is_more_than_three_times_another() -> None:
    assert TASK.ranking_metric(CONFIG, {"a": 300, "b": 100}, []) == "accuracy"
    assert TASK.ranking_metric(CONFIG, {"a": 301, "b": 100}, []) == "macro_f1"
    assert TASK.ranking_metric(CONFIG, {"a": 301, "b": 200, "c": 0}, []) == "macro_f1"
    assert TASK.ranking_metric(CONFIG, {"a": 7}, []) == "accuracy"


def test_the_record_answers_for_anything_called_like_its_module() -> None:
    """`outputs` and `loss` ask no more of a module than to be called with a batch."""
    logits = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]])

    class Fixed(nn.Module):
        def forward(self, batch: Batch) -> torch.Tensor:
            return logits[: len(batch)]

    part = TASK.loss(Fixed(), packed(encoded(3, 4, labels=[1, 0])))["classification"]
    torch.testing.assert_close(part.total, nn.functional.cross_entropy(logits, torch.tensor([1, 0]), reduction="sum"))
