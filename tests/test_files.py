from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from albertine.errors import FailureError
from albertine.files import atomic_folder, atomic_path, write_json, write_text


@contextmanager
def umask(bits: int) -> Iterator[None]:
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("bits", "file", "folder"), [(0o077, 0o600, 0o700), (0o022, 0o644, 0o755), (0o002, 0o664, 0o775)]
)
def test_what_is_written_has_the_rights_that_the_umask_leaves(
    tmp_path: Path, bits: int, file: int, folder: int
) -> None:
    with umask(bits):
        write_json(tmp_path / "made" / "one.json", {"a": 1})
        with atomic_folder(tmp_path / "whole") as new:
            (new / "two.txt").write_text("2", encoding="utf-8")
        with atomic_folder(tmp_path / "whole") as new:
            (new / "three.txt").write_text("3", encoding="utf-8")
    assert rights(tmp_path / "made" / "one.json") == file
    assert rights(tmp_path / "whole" / "three.txt") == file
    assert rights(tmp_path / "made") == rights(tmp_path / "whole") == folder


def test_a_file_is_never_open_to_others_than_in_the_end(tmp_path: Path) -> None:
    with umask(0o077), atomic_path(tmp_path / "file") as temporary:
        assert rights(temporary) == 0o600
        assert temporary.parent == tmp_path


def test_what_stands_in_the_way_is_one_clear_line_and_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    for target, said in (
        ("file/inside", "something stands where a folder has to be made"),
        ("file/deeper/inside", "a file stands where a folder has to be"),
        ("folder", "a folder stands where the file is to be written"),
        ("link/inside", "something stands where a folder has to be made"),
        ("n" * 250, "this name is too long"),
    ):
        with pytest.raises(FailureError, match=said) as caught:
            write_text(tmp_path / target, "new")
        assert str(caught.value).startswith(f"{tmp_path / target}: ")
        assert "--out" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"
