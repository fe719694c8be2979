"""Pickled weights: what opens, what is refused, and that nothing in them runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from albertine.checkpoints import pickles
from albertine.checkpoints.pickles import open_pickle
from albertine.checkpoints.source import read_tensor
from albertine.errors import CheckpointError

FORMATS = pytest.mark.parametrize("archive", [True, False], ids=["zip", "legacy"])


def some_tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(13)
    table = torch.randn(7, 13, generator=generator)
    return {
        "table": table,
        "tied": table,
        "turned": table.t(),
        "row": table[3],
        "half": torch.randn(5, 3, 2, generator=generator).half(),
        "brain": torch.randn(11, generator=generator).to(torch.bfloat16),
        "ids": torch.arange(9).unsqueeze(0),
        "one": torch.tensor(0.25),
        "none": torch.zeros(0, 3),
    }


def write(path: Path, value: object, *, archive: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=archive)
    return path


def assert_opens(path: Path, expected: dict[str, Tensor]) -> None:
    source = open_pickle(path)
    assert set(source.entries) == set(expected)
    for name, tensor in expected.items():
        entry = source.entries[name]
        assert (entry.shape, entry.dtype) == (tuple(tensor.shape), tensor.dtype), name
        assert torch.equal(read_tensor(source, name), tensor), name


class Touch:
    """Makes a file when it is unpickled by a loader that runs what it reads."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.path}",))


@FORMATS
def test_tensors_come_with_their_shapes_types_and_strides(tmp_path: Path, archive: bool) -> None:
    assert_opens(write(tmp_path / "pytorch_model.bin", some_tensors(), archive=archive), some_tensors())
    assert_opens(tmp_path, some_tensors())


def test_a_copy_goes_into_memory_of_any_type_and_order(tmp_path: Path) -> None:
    source = open_pickle(write(tmp_path / "a.bin", some_tensors()))
    into = torch.zeros(13, 7, dtype=torch.float64)
    source.copy("table", into.t())
    assert torch.equal(into, some_tensors()["table"].t().double())


@FORMATS
def test_large_tensors_are_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: bool) -> None:
    path = write(tmp_path / "pytorch_model.bin", some_tensors(), archive=archive)
    monkeypatch.setattr(pickles, "PIECE_BYTES", 2 * 13 * 4 + 1)
    monkeypatch.setattr(pickles, "_REOPEN_BYTES", 100)
    assert_opens(path, some_tensors())


@FORMATS
def test_parameters_and_ordered_dictionaries_are_tensors_by_name(tmp_path: Path, archive: bool) -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5))
    expected = {name: tensor.detach() for name, tensor in module.state_dict().items()}
    assert_opens(write(tmp_path / "a.bin", module.state_dict(), archive=archive), expected)
    held = OrderedDict(module.named_parameters())
    assert_opens(write(tmp_path / "b.bin", held, archive=archive), expected)
    assert not read_tensor(open_pickle(tmp_path / "b.bin"), "0.weight").requires_grad


@pytest.mark.parametrize(
    "wrapped",
    [
        {"state_dict": some_tensors()},
        {"model": {"state_dict": some_tensors()}, "epoch": 3},
        {"weights": some_tensors(), "epoch": 3, "name": "x"},
        {
            "model": some_tensors(),
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1}]},
        },
        {"state_dict": some_tensors(), "hyper_parameters": {"class_weights": torch.ones(2)}},
        {"module": some_tensors(), "rng_state": torch.zeros(8, dtype=torch.uint8)},
    ],
    ids=["state_dict", "nested", "another name", "optimizer", "settings with a tensor", "tensor beside it"],
)
def test_a_wrapped_state_dictionary_is_found_and_said(tmp_path: Path, wrapped: dict[str, object]) -> None:
    assert_opens(write(tmp_path / "a.pt", wrapped), some_tensors())
    notes = " ".join(open_pickle(tmp_path / "a.pt").notes)
    assert "opened what stands under" in notes
    for key in set(wrapped) - {"state_dict", "model", "weights", "module"}:
        assert key in notes


