"""Folders to trained models: what `albertine.load` does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from albertine import registry
from albertine.checkpoints.native import (
    CARD_FILE,
    PLAN_FILE,
    TASK_FILE,
    FolderContents,
    read_model_folder,
)
from albertine.checkpoints.opening import open_checkpoint
from albertine.checkpoints.reading import read_bytes
from albertine.checkpoints.source import read_all
from albertine.errors import CheckpointError, ConfigError, UserError
from albertine.inference.engine import EngineSettings
from albertine.inference.folder import (
    module_of_checkpoint,
    read_config,
    restored_module,
)
from albertine.inference.inputs import Input
from albertine.inference.int8_plan import Int8Plan
from albertine.inference.model import Depth, Model, PrecisionAsked
from albertine.models.body import AnyConfig, SolverConfig
from albertine.models.config import EncoderConfig
from albertine.models.solved import SolvedModel, restored_model
from albertine.records import Prediction
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import AnyTask, Task
from albertine.tokenization.pair import load_any_tokenizer
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["load", "predict"]

_LOG = logging.getLogger("albertine")

_CARD_LIMIT = 1 << 20
"""Bytes of a model card at most; ours have a few thousand."""


def load(
    folder: str | Path,
    *,
    device: str = "cpu",
    precision: PrecisionAsked = "auto",
    depth: Depth | None = None,
    settings: EngineSettings | None = None,
) -> Model:
    """Open a trained model: a model folder of ours, or a classifier that another program fine-tuned.

    Args:
        folder: as `Model.save` or `albertine finetune` wrote it; or whatever `load_encoder` opens, if it holds the
            head of a task with it (transformers' ForSequenceClassification, Google's run_classifier).
        device: where to compute; what a solver fitted always does on the CPU.
        precision: of the matrix products; "auto" measures which is faster on this machine.
        depth: as `Model` takes it.
        settings: how the engine cuts its work.

    Raises:
        CheckpointError: no such folder, something in it is missing, damaged or a pickle, or does not fit the rest.
        ConfigError: no such device or precision.
        UserError: the folder holds an encoder without a task.
    """
    path = Path(folder)
    if not (path / TASK_FILE).is_file():
        return _load_checkpoint(folder, device=device, precision=precision, depth=depth, settings=settings)
    contents = read_model_folder(path)
    assert contents.task is not None, "task.json is there"
    where = str(path / TASK_FILE)
    task = _task(str(contents.task.get("task")))
    task_config = TaskConfig.from_dict(contents.task, task.options, where=where)
    config = read_config(contents)
    learnt: nn.Module | SolvedModel
    tokenizer: Tokenizer | None = None
    if isinstance(config, SolverConfig):
        learnt = restored_model(config, read_all(contents.source))
        if task.solving is None or learnt.output_size != (len(task_config.labels) or 1):
            raise CheckpointError(
                "weights and task.json do not belong together",
                where=str(path),
                received=f"{learnt.output_size} columns, {len(task_config.labels)} labels, {task.name}",
            )
    else:
        tokenizer = load_any_tokenizer(path)
        learnt = restored_module(task, task_config, config, contents).to(_usable(device))
    return Model(
        learnt,
        config=config,
        tokenizer=tokenizer,
        task=task,
        task_config=task_config,
        precision=precision,
        plan=_plan(path, config),
        depth=depth,
        manifest=contents.manifest,
        card=_card(contents),
        settings=settings,
    )


def _load_checkpoint(
    name: str | Path,
    *,
    device: str,
    precision: PrecisionAsked,
    depth: Depth | None,
    settings: EngineSettings | None,
) -> Model:
    """Open a model that another program fine-tuned."""
    with open_checkpoint(name) as opened:
        head = opened.task_head()
        if head is None:
            raise UserError(
                "this holds an encoder, which has not been trained for a task",
                where=str(name),
                next_step=f"Fine-tune it first: albertine finetune text-classification DATA --encoder {name} "
                "--out FOLDER",
            )
        task = _task(head.task) if head.task in registry.tasks.names() else None
        if task is None or task.adopt is None:
            raise UserError(
                "this head does something that is not answered here",
                where=str(name),
                received=head.task,
                allowed=", ".join(registry.tasks.names()),
                next_step="Its encoder opens with load_encoder, and the whole model converts",
            )
        task_config = task.adopt(head, opened.read.config.max_position_embeddings)
        found = module_of_checkpoint(task, task_config, opened, head)
        tokenizer = opened.tokenizer()
    if tokenizer is None:
        raise CheckpointError(
            "this model has no tokenizer, so it reads no texts",
            where=str(name),
            next_step="Put its tokenizer's files beside the weights",
        )
    return Model(
        found.module.to(_usable(device)),
        config=found.config,
        tokenizer=tokenizer,
        task=task,
        task_config=task_config,
        precision=precision,
        depth=depth,
        settings=settings,
    )


def predict(model: Model | str | Path, texts: Sequence[Input]) -> list[Prediction]:
    """Answer texts, or pairs of texts, with a model or the model of a folder; `Model.predict` says the rest."""
    return (model if isinstance(model, Model) else load(model)).predict(texts)


def _task(name: str) -> AnyTask:
    task = registry.tasks.get(name)
    if not isinstance(task, Task):
        raise ConfigError(f"what is registered as the task {name!r} is not a task", received=type(task).__name__)
    return task


def _usable(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # PyTorch raises either, by how it was built
        raise ConfigError(
            "this device cannot be used here", where="device", received=repr(name), allowed="cpu, or cuda with a GPU"
        ) from error
    return device


def _plan(folder: Path, config: AnyConfig) -> Int8Plan | None:
    path = folder / PLAN_FILE
    return Int8Plan.read(path, config) if isinstance(config, EncoderConfig) and path.is_file() else None


def _card(contents: FolderContents) -> str:
    """Return the model card; a README that is none keeps no model from answering, it is left out with a warning."""
    path = contents.path / CARD_FILE
    if not path.is_file():
        return ""
    try:
        return read_bytes(path, _CARD_LIMIT).decode("utf-8")
    except CheckpointError as error:
        _LOG.warning("the model card is left out: %s", error)
    except UnicodeDecodeError as error:
        _LOG.warning("the model card is left out: %s: this is not UTF-8 (%s)", path, error)
    return ""
