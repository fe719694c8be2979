"""Folders that we write, opened by transformers: nothing missing, nothing left over, the same numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from albertine.checkpoints.load import load_encoder, load_pretraining
from albertine.checkpoints.writing import save_encoder
from albertine.errors import ConfigError, TokenizerError
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.heads import PretrainingModel
from albertine.tokenization.learn import learn_vocabulary
from albertine.tokenization.tokenizer import load_tokenizer

transformers = pytest.importorskip("transformers", reason="transformers is needed for parity", exc_type=ImportError)

SIZES = {
    "vocab_size": 99,
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 29,
    "max_position_embeddings": 17,
    "type_vocab_size": 2,
}
BERT = {**SIZES, "embedding_size": 12}
ALBERT = {**SIZES, "embedding_size": 7}

CONFIGS = {
    "bert": EncoderConfig.preset("bert-tiny", **BERT),
    "bert with tanh GELU": EncoderConfig.preset("bert-tiny", **BERT, hidden_act="gelu_tanh"),
    "bert with ReLU": EncoderConfig.preset("bert-tiny", **BERT, hidden_act="relu", layer_norm_eps=1e-5),
    "bert as groups of one": EncoderConfig.preset("bert-tiny", **BERT, share="all", num_hidden_groups=3),
    "albert": EncoderConfig.preset("albert-base", **ALBERT),
    "albert with erf GELU": EncoderConfig.preset("albert-chinese-tiny", **ALBERT),
    "albert in groups": EncoderConfig.preset("albert-base", **ALBERT, num_hidden_groups=2, inner_group_num=2),
    "albert without sharing": EncoderConfig.preset("albert-base", **ALBERT, share="none", inner_group_num=2),
    "albert of equal widths": EncoderConfig.preset("albert-base", **BERT, projection="always"),
}
WITHOUT_PROJECTION = EncoderConfig.preset("albert-base", **BERT)
ONLY_OURS = {
    "sharing attention": EncoderConfig.preset("albert-base", **ALBERT, share="attention"),
    "sharing without a projection": WITHOUT_PROJECTION,
    "a projection without bias": EncoderConfig.preset("albert-base", **ALBERT, projection_bias=False),
    "the norm behind the projection": EncoderConfig.preset("albert-base", **ALBERT, embedding_norm_width="hidden"),
    "norms in front": EncoderConfig.preset("bert-tiny", **BERT, norm_placement="pre"),
    "the Transformer of 2017": EncoderConfig.preset(
        "transformer-base", **{**BERT, "type_vocab_size": 0}, layer_norm_eps=1e-5
    ),
    "groups that transformers rounds otherwise": EncoderConfig.preset(
        "albert-base", **{**ALBERT, "num_hidden_layers": 18}, num_hidden_groups=14
    ),
}


@pytest.fixture(autouse=True, scope="module")
def quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def with_large_weights(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(99)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.3 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + noise if "layer_norm.weight" in name else noise)
    return model.eval()


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(0, 99, (3, 13), generator=generator)
    mask = (torch.arange(13) < torch.tensor([[13], [1], [7]])).long()
    return {
        "input_ids": ids,
        "token_type_ids": torch.randint(0, 2, ids.shape, generator=generator),
        "attention_mask": mask,
    }


def assert_near(ours: Tensor, theirs: Tensor) -> None:
    assert ours.abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def assert_nothing_amiss(info: dict[str, object]) -> None:
    assert {key: value for key, value in info.items() if value} == {}


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_automodel_opens_an_encoder_with_nothing_missing(tmp_path: Path, name: str) -> None:
    encoder = with_large_weights(Encoder(CONFIGS[name]))
    save_encoder(encoder, None, tmp_path / "model", format="huggingface")
    theirs, info = transformers.AutoModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert_nothing_amiss(info)
    assert type(theirs).__name__ == ("BertModel" if name.startswith("bert") else "AlbertModel")
    ours = encoder(**inputs())
    expected = theirs.eval()(**inputs())
    real = inputs()["attention_mask"].bool()
    assert_near(ours.last_hidden_state[real], expected.last_hidden_state[real])
    assert_near(ours.pooler_output, expected.pooler_output)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_the_pretraining_heads_open_with_nothing_missing(tmp_path: Path, name: str) -> None:
    model = with_large_weights(PretrainingModel(CONFIGS[name]))
    save_encoder(model, None, tmp_path / "model")
    theirs, info = transformers.AutoModelForPreTraining.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert_nothing_amiss(info)
    ours = model(**inputs())
    expected = theirs.eval()(**inputs())
    real = inputs()["attention_mask"].bool()
    assert_near(ours.prediction_logits[real], expected.prediction_logits[real])
    assert_near(ours.pair_logits, expected.sop_logits if "sop_logits" in expected else expected.seq_relationship_logits)


@pytest.mark.parametrize("name", [*CONFIGS, *ONLY_OURS])
def test_what_is_written_is_read_back_bit_for_bit(tmp_path: Path, name: str) -> None:
    config = (CONFIGS | ONLY_OURS)[name]
    model = with_large_weights(PretrainingModel(config))
    save_encoder(model, None, tmp_path / "model", format="albertine")
    read, tokenizer = load_pretraining(tmp_path / "model")
    assert tokenizer is None
    assert read.config == config
    expected = model.state_dict()
    assert expected.keys() == read.state_dict().keys()
    assert all(torch.equal(value, expected[key]) for key, value in read.state_dict().items())
    encoder, _ = load_encoder(tmp_path / "model")
    assert encoder.config == config
    assert all(torch.equal(value, expected[f"encoder.{key}"]) for key, value in encoder.state_dict().items())


@torch.no_grad()
def test_an_albert_without_a_projection_gets_one_that_changes_nothing(tmp_path: Path) -> None:
    model = with_large_weights(PretrainingModel(WITHOUT_PROJECTION))
    save_encoder(model, None, tmp_path / "model", format="huggingface")
    theirs, info = transformers.AutoModelForPreTraining.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert_nothing_amiss(info)
    expected = theirs.eval()(**inputs())
    assert_near(model(**inputs()).pair_logits, expected.sop_logits)
    read, _ = load_pretraining(tmp_path / "model")
    assert torch.equal(read(**inputs()).prediction_logits, model(**inputs()).prediction_logits)


@pytest.mark.parametrize("name", [name for name in ONLY_OURS if ONLY_OURS[name] != WITHOUT_PROJECTION])
def test_what_transformers_cannot_compute_it_refuses_to_open(tmp_path: Path, name: str) -> None:
    encoder = Encoder(ONLY_OURS[name])
    with pytest.raises(ConfigError, match='format="albertine"'):
        save_encoder(encoder, None, tmp_path / "model", format="huggingface")
    assert not (tmp_path / "model").exists()
    save_encoder(encoder, None, tmp_path / "model", format="albertine")
    assert json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))["model_type"] == "albertine"
    with pytest.raises(ValueError, match="albertine"):
        transformers.AutoModel.from_pretrained(tmp_path / "model")


@torch.no_grad()
def test_a_folder_of_ours_that_transformers_saved_again_is_still_ours(tmp_path: Path) -> None:
    config = CONFIGS["albert in groups"]
    encoder = with_large_weights(Encoder(config))
    save_encoder(encoder, None, tmp_path / "ours")
    transformers.AutoModel.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    again, _ = load_encoder(tmp_path / "theirs")
    assert again.config == config
    assert_near(again(**inputs()).pooler_output, encoder(**inputs()).pooler_output)


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_transformers_cuts_texts_to_the_positions_of_the_model(tmp_path: Path, kind: str) -> None:
    tokenizer = learn_vocabulary(["a cat sat on a mat"] * 9, size=99)
    config = replace(CONFIGS[kind], vocab_size=tokenizer.vocab_size)
    save_encoder(Encoder(config), tokenizer, tmp_path / "model", format="huggingface")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert theirs.model_max_length == 17
    assert len(theirs("cat " * 99, truncation=True).input_ids) == 17
    # What was read stays, where it is less.
    theirs.model_max_length = 9
    theirs.save_pretrained(tmp_path / "model")
    again = load_tokenizer(tmp_path / "model")
    save_encoder(Encoder(config), again, tmp_path / "again", format="huggingface")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "again").model_max_length == 9


def test_tokens_that_transformers_added_are_refused_by_name(tmp_path: Path) -> None:
    learn_vocabulary(["a cat sat on a mat"] * 9, size=99).save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    size = len(theirs)
    theirs.add_tokens(["NEWTOKEN"])
    theirs.save_pretrained(tmp_path / "more")
    with pytest.raises(TokenizerError, match=rf"tokens were added.*'NEWTOKEN' \(id {size}\)"):
        load_tokenizer(tmp_path / "more")
