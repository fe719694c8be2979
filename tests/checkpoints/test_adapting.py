from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from albertine.checkpoints.adapting import (
    with_activation,
    with_identity_projection,
    with_tied_words,
    without_identity_projection,
)
from albertine.checkpoints.huggingface import differences
from albertine.checkpoints.state import ModelState
from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel

# fmt: off
EQUAL = EncoderConfig(vocab_size=41, hidden_size=15, num_hidden_layers=3, num_attention_heads=5, intermediate_size=22,
                      embedding_size=15, share="all", hidden_act="gelu_tanh", max_position_embeddings=13)
# fmt: on
DECODER = "masked_word_head.decoder.weight"
TABLE = "encoder.embeddings.word_embeddings.weight"
WEIGHT = "encoder.embeddings.projection.weight"
BIAS = "encoder.embeddings.projection.bias"


def made(config: EncoderConfig) -> ModelState:
    tensors = {name: torch.randn(tensor.shape) for name, tensor in PretrainingModel(config).state_dict().items()}
    return ModelState(config=config, tensors=tensors)


def run(state: ModelState) -> list[Tensor]:
    model = PretrainingModel(state.config)
    model.load_state_dict(dict(state.tensors))
    ids = torch.randint(0, 41, (2, 9), generator=torch.Generator().manual_seed(3))
    mask = (torch.arange(9) < torch.tensor([[9], [4]])).long()
    with torch.no_grad():
        output = model.eval()(ids, attention_mask=mask, token_type_ids=ids % 2, output_hidden_states=True)
    assert output.encoder.hidden_states is not None
    assert output.prediction_logits is not None
    return [*output.encoder.hidden_states, output.prediction_logits]


def same(a: ModelState, b: ModelState) -> bool:
    return all(torch.equal(one, other) for one, other in zip(run(a), run(b), strict=True))


@pytest.mark.parametrize("norm", ["embedding", "hidden", "none"])
@pytest.mark.parametrize("tied", [True, False])
def test_an_identity_projection_changes_no_bit(norm: str, tied: bool) -> None:
    state = made(replace(EQUAL, embedding_norm_width=norm, tie_word_embeddings=tied))  # type: ignore[arg-type]
    result = with_identity_projection(state)
    assert result.config.has_projection
    assert same(state, result)


@pytest.mark.parametrize("norm", ["embedding", "hidden"])
def test_with_an_identity_projection_transformers_has_code_for_equal_widths(norm: str) -> None:
    state = made(replace(EQUAL, embedding_norm_width=norm))  # type: ignore[arg-type]
    assert differences(state.config, "albert")
    assert not differences(with_identity_projection(state).config, "albert")


@pytest.mark.parametrize("norm", ["embedding", "none"])
def test_an_identity_projection_goes_away_as_it_came(norm: str) -> None:
    state = made(replace(EQUAL, embedding_norm_width=norm))  # type: ignore[arg-type]
    result = without_identity_projection(with_identity_projection(state))
    assert result == state
    assert all(result.tensors[name] is tensor for name, tensor in state.tensors.items())


def test_a_projection_without_bias_goes_away_too() -> None:
    state = made(replace(EQUAL, projection="always", projection_bias=False, embedding_norm_width="hidden"))
    state = replace(state, tensors={**state.tensors, WEIGHT: torch.eye(15)})
    result = without_identity_projection(state)
    assert not result.config.has_projection
    assert WEIGHT not in result.tensors
    assert same(state, result)


@pytest.mark.parametrize(("name", "place", "value"), [(WEIGHT, (3, 3), 1.0 + 2**-23), (WEIGHT, (0, 1), 1e-30),
                                                      (BIAS, (14,), -1e-30), (BIAS, (0,), float("nan"))])  # fmt: skip
def test_a_projection_that_does_anything_stays(name: str, place: tuple[int, ...], value: float) -> None:
    state = with_identity_projection(made(EQUAL))
    changed = state.tensors[name].clone()
    changed[place] = value
    state = replace(state, tensors={**state.tensors, name: changed})
    assert without_identity_projection(state) is state


def test_unequal_widths_are_left_alone() -> None:
    state = made(replace(EQUAL, embedding_size=4))
    assert with_identity_projection(state) is state
    assert without_identity_projection(state) is state


def test_a_decoder_that_is_the_table_is_dropped() -> None:
    state = made(replace(EQUAL, tie_word_embeddings=False))
    state = replace(state, tensors={**state.tensors, DECODER: state.tensors[TABLE].clone()})
    result = with_tied_words(state)
    assert result.config.tie_word_embeddings
    assert DECODER not in result.tensors
    assert same(state, result)


def test_a_decoder_of_its_own_stays() -> None:
    state = made(replace(EQUAL, tie_word_embeddings=False))
    table = state.tensors[TABLE].clone()
    table[40, 14] += 1e-6
    for decoder in (table, state.tensors[TABLE].double()):
        other = replace(state, tensors={**state.tensors, DECODER: decoder})
        assert with_tied_words(other) is other


def test_a_tied_model_and_one_without_the_head_need_no_decoder() -> None:
    tied = made(EQUAL)
    assert with_tied_words(tied) is tied
    encoder = {name: tensor for name, tensor in tied.tensors.items() if name.startswith("encoder.")}
    state = ModelState(config=replace(EQUAL, tie_word_embeddings=False), tensors=encoder)
    assert with_tied_words(state) == ModelState(config=EQUAL, tensors=encoder)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_the_form_of_gelu_is_renamed_and_the_weights_stay(activation: str) -> None:
    state = made(EQUAL)
    result = with_activation(state, activation)  # type: ignore[arg-type]
    assert result.config == replace(EQUAL, hidden_act=activation)  # type: ignore[arg-type]
    assert result.tensors is state.tensors
    assert same(state, result) == (activation == "gelu_tanh")


@pytest.mark.parametrize(("own", "asked", "where"), [("gelu", "relu", "activation"), ("relu", "gelu", "hidden_act")])
def test_relu_is_no_form_of_gelu(own: str, asked: str, where: str) -> None:
    state = made(replace(EQUAL, hidden_act=own))  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        with_activation(state, asked)  # type: ignore[arg-type]
    assert caught.value.where == where
