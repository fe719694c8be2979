from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from albertine.checkpoints.load import load_encoder, load_pretraining, open_encoder, open_pretraining
from albertine.checkpoints.native import read_model_folder, write_model_folder
from albertine.checkpoints.source import read_all
from albertine.checkpoints.writing import save_encoder
from albertine.errors import CheckpointError, ConfigError, TokenizerError
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.heads import PretrainingModel
from albertine.tokenization.tokenizer import load_tokenizer

SIZES = {
    "vocab_size": 99,
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 29,
    "max_position_embeddings": 17,
}
BERT = EncoderConfig.preset("bert-tiny", **SIZES, embedding_size=12)
ALBERT = EncoderConfig.preset("albert-base", **SIZES, embedding_size=7, num_hidden_groups=2)
CONFIGS = {"bert": BERT, "albert": ALBERT}


def pretraining(config: EncoderConfig) -> PretrainingModel:
    """A model in which no two numbers are equal, biases included."""
    model = PretrainingModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def write(folder: Path, config: EncoderConfig) -> tuple[PretrainingModel, dict[str, Tensor]]:
    """Write a model without an `albertine` object, as a foreign program would, and give its tensors by their names."""
    model = pretraining(config)
    save_encoder(model, None, folder)
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del values["albertine"]
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return model, read_all(read_model_folder(folder).source)


def rewrite(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")


def assert_same_weights(first: nn.Module, second: nn.Module) -> None:
    expected = first.state_dict()
    got = second.state_dict()
    assert got.keys() == expected.keys()
    assert [name for name, value in got.items() if not torch.equal(value, expected[name])] == []


def old_names(name: str) -> str:
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


RENAMINGS = {
    "gamma and beta": old_names,
    "no prefix": lambda name: name.removeprefix("bert.").removeprefix("albert."),
    "the prefix of the other": lambda name: name.replace("albert.", "bert.", 1) if name.startswith("albert.") else name,
    "data parallel": lambda name: f"module.{name}",
    "compiled": lambda name: f"_orig_mod.{old_names(name)}",
}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("way", RENAMINGS)
def test_older_names_and_prefixes_are_understood(tmp_path: Path, kind: str, way: str) -> None:
    model, tensors = write(tmp_path, CONFIGS[kind])
    rewrite(tmp_path, {RENAMINGS[way](name): tensor for name, tensor in tensors.items()})
    opened = open_pretraining(tmp_path)
    assert opened.report.clean
    assert_same_weights(model, opened.module)
    assert_same_weights(model.encoder, open_encoder(tmp_path).module)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("bert", "cls.predictions.transform.", "predictions.transform."),
        ("bert", "cls.predictions.transform.", "predictions."),
        ("bert", "cls.predictions.bias", "predictions.bias"),
        ("bert", "cls.seq_relationship.", "sop_classifier.classifier."),
        ("bert", "cls.seq_relationship.", "seq_relationship."),
        ("albert", "predictions.", "cls.predictions."),
        ("albert", "predictions.dense.", "cls.predictions.transform.dense."),
        ("albert", "sop_classifier.classifier.", "cls.seq_relationship."),
        ("albert", "sop_classifier.classifier.", "sop_classifier."),
    ],
)
def test_older_names_of_heads_are_understood(tmp_path: Path, kind: str, old: str, new: str) -> None:
    model, tensors = write(tmp_path, CONFIGS[kind])
    renamed = {new + name.removeprefix(old) if name.startswith(old) else name: one for name, one in tensors.items()}
    assert renamed.keys() != tensors.keys()
    rewrite(tmp_path, renamed)
    assert_same_weights(model, open_pretraining(tmp_path).module)


@pytest.mark.parametrize(("kind", "head"), [("bert", "cls.predictions"), ("albert", "predictions")])
def test_a_tied_decoder_that_was_saved_too_is_not_in_the_way(tmp_path: Path, kind: str, head: str) -> None:
    model, tensors = write(tmp_path, CONFIGS[kind])
    table = tensors[f"{kind}.embeddings.word_embeddings.weight"]
    bias = tensors.pop(f"{head}.bias")
    rewrite(tmp_path, {**tensors, f"{head}.decoder.weight": table, f"{head}.decoder.bias": bias})
    opened = open_pretraining(tmp_path)
    assert opened.report.unused == (f"{head}.decoder.weight",)
    assert_same_weights(model, opened.module)


