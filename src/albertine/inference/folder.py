"""What stands in a task model's folder, and the module that it becomes again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from albertine.checkpoints.huggingface import ENCODER_BODY, ModelType, config_from_json, config_to_json, model_type
from albertine.checkpoints.huggingface_heads import head_config
from albertine.checkpoints.matching import encoder_state, fill
from albertine.checkpoints.names import ENCODER_PREFIX, Place, file_names
from albertine.checkpoints.native import FolderContents
from albertine.checkpoints.opening import Checkpoint
from albertine.checkpoints.state import TaskHead
from albertine.errors import CheckpointError
from albertine.models.body import AnyConfig, BodyConfig, config_from_dict, config_to_dict
from albertine.models.config import EncoderConfig
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import AnyTask

__all__ = ["baseline_name", "folder_config", "folder_tensors", "module_of_checkpoint", "read_config", "restored_module"]

_BODY = "body."


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModule:
    """A task's module, and what its encoder turned out to be."""

    module: nn.Module
    config: EncoderConfig


def folder_config(config: AnyConfig, head: TaskHead | None) -> dict[str, object]:
    """Return what config.json holds: an encoder's by Hugging Face's names, a baseline's in an object of its own.

    Args:
        config: the body's.
        head: the one on top, where transformers has a class that computes the same function: its labels stand in the
            file then, so that it opens the folder as that.
    """
    if not isinstance(config, EncoderConfig):
        return config_to_dict(config)
    values = config_to_json(config)
    kind = model_type(config)
    if head is None or kind == "albertine" or (head.task == "text-classification" and not config.add_pooler):
        return values
    return values | head_config(head, kind)


def baseline_name(config: AnyConfig) -> str:
    """Return the name under which a baseline's configuration is kept."""
    own = config_to_dict(config)["albertine"]
    assert isinstance(own, Mapping), "a baseline's configuration stands in an object of its own"
    return str(own["body"])


def read_config(contents: FolderContents) -> AnyConfig:
    """Read what `folder_config` wrote.

    Raises:
        CheckpointError: another architecture, or a value that does not fit.
        ConfigError: a baseline's field that does not exist or is out of range.
    """
    where = str(contents.path / "config.json")
    own = contents.config.get("albertine")
    if isinstance(own, Mapping) and own.get("body", ENCODER_BODY) != ENCODER_BODY:
        return config_from_dict(contents.config, where=where)
    return config_from_json(contents.config, where=where).config


def folder_tensors(module: nn.Module, config: AnyConfig) -> dict[str, Tensor]:
    """Return the module's weights by the names they have in the file."""
    tensors = module.state_dict()
    names = _file_names(tensors, config, None)
    return {names[name]: tensor for name, tensor in tensors.items()}


def restored_module(task: AnyTask, task_config: TaskConfig, config: BodyConfig, contents: FolderContents) -> nn.Module:
    """Build the task's module with the weights of a folder, in fp32 on the CPU.

    Raises:
        CheckpointError: a tensor is missing, is of another shape, or belongs nowhere.
    """
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        module = task.build(config, task_config)
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    names = _file_names(shapes, config, cast("ModelType", contents.config["model_type"]))  # checked when it was read
    found = contents.source.entries
    wrong = [f"{in_file} is missing" for in_file in names.values() if in_file not in found]
    wrong += [f"{in_file} belongs nowhere" for in_file in sorted(set(found) - set(names.values()))]
    wrong += [
        f"{names[name]} is {list(found[names[name]].shape)} instead of {list(shape)}"
        for name, shape in shapes.items()
        if names[name] in found and found[names[name]].shape != tuple(shape)
    ]
    if wrong:
        listed = "; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise CheckpointError(
            "weights, config.json and task.json do not belong together",
            where=str(contents.path),
            received=listed,
            next_step="Copy the whole folder again from where it was trained",
        )
    places = {name: Place(name=in_file) for name, in_file in names.items()}
    fill(module, contents.source, places, device=torch.device("cpu"))
    return module


def module_of_checkpoint(task: AnyTask, task_config: TaskConfig, opened: Checkpoint, head: TaskHead) -> FoundModule:
    """Build the task's module with the weights of a model that another program fine-tuned, in fp32 on the CPU.

    Raises:
        CheckpointError: a tensor is missing or of another shape.
    """
    found = encoder_state(opened.source, opened.read, heads=False, task_head=head, where=opened.shown)
    with torch.device("meta"):
        module = task.build(found.config, task_config)
    places = {
        _BODY + name.removeprefix(ENCODER_PREFIX) if name.startswith(ENCODER_PREFIX) else name: place
        for name, place in found.places.items()
    }
    fill(module, opened.source, places, device=torch.device("cpu"))
    opened.log(found.report)
    return FoundModule(module=module, config=found.config)


def _file_names(names: Iterable[str], config: AnyConfig, kind: ModelType | None) -> dict[str, str]:
    """Return the name in the file of every tensor of a task's module; what stands on the body keeps its own.

    Args:
        names: of the module.
        config: of the body.
        kind: whose names the file has; None for those of the program that computes the same function.
    """
    names = list(names)
    if not isinstance(config, EncoderConfig):
        return dict(zip(names, names, strict=True))
    inner = [ENCODER_PREFIX + name.removeprefix(_BODY) if name.startswith(_BODY) else name for name in names]
    in_file = file_names(inner, config, kind or model_type(config))
    return {name: in_file[one] for name, one in zip(names, inner, strict=True)}
