from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils import _pytree

from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.heads import MaskedWordHead, PretrainingModel


def small(**overrides: str | int | float | bool) -> EncoderConfig:
    return EncoderConfig.from_dict(
        {
            "vocab_size": 99,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 37,
            "embedding_size": 13,
            "initializer_range": 0.3,
            **overrides,
        }
    )


IDS = torch.arange(1, 22).reshape(3, 7)


def test_logits_have_one_score_a_word_and_two_a_pair() -> None:
    model = PretrainingModel(small()).eval()
    out = model(IDS)
    assert out.prediction_logits.shape == (3, 7, 99)
    assert out.pair_logits.shape == (3, 2)
    assert out.encoder.last_hidden_state.shape == (3, 7, 24)


def test_packed_input_gives_the_logits_of_padded_input() -> None:
    model = PretrainingModel(small()).eval()
    mask = torch.tensor([[1] * 7, [1] * 5 + [0] * 2, [1] + [0] * 6])
    padded = model(IDS, attention_mask=mask)
    packed = model(IDS[mask.bool()], sequence_starts=torch.tensor([0, 7, 12, 13]))
    torch.testing.assert_close(packed.prediction_logits, padded.prediction_logits[mask.bool()])
    torch.testing.assert_close(packed.pair_logits, padded.pair_logits)


def test_chosen_positions_give_the_rows_of_the_full_answer() -> None:
    model = PretrainingModel(small()).eval()
    positions = torch.tensor([0, 9, 20, 9])
    everywhere = model(IDS).prediction_logits.reshape(21, 99)
    torch.testing.assert_close(model(IDS, positions=positions).prediction_logits, everywhere[positions])
    starts = torch.tensor([0, 7, 14, 21])
    packed = model(IDS.flatten(), sequence_starts=starts, positions=positions)
    torch.testing.assert_close(packed.prediction_logits, everywhere[positions])


def test_no_chosen_position_gives_an_empty_answer() -> None:
    out = PretrainingModel(small())(IDS, positions=torch.zeros(0, dtype=torch.int64))
    assert out.prediction_logits.shape == (0, 99)


def test_an_absent_head_gives_none() -> None:
    words = PretrainingModel(small(add_pooler=False), pair=False).eval()(IDS)
    assert words.pair_logits is None
    assert words.prediction_logits is not None
    pairs = PretrainingModel(small(), masked_word=False).eval()(IDS)
    assert pairs.prediction_logits is None
    assert pairs.pair_logits is not None


def test_a_pair_head_without_a_pooler_is_refused() -> None:
    with pytest.raises(ConfigError, match="add_pooler"):
        PretrainingModel(small(add_pooler=False))


def test_words_are_scored_with_the_embedding_table_itself() -> None:
    config = small()
    model = PretrainingModel(config).eval()
    head = model.masked_word_head
    assert isinstance(head, MaskedWordHead)
    torch.nn.init.normal_(head.bias)
    hidden = torch.randn(5, 24)
    table = model.encoder.embeddings.word_embeddings.weight
    words = F.layer_norm(F.gelu(hidden @ head.dense.weight.T + head.dense.bias), (13,), eps=config.layer_norm_eps)
    torch.testing.assert_close(head(hidden, model.encoder.embeddings), words @ table.T + head.bias)
    assert sum(p.numel() for p in head.parameters()) == 24 * 13 + 13 + 2 * 13 + 99


def test_the_head_goes_back_through_the_projection_where_the_norm_lives_at_hidden_width() -> None:
    model = PretrainingModel(small(embedding_norm_width="hidden", projection_bias=False)).eval()
    head = model.masked_word_head
    assert isinstance(head, MaskedWordHead)
    assert head.dense.weight.shape == (24, 24)
    projection = model.encoder.embeddings.projection
    assert projection is not None
    hidden = torch.randn(5, 24)
    words = F.layer_norm(F.gelu(head.dense(hidden)), (24,), eps=1e-12) @ projection.weight
    torch.testing.assert_close(
        head(hidden, model.encoder.embeddings), words @ model.encoder.embeddings.word_embeddings.weight.T
    )


def test_word_and_pair_losses_reach_every_parameter() -> None:
    model = PretrainingModel(small(share="all"))
    # Every id as a target or an input, every position and both segments, so that whole tables get gradients.
    out = model(IDS, token_type_ids=(IDS > 9).long(), positions=torch.tensor([3, 8]))
    loss = F.cross_entropy(out.prediction_logits, torch.tensor([5, 77])) + F.cross_entropy(
        out.pair_logits, torch.tensor([0, 1, 1])
    )
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # The key bias moves every score of a row alike, which the softmax cancels.
        if not name.endswith("key.bias"):
            assert float(parameter.grad.abs().sum()) > 0, name


def test_the_same_seed_gives_the_same_heads() -> None:
    torch.manual_seed(7)
    first = PretrainingModel(small()).state_dict()
    torch.manual_seed(7)
    second = PretrainingModel(small()).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert float(first["pair_head.bias"].abs().max()) == 0.0
    assert 0.15 < float(first["masked_word_head.dense.weight"].std()) < 0.35


def test_tree_functions_reach_the_nested_record() -> None:
    out = PretrainingModel(small(), pair=False)(IDS, output_hidden_states=True)
    detached = _pytree.tree_map(torch.Tensor.detach, out)
    assert not detached.prediction_logits.requires_grad
    assert not detached.encoder.hidden_states[1].requires_grad
    assert detached.pair_logits is None


def test_depth_and_hidden_states_pass_through() -> None:
    model = PretrainingModel(small()).eval()
    out = model(IDS, depth=1, output_hidden_states=True, output_attentions=True)
    assert len(out.encoder.hidden_states) == 2
    assert len(out.encoder.attentions) == 1
    assert not torch.allclose(out.prediction_logits, model(IDS).prediction_logits)
