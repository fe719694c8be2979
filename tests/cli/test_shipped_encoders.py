"""What ships, on the command line: listed, opened by name, and converted to smaller weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from albertine import shipped
from albertine.checkpoints.writing import save_encoder
from albertine.cli.main import main
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel

CONFIG = EncoderConfig.preset(
    "bert-tiny", vocab_size=69, hidden_size=68, embedding_size=68, num_attention_heads=2, intermediate_size=71,
    max_position_embeddings=19,
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(4)
    folder = tmp_path / "shipped"
    save_encoder(PretrainingModel(CONFIG), None, folder / "bert-xx-nano", format="albertine", storage="int8")
    monkeypatch.setattr(shipped, "ENCODERS", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_what_ships_is_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--shipped"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["name", "bert-xx-nano"]
    assert main(["info", "--shipped", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert [one["name"] for one in document["encoders"]] == ["bert-xx-nano"]
    assert document["encoders"][0]["folder"] == str(place / "bert-xx-nano")


def test_info_takes_the_name_and_says_the_storage(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "bert-xx-nano"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("bert-xx-nano\n")
    assert " MB   int8\n" in printed
    assert main(["info", "bert-xx-nano", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["storage"] == "int8"
    assert document["bytes"] < 1.5 * document["parameters"]["unique"]


def test_info_without_a_name_says_how_to_list_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 2
    assert "--shipped" in capsys.readouterr().err


def test_a_storage_alone_makes_a_folder_of_ours(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "bert-xx-nano", "large", "--storage", "fp32"]) == 0
    assert "bert-xx-nano (albertine) -> large (albertine): " in capsys.readouterr().out
    assert main(["convert", "large", "small", "--storage", "int8", "--verify", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["notes"] == []
    assert document["verification"]["passed"]
    weights = (place / "bert-xx-nano" / "model.safetensors").read_bytes()
    assert (Path("small") / "model.safetensors").read_bytes() == weights
    assert main(["convert", "small", "hf", "--to", "huggingface"]) == 0
    assert json.loads((Path("hf") / "config.json").read_text(encoding="utf-8"))["model_type"] == "bert"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--storage", "int9"), "Did you mean 'int8'?"),
        (("--to", "huggingface", "--storage", "int8"), "weights of eight bits are read by Albertine alone"),
        (("--to", "tensorflow", "--storage", "bf16"), "float32 is the only type"),
        ((), "--to"),
    ],
)
def test_a_storage_that_cannot_be_had_is_one_clear_line(
    place: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "bert-xx-nano", "out", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err.splitlines()[-1]
    assert not Path("out").exists()


def test_finetune_without_an_encoder_says_what_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipped, "ENCODERS", tmp_path / "gone")
    (tmp_path / "data.csv").write_text("text,label\na,1\nb,2\n", encoding="utf-8")
    assert main(["finetune", "text-classification", str(tmp_path / "data.csv"), "--out", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--encoder: no encoder is named" in line
    assert "preset:NAME" in line
