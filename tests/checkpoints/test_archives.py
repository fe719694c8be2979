from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from albertine.checkpoints import archives
from albertine.checkpoints.archives import is_archive, unpacked
from albertine.errors import CheckpointError

WEIGHTS = random.Random(5).randbytes(70_001)
BERT = {
    "tiny/bert_config.json": b'{"vocab_size": 7}',
    "tiny/bert_model.ckpt.index": b"an index",
    "tiny/bert_model.ckpt.meta": b"a graph" * 99,
    "tiny/bert_model.ckpt.data-00000-of-00001": WEIGHTS,
    "tiny/vocab.txt": "[PAD]\n好\n".encode(),
}
NEEDED = {name.removeprefix("tiny/"): data for name, data in BERT.items() if not name.endswith(".meta")}


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(data))


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, data in files.items():
            add(archive, name, data)
    return path


WRITERS: dict[str, Callable[[Path, Mapping[str, bytes]], Path]] = {
    "m.zip": write_zip,
    "m.tar": write_tar,
    "m.tar.gz": write_tar,
    "m.tgz": write_tar,
}


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refuse(path: Path) -> str:
    """Unpack, expect a refusal before anything is written, and return its text."""
    before = set(path.parent.iterdir())
    with pytest.raises(CheckpointError) as caught, unpacked(path):
        pass
    assert set(path.parent.iterdir()) == before
    return str(caught.value)


@pytest.fixture(autouse=True)
def temporary_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make temporary folders here, where a test sees what is left of them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", WRITERS)
def test_a_published_archive_gives_its_folder_without_the_graph(
    name: str, tmp_path: Path, temporary_folders: Path
) -> None:
    path = WRITERS[name](tmp_path / name, BERT)
    assert is_archive(path)
    with unpacked(path) as folder:
        assert contents(folder) == NEEDED
        assert folder.is_relative_to(temporary_folders)
    assert not list(temporary_folders.iterdir())


@pytest.mark.parametrize("name", WRITERS)
def test_the_folder_is_gone_after_an_error_inside_the_block(name: str, tmp_path: Path, temporary_folders: Path) -> None:
    path = WRITERS[name](tmp_path / name, BERT)
    with pytest.raises(ZeroDivisionError), unpacked(path):
        raise ZeroDivisionError
    assert not list(temporary_folders.iterdir())


@pytest.mark.parametrize("name", WRITERS)
def test_a_saved_model_keeps_its_folders(name: str, tmp_path: Path) -> None:
    files = {
        "./saved_model.pb": b"a graph",
        "./tfhub_module.pb": b"x",
        "./variables/variables.index": b"i",
        "./variables/variables.data-00000-of-00001": b"d",
        "./assets/30k-clean.model": b"m",
    }
    with unpacked(WRITERS[name](tmp_path / name, files)) as folder:
        assert set(contents(folder)) == {
            "variables/variables.index",
            "variables/variables.data-00000-of-00001",
            "assets/30k-clean.model",
        }


def test_what_systems_and_publishers_leave_beside_a_model_does_not_count(tmp_path: Path) -> None:
    litter = {"__MACOSX/tiny/._vocab.txt": b"x", "tiny/.DS_Store": b"x", "README.txt": b"x", "LICENSE": b"x"}
    with unpacked(write_zip(tmp_path / "m.zip", {**litter, **BERT})) as folder:
        assert contents(folder) == NEEDED


def test_the_kind_of_archive_is_seen_from_its_bytes(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.zip", BERT).rename(tmp_path / "m.tar.gz")
    with unpacked(path) as folder:
        assert contents(folder) == NEEDED


def test_only_files_with_an_archives_name_are_archives(tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "bert_model.ckpt.index").write_bytes(b"")
    assert not is_archive(tmp_path / "folder.zip")
    assert not is_archive(tmp_path / "bert_model.ckpt.index")
    assert not is_archive(tmp_path / "absent.zip")


@pytest.mark.parametrize("name", ["m.zip", "m.tar", "m.tar.gz"])
@pytest.mark.parametrize(
    "member",
    [
        "/etc/vocab.txt",
        "../vocab.txt",
        "a/../../vocab.txt",
        "a\\..\\vocab.txt",
        "C:/vocab.txt",
        "c:vocab.txt",
        "//server/share/vocab.txt",
        "a\nb/vocab.txt",
    ],
)
def test_paths_that_lead_outside_are_refused(name: str, member: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, {**BERT, member: b"x"})
    assert "could lead outside" in refuse(path)
    assert not (tmp_path / "vocab.txt").exists()


@pytest.mark.parametrize("name", ["m.zip", "m.tar.gz"])
@pytest.mark.parametrize("member", ["a" * 300 + "/vocab.txt", "ab/" * 200 + "vocab.txt", "好" * 100 + ".txt"])
def test_paths_that_are_too_long_are_refused(name: str, member: str, tmp_path: Path) -> None:
    assert "too long" in refuse(WRITERS[name](tmp_path / name, {member: b"x"}))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"]
)
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "m/vocab.txt", b"x")
        add(archive, "m/bert_model.ckpt.index", type=kind, linkname="../../../etc/passwd")
    assert "never unpacked: link, device" in refuse(path)


