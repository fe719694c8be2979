from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from albertine.checkpoints import native
from albertine.checkpoints.native import read_model_folder, write_model_folder
from albertine.checkpoints.source import read_tensor
from albertine.errors import CheckpointError, FailureError


class WordsOnly:
    """As much of a tokenizer as a folder needs."""

    def save(self, folder: Path, *, max_length: int | None = None) -> None:
        (folder / "vocab.txt").write_text("a\nb\n", encoding="utf-8")


def write(
    folder: Path, value: float = 1.0, *, tokenizer: WordsOnly | None = None, task: Mapping[str, object] | None = None
) -> None:
    write_model_folder(
        folder,
        config={"model_type": "albertine", "value": value},
        tensors={"a": torch.full((13,), value)},
        tokenizer=tokenizer,  # type: ignore[arg-type]  # only save is used
        task=task,
        manifest={"value": value},
        card=f"# 卡片 {value}",
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_comes_back_as_it_was_written(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "runs" / "模型"
    if exists:
        folder.mkdir(parents=True)
    write(folder, 7.0, tokenizer=WordsOnly(), task={"labels": ["好", "坏"]})
    contents = read_model_folder(folder)
    assert contents.path == folder
    assert contents.config == {"model_type": "albertine", "value": 7.0}
    assert contents.task == {"labels": ["好", "坏"]}
    assert contents.manifest == {"value": 7.0}
    assert torch.equal(read_tensor(contents.source, "a"), torch.full((13,), 7.0))
    assert sorted(os.listdir(folder)) == [
        "README.md",
        "config.json",
        "manifest.json",
        "model.safetensors",
        "task.json",
        "vocab.txt",
    ]
    assert "好" in (folder / "task.json").read_text(encoding="utf-8")


def test_files_of_a_run_stay_and_files_of_the_old_model_go(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write(folder, 1.0, tokenizer=WordsOnly(), task={"task": "t"})
    (folder / "checkpoints").mkdir()
    kept = {"checkpoints/last.safetensors": b"x", "log.jsonl": b"{}\n", "notes.txt": b"mine"}
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"an old shard")
    write(folder, 2.0)
    found = snapshot(folder)
    assert kept.items() <= found.items()
    assert sorted(found.keys() - kept.keys()) == ["README.md", "config.json", "manifest.json", "model.safetensors"]
    assert read_model_folder(folder).config["value"] == 2.0
    assert read_model_folder(folder).task is None


def test_what_another_program_wrote_is_not_removed(tmp_path: Path) -> None:
    for name in ("vocab.txt", "pytorch_model.bin", "model.safetensors.index.json"):
        (tmp_path / name).write_text("theirs", encoding="utf-8")
    write(tmp_path)
    assert read_model_folder(tmp_path).config["value"] == 1.0
    assert {"vocab.txt", "pytorch_model.bin", "model.safetensors.index.json"} <= set(os.listdir(tmp_path))


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("step", ["write_json", "write_tensors", "write_text"])
def test_a_full_disk_changes_nothing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool, step: str
) -> None:
    folder = tmp_path / "model"
    if exists:
        write(folder, 1.0, tokenizer=WordsOnly(), task={"task": "t"})
    before = snapshot(tmp_path)

    def full(target: Path, *_: object) -> None:
        target.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(native, step, full)
    with pytest.raises(FailureError, match="disk is full") as caught:
        write(folder, 2.0)
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith(f"{folder}:")
    assert snapshot(tmp_path) == before
    assert folder.exists() == exists
    assert [path.name for path in tmp_path.iterdir()] == (["model"] if exists else [])


def test_an_interrupted_write_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    write(folder, 1.0)
    before = snapshot(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(native, "write_tensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(folder, 2.0)
    assert snapshot(tmp_path) == before


def test_a_folder_whose_writing_was_cut_off_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(folder, task={"task": "t"})
    (folder / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="no manifest: writing it was interrupted"):
        read_model_folder(folder)
    write(folder, 2.0)
    assert read_model_folder(folder).task is None


def test_the_manifest_goes_first_and_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    write(folder, 1.0, task={"task": "t"})
    moved: list[str] = []
    replace = Path.replace

    def recorded(path: Path, target: Path) -> Path:
        if target.parent == folder:
            moved.append(target.name)
            assert not (folder / "manifest.json").exists()
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", recorded)
    write(folder, 2.0, task={"task": "t"})
    assert moved[-1] == "manifest.json"
    assert len(moved) == 5


def test_a_file_in_the_place_of_the_folder_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(CheckpointError, match="where a file stands"):
        write(path)
    assert path.read_text(encoding="utf-8") == "mine"
    with pytest.raises(CheckpointError, match=r"no such model folder\. Received: a file"):
        read_model_folder(path)


# --- what stands in the way


def test_a_link_to_nothing_is_not_a_folder_to_write_to(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.symlink_to(tmp_path / "gone")
    with pytest.raises(CheckpointError, match=r"where a link to nothing stands.*gone.*name another folder"):
        write(folder)
    assert os.listdir(tmp_path) == ["model"]


def test_a_link_to_a_folder_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "model").symlink_to(tmp_path / "real", target_is_directory=True)
    write(tmp_path / "model", 3.0)
    assert (tmp_path / "model").is_symlink()
    assert read_model_folder(tmp_path / "real").config["value"] == 3.0


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors", "manifest.json"])
@pytest.mark.parametrize("ours", [True, False])
def test_a_folder_with_the_name_of_a_file_is_refused_before_anything_changes(
    tmp_path: Path, name: str, ours: bool
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if ours:
        write(folder, 1.0, tokenizer=WordsOnly(), task={"task": "t"})
        (folder / name).unlink()
    (folder / name).mkdir()
    before, there = snapshot(folder), sorted(folder.rglob("*"))
    with pytest.raises(CheckpointError, match=f"{name}: a folder stands where a file of the model is to be"):
        write(folder, 2.0)
    assert snapshot(folder) == before
    assert sorted(folder.rglob("*")) == there


def write_with_pooling(folder: Path) -> None:
    with native.replaced_files(folder) as new:
        (new / "1_Pooling").mkdir()
        for name in ("config.json", "manifest.json", "modules.json", "1_Pooling/config.json"):
            (new / name).write_text("{}", encoding="utf-8")


@pytest.mark.parametrize("exists", [True, False])
def test_a_linked_folder_inside_is_refused_and_what_it_leads_to_stays(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    if exists:
        (tmp_path / "elsewhere" / "config.json").write_text("theirs", encoding="utf-8")
    write(tmp_path / "model", 1.0)
    (tmp_path / "model" / "1_Pooling").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    before = snapshot(tmp_path)
    with pytest.raises(CheckpointError, match=r"1_Pooling: a folder of the model is a link.*elsewhere"):
        write_with_pooling(tmp_path / "model")
    assert snapshot(tmp_path) == before
    write(tmp_path / "model", 2.0)
    assert snapshot(tmp_path / "elsewhere") == ({"config.json": b"theirs"} if exists else {})


def test_a_file_in_the_place_of_a_folder_inside_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "model", 1.0)
    (tmp_path / "model" / "1_Pooling").write_text("mine", encoding="utf-8")
    before = snapshot(tmp_path)
    with pytest.raises(CheckpointError, match="1_Pooling: a file stands where a folder of the model is to be"):
        write_with_pooling(tmp_path / "model")
    assert snapshot(tmp_path) == before


def test_folders_that_become_empty_go_and_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_with_pooling(folder)
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text("{}", encoding="utf-8")
    (folder / "2_Dense" / "notes.txt").write_text("mine", encoding="utf-8")
    write(folder, 2.0)
    assert not (folder / "1_Pooling").exists()
    assert [path.name for path in (folder / "2_Dense").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_model_is_private_where_the_umask_says_so(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "model"
    before = os.umask(0o077)
    try:
        if exists:
            folder.mkdir()
        write(folder, tokenizer=WordsOnly())
        write_with_pooling(folder)
    finally:
        os.umask(before)
    assert [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077] == []
