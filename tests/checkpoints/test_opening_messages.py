"""What is said about a name that cannot be opened, and about a pooler that is not there."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from albertine.checkpoints.load import load_encoder, open_state, preset_asked_for
from albertine.checkpoints.state import ModelState
from albertine.checkpoints.writing import save_state
from albertine.errors import UserError
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel


def said(name: str | Path) -> str:
    with pytest.raises(UserError) as caught:
        load_encoder(name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("bert-base-uncased", "google-bert/bert-base-uncased"),
        ("bert-base-chinese", "google-bert/bert-base-chinese"),
        ("BERT-large-cased", "google-bert/bert-large-cased"),
        ("albert-base-v2", "albert/albert-base-v2"),
        ("albert-xxlarge-v1", "albert/albert-xxlarge-v1"),
        ("chinese-roberta-wwm-ext", "hfl/chinese-roberta-wwm-ext"),
        ("all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("preset:bert-base-uncased", "google-bert/bert-base-uncased"),
    ],
)
def test_the_bare_name_of_a_published_model_is_answered_with_where_it_lies(name: str, where: str) -> None:
    text = said(name)
    assert text.endswith(f"Nothing is downloaded unless asked: hub:{where}.")
    assert "Did you mean" not in text


@pytest.mark.parametrize(("name", "meant"), [("bert-tinny", "bert-tiny"), ("preset:albert-bas", "albert-base")])
def test_a_misspelt_preset_is_answered_with_a_question(name: str, meant: str) -> None:
    assert said(name).endswith(f"Did you mean '{meant}'?")


@pytest.mark.parametrize("name", ["google-bert/bert-base-uncased", "someone/model.v2"])
def test_a_name_of_the_hubs_form_is_answered_with_how_to_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = said(name)
    assert text.startswith(f"{name}: there is no such folder or file.")
    assert text.endswith(f"nothing is downloaded unless asked, hub:{name}.")
    (tmp_path / name.split("/")[0]).mkdir()  # somebody's own folder, in which something is missing
    assert "nothing is downloaded" not in said(name)


@pytest.mark.parametrize("name", ["./bert-base-uncased", "/no/such", "a/b/c", "models/mo--del", "../x"])
def test_a_path_is_not_taken_for_a_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert "downloaded" not in said(name)


@pytest.mark.parametrize("name", ["uncased_L-2_H-128_A-2.zip", "model.tar.gz", "albert.TGZ"])
def test_an_archive_that_is_missing_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    for asked in (name, f"downloads/{name}", tmp_path / name):
        assert said(asked) == f"{asked}: there is no such file."


@pytest.mark.parametrize("name", ["bert_model.ckpt.index", "bert_model.ckpt", "model.safetensors", "tf_model.h5"])
def test_a_missing_file_is_not_taken_for_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert preset_asked_for(name) is None
    assert said(name).startswith(f"{name}: there is no such folder or file")


def test_every_answer_says_everything_that_is_opened(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "gone", tmp_path / "notes.txt", tmp_path / "empty"):
        text = said(place)
        assert isinstance(text, str)
        for form in (
            "model.safetensors",
            "tf_model.h5",
            "--allow-pickle pytorch_model.bin",
            "sentence-transformers",
            "TensorFlow",
            ".index",
            "zip or tar",
            "hub:ORGANISATION/NAME",
        ):
            assert form in text, (place, form)


# --- the pooler

CONFIG = EncoderConfig.preset(
    "bert-tiny",
    vocab_size=37,
    hidden_size=12,
    embedding_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=29,
    max_position_embeddings=17,
)
POOLER = "bert.pooler.dense"


def without_pooler(folder: Path, *, architectures: list[str] | None, drop: tuple[str, ...]) -> Path:
    """A folder of Hugging Face's whose file lacks some of the pooler's tensors."""
    model = PretrainingModel(CONFIG, pair=False)
    save_state(ModelState(config=CONFIG, tensors=model.state_dict()), None, folder, "huggingface")
    tensors = load_file(folder / "model.safetensors")
    save_file({name: one for name, one in tensors.items() if name not in drop}, folder / "model.safetensors")
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    values = {key: value for key, value in values.items() if key not in ("albertine", "architectures")}
    values |= {} if architectures is None else {"architectures": architectures}
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


def about_the_pooler(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in caplog.records if re.search(r"(the|no) pooler|missing tensors", one.getMessage())]


WHOLE = (f"{POOLER}.weight", f"{POOLER}.bias")


@pytest.mark.parametrize("architectures", [None, [], ["BertModel"], ["BertForPreTraining"]])
def test_a_pooler_that_is_missing_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, architectures: list[str] | None
) -> None:
    folder = without_pooler(tmp_path / "model", architectures=architectures, drop=WHOLE)
    assert not load_encoder(folder)[0].config.add_pooler
    about = about_the_pooler(caplog)
    assert [record.levelno for record in about] == [logging.WARNING]
    assert "the pooler is not in the file" in about[0].getMessage()


def test_half_a_pooler_is_named_by_what_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = without_pooler(tmp_path / "model", architectures=["BertModel"], drop=WHOLE[1:])
    assert not load_encoder(folder)[0].config.add_pooler
    assert f"missing tensors: {POOLER}.bias" in caplog.text


@pytest.mark.parametrize("kind", ["BertForMaskedLM", "TFBertForMaskedLM", "BertLMHeadModel"])
def test_a_class_that_has_no_pooler_is_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    folder = without_pooler(tmp_path / "model", architectures=[kind], drop=WHOLE)
    with caplog.at_level(logging.INFO, logger="albertine"):
        state = open_state(folder).state
    assert not state.config.add_pooler
    assert any(name.startswith("masked_word_head.") for name in state.tensors)
    about = about_the_pooler(caplog)
    assert [record.levelno for record in about] == [logging.INFO]
    assert kind in about[0].getMessage()


def test_a_pooler_that_is_there_is_read_whatever_the_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = without_pooler(tmp_path / "model", architectures=["BertForMaskedLM"], drop=())
    encoder, _ = load_encoder(folder)
    assert encoder.config.add_pooler
    assert encoder.pooler is not None
    assert torch.equal(encoder.pooler.dense.bias, load_file(folder / "model.safetensors")[f"{POOLER}.bias"])
    assert about_the_pooler(caplog) == []
