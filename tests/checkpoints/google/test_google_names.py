from __future__ import annotations

import pytest
import torch

from albertine.checkpoints.google.names import (
    GoogleLayout,
    canonical_google,
    detect_layout,
    google_head,
    google_places,
    is_google_extra,
)
from albertine.checkpoints.names import Place
from albertine.checkpoints.source import StoredTensor
from albertine.errors import CheckpointError
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel

SIZES = {
    "vocab_size": 11,
    "hidden_size": 6,
    "num_hidden_layers": 5,
    "num_attention_heads": 3,
    "intermediate_size": 7,
    "max_position_embeddings": 13,
}
BERT = EncoderConfig(**SIZES, embedding_size=6)
ALBERT = EncoderConfig(**SIZES, embedding_size=4, share="all", num_hidden_groups=2, inner_group_num=3)
BRIGHTMART = EncoderConfig(**SIZES, embedding_size=4, share="all", embedding_norm_width="hidden", projection_bias=False)
CONFIGS: dict[GoogleLayout, EncoderConfig] = {
    "google-bert": BERT,
    "google-albert": ALBERT,
    "brightmart-albert": BRIGHTMART,
}
TABLES = ["word", "position", "token_type"]


def dense(scope: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{scope}/kernel": (rows, columns), f"{scope}/bias": (columns,)}


def norm(scope: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{scope}/gamma": (width,), f"{scope}/beta": (width,)}


def bert_layer(scope: str) -> dict[str, tuple[int, ...]]:
    parts = [dense(f"{scope}/attention/self/{part}", 6, 6) for part in ("query", "key", "value")]
    parts += [dense(f"{scope}/attention/output/dense", 6, 6), norm(f"{scope}/attention/output/LayerNorm", 6)]
    parts += [dense(f"{scope}/intermediate/dense", 6, 7), dense(f"{scope}/output/dense", 7, 6)]
    return {name: shape for part in [*parts, norm(f"{scope}/output/LayerNorm", 6)] for name, shape in part.items()}


def albert_layer(scope: str) -> dict[str, tuple[int, ...]]:
    parts = [dense(f"{scope}/attention_1/self/{part}", 6, 6) for part in ("query", "key", "value")]
    parts += [dense(f"{scope}/attention_1/output/dense", 6, 6), norm(f"{scope}/LayerNorm", 6)]
    parts += [dense(f"{scope}/ffn_1/intermediate/dense", 6, 7), dense(f"{scope}/ffn_1/intermediate/output/dense", 7, 6)]
    return {name: shape for part in [*parts, norm(f"{scope}/LayerNorm_1", 6)] for name, shape in part.items()}


def original(layout: GoogleLayout) -> dict[str, tuple[int, ...]]:
    """Write down what the original code would save, by hand."""
    width = 4 if layout == "google-albert" else 6
    words = 6 if layout == "google-bert" else 4
    rows = {"word": (11, words), "position": (13, width), "token_type": (2, width)}
    names: dict[str, tuple[int, ...]] = {f"bert/embeddings/{table}_embeddings": rows[table] for table in TABLES}
    names |= norm("bert/embeddings/LayerNorm", width)
    if layout == "google-bert":
        for layer in range(5):
            names |= bert_layer(f"bert/encoder/layer_{layer}")
    elif layout == "google-albert":
        names |= dense("bert/encoder/embedding_hidden_mapping_in", 4, 6)
        for group in range(2):
            for inner in range(3):
                names |= albert_layer(f"bert/encoder/transformer/group_{group}/inner_group_{inner}")
    else:
        names["bert/embeddings/word_embeddings_2"] = (4, 6)
        names |= bert_layer("bert/encoder/layer_shared")
    names |= dense("bert/pooler/dense", 6, 6)
    names |= dense("cls/predictions/transform/dense", 6, width) | norm("cls/predictions/transform/LayerNorm", width)
    names |= {"cls/predictions/output_bias": (11,)}
    return names | {"cls/seq_relationship/output_weights": (2, 6), "cls/seq_relationship/output_bias": (2,)}


def stored(shapes: dict[str, tuple[int, ...]]) -> dict[str, StoredTensor]:
    return {name: StoredTensor(shape=shape, dtype=torch.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("layout", CONFIGS)
def test_every_tensor_has_the_variable_and_shape_of_the_original_code(layout: GoogleLayout) -> None:
    ours = {name: tuple(tensor.shape) for name, tensor in PretrainingModel(CONFIGS[layout]).state_dict().items()}
    places = google_places(ours, CONFIGS[layout], layout)
    assert list(places) == list(ours)
    shapes = {place.name: ours[name][::-1] if place.transposed else ours[name] for name, place in places.items()}
    assert shapes == original(layout)


@pytest.mark.parametrize("layout", CONFIGS)
def test_the_layout_is_seen_from_the_names(layout: GoogleLayout) -> None:
    assert detect_layout(original(layout), where="x") == layout


@pytest.mark.parametrize("layout", CONFIGS)
@pytest.mark.parametrize("scope", ["module/", "siamese/encoder_a/module_1/"])
def test_a_scope_in_front_does_not_matter(scope: str, layout: GoogleLayout) -> None:
    names = [scope + name for name in original(layout)]
    assert [canonical_google(name) for name in names] == list(original(layout))
    assert detect_layout(names, where="x") == layout


@pytest.mark.parametrize("layout", CONFIGS)
@pytest.mark.parametrize("scope", ["", "albert/", "model/text/"])
def test_a_missing_or_renamed_bert_scope_does_not_matter(scope: str, layout: GoogleLayout) -> None:
    names = [scope + name.removeprefix("bert/") for name in original(layout)]
    assert [canonical_google(name) for name in names] == list(original(layout))
    assert detect_layout(names, where="x") == layout


def test_the_fine_tuned_heads_of_googles_scripts_have_places() -> None:
    ours = ["classifier.weight", "classifier.bias", "qa_outputs.weight", "qa_outputs.bias"]
    assert list(google_places(ours, BERT, "google-bert").values()) == [
        Place(name="output_weights"),
        Place(name="output_bias"),
        Place(name="cls/squad/output_weights"),
        Place(name="cls/squad/output_bias"),
    ]


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("google-bert", "encoder.embeddings.projection.weight"),
        ("google-bert", "encoder.attention_blocks.5.query.weight"),
        ("google-albert", "encoder.feed_forward_blocks.6.output.bias"),
        ("brightmart-albert", "encoder.embeddings.projection.bias"),
        ("brightmart-albert", "encoder.attention_blocks.1.query.weight"),
        ("google-bert", "masked_word_head.decoder.weight"),
        ("google-bert", "pooling.dense.0.weight"),
    ],
)
def test_a_tensor_without_a_place_is_refused_by_name(layout: GoogleLayout, name: str) -> None:
    with pytest.raises(CheckpointError, match="has no variable for this tensor") as caught:
        google_places([name], CONFIGS[layout], layout)
    assert caught.value.where == name


def test_names_of_tensorflow_2_objects_are_refused() -> None:
    names = ["_CHECKPOINTABLE_OBJECT_GRAPH", "model/layer-1/_embedding/.ATTRIBUTES/VARIABLE_VALUE"]
    for given in (names, names[:1], names[1:]):
        with pytest.raises(CheckpointError, match="TensorFlow 2 checkpoint") as caught:
            detect_layout(given, where="model.ckpt")
        assert caught.value.next_step


def test_two_encoders_in_one_checkpoint_are_refused() -> None:
    names = [f"{tower}/{name}" for tower in ("a", "b") for name in original("google-bert")]
    with pytest.raises(CheckpointError, match="several encoders") as caught:
        detect_layout(names, where="x")
    assert caught.value.received == "a/bert/embeddings/word_embeddings, b/bert/embeddings/word_embeddings"


def test_other_models_and_mixtures_are_refused() -> None:
    with pytest.raises(CheckpointError, match="not a BERT or an ALBERT"):
        detect_layout(["model/h0/attn/c_attn/w", "model/wte"], where="x")
    with pytest.raises(CheckpointError, match="not a BERT or an ALBERT"):
        detect_layout([], where="x")
    mixed = ["bert/encoder/layer_0/output/dense/bias", "bert/encoder/transformer/group_0/inner_group_0/LayerNorm/beta"]
    with pytest.raises(CheckpointError, match="two different architectures"):
        detect_layout(mixed, where="x")


@pytest.mark.parametrize(
    "name",
    [
        "cls/predictions/output_bias",
        "cls/seq_relationship/output_weights",
        "cls/squad/output_bias",
        "output_weights",
        "output_bias",
        "start_logits/dense/kernel",
        "end_logits/LayerNorm/gamma",
        "answer_class/dense_1/kernel",
        "loss/LayerNorm/beta",
    ],
)
def test_heads_are_known_extras(name: str) -> None:
    assert is_google_extra(name)


@pytest.mark.parametrize(
    "name", ["bert/encoder/layer_3/output/dense/kernel", "bert/pooler/dense/bias", "crf_loss/transitions", "output_w"]
)
def test_parts_of_the_encoder_and_unknown_heads_are_no_known_extras(name: str) -> None:
    assert not is_google_extra(name)


def test_a_classifier_is_seen_with_as_many_labels_as_it_has_rows() -> None:
    found = google_head(stored({**original("google-bert"), "output_weights": (3, 6), "output_bias": (3,)}))
    assert found is not None
    assert (found.task, found.module) == ("text-classification", "classifier")
    assert found.labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_a_squad_head_is_seen() -> None:
    squad: dict[str, tuple[int, ...]] = {"cls/squad/output_weights": (2, 6), "cls/squad/output_bias": (2,)}
    found = google_head(stored({**original("google-bert"), **squad}))
    assert found is not None
    assert (found.task, found.labels, found.module) == ("question-answering", ("start", "end"), "qa_outputs")


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"output_weights": (3, 6)},
        {"output_weights": (3, 6), "output_bias": (4,)},
        {"output_weights": (3,), "output_bias": (3,)},
        {"output_weights": (1 << 40, 0), "output_bias": (1 << 40,)},
        {"output_weights": (3, 6), "output_bias": (3,), "loss/LayerNorm/gamma": (6,), "loss/LayerNorm/beta": (6,)},
        {"cls/squad/output_weights": (5, 6), "cls/squad/output_bias": (5,)},
    ],
)
def test_heads_of_other_forms_are_left_alone(extra: dict[str, tuple[int, ...]]) -> None:
    assert google_head(stored({**original("google-bert"), **extra})) is None
