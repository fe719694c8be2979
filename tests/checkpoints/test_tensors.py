from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from albertine.checkpoints import tensors as module
from albertine.checkpoints.tensors import read_tensors, write_tensors
from albertine.errors import CheckpointError, FailureError


def some_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(13)
    return {
        "a": torch.randn(7, 13, generator=generator),
        "b": torch.randn(99, generator=generator).to(torch.bfloat16),
        "c": torch.arange(5),
    }


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert second[name].dtype == value.dtype
        assert torch.equal(second[name], value), name


def shard(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write every tensor to a shard of its own, with an index."""
    places = {}
    for number, (name, tensor) in enumerate(tensors.items(), start=1):
        places[name] = f"model-{number:05d}-of-{len(tensors):05d}.safetensors"
        save_file({name: tensor}, folder / places[name])
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def test_what_is_written_is_read_back_with_its_dtypes(tmp_path: Path) -> None:
    write_tensors(tmp_path / "model.safetensors", some_tensors())
    assert_same(some_tensors(), read_tensors(tmp_path))
    assert_same(some_tensors(), read_tensors(tmp_path / "model.safetensors"))


def test_tensors_that_share_memory_or_are_views_are_written_whole(tmp_path: Path) -> None:
    base = torch.arange(39.0).reshape(3, 13)
    tensors = {"base": base, "same": base, "turned": base.t(), "row": base[1], "part": base[:, 2:5]}
    write_tensors(tmp_path / "model.safetensors", tensors)
    assert_same(tensors, read_tensors(tmp_path))


def test_shards_are_put_together(tmp_path: Path) -> None:
    shard(tmp_path, some_tensors())
    assert_same(some_tensors(), read_tensors(tmp_path))
    assert_same(some_tensors(), read_tensors(tmp_path / "model.safetensors.index.json"))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    shard(tmp_path, some_tensors())
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"1 of 3 shards are missing: model-00002-of-00003\.safetensors"):
        read_tensors(tmp_path)


def test_a_shard_that_lacks_a_promised_tensor_is_refused(tmp_path: Path) -> None:
    shard(tmp_path, some_tensors())
    save_file({"other": torch.zeros(3)}, tmp_path / "model-00001-of-00003.safetensors")
    with pytest.raises(CheckpointError, match="lacks tensors that the index promises: a"):
        read_tensors(tmp_path)


def test_a_shard_outside_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": torch.zeros(3)}, tmp_path / "outside.safetensors")
    index = {"weight_map": {"a": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(CheckpointError, match="must lie in the folder"):
        read_tensors(folder)


def test_an_index_without_a_weight_map_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": [1]}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="no weight_map"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("kept", [0, 5, 99, -1])
def test_a_truncated_file_is_said_to_be_one(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "model.safetensors"
    write_tensors(path, some_tensors())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="truncated or damaged") as caught:
        read_tensors(tmp_path)
    assert caught.value.exit_code == 2
    assert "model.safetensors" in str(caught.value)
    assert "again" in str(caught.value)


def test_garbage_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(range(1, 100)))
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "pytorch_model.bin.index.json", "weights.pth"])
def test_a_pickle_is_refused_with_the_next_step(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match=r"pickle.*Convert it once.*--allow-pickle"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("head", [b"PK\x03\x04", b"\x80\x02"])
def test_a_pickle_under_a_safe_name_is_recognised(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(head + bytes(99))
    with pytest.raises(CheckpointError, match="pickle"):
        read_tensors(tmp_path)


def test_a_header_as_long_as_a_pickles_first_byte_says_is_no_pickle(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for pad in range(300):
        save_file({"a": torch.arange(7)}, path, metadata={"pad": "x" * pad})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert torch.equal(read_tensors(path)["a"], torch.arange(7))


def test_a_pickle_given_as_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"anything at all")
    with pytest.raises(CheckpointError, match="pickle"):
        read_tensors(path)


def test_a_git_lfs_pointer_is_recognised(tmp_path: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n"
    (tmp_path / "model.safetensors").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        read_tensors(tmp_path)


def test_a_folder_says_what_it_holds_and_all_that_opens(tmp_path: Path) -> None:
    (tmp_path / "bert_model.ckpt.index").write_bytes(b"x")
    with pytest.raises(
        CheckpointError, match=r"Received: bert_model\.ckpt\.index\. Allowed: model\.safetensors"
    ) as caught:
        read_tensors(tmp_path)
    for opened in ("model.safetensors.index.json", "*.index", "tf_model.h5", "--allow-pickle", "pytorch_model.bin"):
        assert opened in str(caught.value)


@pytest.mark.parametrize("beside", [[], ["config.json"], ["config.json", "optimizer.pt", "flax_model.msgpack"]])
def test_a_lone_file_of_another_name_is_to_be_renamed(tmp_path: Path, beside: list[str]) -> None:
    for name in ("bert-base.safetensors", *beside):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"rename it to model\.safetensors") as caught:
        read_tensors(tmp_path)
    assert "If bert-base.safetensors holds" in str(caught.value)


def test_shards_without_their_index_ask_for_it(tmp_path: Path) -> None:
    for number in (1, 2):
        save_file({f"a{number}": torch.zeros(3)}, tmp_path / f"model-0000{number}-of-00002.safetensors")
    with pytest.raises(CheckpointError, match=r"put its model\.safetensors\.index\.json beside them"):
        read_tensors(tmp_path)


def test_a_pickle_of_another_name_is_to_be_renamed_before_it_is_converted(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(CheckpointError, match=r"renamed to pytorch_model\.bin if .* --allow-pickle"):
        read_tensors(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (tmp_path / "adapter.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: these weights are a pickle") as caught:
        read_tensors(tmp_path)
    assert "rename" not in str(caught.value)


def test_other_formats_are_named(tmp_path: Path) -> None:
    (tmp_path / "tf_model.h5").write_bytes(b"x")
    (tmp_path / "flax_model.msgpack").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="format of Flax and Keras"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("names", [("model.onnx",), ("model.xml", "model.bin"), ("model.onnx", "model.onnx.data")])
def test_an_exported_model_is_said_to_be_one(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    for path in (tmp_path, tmp_path / names[0]):
        with pytest.raises(CheckpointError, match=r"was exported.*Open the folder that it was exported from"):
            read_tensors(path)


def test_a_folder_without_weights_is_listed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "notes.md").write_text("x", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"no weights.*config\.json, notes\.md.*model\.safetensors"):
        read_tensors(tmp_path)


def test_an_empty_folder_and_a_missing_file_are_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="an empty folder"):
        read_tensors(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        read_tensors(tmp_path / "gone.safetensors")


ODD = '名字 "quoted" \\ \x01\x1f\x7f \u2028 😀'


def every_kind() -> dict[str, torch.Tensor]:
    """Tensors of every type and shape, views and shared memory among them, in no order."""
    generator = torch.Generator().manual_seed(17)
    base = torch.randn(13, 7, 3, generator=generator)
    tensors = {
        "z": base,
        "same": base,
        "turned": base.permute(2, 0, 1),
        "part": base[:, 2:5:2],
        "repeated": torch.arange(3.0).expand(5, 3),
        "empty": torch.zeros(0),
        "empty.rows": torch.zeros(5, 0, 3, dtype=torch.int64),
        "one": torch.tensor(0.25, dtype=torch.float64),
        "learnt": torch.nn.Parameter(torch.randn(11, generator=generator)),
        ODD: torch.arange(5, dtype=torch.int16),
    }
    for number, dtype in enumerate(module._DTYPES.values()):
        tensors[f"{(number * 7) % 10}.{dtype}"] = (100 * torch.randn(17, 3, generator=generator)).to(dtype)
        tensors[f"scalar.{dtype}"] = torch.tensor(number, dtype=dtype)
    return tensors


@pytest.mark.parametrize("piece_bytes", [8, 100, 1 << 22])
@pytest.mark.parametrize("tensors", [every_kind(), {}, {"a": torch.zeros(0)}], ids=["every kind", "none", "empty"])
def test_the_file_is_byte_for_byte_the_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensors: dict[str, torch.Tensor], piece_bytes: int
) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", piece_bytes)
    write_tensors(tmp_path / "ours.safetensors", tensors)
    apart = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    save_file(apart, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    with safe_open(tmp_path / "ours.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert_same(apart, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - not a mapping


MEMORY = """
import sys
from pathlib import Path
import torch
from albertine.checkpoints.tensors import write_tensors
from albertine.evaluation.timing import peak_memory_bytes

block = torch.zeros(2048, 1000)
write_tensors(Path(sys.argv[1]), {"block": block})
before = peak_memory_bytes()
write_tensors(Path(sys.argv[1]), {f"layer.{number}": block.t() for number in range(24)})
print(peak_memory_bytes() - before)
"""


def test_tensors_that_share_memory_are_written_without_a_copy_of_each(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    run = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    assert path.stat().st_size > 24 * 2048 * 1000 * 4
    # The system rounds to pages, and the allocator keeps some; a copy of each would be 24 tensors.
    assert int(run.stdout) < 4 * 2048 * 1000 * 4


def test_a_type_that_is_not_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"odd: .*not written.*complex64"):
        write_tensors(tmp_path / "a.safetensors", {"odd": torch.zeros(3, dtype=torch.complex64)})
    assert os.listdir(tmp_path) == []


def test_whole_numbers_and_truth_values_are_read(tmp_path: Path) -> None:
    tensors = {"ids": torch.arange(7), "bytes": torch.arange(5, dtype=torch.uint8), "mask": torch.tensor([True, False])}
    save_file(tensors, tmp_path / "model.safetensors")
    assert_same(tensors, read_tensors(tmp_path))


def test_a_header_beyond_any_encoders_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    text = json.dumps({"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}).ljust((16 << 20) + 8).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(CheckpointError, match=r"truncated or damaged.*header"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
        with pytest.raises(CheckpointError, match="a file is expected here"):
            read_tensors(path)
    else:
        path.mkdir()
        with pytest.raises(CheckpointError, match="an empty folder"):
            read_tensors(path)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"a": torch.zeros(3)})
    before = path.read_bytes()

    def full(tensor: torch.Tensor, limit: int) -> Iterator[torch.Tensor]:
        yield tensor[:2]
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(module, "row_major_pieces", full)
    with pytest.raises(FailureError, match="disk is full"):
        write_tensors(path, some_tensors())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.safetensors"]
