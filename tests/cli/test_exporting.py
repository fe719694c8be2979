"""`albertine convert --to onnx`: what it prints, what it exits with, and one clear line for every wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from albertine import registry
from albertine.cli.main import main
from albertine.inference.model import Model
from albertine.models.config import EncoderConfig
from albertine.tasks.config import TaskConfig
from albertine.tokenization.tokenizer import load_tokenizer

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "好", "吃", "tea", "##s", *(f"w{n}" for n in range(90))]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    config = EncoderConfig.preset(
        "albert-base",
        vocab_size=99,
        hidden_size=12,
        embedding_size=7,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=29,
        max_position_embeddings=17,
    )
    task_config = TaskConfig(task="text-classification", labels=("good", "bad"), max_length=17)
    task = registry.tasks.get("text-classification")
    torch.manual_seed(3)
    module = task.build(config, task_config)  # type: ignore[attr-defined]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.4)
    Model(
        module,
        config=config,
        tokenizer=load_tokenizer(tmp_path / "vocab.txt"),
        task=task,  # type: ignore[arg-type]
        task_config=task_config,
        precision="fp32",
        manifest={"schema_version": 1},
        card="# A card\n",
    ).save(tmp_path / "model")
    return tmp_path / "model"


def test_json_has_one_document_with_the_comparison(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(source), str(tmp_path / "onnx"), "--to", "onnx", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert document["target_format"] == "onnx"
    assert document["outputs"] == ["logits"]
    assert document["verification"]["changed"] == 0
    assert document["verification"]["outputs"][0]["relative"] < 1e-4


def test_a_person_reads_how_far_it_is_apart_and_which_answers_changed(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("好 吃\ntea teas\n\nw3 w4 w5\n", encoding="utf-8")
    words = ["convert", str(source), str(tmp_path / "int8"), "--to", "onnx-int8", "--verify-with", str(texts)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "held against the model on 3 texts of 4 to 5 tokens" in printed
    assert "answers that changed: " in printed
    assert "of 3" in printed
    assert "products with weights: " in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "onnx", "--storage", "int8"], "exported as it is"),
        (["--to", "onnx8"], "unknown format"),
        (["--to", "onnx", "--verify-with", "nowhere.txt"], "nowhere.txt"),
        (["--to", "onnx", "--pooling", "mean"], "pooling"),
        (["--to", "albertine", "--overwrite"], "overwrite"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["convert", str(source), str(tmp_path / "onnx"), *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err.splitlines()[-1]
    assert "Traceback" not in captured.err
    assert not (tmp_path / "onnx").exists()
