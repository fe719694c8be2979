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


def test_any_field_of_the_training_can_be_named(
    names: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "named"
    command = ["finetune", "token-classification", str(names), "--encoder", "preset:bert-tiny", "--out", str(out)]
    asked = ["--vocabulary-size", "150", "--epochs", "1", "--batch-size", "8"]
    for given, said in (
        ("warm=3", "warmup"),
        ("dropout=1.5", "training.dropout"),
        ("beta2=high", "a number"),
        ("epochs=2", "--epochs"),
    ):
        assert main([*command, *asked, "--training", given]) == 2
        assert said in capsys.readouterr().err
    assert main([*command, *asked, "--training", "warmup_steps=2", "--training", "dropout=0.35"]) == 0
    kept = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["inputs"]["training"]
    assert (kept["warmup_steps"], kept["dropout"], kept["epochs"]) == (2, 0.35, 1.0)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert (config["hidden_dropout_prob"], config["attention_probs_dropout_prob"]) == (0.35, 0.35)


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


def trained(task: str, rows: list[dict[str, object]], folder: Path) -> Path:
    data = folder / f"{task}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = folder / task
    arguments = ["--encoder", "bilstm", "--out", str(out), "--epochs", "30", "--batch-size", "8"]
    assert main(["finetune", task, str(data), *arguments]) == 0
    return out


def test_an_intent_is_printed_with_its_slots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    starts = {"weather": "will it rain in", "way": "how do I get to"}
    rows: list[dict[str, object]] = []
    for intent, start in starts.items():
        for town in (*TOWNS, "Hamar", "Lima", "Rome"):
            for day in ("today", "tomorrow", "now"):
                place = len(start) + 1
                slots = [{"start": place, "end": place + len(town), "label": "town"}]
                rows.append({"text": f"{start} {town} {day}", "intent": intent, "slots": slots})
    model = trained("intent-slots", rows, tmp_path)
    file = tmp_path / "new.txt"
    file.write_text("will it rain in Oslo now\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["predict", str(model), str(file)]) == 0
    label, score, said, text = capsys.readouterr().out.rstrip("\n").split("\t")
    assert (label, said, text) == ("weather", "town 16-20 Oslo", "will it rain in Oslo now")
    assert 0.5 < float(score) <= 1
    assert main(["predict", str(model), str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["label"] == "weather"
    assert [slot["text"] for slot in document["spans"]] == ["Oslo"]


def test_opinions_are_printed_with_what_they_are_about_and_given_aspects_are_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, object]] = [
        {
            "text": f"the {one} was {good} but the {other} was {bad}",
            "opinions": [
                {"aspect": one, "expression": good, "polarity": "good"},
                {"aspect": other, "expression": bad, "polarity": "bad"},
            ],
        }
        for one in ("soup", "waiter", "room", "bed")
        for other in ("lamp", "tea", "soup")
        if one != other
        for good in ("warm", "fine", "very kind")
        for bad in ("rude", "dull")
    ]
    model = trained("aspect-opinions", rows, tmp_path)
    file = tmp_path / "new.jsonl"
    file.write_text(json.dumps({"text": "the bed was fine but the tea was dull"}) + "\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["predict", str(model), str(file)]) == 0
    said, _ = capsys.readouterr().out.rstrip("\n").split("\t")
    assert said == "good: aspect 4-7 bed, by 12-16 fine; bad: aspect 25-28 tea, by 33-37 dull"
    asked = {"text": "the bed was fine but the tea was dull", "opinions": [{"aspect": "tea"}]}
    file.write_text(json.dumps(asked) + "\n", encoding="utf-8")
    assert main(["predict", str(model), str(file), "--json"]) == 0
    (judged,) = json.loads(capsys.readouterr().out)["opinions"]
    assert (judged["aspect"]["text"], judged["polarity"]) == ("tea", "bad")
