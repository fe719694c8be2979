"""Checkpoints that transformers saved, opened here: the same numbers as it computes itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from albertine.checkpoints.load import open_encoder, open_pretraining
from albertine.errors import CheckpointError

transformers = pytest.importorskip("transformers", reason="transformers is needed for parity", exc_type=ImportError)

TOLERANCE = 1e-4
LENGTHS = (13, 7, 1, 11)

ALBERT_SHAPES = [  # layers, groups, inner blocks
    (5, 1, 1),
    (3, 1, 2),
    (5, 2, 1),
    (3, 2, 2),
    (7, 3, 1),
    (5, 3, 2),
]


@pytest.fixture(autouse=True, scope="module")
def quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def give_random_weights(model: nn.Module, seed: int) -> None:
    """Weights far larger than the usual initial ones, biases and norms included, so that a wrong place shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "LayerNorm.weight" in name or "layer_norm.weight" in name:
                parameter.copy_(1 + 0.3 * noise)
            else:
                parameter.copy_(0.3 * noise)


def bert_config(activation: str) -> transformers.BertConfig:
    return transformers.BertConfig(
        vocab_size=99,
        hidden_size=12,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=29,
        hidden_act=activation,
        max_position_embeddings=17,
        type_vocab_size=3,
        layer_norm_eps=1e-7,
        attn_implementation="eager",
    )


def albert_config(activation: str, layers: int, groups: int, inner: int) -> transformers.AlbertConfig:
    return transformers.AlbertConfig(
        vocab_size=99,
        embedding_size=7,
        hidden_size=12,
        num_hidden_layers=layers,
        num_hidden_groups=groups,
        inner_group_num=inner,
        num_attention_heads=3,
        intermediate_size=29,
        hidden_act=activation,
        max_position_embeddings=17,
        type_vocab_size=3,
        attn_implementation="eager",
    )


def saved(model: nn.Module, folder: Path, seed: int = 13, **options: str) -> nn.Module:
    give_random_weights(model, seed)
    model.eval().save_pretrained(folder, **options)
    return model


def padded_inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    width = max(LENGTHS)
    ids = torch.randint(0, 99, (len(LENGTHS), width), generator=generator)
    types = torch.randint(0, 3, ids.shape, generator=generator)
    mask = (torch.arange(width) < torch.tensor(LENGTHS).unsqueeze(1)).long()
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}


def real(values: Tensor) -> Tensor:
    """Keep the real positions of [B, T, …], flat."""
    return values[padded_inputs()["attention_mask"].bool()]


def packed_inputs() -> dict[str, Tensor]:
    inputs = padded_inputs()
    starts = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0).tolist()])
    return {
        "input_ids": real(inputs["input_ids"]),
        "token_type_ids": real(inputs["token_type_ids"]),
        "sequence_starts": starts,
    }


def assert_near(ours: Tensor, theirs: Tensor, what: str) -> None:
    assert ours.shape == theirs.shape, what
    assert theirs.abs().max() > 0.3, f"{what}: too small to tell a difference"
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0, msg=lambda text: f"{what}: {text}")


@torch.no_grad()
def assert_same_encoder(folder: Path, theirs: nn.Module) -> None:
    opened = open_encoder(folder)
    assert opened.report.clean, opened.report.lines()
    assert not opened.module.training
    expected = theirs(**padded_inputs(), output_hidden_states=True, output_attentions=True)
    got = opened.module(**padded_inputs(), output_hidden_states=True, output_attentions=True)
    assert len(got.hidden_states) == len(expected.hidden_states)
    for index, (one, other) in enumerate(zip(got.hidden_states, expected.hidden_states, strict=True)):
        assert_near(real(one), real(other), f"hidden state {index}")
    assert_near(got.pooler_output, expected.pooler_output, "pooled")
    assert len(got.attentions) == len(expected.attentions)
    for index, (one, other) in enumerate(zip(got.attentions, expected.attentions, strict=True)):
        assert_near(real(one.transpose(1, 2)), real(other.transpose(1, 2)), f"attention {index}")
    packed = opened.module(**packed_inputs(), output_hidden_states=True)
    for index, (one, other) in enumerate(zip(packed.hidden_states, expected.hidden_states, strict=True)):
        assert_near(one, real(other), f"packed hidden state {index}")
    assert_near(packed.pooler_output, expected.pooler_output, "packed pooled")