def test_values_that_are_no_tensors_are_named(tmp_path: Path) -> None:
    source = open_pickle(write(tmp_path / "a.bin", {"w": torch.ones(3), "steps": 7, "note": "x", "n": None}))
    assert set(source.entries) == {"w"}
    assert source.notes == ("a.bin: no tensors, left out: n, note, steps",)


def test_two_dictionaries_of_tensors_are_not_chosen_between(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", {"student": some_tensors(), "teacher": some_tensors()})
    with pytest.raises(CheckpointError, match=r"nothing says which is the model.*student, teacher"):
        open_pickle(path)


@pytest.mark.parametrize(
    "value",
    [{}, {"epoch": 3}, [torch.ones(3)], 7, {"optimizer": {"state": {0: {"m": torch.ones(3)}}}}],
    ids=["empty", "no tensors", "a list", "a number", "an optimizer"],
)
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(CheckpointError, match="no tensors in this file") as caught:
        open_pickle(write(tmp_path / "a.bin", value))
    assert str(tmp_path / "a.bin") in str(caught.value)


def test_a_dictionary_that_holds_itself_ends(tmp_path: Path) -> None:
    loop: dict[str, object] = {}
    loop["state_dict"] = loop
    with pytest.raises(CheckpointError, match="no tensors"):
        open_pickle(write(tmp_path / "a.bin", loop))


@FORMATS
def test_a_hostile_pickle_runs_nothing_and_what_it_asked_for_is_named(tmp_path: Path, archive: bool) -> None:
    victim = tmp_path / "touched"
    path = write(tmp_path / "a.bin", {"w": torch.ones(3), "x": Touch(victim)}, archive=archive)
    with pytest.raises(CheckpointError, match=r"asks for posix\.system.*nothing of it was executed") as caught:
        open_pickle(path)
    assert str(path) in str(caught.value)
    assert "state_dict" in str(caught.value)
    assert not victim.exists()
    # The same bytes do run with a loader that is not restricted, so that the test can fail.
    torch.load(path, weights_only=False)
    assert victim.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_runs_nothing_in_any_protocol(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "touched"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": Touch(victim)}, protocol=protocol))
    with pytest.raises(CheckpointError, match=r"posix\.system|not a file that torch\.save wrote"):
        open_pickle(tmp_path / "a.pkl")
    assert not victim.exists()


def test_a_whole_module_is_refused_by_its_class(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear"):
        open_pickle(write(tmp_path / "a.bin", nn.Linear(2, 3)))


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(write(tmp_path / "a.pt", some_tensors()), "a") as archive:
        archive.writestr("a/constants.pkl", b"\x80\x02).")
    with pytest.raises(CheckpointError, match="TorchScript program"):
        open_pickle(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "value",
    [torch.ones(3).to_sparse(), torch.ones(3, device="meta"), torch.ones(3, dtype=torch.complex64)],
    ids=["sparse", "meta", "complex"],
)
def test_other_than_plain_tensors_are_named(tmp_path: Path, value: Tensor) -> None:
    with pytest.raises(CheckpointError, match=r"a\.bin: odd"):
        open_pickle(write(tmp_path / "a.bin", {"odd": value}))


def shard(folder: Path, tensors: dict[str, Tensor]) -> Path:
    """Write every tensor to a shard of its own, with an index."""
    places = {}
    for number, (name, tensor) in enumerate(tensors.items(), start=1):
        places[name] = f"pytorch_model-{number:05d}-of-{len(tensors):05d}.bin"
        write(folder / places[name], {name: tensor.clone()})
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}), encoding="utf-8")
    return index


