from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertine.checkpoints.bundle import sorted_table
from albertine.checkpoints.bundle.sorted_table import TableEntry, read_table, write_table
from albertine.errors import CheckpointError


def written(path: Path, entries: dict[bytes, bytes], *, block_bytes: int = 262_144, restart_interval: int = 16) -> Path:
    ordered = [TableEntry(key=key, value=entries[key]) for key in sorted(entries)]
    with path.open("wb") as file:
        write_table(file, ordered, block_bytes=block_bytes, restart_interval=restart_interval)
    return path


def read(path: Path) -> dict[bytes, bytes]:
    return {entry.key: entry.value for entry in read_table(path)}


def some_entries(count: int) -> dict[bytes, bytes]:
    names = (f"bert/encoder/layer_{number % 7}/kernel_{number}" for number in range(count))
    entries = {name.encode(): bytes((number % 251,)) for number, name in enumerate(names)}
    return {b"": b"header", **entries, b"\xff\xff": b"", b"\xffx": b"value" * 99}


@pytest.mark.parametrize("block_bytes", [1, 64, 257, 262_144])
@pytest.mark.parametrize("restart_interval", [1, 3, 16])
def test_what_is_written_is_read_back_whatever_the_size_of_a_block(
    tmp_path: Path, block_bytes: int, restart_interval: int
) -> None:
    entries = some_entries(199)
    path = written(tmp_path / "table", entries, block_bytes=block_bytes, restart_interval=restart_interval)
    assert list(read(path)) == sorted(entries)
    assert read(path) == entries


@given(st.dictionaries(st.binary(max_size=9), st.binary(max_size=9), max_size=40), st.integers(1, 99))
def test_any_entries_are_read_back(entries: dict[bytes, bytes], block_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert read(written(Path(folder) / "table", entries, block_bytes=block_bytes)) == entries


def test_keys_share_their_beginnings_in_the_file(tmp_path: Path) -> None:
    entries = {b"x" * 100 + bytes((number,)): b"" for number in range(100)}
    assert written(tmp_path / "table", entries).stat().st_size < 2000


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    assert read(written(tmp_path / "table", {})) == {}


def test_the_tables_of_real_checkpoints_are_written_again_byte_for_byte(data_dir: Path) -> None:
    indexes = sorted((data_dir / "checkpoints").glob("*/*.index"))
    assert len(indexes) >= 4
    for index in indexes:
        file = io.BytesIO()
        write_table(file, read_table(index))
        assert file.getvalue() == index.read_bytes(), index


def test_every_byte_before_the_footer_is_under_a_checksum_and_every_byte_of_the_footer_counts(tmp_path: Path) -> None:
    entries = some_entries(9)
    path = written(tmp_path / "table", entries, block_bytes=128)
    good = path.read_bytes()
    footer = len(good) - 48
    used = len(good[footer:-8].rstrip(b"\0"))
    for position in [*range(footer + used), *range(len(good) - 8, len(good))]:
        path.write_bytes(good[:position] + bytes((good[position] ^ 0x10,)) + good[position + 1 :])
        with pytest.raises(CheckpointError):
            read(path)


def test_a_table_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "table", some_entries(9), block_bytes=128)
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError, match="truncated"):
            read(path)


def test_a_file_larger_than_any_index_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "table"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match=r"larger than the index of any checkpoint.*1,099,511,627,776 bytes"):
        read(path)


def test_long_keys_that_are_short_in_the_file_do_not_fill_the_memory(tmp_path: Path) -> None:
    start = b"x" * 4000
    entries = {start + number.to_bytes(2, "big"): b"" for number in range(9000)}
    path = written(tmp_path / "table", entries, restart_interval=10_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(CheckpointError, match="more entries than any checkpoint"):
        for _ in read_table(path):
            pass


def test_more_entries_than_any_checkpoint_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_table, "_MAX_ENTRIES", 5)
    assert len(read(written(tmp_path / "table", some_entries(2)))) == 5
    with pytest.raises(CheckpointError, match="more entries than any checkpoint"):
        read(written(tmp_path / "table", some_entries(3)))


def test_a_key_longer_than_any_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="adds 5,000, where 4,096 are the most"):
        read(written(tmp_path / "table", {b"x" * 5000: b""}))


def test_a_folder_a_missing_file_and_a_link_to_nothing_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match=r"a file is expected here.*a folder"):
        read(tmp_path / "folder")
    with pytest.raises(CheckpointError, match=r"this file does not exist.*The folder holds: folder"):
        read(tmp_path / "table")
    with pytest.raises(CheckpointError, match=r"its folder does not exist"):
        read(tmp_path / "nowhere" / "table")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"this link points to nothing"):
        read(tmp_path / "link")
