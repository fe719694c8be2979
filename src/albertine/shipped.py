"""Encoders that ship inside the package: folders of `encoders/`, each found by its name.

A folder with a configuration and weights is one; what `manifest.json` says under `shipped` is shown where they are
listed: `{"languages": ["zh"], "licence": "CC-BY-SA-4.0", "default": 1}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from albertine.errors import FailureError

__all__ = ["ENCODERS", "ShippedEncoder", "render_shipped", "shipped_encoders", "shipped_folder", "shipped_names"]

ENCODERS = Path(__file__).parent / "encoders"
"""Where they lie."""

_NEEDED = ("config.json", "model.safetensors")
_COLUMNS = ("name", "language", "MB", "parameters", "licence")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedEncoder:
    """An encoder that ships with the package."""

    name: str
    """What `load_encoder` and `--encoder` take."""
    folder: Path
    """Where it lies; its card is README.md there."""
    languages: tuple[str, ...]
    """Of the text that it learnt from: zh, en."""
    licence: str
    """Of its weights, an SPDX identifier; empty where nothing is said."""
    parameters: int | None
    """Stored ones, of encoder and pooler; None where nothing is said."""
    bytes: int
    """Of all its files."""
    default: int | None
    """Its place among those that are taken where none is named, from 1; None for one that is taken by name alone."""

    def to_dict(self) -> dict[str, object]:
        """Return every field, ready for JSON."""
        return {
            "name": self.name,
            "languages": list(self.languages),
            "licence": self.licence,
            "parameters": self.parameters,
            "bytes": self.bytes,
            "default": self.default,
            "folder": str(self.folder),
        }


def shipped_names() -> tuple[str, ...]:
    """Return the names of the encoders that ship with the package, sorted."""
    if not ENCODERS.is_dir():
        return ()
    found = (one for one in ENCODERS.iterdir() if all((one / name).is_file() for name in _NEEDED))
    return tuple(sorted(one.name for one in found))


def shipped_folder(name: str | Path) -> Path | None:
    """Return the folder of the shipped encoder that a name stands for; None for everything else.

    What exists under that name where the user is goes before.

    Args:
        name: what the user named.
    """
    return ENCODERS / str(name) if str(name) in shipped_names() and not Path(name).exists() else None


def shipped_encoders() -> tuple[ShippedEncoder, ...]:
    """Return what ships with the package, sorted by name.

    Raises:
        FailureError: a file of the installation is damaged.
    """
    return tuple(_described(ENCODERS / name) for name in shipped_names())


def render_shipped(encoders: tuple[ShippedEncoder, ...]) -> str:
    """Return the lines for a terminal, one an encoder."""
    if not encoders:
        return "no encoder ships with this installation"
    rows = [
        (
            one.name,
            ", ".join(one.languages) or "-",
            f"{one.bytes / 1e6:.1f}",
            "-" if one.parameters is None else f"{one.parameters:,}",
            one.licence or "-",
        )
        for one in encoders
    ]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (_COLUMNS, *rows)
    )


def _described(folder: Path) -> ShippedEncoder:
    manifest = _manifest(folder / "manifest.json")
    told, count = manifest.get("shipped"), manifest.get("parameters")
    about: Mapping[str, object] = told if isinstance(told, dict) else {}
    unique = count.get("unique") if isinstance(count, dict) else None
    languages, default = about.get("languages"), about.get("default")
    return ShippedEncoder(
        name=folder.name,
        folder=folder,
        languages=tuple(map(str, languages)) if isinstance(languages, list) else (),
        licence=str(about.get("licence") or ""),
        parameters=unique if isinstance(unique, int) else None,
        bytes=sum(one.stat().st_size for one in folder.rglob("*") if one.is_file()),
        default=default if isinstance(default, int) else None,
    )


def _manifest(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FailureError(
            f"a file of this installation is damaged ({error})", where=str(path), next_step="Install Albertine again"
        ) from error
    return values if isinstance(values, dict) else {}
