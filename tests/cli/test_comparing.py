from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from albertine.cli.main import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    words = {"good": ("excellent", "lovely", "great"), "bad": ("awful", "terrible", "poor")}
    rows = [f"{word} item {n},{label}" for label, group in words.items() for word in group for n in range(70)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_compare_prints_one_document_and_repeats_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "compared"
    command = ["compare", str(data), "--encoders", "none", "--baselines", "bag-of-words", "--out", str(out), "--json"]
    assert main(command) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 2
    assert document["recommended"] == "bag-of-words"
    manifest = json.loads((out / document["candidates"][0]["runs"][0]["folder"] / "manifest.json").read_text("utf-8"))
    assert manifest["command"] == document["command"]
    capsys.readouterr()
    assert main([*command, "--lang", "zh"]) == 0
    captured = capsys.readouterr()
    assert "finished before" in captured.err
    assert json.loads(captured.out)["language"] == "zh"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_comparison_ends_its_processes_and_continues(
    number: signal.Signals, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "compared"
    command = [
        sys.executable, "-m", "albertine", "compare", str(data), "--encoders", "none", "--baselines",
        "bag-of-words,bilstm", "--seeds", "1", "--epochs", "60", "--out", str(out),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ALBERTINE_LANG": "en"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        log = out / "jobs" / "bilstm-seed0" / "model" / "log.jsonl"
        deadline = time.monotonic() + 120
        while not (log.exists() and log.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        error = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert not (out / "report.json").exists()
    assert (out / "jobs" / "bag-of-words-seed0" / "measure.json").exists()
    assert (log.parent / "checkpoints" / "last.safetensors").exists()
    done = subprocess.run(command, env=environment, capture_output=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"bag-of-words, seed 0: finished before" in done.stderr
    points = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [point["step"] for point in points] == sorted({point["step"] for point in points})
    assert (out / "report.html").exists()
