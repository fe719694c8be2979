"""sentence-transformers' folders: the modules after the encoder, read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from torch import Tensor

from albertine.checkpoints.sentence_modules import (
    DenseFolder,
    read_dense,
    read_pooling,
    write_dense,
    write_pooling,
)
from albertine.checkpoints.tensors import read_json
from albertine.errors import CheckpointError, ConfigError
from albertine.files import write_json, write_text
from albertine.models.pooling import SentencePooling

__all__ = ["SentenceFolder", "is_sentence_transformers", "read_sentence_transformers", "write_sentence_transformers"]

MODULES_FILE = "modules.json"
SETTINGS_FILE = "config_sentence_transformers.json"
_TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Their older versions named the transformer's settings after its architecture; today every one is the first."""

_PACKAGE = "sentence_transformers."
_WRITTEN_TYPE = "sentence_transformers.models."
"""The place of module classes that every version of the package understands."""
_MODULE_LIST_LIMIT = 1 << 20

_NO_LIMIT = 1_000_000
"""A tokenizer without a maximum length says an enormous number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceFolder:
    """What a folder of sentence-transformers says, the encoder and its tokenizer aside."""

    transformer: Path
    """The folder of the encoder and its tokenizer: the folder itself, or one inside it."""
    pooling: SentencePooling
    """How its states become a vector."""
    tensors: Mapping[str, Tensor]
    """The dense layers' weights, by the names of `ModelState`: `pooling.dense.0.weight` [out, in], …"""
    notes: tuple[str, ...]
    """What the folder says that is not done here, in sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Module:
    """One entry of modules.json."""

    kind: str
    """The class, without its package."""
    folder: Path
    """Where its files lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Roles:
    """Which folder is what."""

    transformer: Path
    pooling: Path
    dense: tuple[Path, ...]
    """In the order in which a vector goes through them."""
    normalize: bool
    """Whether a vector is normalised in the end."""
    notes: tuple[str, ...]


def is_sentence_transformers(folder: Path) -> bool:
    """Say whether a folder is one of sentence-transformers."""
    return (folder / MODULES_FILE).is_file()


def read_sentence_transformers(folder: Path, *, allow_pickle: bool = False) -> SentenceFolder:
    """Read everything that sentence-transformers adds to an encoder's folder, of any of its versions.

    Args:
        folder: the folder with modules.json.
        allow_pickle: read a dense layer's pytorch_model.bin, with the restricted loader, where there are no
            safetensors.

    Raises:
        CheckpointError: a file is missing or damaged; a module that is not one of Transformer, Pooling, Dense and
            Normalize, in that order; a module outside the folder; dense weights that do not fit their configuration.
    """
    roles = _roles(folder, _modules(folder))
    settings = _transformer_settings(roles.transformer)
    pooling = read_pooling(roles.pooling)
    _check_width(pooling.hidden_size, roles)
    dense = [read_dense(place, allow_pickle=allow_pickle) for place in roles.dense]
    try:
        record = SentencePooling(
            modes=pooling.modes,
            dense=tuple(one.layer for one in dense),
            normalize=roles.normalize,
            max_length=_max_length(settings, roles.transformer),
            lowercase=settings.get("do_lower_case") is True,
        )
    except ConfigError as error:
        raise CheckpointError(error.what, where=f"{folder}: {error.where}", received=error.received) from error
    return SentenceFolder(
        transformer=roles.transformer,
        pooling=record,
        tensors={
            f"pooling.dense.{index}.{name}": tensor
            for index, one in enumerate(dense)
            for name, tensor in one.tensors.items()
        },
        notes=(*roles.notes, *pooling.notes, *_settings_notes(folder)),
    )


def write_sentence_transformers(
    folder: Path, pooling: SentencePooling, tensors: Mapping[str, Tensor], *, hidden_size: int
) -> None:
    """Write everything that sentence-transformers adds to an encoder's folder, in a form that all its versions open.

    The encoder and its tokenizer are written beside it, into the folder itself.

    Args:
        folder: where the encoder's files are or will be; it exists.
        pooling: what to write.
        tensors: the dense layers' weights, by the names of `ModelState`; others are not looked at.
        hidden_size: width of the encoder.

    Raises:
        ConfigError: the dense layers do not fit the encoder.
        FailureError: the disk is full or the place cannot be written to.
    """
    pooling.width(hidden_size)
    names = ["", "1_Pooling", *(f"{2 + index}_Dense" for index in range(len(pooling.dense)))]
    if pooling.normalize:
        names.append(f"{len(names)}_Normalize")
    modules = [
        {"idx": index, "name": str(index), "path": name, "type": _WRITTEN_TYPE + (name[2:] or "Transformer")}
        for index, name in enumerate(names)
    ]
    write_text(folder / MODULES_FILE, json.dumps(modules, indent=2) + "\n")
    write_json(folder / SETTINGS_FILE, {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"})
    write_json(
        folder / _TRANSFORMER_FILES[0], {"max_seq_length": pooling.max_length, "do_lower_case": pooling.lowercase}
    )
    write_pooling(folder / names[1], pooling.modes, hidden_size=hidden_size)
    for index, layer in enumerate(pooling.dense):
        prefix = f"pooling.dense.{index}."
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        write_dense(folder / names[2 + index], DenseFolder(layer=layer, tensors=own))


def _modules(folder: Path) -> list[_Module]:
    """Read modules.json: what is done to a text, step by step."""
    file = folder / MODULES_FILE
    entries = _read_list(file)
    modules = []
    for index, entry in enumerate(entries):
        where = f"{file}: entry {index}"
        kind, path = entry.get("type"), entry.get("path")
        if not isinstance(kind, str) or not isinstance(path, str):
            raise CheckpointError("a module has no type or no path", where=where, allowed='"type" and "path", texts')
        name = kind.rpartition(".")[2]
        if not kind.startswith(_PACKAGE) or name not in ("Transformer", "Pooling", "Dense", "Normalize", "Dropout"):
            raise CheckpointError(
                "this kind of module is not known here",
                where=where,
                received=kind,
                allowed="Transformer, Pooling, Dense, Normalize of sentence_transformers",
                next_step="To use the encoder alone, open a copy of its Transformer's folder without modules.json",
            )
        modules.append(_Module(kind=name, folder=_inside(folder, path, where)))
    return modules


def _read_list(file: Path) -> list[dict[str, object]]:
    if file.is_file() and file.stat().st_size > _MODULE_LIST_LIMIT:
        raise CheckpointError(
            "this list of modules is too long to be one", where=str(file), received=f"{file.stat().st_size:,} bytes"
        )
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError("this file does not exist", where=str(file)) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"this is not valid JSON ({error})",
            where=str(file),
            next_step="Copy or download the file again, and compare its size with the original's",
        ) from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CheckpointError("a JSON list of modules is expected here", where=str(file))
    return entries


def _inside(folder: Path, path: str, where: str) -> Path:
    """Return the folder of a module, which lies in the model's."""
    place = folder / path
    leaves = ".." in PurePosixPath(path).parts or ".." in PureWindowsPath(path).parts
    absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).anchor != "" or "\0" in path
    # Files may be links, as in the hub's cache; a module's folder is a real one.
    if leaves or absolute or not place.resolve().is_relative_to(folder.resolve()):
        raise CheckpointError("a module must lie inside the model's folder", where=where, received=repr(path))
    return place


