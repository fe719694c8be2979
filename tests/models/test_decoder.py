"""The decoder: packed against padded, what may be looked at, the fast blocks, other people's code, warm starts."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.decoder import (
    Decoder,
    count_decoder_parameters,
    decoder_config,
    decoder_flops_per_token,
    warm_start,
)
from albertine.models.encoder import Encoder
from albertine.models.training_blocks import plain_blocks

Value = str | int | float | bool

COLUMNS: dict[str, dict[str, Value]] = {
    "albert": {"share": "all"},
    "bert": {"share": "none", "embedding_size": 24},
    "groups": {"share": "attention", "num_hidden_groups": 2, "inner_group_num": 2},
    "pre-norm": {"share": "feed-forward", "norm_placement": "pre"},
    "brightmart": {"embedding_norm_width": "hidden", "projection_bias": False, "share": "all"},
    "transformer": {
        "position_embedding": "sinusoidal",
        "embedding_norm_width": "none",
        "hidden_act": "relu",
        "embedding_size": 24,
        "type_vocab_size": 0,
    },
}
LENGTHS = {
    "one": ([5], [9]),
    "equal": ([7, 7, 7], [4, 4, 4]),
    "equal targets": ([7, 7, 7], [4, 9, 1]),
    "uneven": ([13, 1, 7, 2], [3, 11, 1, 8]),
    "rectangles": ([90, 4, 5, 80, *[6] * 30, 2], [30, 70, 1, 2, *[5] * 30, 66]),
}
"""Tokens of the targets, and of their sources."""


def config(**overrides: Value) -> EncoderConfig:
    return EncoderConfig.from_dict(
        {
            "vocab_size": 99,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 37,
            "embedding_size": 13,
            "max_position_embeddings": 120,
            "initializer_range": 0.3,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            **overrides,
        }
    )


def decoder(**overrides: Value) -> Decoder:
    torch.manual_seed(3)
    return Decoder(decoder_config(config(**overrides))).eval()


def starts_of(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def packed_states(model: Decoder, ids: Tensor, memory: Tensor, targets: list[int], sources: list[int]) -> Tensor:
    source = Encoder(config()).layout(torch.zeros(sum(sources), dtype=torch.int64), sequence_starts=starts_of(sources))
    states: Tensor = model(ids, memory, memory_layout=source, sequence_starts=starts_of(targets))
    return states


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)


def padded_states(model: Decoder, ids: Tensor, memory: Tensor, targets: list[int], sources: list[int]) -> Tensor:
    """Return the states of the real tokens, computed in padded rows with noise in the padding."""
    real, seen = mask_of(targets), mask_of(sources)
    rows = torch.randint(1, 99, real.shape)
    rows[real] = ids
    states = torch.randn(*seen.shape, memory.shape[-1])
    states = states.masked_scatter(seen.unsqueeze(-1), memory)
    layout = Encoder(config()).layout(torch.zeros(seen.shape, dtype=torch.int64), attention_mask=seen.long())
    found: Tensor = model(rows, states, memory_layout=layout)[real]
    return found


def inputs(kind: str) -> tuple[Tensor, Tensor, list[int], list[int]]:
    targets, sources = LENGTHS[kind]
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(1, 99, (sum(targets),), generator=generator)
    return ids, torch.randn(sum(sources), 24, generator=generator), targets, sources


@pytest.mark.parametrize("kind", LENGTHS)
@pytest.mark.parametrize("columns", COLUMNS)
def test_packed_targets_and_sources_equal_padded_ones(columns: str, kind: str) -> None:
    model = decoder(**COLUMNS[columns])
    ids, memory, targets, sources = inputs(kind)
    with torch.no_grad():
        packed = packed_states(model, ids, memory, targets, sources)
        padded = padded_states(model, ids, memory, targets, sources)
    torch.testing.assert_close(packed, padded, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("train", [False, True])
def test_packed_gives_the_gradients_of_padded(train: bool) -> None:
    ids, memory, targets, sources = inputs("rectangles")
    found = []
    for states in (packed_states, padded_states):
        model = decoder(share="all").train(train)
        leaf = memory.clone().requires_grad_()
        states(model, ids, leaf, targets, sources).square().sum().backward()
        found.append({"memory": leaf.grad, **{name: one.grad for name, one in model.named_parameters()}})
    for name, packed in found[0].items():
        padded = found[1][name]
        if packed is None or padded is None:
            assert packed is padded, name
        else:
            torch.testing.assert_close(packed, padded, atol=2e-3, rtol=2e-3, msg=name)


@pytest.mark.parametrize("columns", COLUMNS)
def test_a_later_token_changes_nothing_before_it(columns: str) -> None:
    model = decoder(**COLUMNS[columns])
    ids, memory, targets, sources = inputs("uneven")
    starts = starts_of(targets).tolist()
    with torch.no_grad():
        before = packed_states(model, ids, memory, targets, sources)
        for start, end in itertools.pairwise(starts):
            for place in range(start, end):
                changed = ids.clone()
                changed[place] = changed[place] % 98 + 1
                after = packed_states(model, changed, memory, targets, sources)
                same = torch.ones(len(ids), dtype=torch.bool)
                same[place:end] = False
                torch.testing.assert_close(after[same], before[same], atol=1e-6, rtol=1e-6)
                # every later token of the same text, and no other, has noticed
                assert (after[place:end] - before[place:end]).abs().amax(dim=1).min() > 1e-4


@pytest.mark.parametrize("kind", ["equal", "uneven", "rectangles"])
def test_a_target_looks_at_all_of_its_own_source_and_at_no_other(kind: str) -> None:
    model = decoder()
    ids, memory, targets, sources = inputs(kind)
    target_starts, source_starts = starts_of(targets).tolist(), starts_of(sources).tolist()
    with torch.no_grad():
        before = packed_states(model, ids, memory, targets, sources)
        for text in range(min(4, len(targets))):
            for place in (source_starts[text], source_starts[text + 1] - 1):
                changed = memory.clone()
                changed[place] += 1.0
                moved = (packed_states(model, ids, changed, targets, sources) - before).abs().amax(dim=1)
                own = slice(target_starts[text], target_starts[text + 1])
                assert moved[own].min() > 1e-5
                moved[own] = 0.0
                assert moved.max() < 1e-6


def test_the_decoder_of_transformers_gives_the_same_states() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is needed for parity", exc_type=ImportError)
    transformers.logging.set_verbosity_error()
    theirs = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=99,
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=37,
            max_position_embeddings=120,
            is_decoder=True,
            add_cross_attention=True,
            attn_implementation="eager",
        ),
        add_pooling_layer=False,
    ).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    ours = decoder(share="none", embedding_size=24)
    weights = theirs.state_dict()
    embeddings = {
        "word_embeddings.weight": weights["embeddings.word_embeddings.weight"],
        # all tokens are of the first segment
        "position_embeddings.weight": weights["embeddings.position_embeddings.weight"]
        + weights["embeddings.token_type_embeddings.weight"][0],
        "layer_norm.weight": weights["embeddings.LayerNorm.weight"],
        "layer_norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    ours.embeddings.load_state_dict(embeddings)
    attention = {
        "query": "self.query",
        "key": "self.key",
        "value": "self.value",
        "output": "output.dense",
        "layer_norm": "output.LayerNorm",
    }
    inner = {"intermediate": "intermediate.dense", "output": "output.dense", "layer_norm": "output.LayerNorm"}
    for layer in range(2):
        for blocks, names, prefix in (
            (ours.self_attention_blocks, attention, "attention."),
            (ours.cross_attention_blocks, attention, "crossattention."),
            (ours.feed_forward_blocks, inner, ""),
        ):
            blocks[layer].load_state_dict(
                {
                    f"{own}.{kind}": weights[f"encoder.layer.{layer}.{prefix}{other}.{kind}"]
                    for own, other in names.items()
                    for kind in ("weight", "bias")
                }
            )
    ids, memory, targets, sources = inputs("uneven")
    real, seen = mask_of(targets), mask_of(sources)
    rows = torch.zeros(real.shape, dtype=torch.int64)
    rows[real] = ids
    states = torch.zeros(*seen.shape, 24).masked_scatter(seen.unsqueeze(-1), memory)
    with torch.no_grad():
        expected = theirs(
            rows,
            attention_mask=real.long(),
            encoder_hidden_states=states,
            encoder_attention_mask=seen.long(),
            use_cache=False,
        ).last_hidden_state[real]
        found = packed_states(ours, ids, memory, targets, sources)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def training_gradients(model: Decoder, kind: str, *, bf16: bool = False) -> dict[str, Tensor]:
    ids, memory, targets, sources = inputs(kind)
    leaf = memory.requires_grad_()
    torch.manual_seed(11)
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        state = packed_states(model, ids, leaf, targets, sources).float()
    weights = torch.randn(state.shape, generator=torch.Generator().manual_seed(7))
    (state * weights).sum().backward()
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    assert leaf.grad is not None
    return {"state": state.detach(), "memory": leaf.grad, **found}


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


@pytest.mark.parametrize("kind", LENGTHS)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("share", ["all", "none"])
def test_the_blocks_of_training_give_the_values_and_gradients_of_the_plain_modules(
    share: str, dropout: float, kind: str
) -> None:
    model = decoder(share=share, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout).train()
    plain, fast = both(lambda: training_gradients(model, kind))
    assert_near(plain, fast, 1e-5)


def test_bf16_blocks_are_as_near_to_fp32_as_the_plain_modules_are() -> None:
    model = decoder(initializer_range=0.1).train()
    with plain_blocks():
        exact = training_gradients(model, "rectangles")
    plain, fast = both(lambda: training_gradients(model, "rectangles", bf16=True))
    distances = {"plain": 0.0, "fast": 0.0}
    for name, one in exact.items():
        if "key.bias" not in name:  # its gradient is zero but for rounding
            distances["plain"] += float((plain[name] - one).norm() / one.norm())
            distances["fast"] += float((fast[name] - one).norm() / one.norm())
    assert 0 < distances["fast"] < 1.3 * distances["plain"]


@pytest.mark.parametrize("trained", ["self_attention_blocks.0.query.bias", "cross_attention_blocks.1.value", "bias"])
def test_frozen_weights_get_no_gradient_and_the_others_the_same(trained: str) -> None:
    model = decoder(share="none").train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = trained in name and name != "bias"
    plain, fast = both(lambda: training_gradients(model, "uneven"))
    assert_near(plain, fast, 1e-5)
    assert all(trained in name for name in fast if name not in ("state", "memory"))


def test_the_fast_blocks_are_used_in_training_alone() -> None:
    model = decoder().train()
    ids, memory, targets, sources = inputs("uneven")
    layout = model.layout(ids, starts_of(targets))
    source = Encoder(config()).layout(torch.zeros(sum(sources), dtype=torch.int64), sequence_starts=starts_of(sources))
    views = model.views(layout, source)
    hidden = torch.randn(len(ids), 24)

    def fast() -> bool:
        own = model.self_attention_blocks[0](hidden, views.own)
        across = model.cross_attention_blocks[0](hidden, views.source, memory)
        nodes = [one.grad_fn and one.grad_fn.next_functions[0][0] for one in (own, across)]
        return all("_Attention" in str(node) for node in nodes)

    assert fast()
    with plain_blocks():
        assert not fast()
    with torch.no_grad():
        assert not fast()


def test_a_replaced_part_is_heeded_in_training() -> None:
    model = decoder().train()

    class Doubled(nn.Linear):
        def forward(self, values: Tensor) -> Tensor:
            return 2 * super().forward(values)

    ids, memory, targets, sources = inputs("uneven")
    before = packed_states(model, ids, memory, targets, sources)
    for block in model.cross_attention_blocks:
        block.get_submodule("output").__class__ = Doubled
    after = packed_states(model, ids, memory, targets, sources)
    assert not torch.allclose(after, before, atol=1e-3)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("columns", COLUMNS)
def test_the_counted_parameters_are_those_there_are(columns: str, shared: bool) -> None:
    own = decoder_config(config(**COLUMNS[columns]), layers=3, positions=41)
    words = nn.Embedding(own.vocab_size, own.embedding_size) if shared else None
    model = Decoder(own, words=words)
    counted = count_decoder_parameters(own, shared_table=shared)
    assert counted.unique == sum(one.numel() for one in model.parameters())
    assert counted.executed >= counted.unique


def test_the_operations_of_a_token_are_those_of_its_products() -> None:
    own = decoder_config(config(embedding_size=24), layers=1)
    # itself: four products of 24 × 24, and twice 10 keys; across: query and output, keys and values of 20 source tokens
    # over 10 of the target, and twice 20 keys; two products of 24 × 37; the table
    products = 4 * 24 * 24 + 2 * 10 * 24 + 2 * 24 * 24 + 2 * 24 * 24 * 2 + 2 * 20 * 24 + 2 * 24 * 37 + 99 * 24
    assert decoder_flops_per_token(own, length=10, source_length=20) == 2 * products


def test_shared_words_are_saved_once_and_stay_shared() -> None:
    encoder = Encoder(config())
    model = nn.ModuleDict({"encoder": encoder})
    model["decoder"] = Decoder(decoder_config(config()), words=encoder.embeddings.word_embeddings)
    assert "decoder.embeddings.word_embeddings.weight" not in model.state_dict()
    state = {name: torch.randn_like(one) for name, one in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    table = model["decoder"].table
    assert table is encoder.embeddings.word_embeddings.weight
    assert torch.equal(table, state["encoder.embeddings.word_embeddings.weight"])
    twin = copy.deepcopy(model)
    assert twin["decoder"].table is twin["encoder"].embeddings.word_embeddings.weight
    assert twin["decoder"].table is not table


def test_words_of_another_shape_cannot_be_shared() -> None:
    with pytest.raises(ConfigError, match=r"\[98, 13\].*\[99, 13\]"):
        Decoder(decoder_config(config()), words=nn.Embedding(98, 13))


def test_a_target_without_its_source_is_refused() -> None:
    ids, memory, targets, sources = inputs("uneven")
    with pytest.raises(ConfigError, match=r"3 targets.*4, the number of sources"):
        packed_states(decoder(), ids[:-2], memory, targets[:3], sources)


def test_a_target_longer_than_the_positions_is_refused() -> None:
    model = Decoder(decoder_config(config(), positions=12))
    ids, memory, targets, sources = inputs("uneven")
    with pytest.raises(ConfigError, match=r"13 tokens.*up to 12"):
        packed_states(model, ids, memory, targets, sources)


def test_the_decoder_may_have_another_depth_and_vocabulary() -> None:
    made = decoder_config(config(num_hidden_groups=2), layers=1, vocab_size=31, positions=7)
    assert (made.num_hidden_layers, made.num_hidden_groups, made.vocab_size) == (1, 1, 31)
    assert made.max_position_embeddings == 7
    assert made.hidden_size == 24
    with pytest.raises(ConfigError, match="num_hidden_layers"):
        decoder_config(config(), layers=0)


def test_a_warm_start_takes_what_agrees_and_leaves_the_rest() -> None:
    encoder = Encoder(config(share="none", num_hidden_layers=4))
    model = decoder(share="none", num_hidden_layers=2)
    before = copy.deepcopy(model.state_dict())
    taken = warm_start(model, encoder, same_vocabulary=True)
    state = model.state_dict()
    for layer, source in ((0, 1), (1, 3)):
        for ours, theirs in (("self_attention_blocks", "attention_blocks"), ("feed_forward_blocks",) * 2):
            for name, tensor in getattr(encoder, theirs)[source].state_dict().items():
                assert torch.equal(state[f"{ours}.{layer}.{name}"], tensor)
    segment = encoder.embeddings.token_type_embeddings
    assert segment is not None
    assert encoder.embeddings.position_embeddings is not None
    positions = encoder.embeddings.position_embeddings.weight + segment.weight[0]
    assert torch.equal(state["embeddings.position_embeddings.weight"], positions)
    assert torch.equal(model.table, encoder.embeddings.word_embeddings.weight)
    same = {name for name in state if torch.equal(state[name], before[name])}
    fresh = {name for name in state if name.startswith(("cross_attention", "output.")) or name == "bias"}
    # norms and biases begin alike everywhere
    assert fresh <= same
    assert taken == sum(state[name].numel() for name in state if name not in fresh)


def test_a_warm_start_leaves_the_words_of_another_vocabulary_and_positions_that_are_not_there() -> None:
    encoder = Encoder(config())
    model = Decoder(decoder_config(config(), positions=200))
    words, positions = model.table.clone(), model.embeddings.position_embeddings
    assert positions is not None
    beyond = positions.weight[120:].clone()
    warm_start(model, encoder, same_vocabulary=False)
    assert torch.equal(model.table, words)
    assert torch.equal(positions.weight[120:], beyond)
    assert encoder.embeddings.position_embeddings is not None
    assert not torch.equal(positions.weight[:120], torch.zeros_like(positions.weight[:120]))


def test_a_shared_block_is_taken_once_from_a_shared_block() -> None:
    encoder = Encoder(config(share="all", num_hidden_layers=6))
    model = decoder(share="all", num_hidden_layers=3)
    warm_start(model, encoder, same_vocabulary=True)
    assert torch.equal(model.self_attention_blocks[0].query.weight, encoder.attention_blocks[0].query.weight)
