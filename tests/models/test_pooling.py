from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.pooling import (
    DenseLayer,
    PoolingMode,
    Prompt,
    SentenceEncoder,
    SentencePooling,
    VectorUse,
    pool_sentences,
)

MODES: tuple[PoolingMode, ...] = ("cls", "max", "mean", "mean_sqrt_length", "weighted_mean", "last")
LENGTHS = (5, 1, 9, 2, 9, 3)
CONFIG = EncoderConfig.preset(
    "albert-base",
    vocab_size=37,
    hidden_size=14,
    embedding_size=6,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=22,
    max_position_embeddings=11,
    initializer_range=0.3,
)


def states(width: int = 7) -> list[Tensor]:
    return [torch.randn(length, width) - 3 for length in LENGTHS]


def packed(texts: list[Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat(texts), torch.tensor([0, *np.cumsum([len(text) for text in texts])])


def padded(texts: list[Tensor], *, left: bool = False, filler: float = 99.0) -> tuple[Tensor, Tensor]:
    longest = max(len(text) for text in texts)
    hidden = torch.full((len(texts), longest, texts[0].shape[1]), filler)
    mask = torch.zeros(len(texts), longest, dtype=torch.int64)
    for row, text in enumerate(texts):
        place = slice(longest - len(text), longest) if left else slice(0, len(text))
        hidden[row, place], mask[row, place] = text, 1
    return hidden, mask


def by_hand(text: Tensor, mode: PoolingMode) -> Tensor:
    positions = torch.arange(1, len(text) + 1).unsqueeze(1)
    match mode:
        case "cls":
            return text[0]
        case "last":
            return text[-1]
        case "max":
            return text.max(dim=0).values
        case "mean":
            return text.mean(dim=0)
        case "mean_sqrt_length":
            return text.sum(dim=0) / math.sqrt(len(text))
        case "weighted_mean":
            return (text * positions).sum(dim=0) / positions.sum()


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_what_its_name_says(mode: PoolingMode) -> None:
    texts = states()
    expected = torch.stack([by_hand(text, mode) for text in texts])
    hidden, starts = packed(texts)
    torch.testing.assert_close(pool_sentences(hidden, (mode,), sequence_starts=starts), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("filler", [99.0, math.inf, math.nan])
def test_packed_and_padded_texts_get_the_same_vectors(mode: PoolingMode, left: bool, filler: float) -> None:
    texts = states()
    flat, starts = packed(texts)
    hidden, mask = padded(texts, left=left, filler=filler)
    expected = pool_sentences(flat, (mode,), sequence_starts=starts)
    torch.testing.assert_close(pool_sentences(hidden, (mode,), attention_mask=mask), expected, atol=1e-6, rtol=1e-6)


def test_without_a_mask_every_token_counts() -> None:
    hidden = torch.randn(3, 5, 7)
    everything = torch.ones(3, 5, dtype=torch.int64)
    for mode in MODES:
        torch.testing.assert_close(
            pool_sentences(hidden, (mode,)), pool_sentences(hidden, (mode,), attention_mask=everything)
        )


def test_several_modes_stand_one_after_another_in_the_order_given() -> None:
    hidden, starts = packed(states())
    both = pool_sentences(hidden, ("mean", "cls"), sequence_starts=starts)
    assert both.shape == (6, 14)
    torch.testing.assert_close(both[:, :7], pool_sentences(hidden, ("mean",), sequence_starts=starts))
    torch.testing.assert_close(both[:, 7:], pool_sentences(hidden, ("cls",), sequence_starts=starts))


def test_states_in_bf16_are_summed_in_float32() -> None:
    hidden = (torch.randn(3001, 7) + 5).bfloat16()
    pooled = pool_sentences(hidden, ("mean",), sequence_starts=torch.tensor([0, 3001]))
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled[0], hidden.double().mean(dim=0).float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_both_layouts_are_the_same(mode: PoolingMode) -> None:
    texts = states()
    flat, starts = packed(texts)
    hidden, mask = padded(texts)
    flat.requires_grad_()
    hidden.requires_grad_()
    pool_sentences(flat, (mode,), sequence_starts=starts).square().sum().backward()
    pool_sentences(hidden, (mode,), attention_mask=mask).square().sum().backward()
    assert flat.grad is not None
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad[mask == 1], flat.grad)
    assert not hidden.grad[mask == 0].any()


DENSE = (
    DenseLayer(in_features=28, out_features=5, activation="tanh"),
    DenseLayer(in_features=5, out_features=3, bias=False, activation="identity"),
)


def test_dense_layers_and_the_norm_follow_the_pooling() -> None:
    pooling = SentencePooling(modes=("cls", "max"), dense=DENSE, normalize=True)
    encoder = Encoder(CONFIG).eval()
    model = SentenceEncoder(encoder, pooling).eval()
    ids = torch.randint(5, 37, (4, 9))
    hidden = encoder(ids).last_hidden_state
    first, second = model.pooling.dense
    pooled = torch.cat([hidden[:, 0], hidden.max(dim=1).values], dim=1)
    expected = torch.tanh(pooled @ first.weight.T + first.bias) @ second.weight.T
    torch.testing.assert_close(model(ids), expected / expected.norm(dim=1, keepdim=True))
    assert model.pooling.width == 3
    names = {name for name, _ in model.named_parameters() if name.startswith("pooling.")}
    assert names == {"pooling.dense.0.weight", "pooling.dense.0.bias", "pooling.dense.1.weight"}


@pytest.mark.parametrize("kept", [1, 9, 14, 99])
def test_a_vector_is_cut_after_it_was_normalised(kept: int) -> None:
    encoder, ids = Encoder(CONFIG).eval(), torch.randint(5, 37, (4, 9))
    whole = SentenceEncoder(encoder, SentencePooling(normalize=True))(ids)
    cut = SentenceEncoder(encoder, SentencePooling(normalize=True, truncate_dim=kept))
    assert cut.pooling.width == min(kept, 14)
    assert torch.equal(cut(ids), whole[:, :kept])
    again = SentenceEncoder(encoder, SentencePooling(truncate_dim=kept, normalize_cut=True))(ids)
    torch.testing.assert_close(again.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(again, nn.functional.normalize(whole[:, :kept]))


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("identity", -0.5),
        ("tanh", math.tanh(-0.5)),
        ("relu", 0.0),
        ("sigmoid", 1 / (1 + math.exp(0.5))),
        ("gelu", -0.25 * (1 + math.erf(-0.5 / math.sqrt(2)))),
    ],
)
def test_every_activation_is_what_its_name_says(activation: str, expected: float) -> None:
    layer = DenseLayer(in_features=14, out_features=1, activation=activation)
    model = SentenceEncoder(Encoder(CONFIG).eval(), SentencePooling(dense=(layer,)))
    torch.nn.init.zeros_(model.pooling.dense[0].weight)
    torch.nn.init.constant_(model.pooling.dense[0].bias, -0.5)
    torch.testing.assert_close(model(torch.tensor([[1, 2]])), torch.tensor([[expected]]))


def test_a_sentence_encoder_takes_packed_and_padded_batches() -> None:
    model = SentenceEncoder(Encoder(CONFIG).eval(), SentencePooling(normalize=True)).eval()
    ids = [torch.randint(5, 37, (length,)) for length in LENGTHS]
    starts = torch.tensor([0, *np.cumsum(LENGTHS)])
    rows = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)).long()
    together = model(torch.cat(ids), sequence_starts=starts)
    torch.testing.assert_close(model(rows, attention_mask=mask), together, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(len(LENGTHS)))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"modes": ()}, "at least one"),
        ({"modes": ("mean", "mean")}, "once"),
        ({"modes": ("average",)}, "average"),
        ({"modes": ("maxx",)}, "'max'"),
        ({"max_length": 0}, "max_length"),
        ({"truncate_dim": 0}, "truncate_dim"),
        ({"dense": (DENSE[0], DENSE[0])}, "5 into 28"),
    ],
)
def test_a_pooling_that_makes_no_sense_is_refused(values: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        SentencePooling(**values)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"similarity": "cosin"}, "Did you mean 'cosine'"),
        ({"prompts": (Prompt(name="a", text="x"), Prompt(name="a", text="y"))}, "one name"),
        ({"prompts": (Prompt(name="query", text="x"),), "default_prompt": "qurey"}, "Did you mean 'query'"),
    ],
)
def test_a_use_that_makes_no_sense_is_refused(values: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        VectorUse(**values)


@pytest.mark.parametrize("values", [{"in_features": 0}, {"out_features": -1}, {"activation": "tahn"}])
def test_a_dense_layer_that_makes_no_sense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        DenseLayer(**{"in_features": 3, "out_features": 3, **values})


def test_dense_layers_of_another_width_than_the_pooling_are_refused() -> None:
    pooling = SentencePooling(dense=DENSE)
    with pytest.raises(ConfigError, match="gives 14, the layer takes 28"):
        SentenceEncoder(Encoder(CONFIG), pooling)
    assert SentencePooling(modes=("cls", "mean")).width(14) == 28
