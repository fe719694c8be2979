"""What is no readable file, or more than one of its kind, is refused before it is read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from albertine.checkpoints.reading import (
    AGAIN_STEP,
    INDEX_LIMIT,
    JSON_LIMIT,
    check_start,
    damaged,
    read_bytes,
    read_head,
    read_json,
    read_json_value,
)
from albertine.errors import CheckpointError


@pytest.mark.parametrize("size", [0, 3, 64, 65, 3 << 20])
def test_the_first_bytes_and_all_bytes_are_returned(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a"
    data = bytes(range(251)) * (size // 251 + 1)
    path.write_bytes(data[:size])
    assert read_head(path) == data[:size][:64]
    assert read_bytes(path, size) == data[:size]
    if size:
        with pytest.raises(CheckpointError, match=f"larger than any of its kind.*up to {size - 1:,} bytes"):
            read_bytes(path, size - 1)


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "device", "link to a device", "link to nothing", "loop"])
def test_what_is_no_file_is_neither_opened_nor_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind.startswith("link"):
        path.symlink_to("/dev/zero" if "device" in kind else tmp_path / "absent")
    elif kind == "loop":
        path.symlink_to(path)
    expected = {"nothing": "does not exist", "link to nothing": "points to nothing", "loop": "points to nothing"}
    for read in (read_head, read_json, read_json_value, lambda file: read_bytes(file, 99)):
        with pytest.raises(CheckpointError, match=expected.get(kind, "a file is expected here")) as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text('{"a": 1}', encoding="utf-8")
    (tmp_path / "config.json").symlink_to("blob")
    assert read_json(tmp_path / "config.json") == {"a": 1}


def test_what_stands_beside_an_absent_file_is_named(tmp_path: Path) -> None:
    for number in range(33):
        (tmp_path / f"{number:02d}.txt").touch()
    with pytest.raises(CheckpointError, match=r"folder holds: 00\.txt, .*19\.txt and 13 more\."):
        read_head(tmp_path / "a")
    with pytest.raises(CheckpointError, match="its folder does not exist"):
        read_head(tmp_path / "no folder" / "a")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_json_is_read_in_utf_8(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(mark + json.dumps({"名": [1, None]}, ensure_ascii=False).encode())
    assert read_json(path) == {"名": [1, None]}
    path.write_bytes(mark + b"[3]")
    assert read_json_value(path) == [3]
    with pytest.raises(CheckpointError, match=r"JSON object is expected here.*list"):
        read_json(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe{\x00}\x00",
        b'{"a": "\xff"}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"a": NULL}',
    ],
    ids=["empty", "half", "utf-16", "not utf-8", "5,000 digits", "deep", "no value"],
)
def test_other_bytes_are_said_not_to_be_json(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"config\.json: this is not valid JSON"):
        read_json(path)


@pytest.mark.parametrize("limit", [JSON_LIMIT, INDEX_LIMIT])
def test_json_beyond_its_limit_is_not_read(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"{}")
    os.truncate(path, limit + 1)
    with pytest.raises(CheckpointError, match="larger than any of its kind"):
        read_json(path, limit)
    assert JSON_LIMIT < INDEX_LIMIT
    with pytest.raises(CheckpointError, match="larger than any of its kind"):
        read_json(path)


def test_a_pointer_of_git_lfs_is_no_head_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        read_head(tmp_path / "a")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        check_start(tmp_path / "a", (b"version",), "never said")


def test_a_wrong_start_is_shown(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x93NUMPY")
    check_start(tmp_path / "a", (b"x", b"\x93NU"), "never said")
    with pytest.raises(CheckpointError, match=r"this is no zip\. Received: 6 bytes that begin with b'\\x93NUMPY'"):
        check_start(tmp_path / "a", (b"PK",), "this is no zip")


def test_a_damaged_file_is_said_in_one_short_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    path = tmp_path / "a"
    reason = "truncated or damaged (HeaderTooLarge)"
    text = str(damaged(path, "  HeaderTooLarge. And much\nmore: "))
    assert text == f"{path}: this weights file is {reason}. Received: 5 bytes. {AGAIN_STEP}."
