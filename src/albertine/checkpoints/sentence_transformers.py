"""sentence-transformers' folders: the modules after the encoder, read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import get_args

from torch import Tensor

from albertine.checkpoints.reading import read_json, read_json_value
from albertine.checkpoints.sentence_modules import (
    DenseFolder,
    read_dense,
    read_pooling,
    write_dense,
    write_pooling,
)
from albertine.errors import CheckpointError, ConfigError
from albertine.files import write_json, write_text
from albertine.models.pooling import Prompt, SentencePooling, Similarity, VectorUse

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What config_sentence_transformers.json says."""

    use: VectorUse
    truncate_dim: int | None
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
    transformer = _transformer_settings(roles.transformer)
    pooling = read_pooling(roles.pooling)
    _check_width(pooling.hidden_size, roles)
    dense = [read_dense(place, allow_pickle=allow_pickle) for place in roles.dense]
    try:
        settings = _settings(folder, prompt_is_pooled=pooling.prompt_is_pooled)
        record = SentencePooling(
            modes=pooling.modes,
            dense=tuple(one.layer for one in dense),
            normalize=roles.normalize,
            max_length=_max_length(transformer, roles.transformer),
            lowercase=transformer.get("do_lower_case") is True,
            truncate_dim=settings.truncate_dim,
            use=settings.use,
        )
    except ConfigError as error:
        where = f"{folder}: {error.where}"
        raise CheckpointError(error.what, where=where, received=error.received, allowed=error.allowed) from error
    return SentenceFolder(
        transformer=roles.transformer,
        pooling=record,
        tensors={
            f"pooling.dense.{index}.{name}": tensor
            for index, one in enumerate(dense)
            for name, tensor in one.tensors.items()
        },
        notes=(*roles.notes, *pooling.notes, *settings.notes),
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
    use = pooling.use
    settings: dict[str, object] = {
        "prompts": {prompt.name: prompt.text for prompt in use.prompts},
        "default_prompt_name": use.default_prompt,
        "similarity_fn_name": use.similarity,
    }
    if pooling.truncate_dim is not None:
        settings["truncate_dim"] = pooling.truncate_dim
    write_json(folder / SETTINGS_FILE, settings)
    write_json(
        folder / _TRANSFORMER_FILES[0], {"max_seq_length": pooling.max_length, "do_lower_case": pooling.lowercase}
    )
    write_pooling(folder / names[1], pooling.modes, hidden_size=hidden_size, prompt_is_pooled=use.prompt_is_pooled)
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
    entries = read_json_value(file, _MODULE_LIST_LIMIT)
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
    hidden = _read_where_there(roles.transformer / "config.json").get("hidden_size")
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
    """Return the tokens that texts are cut to; None where the tokenizer and the encoder's positions say it."""
    length = settings.get("max_seq_length")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool)):
        raise CheckpointError("not a maximum length", where=str(folder), received=repr(length), allowed="an integer")
    return length


def _settings(folder: Path, *, prompt_is_pooled: bool) -> _Settings:
    """Read what the vectors are made for, and say what of it is not done here.

    Raises:
        CheckpointError: another kind of model; a value of another kind than it should be.
        ConfigError: values that contradict each other.
    """
    file = folder / SETTINGS_FILE
    settings = _read_where_there(file)
    kind = settings.get("model_type")
    if kind not in (None, "SentenceTransformer"):
        raise CheckpointError(
            "this model does not give one dense vector a text", where=str(file), received=f"model_type {kind!r}"
        )
    notes = []
    prompts, default = _prompts(settings, file), settings.get("default_prompt_name")
    named = {prompt.name: prompt.text for prompt in prompts if prompt.text}
    if named:
        notes.append(
            f"prompts are not put before texts, write them yourself: {json.dumps(named, ensure_ascii=False)}"
            + (f"; sentence-transformers puts {default!r} before every text" if default in named else "")
            + ("" if prompt_is_pooled else ", and leaves them out of the pooling")
        )
    similarity = settings.get("similarity_fn_name") or "cosine"
    known: Similarity = next((name for name in get_args(Similarity) if name == similarity), "cosine")
    if similarity != known:
        notes.append(f"the similarity {similarity!r} is not known here, {known} is taken")
    elif known != "cosine":
        notes.append(f"the model is made for the similarity {known!r}")
    width = settings.get("truncate_dim")
    if width is not None and (not isinstance(width, int) or isinstance(width, bool)):
        raise CheckpointError("not a width", where=f"{file}: truncate_dim", received=repr(width), allowed="an integer")
    use = VectorUse(
        similarity=known,
        prompts=prompts,
        default_prompt=None if default is None else str(default),
        prompt_is_pooled=prompt_is_pooled,
    )
    return _Settings(use=use, truncate_dim=width, notes=tuple(notes))


def _prompts(settings: Mapping[str, object], file: Path) -> tuple[Prompt, ...]:
    prompts = settings.get("prompts")
    if prompts is None:
        return ()
    if not isinstance(prompts, dict) or not all(text is None or isinstance(text, str) for text in prompts.values()):
        raise CheckpointError(
            "these are no prompts", where=f"{file}: prompts", received=repr(prompts)[:120], allowed="names and texts"
        )
    return tuple(Prompt(name=name, text=text or "") for name, text in prompts.items())


def _read_where_there(file: Path) -> dict[str, object]:
    return read_json(file) if file.is_file() else {}