@pytest.mark.parametrize(("kind", "head"), [("bert", "cls.predictions"), ("albert", "predictions")])
def test_an_untied_decoder_stays_one(tmp_path: Path, kind: str, head: str) -> None:
    model, tensors = write(tmp_path / "tied", CONFIGS[kind])
    table = torch.randn(99, CONFIGS[kind].embedding_size)
    rewrite(tmp_path / "tied", {**tensors, f"{head}.decoder.weight": table})
    opened = open_pretraining(tmp_path / "tied")
    assert not opened.module.config.tie_word_embeddings
    assert "a word table of its own" in opened.report.notes[0]
    assert opened.module.masked_word_head is not None
    assert opened.module.masked_word_head.decoder is not None
    assert torch.equal(opened.module.masked_word_head.decoder.weight, table)
    assert_same_weights(model.encoder, load_encoder(tmp_path / "tied")[0])
    save_encoder(opened.module, None, tmp_path / "untied")
    again = open_pretraining(tmp_path / "untied")
    assert again.report.clean
    assert_same_weights(opened.module, again.module)


def test_buffers_and_task_heads_come_along_unused(tmp_path: Path) -> None:
    model, tensors = write(tmp_path, BERT)
    extra = {
        "bert.embeddings.position_ids": torch.arange(17),
        "classifier.weight": torch.zeros(5, 12),
        "qa_outputs.bias": torch.zeros(2),
    }
    rewrite(tmp_path, {**tensors, **extra})
    report = open_pretraining(tmp_path).report
    assert report.clean
    assert report.unused == tuple(sorted(extra))
    assert {name.split(".")[0] for name in open_encoder(tmp_path).report.unused} == {
        "bert",
        "classifier",
        "cls",
        "qa_outputs",
    }
    assert_same_weights(model, load_pretraining(tmp_path)[0])


def test_unexpected_tensors_and_foreign_keys_are_named_in_warnings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, tensors = write(tmp_path, ALBERT)
    rewrite(tmp_path, {**tensors, "albert.adapter.weight": torch.zeros(3)})
    values = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**values, "adapter_size": 3}), encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="albertine"):
        report = open_encoder(tmp_path).report
    assert report.unexpected == ("albert.adapter.weight",)
    assert report.foreign_keys == ("adapter_size",)
    logged = "\n".join(record.message for record in caplog.records if record.name == "albertine")
    assert "unexpected tensors, not used: albert.adapter.weight" in logged
    assert "configuration keys that are not read: adapter_size" in logged
    assert "no tokenizer files" in logged


def test_every_missing_tensor_of_the_encoder_is_named(tmp_path: Path) -> None:
    _, tensors = write(tmp_path, BERT)
    gone = ["bert.encoder.layer.1.attention.self.key.bias", "bert.embeddings.LayerNorm.weight"]
    rewrite(tmp_path, {name: one for name, one in tensors.items() if name not in gone})
    for load in (load_encoder, load_pretraining):
        with pytest.raises(CheckpointError, match="2 tensors of the model are missing") as caught:
            load(tmp_path)
        assert all(name in str(caught.value) for name in gone)


def test_every_reshaped_tensor_of_the_encoder_is_named_with_both_shapes(tmp_path: Path) -> None:
    _, tensors = write(tmp_path, BERT)
    del tensors["bert.embeddings.LayerNorm.bias"]
    other = {"embeddings.word_embeddings.weight": (101, 12), "encoder.layer.2.output.dense.bias": (13,)}
    rewrite(tmp_path, {**tensors, **{f"bert.{name}": torch.zeros(shape) for name, shape in other.items()}})
    with pytest.raises(CheckpointError, match="1 tensors of the model are missing, 2 have another shape") as caught:
        load_encoder(tmp_path)
    assert "bert.embeddings.word_embeddings.weight [101, 12] where [99, 12] was expected" in str(caught.value)
    assert "bert.encoder.layer.2.output.dense.bias [13] where [12] was expected" in str(caught.value)
    assert "no bert.embeddings.LayerNorm.bias" in str(caught.value)


