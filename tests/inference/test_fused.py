"""The fused encoder against the reference path: every column of values, packed and padded, whole and in part."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from albertine.inference.fused import FusedEncoder, inference_copy
from albertine.inference.precision import autocast
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.training.methods.low_rank import add_low_rank

SIZES = {
    "vocab_size": 97,
    "hidden_size": 28,
    "num_attention_heads": 4,
    "intermediate_size": 52,
    "max_position_embeddings": 61,
    "initializer_range": 0.2,
}
CONFIGS = {
    "bert": EncoderConfig.preset("bert-tiny", **SIZES, embedding_size=28, num_hidden_layers=3),
    "albert": EncoderConfig.preset("albert-base", **SIZES, embedding_size=12, num_hidden_layers=5),
    "albert of two groups": EncoderConfig.preset(
        "albert-base", **SIZES, embedding_size=12, num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2
    ),
    "attention shared": EncoderConfig.preset(
        "bert-tiny", **SIZES, embedding_size=28, num_hidden_layers=3, share="attention"
    ),
    "norms before": EncoderConfig.preset(
        "bert-tiny", **SIZES, embedding_size=28, num_hidden_layers=3, norm_placement="pre"
    ),
    "relu, no pooler": EncoderConfig.preset(
        "bert-tiny", **SIZES, embedding_size=28, num_hidden_layers=2, hidden_act="relu", add_pooler=False
    ),
    "tanh gelu": EncoderConfig.preset(
        "bert-tiny", **SIZES, embedding_size=28, num_hidden_layers=2, hidden_act="gelu_tanh"
    ),
}


def encoder(config: EncoderConfig) -> Encoder:
    torch.manual_seed(1)
    made = Encoder(config).eval()
    for name, parameter in made.named_parameters():
        if name.endswith(".bias") or "layer_norm" in name:
            nn.init.normal_(parameter, mean=0.2, std=0.3)
    return made


def packed_batch(*lengths: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1, 97, (sum(lengths),), generator=generator)
    return ids, torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("lengths", [(7,), (5, 5, 5), (3, 41, 11, 1, 60, 2), (33,) * 12 + (31,) * 14], ids=str)
def test_packed_texts_have_the_states_of_the_reference(name: str, lengths: tuple[int, ...]) -> None:
    reference = encoder(CONFIGS[name])
    fast = FusedEncoder(reference, "fp32")
    ids, starts = packed_batch(*lengths)
    with torch.inference_mode():
        expected, found = (one(ids, sequence_starts=starts) for one in (reference, fast))
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=2e-5, rtol=1e-5)
    assert (found.pooler_output is None) == (reference.pooler is None)
    if expected.pooler_output is not None:
        torch.testing.assert_close(found.pooler_output, expected.pooler_output, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_depth_chosen_tokens_and_inner_states_are_those_of_the_reference(name: str) -> None:
    reference = encoder(CONFIGS[name])
    fast = FusedEncoder(reference, "fp32")
    ids = torch.randint(1, 97, (3, 17), generator=torch.Generator().manual_seed(5))
    mask = (torch.arange(17) < torch.tensor([[17], [4], [9]])).long()
    chosen = torch.tensor([2, 17, 19, 40])
    with torch.inference_mode():
        for choices in (
            {"attention_mask": mask},
            {"attention_mask": mask, "depth": 2},
            {"attention_mask": mask, "positions": chosen},
            {"attention_mask": mask, "output_hidden_states": True},
            {"attention_mask": mask, "output_attentions": True},
        ):
            expected, found = (one(ids, **choices) for one in (reference, fast))
            real = slice(None) if "positions" in choices else mask.bool()
            torch.testing.assert_close(
                found.last_hidden_state[real], expected.last_hidden_state[real], atol=2e-5, rtol=1e-5
            )
            assert found.last_hidden_state.dtype == torch.float32
            for one, other in zip(found.attentions or (), expected.attentions or (), strict=True):
                torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)
            assert len(found.hidden_states or ()) == len(expected.hidden_states or ())


@pytest.mark.parametrize("name", ["bert", "albert", "norms before"])
def test_bf16_is_as_near_to_fp32_as_autocast_is(name: str) -> None:
    reference = encoder(CONFIGS[name])
    fast = FusedEncoder(reference, "bf16")
    ids, starts = packed_batch(3, 41, 11, 1, 60, 2)
    with torch.inference_mode():
        exact = reference(ids, sequence_starts=starts).last_hidden_state
        with autocast("bf16"):
            usual = reference(ids, sequence_starts=starts).last_hidden_state
            found = fast(ids, sequence_starts=starts).last_hidden_state
    assert found.dtype == torch.float32
    off, allowed = (float((one - exact).norm() / exact.norm()) for one in (found, usual))
    assert off < 2 * allowed + 1e-3
    assert off > 1e-6, "the products were not rounded"


def test_shared_blocks_are_laid_out_once() -> None:
    fast = FusedEncoder(encoder(CONFIGS["albert"]), "fp32")
    assert len(fast._fused) == 5
    assert len({id(one.inner) for one in fast._fused}) == 1
    assert len({id(one.projected) for one in fast._fused}) == 1


def test_a_copy_answers_the_same_and_leaves_the_module_alone() -> None:
    module = nn.ModuleDict({"body": encoder(CONFIGS["bert"]), "head": nn.Linear(28, 3)}).eval()
    copied = inference_copy(module, "bf16")
    assert isinstance(module["body"], Encoder)
    assert type(module["body"]) is Encoder
    assert isinstance(copied, nn.ModuleDict)
    assert type(copied["body"]) is FusedEncoder
    assert {one.dtype for one in module.parameters()} == {torch.float32}
    assert copied["head"].weight.dtype == torch.bfloat16
    words = copied["body"].embeddings.word_embeddings.weight
    assert words is module["body"].embeddings.word_embeddings.weight


def test_encoders_with_adapters_or_hooks_stay_as_they_are() -> None:
    adapted = nn.ModuleDict({"body": encoder(CONFIGS["bert"])})
    add_low_rank(adapted, 2)
    hooked = nn.ModuleDict({"body": encoder(CONFIGS["bert"])})
    hooked["body"].attention_blocks[0].register_forward_hook(lambda *_: None)
    for module in (adapted, hooked):
        assert type(inference_copy(module, "fp32")["body"]) is Encoder  # type: ignore[index]


def test_an_encoder_with_dropout_answers_without_it() -> None:
    config = replace(CONFIGS["albert"], hidden_dropout_prob=0.4, attention_probs_dropout_prob=0.4)
    reference = encoder(config)
    fast = FusedEncoder(reference, "fp32").eval()
    ids, starts = packed_batch(9, 4)
    with torch.inference_mode():
        torch.testing.assert_close(
            fast(ids, sequence_starts=starts).last_hidden_state,
            reference(ids, sequence_starts=starts).last_hidden_state,
            atol=2e-5,
            rtol=1e-5,
        )
