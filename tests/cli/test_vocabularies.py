from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from albertine.cli.output import run_guarded
from albertine.cli.vocabularies import learn
from albertine.tokenization.tokenizer import load_tokenizer

LINES = ["the lower the newer", "new and low, newer", "这家店很好吃，服务也好", "Wide wider widest"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(LINES * 10), encoding="utf-8")
    return path


def run(*words: object) -> int:
    app = typer.Typer()
    app.command()(learn)
    return run_guarded(lambda: app([str(word) for word in words], standalone_mode=False))


def test_a_vocabulary_is_learnt_and_reported(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(corpus, "--out", tmp_path / "out", "--size", "80", "--cased", "--layout", "compact") == 0
    shown = capsys.readouterr().out
    assert "tokens a word" in shown
    assert "held-out documents" in shown
    tokenizer = load_tokenizer(tmp_path / "out")
    assert not tokenizer.lowercase
    assert tokenizer.token_to_id("W") is not None


def test_json_is_one_document(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(corpus, "--out", tmp_path / "first", "--size", "80") == 0
    capsys.readouterr()
    words = ("--kind", "unigram", "--size", "70", "--against", tmp_path / "first", "--json")
    assert run(corpus, "--out", tmp_path / "out", *words) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert (document["learnt"]["kind"], document["against"]["kind"]) == ("unigram", "wordpiece")


def test_a_size_too_small_is_one_line_and_exit_code_2(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(corpus, "--out", tmp_path / "out", "--size", "12") == 2
    assert "or more" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
