from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from albertine.checkpoints.google.config import (
    GOOGLE_LAYOUTS,
    google_config,
    google_differences,
    google_layout,
    read_google_config,
)
from albertine.checkpoints.google.names import GoogleLayout, google_places
from albertine.checkpoints.google.shapes import config_from_shapes, missing_config
from albertine.checkpoints.source import StoredTensor
from albertine.errors import CheckpointError
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel

# As published, key for key: BERT's uncased base, ALBERT's large, brightmart's xxlarge (ln_type as in its archive).
BERT_BASE: dict[str, object] = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "type_vocab_size": 2,
    "vocab_size": 30522,
}
ALBERT_LARGE: dict[str, object] = {
    "attention_probs_dropout_prob": 0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0,
    "embedding_size": 128,
    "hidden_size": 1024,
    "initializer_range": 0.02,
    "intermediate_size": 4096,
    "max_position_embeddings": 512,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "num_hidden_groups": 1,
    "net_structure_type": 0,
    "gap_size": 0,
    "num_memory_blocks": 0,
    "inner_group_num": 1,
    "down_scale_factor": 1,
    "type_vocab_size": 2,
    "vocab_size": 30000,
}
BRIGHTMART_XXLARGE: dict[str, object] = {
    **BERT_BASE,
    "attention_probs_dropout_prob": 0.0,
    "hidden_dropout_prob": 0.0,
    "hidden_size": 4096,
    "embedding_size": 128,
    "intermediate_size": 16384,
    "num_attention_heads": 64,
    "vocab_size": 21128,
    "ln_type": "preln",
    "directionality": "bidi",
    "pooler_fc_size": 1024,
    "pooler_num_attention_heads": 64,
    "pooler_num_fc_layers": 3,
    "pooler_size_per_head": 128,
    "pooler_type": "first_token_transform",
}
PUBLISHED: dict[GoogleLayout, dict[str, object]] = {
    "google-bert": BERT_BASE,
    "google-albert": ALBERT_LARGE,
    "brightmart-albert": BRIGHTMART_XXLARGE,
}


def read(values: dict[str, object], layout: GoogleLayout) -> EncoderConfig:
    return read_google_config(values, layout, where="folder/bert_config.json").config


def test_berts_published_configuration_is_berts_with_the_tanh_form() -> None:
    assert read(BERT_BASE, "google-bert") == EncoderConfig.preset("bert-base", hidden_act="gelu_tanh")


def test_alberts_published_configuration_is_alberts() -> None:
    got = read_google_config(ALBERT_LARGE, "google-albert", where="albert_config.json")
    assert got.config == EncoderConfig.preset("albert-large")
    assert got.layout == "google-albert"
    assert not got.ours
    assert got.ignored_keys == ("down_scale_factor", "gap_size", "net_structure_type", "num_memory_blocks")
    assert (got.foreign_keys, got.notes) == ((), ())


def test_brightmarts_xxlarge_is_pre_norm_at_the_hidden_width() -> None:
    got = read_google_config(BRIGHTMART_XXLARGE, "brightmart-albert", where="albert_config_xxlarge.json")
    assert got.config == EncoderConfig.preset(
        "albert-xxlarge",
        vocab_size=21128,
        embedding_norm_width="hidden",
        projection_bias=False,
        norm_placement="pre",
    )
    assert len(got.ignored_keys) == 6
    assert got.foreign_keys == ()


def test_absent_keys_mean_what_each_class_means_by_them() -> None:
    bert = read_google_config({"vocab_size": 99}, "google-bert", where="a/bert_config.json")
    assert bert.config == EncoderConfig.preset("bert-base", vocab_size=99, type_vocab_size=16, hidden_act="gelu_tanh")
    assert "bert_config.json has no type_vocab_size; 16 is what that means to the original code" in bert.notes
    albert = read({"vocab_size": 30000}, "google-albert")
    assert albert == EncoderConfig.preset("albert-xxlarge")
    chinese = read({"vocab_size": 99, "embedding_size": 12}, "brightmart-albert")
    assert (chinese.norm_placement, chinese.type_vocab_size, chinese.hidden_size) == ("post", 16, 768)


