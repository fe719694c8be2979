"""What of a pickled weights file is refused, before and after torch's restricted loader has looked at it."""

from __future__ import annotations

import io
import itertools
import pickletools
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from albertine.checkpoints.reading import AGAIN_STEP, check_start, damaged
from albertine.checkpoints.report import listed
from albertine.errors import CheckpointError

__all__ = ["STATE_DICT_STEP", "check_pickle", "check_tensor", "is_archive", "refusal"]

STATE_DICT_STEP = (
    "Where you trust its origin, write the weights alone with the program that made it: "
    "torch.save(model.state_dict(), FILE), or save_file of safetensors"
)
"""What to do about a file that has more in it than weights."""

_LARGEST_PICKLE = 4 << 20
"""Bytes at most of the pickle itself, which holds names and shapes; the numbers lie after it, or in records of their
own. Its objects may take some seventy times as much memory, which this bounds."""
_PICKLE_RECORD = "/data.pkl"
_PROGRAM_RECORD = "/constants.pkl"
_ZIP_START = b"PK\x03\x04"
_PICKLE_START = b"\x80"
_PICKLES_BEFORE_NUMBERS = 5
"""Of an old file: its magic number, version, platform, the objects and the order of the numbers."""
_DTYPES = frozenset(
    (
        torch.float64, torch.float32, torch.float16, torch.bfloat16,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
)  # fmt: skip
_MAGIC_NUMBER = b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little") + b"."
"""What follows the protocol in a file of torch.save's before 1.6: a pickle of this number alone."""
_REFUSED = re.compile(r"(?:Unsupported global: GLOBAL|unsupported GLOBAL) (\S+)")
"""How the restricted loader names what it does not know."""
_HARMLESS = ("torch.", "collections.")
_PLAIN = frozenset(
    ("_codecs.encode", *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "complex")))
)
"""What plain values need beside them. The restricted loader also knows bytearray, which allocates as many bytes as the
pickle says."""
_LISTED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scan:
    """What a pickle would do, found without doing it."""

    wanted: tuple[str, ...]
    """Classes and functions that are more than tensors and plain values; torch's own are left to its loader."""
    fault: str | None
    """Why it is no whole pickle; None where it is one."""
    cut: bool
    """Whether it went on behind the bytes that were looked at."""


def check_pickle(path: Path) -> None:
    """Refuse, before anything is loaded, what is no pickled weights file or could take much more memory than it has.

    Raises:
        CheckpointError: no such file, another format, a damaged, compressed or oversized one, or a pickle that asks for
            more than tensors and plain values.
    """
    check_start(path, (_ZIP_START, _PICKLE_START), "this is not a file that torch.save wrote")
    archive = is_archive(path)
    data = _archived_pickle(path) if archive else _head(path)
    scan = _scan(data, 1 if archive else _PICKLES_BEFORE_NUMBERS)
    if scan.wanted:
        raise _forbidden(path, scan.wanted)
    if not archive and not data[2:].startswith(_MAGIC_NUMBER):
        raise damaged(path, "torch.save did not write this pickle")
    if scan.cut and not archive and path.stat().st_size > _LARGEST_PICKLE:
        raise _too_long(str(path), f"more than {_LARGEST_PICKLE:,} bytes")
    if scan.fault is not None:
        raise damaged(path, scan.fault)


def check_tensor(tensor: Tensor, file_bytes: int, where: str) -> None:
    """Refuse a tensor that is more than plain numbers of its file.

    Raises:
        CheckpointError: another kind, type or place of tensor, or one with more numbers than the file has.
    """
    if type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.layout != torch.strided or tensor.is_quantized:
        raise CheckpointError(
            "this is not a plain tensor", where=where, received=f"{type(tensor).__name__}, {tensor.layout}"
        )
    if tensor.device.type != "cpu" or tensor.dtype not in _DTYPES:
        raise CheckpointError(
            "this tensor's type or place is not one that is read here",
            where=where,
            received=f"{tensor.dtype} on {tensor.device}",
        )
    if tensor.numel() * tensor.itemsize > file_bytes:
        raise CheckpointError(
            "this tensor is larger than its file",
            where=where,
            received=f"shape {tuple(tensor.shape)} in {file_bytes:,} bytes",
            next_step=AGAIN_STEP,
        )