@pytest.mark.parametrize("kind", CONFIGS)
def test_without_a_pooler_the_encoder_is_built_without_one(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, tensors = write(tmp_path, CONFIGS[kind])
    rewrite(tmp_path, {name: one for name, one in tensors.items() if ".pooler." not in name})
    opened = open_encoder(tmp_path)
    assert opened.module.pooler is None
    assert not opened.module.config.add_pooler
    assert opened.report.missing == ()  # one warning is enough
    assert "built without one" in caplog.text
    whole = open_pretraining(tmp_path)
    assert whole.module.pair_head is None
    assert whole.module.masked_word_head is not None
    assert any("pair head is left out" in note for note in whole.report.notes)
    assert torch.equal(whole.module.masked_word_head.bias, model.state_dict()["masked_word_head.bias"])


def test_heads_that_are_absent_or_of_another_shape_are_none_and_reported(tmp_path: Path) -> None:
    _, tensors = write(tmp_path, ALBERT)
    del tensors["predictions.LayerNorm.bias"]
    rewrite(tmp_path, {**tensors, "sop_classifier.classifier.weight": torch.zeros(3, 12)})
    opened = open_pretraining(tmp_path)
    assert (opened.module.masked_word_head, opened.module.pair_head) == (None, None)
    assert opened.report.missing == ("predictions.LayerNorm.bias",)
    assert [str(one) for one in opened.report.reshaped] == [
        "sop_classifier.classifier.weight [3, 12] where [2, 12] was expected"
    ]
    assert not opened.report.clean


def test_an_encoder_that_never_had_a_pooler_stays_so_without_a_word(tmp_path: Path) -> None:
    config = EncoderConfig.preset("bert-tiny", **SIZES, embedding_size=12, add_pooler=False)
    save_encoder(PretrainingModel(config, pair=False), None, tmp_path / "model")
    opened = open_encoder(tmp_path / "model")
    assert opened.report.clean
    assert opened.module.config == config
    assert open_pretraining(tmp_path / "model").module.pair_head is None


@pytest.mark.parametrize("kind", CONFIGS)
def test_weights_are_stored_and_opened_in_the_types_asked_for(tmp_path: Path, kind: str) -> None:
    model = pretraining(CONFIGS[kind]).to(torch.bfloat16)
    save_encoder(model, None, tmp_path / "model")
    assert {one.dtype for one in read_model_folder(tmp_path / "model").source.entries.values()} == {torch.bfloat16}
    encoder, _ = load_encoder(tmp_path / "model")
    assert {one.dtype for one in encoder.parameters()} == {torch.float32}
    assert_same_weights(model, load_pretraining(tmp_path / "model", dtype=torch.bfloat16)[0])


def test_what_was_opened_can_be_trained_and_does_not_hang_on_the_file(tmp_path: Path) -> None:
    save_encoder(pretraining(BERT), None, tmp_path / "model")
    encoder, _ = load_encoder(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    before = {name: one.clone() for name, one in encoder.state_dict().items()}
    path.write_bytes(bytes(path.stat().st_size))
    assert all(torch.equal(one, before[name]) for name, one in encoder.state_dict().items())
    encoder(torch.tensor([[5, 7, 13]])).pooler_output.sum().backward()
    assert all(one.requires_grad for one in encoder.parameters())


def test_a_preset_has_random_weights_and_only_the_bare_name_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    encoder, tokenizer = load_encoder("preset:albert-chinese-tiny")
    assert tokenizer is None
    assert encoder.config == EncoderConfig.preset("albert-chinese-tiny")
    assert not encoder.training
    assert caplog.records == []
    model, _ = load_pretraining("albert-chinese-tiny", dtype=torch.bfloat16)
    assert "weights are random" in caplog.text
    assert model.pair_head is not None
    assert next(model.parameters()).dtype == torch.bfloat16


def test_a_folder_is_taken_before_a_preset_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_encoder(Encoder(BERT), None, "bert-tiny")
    assert load_encoder("bert-tiny")[0].config == BERT


def test_an_unknown_name_gets_the_list_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither a folder nor a preset.*albert-base.*'albert-base'"):
        load_encoder("albert-bse")
    with pytest.raises(ConfigError, match="unknown preset"):
        load_pretraining("preset:nothing")
    with pytest.raises(CheckpointError, match="there is no such folder or file"):
        load_encoder(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="there is no such folder or file"):
        load_encoder("./gone")


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="no such device"):
        load_encoder("preset:bert-tiny", device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no GPU"):
            load_encoder("preset:bert-tiny", device="cuda")


def test_a_fine_tuned_folder_gives_its_encoder(tmp_path: Path) -> None:
    model = pretraining(BERT)
    save_encoder(model.encoder, None, tmp_path / "model")
    contents = read_model_folder(tmp_path / "model")
    write_model_folder(
        tmp_path / "model",
        config=contents.config,
        tensors=read_all(contents.source)
        | {"classifier.weight": torch.zeros(2, 12), "classifier.bias": torch.zeros(2)},
        tokenizer=None,
        task={"task": "text-classification"},
        manifest={"schema_version": 1},
        card="# card",
    )
    opened = open_encoder(tmp_path / "model")
    assert opened.report.unused == ("classifier.bias", "classifier.weight")
    assert_same_weights(model.encoder, opened.module)


def test_a_baselines_folder_is_said_to_hold_no_encoder(tmp_path: Path) -> None:
    write_model_folder(
        tmp_path / "model",
        config={"model_type": "albertine", "albertine": {"body": "bilstm"}},
        tensors={"body.weight": torch.zeros(3)},
        tokenizer=None,
        task=None,
        manifest={},
        card="",
    )
    with pytest.raises(CheckpointError, match=r"no encoder.*bilstm.*albertine\.load"):
        load_encoder(tmp_path / "model")


def test_a_tensorflow_folder_is_said_to_be_one(tmp_path: Path) -> None:
    for name in ("bert_config.json", "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001", "vocab.txt"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="TensorFlow"):
        load_encoder(tmp_path)


def test_weights_without_a_configuration_are_refused(tmp_path: Path) -> None:
    save_encoder(Encoder(BERT), None, tmp_path / "model")
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: this file does not exist.*model\.safetensors"):
        load_encoder(tmp_path / "model")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_a_broken_configuration_is_refused(tmp_path: Path, text: str) -> None:
    save_encoder(Encoder(BERT), None, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_encoder(tmp_path / "model")


def test_the_tokenizer_is_written_beside_the_encoder_and_comes_back(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "好", "吃", "tea", "##s", *(f"w{n}" for n in range(90))]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    save_encoder(Encoder(BERT), tokenizer, tmp_path / "model")
    _, again = load_encoder(tmp_path / "model")
    assert again is not None
    assert again("好吃 teas").input_ids.tolist() == [[2, 5, 6, 7, 8, 3]]
    _, again = load_pretraining(tmp_path / "model")
    assert again is not None
    (tmp_path / "model" / "vocab.txt").write_text("\n".join([*words, "one more"]) + "\n", encoding="utf-8")
    with pytest.raises(TokenizerError, match="does not fit"):
        load_encoder(tmp_path / "model")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown format"):
        save_encoder(Encoder(BERT), None, tmp_path / "model", format="hugging-face")  # type: ignore[arg-type]
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [("num_hidden_layers", 2, "2"), ("type_vocab_size", 0, "token_type"), ("num_hidden_groups", 1, "group")],
)
def test_a_configuration_that_is_smaller_than_the_file_is_refused(
    tmp_path: Path, field: str, value: int, cause: str
) -> None:
    kind = "albert" if field == "num_hidden_groups" else "bert"
    write(tmp_path, CONFIGS[kind])
    values = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**values, field: value}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="have no place in it") as caught:
        load_encoder(tmp_path)
    assert cause in str(caught.value)


