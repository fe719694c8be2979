"""A trained model, ready to answer: what `albertine.load` gives, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from albertine.checkpoints.huggingface import model_type
from albertine.checkpoints.native import PLAN_FILE, write_model_folder
from albertine.errors import ConfigError, UserError
from albertine.inference.early_exit import ExitingEngine
from albertine.inference.engine import Answers, Engine, EngineSettings, warn_truncated
from albertine.inference.folder import baseline_name, folder_config, folder_tensors
from albertine.inference.fused import inference_copy
from albertine.inference.inputs import Input, examples_of
from albertine.inference.int8_plan import Int8Plan
from albertine.inference.kernels import int8_is_supported
from albertine.inference.precision import Precision, choose_precision
from albertine.inference.predictors import Predictor, SolvedPredictor
from albertine.models.body import AnyConfig, SolverConfig, body_parameters
from albertine.models.config import EncoderConfig, ParameterCount
from albertine.models.solved import SolvedModel
from albertine.records import DocumentAnswer, Example, Prediction
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import AnyTask, FloatArray
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["Depth", "Model", "PrecisionAsked"]

Depth = int | Literal["auto"]
PrecisionAsked = Literal["auto", "fp32", "bf16", "int8"]
"""auto: int8 where the model has a plan for it and the processor can, else the faster one of the two others."""


class Model:
    """A trained model with everything it needs to answer.

    Args:
        learnt: the trained module, as `task.build` made it, in fp32; or a baseline that a solver fitted.
        config: the body's configuration.
        tokenizer: the module's own; None for what a solver fitted.
        task: the task's record.
        task_config: what the task remembers.
        precision: "auto" measures which is faster on this machine.
        plan: which products run in int8 and how, see `albertine.inference.int8`; written with the rest.
        depth: passes that every text takes; "auto": as many as it needs, by what was fitted; None for all. Less than
            all is for models that were trained with --elastic.
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
        precision: PrecisionAsked = "auto",
        plan: Int8Plan | None = None,
        depth: Depth | None = None,
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
        self.plan = plan
        self.depth = depth
        self.rounds = False
        """Whether products run in int8, by the plan."""
        self.precision: Precision = "fp32"
        """Of what does not."""
        self.predictor: Predictor
        if not isinstance(learnt, nn.Module):
            if precision not in ("auto", "fp32"):
                raise ConfigError(
                    f"{self.body_kind} has no such precision", received=repr(precision), allowed="auto, fp32"
                )
            self.predictor = SolvedPredictor(learnt, task, task_config)
            return
        assert tokenizer is not None, "a module reads token ids"
        device = next(learnt.parameters()).device
        self.precision = choose_precision(device, "auto" if precision == "int8" else precision)
        here = int8_is_supported() and device.type == "cpu"
        self.rounds = plan is not None and precision in ("auto", "int8") and here
        if precision == "int8" and not self.rounds:
            raise ConfigError(
                "this model has no int8 plan" if plan is None else "int8 does not run here",
                received=repr(precision),
                allowed="auto, fp32, bf16",
                next_step="Make one: albertine compress MODEL DATA --out FOLDER" if plan is None else "",
            )
        learnt.eval()
        if depth is not None and not task_config.elastic:
            raise ConfigError(
                "this model answers at its full depth alone",
                where="depth",
                received=depth,
                next_step="Train it with --elastic, which trains every depth",
            )
        module = inference_copy(
            learnt,
            self.precision,
            plan if self.rounds else None,
            depth=depth if isinstance(depth, int) else None,
        )
        if depth != "auto":
            self.predictor = Engine(module, tokenizer, task, task_config, precision=self.precision, settings=settings)
            return
        if task_config.exit_at is None:
            raise ConfigError(
                "it has not been fitted when an exit of this model may answer",
                where="depth",
                received=depth,
                allowed=f"1 to {_passes(config)}",
                next_step="Train with a development split, in a task that knows how sure it is",
            )
        self.predictor = ExitingEngine(
            module,
            tokenizer,
            task,
            task_config,
            threshold=task_config.exit_at,
            precision=self.precision,
            settings=settings,
        )

    @property
    def module(self) -> nn.Module:
        """The trained module.

        Raises:
            ConfigError: a solver fitted the model, which has none.
        """
        if not isinstance(self.learnt, nn.Module):
            raise ConfigError(
                "this is for models with an encoder", received=self.body_kind, next_step="Use the model as it is"
            )
        return self.learnt

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
        return self.predictions(self._reported(examples), examples)

    def answer_examples(self, examples: Sequence[Example]) -> list[Any]:
        """Return the task's answers, before they become predictions; the examples' own are not looked at."""
        return self._reported(examples).rows

    def answers(self, examples: Sequence[Example]) -> Answers[Any]:
        """Return the task's answers, what was read for each and what was cut; no warning says so."""
        if not examples:
            return Answers(rows=[], tokens=[])
        self.task.check_inputs(examples, self.task_config)
        return self.predictor.answers(examples)

    def predictions(self, answers: Answers[Any], examples: Sequence[Example]) -> list[Prediction]:
        """Turn what `answers` gave for examples into predictions."""
        found = self.task.decode(answers.rows, examples, self.task_config)
        depths: Sequence[int] = [self.depth] * len(found) if isinstance(self.depth, int) else answers.depths or ()
        return [replace(one, depth=depth) for one, depth in zip(found, depths, strict=True)] if depths else found

    def _reported(self, examples: Sequence[Example]) -> Answers[Any]:
        answers = self.answers(examples)
        warn_truncated(len(answers.truncated), len(examples), self.task_config.max_length)
        return answers

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
        beside: dict[str, bytes] = {}
        if self.plan is not None and isinstance(self.config, EncoderConfig):
            beside[PLAN_FILE] = self.plan.to_bytes(self.config)
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
            beside=beside,
        )


def _passes(config: AnyConfig) -> int:
    return config.num_passes if isinstance(config, EncoderConfig) else 0
