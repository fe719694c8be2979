from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from albertine.checkpoints.adapting import with_identity_projection
from albertine.checkpoints.huggingface import model_type
from albertine.checkpoints.load import open_state
from albertine.checkpoints.sharing import shared, unshared
from albertine.checkpoints.state import ModelState, TaskHead
from albertine.checkpoints.verify import compare_states
from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel
from albertine.models.outputs import PretrainingOutput

# fmt: off
ALBERT = EncoderConfig(vocab_size=53, hidden_size=12, num_hidden_layers=5, num_attention_heads=3, intermediate_size=17,
                       embedding_size=7, share="all", hidden_act="gelu_tanh", max_position_embeddings=19)
BERT = replace(ALBERT, embedding_size=12, share="none", hidden_act="gelu")
BRIGHTMART = replace(ALBERT, embedding_norm_width="hidden", projection_bias=False)
# fmt: on


def made(config: EncoderConfig, dtype: torch.dtype = torch.float32) -> ModelState:
    """A model whose every tensor is random, biases and norms included, with a fine-tuned head."""
    tensors = {name: torch.randn(tensor.shape) * 0.3 for name, tensor in PretrainingModel(config).state_dict().items()}
    tensors |= {"classifier.weight": torch.randn(3, config.hidden_size), "classifier.bias": torch.randn(3)}
    return ModelState(
        config=config,
        tensors={name: tensor.to(dtype) for name, tensor in tensors.items()},
        head=TaskHead(task="text-classification", labels=("x", "y", "z"), module="classifier"),
    )


def run(state: ModelState) -> PretrainingOutput:
    model = PretrainingModel(state.config)
    own = {name: tensor for name, tensor in state.tensors.items() if not name.startswith("classifier.")}
    model.load_state_dict(own)
    ids = torch.randint(0, 53, (3, 11), generator=torch.Generator().manual_seed(5))
    mask = (torch.arange(11) < torch.tensor([[11], [7], [1]])).long()
    with torch.no_grad():
        return model.eval()(ids, attention_mask=mask, token_type_ids=(ids > 30).long(), output_hidden_states=True)


def flat(output: PretrainingOutput) -> list[Tensor]:
    assert output.encoder.hidden_states is not None
    assert output.prediction_logits is not None
    assert output.pair_logits is not None
    assert output.encoder.pooler_output is not None
    return [*output.encoder.hidden_states, output.encoder.pooler_output, output.prediction_logits, output.pair_logits]


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"share": "attention"},
        {"share": "feed-forward"},
        {"num_hidden_groups": 2},
        {"num_hidden_groups": 5},
        {"inner_group_num": 2},
        {"inner_group_num": 3, "num_hidden_groups": 2},
        {"inner_group_num": 2, "num_hidden_groups": 2, "share": "attention"},
        {"inner_group_num": 2, "num_hidden_groups": 3, "share": "feed-forward"},
        {"inner_group_num": 2, "share": "none"},
        {"norm_placement": "pre"},
        {"embedding_norm_width": "hidden"},
        {"embedding_norm_width": "none", "position_embedding": "sinusoidal"},
    ],
    ids=str,
)
def test_a_model_without_sharing_computes_the_same_bit_for_bit(overrides: dict[str, str | int]) -> None:
    state = made(replace(ALBERT, **overrides))  # type: ignore[arg-type]
    result = unshared(state)
    assert result.config.share == "none"
    assert (result.config.num_hidden_groups, result.config.inner_group_num) == (1, 1)
    assert result.config.num_hidden_layers == state.config.num_passes
    assert result.config.embedding_size == state.config.embedding_size
    assert PretrainingModel(result.config).state_dict().keys() | {"classifier.weight", "classifier.bias"} == set(
        result.tensors
    )
    before, after = flat(run(state)), flat(run(result))
    assert len(before) == len(after) == state.config.num_passes + 4
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_what_stands_outside_the_blocks_comes_along_untouched() -> None:
    state = made(ALBERT)
    for result in (unshared(state), shared(made(BERT), groups=2)):
        assert result.head == state.head
    result = unshared(state)
    assert all(result.tensors[name] is state.tensors[name] for name in state.tensors if "_blocks." not in name)


def test_copies_of_a_block_take_no_memory_of_their_own() -> None:
    result = unshared(made(ALBERT))
    places = {result.tensors[f"encoder.attention_blocks.{index}.query.weight"].data_ptr() for index in range(5)}
    assert len(places) == 1


