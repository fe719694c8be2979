"""Writes the broken checkpoints beside this file, one folder a fault: python tests/checkpoints/bundle/broken/make.py

What a fuzz run finds is put beside them by hand, as `found_…`, and kept.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from albertine.checkpoints.bundle.wire import bytes_field, fixed32_field, varint, varint_field

HEADER = encode_header(BundleHeader(shards=1))
MAGIC = bytes.fromhex("57fb808b247547db")
DATA = bytes(range(96))  # two variables of 3 x 4 numbers of 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    index: bytes
    data: bytes | None = DATA


def entry(offset: int = 0, shape: tuple[int, ...] = (3, 4), **changes: int) -> bytes:
    values = {"type_number": 1, "size": 48, "checksum": masked_checksum(DATA[offset : offset + 48]), **changes}
    return encode_entry(BundleEntry(shape=shape, offset=offset, **values))


def table(entries: dict[bytes, bytes]) -> bytes:
    file = io.BytesIO()
    write_table(file, [TableEntry(key=key, value=entries[key]) for key in sorted(entries)])
    return file.getvalue()


def bundle(header: bytes = HEADER, **entries: bytes) -> bytes:
    return table({b"": header, **{key.encode(): value for key, value in entries.items()}})


GOOD = {"kernel": entry(0), "weight": entry(48)}


def block(*entries: tuple[bytes, bytes], restarts: Iterable[int] = (0,), count: int | None = None) -> bytes:
    """A block whose keys are not shortened, with restart points as given."""
    data = b"".join(b"\0" + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    points = list(restarts)
    return data + struct.pack(f"<{len(points) + 1}I", *points, len(points) if count is None else count)


def sealed(content: bytes, compression: int = 0) -> bytes:
    content += bytes((compression,))
    return content + masked_checksum(content).to_bytes(4, "little")


def around(*contents: bytes, compression: int = 0, repeat: int = 1, keys: Sequence[bytes] = (b"x", b"y")) -> bytes:
    """A table of blocks that are given as they are."""
    data, handles = b"", []
    for content in contents:
        handles.append(varint(len(data)) + varint(len(content)))
        data += sealed(content, compression)
    pointers = list(zip(keys, handles * repeat, strict=False))
    meta, index = block(), block(*pointers)
    footer = varint(len(data)) + varint(len(meta)) + varint(len(data) + len(meta) + 5) + varint(len(index))
    return data + sealed(meta) + sealed(index) + footer.ljust(40, b"\0") + MAGIC


def with_footer(first: bytes) -> bytes:
    return bundle(**GOOD)[:-48] + first.ljust(40, b"\0") + MAGIC


def shape(*sizes: int) -> bytes:
    return b"".join(bytes_field(2, varint_field(1, size)) for size in sizes)


def record(dims: bytes, *, size: int = 48, kind: int = 1, extra: bytes = b"") -> bytes:
    checksum = fixed32_field(6, masked_checksum(DATA[:48]))
    return varint_field(1, kind) + bytes_field(2, dims) + varint_field(5, size) + checksum + extra


def sliced(
    whole: tuple[int, ...], *parts: tuple[Slice, tuple[int, ...]], lacking: int = 0, stray: bool = False
) -> bytes:
    """A variable in slices, each given by its extents and the shape that is stored for it."""
    slices = b""
    entries = {b"": HEADER}
    offset = 0
    for number, (extents, stored) in enumerate(parts):
        fields = (varint_field(1, part.start) + varint_field(2, part.length or 0) for part in extents)
        slices += bytes_field(7, b"".join(bytes_field(1, field) for field in fields))
        size = stored[0] * stored[1] * 4
        if number >= lacking:
            entries[slice_key("kernel", extents)] = entry(offset, stored, size=size)
        offset += size
    if stray:
        entries[slice_key("stray", parts[0][0])] = entry(0)
    entries[b"kernel"] = varint_field(1, 1) + bytes_field(2, shape(*whole)) + slices
    return table(entries)


def part(start: int, length: int, columns: int = 4, column: int = 0) -> Slice:
    return (Extent(start=start, length=length), Extent(start=column, length=columns))


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes((data[position] ^ 4,)) + data[position + 1 :]


def faults() -> dict[str, Broken]:
    good = bundle(**GOOD)
    plain = [(b"", HEADER), (b"kernel", entry(0)), (b"weight", entry(48))]
    start = block(plain[0], (b"a", entry()))[:-8]
    restarts = struct.pack("<3I", 0, len(start), 2)
    return {
        # the file
        "empty_index": Broken(index=b""),
        "truncated_index": Broken(index=good[: len(good) // 2]),
        "wrong_magic": Broken(index=good[:-1] + b"\0"),
        "git_lfs_pointer": Broken(index=b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 8676\n"),
        "web_page": Broken(index=b"<!DOCTYPE html><html><head><title>Sign in</title></head><body></body></html>"),
        "footer_points_beyond_the_file": Broken(index=with_footer(varint(0) + varint(8) + varint(1 << 40) + varint(8))),
        "footer_with_a_huge_block": Broken(
            index=with_footer(varint(0) + varint(8) + varint(0) + varint((1 << 64) - 1))
        ),
        "footer_with_an_endless_number": Broken(index=with_footer(b"\xff" * 40)),
        # its blocks
        "flipped_bit_in_a_block": Broken(index=flipped(good, 30)),
        "flipped_bit_in_a_checksum": Broken(index=flipped(good, len(good) - 50)),
        "snappy_block": Broken(index=around(block(*plain), compression=1)),
        "unknown_compression": Broken(index=around(block(*plain), compression=77)),
        "block_of_two_bytes": Broken(index=around(b"\0\0")),
        "no_restart_points": Broken(index=around(block(*plain, restarts=()))),
        "huge_restart_count": Broken(index=around(block(*plain, count=0xFFFFFFFF))),
        "restart_point_inside_an_entry": Broken(index=around(block(*plain, restarts=(0, 7)))),
        "restart_point_beyond_the_block": Broken(index=around(block(*plain, restarts=(0, 1 << 30)))),
        "restart_point_with_a_shortened_key": Broken(index=around(start + b"\1\1\0b" + restarts)),
        "key_longer_than_the_block": Broken(index=around(b"\0\x7f\0ab" + block())),
        "key_of_a_gigabyte": Broken(index=around(b"\0" + varint(1 << 30) + b"\0ab" + block())),
        "key_that_shares_more_than_there_is": Broken(index=around(start + b"\x09\1\0b" + block())),
        "value_longer_than_the_block": Broken(index=around(b"\0\1\x7fab" + block())),
        "value_of_an_exabyte": Broken(index=around(b"\0\1" + varint(1 << 60) + b"ab" + block())),
        "entry_cut_off": Broken(index=around(b"\0\1" + block())),
        "keys_out_of_order": Broken(index=around(block(plain[0], plain[2], plain[1]))),
        "key_twice": Broken(index=around(block(*plain, plain[2]))),
        "key_twice_in_two_blocks": Broken(index=around(block(*plain), block(plain[2]))),
        "block_listed_twice": Broken(index=around(block(*plain), repeat=2)),
        "block_under_a_key_too_small": Broken(index=around(block(*plain), keys=(b"kernel",))),
        # its records
        "no_entries": Broken(index=table({})),
        "no_header": Broken(index=table({b"kernel": GOOD["kernel"]})),
        "header_that_is_no_message": Broken(index=bundle(b"\x0a\xff", **GOOD)),
        "header_without_data_files": Broken(index=bundle(b"", **GOOD)),
        "header_with_negative_data_files": Broken(index=bundle(varint_field(1, -1), **GOOD)),
        "big_endian": Broken(index=bundle(encode_header(BundleHeader(shards=1, big_endian=True)), **GOOD)),
        "unknown_byte_order": Broken(index=bundle(varint_field(1, 1) + varint_field(2, 9), **GOOD)),
        "newer_version": Broken(index=bundle(encode_header(BundleHeader(shards=1, min_consumer=2)), **GOOD)),
        "name_that_is_not_utf8": Broken(index=table({b"": HEADER, b"kernel\xc3": GOOD["kernel"]})),
        "size_as_a_string": Broken(index=bundle(kernel=bytes_field(5, b"48"))),
        "group_field": Broken(index=bundle(kernel=entry() + b"\x0b\x0c")),
        "field_number_zero": Broken(index=bundle(kernel=entry() + b"\0\0")),
        "number_of_eleven_bytes": Broken(index=bundle(kernel=b"\x08" + b"\x80" * 10 + b"\x01")),
        "number_of_seventy_bits": Broken(index=bundle(kernel=b"\x08" + b"\xff" * 9 + b"\x7f")),
        "no_type": Broken(index=bundle(kernel=entry(type_number=0))),
        "unknown_type": Broken(index=bundle(kernel=entry(type_number=99))),
        "resource": Broken(index=bundle(kernel=entry(type_number=20))),
        "unknown_shape": Broken(index=bundle(kernel=record(varint_field(3, 1)))),
        "negative_axis": Broken(index=bundle(kernel=record(shape(-3, 4)))),
        "too_many_axes": Broken(index=bundle(kernel=record(shape(*[1] * 300)))),
        "shape_that_overflows": Broken(index=bundle(kernel=record(shape(1 << 40, 1 << 40)))),
        "empty_shape_that_overflows": Broken(index=bundle(kernel=record(shape(0, 1 << 40, 1 << 40), size=0))),
        "shape_of_a_terabyte": Broken(index=bundle(kernel=record(shape(1 << 38)))),
        "size_of_a_terabyte": Broken(index=bundle(kernel=record(shape(1 << 38), size=1 << 40))),
        "negative_size": Broken(index=bundle(kernel=record(shape(3, 4), size=-48))),
        "size_of_another_shape": Broken(index=bundle(kernel=record(shape(3, 5)))),
        "object_graph": Broken(index=bundle(_CHECKPOINTABLE_OBJECT_GRAPH=entry(type_number=7), **GOOD)),
        "object_names": Broken(index=table({b"": HEADER, b"model/.ATTRIBUTES/VARIABLE_VALUE": entry()})),
        "only_training_variables": Broken(index=bundle(**{"kernel/adam_m": entry(), "kernel/adam_v": entry(48)})),
        # its places
        "data_file_that_does_not_exist": Broken(index=bundle(kernel=entry(shard=1))),
        "negative_data_file": Broken(index=bundle(kernel=entry() + varint_field(3, -1))),
        "place_beyond_the_data": Broken(index=bundle(kernel=entry(48), weight=entry(49))),
        "place_at_the_end_of_the_world": Broken(index=bundle(kernel=entry() + varint_field(4, 1 << 62))),
        "negative_place": Broken(index=bundle(kernel=entry() + varint_field(4, -1))),
        "variables_over_each_other": Broken(index=bundle(kernel=entry(0), weight=entry(44))),
        "variables_at_the_same_place": Broken(index=bundle(kernel=entry(0), weight=entry(0))),
        # its slices
        "slice_missing": Broken(index=sliced((6, 4), (part(0, 3), (3, 4)), (part(3, 3), (3, 4)), lacking=1)),
        "slice_of_another_name": Broken(
            index=sliced((6, 4), (part(0, 3), (3, 4)), (part(3, 3), (3, 4)), lacking=1, stray=True)
        ),
        "slices_with_a_gap": Broken(index=sliced((7, 4), (part(0, 3), (3, 4)), (part(4, 3), (3, 4)))),
        "slices_that_overlap": Broken(index=sliced((5, 4), (part(0, 3), (3, 4)), (part(2, 3), (3, 4)))),
        "slices_too_short": Broken(index=sliced((7, 4), (part(0, 3), (3, 4)), (part(3, 3), (3, 4)))),
        "slice_beyond_its_axis": Broken(index=sliced((5, 4), (part(0, 3), (3, 4)), (part(3, 3), (3, 4)))),
        "slice_of_another_shape": Broken(index=sliced((6, 4), (part(0, 3), (3, 4)), (part(3, 3), (2, 4)))),
        "slices_along_two_axes": Broken(index=sliced((6, 4), (part(0, 3), (3, 4)), (part(3, 3, 2, 2), (3, 2)))),
        "more_slices_than_entries": Broken(index=bundle(kernel=record(shape(3, 4), extra=bytes_field(7, b"") * 900))),
        "slice_in_slices": Broken(index=table({b"": HEADER, b"\0kernel": entry() + bytes_field(7, b"")})),
        # the data
        "no_data_file": Broken(index=good, data=None),
        "empty_data_file": Broken(index=good, data=b""),
        "truncated_data": Broken(index=good, data=DATA[:-1]),
        "flipped_bit_in_the_data": Broken(index=good, data=flipped(DATA, 61)),
        "data_of_another_checkpoint": Broken(index=good, data=bytes(96)),
    }


def write(folder: Path, broken: Broken) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "model.ckpt.index").write_bytes(broken.index)
    if broken.data is not None:
        (folder / "model.ckpt.data-00000-of-00001").write_bytes(broken.data)


def make(target: Path) -> None:
    for name, broken in faults().items():
        write(target / name, broken)


if __name__ == "__main__":
    make(Path(__file__).parent)