def _roles(folder: Path, modules: Sequence[_Module]) -> _Roles:
    """Say which module is what; they come in the one order in which they make sense."""
    working = [module for module in modules if module.kind != "Dropout"]
    kinds = [module.kind for module in working]
    count = kinds.count("Dense")
    normalize = kinds[-1:] == ["Normalize"]
    if kinds != ["Transformer", "Pooling", *["Dense"] * count, *["Normalize"] * normalize]:
        raise CheckpointError(
            "these modules stand in an order that is not computed here",
            where=str(folder / MODULES_FILE),
            received=", ".join(kinds) or "no modules",
            allowed="Transformer, Pooling, any number of Dense, and Normalize or not",
        )
    dropped = len(working) < len(modules)
    return _Roles(
        transformer=working[0].folder,
        pooling=working[1].folder,
        dense=tuple(module.folder for module in working[2 : 2 + count]),
        normalize=normalize,
        notes=("a Dropout module was left out: it does nothing outside training",) if dropped else (),
    )


def _check_width(width: object, roles: _Roles) -> None:
    """Hold the width that the pooling is for against the encoder's."""
    file = roles.transformer / "config.json"
    hidden = read_json(file).get("hidden_size") if file.is_file() else None
    if width is not None and hidden is not None and width != hidden:
        raise CheckpointError(
            "the pooling is for an encoder of another width",
            where=str(roles.pooling),
            received=f"{width!r}, the encoder has {hidden!r}",
            next_step="One of the two belongs to another model; copy the whole folder again",
        )


def _transformer_settings(folder: Path) -> dict[str, object]:
    """Read the transformer's own settings; {} where there are none."""
    file = next((folder / name for name in _TRANSFORMER_FILES if (folder / name).is_file()), None)
    if file is None:
        return {}
    settings = read_json(file)
    modalities = settings.get("modality_config")
    text = modalities.get("text") if isinstance(modalities, dict) else None
    output = text.get("method_output_name") if isinstance(text, dict) else None
    task = settings.get("transformer_task")
    if output not in (None, "last_hidden_state") or task not in (None, "feature-extraction"):
        raise CheckpointError(
            "this transformer hands on something else than its last hidden states",
            where=str(file),
            received=f"task {task!r}, output {output!r}",
            allowed="feature-extraction, last_hidden_state",
        )
    return settings


def _max_length(settings: Mapping[str, object], folder: Path) -> int | None:
    """Return the tokens that texts are cut to: the transformer's own setting, else the tokenizer's."""
    file = folder / "tokenizer_config.json"
    length = settings.get("max_seq_length")
    if length is None and file.is_file():
        length = read_json(file).get("model_max_length")
    if isinstance(length, int | float) and length > _NO_LIMIT:
        return None
    if length is not None and (not isinstance(length, int) or isinstance(length, bool)):
        raise CheckpointError("not a maximum length", where=str(folder), received=repr(length), allowed="an integer")
    return length


def _settings_notes(folder: Path) -> list[str]:
    """Say what of the model's settings is not done here."""
    file = folder / SETTINGS_FILE
    if not file.is_file():
        return []
    settings = read_json(file)
    kind = settings.get("model_type")
    if kind not in (None, "SentenceTransformer"):
        raise CheckpointError(
            "this model does not give one dense vector a text", where=str(file), received=f"model_type {kind!r}"
        )
    notes = []
    prompts = settings.get("prompts")
    named = [name for name, text in prompts.items() if text] if isinstance(prompts, dict) else []
    if named:
        always = settings.get("default_prompt_name")
        notes.append(
            f"prompts are not put before texts, write them yourself: {json.dumps(prompts, ensure_ascii=False)}"
            + (f"; sentence-transformers puts {always!r} before every text" if always in named else "")
        )
    similarity = settings.get("similarity_fn_name")
    if similarity not in (None, "cosine"):
        notes.append(f"the model is made for the similarity {similarity!r}")
    if settings.get("truncate_dim") is not None:
        notes.append(f"vectors are not cut to truncate_dim {settings['truncate_dim']!r}")
    return notes