def test_shards_are_put_together(tmp_path: Path) -> None:
    index = shard(tmp_path, some_tensors())
    assert_opens(tmp_path, some_tensors())
    assert_opens(index, some_tensors())
    assert open_pickle(tmp_path).path == index


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    shard(tmp_path, some_tensors())
    (tmp_path / "pytorch_model-00002-of-00009.bin").unlink()
    with pytest.raises(CheckpointError, match=r"1 of 9 shards are missing: pytorch_model-00002-of-00009\.bin"):
        open_pickle(tmp_path)


def test_a_shard_that_lacks_a_promised_tensor_is_refused(tmp_path: Path) -> None:
    shard(tmp_path, some_tensors())
    write(tmp_path / "pytorch_model-00001-of-00009.bin", {"other": torch.zeros(3)})
    with pytest.raises(CheckpointError, match="lacks tensors that the index promises: table"):
        open_pickle(tmp_path)


@pytest.mark.parametrize("place", ["../outside.bin", "/etc/passwd", "sub/x.bin", ".."])
def test_a_shard_outside_the_folder_is_not_followed(tmp_path: Path, place: str) -> None:
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": place}}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"must lie in the folder|are missing"):
        open_pickle(tmp_path)


@pytest.mark.parametrize("text", ["{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "nonsense"])
def test_a_wrong_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pytorch_model.bin.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"index\.json"):
        open_pickle(tmp_path)


def test_a_folder_without_pickles_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "optimizer.pt").touch()
    with pytest.raises(CheckpointError, match=r"optimizer\.pt.*pytorch_model\.bin"):
        open_pickle(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        open_pickle(tmp_path / "absent.bin")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", "an empty file"),
        (b"\x93NUMPY", "not a file that torch.save wrote"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"PK\x03\x04nonsense", "truncated or damaged"),
        (b"\x80\x02", "truncated or damaged"),
    ],
)
def test_a_wrong_start_is_told_apart(tmp_path: Path, start: bytes, message: str) -> None:
    (tmp_path / "a.bin").write_bytes(start)
    with pytest.raises(CheckpointError, match=message):
        open_pickle(tmp_path / "a.bin")


def test_a_zip_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("vocab.txt", "a")
    with pytest.raises(CheckpointError, match=r"no data\.pkl.*vocab\.txt"):
        open_pickle(tmp_path / "a.bin")


