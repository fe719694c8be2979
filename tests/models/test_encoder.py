from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree

from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder, EncoderOutput

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


COLUMNS: list[dict[str, Value]] = [
    {"share": "all"},
    {"share": "none", "embedding_size": 24},
    {"share": "attention", "num_hidden_groups": 2, "inner_group_num": 2},
    {"share": "feed-forward", "norm_placement": "pre"},
    {"embedding_norm_width": "hidden", "projection_bias": False, "share": "all"},
    {"position_embedding": "sinusoidal", "embedding_norm_width": "none", "hidden_act": "relu", "type_vocab_size": 0},
]


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("lengths", [[13], [7, 7], [13, 1, 7], [200, 190, *[5] * 30, 99], [*[41] * 12, *[37] * 11]])
@pytest.mark.parametrize("gradients", [True, False])
def test_packed_input_equals_padded_input_on_real_positions(
    columns: dict[str, Value], lengths: list[int], gradients: bool
) -> None:
    encoder = build(**columns)
    ids, mask, segments = padded_batch(lengths)
    real = mask.bool()
    with torch.set_grad_enabled(gradients):  # without them the plain modules compute
        padded = encoder(ids, attention_mask=mask, token_type_ids=segments, output_hidden_states=True)
        packed = encoder(
            ids[real],
            token_type_ids=segments[real],
            sequence_starts=torch.tensor([0, *lengths]).cumsum(0),
            output_hidden_states=True,
        )
    torch.testing.assert_close(packed.last_hidden_state, padded.last_hidden_state[real], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(packed.pooler_output, padded.pooler_output, atol=1e-5, rtol=1e-4)
    for one, other in zip(packed.hidden_states, padded.hidden_states, strict=True):
        torch.testing.assert_close(one, other[real], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("lengths", [[130, 5, 7, 120, *[3] * 20], [*[41] * 12, *[37] * 11]])
def test_packed_input_gives_the_gradients_of_padded_input(lengths: list[int]) -> None:
    ids, mask, _ = padded_batch(lengths)
    gradients = []
    for packed in (False, True):
        encoder = build(share="all")
        if packed:
            out = encoder(ids[mask.bool()], sequence_starts=torch.tensor([0, *lengths]).cumsum(0))
            states = out.last_hidden_state
        else:
            out = encoder(ids, attention_mask=mask)
            states = out.last_hidden_state[mask.bool()]
        (states.cos().mean() + out.pooler_output.mean()).backward()
        gradients.append({name: parameter.grad for name, parameter in encoder.named_parameters()})
    for name in gradients[0]:
        torch.testing.assert_close(gradients[1][name], gradients[0][name], atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("columns", COLUMNS)
def test_padding_changes_no_real_position(columns: dict[str, Value]) -> None:
    encoder = build(**columns)
    ids, mask, _ = padded_batch([13, 7])
    alone = encoder(ids[1:, :7])
    together = encoder(ids, attention_mask=mask)
    torch.testing.assert_close(together.last_hidden_state[1, :7], alone.last_hidden_state[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.pooler_output[1], alone.pooler_output[0], atol=1e-5, rtol=1e-4)


def test_without_a_mask_every_position_counts() -> None:
    encoder = build()
    ids, mask, _ = padded_batch([13, 7])
    torch.testing.assert_close(
        encoder(ids).last_hidden_state, encoder(ids, attention_mask=torch.ones_like(mask)).last_hidden_state
    )
    assert not torch.allclose(encoder(ids).pooler_output[1], encoder(ids, attention_mask=mask).pooler_output[1])


def test_a_row_of_padding_only_gives_numbers() -> None:
    encoder = build()
    ids, mask, _ = padded_batch([13, 7])
    mask[1] = 0
    out = encoder(ids, attention_mask=mask)
    assert bool(out.last_hidden_state.isfinite().all())
    out.last_hidden_state.sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in encoder.parameters())


def test_depth_stops_the_stack_after_so_many_passes() -> None:
    encoder = build(inner_group_num=2, share="all")
    ids, mask, _ = padded_batch([13, 7])
    full = encoder(ids, attention_mask=mask, output_hidden_states=True)
    assert len(full.hidden_states) == 9
    for depth in (1, 3, 8):
        shallow = encoder(ids, attention_mask=mask, depth=depth, output_hidden_states=True, output_attentions=True)
        torch.testing.assert_close(shallow.last_hidden_state, full.hidden_states[depth])
        assert len(shallow.hidden_states) == depth + 1
        assert len(shallow.attentions) == depth
    torch.testing.assert_close(full.last_hidden_state, full.hidden_states[-1])


@pytest.mark.parametrize("depth", [0, -1, 5])
def test_a_depth_outside_the_stack_is_refused(depth: int) -> None:
    with pytest.raises(ConfigError, match=r"depth.*1 … 4"):
        build()(torch.ones(1, 3, dtype=torch.int64), depth=depth)


@pytest.mark.parametrize("columns", COLUMNS)
def test_the_public_steps_are_what_forward_does(columns: dict[str, Value]) -> None:
    encoder = build(**columns)
    ids, mask, segments = padded_batch([13, 7])
    layout = encoder.layout(ids, attention_mask=mask)
    hidden = encoder.embed(ids, layout=layout, token_type_ids=segments)
    for index in range(encoder.config.num_passes):
        hidden = encoder.run_pass(index, hidden, layout).hidden
    out = encoder(ids, attention_mask=mask, token_type_ids=segments)
    assert torch.equal(hidden, out.last_hidden_state)
    assert torch.equal(encoder.pool(hidden, layout), out.pooler_output)


@pytest.mark.parametrize("columns", COLUMNS)
def test_embeddings_may_stand_in_for_ids(columns: dict[str, Value]) -> None:
    encoder = build(**columns)
    ids, mask, segments = padded_batch([13, 7])
    embeds = encoder.embeddings.word_embeddings(ids)
    given = encoder(inputs_embeds=embeds, attention_mask=mask, token_type_ids=segments)
    looked_up = encoder(ids, attention_mask=mask, token_type_ids=segments)
    assert torch.equal(given.last_hidden_state, looked_up.last_hidden_state)
    real = mask.bool()
    packed = encoder(
        inputs_embeds=embeds[real], token_type_ids=segments[real], sequence_starts=torch.tensor([0, 13, 20])
    )
    torch.testing.assert_close(packed.last_hidden_state, looked_up.last_hidden_state[real], atol=1e-5, rtol=1e-4)


def test_positions_count_from_zero_unless_given() -> None:
    encoder = build()
    ids, _, _ = padded_batch([7, 7])
    default = encoder(ids).last_hidden_state
    assert torch.equal(encoder(ids, position_ids=torch.arange(7).expand(2, 7)).last_hidden_state, default)
    shifted = encoder(ids, position_ids=torch.arange(5, 12).expand(2, 7)).last_hidden_state
    assert not torch.allclose(shifted, default)


def test_absent_segments_are_segments_of_zero() -> None:
    encoder = build()
    ids, _, _ = padded_batch([7, 7])
    torch.testing.assert_close(
        encoder(ids).last_hidden_state, encoder(ids, token_type_ids=torch.zeros_like(ids)).last_hidden_state
    )


def test_a_shared_block_receives_the_gradient_of_every_pass() -> None:
    shared = build(share="all")
    unshared = build(share="none")
    unshared.load_state_dict(
        {
            name: shared.state_dict()[name.replace(f"blocks.{index}.", "blocks.0.")]
            for name in unshared.state_dict()
            for index in [int(name.split(".")[1]) if "blocks." in name else 0]
        }
    )
    ids, mask, _ = padded_batch([13, 7])
    for encoder in (shared, unshared):
        encoder(ids, attention_mask=mask).last_hidden_state.cos().sum().backward()
    for kind in ("attention_blocks", "feed_forward_blocks"):
        blocks = getattr(unshared, kind)
        assert len(blocks) == 4
        for name, parameter in getattr(shared, kind)[0].named_parameters():
            parts = [block.get_parameter(name).grad for block in blocks]
            torch.testing.assert_close(parameter.grad, sum(parts), atol=1e-4, rtol=1e-3)
            if name != "key.bias":
                assert all(float(part.abs().sum()) > 0 for part in parts)


def test_partial_sharing_shares_one_part_and_keeps_the_other() -> None:
    encoder = build(share="attention", num_hidden_groups=2)
    assert (len(encoder.attention_blocks), len(encoder.feed_forward_blocks)) == (2, 4)
    encoder = build(share="feed-forward", num_hidden_groups=2)
    assert (len(encoder.attention_blocks), len(encoder.feed_forward_blocks)) == (4, 2)


def test_hidden_states_start_with_the_projected_embeddings() -> None:
    encoder = build(share="all", inner_group_num=2)
    ids, mask, _ = padded_batch([13, 7])
    out = encoder(ids, attention_mask=mask, output_hidden_states=True, output_attentions=True)
    assert len(out.hidden_states) == 4 * 2 + 1
    assert len(out.attentions) == 4 * 2
    assert torch.equal(out.hidden_states[0], encoder.embed(ids, layout=encoder.layout(ids)))
    assert out.hidden_states[0].shape == (2, 13, 24)


def test_attentions_are_weights_over_real_keys() -> None:
    encoder = build()
    ids, mask, _ = padded_batch([13, 7])
    out = encoder(ids, attention_mask=mask, output_attentions=True)
    for weights in out.attentions:
        assert weights.shape == (2, 3, 13, 13)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 13))
        assert float(weights[1, :, :, 7:].detach().max()) == 0.0
    assert encoder(ids).attentions is None
    assert encoder(ids).hidden_states is None


def test_attentions_of_packed_input_are_refused() -> None:
    with pytest.raises(ConfigError, match="padded input only"):
        build()(torch.ones(5, dtype=torch.int64), sequence_starts=torch.tensor([0, 5]), output_attentions=True)


def test_an_encoder_without_a_pooler_pools_nothing() -> None:
    assert build(add_pooler=False)(torch.ones(2, 3, dtype=torch.int64)).pooler_output is None


def test_outputs_are_trees_of_tensors() -> None:
    out = build(add_pooler=False)(torch.ones(2, 3, dtype=torch.int64), output_hidden_states=True)
    leaves = _pytree.tree_leaves(out)
    assert len(leaves) == 1 + 5
    halved = _pytree.tree_map(lambda tensor: tensor / 2, out)
    assert isinstance(halved, EncoderOutput)
    assert halved.pooler_output is None
    torch.testing.assert_close(halved.last_hidden_state * 2, out.last_hidden_state)
    paths = [_pytree.keystr(path) for path, _ in _pytree.tree_leaves_with_path(out)]
    assert paths[:2] == [".last_hidden_state", ".hidden_states[0]"]


def test_outputs_cannot_be_changed() -> None:
    out = build()(torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(dataclasses.FrozenInstanceError):
        out.pooler_output = None


def test_gradients_of_single_examples_come_from_vmap() -> None:
    encoder = build(share="all")
    ids, mask, _ = padded_batch([13, 7, 1])
    parameters = {name: parameter.detach() for name, parameter in encoder.named_parameters()}

    def loss(values: dict[str, Tensor], row: Tensor, shown: Tensor) -> Tensor:
        out = torch.func.functional_call(encoder, values, (row[None],), {"attention_mask": shown[None]})
        return out.pooler_output.cos().sum()

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, ids, mask)
    for row in range(3):
        single = torch.func.grad(loss)(parameters, ids[row], mask[row])
        for name in single:
            torch.testing.assert_close(gradients[name][row], single[name], atol=1e-4, rtol=1e-3)


def test_half_width_products_stay_close_to_full_ones() -> None:
    encoder = build(initializer_range=0.1)
    ids, mask, _ = padded_batch([60, 7, 1, 13])
    starts = torch.tensor([0, 60, 67, 68, 81])
    exact = encoder(ids, attention_mask=mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        padded = encoder(ids, attention_mask=mask)
        packed = encoder(ids[mask.bool()], sequence_starts=starts)
    torch.testing.assert_close(padded.pooler_output.float(), exact.pooler_output, atol=0.1, rtol=0.1)
    torch.testing.assert_close(packed.pooler_output.float(), exact.pooler_output, atol=0.1, rtol=0.1)
    packed.pooler_output.float().cos().sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in encoder.parameters())


def test_the_padded_path_can_be_exported_with_any_batch_and_length() -> None:
    encoder = build(share="all", num_hidden_layers=2)
    ids, mask, _ = padded_batch([13, 7])
    rows, length = torch.export.Dim("rows", max=64), torch.export.Dim("length", min=2, max=300)
    shapes = {"input_ids": {0: rows, 1: length}, "attention_mask": {0: rows, 1: length}}
    exported = torch.export.export(encoder, (ids,), {"attention_mask": mask}, dynamic_shapes=shapes).module()
    ids, mask, _ = padded_batch([29, 7, 1])
    torch.testing.assert_close(
        exported(ids, attention_mask=mask).last_hidden_state, encoder(ids, attention_mask=mask).last_hidden_state
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "neither"),
        ({"input_ids": (2, 7), "inputs_embeds": (2, 7, 13)}, "both"),
        ({"input_ids": (7,)}, "sequence_starts"),
        ({"input_ids": (2, 7), "sequence_starts": [0, 14]}, "wrong shape"),
        ({"input_ids": (7,), "sequence_starts": [0, 7], "attention_mask": (7,)}, "no attention_mask"),
        ({"input_ids": (2, 7), "attention_mask": (2, 8)}, "does not fit"),
        ({"input_ids": (2, 0)}, "no tokens"),
        ({"input_ids": (1, 301)}, "up to 300"),
        ({"input_ids": (350,), "sequence_starts": [0, 301, 350]}, "up to 300"),
        ({"input_ids": (7,), "sequence_starts": [0, 9]}, "rising from 0 to 7"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(arguments: dict[str, object], said: str) -> None:
    tensors = {
        name: torch.tensor(value)
        if name == "sequence_starts"
        else torch.ones(value, dtype=torch.float32 if name == "inputs_embeds" else torch.int64)
        for name, value in arguments.items()
    }
    with pytest.raises(ConfigError, match=said):
        build()(**tensors)


def test_ids_outside_a_table_are_refused_by_the_field_that_sets_it() -> None:
    encoder = build()
    ids = torch.tensor([[1, 99]])
    with pytest.raises(ConfigError, match=r"vocab_size.*from 1 to 99.*0 … 98"):
        encoder(ids)
    with pytest.raises(ConfigError, match="type_vocab_size"):
        encoder(torch.tensor([[1, 2]]), token_type_ids=torch.tensor([[0, 2]]))
    with pytest.raises(ConfigError, match="max_position_embeddings"):
        encoder(torch.tensor([[1, 2]]), position_ids=torch.tensor([[0, 300]]))
    with pytest.raises(ConfigError, match="vocab_size"):
        encoder(torch.tensor([[-1, 2]]))
