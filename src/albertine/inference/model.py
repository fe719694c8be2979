"""A trained model, ready to answer: what `albertine.load` gives, whatever stands behind it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from albertine import registry
from albertine.checkpoints.huggingface import model_type
from albertine.checkpoints.native import (
    CARD_FILE,
    TASK_FILE,
    FolderContents,
    read_model_folder,
    write_model_folder,
)
from albertine.checkpoints.opening import open_checkpoint
from albertine.checkpoints.reading import read_bytes
from albertine.checkpoints.source import read_all
from albertine.errors import CheckpointError, ConfigError, UserError
from albertine.inference.engine import Engine, EngineSettings
from albertine.inference.folder import (
    baseline_name,
    folder_config,
    folder_tensors,
    module_of_checkpoint,
    read_config,
    restored_module,
)
from albertine.inference.inputs import Input, examples_of
from albertine.inference.precision import Precision, choose_precision, with_reduced_weights
from albertine.models.body import AnyConfig, SolverConfig, body_parameters
from albertine.models.config import EncoderConfig, ParameterCount
from albertine.models.solved import SolvedModel, restored_model
from albertine.records import DocumentAnswer, Example, Prediction
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import AnyTask, FloatArray, Task
from albertine.tokenization.pair import load_any_tokenizer
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["Model", "load", "predict"]

_LOG = logging.getLogger("albertine")

_CARD_LIMIT = 1 << 20
"""Bytes of a model card at most; ours have a few thousand."""


class Predictor(Protocol):
    """Whatever turns examples into the answers of a task."""

    def reported_answers(self, items: Sequence[Example]) -> list[Any]:
        """Return one answer an example, in their order."""


class SolvedPredictor:
    """A model that a solver fitted, called like the engine.

    Args:
        solved: the model.
        task: a task that says how its outputs become answers.
        task_config: what the task remembers.
    """

    def __init__(self, solved: SolvedModel, task: AnyTask, task_config: TaskConfig) -> None:
        assert task.solving is not None, "a solver's baseline does tasks that say what its outputs are"
        self.solved = solved
        self._answers = task.solving.answers
        self._task_config = task_config

    def reported_answers(self, items: Sequence[Example]) -> list[Any]:
        """Return the task's answers, one an example, in their order."""
        outputs = self.solved.outputs([one.text for one in items], [one.text_pair for one in items])
        return self._answers(outputs, self._task_config)


