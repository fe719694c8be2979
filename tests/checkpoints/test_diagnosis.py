from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from albertine.checkpoints.diagnosis import GENERAL_STEP, likely_cause
from albertine.checkpoints.huggingface import LayoutName, ReadConfig
from albertine.checkpoints.layouts import LAYOUTS
from albertine.checkpoints.matching import match
from albertine.checkpoints.source import StoredTensor
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel

# fmt: off
BERT = EncoderConfig(vocab_size=21128, hidden_size=24, num_hidden_layers=4, num_attention_heads=3, intermediate_size=40,
                     embedding_size=24)
ALBERT = replace(BERT, embedding_size=6, share="all", projection="always", num_hidden_groups=2)
# fmt: on

Shapes = dict[str, tuple[int, ...]]


class Entries:
    """A source of which only names, shapes and types are known: reading it fails."""

    path = Path("weights")

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype = torch.float32) -> None:
        self.entries = {name: StoredTensor(shape=shape, dtype=dtype) for name, shape in shapes.items()}

    def copy(self, name: str, into: torch.Tensor) -> None:
        raise AssertionError(f"{name} was read")


def expected_shapes(config: EncoderConfig, *, heads: bool = False, labels: int = 0) -> dict[str, torch.Size]:
    with torch.device("meta"):
        model = PretrainingModel(config, masked_word=heads, pair=heads)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if labels:
        shapes |= {
            "classifier.weight": torch.Size((labels, config.hidden_size)),
            "classifier.bias": torch.Size((labels,)),
        }
    return shapes


def file_of(config: EncoderConfig, layout: LayoutName, *, labels: int = 0) -> Shapes:
    """The shapes by names of a file that fits the configuration."""
    shapes = expected_shapes(config, labels=labels)
    places = LAYOUTS[layout].places(shapes, config)
    return {
        place.name: tuple(shapes[name])[::-1] if place.transposed else tuple(shapes[name])
        for name, place in places.items()
    }


def cause(
    config: EncoderConfig, layout: LayoutName, file: Shapes, *, dtype: torch.dtype = torch.float32, labels: int = 0
) -> str:
    source = Entries(file, dtype)
    found = match(source, expected_shapes(config, labels=labels), config, layout)
    return likely_cause(found, source, ReadConfig(config=config, layout=layout, ours=False))


def renamed(shapes: Shapes, change: Callable[[str], str]) -> Shapes:
    return {change(name): shape for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("rows", "wanted", "parts"),
    [
        (30522, 21128, ["30,522 entries (English BERT, uncased)", "21,128 entries (Chinese BERT and ALBERT)"]),
        (28996, 30522, ["28,996 entries (English BERT, cased)", "30,522"]),
        (119547, 30000, ["119,547 entries (multilingual BERT, cased)", "30,000 entries (English ALBERT)"]),
        (21127, 21128, ["21,127 entries,", "21,128"]),
    ],
)
@pytest.mark.parametrize(("config", "layout"), [(BERT, "bert"), (ALBERT, "albert"), (BERT, "google-bert")])
def test_another_vocabulary_is_named_with_both_sizes(
    config: EncoderConfig, layout: LayoutName, rows: int, wanted: int, parts: list[str]
) -> None:
    file = file_of(replace(config, vocab_size=rows), layout)
    said = cause(replace(config, vocab_size=wanted), layout, file)
    assert all(part in said for part in parts)
    assert "vocabulary" in said


@pytest.mark.parametrize("layout", ["albert", "google-albert"])
def test_swapped_embedding_and_hidden_sizes_are_recognised(layout: LayoutName) -> None:
    swapped = replace(ALBERT, embedding_size=24, hidden_size=6)
    assert "embedding_size and hidden_size seem to be swapped" in cause(swapped, layout, file_of(ALBERT, layout))


def test_another_width_is_named() -> None:
    said = cause(BERT, "bert", file_of(replace(BERT, embedding_size=36, hidden_size=36), "bert"))
    assert "36 wide" in said
    assert "24" in said
    assert "another size" in said


@pytest.mark.parametrize("layout", ["bert", "google-bert"])
@pytest.mark.parametrize("layers", [1, 3, 5, 12])
def test_another_number_of_layers_is_named(layout: LayoutName, layers: int) -> None:
    said = cause(BERT, layout, file_of(replace(BERT, num_hidden_layers=layers), layout))
    assert f"The file has {layers} layer{'s' * (layers > 1)}, the configuration says 4" in said


def test_one_part_of_several_is_recognised() -> None:
    file = {name: shape for name, shape in file_of(BERT, "bert").items() if ".layer.2." in name or ".layer.3." in name}
    said = cause(BERT, "bert", file)
    assert "Only the layers 2 to 3 of 4" in said
    assert "index file" in said


