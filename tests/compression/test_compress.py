"""`albertine compress`: a copy with an int8 plan where it pays, nothing where it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import albertine.inference.int8 as int8
from albertine.cli.main import main
from albertine.inference.kernels import int8_is_supported
from albertine.inference.loading import load

pytestmark = pytest.mark.skipif(not int8_is_supported(), reason="this build of PyTorch has no integer products")

GOOD, BAD = ["fine soup", "good bread", "very good", "a fine day"], ["cold soup", "bad bread", "very bad", "a bad day"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two passes over a file of its own."""
    folder = tmp_path_factory.mktemp("compress")
    rows = [
        f"{text} {number},{label}"
        for number in range(20)
        for label, texts in (("good", GOOD), ("bad", BAD))
        for text in texts
    ]
    (folder / "data.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    code = main(
        [
            "finetune", "text-classification", str(folder / "data.csv"), "--encoder", "preset:bert-tiny",
            "--vocabulary-size", "200", "--epochs", "2", "--out", str(folder / "model"), "--json",
        ]
    )  # fmt: skip
    assert code == 0
    return folder


def test_a_copy_is_written_where_int8_pays(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(int8, "speed_ratio", lambda *_: 1.7)
    out = tmp_path / "fast"
    code = main(["compress", str(trained / "model"), str(trained / "data.csv"), "--out", str(out), "--json"])
    assert code == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["folder"] == str(out)
    assert facts["speed"] == 1.7
    assert facts["unrounded"] - facts["rounded"] <= 0.005 + 1e-9
    fast, plain = load(out), load(trained / "model")
    assert fast.rounds
    assert not plain.rounds
    assert fast.labels == plain.labels
    assert fast.manifest["int8"]["speed"] == 1.7  # type: ignore[index]
    assert fast.card == plain.card


def test_nothing_is_written_where_it_is_not_faster(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(int8, "speed_ratio", lambda *_: 0.9)
    out = tmp_path / "fast"
    assert main(["compress", str(trained / "model"), str(trained / "data.csv"), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "0.90 times as fast" in printed.out
    assert "nothing was written" in printed.err
    assert not out.exists()


def test_the_models_own_folder_is_not_written_over(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "model" / "manifest.json").read_bytes()
    folder = str(trained / "model")
    assert main(["compress", folder, str(trained / "data.csv"), "--out", folder]) == 2
    assert "Name another folder" in capsys.readouterr().err
    assert (trained / "model" / "manifest.json").read_bytes() == before
