"""The sorted string table of a TensorFlow checkpoint's `.index` file, read and written.

The layout is LevelDB's: blocks of entries with prefix-compressed keys, an index block that says where they lie, and a
footer of 48 bytes. Sources: LevelDB's doc/table_format.md and TensorFlow's tsl/lib/io/table_format.txt.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from albertine.checkpoints.bundle.checksums import masked_checksum
from albertine.checkpoints.bundle.wire import WireError, WireReader, varint
from albertine.checkpoints.reading import AGAIN_STEP, read_head, readable
from albertine.errors import CheckpointError

__all__ = ["TableEntry", "read_table", "write_table"]

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # one byte for the compression, four for the checksum
_NO_COMPRESSION, _SNAPPY = 0, 1

# Far above any model: BERT large with its optimizer has 1,200 variables in 60 KB. They bound the memory of a reader.
_MAX_FILE_BYTES = 64 << 20
_MAX_ENTRIES = 200_000
_MAX_KEY_BYTES = 4096
_MAX_ALL_KEY_BYTES = 32 << 20

_BLOCK_BYTES = 262_144
_RESTART_INTERVAL = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEntry:
    """One key and what stands under it."""

    key: bytes
    """Sorted bytewise, each once."""
    value: bytes
    """Anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handle:
    """Where a block lies."""

    offset: int
    """Of its first byte in the file."""
    size: int
    """In bytes, without the trailer."""


def read_table(path: Path) -> Iterator[TableEntry]:
    """Read the entries of a table in the order of their keys, a block at a time.

    Checksums, sizes and the order of the keys are verified before anything is believed; memory stays within the size
    of the file, which is limited.

    Raises:
        CheckpointError: not a table, truncated, damaged, compressed or larger than any checkpoint's.
    """
    read_head(path)  # refuses what stands in place of a file that was not fetched
    with readable(path) as file:
        table = _TableFile(path, file)
        last, blocks_end, entries, key_bytes = None, 0, 0, 0
        for pointer in table.entries(table.index):
            handle = table.handle(pointer.value, table.index.offset)
            if handle.offset < blocks_end:
                raise table.error("blocks overlap or stand in the wrong order", handle.offset)
            blocks_end = handle.offset + handle.size + _TRAILER_BYTES
            for entry in table.entries(handle):
                entries, key_bytes = entries + 1, key_bytes + len(entry.key)
                if entries > _MAX_ENTRIES or key_bytes > _MAX_ALL_KEY_BYTES:
                    raise table.error(
                        "the table has more entries than any checkpoint",
                        handle.offset,
                        allowed=f"{_MAX_ENTRIES:,} keys of {_MAX_ALL_KEY_BYTES:,} bytes together",
                    )
                if last is not None and entry.key <= last:
                    raise table.error("blocks overlap or stand in the wrong order", handle.offset)
                last = entry.key
                yield entry
            if last is None or last > pointer.key:
                raise table.error("a block holds keys that its index places elsewhere", handle.offset)
            last = pointer.key if last < pointer.key else last


