"""One token a step with what was kept, against the whole decoder on everything that was written."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from albertine.models.config import EncoderConfig
from albertine.models.decoder import Decoder, decoder_config
from albertine.models.decoding import Decoding
from albertine.models.encoder import Encoder

Value = str | int | float | bool

COLUMNS: dict[str, dict[str, Value]] = {
    "albert": {"share": "all"},
    "bert": {"share": "none", "embedding_size": 24},
    "pre-norm": {"share": "attention", "num_hidden_groups": 2, "norm_placement": "pre"},
    "transformer": {"position_embedding": "sinusoidal", "embedding_norm_width": "none", "hidden_act": "relu"},
}
SOURCES = [5, 1, 9, 5]
STEPS = 6


def config(**overrides: Value) -> EncoderConfig:
    return EncoderConfig.from_dict(
        {
            "vocab_size": 31,
            "hidden_size": 24,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "intermediate_size": 37,
            "embedding_size": 13,
            "max_position_embeddings": 40,
            "initializer_range": 0.3,
            **overrides,
        }
    )


def decoder(**overrides: Value) -> Decoder:
    torch.manual_seed(3)
    model = Decoder(decoder_config(config(**overrides))).eval()
    with torch.no_grad():
        model.bias.normal_()
    return model


def memory_of(lengths: list[int]) -> Tensor:
    return torch.randn(sum(lengths), 24, generator=torch.Generator().manual_seed(5))


def whole(model: Decoder, tokens: Tensor, memory: Tensor, lengths: list[int]) -> Tensor:
    """Return the scores after every token, [N, K, T, V], each alternative computed beside a copy of its source."""
    texts, alternatives, length = tokens.shape
    starts = [0, *itertools.accumulate(lengths)]
    copies = [memory[start:end] for start, end in itertools.pairwise(starts) for _ in range(alternatives)]
    counts = [length for length in lengths for _ in range(alternatives)]
    layout = Encoder(config()).layout(
        torch.zeros(sum(counts), dtype=torch.int64), sequence_starts=torch.tensor([0, *counts]).cumsum(0)
    )
    states = model(
        tokens.flatten(),
        torch.cat(copies),
        memory_layout=layout,
        sequence_starts=torch.arange(texts * alternatives + 1) * length,
    )
    return model.logits(states).view(texts, alternatives, length, -1)


def begun(model: Decoder, alternatives: int, **options: tuple[int, ...] | int) -> Decoding:
    return Decoding(model, memory_of(SOURCES), SOURCES, alternatives=alternatives, longest=STEPS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("alternatives", [1, 4])
@pytest.mark.parametrize("columns", COLUMNS)
def test_every_step_gives_the_scores_of_the_whole_decoder(columns: str, alternatives: int) -> None:
    model = decoder(**COLUMNS[columns])
    tokens = torch.randint(0, 31, (len(SOURCES), alternatives, STEPS))
    with torch.no_grad():
        expected = whole(model, tokens, memory_of(SOURCES), SOURCES)
        decoding = begun(model, alternatives)
        for place in range(STEPS):
            found = decoding.step(tokens[:, :, place]).view(*expected.shape[:2], -1)
            torch.testing.assert_close(found, expected[:, :, place], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("columns", COLUMNS)
def test_alternatives_that_change_places_take_their_past_along(columns: str) -> None:
    model = decoder(**COLUMNS[columns])
    texts, alternatives = len(SOURCES), 3
    with torch.no_grad():
        decoding = begun(model, alternatives)
        written = torch.zeros(texts, alternatives, 0, dtype=torch.int64)
        for _ in range(STEPS):
            tokens = torch.randint(0, 31, (texts, alternatives))
            written = torch.cat([written, tokens[:, :, None]], dim=2)
            found = decoding.step(tokens).view(texts, alternatives, -1)
            expected = whole(model, written, memory_of(SOURCES), SOURCES)[:, :, -1]
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
            parents = torch.randint(0, alternatives, (texts, alternatives))
            decoding.reorder(parents)
            written = written.gather(1, parents[:, :, None].expand_as(written))


@pytest.mark.parametrize("alternatives", [1, 3])
def test_texts_that_have_ended_leave_and_the_others_go_on(alternatives: int) -> None:
    model = decoder()
    tokens = torch.randint(0, 31, (len(SOURCES), alternatives, STEPS))
    with torch.no_grad():
        expected = whole(model, tokens, memory_of(SOURCES), SOURCES)
        decoding = begun(model, alternatives)
        left = torch.arange(len(SOURCES))
        for place in range(STEPS):
            if place in (2, 4):
                kept = torch.tensor([0, 2, 3] if place == 2 else [1])
                decoding.keep(kept)
                left = left[kept]
            found = decoding.step(tokens[left, :, place]).view(len(left), alternatives, -1)
            torch.testing.assert_close(found, expected[left, :, place], atol=1e-4, rtol=1e-4)
        assert left.tolist() == [2]


def test_what_is_forbidden_has_no_score_and_the_others_have_their_own() -> None:
    model = decoder()
    tokens = torch.randint(0, 31, (len(SOURCES), 1, 1))
    with torch.no_grad():
        expected = whole(model, tokens, memory_of(SOURCES), SOURCES)[:, 0, 0]
        found = begun(model, 1, forbidden=(0, 7), vocabulary=29).step(tokens[:, :, 0])
    hidden = [0, 7, 29, 30]
    assert bool((found[:, hidden] == -torch.inf).all())
    rest = [word for word in range(31) if word not in hidden]
    torch.testing.assert_close(found[:, rest], expected[:, rest], atol=1e-4, rtol=1e-4)
    assert bool(model.bias.isfinite().all())


def test_parts_that_are_not_plain_are_called() -> None:
    class Doubled(nn.Linear):
        def forward(self, values: Tensor) -> Tensor:
            return 2 * super().forward(values)

    model = decoder()
    for name in ("self_attention_blocks.0.query", "cross_attention_blocks.0.output", "feed_forward_blocks.0.output"):
        model.get_submodule(name).__class__ = Doubled
    seen: list[int] = []
    handle = model.get_submodule("cross_attention_blocks.0.value").register_forward_hook(lambda *_: seen.append(1))
    tokens = torch.randint(0, 31, (len(SOURCES), 2, STEPS))
    with torch.no_grad():
        expected = whole(model, tokens, memory_of(SOURCES), SOURCES)
        seen.clear()
        decoding = begun(model, 2)
        assert seen == [1]
        for place in range(STEPS):
            found = decoding.step(tokens[:, :, place]).view(len(SOURCES), 2, -1)
            torch.testing.assert_close(found, expected[:, :, place], atol=1e-4, rtol=1e-4)
    handle.remove()


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("columns", COLUMNS)
def test_in_bf16_the_scores_stay_near(columns: str, replaced: bool) -> None:
    class Same(nn.Linear):
        pass

    model = decoder(**{"initializer_range": 0.15, **COLUMNS[columns]})
    if replaced:
        model.get_submodule("self_attention_blocks.0.key").__class__ = Same
    tokens = torch.randint(0, 31, (len(SOURCES), 2, STEPS))
    with torch.inference_mode():
        expected = whole(model, tokens, memory_of(SOURCES), SOURCES)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            decoding = begun(model, 2)
            for place in range(STEPS):
                found = decoding.step(tokens[:, :, place])
                assert found.dtype == torch.bfloat16
                difference = found.float().view(len(SOURCES), 2, -1) - expected[:, :, place]
                assert float(difference.norm()) < 0.05 * float(expected[:, :, place].norm())
