"""The same model written in another form, so that a format that lacks its own form can hold it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from albertine.checkpoints.state import ModelState
from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig

__all__ = ["with_activation", "with_identity_projection", "with_tied_words", "without_identity_projection"]

_TABLE = "encoder.embeddings.word_embeddings.weight"
_DECODER = "masked_word_head.decoder.weight"
_WEIGHT = "encoder.embeddings.projection.weight"
_BIAS = "encoder.embeddings.projection.bias"

_ACTIVATIONS = ("gelu", "gelu_tanh")


def with_identity_projection(state: ModelState) -> ModelState:
    """Put a projection that changes nothing between the embeddings and the stack, as transformers' ALBERT has one.

    Its weight is the identity and its bias zero, which leaves every output bit for bit what it was. Where the widths
    differ there is a projection already, and the state comes back as it is.

    Args:
        state: its embedding norm comes to stand before the projection, where transformers has it; at equal widths
            either place is the same function.
    """
    config = state.config
    if config.has_projection:
        return state
    dtype = state.tensors[_TABLE].dtype
    added = {
        _WEIGHT: torch.eye(config.hidden_size, dtype=dtype),
        _BIAS: torch.zeros(config.hidden_size, dtype=dtype),
    }
    adapted = replace(_norm_at_the_table(config), projection="always", projection_bias=True)
    return replace(state, config=adapted, tensors={**state.tensors, **added})


def without_identity_projection(state: ModelState) -> ModelState:
    """Take a projection away that changes nothing, as BERT and Google's ALBERT of equal widths have none.

    The state comes back as it is where the projection does something: its weight must be exactly the identity, its
    bias, where there is one, exactly zero.
    """
    config = state.config
    if not config.has_projection or config.embedding_size != config.hidden_size:
        return state
    weight, bias = state.tensors[_WEIGHT], state.tensors.get(_BIAS)
    if not torch.equal(weight, torch.eye(config.hidden_size, dtype=weight.dtype)):
        return state
    if bias is not None and bool(bias.count_nonzero()):  # NaN counts as not zero
        return state
    kept = {name: tensor for name, tensor in state.tensors.items() if name not in (_WEIGHT, _BIAS)}
    adapted = replace(_norm_at_the_table(config), projection="auto", projection_bias=True)
    return replace(state, config=adapted, tensors=kept)


def with_tied_words(state: ModelState) -> ModelState:
    """Drop a masked-word decoder that is, number by number, the encoder's word table.

    The state comes back as it is where the two differ: they are then two tables, and a format that ties them cannot
    hold the head. Where there is no masked-word head there is nothing to untie, and only the configuration changes.
    """
    config = state.config
    if config.tie_word_embeddings:
        return state
    decoder, table = state.tensors.get(_DECODER), state.tensors[_TABLE]
    if decoder is not None and (decoder.dtype != table.dtype or not torch.equal(decoder, table)):
        return state
    kept = {name: tensor for name, tensor in state.tensors.items() if name != _DECODER}
    return replace(state, config=replace(config, tie_word_embeddings=True), tensors=kept)


def with_activation(state: ModelState, activation: Literal["gelu", "gelu_tanh"]) -> ModelState:
    """Name another form of GELU, for a format that knows one of the two only; the weights stay.

    Outputs move by about 1e-3: the two forms differ by at most 5e-4 at a time.

    Args:
        state: of a model with either form.
        activation: gelu: the form with erf; gelu_tanh: that of Google's code.

    Raises:
        ConfigError: another activation than these, or a model that has no GELU.
    """
    for where, value in (("activation", activation), ("hidden_act", state.config.hidden_act)):
        if value not in _ACTIVATIONS:
            raise ConfigError(
                "only one form of GELU can stand for the other",
                where=where,
                received=repr(value),
                allowed=", ".join(_ACTIVATIONS),
            )
    return replace(state, config=replace(state.config, hidden_act=activation))


def _norm_at_the_table(config: EncoderConfig) -> EncoderConfig:
    """Say of a model of equal widths that its embedding norm lives at the table's, which is the same function."""
    if config.embedding_norm_width != "hidden":
        return config
    return replace(config, embedding_norm_width="embedding")
