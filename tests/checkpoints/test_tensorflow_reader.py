from __future__ import annotations

import os
import re
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from albertine.checkpoints import tensorflow
from albertine.checkpoints.bundle.checksums import masked_checksum
from albertine.checkpoints.bundle.records import (
    BundleEntry,
    BundleHeader,
    Extent,
    Slice,
    encode_entry,
    encode_header,
    slice_key,
)
from albertine.checkpoints.bundle.sorted_table import TableEntry, write_table
from albertine.checkpoints.bundle.wire import bytes_field, varint_field
from albertine.checkpoints.bundle.writer import write_bundle
from albertine.checkpoints.source import read_tensor
from albertine.checkpoints.tensorflow import open_bundle
from albertine.errors import CheckpointError

PREFIXES = {
    "albert_groups_random": "model.ckpt-best",
    "albert_small_random": "model.ckpt-best",
    "albert_zh_random": "albert_model.ckpt",
    "bert_tiny_random": "bert_model.ckpt",
}


def listed(readme: Path) -> dict[str, tuple[int, ...]]:
    """The table of variables in the README of a shared checkpoint."""
    rows = re.findall(r"^\| `([^`]+)` \| ([0-9x]+) \|$", readme.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: tuple(int(size) for size in shape.split("x")) for name, shape in rows}


def write_index(prefix: Path, entries: dict[bytes, bytes], shards: int = 1) -> None:
    entries = {b"": encode_header(BundleHeader(shards=shards)), **entries}
    with prefix.with_name(f"{prefix.name}.index").open("wb") as file:
        write_table(file, [TableEntry(key=key, value=entries[key]) for key in sorted(entries)])


def write_sliced(prefix: Path, name: str, tensor: Tensor, axis: int, lengths: Iterable[int], *, whole: bool) -> None:
    """Write a variable in slices along one axis, each in a data file of its own, the last one first."""
    lengths = list(lengths)
    entries: dict[bytes, bytes] = {}
    slices = b""
    start = 0
    for number, length in enumerate(lengths):
        others = [Extent(start=0, length=None if whole else size) for size in tensor.shape]
        others[axis] = Extent(start=start, length=length)
        part: Slice = tuple(others)
        values = tensor.narrow(axis, start, length).contiguous()
        data = values.numpy().tobytes()
        shard = len(lengths) - 1 - number
        prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{len(lengths):05d}").write_bytes(b"pad" + data)
        entry = BundleEntry(
            type_number=1,
            shape=tuple(values.shape),
            shard=shard,
            offset=3,
            size=len(data),
            checksum=masked_checksum(data),
        )
        entries[slice_key(name, part)] = encode_entry(entry)
        extents = (
            b"" if extent.length is None else varint_field(1, extent.start) + varint_field(2, extent.length)
            for extent in part
        )
        slices = bytes_field(7, b"".join(bytes_field(1, extent) for extent in extents)) + slices
        start += length
    entries[name.encode()] = encode_entry(BundleEntry(type_number=1, shape=tuple(tensor.shape))) + slices
    write_index(prefix, entries, shards=len(lengths))


@pytest.mark.parametrize("folder", sorted(PREFIXES))
def test_every_variable_of_a_real_checkpoint_is_found_with_its_shape(data_dir: Path, folder: str) -> None:
    place = data_dir / "checkpoints" / folder
    source = open_bundle(place / PREFIXES[folder])
    expected = listed(place / "README.md")
    assert len(expected) >= 31
    assert {name: entry.shape for name, entry in source.entries.items()} == expected
    assert {entry.dtype for entry in source.entries.values()} == {torch.float32}
    for name in source.entries:
        assert torch.isfinite(read_tensor(source, name)).all()


@pytest.mark.parametrize(
    ("folder", "slots", "step", "summary"),
    [
        ("albert_groups_random", 160, 7, "160 optimizer slots and global_step"),
        ("albert_small_random", 0, 125_000, "global_step"),
        ("albert_zh_random", 0, None, ""),
        ("bert_tiny_random", 0, None, ""),
    ],
)
def test_what_training_left_in_a_real_checkpoint_is_counted(
    data_dir: Path, folder: str, slots: int, step: int | None, summary: str
) -> None:
    source = open_bundle(data_dir / "checkpoints" / folder / PREFIXES[folder])
    assert source.skipped.slots == slots
    assert source.skipped.summary == summary
    assert source.global_step == step


