"""The command line's ways to answer: at a depth, each text by itself, in a precision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from albertine.cli.main import main

TEXTS = ["fine soup", "good bread", "a very good day", "cold soup", "bad bread and a bad day"]


@pytest.fixture(scope="module")
def elastic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose two depths were trained."""
    folder = tmp_path_factory.mktemp("elastic")
    rows = [
        f"{text} {number},{'good' if 'good' in text or 'fine' in text else 'bad'}"
        for number in range(20)
        for text in TEXTS
    ]
    (folder / "data.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (folder / "texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    code = main(
        [
            "finetune", "text-classification", str(folder / "data.csv"), "--encoder", "preset:bert-tiny", "--elastic",
            "--exit-loss", "0.2", "--vocabulary-size", "200", "--epochs", "2", "--out", str(folder / "model"),
        ]
    )  # fmt: skip
    assert code == 0
    return folder


def predicted(elastic: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["predict", str(elastic / "model"), str(elastic / "texts.txt"), "--json", *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_depth_is_run_and_said(elastic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = predicted(elastic, capsys)
    assert all("depth" not in one for one in whole)
    first, second = (predicted(elastic, capsys, "--depth", depth) for depth in "12")
    assert [one["depth"] for one in first + second] == [1] * 5 + [2] * 5
    assert [one["scores"] for one in second] == [one["scores"] for one in whole]
    assert [one["scores"] for one in first] != [one["scores"] for one in whole]
    auto = predicted(elastic, capsys, "--depth", "auto")
    assert {one["depth"] for one in auto} <= {1, 2}
    expected = {1: first, 2: second}
    for place, one in enumerate(auto):
        assert one["score"] == pytest.approx(expected[one["depth"]][place]["score"], abs=0.02)  # type: ignore[index]


def test_what_every_depth_is_worth_stands_in_card_and_manifest(elastic: Path) -> None:
    manifest = json.loads((elastic / "model" / "manifest.json").read_text(encoding="utf-8"))
    exits = manifest["measurements"]["exits"]
    assert len(exits["by_depth"]) == 2
    assert exits["allowed_loss"] == 0.2
    assert 1 <= exits["mean_depth"] <= 2
    card = (elastic / "model" / "README.md").read_text(encoding="utf-8")
    assert f"| 1 | {exits['by_depth'][0]:.4f} |" in card


@pytest.mark.parametrize(("depth", "said"), [("3", "1 … 2"), ("deep", "a number of passes, or auto"), ("0", "1 … 2")])
def test_a_depth_that_there_is_not_is_refused(
    elastic: Path, capsys: pytest.CaptureFixture[str], depth: str, said: str
) -> None:
    assert main(["predict", str(elastic / "model"), str(elastic / "texts.txt"), "--depth", depth]) == 2
    assert said in capsys.readouterr().err


def test_int8_without_a_plan_is_refused(elastic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(elastic / "model"), str(elastic / "texts.txt"), "--precision", "int8"]) == 2
    assert "albertine compress" in capsys.readouterr().err


def test_exact_scores_do_not_depend_on_the_other_texts(
    elastic: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    together = predicted(elastic, capsys, "--exact")
    for text, one in zip(TEXTS, together, strict=True):
        (tmp_path / "one.txt").write_text(text + "\n", encoding="utf-8")
        capsys.readouterr()
        assert main(["predict", str(elastic / "model"), str(tmp_path / "one.txt"), "--json", "--exact"]) == 0
        assert json.loads(capsys.readouterr().out)["scores"] == one["scores"]