class Model:
    """A trained model with everything it needs to answer.

    Args:
        learnt: the trained module, as `task.build` made it, in fp32; or a baseline that a solver fitted.
        config: the body's configuration.
        tokenizer: the module's own; None for what a solver fitted.
        task: the task's record.
        task_config: what the task remembers.
        precision: "auto" measures which is faster on this machine.
        manifest: what it takes to train it again; written to manifest.json.
        card: the model card, Markdown; written to README.md.
        settings: how the engine cuts its work.

    Raises:
        ConfigError: no such precision, or one that the model does not have.
    """

    def __init__(
        self,
        learnt: nn.Module | SolvedModel,
        *,
        config: AnyConfig,
        tokenizer: Tokenizer | None,
        task: AnyTask,
        task_config: TaskConfig,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        manifest: Mapping[str, object] | None = None,
        card: str = "",
        settings: EngineSettings | None = None,
    ) -> None:
        self.learnt = learnt
        self.config = config
        self.tokenizer = tokenizer
        self.task = task
        self.task_config = task_config
        self.manifest = dict(manifest or {})
        self.card = card
        self.precision: Precision = "fp32"
        self.predictor: Predictor
        if not isinstance(learnt, nn.Module):
            if precision not in ("auto", "fp32"):
                raise ConfigError(
                    f"{self.body_kind} has no such precision", received=repr(precision), allowed="auto, fp32"
                )
            self.predictor = SolvedPredictor(learnt, task, task_config)
            return
        assert tokenizer is not None, "a module reads token ids"
        self.precision = choose_precision(next(learnt.parameters()).device, precision)
        learnt.eval()
        module = with_reduced_weights(learnt) if self.precision == "bf16" else learnt
        self.predictor = Engine(module, tokenizer, task, task_config, precision=self.precision, settings=settings)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label, in the order of the columns of `scores`."""
        return self.task_config.labels

    @property
    def body_kind(self) -> str:
        """What the model is: bert, albert, encoder (any other column of values), or the baseline's name."""
        if isinstance(self.config, EncoderConfig):
            kind = model_type(self.config)
            return "encoder" if kind == "albertine" else kind
        return baseline_name(self.config)

    @property
    def parameters_info(self) -> ParameterCount:
        """Parameters of the encoder and its pooler, or of the whole baseline: stored, and met by a text."""
        if not isinstance(self.learnt, nn.Module):
            return ParameterCount(unique=self.learnt.parameter_count, executed=self.learnt.parameter_count)
        assert not isinstance(self.config, SolverConfig), "a module has a body's configuration"
        return body_parameters(self.config)

    def predict(self, texts: Sequence[Input]) -> list[Prediction]:
        """Answer texts, or pairs of texts, in their order.

        Args:
            texts: any number of texts, of any length; what is longer than `task_config.max_length` tokens is read in
                windows, or where the task reads beginnings alone it is cut, and a warning says how many were.

        Raises:
            UserError: a single text instead of a list, something that is not a text, a pair for a model of single
                texts or the other way round.
        """
        return self.predict_examples(examples_of(texts))

    def predict_examples(self, examples: Sequence[Example]) -> list[Prediction]:
        """Answer examples as they were read from a file, in their order; their labels are not looked at."""
        return self.task.decode(self.answer_examples(examples), examples, self.task_config)

    def answer_examples(self, examples: Sequence[Example]) -> list[Any]:
        """Return the task's answers, before they become predictions; the examples' own are not looked at."""
        if not examples:
            return []
        self.task.check_inputs(examples, self.task_config)
        return self.predictor.reported_answers(examples)

    def scores(self, texts: Sequence[Input]) -> FloatArray:
        """Return the probability of every label, [N, C] float32, in the order of texts and `labels`.

        Raises:
            UserError: as `predict`, or a task in which a text has no one label.
        """
        return self._probabilities(examples_of(texts))

    def confidences(self, examples: Sequence[Example]) -> FloatArray:
        """Return the calibrated probability of the best label of every example, [N].

        Raises:
            UserError: a task in which a text has no one label.
        """
        best: FloatArray = self._probabilities(examples).max(axis=1)
        return best

    def _probabilities(self, examples: Sequence[Example]) -> FloatArray:
        if self.task.probabilities is None:
            raise UserError(
                "this task gives a text no label", received=self.task.name, next_step="Use predict, which says it all"
            )
        found: FloatArray = self.task.probabilities(self.answer_examples(examples), self.task_config)
        return found

    def answer(self, question: str, documents: Sequence[str], *, top: int = 5) -> list[DocumentAnswer]:
        """Answer a question from several documents, each of any length.

        Args:
            question: one question.
            documents: at least one text.
            top: how many answers to give at most.

        Returns:
            The best answers over all documents, the best one first; several may stand in one document. None where no
            document has one, by the thresholds that the model was given for a single document.

        Raises:
            UserError: no documents, a single text instead of a list, something that is not a text, or another task.
            ConfigError: `top` is below 1.
        """
        if self.task.over_documents is None:
            raise UserError("this task answers no questions", received=self.task.name, next_step="Use predict")
        if top < 1:
            raise ConfigError("value out of range", where="top", received=top, allowed="1 or more")
        if isinstance(documents, str) or not documents:
            raise UserError(
                "a list of documents is expected",
                received="one text" if documents else "nothing to answer from",
                next_step="Give the texts that may hold the answer: answer(question, [text])",
            )
        examples = examples_of([(question, text) for text in documents])
        return self.task.over_documents(self.answer_examples(examples), examples, self.task_config, top)

    def save(self, folder: str | Path) -> None:
        """Write the model folder; what stood there stays as it was if that fails.

        Raises:
            FailureError: the disk is full or the place cannot be written to.
        """
        tensors: Mapping[str, Tensor]
        if isinstance(self.learnt, nn.Module):
            tensors = folder_tensors(self.learnt, self.config)
        else:
            tensors = self.learnt.tensors()
        write_model_folder(
            Path(folder),
            config=folder_config(self.config, None if self.task.head is None else self.task.head(self.task_config)),
            tensors=tensors,
            tokenizer=self.tokenizer,
            task=self.task_config.to_dict(),
            manifest=self.manifest,
            card=self.card,
        )


def load(
    folder: str | Path,
    *,
    device: str = "cpu",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    settings: EngineSettings | None = None,
) -> Model:
    """Open a trained model: a model folder of ours, or a classifier that another program fine-tuned.

    Args:
        folder: as `Model.save` or `albertine finetune` wrote it; or whatever `load_encoder` opens, if it holds the
            head of a task with it (transformers' ForSequenceClassification, Google's run_classifier).
        device: where to compute; what a solver fitted always does on the CPU.
        precision: of the matrix products; "auto" measures which is faster on this machine.
        settings: how the engine cuts its work.

    Raises:
        CheckpointError: no such folder, something in it is missing, damaged or a pickle, or does not fit the rest.
        ConfigError: no such device or precision.
        UserError: the folder holds an encoder without a task.
    """
    path = Path(folder)
    if not (path / TASK_FILE).is_file():
        return _load_checkpoint(folder, device=device, precision=precision, settings=settings)
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
        manifest=contents.manifest,
        card=_card(contents),
        settings=settings,
    )


def _load_checkpoint(
    name: str | Path,
    *,
    device: str,
    precision: Literal["auto", "fp32", "bf16"],
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