def test_of_two_tensors_for_one_place_the_one_of_its_very_name_is_taken(tmp_path: Path) -> None:
    model, tensors = write(tmp_path, BERT)
    name = "bert.embeddings.LayerNorm.weight"
    rewrite(tmp_path, {"bert.embeddings.LayerNorm.gamma": torch.zeros(12), **tensors})
    assert_same_weights(model, load_pretraining(tmp_path)[0])
    old = {"bert.embeddings.LayerNorm.gamma": torch.zeros(12), "embeddings.LayerNorm.weight": tensors.pop(name)}
    rewrite(tmp_path, {**tensors, **old})
    with pytest.raises(CheckpointError, match=r"the same one of the model.*and differ"):
        load_encoder(tmp_path)
    rewrite(tmp_path, {**tensors, **dict.fromkeys(old, old["embeddings.LayerNorm.weight"])})
    assert_same_weights(model, load_pretraining(tmp_path)[0])


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.int64])
def test_weights_that_are_no_floating_point_numbers_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    _, tensors = write(tmp_path, BERT)
    name = "bert.encoder.layer.1.intermediate.dense.weight"
    rewrite(tmp_path, {**tensors, name: (9 * tensors[name]).to(dtype)})
    with pytest.raises(CheckpointError, match=rf"{name}: this weight is not made of floating-point numbers"):
        load_encoder(tmp_path)