@pytest.mark.parametrize("layout", ["albert", "google-albert"])
@pytest.mark.parametrize(("groups", "inner"), [(1, 1), (3, 1), (2, 2), (1, 4)])
def test_other_groups_or_inner_blocks_are_named(layout: LayoutName, groups: int, inner: int) -> None:
    file = file_of(replace(ALBERT, num_hidden_groups=groups, inner_group_num=inner), layout)
    said = cause(ALBERT, layout, file)
    assert f"{groups} group{'s' * (groups > 1)} with {inner} inner block{'s' * (inner > 1)}" in said
    assert "says 2 groups with 1 inner block" in said


def test_our_own_form_counts_its_blocks() -> None:
    pre = replace(BERT, norm_placement="pre")
    said = cause(pre, "albertine", file_of(replace(pre, num_hidden_layers=7), "albertine"))
    assert "7 attention blocks, the configuration asks for 4" in said


def test_an_albert_file_under_a_bert_configuration_is_recognised() -> None:
    assert "an ALBERT's" in cause(BERT, "bert", file_of(ALBERT, "albert"))
    assert "configuration a BERT's" in cause(BERT, "bert", file_of(ALBERT, "albert"))
    assert "configuration a BERT's" in cause(BERT, "google-bert", file_of(ALBERT, "google-albert"))


def test_a_bert_file_under_an_albert_configuration_is_recognised() -> None:
    assert "configuration an ALBERT's" in cause(ALBERT, "albert", file_of(BERT, "bert"))
    assert "configuration an ALBERT's" in cause(ALBERT, "google-albert", file_of(BERT, "google-bert"))


def test_a_head_of_other_labels_is_told_from_a_broken_encoder() -> None:
    said = cause(BERT, "bert", file_of(BERT, "bert", labels=5), labels=3)
    assert "Only the fine-tuned head differs" in said
    assert "5 labels" in said
    assert "has 3" in said


def test_a_missing_head_is_told_from_a_broken_encoder() -> None:
    said = cause(ALBERT, "albert", file_of(ALBERT, "albert"), labels=3)
    assert "The encoder is complete" in said
    assert "classifier.bias" in said


@pytest.mark.parametrize(("layout", "config"), [("bert", BERT), ("albert", ALBERT), ("google-bert", BERT)])
@pytest.mark.parametrize("rows", [128, 514, 1024])
def test_another_longest_text_is_named(layout: LayoutName, config: EncoderConfig, rows: int) -> None:
    said = cause(config, layout, file_of(replace(config, max_position_embeddings=rows), layout))
    assert f"Set max_position_embeddings to {rows}" in said
    assert ("RoBERTa" in said) == (rows == 514)


@pytest.mark.parametrize(("rows", "hint"), [(16, "Google's BERT code"), (1, "RoBERTa"), (3, "has 3 rows")])
def test_another_number_of_segments_is_named(rows: int, hint: str) -> None:
    said = cause(BERT, "bert", file_of(replace(BERT, type_vocab_size=rows), "bert"))
    assert f"Set type_vocab_size to {rows}" in said
    assert hint in said


def test_another_width_of_a_smaller_table_is_named() -> None:
    file = file_of(BERT, "bert")
    file["bert.embeddings.position_embeddings.weight"] = (512, 32)
    assert "32 wide" in cause(BERT, "bert", file)


@pytest.mark.parametrize("layout", ["bert", "google-bert"])
def test_another_feed_forward_width_is_named(layout: LayoutName) -> None:
    said = cause(BERT, layout, file_of(replace(BERT, intermediate_size=96), layout))
    assert "Set intermediate_size to 96" in said