@pytest.mark.parametrize("form", [0o120777, 0o020666, 0o060666, 0o010666, 0o140777])
def test_links_and_devices_in_a_zip_are_refused(form: int, tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("m/vocab.txt")
        info.external_attr = form << 16
        archive.writestr(info, "/etc/passwd")
    assert "never unpacked: link, device" in refuse(path)


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("m/model.safetensors")
        info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 50), "GNU.sparse.name": "m/x.json"}
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    assert "never unpacked" in refuse(path)


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "m.zip", BERT)
    data = bytearray(path.read_bytes())
    place = data.find(b"PK\x01\x02")
    data[place + 8] |= 1
    path.write_bytes(data)
    assert "never unpacked: encrypted file" in refuse(path)


def test_rare_compressions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("vocab.txt", "x")
    assert "compressed in a way that is not read here" in refuse(path)


@pytest.mark.parametrize("again", ["m/vocab.txt", "./m//vocab.txt", "M/Vocab.txt"])
def test_two_members_of_one_name_are_refused(again: str, tmp_path: Path) -> None:
    path = tmp_path / "m.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "m/vocab.txt", b"x")
        add(archive, again, b"y")
    assert "two members of one name" in refuse(path)


def test_a_file_where_others_need_a_folder_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "m.tar", {"m/a.json/vocab.txt": b"x", "m/a.json": b"x"})
    assert "a file and a folder of one name" in refuse(path)


@pytest.mark.parametrize("name", ["m.zip", "m.tar.gz"])
def test_ten_thousand_members_are_the_most(name: str, tmp_path: Path) -> None:
    assert "too many members" in refuse(WRITERS[name](tmp_path / name, {f"{n}.txt": b"" for n in range(10_001)}))


@pytest.mark.parametrize("name", ["m.zip", "m.tar.gz"])
def test_bombs_are_refused_before_they_go_off(name: str, tmp_path: Path) -> None:
    assert "far more than weights" in refuse(WRITERS[name](tmp_path / name, {"m/model.safetensors": bytes(20 << 20)}))


def test_a_tar_that_announces_a_terabyte_is_refused_at_its_header(tmp_path: Path) -> None:
    path = tmp_path / "m.tar"
    info = tarfile.TarInfo("m/model.safetensors")
    info.size = 1 << 40
    path.write_bytes(info.tobuf() + bytes(2048))
    assert "far more than weights" in refuse(path)


def test_more_than_the_disk_has_room_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: SimpleNamespace(free=70_000))
    assert "no room" in refuse(write_zip(tmp_path / "m.zip", BERT))


@pytest.mark.parametrize("member", ["notes.pdf", "model.npz", "inner.zip"])
def test_an_archive_without_a_model_is_refused(member: str, tmp_path: Path) -> None:
    text = refuse(write_zip(tmp_path / "m.zip", {member: b"x"}))
    assert "holds no files of a model" in text
    assert member in text


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kept", [0, 1, 3, 100, 700, -50_000, -12_000])
def test_truncated_archives_are_refused(name: str, kept: int, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, BERT)
    path.write_bytes(path.read_bytes()[:kept])
    assert "damaged or truncated" in refuse(path)


@pytest.mark.parametrize("name", WRITERS)
def test_other_bytes_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"<html>not found</html>" * 99)
    assert "not an archive" in refuse(path)


def test_a_changed_byte_is_noticed_in_zip_and_tar_gz(tmp_path: Path, temporary_folders: Path) -> None:
    for name in ("m.zip", "m.tar.gz"):
        path = WRITERS[name](tmp_path / name, BERT)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 64
        path.write_bytes(data)
        assert "damaged or truncated" in refuse(path)
    assert not list(temporary_folders.iterdir())


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "m.tar", BERT)
    data = bytearray(path.read_bytes())
    place = data.find(b"tiny/vocab.txt")
    data[place + 5] ^= 1
    path.write_bytes(data)
    assert "a member that cannot be read" in refuse(path)


@pytest.mark.parametrize("claimed", [7, 90_000])
def test_a_zip_that_lies_about_a_size_is_refused(claimed: int, tmp_path: Path, temporary_folders: Path) -> None:
    path = write_zip(tmp_path / "m.zip", {"model.safetensors": WEIGHTS})
    data = bytearray(path.read_bytes())
    place = data.find(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", claimed)
    path.write_bytes(data)
    assert "damaged or truncated" in refuse(path)
    assert not list(temporary_folders.iterdir())


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_giant_headers_do_not_fill_the_memory(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.tar.gz"
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 300 << 20
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(300):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    assert "headers are larger" in refuse(path)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_giant_list_of_members_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(200 << 20)
        file.seek(0, 2)
        file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 9, 9, (200 << 20) - 4, 4, 0))
    tracemalloc.start()
    assert "headers are larger" in refuse(path)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_large_members_are_copied_in_pieces(tmp_path: Path) -> None:
    data = random.Random(7).randbytes(24 << 20)
    for name in ("m.zip", "m.tar.gz"):
        path = WRITERS[name](tmp_path / name, {"model.safetensors": data})
        tracemalloc.start()
        with unpacked(path) as folder:
            peak = tracemalloc.get_traced_memory()[1]
            assert (folder / "model.safetensors").stat().st_size == len(data)
        tracemalloc.stop()
        assert peak < 8 << 20


@pytest.mark.parametrize("name", WRITERS)
def test_broken_archives_only_ever_give_errors_of_ours(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, {key: value[:900] for key, value in BERT.items()})
    whole = path.read_bytes()
    chance = random.Random(11)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        try:
            with unpacked(path) as folder:
                assert folder.is_dir()
        except CheckpointError:
            pass
