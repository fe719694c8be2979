"""The verbs with tasks other than text classification: what is printed, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from albertine.cli.main import main

NAMES, TOWNS = ("Anna Berg", "Bo Lind", "Carl Moe"), ("Oslo", "Bergen", "Molde")


@pytest.fixture
def names(tmp_path: Path) -> Path:
    rows = []
    for place in range(36):
        name, town = NAMES[place % 3], TOWNS[place // 3 % 3]
        text = f"{name} lives in {town} number {place}"
        at = text.index(town)
        spans = [
            {"start": 0, "end": len(name), "label": "person"},
            {"start": at, "end": at + len(town), "label": "place"},
        ]
        rows.append(json.dumps({"text": text, "spans": spans}))
    path = tmp_path / "names.jsonl"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def model(names: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    out = tmp_path / "model"
    arguments = ["--encoder", "bilstm", "--out", str(out), "--epochs", "30", "--batch-size", "8", "--set", "crf=true"]
    assert main(["finetune", "token-classification", str(names), *arguments]) == 0
    capsys.readouterr()
    return out


def test_spans_are_printed_a_line_a_text_and_as_json(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new.txt"
    file.write_text("Bo Lind lives in Oslo number 7\nnobody\n", encoding="utf-8")
    assert main(["predict", str(model), str(file)]) == 0
    first, _ = capsys.readouterr().out.splitlines()
    assert "person 0-7 Bo Lind" in first
    assert first.endswith("Bo Lind lives in Oslo number 7")
    assert main(["predict", str(model), str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out.splitlines()[0])
    assert document["text"] == "Bo Lind lives in Oslo number 7"
    assert {"start", "end", "label", "score", "text"} == set(document["spans"][0])
    assert "label" not in document


def test_a_model_is_measured_on_its_own_kind_of_file(
    model: Path, names: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(model), str(names), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["main_metric"] == "f1"
    assert document["metrics"]["f1"] > 0.8
    assert document["confusion"] == []


def test_options_of_a_task_are_checked_by_name_and_value(
    names: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["finetune", "token-classification", str(names), "--encoder", "bilstm", "--out", str(tmp_path / "x")]
    for given, said in (("crff=true", "crf"), ("crf=maybe", "true or false"), ("crf", "NAME=VALUE")):
        assert main([*command, "--set", given]) == 2
        assert said in capsys.readouterr().err
    assert main(["finetune", "token-clasification", *command[2:]]) == 2
    assert "token-classification" in capsys.readouterr().err


def test_data_are_checked_as_the_task_reads_them(names: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = names.with_name("broken.jsonl")
    rows = names.read_text(encoding="utf-8").splitlines()
    bad = json.dumps({"text": "short", "spans": [{"start": 2, "end": 99, "label": "person"}]})
    broken.write_text("\n".join([*rows, bad]) + "\n", encoding="utf-8")
    assert main(["data", "check", str(broken), "--task", "token-classification", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"][0]["label_counts"] == {"person": 36, "place": 36}
    (finding,) = [one for one in document["findings"] if one["severity"] == "error"]
    assert finding["examples"][0]["line"] == 37


def test_candidates_are_compared_on_any_task(names: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "compared"
    command = ["compare", str(names), "--task", "token-classification", "--encoders", "none", "--seeds", "1"]
    assert main([*command, "--epochs", "2", "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["main_metric"] == "f1"
    assert [one["name"] for one in document["candidates"]] == ["bilstm"]
    assert document["evidence_columns"][:3] == ["right", "gold", "predicted"]
    assert (out / "report.html").is_file()
    assert main([*command, "--baselines", "bag-of-words", "--out", str(tmp_path / "other")]) == 2
    assert "cannot do the task" in capsys.readouterr().err


def test_a_search_without_an_encoder_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("oil the lamp\n\nfeed the birds\n", encoding="utf-8")
    assert main(["search", str(tmp_path / "notes.txt"), "lamp"]) == 2
    assert "encoder" in capsys.readouterr().err
