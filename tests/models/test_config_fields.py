from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder

Value = str | int | float | bool


def small(**overrides: Value) -> EncoderConfig:
    """Odd sizes, and weights large enough that every part shows in the output."""
    return EncoderConfig.from_dict(
        {
            "vocab_size": 99,
            "hidden_size": 24,
            "num_hidden_layers": 4,
            "num_attention_heads": 3,
            "intermediate_size": 37,
            "embedding_size": 13,
            "max_position_embeddings": 300,
            "initializer_range": 0.3,
            **overrides,
        }
    )


def build(**overrides: Value) -> Encoder:
    torch.manual_seed(3)
    return Encoder(small(**overrides)).eval()


def padded_batch(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, mask and segments; the padding holds arbitrary ids, which nothing may depend on."""
    longest = max(lengths)
    mask = (torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)).long()
    ids = torch.randint(1, 99, (len(lengths), longest))
    return ids, mask, torch.randint(0, 2, ids.shape)


# For every field a value other than the base's, and what shows it: the stored shapes, the evaluated output, or the
# output in training.
FIELDS: dict[str, tuple[dict[str, Value], Value, str]] = {
    "vocab_size": ({}, 101, "shapes"),
    "hidden_size": ({}, 27, "shapes"),
    "num_hidden_layers": ({"share": "all"}, 5, "output"),
    "num_attention_heads": ({}, 4, "output"),
    "intermediate_size": ({}, 41, "shapes"),
    "embedding_size": ({}, 17, "shapes"),
    "projection": ({"embedding_size": 24}, "always", "shapes"),
    "projection_bias": ({}, False, "shapes"),
    "embedding_norm_width": ({}, "hidden", "shapes"),
    "num_hidden_groups": ({"share": "all"}, 2, "shapes"),
    "inner_group_num": ({"share": "all"}, 2, "shapes"),
    "share": ({}, "all", "shapes"),
    "hidden_act": ({}, "relu", "output"),
    "norm_placement": ({}, "pre", "output"),
    "position_embedding": ({}, "sinusoidal", "shapes"),
    "max_position_embeddings": ({}, 301, "shapes"),
    "type_vocab_size": ({}, 3, "shapes"),
    "layer_norm_eps": ({}, 0.1, "output"),
    "hidden_dropout_prob": ({"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}, 0.3, "training"),
    "attention_probs_dropout_prob": (
        {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        0.3,
        "training",
    ),
    "initializer_range": ({}, 0.1, "output"),
    "pad_token_id": ({}, 5, "output"),
    "add_pooler": ({}, False, "shapes"),
}


def test_every_field_is_tested_alone() -> None:
    # The classifier's dropout and the word head's table belong to what stands on the encoder.
    elsewhere = {"classifier_dropout_prob", "tie_word_embeddings"}
    assert {*FIELDS, *elsewhere} == {field.name for field in dataclasses.fields(EncoderConfig)}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_changed_alone_changes_the_model_and_works(field: str) -> None:
    base, value, shown_by = FIELDS[field]
    ids, mask, segments = padded_batch([13, 7])
    ids[0, 3] = 5
    seen = []
    for overrides in (base, {**base, field: value}):
        encoder = build(**overrides)
        encoder.train(shown_by == "training")
        out = encoder(ids, attention_mask=mask, token_type_ids=segments)
        assert bool(out.last_hidden_state.isfinite().all())
        out.last_hidden_state.sum().backward()
        seen.append(({name: tensor.shape for name, tensor in encoder.state_dict().items()}, out.last_hidden_state))
    (shapes, output), (other_shapes, other_output) = seen
    if shown_by == "shapes":
        assert shapes != other_shapes
    else:
        assert shapes == other_shapes
        assert not torch.allclose(output, other_output, atol=1e-4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("share", "attention"),
        ("share", "feed-forward"),
        ("embedding_norm_width", "none"),
        ("type_vocab_size", 0),
        ("hidden_act", "gelu_tanh"),
    ],
)
def test_the_remaining_values_of_the_choices_work(field: str, value: Value) -> None:
    ids, mask, segments = padded_batch([13, 7])
    out = build(**{field: value})(ids, attention_mask=mask, token_type_ids=segments)
    assert not torch.allclose(out.last_hidden_state, build()(ids, attention_mask=mask).last_hidden_state, atol=1e-5)


def test_dropout_rests_outside_training() -> None:
    encoder = build(hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    ids, _, _ = padded_batch([13])
    assert torch.equal(encoder(ids).last_hidden_state, encoder(ids).last_hidden_state)
    encoder.train()
    assert not torch.allclose(encoder(ids).last_hidden_state, encoder(ids).last_hidden_state)
