from __future__ import annotations

import dataclasses
import json
from typing import get_args, get_type_hints

import pytest
import torch

from albertine.errors import ConfigError
from albertine.models.config import (
    EncoderConfig,
    PassBlocks,
    PretrainingChoices,
    count_parameters,
    flops_per_token,
    preset_names,
    pretraining_choices,
)
from albertine.models.encoder import Encoder
from albertine.models.presets import find_preset

SMALL: dict[str, str | int | float | bool] = {
    "vocab_size": 99,
    "hidden_size": 24,
    "num_hidden_layers": 6,
    "num_attention_heads": 3,
    "intermediate_size": 37,
    "embedding_size": 13,
}


def small(**overrides: str | int | float | bool) -> EncoderConfig:
    return EncoderConfig.from_dict({**SMALL, **overrides})


def stored_numbers(config: EncoderConfig) -> int:
    """Count what a real module stores, without spending the memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Encoder(config).parameters())


PUBLISHED = {
    "bert-tiny": 4_385_920,
    "bert-mini": 11_170_560,
    "bert-small": 28_763_648,
    "bert-medium": 41_373_184,
    "bert-base": 109_482_240,
    "bert-large": 335_141_888,
    "albert-base": 11_683_584,
    "albert-large": 17_683_968,
    "albert-xlarge": 58_724_864,
    "albert-xxlarge": 222_595_584,
    "albert-chinese-tiny": 4_080_520,
    "albert-chinese-small": 4_742_272,
}


@pytest.mark.parametrize(("name", "expected"), PUBLISHED.items())
def test_published_sizes_have_their_exact_parameter_counts(name: str, expected: int) -> None:
    config = EncoderConfig.preset(name)
    assert count_parameters(config).unique == expected
    assert stored_numbers(config) == expected


@pytest.mark.parametrize(
    ("name", "layers", "hidden", "heads", "intermediate", "embedding", "vocabulary"),
    [
        ("bert-tiny", 2, 128, 2, 512, 128, 30522),
        ("bert-mini", 4, 256, 4, 1024, 256, 30522),
        ("bert-small", 4, 512, 8, 2048, 512, 30522),
        ("bert-medium", 8, 512, 8, 2048, 512, 30522),
        ("bert-base", 12, 768, 12, 3072, 768, 30522),
        ("bert-large", 24, 1024, 16, 4096, 1024, 30522),
        ("albert-base", 12, 768, 12, 3072, 128, 30000),
        ("albert-large", 24, 1024, 16, 4096, 128, 30000),
        ("albert-xlarge", 24, 2048, 16, 8192, 128, 30000),
        ("albert-xxlarge", 12, 4096, 64, 16384, 128, 30000),
        ("albert-chinese-tiny", 4, 312, 12, 1248, 128, 21128),
        ("albert-chinese-small", 6, 384, 12, 1536, 128, 21128),
        ("bert-chinese-tiny", 4, 312, 12, 1248, 312, 21128),
        ("bert-chinese-small", 6, 384, 12, 1536, 384, 21128),
        ("transformer-tiny", 4, 128, 4, 256, 128, 8000),
        ("transformer-base", 6, 512, 8, 2048, 512, 37000),
    ],
)
def test_presets_have_the_published_sizes(
    name: str, layers: int, hidden: int, heads: int, intermediate: int, embedding: int, vocabulary: int
) -> None:
    config = EncoderConfig.preset(name)
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (layers, hidden, heads)
    assert (config.intermediate_size, config.embedding_size, config.vocab_size) == (intermediate, embedding, vocabulary)


def test_the_list_of_presets_is_the_documented_one() -> None:
    assert set(preset_names()) == {
        *PUBLISHED,
        "bert-chinese-tiny",
        "bert-chinese-small",
        "transformer-tiny",
        "transformer-small",
        "transformer-base",
    }


# Embedding width, what is shared, millions with a projection always, millions with one only where widths differ.
ALBERT_TABLES = [
    (64, "none", 87.65, 87.65),
    (128, "none", 89.65, 89.65),
    (256, "none", 93.65, 93.65),
    (768, "none", 109.67, 109.08),
    (64, "all", 9.68, 9.68),
    (128, "all", 11.68, 11.68),
    (256, "all", 15.69, 15.69),
    (768, "all", 31.71, 31.11),
    (768, "attention", 83.67, 83.08),
    (768, "feed-forward", 57.71, 57.12),
    (128, "attention", 63.65, 63.65),
    (128, "feed-forward", 37.69, 37.69),
]


@pytest.mark.parametrize(("embedding_size", "share", "always", "auto"), ALBERT_TABLES)
def test_tables_of_the_albert_paper_are_reproduced(embedding_size: int, share: str, always: float, auto: float) -> None:
    for projection, millions in (("always", always), ("auto", auto)):
        config = EncoderConfig.preset("albert-base", embedding_size=embedding_size, share=share, projection=projection)
        unique = count_parameters(config).unique
        assert round(unique / 1e6, 2) == millions
        assert stored_numbers(config) == unique


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"projection_bias": False},
        {"embedding_norm_width": "hidden"},
        {"embedding_norm_width": "none"},
        {"num_hidden_groups": 3, "inner_group_num": 2, "share": "all"},
        {"num_hidden_groups": 2, "inner_group_num": 2, "share": "attention"},
        {"num_hidden_groups": 5, "inner_group_num": 2, "share": "feed-forward"},
        {"inner_group_num": 3, "share": "none"},
        {"position_embedding": "sinusoidal"},
        {"type_vocab_size": 0},
        {"add_pooler": False},
        {"embedding_size": 24, "projection": "never"},
    ],
)
def test_the_formula_counts_what_the_module_stores(overrides: dict[str, str | int | bool]) -> None:
    config = small(**overrides)
    assert count_parameters(config).unique == stored_numbers(config)


def test_executed_parameters_count_a_shared_block_once_a_pass() -> None:
    block = 7_087_872
    shared = count_parameters(EncoderConfig.preset("albert-base"))
    assert shared.executed == 11_683_584 + 11 * block
    partly = count_parameters(EncoderConfig.preset("albert-base", share="attention"))
    assert partly.executed == shared.executed
    assert shared.unique < partly.unique < partly.executed
    own = count_parameters(EncoderConfig.preset("bert-base"))
    assert own.executed == own.unique


def test_flops_are_two_a_multiply_add_with_attention_and_projection_included() -> None:
    # L=2, H=4, F=6, E=3: a pass is 4*16 + 2*24 multiply-adds plus 2*4 for each token looked at.
    config = small(hidden_size=4, num_attention_heads=2, intermediate_size=6, embedding_size=3, num_hidden_layers=2)
    assert flops_per_token(config, 1) == 2 * (3 * 4 + 2 * (112 + 8))
    assert flops_per_token(config, 7) == 2 * (3 * 4 + 2 * (112 + 56))


def test_sharing_does_not_save_flops() -> None:
    assert flops_per_token(small(share="all"), 13) == flops_per_token(small(share="none"), 13)
    assert flops_per_token(small(inner_group_num=2), 13) > flops_per_token(small(), 13)
    with pytest.raises(ConfigError):
        flops_per_token(small(), 0)


def test_layers_fall_into_consecutive_groups() -> None:
    assert [small(num_hidden_groups=3).group_of_layer(layer) for layer in range(6)] == [0, 0, 1, 1, 2, 2]
    assert [small(num_hidden_groups=4).group_of_layer(layer) for layer in range(6)] == [0, 0, 1, 2, 2, 3]


@pytest.mark.parametrize("layers", [22, 23])
def test_every_layer_has_its_own_group_where_floating_point_would_merge_two(layers: int) -> None:
    config = small(num_hidden_layers=layers, num_hidden_groups=layers)
    assert [config.group_of_layer(layer) for layer in range(layers)] == list(range(layers))


@pytest.mark.parametrize("layers", range(1, 49))
def test_groups_are_all_used_in_order_and_of_even_size(layers: int) -> None:
    for groups in range(1, layers + 1):
        config = small(num_hidden_layers=layers, num_hidden_groups=groups)
        found = [config.group_of_layer(layer) for layer in range(layers)]
        sizes = [found.count(group) for group in range(groups)]
        assert found == sorted(found)
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("share", "attention", "feed_forward"),
    [
        ("all", [0, 1, 0, 1, 2, 3, 2, 3], [0, 1, 0, 1, 2, 3, 2, 3]),
        ("attention", [0, 1, 0, 1, 2, 3, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7]),
        ("feed-forward", [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 0, 1, 2, 3, 2, 3]),
        ("none", [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_passes_find_their_blocks(share: str, attention: list[int], feed_forward: list[int]) -> None:
    config = small(num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2, share=share)
    assert config.num_passes == 8
    assert [config.blocks_of_pass(index) for index in range(8)] == [
        PassBlocks(attention=a, feed_forward=f) for a, f in zip(attention, feed_forward, strict=True)
    ]
    assert config.num_attention_blocks == max(attention) + 1
    assert config.num_feed_forward_blocks == max(feed_forward) + 1


def test_configurations_survive_json() -> None:
    for name in preset_names():
        config = EncoderConfig.preset(name)
        assert EncoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_presets_leave_no_field_to_a_default() -> None:
    fields = {field.name for field in dataclasses.fields(EncoderConfig)}
    for name in preset_names():
        assert set(find_preset(name).columns) == fields


def test_presets_carry_the_papers_pretraining_choices() -> None:
    assert pretraining_choices("bert-base") == PretrainingChoices(
        pair_objective="nsp", masking="whole-words", tokenizer="wordpiece", lowercase=True
    )
    assert pretraining_choices("albert-xxlarge") == PretrainingChoices(
        pair_objective="sop", masking="n-grams", tokenizer="unigram", lowercase=True
    )
    assert pretraining_choices("albert-chinese-tiny").tokenizer == "wordpiece"
    assert pretraining_choices("albert-chinese-tiny").pair_objective == "sop"
    assert pretraining_choices("transformer-base").pair_objective is None


@pytest.mark.parametrize("name", preset_names())
def test_pretraining_choices_have_known_values(name: str) -> None:
    choices = pretraining_choices(name)
    kinds = get_type_hints(PretrainingChoices)
    assert choices.pair_objective in ("nsp", "sop", None)
    assert choices.masking in get_args(kinds["masking"])
    assert choices.tokenizer in get_args(kinds["tokenizer"])
    assert isinstance(choices.lowercase, bool)


def test_families_differ_in_the_published_values() -> None:
    bert, albert = EncoderConfig.preset("bert-base"), EncoderConfig.preset("albert-base")
    transformer = EncoderConfig.preset("transformer-base")
    assert (bert.hidden_dropout_prob, bert.attention_probs_dropout_prob, bert.share) == (0.1, 0.1, "none")
    assert (albert.hidden_dropout_prob, albert.attention_probs_dropout_prob, albert.share) == (0.0, 0.0, "all")
    assert bert.classifier_dropout_prob == albert.classifier_dropout_prob == 0.1
    assert (bert.hidden_act, albert.hidden_act, transformer.hidden_act) == ("gelu", "gelu_tanh", "relu")
    assert (transformer.position_embedding, transformer.norm_placement) == ("sinusoidal", "post")


def test_single_fields_of_a_preset_can_be_replaced() -> None:
    config = EncoderConfig.preset("albert-base", vocab_size=8000, hidden_dropout_prob=0.1)
    assert (config.vocab_size, config.hidden_dropout_prob, config.hidden_size) == (8000, 0.1, 768)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="albert-base"):
        EncoderConfig.preset("albert-bose")


def test_an_unknown_field_names_the_nearest_and_its_file() -> None:
    with pytest.raises(ConfigError, match=r"hiden_size .*hidden_size") as caught:
        EncoderConfig.from_dict({**SMALL, "hiden_size": 24}, where="config.json")
    assert "config.json" in str(caught.value)
    with pytest.raises(ConfigError, match="down_scale_factor"):
        EncoderConfig.preset("albert-base", down_scale_factor=1)


def test_missing_fields_are_all_named() -> None:
    with pytest.raises(ConfigError, match=r"vocab_size, embedding_size"):
        EncoderConfig.from_dict({key: SMALL[key] for key in SMALL if key not in ("vocab_size", "embedding_size")})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", 0),
        ("num_hidden_layers", -1),
        ("num_attention_heads", 5),
        ("num_hidden_groups", 7),
        ("num_hidden_groups", 0),
        ("inner_group_num", 0),
        ("projection", "never"),
        ("projection", "sometimes"),
        ("embedding_norm_width", "both"),
        ("share", "ffn"),
        ("hidden_act", "silu"),
        ("norm_placement", "middle"),
        ("position_embedding", "rotary"),
        ("max_position_embeddings", 0),
        ("type_vocab_size", -1),
        ("layer_norm_eps", 0.0),
        ("hidden_dropout_prob", 1.0),
        ("attention_probs_dropout_prob", -0.1),
        ("classifier_dropout_prob", 1.5),
        ("initializer_range", 0.0),
        ("pad_token_id", 99),
        ("hidden_size", "24"),
        ("hidden_size", 24.0),
        ("num_hidden_layers", True),
        ("add_pooler", 1),
        ("share", None),
        ("share", ["all"]),
        ("layer_norm_eps", float("nan")),
        ("initializer_range", float("inf")),
    ],
)
def test_values_out_of_range_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        EncoderConfig.from_dict({**SMALL, field: value})
    expected = "hidden_size" if field == "num_attention_heads" else field
    assert str(caught.value).startswith(expected)


def test_whole_numbers_serve_where_fractions_are_meant() -> None:
    assert small(hidden_dropout_prob=0).hidden_dropout_prob == 0
