"""The verb corpus build: tables and JSON, bad input in one line, everything on the right stream."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from albertine.batching.shards import Shards
from albertine.cli import corpora
from albertine.cli.output import run_guarded
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

TEXTS = [
    "The keeper of the light house found an old letter. It was about music and the sea, and nobody knew the hand.",
    "A grey cat slept under the stone bridge. In the morning the river had come up to its paws, and it walked away.",
    "They built the wall in a single summer. In the winter it fell, because the ground below had never been dry.",
]

app = typer.Typer()
app.command("build")(corpora.build)


@app.callback()
def nothing() -> None:
    """Keep the verb a verb although it is alone."""


def run(*words: str | Path) -> int:
    return run_guarded(lambda: app([*map(str, words)], standalone_mode=False))


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*SPECIAL_TOKENS, "the", *letters, *(f"##{letter}" for letter in letters), *",."]
    folder = tmp_path / "tokenizer"
    Tokenizer(WordPieceModel(tokens, rules=Rules(lowercase=True, strip_accents=True))).save(folder)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(TEXTS), encoding="utf-8")
    return path


def test_a_line_a_stage_is_printed(
    corpus: Path, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", corpus, "--tokenizer", tokenizer, "--out", tmp_path / "out", "--workers", "1") == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    stages = ["read", "clean", "language", "sentences", "words", "tokens", "duplicates", "held-out", "shards"]
    assert [line.split()[0] for line in lines[1:10]] == stages
    assert "corpus folder" in printed.err
    shards = Shards(tmp_path / "out", "train", verify=True)
    assert shards.num_documents == 2
    assert Shards(tmp_path / "out", "held-out").num_documents == 1


def test_json_is_one_document(
    corpus: Path, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("build", corpus, "--tokenizer", tokenizer, "--out", tmp_path / "out", "--workers", "2", "--json")
    assert run(*words, "--held-out", "0") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert document["splits"]["train"]["documents"] == 3
    assert document["stages"]["read"]["documents_in"] == 3
    assert document["workers"] == 2
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8")) == document


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--min-characters", "5000"], "none of the 3 documents is left"),
        (["--language", "zh"], "3 another language"),
        (["--held-out", "0.9"], "held_out"),
        (["--similarity", "0.1"], "similarity"),
        (["--encoding", "klingon"], "klingon"),
        (["--on-error", "maybe"], "on_error"),
        (["--workers", "0"], "workers"),
    ],
)
def test_bad_input_is_one_clear_line(
    corpus: Path,
    tokenizer: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    base = ("build", corpus, "--tokenizer", tokenizer, "--out", tmp_path / "out")
    assert run(*base, *([] if "--workers" in words else ["--workers", "1"]), *words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert told in printed.err.splitlines()[-1]
    assert "Traceback" not in printed.err


def test_documents_with_evaluation_texts_are_left_out(
    corpus: Path, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = tmp_path / "test" / "dev.tsv"
    test.parent.mkdir()
    test.write_text(
        f"1\t{TEXTS[1][:70].upper()}\n0\tIn the winter it fell, because the ground was dry\n", encoding="utf-8"
    )
    (tmp_path / "more.jsonl").write_text('{"q": "Nothing like that stands anywhere in the corpus"}\n', encoding="utf-8")
    base = ("build", corpus, "--tokenizer", tokenizer, "--out", tmp_path / "out", "--workers", "1", "--held-out", "0")
    words = (*base, "--exclude", test.parent, "--exclude", tmp_path / "more.jsonl")
    assert run(*words, "--json") == 0
    printed = capsys.readouterr()
    excluded = json.loads(printed.out)["excluded"]
    assert excluded["documents"] == 1
    assert excluded["characters"] == len(TEXTS[1])
    assert [one["name"] for one in excluded["files"]] == ["more.jsonl", "test/dev.tsv"]
    assert excluded["examples"][0]["document"] == "texts.txt:3"
    assert Shards(tmp_path / "out", "train").num_documents == 2
    assert run(*words) == 0
    assert "1 document with" in capsys.readouterr().out
    assert run(*base) == 2
    assert "different: exclude" in capsys.readouterr().err


def test_evaluation_texts_that_are_not_there_are_refused(
    corpus: Path, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("build", corpus, "--tokenizer", tokenizer, "--out", tmp_path / "out")
    assert run(*base, "--exclude", tmp_path / "text.txt") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
    assert "text.txt" in printed.err
    assert "Beside it stands texts.txt" in printed.err
    assert not (tmp_path / "out").exists()


def test_a_corpus_that_is_not_there_is_refused(
    tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", tmp_path / "none.txt", "--tokenizer", tokenizer, "--out", tmp_path / "out") == 2
    assert "none.txt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
