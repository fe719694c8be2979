from __future__ import annotations

import errno
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from torch import Tensor

from albertine.checkpoints import pieces, tensorflow
from albertine.checkpoints.bundle import writer as tensorflow_writer
from albertine.checkpoints.bundle.records import BundleEntry
from albertine.checkpoints.bundle.writer import write_bundle, write_checkpoint_state
from albertine.checkpoints.pieces import row_major_pieces
from albertine.checkpoints.source import read_tensor
from albertine.checkpoints.tensorflow import open_bundle
from albertine.errors import CheckpointError, FailureError

DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.bool,
    torch.complex64,
    torch.complex128,
)


def raw(tensor: Tensor) -> list[int]:
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor).view(-1).view(torch.uint8).tolist()


def assert_read_back(prefix: Path, tensors: dict[str, Tensor]) -> None:
    write_bundle(prefix, tensors)
    source = open_bundle(prefix)
    assert source.entries.keys() == tensors.keys()
    for name, tensor in tensors.items():
        found = read_tensor(source, name)
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape), name
        assert raw(found) == raw(tensor), name


def small_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(tensorflow, "PIECE_BYTES", size)
    monkeypatch.setattr(tensorflow_writer, "PIECE_BYTES", size)


@pytest.mark.parametrize("piece", [16, 48, pieces.PIECE_BYTES])
def test_every_type_is_read_back_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    small_pieces(monkeypatch, piece)
    numbers = torch.randn(7, 3, dtype=torch.float64).abs() * 50
    assert_read_back(tmp_path / "model.ckpt", {f"kernel/{dtype}": numbers.to(dtype) for dtype in DTYPES})


def test_special_numbers_keep_their_bits(tmp_path: Path) -> None:
    specials = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    assert_read_back(tmp_path / "model.ckpt", {"a": specials, "b": specials.to(torch.bfloat16), "c": specials.double()})


def test_scalars_empty_tensors_and_names_of_all_kinds_are_read_back(tmp_path: Path) -> None:
    shapes: list[tuple[int, ...]] = [(), (0,), (0, 3), (3, 0, 5), (1, 1, 1), (13,)]
    tensors = {f"shape {shape}": torch.randn(shape) for shape in shapes}
    assert_read_back(tmp_path / "model.ckpt", {**tensors, "名字 \"' \\": torch.ones(3), "\n": torch.ones(1)})


@pytest.mark.parametrize("piece", [4, 20, 28, 64, 1000, pieces.PIECE_BYTES])
def test_views_of_any_layout_are_written_in_row_major_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    small_pieces(monkeypatch, piece)
    base = torch.randn(5, 6, 7)
    views = {
        "base": base,
        "turned": base[0].t(),
        "permuted": base.permute(2, 0, 1),
        "strided": base[::2, 1::2, 2:5],
        "flipped": base.flip(0),
        "expanded": torch.randn(7).expand(5, 7),
        "parameter": torch.nn.Parameter(torch.randn(7, 5)).t(),
    }
    assert_read_back(tmp_path / "model.ckpt", {name: view.detach() for name, view in views.items()})


@pytest.mark.parametrize("shape", [(), (0,), (13,), (5, 7), (3, 0), (2, 3, 5), (1, 1, 99), (99, 1, 1)])
@pytest.mark.parametrize("limit", [1, 2, 6, 7, 34, 1000])
def test_pieces_are_the_elements_in_order_and_none_is_larger_than_the_limit(shape: tuple[int, ...], limit: int) -> None:
    tensor = torch.arange(torch.Size(shape).numel()).reshape(shape)
    found = list(row_major_pieces(tensor, limit))
    assert all(0 < piece.numel() <= limit for piece in found)
    assert [number for piece in found for number in piece.flatten().tolist()] == tensor.flatten().tolist()


def test_pieces_of_a_wide_matrix_are_not_tiny() -> None:
    assert len(list(row_major_pieces(torch.empty(30522, 13), 5000))) == -(-30522 // (5000 // 13))


def test_a_large_tensor_is_never_copied_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(
        tensorflow_writer, "extend_checksum", lambda checksum, data: sizes.append(len(data)) or len(sizes)
    )
    write_bundle(tmp_path / "model.ckpt", {"kernel": torch.zeros(3000, 1001).t()})
    assert sum(sizes) == 3000 * 1001 * 4
    assert max(sizes) <= pieces.PIECE_BYTES <= 16 << 20


def test_the_same_tensors_give_the_same_files_whatever_their_order(tmp_path: Path) -> None:
    tensors = {name: torch.randn(3) for name in ("b", "a", "c/d", "c")}
    write_bundle(tmp_path / "one" / "model.ckpt", tensors)
    write_bundle(tmp_path / "two" / "model.ckpt", dict(reversed(tensors.items())))
    for name in ("model.ckpt.index", "model.ckpt.data-00000-of-00001"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(
        ("model.ckpt.index", "model.ckpt.data-00000-of-00001")
    )


def test_real_checkpoints_are_written_again_byte_for_byte(data_dir: Path, tmp_path: Path) -> None:
    for folder, name in (("bert_tiny_random", "bert_model.ckpt"), ("albert_zh_random", "albert_model.ckpt")):
        source = open_bundle(data_dir / "checkpoints" / folder / name)
        write_bundle(tmp_path / name, {key: read_tensor(source, key) for key in source.entries})
        for ending in ("index", "data-00000-of-00001"):
            original = data_dir / "checkpoints" / folder / f"{name}.{ending}"
            assert (tmp_path / f"{name}.{ending}").read_bytes() == original.read_bytes()


@pytest.mark.parametrize("step", ["data", "index"])
def test_a_full_disk_leaves_what_stood_there_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    prefix = tmp_path / "model.ckpt"
    before = {"kernel": torch.randn(7, 5), "weight": torch.randn(3)}
    write_bundle(prefix, before)

    def fail_data(file: BinaryIO, tensor: Tensor, offset: int) -> BundleEntry:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    def fail_index(file: BinaryIO, entries: object) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "data":
        monkeypatch.setattr(tensorflow_writer, "_write_tensor", fail_data)
    else:
        monkeypatch.setattr(tensorflow_writer, "write_table", fail_index)
    with pytest.raises(FailureError, match="disk is full"):
        write_bundle(prefix, {"kernel": torch.zeros(7, 5)})
    source = open_bundle(prefix)
    for name, tensor in before.items():
        assert torch.equal(read_tensor(source, name), tensor)
    assert len(list(tmp_path.iterdir())) == 2


def test_names_and_types_that_a_checkpoint_cannot_have_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for name in ("", "\0kernel"):
        with pytest.raises(CheckpointError, match="cannot have this name"):
            write_bundle(tmp_path / "model.ckpt", {name: torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"'kernel': .*Received: float8_e4m3fn.*Allowed: float32"):
        write_bundle(tmp_path / "model.ckpt", {"kernel": torch.ones(1).to(torch.float8_e4m3fn)})
    assert not list(tmp_path.iterdir())


def test_the_state_file_names_the_checkpoint_without_its_folder(tmp_path: Path) -> None:
    write_checkpoint_state(tmp_path / 'bert "model".ckpt')
    assert (tmp_path / "checkpoint").read_text(encoding="utf-8") == (
        'model_checkpoint_path: "bert \\"model\\".ckpt"\nall_model_checkpoint_paths: "bert \\"model\\".ckpt"\n'
    )