@pytest.mark.parametrize(
    ("layout", "values", "absent"),
    [
        ("google-bert", {"hidden_size": 768}, "vocab_size"),
        ("google-albert", {"vocab_size": None}, "vocab_size"),
        ("brightmart-albert", {"vocab_size": 99}, "embedding_size"),
    ],
)
def test_sizes_without_a_default_must_be_there(layout: GoogleLayout, values: dict[str, object], absent: str) -> None:
    with pytest.raises(CheckpointError, match=f"no {absent}"):
        read(values, layout)


@pytest.mark.parametrize("layout", GOOGLE_LAYOUTS)
@pytest.mark.parametrize(("name", "meant"), [("gelu", "gelu_tanh"), ("GELU", "gelu_tanh"), ("relu", "relu")])
def test_activations(name: str, meant: str, layout: GoogleLayout) -> None:
    assert read({**PUBLISHED[layout], "hidden_act": name}, layout).hidden_act == meant


@pytest.mark.parametrize("layout", GOOGLE_LAYOUTS)
@pytest.mark.parametrize("name", ["tanh", "linear", "", "gelu_new", None, 3])
def test_activations_of_another_kind_are_refused(name: object, layout: GoogleLayout) -> None:
    with pytest.raises(CheckpointError, match="hidden_act: this value computes something else"):
        read({**PUBLISHED[layout], "hidden_act": name}, layout)


def test_dropout_may_be_null_or_whole() -> None:
    config = read({**BERT_BASE, "hidden_dropout_prob": None, "attention_probs_dropout_prob": 0}, "google-bert")
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("layout", "change"),
    [
        ("google-bert", {"hidden_size": "768"}),
        ("google-bert", {"hidden_size": 770}),
        ("google-albert", {"num_hidden_layers": True}),
        ("google-albert", {"num_hidden_layers": 4, "num_hidden_groups": 12}),
        ("google-albert", {"ln_type": "preln"}),
        ("google-bert", {"ln_type": "preln"}),
        ("brightmart-albert", {"ln_type": "sandwich"}),
        ("brightmart-albert", {"num_hidden_groups": 12}),
        ("brightmart-albert", {"inner_group_num": 2}),
    ],
)
def test_values_that_fit_no_model_are_refused_with_their_place(layout: GoogleLayout, change: dict[str, object]) -> None:
    with pytest.raises(CheckpointError) as caught:
        read({**PUBLISHED[layout], **change}, layout)
    assert caught.value.where is not None
    assert any(f"folder/bert_config.json: {key}" == caught.value.where for key in change)


def test_unknown_keys_come_back_by_name() -> None:
    got = read_google_config({**BERT_BASE, "trigram_input": True, "ln_type": "postln"}, "google-bert", where="x")
    assert (got.foreign_keys, got.ignored_keys) == (("trigram_input",), ("ln_type",))


@pytest.mark.parametrize("layers", [22, 23, 26])
def test_layers_that_googles_rounding_groups_otherwise_are_refused(layers: int) -> None:
    values = {**ALBERT_LARGE, "num_hidden_layers": layers, "num_hidden_groups": layers}
    with pytest.raises(CheckpointError, match="Google's rounding") as caught:
        read(values, "google-albert")
    assert caught.value.received == f"num_hidden_layers={layers}, num_hidden_groups={layers}"
    config = replace(EncoderConfig.preset("albert-base"), num_hidden_layers=layers, share="none")
    assert any("num_hidden_groups" in text for text in google_differences(config, "google-albert"))


@pytest.mark.parametrize(("layers", "groups"), [(24, 24), (12, 12), (22, 11), (23, 1), (21, 21), (12, 5)])
def test_other_numbers_of_groups_open(layers: int, groups: int) -> None:
    config = read({**ALBERT_LARGE, "num_hidden_layers": layers, "num_hidden_groups": groups}, "google-albert")
    assert [config.group_of_layer(layer) for layer in range(layers)] == [
        int(layer / layers * groups) for layer in range(layers)
    ]


def test_the_note_of_an_erf_model_is_read_back() -> None:
    erf = EncoderConfig.preset("bert-base")
    values = google_config(erf, "google-bert")
    assert values == {**BERT_BASE, "albertine": {"hidden_act": "gelu"}}
    assert read(values, "google-bert") == erf
    del values["albertine"]
    assert read(values, "google-bert") == replace(erf, hidden_act="gelu_tanh")


