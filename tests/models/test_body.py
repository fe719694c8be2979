from __future__ import annotations

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from albertine.errors import CheckpointError, ConfigError
from albertine.models.body import (
    AnyConfig,
    BodyConfig,
    body_flops_per_token,
    body_kind,
    body_output_size,
    body_parameters,
    build_body,
    config_from_dict,
    config_to_dict,
)
from albertine.models.config import EncoderConfig
from albertine.models.ngrams import BagOfWordsConfig
from albertine.models.pair_features import OverlapConfig
from albertine.models.recurrent import RecurrentConfig
from albertine.models.word_vectors import WordVectorsConfig

ENCODER = EncoderConfig(
    vocab_size=99, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40, embedding_size=7,
    share="all",
)  # fmt: skip
BODIES: list[BodyConfig] = [
    ENCODER,
    RecurrentConfig(vocab_size=99, embedding_size=13, hidden_size=7, num_hidden_layers=2),
    WordVectorsConfig(vocab_size=99, embedding_size=13, bigram_buckets=31),
]
IDS = ["encoder", "bilstm", "word-vectors"]


@pytest.mark.parametrize("config", BODIES, ids=IDS)
def test_a_body_has_the_counted_parameters_and_the_promised_width(config: BodyConfig) -> None:
    body = build_body(config)
    counted = body_parameters(config)
    assert counted.unique == sum(parameter.numel() for parameter in body.parameters())
    assert counted.executed >= counted.unique
    output = body(torch.tensor([[1, 2, 3]]), attention_mask=torch.ones(1, 3, dtype=torch.int64))
    assert output.pooler_output.shape == (1, body_output_size(config))


def test_only_sharing_makes_the_two_counts_differ() -> None:
    assert body_parameters(ENCODER).executed > body_parameters(ENCODER).unique
    for config in BODIES[1:]:
        assert body_parameters(config).executed == body_parameters(config).unique


def test_the_flops_of_an_lstm_are_those_of_its_products() -> None:
    config = RecurrentConfig(vocab_size=99, embedding_size=13, hidden_size=7, num_hidden_layers=2)
    lstm = torch.nn.LSTM(13, 7, num_layers=2, bidirectional=True)
    matrices = sum(parameter.numel() for name, parameter in lstm.named_parameters() if "weight" in name)
    assert body_flops_per_token(config, 5) == 2 * matrices


def test_the_flops_of_averaged_vectors_are_additions() -> None:
    config = WordVectorsConfig(vocab_size=99, embedding_size=10, bigram_buckets=31)
    # five tokens have five vectors and four bigrams
    assert body_flops_per_token(config, 5) * 5 == pytest.approx(9 * 10)


def test_the_flops_of_an_encoder_are_measured_ones() -> None:
    body = build_body(ENCODER)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        body(torch.ones(1, 13, dtype=torch.int64), attention_mask=torch.ones(1, 13, dtype=torch.int64))
    pooler = 2 * 24 * 24
    assert counter.get_total_flops() - pooler == pytest.approx(13 * body_flops_per_token(ENCODER, 13))


@pytest.mark.parametrize(
    "config",
    [*BODIES, BagOfWordsConfig(blocks=("words",), inverse_regularization=2.0), OverlapConfig(features=("length",))],
    ids=[*IDS, "bag-of-words", "overlap"],
)
def test_a_configuration_comes_back_from_json(config: AnyConfig) -> None:
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


def test_kinds_are_told_by_values() -> None:
    assert body_kind(EncoderConfig.preset("bert-tiny")) == "bert"
    assert body_kind(EncoderConfig.preset("albert-base")) == "albert"
    assert body_kind(EncoderConfig.preset("albert-base", share="attention")) == "encoder"
    assert body_kind(EncoderConfig.preset("transformer-base")) == "encoder"
    assert [body_kind(config) for config in BODIES[1:]] == ["bilstm", "word-vectors"]
    assert body_kind(BagOfWordsConfig()) == "bag-of-words"
    assert body_kind(OverlapConfig()) == "overlap"


def test_an_unknown_field_is_refused_with_the_nearest_name() -> None:
    values = config_to_dict(BODIES[1])
    values["albertine"]["hiden_size"] = 3  # type: ignore[index]
    with pytest.raises(ConfigError, match=r"Did you mean 'hidden_size'\?$"):
        config_from_dict(values)


def test_a_missing_or_odd_field_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="vocab_size"):
        config_from_dict({"albertine": {"body": "bilstm"}})
    with pytest.raises(ConfigError, match=r"runs/x/config\.json"):
        config_from_dict({"albertine": {"body": "bilstm", "vocab_size": "many"}}, where="runs/x/config.json")


def test_an_unknown_body_lists_those_that_exist() -> None:
    with pytest.raises(CheckpointError, match="word-vectors"):
        config_from_dict({"model_type": "albertine", "albertine": {"body": "perceptron"}})
