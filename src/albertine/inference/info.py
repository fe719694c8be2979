"""How large a model is, before it is run: parameters, bytes, arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from albertine.checkpoints.load import preset_asked_for
from albertine.checkpoints.matching import encoder_state
from albertine.checkpoints.native import TASK_FILE, FolderContents, read_model_folder
from albertine.checkpoints.opening import open_checkpoint
from albertine.checkpoints.source import TensorSource, read_all
from albertine.inference.folder import read_config
from albertine.models.body import AnyConfig, SolverConfig, body_flops_per_token, body_parameters, config_to_dict
from albertine.models.config import EncoderConfig, ParameterCount
from albertine.models.solved import restored_model

__all__ = ["ModelInfo", "info"]

SCHEMA_VERSION = 1
FLOPS_LENGTH = 128
"""Tokens of the text for which arithmetic is stated; attention makes a token dearer in a longer text."""
_FP32_BYTES = 4
_SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float64": "fp64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What `albertine info` prints."""

    name: str
    """The preset or folder that was asked for."""
    config: dict[str, object]
    """The configuration, every field."""
    parameters: ParameterCount
    """Of encoder and pooler, or of the whole baseline."""
    bytes: int
    """Weights on disk; for a preset the fp32 weights it would have."""
    storage: str
    """What a weight is stored as: fp32, bf16, int8 …, several with a comma between them."""
    flops_per_token: float | None
    """Operations a token of a text of 128 tokens, a multiply-add counting two; None for models without tokens."""

    def to_dict(self) -> dict[str, object]:
        """Return the document that `--json` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "parameters": {"unique": self.parameters.unique, "executed": self.parameters.executed},
            "bytes": self.bytes,
            "storage": self.storage,
            "flops_per_token": self.flops_per_token,
            "config": self.config,
        }

    def render(self) -> str:
        """Return the lines for a terminal."""
        flops = "-" if self.flops_per_token is None else f"{self.flops_per_token / 1e6:,.2f} MFLOP"
        lines = [
            self.name,
            f"  parameters, unique     {self.parameters.unique:>15,}   stored: memory and disk",
            f"  parameters, executed   {self.parameters.executed:>15,}   met by a text: a shared block once a pass",
            f"  weights                {self.bytes / 1e6:>12,.1f} MB   {self.storage}",
            f"  a token costs          {flops:>15}   in a text of {FLOPS_LENGTH} tokens",
        ]
        if self.parameters.executed > self.parameters.unique:
            lines.append("  Sharing saves memory and disk, not arithmetic: time follows the executed parameters.")
        return "\n".join([*lines, *(f"  {key} = {value}" for key, value in _flattened(self.config).items())])


def info(name: str | Path) -> ModelInfo:
    """Say how large a model is.

    Args:
        name: a preset (`preset:NAME` or its bare name), a model folder, or anything else that `load_encoder` opens, the
            name of an encoder that ships with the package among it.

    Raises:
        ConfigError: neither a preset nor something to open.
        CheckpointError: the folder cannot be read.
    """
    asked = str(name)
    preset = preset_asked_for(name, say_random=False)
    if preset is not None:
        config = EncoderConfig.preset(preset)
        count = body_parameters(config)
        return _info(asked, config, count, _Weights(bytes=count.unique * _FP32_BYTES, storage="fp32"))
    if (Path(asked) / TASK_FILE).is_file():
        contents = read_model_folder(Path(asked))
        read = read_config(contents)
        return _info(asked, read, _folder_parameters(read, contents), _stored(contents.source))
    with open_checkpoint(name) as opened:
        found = encoder_state(opened.source, opened.read, heads=False, where=opened.shown)
        return _info(asked, found.config, body_parameters(found.config), _stored(opened.source))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    """What the weights take on disk."""

    bytes: int
    storage: str


def _stored(source: TensorSource) -> _Weights:
    entries = source.entries.values()
    packed = any(entry.packed_bytes is not None for entry in entries)  # the rest of such a file is small
    types = {str(entry.dtype).removeprefix("torch.") for entry in entries}
    storage = "int8" if packed else ", ".join(sorted(_SHORT.get(name, name) for name in types))
    return _Weights(bytes=sum(entry.nbytes for entry in entries), storage=storage)


def _info(name: str, config: AnyConfig, parameters: ParameterCount, weights: _Weights) -> ModelInfo:
    flops = None if isinstance(config, SolverConfig) else body_flops_per_token(config, FLOPS_LENGTH)
    return ModelInfo(
        name=name,
        config=config_to_dict(config),
        parameters=parameters,
        bytes=weights.bytes,
        storage=weights.storage,
        flops_per_token=flops,
    )


def _folder_parameters(config: AnyConfig, contents: FolderContents) -> ParameterCount:
    if not isinstance(config, SolverConfig):
        return body_parameters(config)
    count = restored_model(config, read_all(contents.source)).parameter_count
    return ParameterCount(unique=count, executed=count)


def _flattened(config: dict[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in config.items():
        flat |= {f"{key}.{inner}": one for inner, one in value.items()} if isinstance(value, dict) else {key: value}
    return flat