def test_values_are_read_into_memory_of_any_layout_and_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorflow, "PIECE_BYTES", 64)
    kernel = torch.randn(13, 7)
    write_bundle(tmp_path / "model.ckpt", {"kernel": kernel})
    source = open_bundle(tmp_path / "model.ckpt")
    turned = torch.empty(7, 13)
    source.copy("kernel", turned.t())
    assert torch.equal(turned, kernel.t())
    doubled = torch.empty(13, 14, dtype=torch.float64)
    source.copy("kernel", doubled[:, ::2])
    assert torch.equal(doubled[:, ::2], kernel.double())
    parameter = torch.nn.Parameter(torch.empty(13, 7))
    source.copy("kernel", parameter)
    assert torch.equal(parameter, kernel)


def test_reading_holds_a_piece_at_a_time(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.ckpt", {"kernel": torch.ones(4001, 2003)})
    source = open_bundle(tmp_path / "model.ckpt")
    into = torch.empty(4001, 2003)
    tracemalloc.start()
    source.copy("kernel", into)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20
    assert bool((into == 1).all())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("whole", [True, False])
def test_a_partitioned_variable_is_put_together_from_several_data_files(tmp_path: Path, axis: int, whole: bool) -> None:
    tensor = torch.randn(9, 9, 9)
    write_sliced(tmp_path / "model.ckpt", "kernel", tensor, axis, (4, 2, 3), whole=whole)
    source = open_bundle(tmp_path / "model.ckpt")
    assert list(source.entries) == ["kernel"]
    assert torch.equal(read_tensor(source, "kernel"), tensor)
    into = torch.empty(9, 9, 9).permute(2, 0, 1)
    source.copy("kernel", into)
    assert torch.equal(into, tensor)


def test_an_absent_data_file_of_several_is_named(tmp_path: Path) -> None:
    write_sliced(tmp_path / "model.ckpt", "kernel", torch.randn(9, 2), 0, (4, 5), whole=True)
    (tmp_path / "model.ckpt.data-00001-of-00002").unlink()
    with pytest.raises(CheckpointError, match=r"data-00001-of-00002: this file does not exist.*data-00000-of-00002"):
        open_bundle(tmp_path / "model.ckpt")


def test_a_slice_that_was_altered_is_named_with_its_file(tmp_path: Path) -> None:
    write_sliced(tmp_path / "model.ckpt", "kernel", torch.randn(9, 2), 0, (4, 5), whole=True)
    (tmp_path / "model.ckpt.data-00000-of-00002").write_bytes(bytes(43))
    with pytest.raises(CheckpointError, match=r"data-00000-of-00002, byte 3: the checksum of 'kernel' does not match"):
        read_tensor(open_bundle(tmp_path / "model.ckpt"), "kernel")


def test_variables_of_training_are_told_from_those_of_the_model(tmp_path: Path) -> None:
    one, number = torch.randn(3), torch.tensor(1)
    model = {"bert/kernel": one, "bert/Adam/kernel": one, "head/m": one, "loss_weight": torch.tensor(0.5), "ids": one}
    slots = ("adam_m", "adam_v", "Adam", "Adam_1", "LAMB", "LAMB_1", "Momentum", "m", "v", "AdamWeightDecayOptimizer_1")
    training = {f"bert/kernel/{slot}": one for slot in slots} | {
        "bert/kernel/ExponentialMovingAverage": one,
        "global_step": number,
        "beta1_power": torch.tensor(0.9),
        "beta2_power_1": torch.tensor(0.9),
        "loss_scale": torch.tensor(2.0),
        "good_steps": number,
        "some/flag": torch.tensor(True),
    }
    write_bundle(tmp_path / "model.ckpt", {**model, **training})
    source = open_bundle(tmp_path / "model.ckpt")
    assert source.entries.keys() == model.keys()
    assert (source.skipped.slots, source.skipped.averages) == (len(slots), 1)
    assert set(source.skipped.state) == set(list(training)[-6:])
    assert source.skipped.summary == "10 optimizer slots, 1 moving average and 6 other training variables"
    with pytest.raises(KeyError):
        source.copy("global_step", torch.empty(()))


def test_text_in_a_checkpoint_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(b"\x03\x00\x00\x00\x00abc" + bytes(8))
    text = BundleEntry(type_number=7, shape=(1,), size=8, checksum=1)
    weight = BundleEntry(type_number=1, shape=(2,), offset=8, size=8, checksum=masked_checksum(bytes(8)))
    write_index(tmp_path / "model.ckpt", {b"vocabulary": encode_entry(text), b"weight": encode_entry(weight)})
    source = open_bundle(tmp_path / "model.ckpt")
    assert list(source.entries) == ["weight"]
    assert source.skipped.state == ("vocabulary",)


def test_truth_values_are_0_or_1_whatever_the_byte(tmp_path: Path) -> None:
    data = bytes((0, 1, 2, 255))
    (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(data)
    entry = BundleEntry(type_number=10, shape=(4,), size=4, checksum=masked_checksum(data))
    write_index(tmp_path / "model.ckpt", {b"mask": encode_entry(entry)})
    found = read_tensor(open_bundle(tmp_path / "model.ckpt"), "mask")
    assert found.view(torch.uint8).tolist() == [0, 1, 1, 1]


def test_a_data_file_that_shrinks_after_opening_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.ckpt", {"kernel": torch.randn(7, 5)})
    source = open_bundle(tmp_path / "model.ckpt")
    os.truncate(tmp_path / "model.ckpt.data-00000-of-00001", 99)
    with pytest.raises(CheckpointError, match=r"values of 'kernel' are cut off"):
        read_tensor(source, "kernel")


def test_an_index_and_data_of_two_checkpoints_do_not_go_together(tmp_path: Path) -> None:
    write_bundle(tmp_path / "one.ckpt", {"kernel": torch.randn(7, 5)})
    write_bundle(tmp_path / "two.ckpt", {"kernel": torch.randn(7, 5)})
    (tmp_path / "two.ckpt.data-00000-of-00001").replace(tmp_path / "one.ckpt.data-00000-of-00001")
    with pytest.raises(CheckpointError, match="does not belong to its index"):
        read_tensor(open_bundle(tmp_path / "one.ckpt"), "kernel")


def test_memory_of_another_shape_is_not_filled(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.ckpt", {"kernel": torch.randn(7, 5)})
    with pytest.raises(ValueError, match=r"\(7, 5\)"):
        open_bundle(tmp_path / "model.ckpt").copy("kernel", torch.empty(5, 7))


def test_links_to_files_open_as_a_download_cache_has_them(tmp_path: Path) -> None:
    write_bundle(tmp_path / "blobs" / "model.ckpt", {"kernel": torch.ones(3)})
    (tmp_path / "snapshot").mkdir()
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    assert read_tensor(open_bundle(tmp_path / "snapshot" / "model.ckpt"), "kernel").tolist() == [1, 1, 1]
    (tmp_path / "blobs" / "model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(CheckpointError, match=r"data-00000-of-00001: this link points to nothing"):
        open_bundle(tmp_path / "snapshot" / "model.ckpt")


def test_a_pipe_or_a_folder_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.ckpt", {"kernel": torch.ones(3)})
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    data.unlink()
    os.mkfifo(data)
    with pytest.raises(CheckpointError, match=r"a file is expected here.*neither a file nor a folder"):
        open_bundle(tmp_path / "model.ckpt")
    (tmp_path / "model.ckpt.index").unlink()
    (tmp_path / "model.ckpt.index").mkdir()
    with pytest.raises(CheckpointError, match=r"model.ckpt.index: a file is expected here. Received: a folder"):
        open_bundle(tmp_path / "model.ckpt")


def test_a_checkpoint_that_is_not_there_says_what_is(tmp_path: Path) -> None:
    (tmp_path / "bert_model.ckpt.meta").touch()
    with pytest.raises(CheckpointError, match=r"model.ckpt.index: this file does not exist.*bert_model.ckpt.meta"):
        open_bundle(tmp_path / "model.ckpt")


def test_a_long_name_does_not_fill_the_message(tmp_path: Path) -> None:
    entry = BundleEntry(type_number=20, shape=(), size=0)
    (tmp_path / "model.ckpt.data-00000-of-00001").touch()
    write_index(tmp_path / "model.ckpt", {b"x" * 4000: encode_entry(entry)})
    with pytest.raises(CheckpointError) as error:
        open_bundle(tmp_path / "model.ckpt")
    assert len(str(error.value)) < 600 + len(str(tmp_path))
