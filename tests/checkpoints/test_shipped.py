"""Encoders of the package's own folder: found by name, everywhere."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

import albertine as al
from albertine import shipped
from albertine.checkpoints.writing import save_encoder
from albertine.errors import CheckpointError, ConfigError, FailureError
from albertine.models.config import EncoderConfig, preset_names
from albertine.models.heads import PretrainingModel
from albertine.shipped import ShippedEncoder, render_shipped, shipped_encoders, shipped_folder, shipped_names
from albertine.tokenization.tokenizer import load_tokenizer
from albertine.training.candidates import find_candidate

NAME = "albert-zh-nano"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"好吃太慢了很", *(f"w{n}" for n in range(58))]
CONFIG = EncoderConfig.preset(
    "albert-base", vocab_size=69, hidden_size=68, embedding_size=67, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=71, max_position_embeddings=19,
)  # fmt: skip
ABOUT = {"languages": ["zh"], "licence": "CC-BY-SA-4.0", "default": 1}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's folder, elsewhere and with one encoder in it."""
    folder = tmp_path / "shipped"
    (folder / "words").mkdir(parents=True)
    (folder / "words" / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (folder / "README.md").write_text("# What ships\n", encoding="utf-8")
    torch.manual_seed(4)
    tokenizer = load_tokenizer(folder / "words")
    save_encoder(PretrainingModel(CONFIG), tokenizer, folder / NAME, format="albertine", storage="int8")
    manifest = json.loads((folder / NAME / "manifest.json").read_text(encoding="utf-8"))
    manifest |= {"shipped": ABOUT, "parameters": {"unique": 12345, "executed": 23456}}
    (folder / NAME / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    monkeypatch.setattr(shipped, "ENCODERS", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_folder_that_was_dropped_in_is_listed_with_what_its_manifest_says(place: Path) -> None:
    assert shipped_names() == (NAME,), "a folder without weights is none"
    size = sum(path.stat().st_size for path in (place / NAME).iterdir())
    assert al.shipped_encoders() == (
        ShippedEncoder(
            name=NAME, folder=place / NAME, languages=("zh",), licence="CC-BY-SA-4.0", parameters=12345, bytes=size,
            default=1,
        ),
    )  # fmt: skip
    heading, row = render_shipped(shipped_encoders()).splitlines()
    assert heading.split() == ["name", "language", "MB", "parameters", "licence"]
    assert row.split() == [NAME, "zh", f"{size / 1e6:.1f}", "12,345", "CC-BY-SA-4.0"]


def test_one_without_a_manifest_is_listed_too(place: Path) -> None:
    (place / NAME / "manifest.json").unlink()
    (found,) = shipped_encoders()
    assert (found.languages, found.licence, found.parameters, found.default) == ((), "", None, None)
    assert render_shipped((found,)).splitlines()[1].split()[-1] == "-"
    assert al.load_encoder(NAME)[1] is not None


@pytest.mark.parametrize("place_of", [Path("gone"), Path("empty")])
def test_nothing_ships_where_nothing_lies(place_of: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(shipped, "ENCODERS", tmp_path / place_of)
    assert shipped_encoders() == ()
    assert render_shipped(()) == "no encoder ships with this installation"
    with pytest.raises(ConfigError, match="neither a folder nor a preset") as caught:
        al.load_encoder(NAME)
    assert caught.value.allowed == ", ".join(sorted(preset_names()))


def test_a_manifest_that_is_no_json_is_a_failure_of_the_installation(place: Path) -> None:
    (place / NAME / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(FailureError, match=r"manifest\.json: a file of this installation is damaged.*Install"):
        shipped_encoders()


def test_everything_that_takes_an_encoder_takes_the_name(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        encoder, tokenizer = al.load_encoder(NAME)
        model, _ = al.load_pretraining(NAME)
    assert not caplog.records, "nothing about random weights"
    assert encoder.config == CONFIG
    assert tokenizer is not None
    assert model.masked_word_head is not None
    assert model.pair_head is not None
    assert al.load_tokenizer(NAME).vocab_size == len(WORDS)
    assert al.load_tokenizer(Path(NAME)).vocab_size == len(WORDS)
    assert al.info(NAME).to_dict()["storage"] == "int8"
    assert al.info(NAME).name == NAME
    assert al.encode(["好吃", "太慢了"], encoder=NAME).shape == (2, 68)
    candidate = find_candidate(NAME)
    assert (candidate.folder, candidate.shown) == (place / NAME, NAME)
    assert al.convert(NAME, "out", to="huggingface", verify=True).source == NAME
    assert al.verify(NAME, "out", tolerance=0).passed


def test_a_folder_of_that_name_where_the_user_is_goes_before(place: Path) -> None:
    own = EncoderConfig.preset("bert-tiny", vocab_size=69, hidden_size=8, embedding_size=8, intermediate_size=9)
    save_encoder(PretrainingModel(own), None, NAME)
    assert shipped_folder(NAME) is None
    assert al.load_encoder(NAME)[0].config == own
    assert al.info(NAME).config["hidden_size"] == 8
    assert find_candidate(NAME).folder == Path(NAME)


def test_an_unknown_name_gets_what_ships_and_the_nearest(place: Path) -> None:
    for opened in (al.load_encoder, al.load_pretraining, al.info, find_candidate):
        with pytest.raises(ConfigError, match=rf"{NAME}.*Did you mean '{NAME}'\?") as caught:
            opened("albert-zh-nan")  # type: ignore[operator]
        assert "bert-base" in str(caught.value.allowed)
    with pytest.raises(ConfigError, match="unknown preset") as caught:
        al.load_encoder(f"preset:{NAME}")
    assert NAME not in str(caught.value.allowed), "a preset has random weights"


@pytest.mark.parametrize("name", ["../shipped/albert-zh-nano", "./albert-zh-nano", "albert-zh-nano/", "words", "", "."])
def test_only_the_bare_name_of_an_encoder_is_one(place: Path, name: str) -> None:
    assert shipped_folder(name) is None


def test_a_damaged_file_is_named_by_its_place(place: Path) -> None:
    (place / NAME / "model.safetensors").write_bytes(b"{")
    with pytest.raises(CheckpointError, match=r"albert-zh-nano/model\.safetensors"):
        al.load_encoder(NAME)