def test_an_archive_that_unfolds_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", some_tensors())
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(tmp_path / "b.bin", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    with pytest.raises(CheckpointError, match="is compressed"):
        open_pickle(tmp_path / "b.bin")


def rewritten(path: Path, old: bytes, new: bytes) -> Path:
    """Change the pickle of an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert old in data
                data = data.replace(old, new)
            target.writestr(entry.filename, data)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.parametrize("size", [1 << 20, (1 << 31) - 1])
def test_a_shape_beyond_the_numbers_is_refused(tmp_path: Path, size: int) -> None:
    """In the pickle the 37 stands as the storage's length, as the shape, and the stride keeps its 1."""
    path = rewritten(write(tmp_path / "a.bin", {"w": torch.ones(37)}), b"K\x25", b"J" + struct.pack("<i", size))
    with pytest.raises(CheckpointError, match=r"a\.bin"):
        open_pickle(path)


@FORMATS
def test_a_tensor_that_repeats_itself_beyond_its_file_is_refused(tmp_path: Path, archive: bool) -> None:
    path = write(tmp_path / "a.bin", {"w": torch.ones(1).expand(1 << 40)}, archive=archive)
    assert path.stat().st_size < 9999
    with pytest.raises(CheckpointError, match="larger than its file"):
        open_pickle(path)


def test_a_hostile_length_of_an_old_file_is_refused_without_the_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", {"w": torch.ones(37)}, archive=False)
    path.write_bytes(path.read_bytes().replace(b"K\x25", b"\x8a\x07" + (1 << 50).to_bytes(7, "little")))
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        open_pickle(path)


@FORMATS
@pytest.mark.parametrize("size", [3 << 20, 5 << 20])
def test_a_pickle_longer_than_any_encoders_is_not_loaded(tmp_path: Path, archive: bool, size: int) -> None:
    """Its objects could take many times the memory of its bytes."""
    path = write(tmp_path / "a.bin", {"w": torch.ones(37), "note": "x" * size}, archive=archive)
    if size < 4 << 20:
        assert set(open_pickle(path).entries) == {"w"}
        return
    with pytest.raises(CheckpointError, match=r"names and shapes .* take more room.*up to 4,194,304 bytes"):
        open_pickle(path)


def test_the_numbers_of_an_old_file_may_be_longer_than_its_pickle(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", {"w": torch.ones(1 << 20, 2)}, archive=False)
    assert path.stat().st_size > 4 << 20
    assert_opens(path, {"w": torch.ones(1 << 20, 2)})


class Zeros:
    """Asks for memory by its size, which the restricted loader gives."""

    def __reduce__(self) -> tuple[object, ...]:
        return (bytearray, (1 << 40,))


@FORMATS
@pytest.mark.parametrize("protocol", [2, 3])
def test_memory_by_its_size_is_not_given(tmp_path: Path, archive: bool, protocol: int) -> None:
    path = tmp_path / "a.bin"
    value = {"w": torch.ones(3), "x": Zeros()}
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=archive)
    with pytest.raises(CheckpointError, match=r"asks for \w+\.bytearray.*nothing of it was executed"):
        open_pickle(path)


@FORMATS
def test_plain_values_beside_the_tensors_are_no_obstacle(tmp_path: Path, archive: bool) -> None:
    values = {
        "set": {1, 2},
        "complex": 1j,
        "bytes": b"\xff\x00",
        "counter": Counter("abca"),
        "size": torch.Size((3, 5)),
    }
    path = write(tmp_path / "a.pt", {"state_dict": some_tensors(), "dtype": torch.float16, **values}, archive=archive)
    assert_opens(path, some_tensors())


def test_an_archive_with_two_pickles_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(write(tmp_path / "a.bin", some_tensors()), "a") as archive:
        archive.writestr("b/data.pkl", b"\x80\x02}.")
    with pytest.raises(CheckpointError, match=r"several data\.pkl"):
        open_pickle(tmp_path / "a.bin")


def test_checksums_that_torch_was_told_to_leave_out_are_not_missed(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = write(tmp_path / "a.bin", some_tensors())
    finally:
        torch.serialization.set_crc32_options(before)
    assert_opens(path, some_tensors())


def test_a_dictionary_whose_methods_were_replaced_is_damaged(tmp_path: Path) -> None:
    """What a pickle sets on an ordered dictionary stands before the methods of its class."""
    odd = OrderedDict(some_tensors())
    odd.__dict__["values"] = torch.ones(3)
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        open_pickle(write(tmp_path / "a.bin", odd))


@FORMATS
def test_every_truncation_is_refused(tmp_path: Path, archive: bool) -> None:
    whole = write(tmp_path / "whole.bin", some_tensors(), archive=archive).read_bytes()
    path = tmp_path / "a.bin"
    for length in range(0, len(whole) - 1, max(1, len(whole) // 97)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"a\.bin"):
            open_pickle(path)


@FORMATS
def test_damaged_bytes_give_an_error_or_tensors_and_nothing_else(tmp_path: Path, archive: bool) -> None:
    whole = write(tmp_path / "whole.bin", some_tensors(), archive=archive).read_bytes()
    path = tmp_path / "a.bin"
    random_numbers = random.Random(7)
    refused = 0
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(random_numbers.randint(1, 5)):
            broken[random_numbers.randrange(len(broken))] = random_numbers.randrange(256)
        path.write_bytes(broken)
        try:
            source = open_pickle(path)
            for name, entry in source.entries.items():
                assert torch.Size(entry.shape).numel() <= len(whole)
                read_tensor(source, name)
        except CheckpointError:
            refused += 1
    assert refused > 30
