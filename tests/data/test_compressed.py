from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pyarrow
import pytest

from albertine.data.compressed import read_source
from albertine.data.readers import read_examples
from albertine.errors import DataError

TEXT = "text,label\nzu spät,bad\nfein,good\n".encode() * 13


def packed(name: str, data: bytes = TEXT) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(data)
    if name.endswith(".xz"):
        return lzma.compress(data)
    if name.endswith(".zst"):
        out = pyarrow.BufferOutputStream()
        with pyarrow.CompressedOutputStream(out, "zstd") as stream:
            stream.write(data)
        return out.getvalue().to_pybytes()
    return zipped({"inside.csv": data})


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.xz", "a.csv.zst", "a.zip", "a.csv"])
def test_packed_files_give_the_bytes_and_the_extension_within(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(TEXT if name == "a.csv" else packed(name))
    source = read_source(path)
    assert source.data == TEXT
    assert source.suffix == ".csv"
    assert len(read_examples(path, on_error="skip").examples) == 38


def test_the_packing_is_seen_from_the_content_where_the_name_does_not_say_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(TEXT))
    assert read_source(path).data == TEXT


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.xz", "a.csv.zst", "a.zip"])
def test_a_file_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = packed(name, bytes(range(256)) * 99)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError, match="cut short"):
        read_source(path)


def test_a_name_that_promises_another_packing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(TEXT)
    with pytest.raises(DataError, match="something else"):
        read_source(path)


def test_a_zip_with_several_files_lists_them(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"one.csv": TEXT, "two.csv": TEXT}))
    with pytest.raises(DataError, match=r"holds 2 files.*one\.csv, two\.csv"):
        read_source(path)
    path.write_bytes(zipped({"__MACOSX/._one.csv": b"x", "folder/one.csv": TEXT}))
    assert read_source(path).data == TEXT


def test_archives_and_spreadsheets_are_refused_with_the_next_step(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        info = tarfile.TarInfo("one.csv")
        info.size = len(TEXT)
        archive.addfile(info, io.BytesIO(TEXT))
    with pytest.raises(DataError, match="Unpack it"):
        read_source(path)
    sheet = tmp_path / "a.xlsx"
    sheet.write_bytes(zipped({"sheet": TEXT}))
    with pytest.raises(DataError, match="Save it as CSV"):
        read_source(sheet)


def test_a_missing_file_names_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_bytes(TEXT)
    with pytest.raises(DataError, match=r"no such file.*reviews\.csv"):
        read_source(tmp_path / "review.csv")
    with pytest.raises(DataError, match="folder"):
        read_source(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        read_source(tmp_path / "reviews.csv" / "a.csv")