def test_a_model_of_googles_own_needs_no_note() -> None:
    for layout, values in PUBLISHED.items():
        written = google_config(read(values, layout), layout)
        assert written.items() <= values.items()
        assert list(written) == sorted(written)


@pytest.mark.parametrize(
    "note",
    [
        {"hidden_size": 12},
        {"num_attention_heads": 6},
        {"hidden_act": "relu"},
        {"layer_norm_eps": 1e-5},
        {"norm_placement": "pre"},
        {"projection": "always"},
        {"share": "all"},
        {"tie_word_embeddings": False},
        {"hiden_act": "gelu"},
        {"pad_token_id": -1},
        "gelu",
        ["hidden_act"],
    ],
)
def test_a_note_that_contradicts_the_file_is_refused(note: object) -> None:
    with pytest.raises(CheckpointError) as caught:
        read({**BERT_BASE, "albertine": note}, "google-bert")
    assert "albertine" in str(caught.value.where)


configurations = st.builds(
    lambda **fields: EncoderConfig(**fields),
    vocab_size=st.integers(5, 40),
    hidden_size=st.sampled_from([6, 12]),
    embedding_size=st.sampled_from([6, 12, 5]),
    num_hidden_layers=st.integers(3, 24),
    num_attention_heads=st.sampled_from([1, 3]),
    intermediate_size=st.integers(1, 40),
    projection=st.sampled_from(["auto", "always"]),
    projection_bias=st.booleans(),
    embedding_norm_width=st.sampled_from(["embedding", "hidden", "none"]),
    num_hidden_groups=st.integers(1, 3),
    inner_group_num=st.integers(1, 2),
    share=st.sampled_from(["all", "none", "attention"]),
    hidden_act=st.sampled_from(["gelu", "gelu_tanh", "relu"]),
    norm_placement=st.sampled_from(["post", "pre"]),
    position_embedding=st.sampled_from(["learned", "sinusoidal"]),
    max_position_embeddings=st.integers(1, 9),
    type_vocab_size=st.integers(0, 3),
    layer_norm_eps=st.sampled_from([1e-12, 1e-5]),
    hidden_dropout_prob=st.sampled_from([0.0, 0.25]),
    classifier_dropout_prob=st.sampled_from([0.0, 0.25]),
    initializer_range=st.sampled_from([0.02, 0.5]),
    pad_token_id=st.integers(0, 4),
    tie_word_embeddings=st.booleans(),
    add_pooler=st.booleans(),
)


@given(config=configurations, layout=st.sampled_from(GOOGLE_LAYOUTS))
def test_what_can_be_written_has_places_and_comes_back_and_the_rest_is_refused(
    config: EncoderConfig, layout: GoogleLayout
) -> None:
    wrong = google_differences(config, layout)
    if wrong:
        with pytest.raises(CheckpointError, match="cannot compute this model") as caught:
            google_config(config, layout)
        assert caught.value.received == ", ".join(wrong)
        return
    values = json.loads(json.dumps(google_config(config, layout)))
    assert read(values, layout) == config
    with torch.device("meta"):
        ours = PretrainingModel(config, pair=config.add_pooler).state_dict()
    places = google_places(ours, config, layout)
    assert len({place.name for place in places.values()}) == len(ours)


@given(config=configurations)
def test_most_models_of_the_right_kind_can_be_written(config: EncoderConfig) -> None:
    plain = replace(
        config,
        position_embedding="learned",
        type_vocab_size=2,
        layer_norm_eps=1e-12,
        tie_word_embeddings=True,
        norm_placement="post",
        projection_bias=True,
        projection="auto",
        embedding_norm_width="embedding",
        share="all",
    )
    assert google_layout(plain) in ("google-albert", "google-bert")
    assert google_differences(replace(plain, embedding_size=5), "google-albert") == ()
    chinese = replace(plain, embedding_size=5, embedding_norm_width="hidden", projection_bias=False)
    if plain.inner_group_num == plain.num_hidden_groups == 1:
        assert google_layout(replace(chinese, norm_placement="pre")) == "brightmart-albert"


