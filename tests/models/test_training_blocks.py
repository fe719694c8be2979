"""The blocks with a hand-written backward pass against the plain modules."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.training_blocks import plain_blocks

SIZES = {
    "vocab_size": 97,
    "hidden_size": 21,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 37,
    "max_position_embeddings": 41,
}
LENGTHS = {"equal": (13, 13, 13), "uneven": (1, 39, 7, 37, 2, 11, 41, 5), "one": (17,)}


def encoder(name: str = "bert-tiny", **values: str | int | float | bool) -> Encoder:
    torch.manual_seed(3)
    widths = {"embedding_size": 21 if name.startswith("bert") else 11}
    model = Encoder(EncoderConfig.preset(name, **{**SIZES, **widths, **values}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.train()


def packed(kind: str) -> dict[str, Tensor]:
    lengths = torch.tensor(LENGTHS[kind])
    generator = torch.Generator().manual_seed(5)
    return {
        "input_ids": torch.randint(1, 97, (int(lengths.sum()),), generator=generator),
        "sequence_starts": torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]),
    }


def padded() -> dict[str, Tensor]:
    lengths = torch.tensor(LENGTHS["uneven"])
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(1, 97, (len(lengths), 41), generator=generator)
    return {"input_ids": ids, "attention_mask": (torch.arange(41) < lengths.unsqueeze(1)).long()}


def gradients(model: Encoder, inputs: dict[str, Tensor], *, bf16: bool = False, **options: Tensor) -> dict[str, Tensor]:
    """Return the state and every gradient of one training pass, from one seed."""
    torch.manual_seed(11)
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        out = model(**inputs, **options)
    state = out.last_hidden_state.float()
    if "attention_mask" in inputs and not options:
        state = state[inputs["attention_mask"].bool()]
    weights = torch.randn(state.shape, generator=torch.Generator().manual_seed(7))
    ((state * weights).sum() + out.pooler_output.float().sum()).backward()
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    return {"state": state.detach(), **found}


def both(work: Callable[[], dict[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    with plain_blocks():
        plain = work()
    return plain, work()


def assert_near(plain: dict[str, Tensor], fast: dict[str, Tensor], tolerance: float) -> None:
    assert plain.keys() == fast.keys()
    largest = max(float(one.norm()) for name, one in plain.items() if name != "state")
    for name, expected in plain.items():
        # what is zero but for rounding, such as the gradient of the key's bias, is held against the others
        scale = max(float(expected.norm()), 1e-2 * largest)
        assert float((fast[name] - expected).norm()) < tolerance * scale, name


@pytest.mark.parametrize("kind", [*LENGTHS, "padded"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("name", ["bert-tiny", "albert-base"])
def test_values_and_gradients_are_those_of_the_plain_modules(name: str, dropout: float, kind: str) -> None:
    model = encoder(name, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    inputs = padded() if kind == "padded" else packed(kind)
    plain, fast = both(lambda: gradients(model, inputs))
    assert_near(plain, fast, 1e-5)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_bf16_is_as_near_to_fp32_as_the_plain_modules_are(activation: str, dropout: float) -> None:
    model = encoder(
        hidden_size=96,
        embedding_size=96,
        intermediate_size=187,
        hidden_act=activation,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    distances = {"plain": 0.0, "fast": 0.0}
    for scale in (0.05, 0.07, 0.1):
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.copy_(scale * torch.randn_like(parameter))
        with plain_blocks():
            exact = gradients(model, packed("uneven"))
        plain, fast = both(lambda: gradients(model, packed("uneven"), bf16=True))
        for name, one in exact.items():
            if "key.bias" not in name:  # its gradient is zero but for rounding
                distances["plain"] += float((plain[name] - one).norm() / one.norm())
                distances["fast"] += float((fast[name] - one).norm() / one.norm())
    assert 0 < distances["fast"] < 1.15 * distances["plain"]


def test_the_fast_blocks_are_used_in_training_alone() -> None:
    model = encoder()

    def fast() -> bool:
        node = model(**packed("uneven")).last_hidden_state.grad_fn
        return node is not None and "_FeedForward" in str(node.next_functions)

    assert fast()
    with plain_blocks():
        assert not fast()
    with torch.no_grad():
        assert not fast()
    handle = model.get_submodule("feed_forward_blocks.2.intermediate").register_forward_hook(lambda *_: None)
    assert not fast()
    handle.remove()
    assert fast()


def test_a_replaced_part_is_heeded() -> None:
    model = encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

    class Doubled(nn.Linear):
        def forward(self, values: Tensor) -> Tensor:
            return 2 * super().forward(values)

    before = model(**packed("equal")).last_hidden_state
    for name, part in model.named_modules():
        if name.endswith(".output"):
            part.__class__ = Doubled
    after = model(**packed("equal")).last_hidden_state
    with plain_blocks():
        expected = model(**packed("equal")).last_hidden_state
    assert torch.equal(after, expected)
    assert not torch.allclose(after, before)


@pytest.mark.parametrize(
    "trained", ["attention_blocks.1.query.bias", "feed_forward_blocks.0.output.weight", "layer_norm"]
)
def test_frozen_weights_get_no_gradient_and_the_others_the_same(trained: str) -> None:
    model = encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = trained in name
    plain, fast = both(lambda: gradients(model, packed("uneven")))
    assert_near(plain, fast, 1e-5)
    assert len(fast) > 1


def test_a_graph_that_is_kept_can_be_gone_through_twice() -> None:
    model = encoder()
    state = model(**packed("uneven")).last_hidden_state
    parameters = [one for name, one in model.named_parameters() if "blocks" in name]
    first = torch.autograd.grad(state.square().sum(), parameters, retain_graph=True)
    second = torch.autograd.grad(state.square().sum(), parameters)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_gradients_of_gradients_need_the_plain_blocks() -> None:
    model = encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

    def twice() -> float:
        state = model(**packed("equal")).last_hidden_state
        (slope,) = torch.autograd.grad(
            state.square().mean(), model.embeddings.word_embeddings.weight, create_graph=True
        )
        torch.autograd.backward([slope.square().sum()])
        found = dict(model.named_parameters())["attention_blocks.0.output.weight"].grad
        return 0.0 if found is None else float(found.norm())

    with pytest.raises(RuntimeError, match="once_differentiable"):
        twice()
    with plain_blocks():
        assert twice() > 0


@pytest.mark.parametrize("blocks", [plain_blocks, contextlib.nullcontext])
@pytest.mark.parametrize("kind", [*LENGTHS, "padded"])
def test_states_at_positions_are_those_of_a_whole_pass(
    kind: str, blocks: Callable[[], AbstractContextManager[None]]
) -> None:
    model = encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    inputs = padded() if kind == "padded" else packed(kind)
    real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).flatten().nonzero().squeeze(1)
    positions = torch.cat([real[::5], real[-1:], real[:1]])

    def some() -> dict[str, Tensor]:
        return gradients(model, inputs, positions=positions)

    def whole() -> dict[str, Tensor]:
        model.zero_grad()
        out = model(**inputs)
        state = out.last_hidden_state.flatten(0, -2)[positions]
        weights = torch.randn(state.shape, generator=torch.Generator().manual_seed(7))
        ((state * weights).sum() + out.pooler_output.sum()).backward()
        found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
        return {"state": state.detach(), **found}

    with blocks():
        expected = whole()
        assert_near(expected, some(), 1e-5)
        with torch.no_grad():
            out = model(**inputs, positions=positions, output_hidden_states=True)
            torch.testing.assert_close(out.last_hidden_state, expected["state"], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(out.pooler_output, model(**inputs).pooler_output, atol=1e-5, rtol=1e-5)
            assert len(out.hidden_states) == 4