@pytest.mark.parametrize("projection", ["auto", "always"])
def test_brightmarts_albert_becomes_a_genuine_bert(projection: str) -> None:
    width = {"auto": 7, "always": 12}[projection]
    state = made(replace(BRIGHTMART, embedding_size=width, projection=projection))  # type: ignore[arg-type]
    result = unshared(state)
    assert model_type(result.config) == "bert"
    assert result.config == replace(BERT, hidden_act="gelu_tanh")
    assert set(result.tensors) == set(made(result.config).tensors)
    for one, other in zip(flat(run(state)), flat(run(result)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_an_untied_word_decoder_is_multiplied_out_too() -> None:
    state = made(replace(BRIGHTMART, tie_word_embeddings=False))
    result = unshared(state)
    assert tuple(result.tensors["masked_word_head.decoder.weight"].shape) == (53, 12)
    for one, other in zip(flat(run(state)), flat(run(result)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_the_table_is_multiplied_out_in_pieces_and_keeps_its_type() -> None:
    state = made(replace(BRIGHTMART, vocab_size=2500), torch.bfloat16)
    table = unshared(state).tensors["encoder.embeddings.word_embeddings.weight"]
    words, projection = (
        state.tensors[f"encoder.embeddings.{part}.weight"].double() for part in ("word_embeddings", "projection")
    )
    assert table.dtype == torch.bfloat16
    assert torch.equal(table, (words @ projection.t()).bfloat16())


def test_googles_albert_keeps_its_narrow_table_because_a_norm_stands_behind_it() -> None:
    result = unshared(made(ALBERT))
    assert model_type(result.config) != "bert"  # transformers' ALBERT has a place for it, with a group for every layer
    assert tuple(result.tensors["encoder.embeddings.projection.weight"].shape) == (12, 7)


@pytest.mark.parametrize("state", [made(BERT), made(replace(BERT, num_hidden_groups=5))])
def test_unsharing_a_bert_is_refused(state: ModelState) -> None:
    with pytest.raises(ConfigError, match="nothing to unshare"):
        unshared(state)


def test_sharing_what_was_unshared_gives_the_albert_back() -> None:
    state = made(replace(ALBERT, num_hidden_groups=2))
    result = shared(unshared(state), groups=2)
    assert result.config == state.config
    assert result.tensors.keys() == state.tensors.keys()
    assert all(torch.equal(result.tensors[name], state.tensors[name]) for name in state.tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_are_averaged_over_the_layers_of_a_group(dtype: torch.dtype) -> None:
    state = made(BERT, dtype)
    result = shared(state, groups=2)
    assert (result.config.share, result.config.num_hidden_groups) == ("all", 2)
    assert PretrainingModel(result.config).state_dict().keys() <= result.tensors.keys()
    # layer * 2 // 5: layers 0, 1 and 2 are the first group
    for group, layers in enumerate(([0, 1, 2], [3, 4])):
        for part in ("attention_blocks.{}.value.bias", "feed_forward_blocks.{}.output.weight"):
            sources = [state.tensors[f"encoder.{part.format(layer)}"].double() for layer in layers]
            expected = torch.stack(sources).mean(dim=0).to(dtype)
            found = result.tensors[f"encoder.{part.format(group)}"]
            assert found.dtype == dtype
            torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize(("groups", "method", "layers"), [(1, 3, [3]), (2, 1, [1, 4]), (5, 0, [0, 1, 2, 3, 4])])
def test_a_chosen_layer_stands_for_its_group(groups: int, method: int, layers: list[int]) -> None:
    state = made(BERT)
    result = shared(state, groups=groups, method=method)
    assert result.config.num_attention_blocks == groups
    for group, layer in enumerate(layers):
        for part in ("attention_blocks.{}.layer_norm.weight", "feed_forward_blocks.{}.intermediate.weight"):
            assert result.tensors[f"encoder.{part.format(group)}"] is state.tensors[f"encoder.{part.format(layer)}"]


def test_inner_blocks_are_shared_one_by_one() -> None:
    state = made(replace(BERT, inner_group_num=2))
    result = shared(state, method=2)
    for inner in range(2):
        name = "encoder.attention_blocks.{}.key.weight"
        assert result.tensors[name.format(inner)] is state.tensors[name.format(2 * 2 + inner)]
    assert len(run(result).encoder.hidden_states or ()) == 11


def test_a_shared_bert_with_an_identity_projection_is_one_that_transformers_has_code_for() -> None:
    assert model_type(with_identity_projection(shared(made(BERT), groups=5)).config) == "albert"


@pytest.mark.parametrize(
    ("config", "arguments", "where"),
    [
        (ALBERT, {}, "share"),
        (replace(BERT, share="attention"), {}, "share"),
        (BERT, {"groups": 0}, "groups"),
        (BERT, {"groups": 6}, "groups"),
        (BERT, {"groups": True}, "groups"),
        (BERT, {"method": 5}, "method"),
        (BERT, {"method": -1}, "method"),
        (BERT, {"method": True}, "method"),
        (BERT, {"method": "median"}, "method"),
        (BERT, {"groups": 2, "method": 2}, "method"),  # the second group has two layers
    ],
)
def test_what_cannot_be_shared_is_refused(config: EncoderConfig, arguments: dict[str, int], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shared(made(config), **arguments)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("name", "tolerance", "kind"),
    [
        ("albert_groups_random", 0.0, "albert"),
        ("albert_small_random", 0.0, "albert"),
        ("albert_zh_random", 1e-4, "bert"),  # the table is multiplied out
    ],
)
def test_checkpoints_of_the_original_code_compute_the_same_unshared(
    data_dir: Path, name: str, tolerance: float, kind: str
) -> None:
    opened = open_state(data_dir / "checkpoints" / name)
    result = unshared(opened.state)
    assert model_type(result.config) == kind
    tokenizers = (opened.tokenizer, opened.tokenizer)
    assert compare_states(opened.state, result, tokenizers=tokenizers, tolerance=tolerance).passed