class _TableFile:
    """An open table: its blocks, and errors that say where in it they were met."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self._path = path
        self._file = file
        self._size = file.seek(0, 2)
        if self._size > _MAX_FILE_BYTES:
            raise self.error(
                "this file is larger than the index of any checkpoint",
                None,
                received=f"{self._size:,} bytes",
                allowed=f"at most {_MAX_FILE_BYTES:,} bytes",
            )
        footer = self._read(max(self._size - _FOOTER_BYTES, 0), min(self._size, _FOOTER_BYTES))
        if len(footer) < _FOOTER_BYTES or int.from_bytes(footer[-8:], "little") != _MAGIC:
            raise self._not_a_table(footer)
        self._blocks_end = self._size - _FOOTER_BYTES
        reader = WireReader(footer, end=_FOOTER_BYTES - 8)
        meta = self._handle_at(reader, self._blocks_end)
        self.index = self._handle_at(reader, self._blocks_end)
        for _ in self.entries(meta):  # the checksum is all that is wanted of it: bundles keep nothing there
            pass

    def handle(self, value: bytes, offset: int) -> _Handle:
        """Read where a block lies from what stands in the index block at `offset`."""
        reader = WireReader(value)
        handle = self._handle_at(reader, offset)
        if not reader.at_end:
            raise self.error("something follows where a block is said to lie", offset)
        return handle

    def entries(self, handle: _Handle) -> Iterator[TableEntry]:
        """Read the entries of a block whose checksum is right."""
        block = self._read(handle.offset, handle.size + _TRAILER_BYTES)
        compression = block[handle.size]
        stored = int.from_bytes(block[handle.size + 1 :], "little")
        found = masked_checksum(block[: handle.size + 1])
        if found != stored:
            raise self.error(
                "the checksum of a block does not match; the file was altered or is damaged",
                handle.offset,
                received=f"{found:#010x}",
                allowed=f"{stored:#010x}",
            )
        if compression != _NO_COMPRESSION:
            raise self.error(
                "a block of the index is compressed, which TensorFlow's own checkpoints never are",
                handle.offset,
                received="Snappy" if compression == _SNAPPY else f"compression {compression}",
                allowed="no compression",
                next_step="Save the checkpoint again with tf.compat.v1.train.Saver",
            )
        try:
            yield from _block_entries(block[: handle.size])
        except WireError as error:
            raise self.error(f"a block of the index is damaged: {error}", handle.offset) from error

    def error(
        self,
        what: str,
        offset: int | None,
        *,
        received: str | None = None,
        allowed: str | None = None,
        next_step: str = AGAIN_STEP,
    ) -> CheckpointError:
        """Build the error for something met at `offset`."""
        where = str(self._path) if offset is None else f"{self._path}, byte {offset:,}"
        return CheckpointError(what, where=where, received=received, allowed=allowed, next_step=next_step)

    def _handle_at(self, reader: WireReader, offset: int) -> _Handle:
        try:
            handle = _Handle(offset=reader.varint(), size=reader.varint())
        except WireError as error:
            raise self.error(f"it does not say where a block lies: {error}", offset) from error
        if handle.offset + handle.size + _TRAILER_BYTES > self._blocks_end:
            raise self.error(
                "a block is said to lie beyond the end of the file; the file is truncated or altered",
                offset,
                received=f"{handle.size:,} bytes at byte {handle.offset:,}",
                allowed=f"blocks within the first {self._blocks_end:,} bytes",
            )
        return handle

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) != size:
            raise self.error("the file became shorter while it was read", offset)
        return data

    def _not_a_table(self, footer: bytes) -> CheckpointError:
        if len(footer) < _FOOTER_BYTES:
            return self.error(
                "this is no index of a TensorFlow checkpoint: the file is empty or truncated",
                None,
                received=f"{self._size:,} bytes",
                allowed=f"at least {_FOOTER_BYTES} bytes",
            )
        return self.error(
            "this is no index of a TensorFlow checkpoint, or it is truncated: it does not end with the magic number",
            self._size - 8,
            received=footer[-8:].hex(),
            allowed=_MAGIC.to_bytes(8, "little").hex(),
        )


def _block_entries(block: bytes) -> Iterator[TableEntry]:
    """Read the entries of a block; raises `WireError`.

    The restart points, at which a whole key stands, follow the entries; they must be where they say.
    """
    count = int.from_bytes(block[-4:], "little") if len(block) >= 4 else 0
    end = len(block) - 4 * (count + 1)
    if count < 1 or end < 0:
        raise WireError(f"{len(block):,} bytes cannot hold {count:,} restart points")
    restarts = (point for (point,) in struct.iter_unpack("<I", memoryview(block)[end:-4]))
    restart = next(restarts)
    reader = WireReader(block, end=end)
    key = b""
    while not reader.at_end:
        start = reader.position
        shared, fresh, size = reader.varint(), reader.varint(), reader.varint()
        if start == restart:
            restart = next(restarts, None)
            if shared:
                raise WireError("a key at a restart point is not whole")
        if shared > len(key) or shared + fresh > _MAX_KEY_BYTES:
            raise WireError(
                f"a key shares {shared:,} bytes with one of {len(key):,} and adds {fresh:,}, "
                f"where {_MAX_KEY_BYTES:,} are the most"
            )
        following = key[:shared] + reader.take(fresh)
        if start and following <= key:
            raise WireError("its keys are not in order, or one is there twice")
        key = following
        yield TableEntry(key=key, value=reader.take(size))
    if restart is not None and (restart or end):
        raise WireError("a restart point does not lie at an entry")


def write_table(
    file: BinaryIO,
    entries: Iterable[TableEntry],
    *,
    block_bytes: int = _BLOCK_BYTES,
    restart_interval: int = _RESTART_INTERVAL,
) -> None:
    """Write entries as a table, byte for byte as TensorFlow's own writer does.

    Args:
        file: empty, open for writing.
        entries: with ascending keys.
        block_bytes: a block is closed once it has so many bytes.
        restart_interval: every so many entries a key stands whole.
    """
    index = _BlockBuilder(restart_interval=1)
    block = _BlockBuilder(restart_interval=restart_interval)
    offset = 0
    handle: _Handle | None = None
    for entry in entries:
        if handle is not None:
            index.add(_separator(block.last_key, entry.key), _handle_bytes(handle))
            handle, block = None, _BlockBuilder(restart_interval=restart_interval)
        block.add(entry.key, entry.value)
        if block.size >= block_bytes:
            handle = _write_block(file, block, offset)
            offset += handle.size + _TRAILER_BYTES
    if handle is None and block.size > _BlockBuilder(restart_interval=1).size:
        handle = _write_block(file, block, offset)
        offset += handle.size + _TRAILER_BYTES
    meta = _write_block(file, _BlockBuilder(restart_interval=1), offset)
    offset += meta.size + _TRAILER_BYTES
    if handle is not None:
        index.add(_successor(block.last_key), _handle_bytes(handle))
    footer = _handle_bytes(meta) + _handle_bytes(_write_block(file, index, offset))
    file.write(footer.ljust(_FOOTER_BYTES - 8, b"\0") + _MAGIC.to_bytes(8, "little"))


class _BlockBuilder:
    """A block in the making."""

    def __init__(self, *, restart_interval: int) -> None:
        self._interval = restart_interval
        self._data = bytearray()
        self._restarts = [0]
        self._since_restart = 0
        self.last_key = b""

    @property
    def size(self) -> int:
        """Bytes of the block if it were closed now."""
        return len(self._data) + 4 * len(self._restarts) + 4

    def add(self, key: bytes, value: bytes) -> None:
        """Append an entry; its key is greater than the last one."""
        shared = 0
        if self._since_restart < self._interval:
            shared = _common(self.last_key, key)
        else:
            self._restarts.append(len(self._data))
            self._since_restart = 0
        self._data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        self._since_restart += 1
        self.last_key = key

    def finish(self) -> bytes:
        """Return the block's content."""
        return bytes(self._data) + struct.pack(f"<{len(self._restarts) + 1}I", *self._restarts, len(self._restarts))


def _write_block(file: BinaryIO, block: _BlockBuilder, offset: int) -> _Handle:
    content = block.finish()
    sealed = content + bytes((_NO_COMPRESSION,))
    file.write(sealed + masked_checksum(sealed).to_bytes(4, "little"))
    return _Handle(offset=offset, size=len(content))


def _handle_bytes(handle: _Handle) -> bytes:
    return varint(handle.offset) + varint(handle.size)


def _common(first: bytes, second: bytes) -> int:
    """Count the bytes at the start of two keys that are the same."""
    length = min(len(first), len(second))
    return next((index for index in range(length) if first[index] != second[index]), length)


def _separator(last: bytes, following: bytes) -> bytes:
    """Return a short key from `last` on and before `following`."""
    index = _common(last, following)
    if index < min(len(last), len(following)) and last[index] + 1 < following[index]:
        return last[:index] + bytes((last[index] + 1,))
    return last


def _successor(last: bytes) -> bytes:
    """Return a short key from `last` on."""
    index = next((index for index, byte in enumerate(last) if byte != 0xFF), None)
    return last if index is None else last[:index] + bytes((last[index] + 1,))
