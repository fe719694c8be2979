"""The verb convert: what it prints, what it exits with, and one clear line for every wrong input."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from albertine.checkpoints import writing
from albertine.checkpoints.fitting import TargetFormat
from albertine.checkpoints.load import load_encoder
from albertine.checkpoints.native import write_model_files, write_model_folder
from albertine.checkpoints.writing import save_encoder
from albertine.cli.main import main
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel
from albertine.tokenization.tokenizer import load_tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "好", "吃", "tea", "##s", *(f"w{n}" for n in range(90))]
SIZES = {
    "vocab_size": 99,
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 29,
    "max_position_embeddings": 17,
}
BERT = EncoderConfig.preset("bert-tiny", **SIZES, embedding_size=12, hidden_act="gelu_tanh")
ALBERT = EncoderConfig.preset("albert-base", **SIZES, embedding_size=7)


def write(
    folder: Path, config: EncoderConfig = BERT, *, to: TargetFormat = "huggingface", words: list[str] = WORDS
) -> Path:
    torch.manual_seed(3)
    model = PretrainingModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    (folder / "vocab.txt").unlink()
    save_encoder(model, tokenizer, folder, format=to)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source")


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def convert(source: object, target: object, to: str, *more: str) -> int:
    return main(["convert", str(source), str(target), "--to", to, *more])


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The line of the error, which is the last one; nothing went to stdout, and no traceback came before it."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    lines = captured.err.splitlines()
    assert [line for line in lines if line.startswith("albertine: ")] == lines[-1:]
    return lines[-1]


# --- what is printed


def test_a_conversion_is_one_line_on_stdout(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(source, tmp_path / "tf", "tensorflow") == 0
    captured = capsys.readouterr()
    assert captured.out == (f"{source} (albertine) -> {tmp_path / 'tf'} (tensorflow): 62 tensors, 6,128 parameters\n")
    assert "warning" not in captured.err


def test_notes_and_the_table_follow_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write(tmp_path / "source", replace(BERT, hidden_act="gelu")), tmp_path / "target"
    assert convert(source, target, "tensorflow", "--activation", "tanh", "--verify") == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        f"{source} (albertine) -> {target} (tensorflow): 62 tensors, 6,128 parameters",
        "  note: the activation is now the tanh form of GELU, and was the other one",
        "  note: outputs are those of the changed model, no longer the source's",
        f"a: {source}",
        f"b: {target}",
        *(line for line in captured.out.splitlines() if line.startswith("run on 8 texts, ")),
        "",
        *(line for line in captured.out.splitlines() if line.endswith(("within", "yes"))),
        "",
        "weights: 62 of 62 tensors of the same name and shape are equal bit for bit",
        "equal within 0.0001",
    ]
    assert captured.out.count(" yes\n") == 7
    assert "/." not in captured.err, "names of folders that are passing"


def test_json_is_one_document_with_its_version(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(source, tmp_path / "one", "sentence-transformers", "--json", "--verify") == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["schema_version"] == 1
    assert document["target_format"] == "sentence-transformers"
    assert (document["tensors"], document["parameters"]) == (55, 5_823)
    assert any("mean pooling" in note for note in document["notes"])
    assert document["verification"]["passed"] is True
    assert {row["name"] for row in document["verification"]["outputs"]} >= {"last_hidden_state", "sentence_vectors"}
    assert convert(source, tmp_path / "two", "albertine", "--json") == 0
    assert json.loads(capsys.readouterr().out)["verification"] is None


def test_quiet_leaves_the_result_alone(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quiet", "convert", str(source), str(tmp_path / "tf"), "--to", "tensorflow"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("\n") == 1


def test_every_option_reaches_the_conversion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "bert")
    shared = tmp_path / "albert"
    assert convert(source, shared, "huggingface", "--share", "1", "--groups", "3", "--verify") == 2  # one layer a group
    assert "0 … 0" in error_line(capsys)
    assert convert(source, shared, "huggingface", "--share", "average", "--groups", "3", "--verify") == 0
    assert convert(shared, tmp_path / "again", "huggingface", "--unshare", "--activation", "erf", "--verify") == 0
    assert load_encoder(tmp_path / "again")[0].config.hidden_act == "gelu"
    assert convert(source, tmp_path / "vectors", "sentence-transformers", "--pooling", "max", "--tolerance", "0") == 0
    pooling = json.loads((tmp_path / "vectors" / "1_Pooling" / "config.json").read_text("utf-8"))
    assert pooling["pooling_mode_max_tokens"] is True


def test_a_process_converts_an_archive_and_ends_quietly_when_nobody_reads(tmp_path: Path) -> None:
    write(tmp_path / "made", ALBERT, to="tensorflow")
    with tarfile.open(tmp_path / "albert.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "made", "albert_base")
    words = [sys.executable, "-m", "albertine", "convert", "albert.tar.gz", "out", "--to", "huggingface", "--verify"]
    reading, writing_end = os.pipe()
    os.close(reading)
    done = subprocess.run(words, cwd=tmp_path, stdout=writing_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing_end)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert {path.name for path in tmp_path.iterdir()} == {"albert.tar.gz", "made", "out"}
    done = subprocess.run([*words, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["source"] == "albert.tar.gz"
    assert str(tmp_path) not in done.stderr
    assert "albertine-" not in done.stderr, "the folder that it was unpacked to"


# --- wrong input


def tensorflow(folder: Path) -> Path:
    return write(folder / "tf", to="tensorflow")


def set_config(place: Path, **changes: object) -> Path:
    values = json.loads(place.read_text("utf-8"))
    place.write_text(json.dumps({**values, **changes}), encoding="utf-8")
    return place.parent


def wrong_vocabulary(folder: Path) -> Path:
    made = tensorflow(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (made / name).unlink()
    (made / "vocab.txt").write_text("\n".join([*WORDS, *(f"x{n}" for n in range(31))]) + "\n", encoding="utf-8")
    return made


def smaller_vocabulary(folder: Path) -> Path:
    return set_config(tensorflow(folder) / "bert_config.json", vocab_size=98)


def wider(folder: Path) -> Path:
    return set_config(tensorflow(folder) / "bert_config.json", hidden_size=24)


def deeper(folder: Path) -> Path:
    return set_config(write(folder / "model") / "config.json", num_hidden_layers=4)


def truncated(folder: Path) -> Path:
    made = tensorflow(folder)
    os.truncate(made / "bert_model.ckpt.data-00000-of-00001", 20_000)
    return made


def damaged(folder: Path) -> Path:
    file = tensorflow(folder) / "bert_model.ckpt.data-00000-of-00001"
    data = bytearray(file.read_bytes())
    data[7_777] ^= 1
    file.write_bytes(data)
    return file.parent


def without_data(folder: Path) -> Path:
    made = tensorflow(folder)
    (made / "bert_model.ckpt.data-00000-of-00001").unlink()
    return made


def without_index(folder: Path) -> Path:
    made = tensorflow(folder)
    (made / "bert_model.ckpt.index").unlink()
    return made


def without_config(folder: Path) -> Path:
    made = tensorflow(folder)
    (made / "bert_config.json").unlink()
    return made


def albert_with_a_berts_config(folder: Path) -> Path:
    made, bert = write(folder / "albert", ALBERT), write(folder / "bert")
    shutil.copy(bert / "config.json", made / "config.json")
    return made


def googles_albert_with_a_berts_config(folder: Path) -> Path:
    made, bert = write(folder / "albert", ALBERT, to="tensorflow"), tensorflow(folder)
    (made / "albert_config.json").unlink()
    shutil.copy(bert / "bert_config.json", made / "bert_config.json")
    return made


def several(folder: Path) -> Path:
    made = tensorflow(folder)
    for name in ("bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"):
        shutil.copy(made / name, made / name.replace("bert_model", "another"))
    (made / "checkpoint").unlink()
    return made


def baseline(folder: Path) -> Path:
    write_model_folder(
        folder / "baseline",
        config={"model_type": "albertine", "albertine": {"body": "bilstm"}},
        tensors={"body.weight": torch.zeros(3)},
        tokenizer=None,
        task=None,
        manifest={},
        card="",
    )
    return folder / "baseline"


def text(folder: Path) -> Path:
    (folder / "notes.txt").write_text("not a model", encoding="utf-8")
    return folder / "notes.txt"


def empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def archive_of_nothing(folder: Path) -> Path:
    with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
        archive.add(text(folder), "notes.md")
    return folder / "model.tar.gz"


def no_archive(folder: Path) -> Path:
    (folder / "model.zip").write_bytes(b"no zip at all")
    return folder / "model.zip"


BROKEN: Mapping[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "a vocabulary of another model": (wrong_vocabulary, ("vocabulary does not fit", "130 tokens", "99")),
    "a configuration with fewer words": (smaller_vocabulary, ("word_embeddings", "[99, 12]", "[98, 12]", "vocab")),
    "a configuration of another width": (wider, ("12 wide", "says 24", "model of another size")),
    "a configuration with more layers": (deeper, ("num_hidden_layers", "3", "4")),
    "data that was cut off": (truncated, ("data-00000-of-00001", "truncated", "20,000 bytes")),
    "data that was damaged": (damaged, ("data-00000-of-00001", "checksum")),
    "an index without data": (without_data, ("data-00000-of-00001", "does not exist")),
    "data without an index": (without_index, ("index", "Copy bert_model.ckpt.index")),
    "no configuration": (without_config, ("no bert_config.json", '"hidden_size": 12')),
    "an ALBERT with a BERT's configuration": (albert_with_a_berts_config, ("ALBERT", "model_type")),
    "Google's ALBERT with a BERT's configuration": (
        googles_albert_with_a_berts_config,
        ("[99, 7]", "saved with these weights"),
    ),
    "several checkpoints": (several, ("several checkpoints", "another.ckpt, bert_model.ckpt")),
    "a baseline": (baseline, ("no encoder", "bilstm")),
    "a text": (text, ("not an encoder",)),
    "an empty folder": (empty, ("no weights", "an empty folder")),
    "nothing": (lambda folder: folder / "gone", ("no such folder or file",)),
    "an archive without a model": (archive_of_nothing, ("holds no files of a model", "notes.md")),
    "no archive": (no_archive, ("model.zip", "archive")),
    "a name of nothing": (lambda folder: Path("bert-tinny"), ("neither a folder nor a preset", "bert-tiny")),
    "an unknown preset": (lambda folder: Path("preset:bert-tinny"), ("unknown preset", "bert-tiny")),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_source_that_cannot_be_opened_is_one_clear_line(
    tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, named = BROKEN[case]
    (tmp_path / "models").mkdir()
    source = make(tmp_path / "models")
    before = contents(tmp_path)
    assert convert(source, tmp_path / "new" / "target", "huggingface", "--verify") == 2
    line = error_line(capsys)
    assert [word for word in named if word not in line] == []
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("to", "more", "named"),
    [
        ("onnxx", (), ("to: unknown format", "'onnxx'", "huggingface", "tensorflow")),
        ("huggingface", ("--activation", "gelu"), ("unknown activation", "erf, tanh")),
        ("huggingface", ("--share", "all"), ("no way to share", "average, or a layer's number")),
        ("huggingface", ("--share=-1",), ("no way to share", "average, or a layer's number")),
        ("huggingface", ("--share", "3"), ("share: there is no such layer", "0 … 2")),
        ("huggingface", ("--share", "0", "--unshare"), ("either shared or unshared",)),
        ("huggingface", ("--groups", "2"), ("groups", "--share")),
        ("huggingface", ("--groups", "zwei"), ("--groups", "integer")),
        ("huggingface", ("--share", "average", "--groups", "0"), ("groups", "1 … 3")),
        ("huggingface", ("--unshare",), ("nothing to unshare",)),
        ("huggingface", ("--pooling", "mean"), ("sentence-transformers",)),
        ("sentence-transformers", ("--pooling", "middle"), ("unknown pooling", "mean")),
        ("huggingface", ("--verify", "--tolerance", "-1"), ("not a tolerance",)),
        ("huggingface", ("--tolerance", "nan"), ("not a tolerance",)),
        ("huggingface", ("--colour",), ("--colour",)),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    source: Path, tmp_path: Path, to: str, more: tuple[str, ...], named: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = contents(tmp_path)
    assert convert(source, tmp_path / "new" / "target", to, *more) == 2
    line = error_line(capsys)
    assert [word for word in named if word not in line] == []
    assert contents(tmp_path) == before


def test_the_format_must_be_named(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(source), str(tmp_path / "target")]) == 2
    assert "--to" in error_line(capsys)


def test_the_question_of_the_activation_is_one_line_with_both_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "source", replace(BERT, hidden_act="gelu"))
    before = contents(tmp_path)
    assert convert(source, tmp_path / "target", "tensorflow") == 2
    line = error_line(capsys)
    assert "--activation tanh" in line
    assert "--activation erf" in line
    assert contents(tmp_path) == before


def test_places_that_are_no_target_are_one_clear_line_each(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "modules.json").write_text("[]", encoding="utf-8")
    (tmp_path / "closed").mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and allowed(path, mode))
    before = contents(tmp_path)
    for target, named in {
        source: "source and target are the same folder",
        source / "inside": "the target lies inside the source",
        tmp_path / "file": "a file stands there",
        tmp_path / "file" / "inside": "no folder can be made in it",
        tmp_path / "closed" / "target": "no folder can be made here",
        tmp_path / "foreign": "would mix with the new ones. Received: modules.json",
    }.items():
        assert convert(source, target, "huggingface") == 2
        assert named in error_line(capsys)
        assert contents(tmp_path) == before


# --- what is not the user's fault


def spoil(monkeypatch: pytest.MonkeyPatch, ending: Callable[[Path], object]) -> None:
    """Let something happen when the files of a model are written."""

    def write_and_then(folder: Path, **values: object) -> None:
        write_model_files(folder, **values)  # type: ignore[arg-type]
        ending(folder)

    monkeypatch.setattr(writing, "write_model_files", write_and_then)


def raising(error: BaseException) -> Callable[[Path], None]:
    def ending(folder: Path) -> None:
        raise error

    return ending


@pytest.mark.parametrize("stands", [True, False])
def test_a_result_that_differs_exits_with_1_shows_the_table_and_is_not_kept(
    source: Path, tmp_path: Path, stands: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if stands:
        assert convert(write(tmp_path / "old", ALBERT), tmp_path / "target", "huggingface") == 0
        capsys.readouterr()
    before = contents(tmp_path)
    spoil(monkeypatch, lambda folder: set_config(folder / "config.json", hidden_act="gelu"))
    assert convert(source, tmp_path / "target", "huggingface", "--verify", "--json") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert any(line.startswith("last_hidden_state") and line.endswith("NO") for line in lines)
    assert "NOT equal within 0.0001" in lines
    assert lines[-1].startswith(f"albertine: {tmp_path / 'target'}: what was written is not what was to be written")
    assert "another configuration; " in lines[-1]
    assert "last_hidden_state: " in lines[-1]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("stands", [True, False])
@pytest.mark.parametrize(
    ("error", "code", "named"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "target: the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), 1, "target: this place cannot be written to"),
        (OSError(errno.EIO, "Input/output error"), 1, "Input/output error"),
    ],
)
def test_what_stood_there_is_whole_when_a_conversion_breaks_off(
    source: Path,
    tmp_path: Path,
    stands: bool,
    error: BaseException,
    code: int,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if stands:
        assert convert(write(tmp_path / "old", ALBERT), tmp_path / "target", "huggingface") == 0
        capsys.readouterr()
    before = contents(tmp_path)
    spoil(monkeypatch, raising(error))
    assert convert(source, tmp_path / "target", "huggingface") == code
    assert named in error_line(capsys)
    assert contents(tmp_path) == before