@torch.no_grad()
def assert_same_heads(folder: Path, theirs: nn.Module) -> None:
    opened = open_pretraining(folder)
    assert opened.report.clean, opened.report.lines()
    assert opened.report.unused == ()
    expected = theirs(**padded_inputs())
    pair = expected.sop_logits if "sop_logits" in expected else expected.seq_relationship_logits
    got = opened.module(**padded_inputs())
    assert_near(real(got.prediction_logits), real(expected.prediction_logits), "masked words")
    assert_near(got.pair_logits, pair, "pairs")
    packed = opened.module(**packed_inputs())
    assert_near(packed.prediction_logits, real(expected.prediction_logits), "packed masked words")
    assert_near(packed.pair_logits, pair, "packed pairs")


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_bert_computes_the_same(tmp_path: Path, activation: str) -> None:
    model = saved(transformers.BertForPreTraining(bert_config(activation)), tmp_path)
    assert_same_encoder(tmp_path, model.bert)
    assert_same_heads(tmp_path, model)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
@pytest.mark.parametrize(("layers", "groups", "inner"), ALBERT_SHAPES)
def test_albert_computes_the_same(tmp_path: Path, activation: str, layers: int, groups: int, inner: int) -> None:
    model = saved(transformers.AlbertForPreTraining(albert_config(activation, layers, groups, inner)), tmp_path)
    assert_same_encoder(tmp_path, model.albert)
    assert_same_heads(tmp_path, model)


def test_an_encoder_saved_without_heads_and_prefix_computes_the_same(tmp_path: Path) -> None:
    bert = saved(transformers.BertModel(bert_config("gelu")), tmp_path / "bert")
    assert_same_encoder(tmp_path / "bert", bert)
    albert = saved(transformers.AlbertModel(albert_config("gelu_new", 5, 2, 2)), tmp_path / "albert")
    assert_same_encoder(tmp_path / "albert", albert)


def test_albert_of_equal_widths_keeps_its_projection(tmp_path: Path) -> None:
    config = albert_config("gelu_new", 3, 1, 1)
    config.embedding_size = config.hidden_size
    assert_same_encoder(tmp_path, saved(transformers.AlbertModel(config), tmp_path))


def test_shards_are_read(tmp_path: Path) -> None:
    model = saved(transformers.AlbertForPreTraining(albert_config("gelu_new", 5, 2, 1)), tmp_path, max_shard_size="5KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    assert not (tmp_path / "model.safetensors").exists()
    assert_same_encoder(tmp_path, model.albert)
    assert_same_heads(tmp_path, model)


@torch.no_grad()
def test_a_masked_word_model_has_no_pooler_and_no_pair_head(tmp_path: Path) -> None:
    model = saved(transformers.BertForMaskedLM(bert_config("gelu")), tmp_path)
    opened = open_pretraining(tmp_path)
    assert opened.module.pair_head is None
    assert opened.module.encoder.pooler is None
    assert opened.report.missing == ()
    assert opened.report.absent == ("sentence-pair head",)
    got = opened.module(**padded_inputs())
    assert got.pair_logits is None
    assert_near(real(got.prediction_logits), real(model(**padded_inputs()).logits), "masked words")


@torch.no_grad()
def test_a_classifier_of_transformers_gives_its_encoder_and_names_its_head(tmp_path: Path) -> None:
    config = albert_config("gelu_new", 3, 1, 1)
    config.num_labels = 5
    model = saved(transformers.AlbertForSequenceClassification(config), tmp_path)
    assert_same_encoder(tmp_path, model.albert)
    assert open_encoder(tmp_path).report.unused == ("classifier.bias", "classifier.weight")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_checkpoints_open_in_the_dtype_asked_for(tmp_path: Path, dtype: torch.dtype) -> None:
    model = transformers.BertModel(bert_config("gelu"))
    give_random_weights(model, 13)
    model.to(dtype).eval().save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in open_encoder(tmp_path).module.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in open_encoder(tmp_path, dtype=dtype).module.parameters()} == {dtype}
    assert_same_encoder(tmp_path, model.float())


def test_a_shape_whose_groups_transformers_rounds_otherwise_is_refused(tmp_path: Path) -> None:
    saved(transformers.AlbertModel(albert_config("gelu_new", 18, 14, 1)), tmp_path)
    with pytest.raises(CheckpointError, match="num_hidden_layers=18, num_hidden_groups=14"):
        open_encoder(tmp_path)
