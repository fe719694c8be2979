from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.layers import activate, initialize, sinusoidal_positions

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


def test_the_pooler_is_tanh_over_the_first_token() -> None:
    encoder = build()
    ids, mask, _ = padded_batch([13, 7])
    out = encoder(ids, attention_mask=mask)
    assert encoder.pooler is not None
    dense = encoder.pooler.dense
    torch.testing.assert_close(out.pooler_output, torch.tanh(out.last_hidden_state[:, 0] @ dense.weight.T + dense.bias))


def test_post_and_pre_norm_follow_their_equations() -> None:
    ids, _, _ = padded_batch([7])
    for placement in ("post", "pre"):
        encoder = build(norm_placement=placement, num_hidden_layers=1)
        layout = encoder.layout(ids)
        entering = encoder.embed(ids, layout=layout)
        attention, feed_forward = encoder.attention_blocks[0], encoder.feed_forward_blocks[0]

        def mix(states: Tensor, block: nn.Module = attention) -> Tensor:
            parts = [
                block.get_submodule(name)(states).view(1, 7, 3, 8).transpose(1, 2) for name in ("query", "key", "value")
            ]
            mixed = F.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(1, 7, 24)
            return block.get_submodule("output")(mixed)

        def feed(states: Tensor, block: nn.Module = feed_forward) -> Tensor:
            return block.get_submodule("output")(F.gelu(block.get_submodule("intermediate")(states)))

        first, second = attention.get_submodule("layer_norm"), feed_forward.get_submodule("layer_norm")
        if placement == "post":
            middle = first(entering + mix(entering))
            expected = second(middle + feed(middle))
        else:
            middle = entering + mix(first(entering))
            expected = middle + feed(second(middle))
        torch.testing.assert_close(encoder(ids).last_hidden_state, expected, atol=1e-5, rtol=1e-4)


def test_the_embedding_norm_lives_where_the_configuration_says() -> None:
    ids, _, segments = padded_batch([7])
    for place in ("embedding", "hidden", "none"):
        encoder = build(embedding_norm_width=place)
        e = encoder.embeddings
        assert e.position_embeddings is not None
        assert e.token_type_embeddings is not None
        assert e.projection is not None
        rest = e.position_embeddings.weight[:7] + e.token_type_embeddings(segments)
        if place == "hidden":
            assert e.layer_norm is not None
            expected = e.layer_norm(e.projection(e.word_embeddings(ids)) + rest)
        else:
            summed = e.word_embeddings(ids) + rest
            assert (e.layer_norm is None) == (place == "none")
            expected = e.projection(summed if e.layer_norm is None else e.layer_norm(summed))
        found = encoder.embed(ids, layout=encoder.layout(ids), token_type_ids=segments)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("width", [8, 13])
def test_sinusoidal_positions_are_those_of_the_paper(width: int) -> None:
    found = sinusoidal_positions(torch.arange(7), width)
    assert found.shape == (7, width)
    for position in range(7):
        for i in range(width):
            angle = position / 10_000 ** ((i - i % 2) / width)
            assert float(found[position, i]) == pytest.approx(math.cos(angle) if i % 2 else math.sin(angle), abs=1e-6)


def test_activations_are_the_ones_named() -> None:
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    erf = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    tanh = 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    torch.testing.assert_close(activate(x, "gelu"), erf)
    torch.testing.assert_close(activate(x, "gelu_tanh"), tanh)
    torch.testing.assert_close(activate(x, "relu"), x.clamp(min=0))
    assert float((erf - tanh).abs().max()) > 1e-4


def test_initial_weights_are_cut_normals_and_repeat_with_the_seed() -> None:
    torch.manual_seed(11)
    first = Encoder(small(initializer_range=0.05, hidden_size=96)).state_dict()
    torch.manual_seed(11)
    second = Encoder(small(initializer_range=0.05, hidden_size=96)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name, tensor in first.items():
        if name.endswith("layer_norm.weight"):
            assert bool((tensor == 1).all())
        elif name.endswith("bias"):
            assert bool((tensor == 0).all())
        else:
            assert float(tensor.abs().max()) <= 0.1
    # A normal cut at two deviations keeps 0.88 of its deviation.
    assert float(first["attention_blocks.0.query.weight"].std()) == pytest.approx(0.044, abs=0.002)
    assert float(first["embeddings.word_embeddings.weight"][0].abs().max()) == 0.0
    assert float(first["embeddings.word_embeddings.weight"][1].abs().max()) > 0.0


def test_one_layer_alone_can_be_initialised() -> None:
    layer = nn.Linear(7, 13)
    initialize(layer, 0.001)
    assert float(layer.weight.detach().abs().max()) <= 0.002


def test_the_padding_embedding_is_not_trained_through_the_input() -> None:
    encoder = build(pad_token_id=5)
    encoder(torch.tensor([[5, 7, 5]])).last_hidden_state.cos().sum().backward()
    gradient = encoder.embeddings.word_embeddings.weight.grad
    assert gradient is not None
    assert float(gradient[5].abs().sum()) == 0.0
    assert float(gradient[7].abs().sum()) > 0.0