def is_archive(path: Path) -> bool:
    """Say whether a file is of the form that torch writes since 1.6, a zip archive."""
    with path.open("rb") as file:
        return file.read(len(_ZIP_START)) == _ZIP_START


def refusal(path: Path, error: Exception) -> CheckpointError:
    """Build the error for a file that the restricted loader did not load: a forbidden pickle or a damaged one."""
    named = _REFUSED.search(str(error))
    if named is not None:
        return _forbidden(path, (named.group(1),))
    return damaged(path, f"{type(error).__name__}: {error}")


def _forbidden(path: Path, wanted: tuple[str, ...]) -> CheckpointError:
    return CheckpointError(
        f"this pickle asks for {listed(wanted)}, which is more than tensors and plain values; nothing of it was "
        "executed",
        where=str(path),
        next_step=f"Do not open it with another loader unless you trust it. {STATE_DICT_STEP}",
    )


def _too_long(where: str, received: str) -> CheckpointError:
    return CheckpointError(
        "the names and shapes of this file take more room than those of any encoder",
        where=where,
        received=received,
        allowed=f"up to {_LARGEST_PICKLE:,} bytes",
        next_step=STATE_DICT_STEP,
    )


def _archived_pickle(path: Path) -> bytes:
    """Return the pickle of a zip archive whose small parts do not unfold to more memory than the file has bytes.

    `torch.save` compresses nothing.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_archive(path, entries)
            pickled = next(entry for entry in entries if entry.filename.endswith(_PICKLE_RECORD))
            del pickled.CRC  # torch can be told to write none; what is damaged, the pickle itself shows
            return archive.read(pickled)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise damaged(path, str(error)) from error


def _check_archive(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    pickles = [name for name in names if name.endswith(_PICKLE_RECORD)]
    if len(pickles) != 1:
        raise CheckpointError(
            f"this zip archive holds {'several' if pickles else 'no'} data.pkl, so torch.save did not write it",
            where=str(path),
            received=listed(names) or "an empty archive",
        )
    if pickles[0].removesuffix(_PICKLE_RECORD) + _PROGRAM_RECORD in names:
        raise CheckpointError("this is a TorchScript program, not weights", where=str(path), next_step=STATE_DICT_STEP)
    size = path.stat().st_size
    for entry in entries:
        if entry.file_size > size:
            raise damaged(path, f"{entry.filename} would be larger than the whole archive")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError("a record of this archive is compressed", where=f"{path}: {entry.filename}")
        if entry.filename.endswith(".pkl") and entry.file_size > _LARGEST_PICKLE:
            raise _too_long(f"{path}: {entry.filename}", f"{entry.file_size:,} bytes")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST_PICKLE)


def _scan(data: bytes, count: int) -> _Scan:
    """Look through pickles that follow each other."""
    wanted: dict[str, None] = {}
    strings: list[str] = []
    stream = io.BytesIO(data)
    fault = None
    try:
        for opcode, argument, _ in itertools.chain.from_iterable(pickletools.genops(stream) for _ in range(count)):
            if opcode.name in ("GLOBAL", "INST"):
                wanted[str(argument).replace(" ", ".")] = None
            elif opcode.name == "STACK_GLOBAL":
                wanted[".".join(strings[-2:])] = None
            elif isinstance(argument, str):
                strings = [*strings[-1:], argument]
    except Exception as error:  # damaged bytes can make the parser raise nearly anything
        fault = str(error)
    return _Scan(
        wanted=tuple(name for name in wanted if not name.startswith(_HARMLESS) and name not in _PLAIN),
        fault=fault,
        cut=fault is not None and stream.tell() >= len(data),
    )
