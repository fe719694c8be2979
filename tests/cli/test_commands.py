from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

import albertine as al
from albertine.cli.main import app, main
from albertine.cli.options import names_of
from albertine.errors import ConfigError

ROWS = [
    *(
        {"text": f"{word} {number}", "label": "good"}
        for word in ("excellent", "lovely", "great")
        for number in range(13)
    ),
    *({"text": f"{word} {number}", "label": "bad"} for word in ("awful", "terrible", "poor") for number in range(13)),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "reviews.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "words"
    assert (
        main(["-q", "finetune", "text-classification", str(data), "--encoder", "bag-of-words", "--out", str(out)]) == 0
    )
    return out


def test_predict_prints_a_line_a_text_in_order(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("awful 99\nlovely 98\n\nterrible\n", encoding="utf-8")
    assert main(["predict", str(model), str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in (lines[0], lines[1], lines[3])] == ["bad", "good", "bad"]
    assert lines[0].split("\t")[2] == "awful 99"
    assert len(lines) == 4


def test_predict_as_json_prints_one_document_a_line(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(model), str(data), "--json"]) == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(documents) == len(ROWS)
    for document, row in zip(documents, ROWS, strict=True):
        assert document["schema_version"] == 1
        assert document["text"] == row["text"]
        assert document["scores"][document["label"]] == pytest.approx(document["score"])
        assert sum(document["scores"].values()) == pytest.approx(1)


@pytest.mark.parametrize("name", ["rows.ndjson", "rows.pq", "texts.txt.gz", "rows.zip", "tabbed.txt"])
def test_predict_reads_every_kind_of_file_that_training_reads(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    texts = ["awful 3", "lovely 7"]
    match name:
        case "rows.ndjson":
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        case "rows.pq":
            parquet.write_table(pyarrow.table({"text": texts}), path)
        case "texts.txt.gz":
            path.write_bytes(gzip.compress("\n".join(texts).encode()))
        case "rows.zip":
            with zipfile.ZipFile(path, "w") as packed:
                packed.writestr("rows.csv", "text,label\n" + "".join(f"{text},x\n" for text in texts))
        case "tabbed.txt":
            path.write_text("".join(f"bad\t{text}\n" for text in texts), encoding="utf-8")
    options = ["--text-column", "2"] if name == "tabbed.txt" else []
    assert main(["predict", str(model), str(path), "--json", *options]) == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [document["text"] for document in documents] == texts
    assert [document["label"] for document in documents] == ["bad", "good"]


def test_evaluate_takes_the_test_file_of_a_folder(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rows in (("train", ROWS), ("test", ROWS[:7])):
        text = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    assert main(["evaluate", str(model), str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 7


def test_every_verb_is_a_python_function() -> None:
    verbs = {command.name for command in app.registered_commands}
    assert verbs
    assert verbs <= set(al.__all__)


def test_predict_reads_a_pipe(model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "albertine", "predict", str(model), "-"],
        input=b"great 77\nawful 5", capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    assert [line.split("\t")[0] for line in done.stdout.decode().splitlines()] == ["good", "bad"]


def test_a_pipe_in_another_encoding_is_refused_with_its_line(model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "albertine", "predict", str(model)],
        input=b"great\n" + "很好".encode("gb18030") + b"\n", capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"standard input:2" in done.stderr


def test_evaluate_prints_metrics_and_one_json_document(
    model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(model), str(data)]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert main(["evaluate", str(model), str(data), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert document["metrics"]["accuracy"] > 0.9


def test_info_counts_unique_and_executed_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "albert-base", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["parameters"]["unique"] == 11_683_584
    assert document["parameters"]["executed"] == 11_683_584 + 11 * 7_087_872
    assert document["config"]["num_hidden_layers"] == 12
    assert document["flops_per_token"] > 0
    assert document["bytes"] > 4 * 11_000_000
    assert main(["info", "albert-base"]) == 0
    assert "11,683,584" in capsys.readouterr().out


def test_info_reads_a_model_folder(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["parameters"]["unique"] > 0
    assert document["bytes"] > 0


def test_data_check_finds_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "dirty.csv"
    file.write_text(
        "text,label\n" + "a b c,x\n" * 5 + "a b c,y\n" + "d e f,y\n" * 3 + "odd \ufffd,y\n", encoding="utf-8"
    )
    assert main(["data", "check", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"duplicates", "conflicting-labels"} <= {finding["kind"] for finding in document["findings"]}
    assert main(["data", "check", str(file)]) == 0
    assert "dirty.csv:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "names"),
    [(None, None), ("none", []), ("a", ["a"]), ("a, preset:b", ["a", "preset:b"]), ("a，b", ["a", "b"])],
)
def test_lists_of_names_are_split_at_commas(text: str | None, names: list[str] | None) -> None:
    assert names_of(text, option="--encoders") == names


@pytest.mark.parametrize("text", ["", "a,,b", "a,a"])
def test_an_empty_or_repeated_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--encoders"):
        names_of(text, option="--encoders")


def test_the_version_is_the_changelogs_newest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    version = capsys.readouterr().out.split()[1]
    changelog = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = next(line for line in changelog.splitlines() if line.startswith("## "))
    assert newest.split()[1] == version


def test_every_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (
        ["demo"],
        ["compare"],
        ["info"],
        ["finetune"],
        ["evaluate"],
        ["predict"],
        ["data", "check"],
        ["data"],
        [],
    ):
        assert main([*verb, "--help"]) == 0
        assert "Usage" in capsys.readouterr().out


def test_chinese_survives_a_terminal_without_a_locale(model: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "albertine", "predict", str(model)],
        input="很好\n".encode(), capture_output=True, check=True, timeout=120, env=environment,
    )  # fmt: skip
    assert "很好" in io.TextIOWrapper(io.BytesIO(done.stdout), encoding="utf-8").read()