# The names are those that the libraries write; one of each architecture's attention parts.
FOREIGN = {
    "RoBERTa": ["roberta.encoder.layer.0.attention.self.query.weight", "lm_head.dense.weight"],
    "DistilBERT": [
        "distilbert.embeddings.word_embeddings.weight",
        "distilbert.transformer.layer.0.attention.q_lin.bias",
    ],
    "ELECTRA": ["electra.encoder.layer.0.attention.self.query.weight", "discriminator_predictions.dense.weight"],
    "GPT-2": ["wte.weight", "wpe.weight", "h.0.attn.c_attn.weight", "h.0.mlp.c_fc.weight"],
    "DeBERTa": ["deberta.encoder.layer.0.attention.self.query_proj.weight", "deberta.encoder.rel_embeddings.weight"],
    "T5": ["encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"],
    "MPNet": ["encoder.layer.0.attention.attn.q.weight", "embeddings.word_embeddings.weight"],
    "ModernBERT": ["model.layers.0.attn.Wqkv.weight", "model.embeddings.tok_embeddings.weight"],
    "BART": ["model.encoder.layers.0.self_attn.k_proj.weight", "model.shared.weight"],
    "Llama": ["model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight"],
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("layout", ["bert", "albert"])
def test_another_architecture_is_named(name: str, layout: LayoutName) -> None:
    config = {"bert": BERT, "albert": ALBERT}[layout]
    said = cause(config, layout, dict.fromkeys(FOREIGN[name], (24, 24)))
    assert f"those of {name}" in said
    assert "another architecture" in said


def test_a_whole_roberta_is_not_taken_for_a_bert_inside_another_model() -> None:
    file = renamed(file_of(BERT, "bert"), lambda name: name.replace("bert.", "roberta.", 1))
    assert "RoBERTa" in cause(BERT, "bert", file)


@pytest.mark.parametrize("prefix", ["model.", "0.auto_model.", "text.encoder."])
def test_an_encoder_inside_another_model_is_found_by_its_prefix(prefix: str) -> None:
    said = cause(BERT, "bert", renamed(file_of(BERT, "bert"), lambda name: prefix + name.removeprefix("bert.")))
    assert repr(prefix) in said
    said = cause(ALBERT, "albert", renamed(file_of(ALBERT, "albert"), lambda name: prefix + name))
    assert repr(f"{prefix}albert.") in said


def test_googles_names_in_a_file_of_hugging_faces_form_are_recognised() -> None:
    said = cause(BERT, "bert", file_of(BERT, "google-bert"))
    assert "Google's TensorFlow code" in said
    assert "Google's TensorFlow code" in cause(ALBERT, "albert", file_of(ALBERT, "google-albert"))
    assert "Google's TensorFlow code" not in cause(BERT, "google-bert", file_of(ALBERT, "google-albert"))


def test_a_head_alone_is_recognised() -> None:
    for names in (["classifier.weight", "classifier.bias"], ["linear.weight", "linear.bias"],
                  ["cls.predictions.bias", "cls.predictions.transform.dense.weight"]):  # fmt: skip
        assert "a head only" in cause(BERT, "bert", dict.fromkeys(names, (3, 24)))


def test_an_adapter_alone_and_one_beside_its_model_are_told_apart() -> None:
    layer = "base_model.model.bert.encoder.layer.{}.attention.self.query"
    lora = {f"{layer.format(index)}.lora_{part}.weight": (8, 24) for index in range(4) for part in "AB"}
    assert "an adapter only" in cause(BERT, "bert", lora)
    base = renamed(
        file_of(BERT, "bert"), lambda name: f"base_model.model.{name}".replace("query.", "query.base_layer.")
    )
    assert "unmerged" in cause(BERT, "bert", base | lora)
    assert "merge_and_unload" in cause(BERT, "bert", base | lora)


def test_quantized_weights_are_recognised_by_their_type_or_their_scales() -> None:
    file = file_of(BERT, "bert")
    del file["bert.encoder.layer.0.attention.self.query.weight"]
    assert "quantized to int8" in cause(BERT, "bert", file, dtype=torch.int8)
    file["bert.encoder.layer.0.attention.self.query.qweight"] = (3, 24)
    assert "quantized (bert.encoder.layer.0" in cause(BERT, "bert", file)


def test_an_empty_file_is_named() -> None:
    assert "no tensors at all" in cause(BERT, "bert", {})


@pytest.mark.parametrize(
    "file",
    [
        {"a": (1,), "b.c": (2, 3)},
        {
            name: shape
            for name, shape in file_of(BERT, "bert").items()
            if not name.endswith("layer.1.output.dense.bias")
        },
        {**file_of(BERT, "bert"), "bert.encoder.layer.0.attention.self.query.weight": (24, 25)},
    ],
    ids=["unknown names", "one tensor lacks", "one odd shape"],
)
def test_nothing_is_claimed_where_nothing_is_known(file: Shapes) -> None:
    assert cause(BERT, "bert", file) == GENERAL_STEP


def test_a_foreign_part_beside_an_encoder_is_not_blamed() -> None:
    file = {**file_of(BERT, "bert"), "vision_model.conv.weight": (3, 3), "bert.encoder.layer.0.output.dense.bias": (3,)}
    assert cause(BERT, "bert", file) == GENERAL_STEP


@pytest.mark.parametrize("layout", ["bert", "google-bert"])
def test_no_sentence_ends_with_a_full_stop_because_the_message_adds_one(layout: LayoutName) -> None:
    for other in (replace(BERT, vocab_size=30522), replace(BERT, num_hidden_layers=2), ALBERT):
        kind: LayoutName = layout if other is not ALBERT else {"bert": "albert"}.get(layout, "google-albert")  # type: ignore[assignment]
        assert not cause(BERT, layout, file_of(other, kind)).endswith(".")
