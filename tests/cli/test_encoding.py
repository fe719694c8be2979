from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import albertine as al
from albertine.cli.main import main
from albertine.inference.vectors import encode
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.tokenization.learn import learn_vocabulary

TEXTS = ["the cat sat", "", "很好吃", "a dog slept in the warm house"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("model") / "encoder"
    tokenizer = learn_vocabulary(TEXTS * 50, size=90)
    config = EncoderConfig.preset(
        "bert-tiny",
        vocab_size=tokenizer.vocab_size,
        hidden_size=14,
        embedding_size=14,
        num_attention_heads=2,
        intermediate_size=22,
        max_position_embeddings=17,
        initializer_range=0.3,
    )
    al.save_encoder(Encoder(config), tokenizer, folder)
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


def test_encode_prints_a_line_of_numbers_a_text(model: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", str(model), str(file), "--precision", "fp32"]) == 0
    printed = np.array([line.split() for line in capsys.readouterr().out.splitlines()], dtype=np.float32)
    np.testing.assert_array_equal(printed, encode(TEXTS, encoder=model, precision="fp32"))


def test_encode_as_json_prints_one_document_a_line(model: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", str(model), str(file), "--json", "--precision", "fp32", "--pooling", "cls"]) == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [document["text"] for document in documents] == TEXTS
    assert {document["schema_version"] for document in documents} == {1}
    vectors = np.array([document["vector"] for document in documents], dtype=np.float32)
    np.testing.assert_array_equal(vectors, encode(TEXTS, encoder=model, pooling="cls", precision="fp32"))


def test_encode_writes_a_numpy_file(
    model: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "vectors.npy"
    words = ["encode", str(model), str(file), "--out", str(out), "--normalize", "--max-length", "4"]
    assert main([*words, "--precision", "fp32"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "4 vectors of 14 numbers" in shown.err
    assert "3 of 4 texts (75.0 %) were longer than 4 tokens" in shown.err
    expected = encode(TEXTS, encoder=model, normalize=True, max_length=4, precision="fp32")
    np.testing.assert_array_equal(np.load(out), expected)
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"schema_version": 1, "file": str(out), "vectors": 4, "width": 14}


def test_encode_reads_a_pipe_and_a_closed_one_ends_it_quietly(model: Path) -> None:
    command = [sys.executable, "-m", "albertine", "encode", str(model), "--precision", "fp32"]
    done = subprocess.run(command, input=b"the cat\na dog", capture_output=True, check=True, timeout=120)
    assert len(done.stdout.splitlines()) == 2
    with subprocess.Popen(
        [*command, "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"the cat sat\n" * 300)
        process.stdin.close()
        errors = process.stderr.read().decode()
        assert process.wait(120) == 0
    assert "Traceback" not in errors
    assert "Broken" not in errors


def test_encode_reads_the_column_that_is_named(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("text_a,text_b\nthe cat,a dog\nwarm house,the cat\n", encoding="utf-8")
    assert main(["encode", str(model), str(file)]) == 2
    error = capsys.readouterr().err
    assert "pairs.csv:2" in error
    assert "--text-column" in error
    assert main(["encode", str(model), str(file), "--text-column", "text_b", "--json"]) == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [document["text"] for document in documents] == ["a dog", "the cat"]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--pooling", "average"], "average"),
        (["--pooling", "avg"], "unknown pooling. Received: 'avg'. Allowed: auto, cls, last, max, mean"),
        (["--pooling", "meen"], "Did you mean 'mean'?"),
        (["--max-length", "99"], "17"),
        (["--out", "vectors.csv"], ".npy"),
        (["--text-column", "nothing"], "nothing"),
    ],
)
def test_wrong_options_are_one_clear_line(
    model: Path, tmp_path: Path, words: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\nthe cat,a\n", encoding="utf-8")
    assert main(["-q", "encode", str(model), str(file), *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert match in shown.err
    assert len(shown.err.splitlines()) == 1


def test_a_missing_file_and_a_missing_model_are_named(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", str(model), "nowhere.txt"]) == 2
    assert "nowhere.txt" in capsys.readouterr().err
    assert main(["encode", "./no-such-model", "nowhere.txt"]) == 2
    assert "no-such-model" in capsys.readouterr().err