@pytest.mark.parametrize(
    ("layout", "change", "field"),
    [
        ("google-bert", {"layer_norm_eps": 1e-5}, "layer_norm_eps=1e-05"),
        ("google-bert", {"type_vocab_size": 0}, "type_vocab_size=0"),
        ("google-bert", {"norm_placement": "pre"}, "norm_placement='pre'"),
        ("google-bert", {"embedding_size": 4}, "embedding_size=4"),
        ("google-bert", {"projection": "always"}, "projection='always'"),
        ("google-bert", {"share": "all"}, "share='all'"),
        ("google-albert", {"projection": "always"}, "projection='always'"),
        ("google-albert", {"embedding_size": 4, "projection_bias": False}, "projection_bias=False"),
        ("google-albert", {"embedding_size": 4, "embedding_norm_width": "hidden"}, "embedding_norm_width='hidden'"),
        ("google-albert", {"share": "attention"}, "share='attention'"),
        ("brightmart-albert", {"share": "all"}, "projection='auto'"),
        ("brightmart-albert", {"share": "none"}, "share='none'"),
        ("brightmart-albert", {"share": "all", "inner_group_num": 2}, "inner_group_num=2"),
        ("brightmart-albert", {"share": "all", "num_hidden_groups": 2}, "share='all'"),
    ],
)
def test_what_keeps_a_model_from_a_layout_is_named(layout: GoogleLayout, change: dict[str, object], field: str) -> None:
    base = EncoderConfig.preset("bert-tiny", hidden_act="gelu_tanh", vocab_size=9, num_hidden_layers=3)
    assert field in google_differences(replace(base, **change), layout)  # type: ignore[arg-type]


def test_a_model_of_no_layout_is_refused_with_the_reasons_for_each() -> None:
    with pytest.raises(CheckpointError, match="no original TensorFlow code") as caught:
        google_layout(EncoderConfig.preset("transformer-base"))
    assert all(f"not {layout}: " in str(caught.value.received) for layout in GOOGLE_LAYOUTS)


def entries_of(config: EncoderConfig, layout: GoogleLayout) -> dict[str, StoredTensor]:
    with torch.device("meta"):
        ours = PretrainingModel(config).state_dict()
    places = google_places(ours, config, layout)
    return {
        places[name].name: StoredTensor(
            shape=tuple(tensor.t().shape if places[name].transposed else tensor.shape), dtype=torch.float32
        )
        for name, tensor in ours.items()
    }


@pytest.mark.parametrize(
    ("layout", "change", "guessed", "preset"),
    [
        ("google-bert", {}, ("num_attention_heads",), "bert-base"),
        ("google-bert", {"hidden_size": 60, "num_attention_heads": 12}, ("num_attention_heads",), None),
        (
            "google-albert",
            {"num_hidden_groups": 2, "inner_group_num": 2},
            ("num_attention_heads", "num_hidden_layers"),
            "albert-large",
        ),
        (
            "brightmart-albert",
            {"num_hidden_layers": 12, "ln_type": "postln"},
            ("num_attention_heads", "num_hidden_layers", "ln_type"),
            "albert-xxlarge",
        ),
    ],
)
def test_a_missing_configuration_is_put_together_from_the_shapes(
    layout: GoogleLayout, change: dict[str, object], guessed: tuple[str, ...], preset: str | None
) -> None:
    config = read({**PUBLISHED[layout], **change}, layout)
    entries = entries_of(config, layout)
    shaped = config_from_shapes({f"module/{name}": entry for name, entry in entries.items()}, layout, where="x")
    assert (shaped.guessed, shaped.preset) == (guessed, preset)
    dropout = config.hidden_dropout_prob  # which no tensor tells
    got = read(dict(shaped.values), layout)
    assert replace(got, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout) == config
    error = missing_config(entries, layout, where="folder")
    text = str(error)
    found = json.loads(text[text.index("{") : text.index("}") + 1])
    assert found == shaped.values
    for key in guessed:
        assert key in text[text.index("}") :]


def test_a_checkpoint_without_the_tables_gives_no_configuration() -> None:
    entries = entries_of(EncoderConfig.preset("bert-tiny"), "google-bert")
    del entries["bert/embeddings/position_embeddings"]
    with pytest.raises(CheckpointError, match="bert/embeddings/position_embeddings") as caught:
        missing_config(entries, "google-bert", where="folder")
    assert caught.value.received == "no such tensor"
