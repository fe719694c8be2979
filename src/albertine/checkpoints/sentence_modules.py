"""The folders of sentence-transformers' Pooling and Dense modules, read and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from albertine.checkpoints.pickles import find_pickle, open_pickle
from albertine.checkpoints.reading import read_json
from albertine.checkpoints.source import read_all
from albertine.checkpoints.tensors import INDEX_FILE, WEIGHTS_FILE, open_tensors, write_tensors
from albertine.errors import CheckpointError
from albertine.files import write_json
from albertine.models.pooling import DenseActivation, DenseLayer, PoolingMode

__all__ = ["DenseFolder", "PoolingFolder", "read_dense", "read_pooling", "write_dense", "write_pooling"]

CONFIG_FILE = "config.json"

_MODES: dict[str, PoolingMode] = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_length",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
# The old form has a yes or no for every mode, and concatenates in this order.
_OLD_MODE_KEYS: dict[str, PoolingMode] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_length",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_lasttoken": "last",
}
_POOLING_KEYS = {*_OLD_MODE_KEYS, "pooling_mode", "embedding_dimension", "word_embedding_dimension", "include_prompt"}
_ACTIVATIONS: dict[str, DenseActivation] = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingFolder:
    """What the folder of a Pooling module says."""

    modes: tuple[PoolingMode, ...]
    """In the order in which their vectors stand."""
    hidden_size: object
    """Width of the encoder that it is for; None where it does not say."""
    prompt_is_pooled: bool
    """Whether the states of a prompt's tokens are part of the vector."""
    notes: tuple[str, ...]
    """What it says that is not done here, in sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseFolder:
    """What the folder of a Dense module holds."""

    layer: DenseLayer
    """Its configuration."""
    tensors: Mapping[str, Tensor]
    """`weight` [out, in], and `bias` [out] where it has one."""


def read_pooling(folder: Path) -> PoolingFolder:
    """Read a Pooling module in the old form (`pooling_mode_mean_tokens: true`) or the new (`pooling_mode: "mean"`).

    Raises:
        CheckpointError: the file is missing or damaged, or names a mode that is not known.
    """
    file = folder / CONFIG_FILE
    config = read_json(file)
    notes = [f"{folder.name}: {key} is not read" for key in config if key not in _POOLING_KEYS]
    asked = config.get("pooling_mode")
    modes: tuple[PoolingMode, ...]
    if asked is None:
        # Where nothing is chosen they take the mean, too.
        modes = tuple(mode for key, mode in _OLD_MODE_KEYS.items() if config.get(key) is True) or ("mean",)
    else:
        listed = asked if isinstance(asked, list) else [asked]
        names = [name for name in listed if isinstance(name, str) and name in _MODES]
        if not listed or len(names) < len(listed):
            raise CheckpointError(
                "unknown pooling mode", where=str(file), received=repr(asked), allowed=", ".join(_MODES)
            )
        modes = tuple(_MODES[name] for name in names)
    hidden_size = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    return PoolingFolder(
        modes=modes,
        hidden_size=hidden_size,
        prompt_is_pooled=config.get("include_prompt") is not False,
        notes=tuple(notes),
    )


def write_pooling(
    folder: Path, modes: Sequence[PoolingMode], *, hidden_size: int, prompt_is_pooled: bool = True
) -> None:
    """Write a Pooling module, in the old form, which every version reads, unless only the new one can say it.

    Args:
        folder: made where it does not exist.
        modes: in the order in which their vectors stand; the old form knows one order only.
        hidden_size: width of the encoder.
        prompt_is_pooled: whether the states of a prompt's tokens are part of the vector.

    Raises:
        FailureError: the disk is full or the place cannot be written to.
    """
    old = {key: mode in modes for key, mode in _OLD_MODE_KEYS.items()}
    if tuple(mode for mode in _OLD_MODE_KEYS.values() if mode in modes) == tuple(modes):
        config: dict[str, object] = {"word_embedding_dimension": hidden_size, **old}
    else:
        theirs = {ours: name for name, ours in _MODES.items()}
        config = {"embedding_dimension": hidden_size, "pooling_mode": [theirs[mode] for mode in modes]}
    write_json(folder / CONFIG_FILE, {**config, "include_prompt": prompt_is_pooled})


def read_dense(folder: Path, *, allow_pickle: bool = False) -> DenseFolder:
    """Read a Dense module, its weights in the dtype of the file.

    Args:
        folder: with config.json and model.safetensors.
        allow_pickle: read pytorch_model.bin, with the restricted loader, where there are no safetensors.

    Raises:
        CheckpointError: a file is missing, damaged or a pickle; an activation that is not known; a residual; weights
            that do not fit the configuration.
    """
    layer = _dense_layer(folder / CONFIG_FILE)
    pickled = find_pickle(folder) if allow_pickle and folder.is_dir() else None
    safe = any((folder / name).is_file() for name in (WEIGHTS_FILE, INDEX_FILE))
    source = open_tensors(folder) if pickled is None or safe else open_pickle(pickled)
    expected = {f"linear.{name}": shape for name, shape in _shapes(layer).items()}
    found = {name: entry.shape for name, entry in source.entries.items()}
    if found != expected:
        raise CheckpointError(
            "a dense layer's weights do not fit its config.json",
            where=str(folder),
            received=", ".join(f"{name} {list(shape)}" for name, shape in found.items()) or "no tensors",
            allowed=", ".join(f"{name} {list(shape)}" for name, shape in expected.items()),
            next_step="Copy the whole folder again from where it was made",
        )
    tensors = {name.removeprefix("linear."): tensor for name, tensor in read_all(source).items()}
    return DenseFolder(layer=layer, tensors=tensors)


def write_dense(folder: Path, dense: DenseFolder) -> None:
    """Write a Dense module.

    Args:
        folder: made where it does not exist.
        dense: its tensors are kept in their dtype.

    Raises:
        FailureError: the disk is full or the place cannot be written to.
    """
    layer = dense.layer
    config = {
        "in_features": layer.in_features,
        "out_features": layer.out_features,
        "bias": layer.bias,
        "activation_function": next(name for name, ours in _ACTIVATIONS.items() if ours == layer.activation),
    }
    write_json(folder / CONFIG_FILE, config)
    write_tensors(folder / WEIGHTS_FILE, {f"linear.{name}": dense.tensors[name] for name in _shapes(layer)})


def _dense_layer(file: Path) -> DenseLayer:
    config = read_json(file)
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise CheckpointError(
            "this activation is not known here",
            where=str(file),
            received=repr(activation),
            allowed=", ".join(_ACTIVATIONS),
        )
    ends = {str(config.get(f"module_{end}_name") or "sentence_embedding") for end in ("input", "output")}
    if config.get("use_residual") or ends != {"sentence_embedding"}:
        raise CheckpointError(
            "a dense layer with a residual, or over something else than the pooled vector, is not computed here",
            where=str(file),
            received=f"use_residual {config.get('use_residual')!r}, {', '.join(sorted(ends))}",
        )
    return DenseLayer(
        in_features=_width(config, "in_features", file),
        out_features=_width(config, "out_features", file),
        bias=config.get("bias") is not False,
        activation=_ACTIVATIONS[activation],
    )


def _width(config: Mapping[str, object], name: str, file: Path) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError("not a width", where=f"{file}: {name}", received=repr(value), allowed="1 or more")
    return value


def _shapes(layer: DenseLayer) -> dict[str, tuple[int, ...]]:
    """Return the tensors that a layer has."""
    shapes: dict[str, tuple[int, ...]] = {"weight": (layer.out_features, layer.in_features)}
    return shapes | ({"bias": (layer.out_features,)} if layer.bias else {})
