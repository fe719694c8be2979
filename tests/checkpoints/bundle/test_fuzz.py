"""Broken TensorFlow checkpoints: a kept set, each refused in clear words, and thousands made of them by chance."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from albertine.checkpoints.bundle.checksums import masked_checksum
from albertine.checkpoints.bundle.wire import WireError, WireReader, varint
from albertine.checkpoints.bundle.writer import write_bundle
from albertine.checkpoints.source import read_tensor
from albertine.checkpoints.tensorflow import open_bundle
from albertine.errors import CheckpointError

KEPT = Path(__file__).parent / "broken"
NAME = "model.ckpt"
INDEX, DATA = f"{NAME}.index", f"{NAME}.data-00000-of-00001"
MIB = 1 << 20
TRAILER, FOOTER = 5, 48
ONE_RESTART = b"\0\0\0\0\1\0\0\0"
VALUES = (b"\0", b"\x7f", b"\xff" * 4, b"\xff" * 9 + b"\x01", b"\x80" * 11, b"")  # the last: a number of its own

EXPECTED = {
    "empty_index": "empty or truncated. Received: 0 bytes",
    "truncated_index": "does not end with the magic number",
    "wrong_magic": "does not end with the magic number",
    "git_lfs_pointer": "Git LFS pointer",
    "web_page": "no index of a TensorFlow checkpoint",
    "footer_points_beyond_the_file": "beyond the end of the file; the file is truncated or altered",
    "footer_with_a_huge_block": "18,446,744,073,709,551,615 bytes at byte 0",
    "footer_with_an_endless_number": "a number has more than 64 bits",
    "flipped_bit_in_a_block": "byte 0: the checksum of a block does not match",
    "flipped_bit_in_a_checksum": "the checksum of a block does not match",
    "snappy_block": "compressed, which TensorFlow's own checkpoints never are. Received: Snappy",
    "unknown_compression": "Received: compression 77",
    "block_of_two_bytes": "2 bytes cannot hold 0 restart points",
    "no_restart_points": "cannot hold 0 restart points",
    "huge_restart_count": "cannot hold 4,294,967,295 restart points",
    "restart_point_inside_an_entry": "a restart point does not lie at an entry",
    "restart_point_beyond_the_block": "a restart point does not lie at an entry",
    "restart_point_with_a_shortened_key": "a key at a restart point is not whole",
    "key_longer_than_the_block": "127 bytes are announced where 2 are left",
    "key_of_a_gigabyte": "adds 1,073,741,824, where 4,096 are the most",
    "key_that_shares_more_than_there_is": "a key shares 9 bytes with one of 1",
    "value_longer_than_the_block": "127 bytes are announced where 1 are left",
    "value_of_an_exabyte": "1,152,921,504,606,846,976 bytes are announced where 1 are left",
    "entry_cut_off": "a number is cut off",
    "keys_out_of_order": "its keys are not in order, or one is there twice",
    "key_twice": "its keys are not in order, or one is there twice",
    "key_twice_in_two_blocks": "blocks overlap or stand in the wrong order",
    "block_listed_twice": "blocks overlap or stand in the wrong order",
    "block_under_a_key_too_small": "a block holds keys that its index places elsewhere",
    "no_entries": "the index is empty",
    "no_header": "does not start with a header",
    "header_that_is_no_message": "the index is damaged or was altered: a number is cut off",
    "header_without_data_files": "number of data files is 0",
    "header_with_negative_data_files": "number of data files is -1",
    "big_endian": "written on a big-endian machine",
    "unknown_byte_order": "its byte order is 9",
    "newer_version": "asks for a newer reader of its format. Received: version 2",
    "name_that_is_not_utf8": r"the name b'kernel\xc3' is not UTF-8",
    "size_as_a_string": "'kernel': the index is damaged or was altered: field 5 is encoded as type 2 instead of 0",
    "group_field": "there is no encoding of type 3",
    "field_number_zero": "there is no field number 0",
    "number_of_eleven_bytes": "a number has more than 64 bits",
    "number_of_seventy_bits": "a number has more than 64 bits",
    "no_type": "there is no type with the number 0",
    "unknown_type": "there is no type with the number 99",
    "resource": "'kernel' has a type that is not read here. Received: resource",
    "unknown_shape": "its shape is not known",
    "negative_axis": "size of an axis is -3",
    "too_many_axes": "its shape is impossible: at most 16 axes",
    "shape_that_overflows": "its shape is impossible",
    "empty_shape_that_overflows": "its shape is impossible",
    "shape_of_a_terabyte": "takes 1,099,511,627,776 bytes, not 48",
    "size_of_a_terabyte": "a file of 96 bytes. Allowed: at least 1,099,511,627,776 bytes",
    "negative_size": "its size is -48",
    "size_of_another_shape": "shape (3, 5) of type float32 takes 60 bytes, not 48",
    "object_graph": "object-based checkpoint of TensorFlow 2",
    "object_names": "Received: 'model/.ATTRIBUTES/VARIABLE_VALUE'",
    "only_training_variables": "no variables of a model. Received: 'kernel/adam_m', 'kernel/adam_v'",
    "data_file_that_does_not_exist": "'kernel' lies in a data file that does not exist. Received: number 1",
    "negative_data_file": "data file's number is -1",
    "place_beyond_the_data": "'weight' lies beyond the end of this file, which is truncated",
    "place_at_the_end_of_the_world": "Allowed: at least 4,611,686,018,427,387,952 bytes",
    "negative_place": "its offset is -1",
    "variables_over_each_other": "byte 44: the index is damaged or was altered: the values of 'weight' overlap",
    "variables_at_the_same_place": "the values of 'weight' overlap those of another variable",
    "slice_missing": "slices are missing: it lies in more than the 1 that the index has left",
    "slice_of_another_name": "the slice from 0 on along axis 0 is missing",
    "slices_with_a_gap": "leave a gap at index 3",
    "slices_that_overlap": "overlap at index 3",
    "slices_too_short": "end at index 6 of 7",
    "slice_beyond_its_axis": "a slice reaches to 6 on an axis of 5",
    "slice_of_another_shape": "a slice is (2, 4) where (3, 4) is announced",
    "slices_along_two_axes": "cut along 2 axes, where TensorFlow cuts variables along one",
    "more_slices_than_entries": "slices are missing: it lies in more than the 0",
    "slice_in_slices": "a slice: the index is damaged or was altered",
    "no_data_file": f"{DATA}: this file does not exist. The folder holds: {INDEX}",
    "empty_data_file": "Received: a file of 0 bytes",
    "truncated_data": "'weight' lies beyond the end of this file, which is truncated or does not belong to its index",
    "flipped_bit_in_the_data": "byte 48: the checksum of 'weight' does not match: the file is truncated, was altered",
    "data_of_another_checkpoint": "does not belong to its index",
}


def test_every_broken_checkpoint_that_is_kept_has_its_expected_words() -> None:
    assert {folder.name for folder in KEPT.iterdir() if (folder / INDEX).exists()} == EXPECTED.keys()


@pytest.mark.parametrize("fault", sorted(EXPECTED))
def test_a_broken_checkpoint_is_refused_in_one_line_that_names_the_file_and_the_next_step(fault: str) -> None:
    with pytest.raises(CheckpointError) as error:
        read_all(KEPT / fault / NAME)
    text = str(error.value)
    assert EXPECTED[fault] in text
    assert str(KEPT / fault / NAME) in text
    assert error.value.next_step
    assert "\n" not in text


def read_all(prefix: Path) -> int:
    source = open_bundle(prefix)
    return sum(read_tensor(source, name).numel() for name in source.entries) + (source.global_step or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    index: bytes
    data: bytes | None

    def write(self, folder: Path) -> None:
        (folder / INDEX).write_bytes(self.index)
        (folder / DATA).unlink(missing_ok=True)
        if self.data is not None:
            (folder / DATA).write_bytes(self.data)


def read_files(folder: Path) -> Files:
    data = folder / DATA
    return Files(index=(folder / INDEX).read_bytes(), data=data.read_bytes() if data.exists() else None)


def good_files(folder: Path) -> Files:
    tensors = {f"bert/encoder/layer_{number}/output/dense/kernel": torch.randn(3, 5) for number in range(40)}
    more = {"half": torch.ones(7, dtype=torch.bfloat16), "global_step": torch.tensor(7), "empty": torch.empty(0, 2)}
    write_bundle(folder / NAME, {**tensors, **more})
    return read_files(folder)


def flip_bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def set_bytes(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    value = chance.choice(VALUES) or varint(chance.getrandbits(64))
    data[start : start + len(value)] = value


def cut_short(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def cut_out(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.randint(1, 40)]


def repeat_part(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    part = data[start : start + chance.randint(1, 80)]
    where = chance.randrange(len(data))
    data[where:where] = part * chance.choice([1, 1, 2, 30])


def count_up(data: bytearray, chance: random.Random) -> None:
    where = chance.randrange(len(data))
    data[where] = (data[where] + chance.choice([-1, 1])) % 256


CHANGES: list[Callable[[bytearray, random.Random], None]] = [
    flip_bits,
    set_bytes,
    cut_short,
    cut_out,
    repeat_part,
    count_up,
]


def changed(data: bytes, other: bytes, chance: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        if result:
            chance.choice(CHANGES)(result, chance)
    if other and chance.random() < 0.1:
        cut = chance.randrange(len(other))
        result[chance.randint(0, len(result)) :] = other[cut:]
    return bytes(result)


def around_first_block(index: bytes, chance: random.Random, other: bytes) -> bytes:
    """Change what is behind the checksum: take the first block, change it, seal it again and point to all anew."""
    footer = WireReader(index[-FOOTER:])
    try:
        end = footer.varint()
    except WireError:
        return index
    content, other = (table[: max(end - TRAILER, 0)] for table in (index, other))
    if chance.random() < 0.6:  # only the entries, with one restart point that is right
        restarts = int.from_bytes(content[-4:], "little") + 1
        content = changed(content[: -4 * restarts], other, chance) + ONE_RESTART
    else:
        content = changed(content, other, chance)
    handle = varint(0) + varint(len(content))
    key = b"\xff"
    pointer = varint(0) + varint(len(key)) + varint(len(handle)) + key + handle
    meta = ONE_RESTART
    pointers = pointer + meta
    if chance.random() < 0.2:
        pointers = changed(pointers, content, chance)
    blocks = sealed(content) + sealed(meta) + sealed(pointers)
    start = len(content) + TRAILER
    handles = varint(start) + varint(len(meta)) + varint(start + len(meta) + TRAILER) + varint(len(pointers))
    return blocks + handles.ljust(FOOTER - 8, b"\0") + index[-8:]


def sealed(content: bytes) -> bytes:
    content += b"\0"
    return content + masked_checksum(content).to_bytes(4, "little")


def fuzz(folder: Path, *, iterations: int) -> dict[str, int]:
    """Change good and broken checkpoints, in the same ways on every run and every machine; count what happened."""
    seeds = [good_files(folder), *(read_files(KEPT / fault) for fault in sorted(EXPECTED))]
    counts = {"opened": 0, "refused": 0, "behind the checksum": 0}
    assert read_all(folder / NAME) == 40 * 15 + 7 + 7
    tracemalloc.start()
    try:
        for iteration in range(1, iterations + 1):
            chance = random.Random(f"albertine {iteration}")
            files, other = chance.choice(seeds[:1] * len(seeds) + seeds), chance.choice(seeds)
            index, data = files.index, files.data
            way = chance.random()
            if way < 0.7:
                index = around_first_block(index, chance, other.index) if len(index) > FOOTER else index
            elif way < 0.9:
                index = changed(index, other.index, chance)
            elif data:
                data = changed(data, other.data or b"", chance)
            Files(index=index, data=data).write(folder)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            started = time.process_time()
            try:
                read_all(folder / NAME)
                counts["opened"] += 1
            except CheckpointError as error:
                counts["refused"] += 1
                counts["behind the checksum"] += "checksum" not in str(error)
            except Exception as error:
                pytest.fail(f"iteration {iteration}: {type(error).__name__}: {error}")
            assert tracemalloc.get_traced_memory()[1] - before < 32 * MIB, f"iteration {iteration} took too much memory"
            assert time.process_time() - started < 10, f"iteration {iteration} took too long"
    finally:
        tracemalloc.stop()
    return counts


def test_a_checkpoint_that_chance_has_changed_opens_or_is_refused(tmp_path: Path) -> None:
    counts = fuzz(tmp_path, iterations=1000)
    assert counts["refused"] > 50
    assert counts["behind the checksum"] > 30


@pytest.mark.long
def test_many_changed_checkpoints_open_or_are_refused(tmp_path: Path) -> None:
    counts = fuzz(tmp_path, iterations=35_000)
    assert counts["opened"] > 50
    assert counts["behind the checksum"] > 1000
