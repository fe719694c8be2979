"""What bad input gets: one clear line with the next step, the right exit code, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from albertine.cli.main import main

GOOD = ["味道很好", "质量不错", "非常满意", "物流很快", "下次再来", "推荐购买", "物美价廉"]
BAD = ["味道很差", "质量太差", "非常失望", "物流太慢", "不会再买", "不要购买", "又贵又差"]


def write_reviews(path: Path, copies: int = 4) -> Path:
    lines = ["text,label"]
    for copy in range(copies):
        lines += [f"{text}{copy},1" for text in GOOD] + [f"{text}{copy},0" for text in BAD]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return write_reviews(tmp_path / "reviews.csv")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    data = write_reviews(folder / "reviews.csv")
    out = folder / "words"
    assert main(["finetune", "text-classification", str(data), "--encoder", "bag-of-words", "--out", str(out)]) == 0
    return out


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The error line: the last of stderr, and no traceback before it."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    lines = captured.err.strip().splitlines()
    assert lines, "nothing was said"
    assert lines[-1].startswith("albertine: ")
    return lines[-1]


def finetune(data: Path, out: Path, *more: str) -> int:
    return main(["finetune", "text-classification", str(data), "--encoder", "bag-of-words", "--out", str(out), *more])


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune(tmp_path / "nothing.csv", tmp_path / "out") == 2
    assert "nothing.csv" in one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_a_missing_column_is_named_with_those_there_are(
    reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(reviews, tmp_path / "out", "--label-column", "stars") == 2
    line = one_line(capsys)
    assert "stars" in line
    assert "label" in line
    assert "text" in line


@pytest.mark.parametrize("content", ["", "text,label\n"])
def test_an_empty_file_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "empty.csv"
    data.write_text(content, encoding="utf-8")
    assert finetune(data, tmp_path / "out") == 2
    assert "empty.csv" in one_line(capsys)


def test_a_single_class_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "one.csv"
    data.write_text("text,label\n" + "".join(f"{text},good\n" for text in GOOD * 3), encoding="utf-8")
    assert finetune(data, tmp_path / "out") == 2
    assert "good" in one_line(capsys)


def test_a_label_seen_once_is_named(reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with reviews.open("a", encoding="utf-8") as file:
        file.write("味道一般,neutral\n")
    assert finetune(reviews, tmp_path / "out") == 2
    assert "neutral" in one_line(capsys)


def test_a_wrong_encoding_is_recognised_and_named(
    reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reviews.write_bytes(reviews.read_text(encoding="utf-8").encode("gb18030"))
    assert finetune(reviews, tmp_path / "out") == 2
    line = one_line(capsys)
    assert "--encoding gb18030" in line
    assert finetune(reviews, tmp_path / "out", "--encoding", "gb18030") == 0


def test_a_bad_row_stops_with_its_line_or_is_skipped_and_counted(
    reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with reviews.open("a", encoding="utf-8") as file:
        file.write(",1\n")
    assert finetune(reviews, tmp_path / "out") == 2
    assert "reviews.csv:58" in one_line(capsys)
    assert finetune(reviews, tmp_path / "out", "--on-error", "skip") == 0


@pytest.fixture(scope="module")
def encoder_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    data = write_reviews(folder / "reviews.csv")
    with data.open("a", encoding="utf-8") as file:
        file.write("好" * 100_000 + ",1\n")
    out = folder / "tiny"
    command = ["finetune", "text-classification", str(data), "--encoder", "preset:bert-tiny", "--out", str(out)]
    assert main([*command, "--epochs", "1"]) == 0
    return out


@pytest.mark.parametrize("kind", ["model", "encoder_model"])
def test_a_text_of_a_hundred_thousand_characters_is_answered(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = request.getfixturevalue(kind)
    long = tmp_path / "long.txt"
    long.write_text("好" * 100_000 + "\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["predict", str(folder), str(long), "--json"]) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["text"]) == 100_000
    assert captured.err == ""  # nothing is cut, long texts are read in windows


def test_a_truncated_weights_file_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in model.iterdir():
        if file.is_file():
            (broken / file.name).write_bytes(file.read_bytes())
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    assert main(["predict", str(broken), str(tmp_path / "x.txt")]) == 2
    assert "model.safetensors" in one_line(capsys)


def test_a_pickle_is_never_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "executed"),))

    folder = tmp_path / "pickled"
    folder.mkdir()
    sizes = {
        "vocab_size": 99,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    config = {"model_type": "bert", **sizes}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    assert main(["info", str(folder)]) == 2
    capsys.readouterr()
    assert finetune_encoder(folder, tmp_path) == 2
    line = one_line(capsys)
    assert "pickle" in line
    assert "safetensors" in line
    assert not (tmp_path / "executed").exists()


def finetune_encoder(encoder: Path, tmp_path: Path) -> int:
    data = write_reviews(tmp_path / "more.csv")
    return main(["finetune", "text-classification", str(data), "--encoder", str(encoder), "--out", str(tmp_path / "o")])


def test_an_unknown_encoder_gets_the_nearest_name(
    reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "finetune",
                "text-classification",
                str(reviews),
                "--encoder",
                "preset:albert-bas",
                "--out",
                str(tmp_path / "o"),
            ]
        )
        == 2
    )
    assert "albert-base" in one_line(capsys)


def test_an_unknown_option_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "x.csv", "--sedes", "3"]) == 2
    assert "--sedes" in one_line(capsys)


def test_a_full_disk_is_one_line_and_leaves_nothing_under_the_final_name(
    reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("albertine.files.os.fsync", full)
    out = tmp_path / "out"
    assert finetune(reviews, out) == 1
    assert "disk is full" in one_line(capsys)
    assert not (out / "model.safetensors").exists()
    monkeypatch.undo()
    assert finetune(reviews, out) == 0


def run(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ALBERTINE_LANG": "en"}
    return subprocess.Popen([sys.executable, "-m", "albertine", *arguments], env=environment, **options)  # type: ignore[call-overload,no-any-return]


def test_stdout_on_a_full_disk_fails_with_one_line() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = run("info", "bert-tiny", stdout=full, stderr=subprocess.PIPE)
        error = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 1
    assert "disk is full" in error
    assert "Traceback" not in error


def test_a_closed_pipe_ends_quietly(model: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("味道很好\n" * 20_000, encoding="utf-8")
    with run("predict", str(model), str(texts), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read().decode()
    assert process.returncode == 0
    assert error == ""


def test_control_c_saves_the_training_and_the_same_command_continues(reviews: Path, tmp_path: Path) -> None:
    write_reviews(reviews, copies=30)
    out = tmp_path / "run"
    command = [
        "finetune",
        "text-classification",
        str(reviews),
        "--encoder",
        "bilstm",
        "--out",
        str(out),
        "--epochs",
        "100",
    ]
    process = run(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    log = out / "log.jsonl"
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert (out / "checkpoints" / "last.safetensors").is_file()
    assert not (out / "model.safetensors").exists()
    assert main(command) == 0
    assert (out / "model.safetensors").exists()


def test_messages_nobody_reads_do_not_stop_the_work(reviews: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    command = f"{sys.executable} -m albertine finetune text-classification {reviews} --encoder bag-of-words --out {out}"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command} 2>&1 | true"], timeout=120, check=False)
    assert done.returncode == 0
    assert (out / "model.safetensors").exists()
