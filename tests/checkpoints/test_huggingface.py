from __future__ import annotations

import json

import pytest

from albertine.checkpoints.huggingface import config_from_json, config_to_json, differences, model_type
from albertine.errors import CheckpointError
from albertine.models.config import EncoderConfig, preset_names

BERT = {
    "model_type": "bert",
    "vocab_size": 99,
    "hidden_size": 12,
    "num_hidden_layers": 7,
    "num_attention_heads": 3,
    "intermediate_size": 29,
}
ALBERT = {**BERT, "model_type": "albert", "embedding_size": 5}


def read(values: dict[str, object]) -> EncoderConfig:
    return config_from_json(values, where="config.json").config


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_comes_back_from_its_json(name: str) -> None:
    config = EncoderConfig.preset(name)
    values = json.loads(json.dumps(config_to_json(config)))
    got = config_from_json(values, where="config.json")
    assert got.config == config
    assert got.ours
    assert (got.foreign_keys, got.ignored_keys, got.notes) == ((), (), ())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert-base", "bert"),
        ("albert-base", "albert"),
        ("albert-chinese-tiny", "albert"),
        ("bert-chinese-tiny", "bert"),
        ("transformer-base", "albertine"),
    ],
)
def test_the_model_type_is_the_one_that_computes_the_same(name: str, expected: str) -> None:
    assert model_type(EncoderConfig.preset(name)) == expected
    assert config_to_json(EncoderConfig.preset(name))["model_type"] == expected


@pytest.mark.parametrize(
    ("kind", "overrides"),
    [
        ("bert", {"norm_placement": "pre"}),
        ("bert", {"position_embedding": "sinusoidal"}),
        ("bert", {"type_vocab_size": 0}),
        ("bert", {"embedding_norm_width": "none"}),
        ("bert", {"inner_group_num": 2}),
        ("bert", {"share": "all"}),
        ("bert", {"share": "attention"}),
        ("albert", {"share": "feed-forward"}),
        ("albert", {"projection_bias": False}),
        ("albert", {"embedding_norm_width": "hidden"}),
        ("albert", {"embedding_size": 768}),
        ("albert", {"num_hidden_layers": 18, "num_hidden_groups": 14}),
    ],
)
def test_one_differing_field_makes_it_another_model(kind: str, overrides: dict[str, str | int | bool]) -> None:
    base, changed = (EncoderConfig.preset(f"{kind}-base", **more) for more in ({}, overrides))
    assert model_type(base) == kind
    assert model_type(changed) == "albertine"
    assert read(config_to_json(changed)) == changed
    named = " ".join(differences(changed, "bert" if kind == "bert" else "albert"))
    assert any(f"{field}=" in named for field in (*overrides, "projection"))


def test_an_unsaid_value_is_what_transformers_takes_for_it() -> None:
    bert = read(BERT)
    assert (bert.hidden_act, bert.hidden_dropout_prob, bert.embedding_size) == ("gelu", 0.1, 12)
    assert (bert.share, bert.has_projection, bert.layer_norm_eps) == ("none", False, 1e-12)
    albert = read({key: value for key, value in ALBERT.items() if key != "embedding_size"})
    assert (albert.hidden_act, albert.hidden_dropout_prob, albert.embedding_size) == ("gelu_tanh", 0.0, 128)
    assert (albert.share, albert.projection, albert.classifier_dropout_prob) == ("all", "always", 0.1)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("gelu", "gelu"),
        ("gelu_python", "gelu"),
        ("gelu_new", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("gelu_fast", "gelu_tanh"),
        ("relu", "relu"),
    ],
)
def test_activations_are_translated(theirs: str, ours: str) -> None:
    assert read({**BERT, "hidden_act": theirs}).hidden_act == ours


def test_the_classifiers_dropout_has_two_names_and_may_be_unset() -> None:
    assert read({**BERT, "classifier_dropout": 0.3}).classifier_dropout_prob == 0.3
    assert read({**BERT, "classifier_dropout": None, "hidden_dropout_prob": 0.2}).classifier_dropout_prob == 0.2
    assert read({**ALBERT, "classifier_dropout_prob": 0.4}).classifier_dropout_prob == 0.4
    assert read({**ALBERT, "pad_token_id": None}).pad_token_id == 0


def test_foreign_keys_are_listed_and_bookkeeping_apart() -> None:
    values = {**ALBERT, "transformers_version": "2.1.0", "net_structure_type": 0, "my_own_idea": 3, "another": None}
    got = config_from_json(values, where="config.json")
    assert got.foreign_keys == ("another", "my_own_idea")
    assert got.ignored_keys == ("net_structure_type", "transformers_version")
    assert not got.ours


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "roberta"}, "'roberta'"),
        ({"model_type": "albertine"}, "albertine"),
        ({"hidden_act": "swish"}, "hidden_act"),
        ({"hidden_act": None}, "hidden_act"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"is_decoder": True}, "is_decoder"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ({"hidden_size": 13}, "multiple of num_attention_heads"),
        ({"hidden_size": "12"}, "hidden_size"),
        ({"num_hidden_layers": 18, "num_hidden_groups": 14, "model_type": "albert"}, "num_hidden_groups=14"),
        ({"num_hidden_groups": 9, "model_type": "albert"}, "more groups than layers"),
        ({"albertine": 3}, "an object is expected"),
    ],
)
def test_what_would_compute_something_else_is_refused_by_name(change: dict[str, object], named: str) -> None:
    with pytest.raises(CheckpointError, match=named) as caught:
        read({**BERT, **change})
    assert "config.json" in str(caught.value)


def test_missing_sizes_are_named() -> None:
    with pytest.raises(CheckpointError, match="no vocab_size, no num_attention_heads"):
        read({key: value for key, value in BERT.items() if key not in ("vocab_size", "num_attention_heads")})


def test_an_old_configuration_without_a_model_type_is_recognised() -> None:
    bert = {key: value for key, value in BERT.items() if key != "model_type"}
    got = config_from_json(bert, where="config.json")
    assert (got.layout, got.ours) == ("bert", False)
    assert "no model_type" in got.notes[0]
    assert config_from_json({**bert, "embedding_size": 5}, where="config.json").layout == "albert"


def test_our_own_configurations_are_strict() -> None:
    values = config_to_json(read(ALBERT))
    with pytest.raises(CheckpointError, match=r"hidden_sise \(did you mean hidden_size\?\)"):
        read({**values, "hidden_sise": 12})
    own = values["albertine"]
    assert isinstance(own, dict)
    with pytest.raises(CheckpointError, match="shar"):
        read({**values, "albertine": {**own, "shar": "all"}})
    with pytest.raises(CheckpointError, match="contradicts model_type 'albert'"):
        read({**values, "albertine": {**own, "share": "attention"}})


def test_what_transformers_adds_to_a_configuration_of_ours_is_accepted() -> None:
    values = {**config_to_json(read(BERT)), "dtype": "float32", "transformers_version": "5.0", "id2label": {"0": "a"}}
    got = config_from_json(values, where="config.json")
    assert got.config == read(BERT)
    assert got.ignored_keys == ("dtype", "id2label", "transformers_version")
