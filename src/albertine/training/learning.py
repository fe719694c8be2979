"""One candidate trained on one data set: by the loop, or by a solver."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from albertine.batching.loader import TrainingBatches
from albertine.batching.packing import packed
from albertine.batching.token_batches import TokenBatches
from albertine.data.samples import Splits
from albertine.errors import ConfigError
from albertine.evaluation.out_of_scope import out_of_scope_metrics
from albertine.inference.engine import Engine
from albertine.inference.exits import calibrate_exits
from albertine.inference.fused import inference_copy
from albertine.inference.model import Model
from albertine.inference.precision import Precision
from albertine.models.config import EncoderConfig
from albertine.models.solved import SolvedModel
from albertine.records import Batch, EncodedExamples, Example
from albertine.tasks.config import TaskConfig, TaskRequest, options_from
from albertine.tasks.task import AnyTask, FloatArray
from albertine.tokenization.tokenizer import Tokenizer
from albertine.training.candidates import Candidate, build_module, prepare_candidate
from albertine.training.config import TrainingConfig
from albertine.training.defaults import chosen_learning_rate
from albertine.training.log import LogPoint
from albertine.training.loop import fit
from albertine.training.manifest import Measurements
from albertine.training.methods.choices import Methods
from albertine.training.progress import ProgressCallback

__all__ = ["Learnt", "MicroBatches", "learn_by_loop", "learn_by_solver"]

logger = logging.getLogger("albertine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """A trained model before it is written."""

    model: Model
    measurements: Measurements
    curve: tuple[LogPoint, ...] = ()

    def measured(self, splits: Splits) -> Learnt:
        """Add every metric on the development and the test split."""
        test = {**self._metrics(splits.test), **self._out_of_scope(splits)}
        measurements = replace(self.measurements, dev_metrics=self._metrics(splits.dev), test_metrics=test)
        return replace(self, measurements=measurements)

    def _out_of_scope(self, splits: Splits) -> dict[str, float]:
        if not splits.out_of_scope or not splits.test:
            return {}
        known, foreign = (self.model.confidences(part) for part in (splits.test, splits.out_of_scope))
        return out_of_scope_metrics(known, foreign, self.model.task_config.abstain_below)

    def _metrics(self, examples: Sequence[Example]) -> dict[str, float]:
        model = self.model
        return model.task.score(model.answer_examples(examples), examples, model.task_config) if examples else {}


def learn_by_loop(
    task: AnyTask,
    splits: Splits,
    candidate: Candidate,
    config: TrainingConfig,
    *,
    folder: Path,
    device: torch.device,
    inputs: Mapping[str, object],
    request: TaskRequest,
    methods: Methods,
    tokenizer: Tokenizer | str | Path | None,
    vocabulary_size: int,
    resume: bool,
    progress: ProgressCallback | None,
    observers: Sequence[Callable[[LogPoint], None]] = (),
) -> Learnt:
    """Train a module by the loop.

    Args:
        task: the task's record.
        splits: the data.
        candidate: what to train.
        config: how to train it.
        folder: where checkpoints and the learning curve go.
        device: where to compute.
        inputs: what a run must have in common with the one that it continues.
        request: what was asked of the task, its tokenizer and body aside.
        methods: how the loss and the module are changed for the training.
        tokenizer: None for the candidate's own, or to learn one.
        vocabulary_size: of a learnt vocabulary, at most.
        resume: continue what stands in `folder`.
        progress: called after every step.
        observers: shown every new point of the learning curve.
    """
    prepared = prepare_candidate(
        candidate, task, splits.train, tokenizer=tokenizer, vocabulary_size=vocabulary_size, seed=config.seed
    )
    if isinstance(prepared.config, EncoderConfig):
        prepared = replace(prepared, config=prepared.config.with_dropout(config.dropout))
    asked = replace(request, tokenizer=prepared.tokenizer, body=prepared.config)
    task_config = task.prepare(splits.train, asked)
    module = build_module(task, task_config, prepared, seed=config.seed).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        methods.prepare(module)
    encoded = task.encode(prepared.tokenizer, splits.train, task_config, labelled=True)
    _say_long_texts(encoded, task_config)
    rate = chosen_learning_rate(
        config, prepared.config, pretrained=prepared.encoder is not None, baseline=candidate.baseline
    )
    drawn = task.example_weights(splits.train, task_config) if task.example_weights is not None else None
    batches, steps = _batches(encoded, config, drawn)
    parts = MicroBatches(batches, config.accumulation)
    evaluate = _evaluation(task, task_config, module, prepared.tokenizer, splits.dev)
    some = _evaluation(task, task_config, module, prepared.tokenizer, splits.dev[: 2 * config.batch_size])
    result = fit(
        module,
        methods.around(task).loss,
        parts,
        config=config,
        learning_rate=rate,
        total_steps=steps,
        folder=folder,
        evaluate=evaluate,
        main_metric=task_config.main_metric or task.main_metric,
        sanity_check=some,
        greater_is_better=task.greater_is_better,
        identity=inputs,
        resume=resume,
        progress=progress,
        observers=observers,
        smaller=parts.smaller,
        rate_scale=methods.scales(module),
        average=methods.average,
    )
    methods.finish(module)
    if task.tune is not None and splits.dev:
        engine = Engine(module, prepared.tokenizer, task, task_config, precision=result.precision)
        task_config = task.tune(engine.answers(splits.dev).rows, splits.dev, task_config)
    model = Model(
        module,
        config=prepared.config,
        tokenizer=prepared.tokenizer,
        task=task,
        task_config=replace(task_config, elastic=methods.elastic),
        precision=config.precision,
    )
    exits = None
    if methods.elastic and task.certainty is not None and splits.dev:
        exits = calibrate_exits(model, splits.dev, allowed_loss=methods.exit_loss)
        model.task_config = replace(model.task_config, exit_at=exits.threshold)
    measurements = Measurements.of_run(
        result,
        main_metric=task_config.main_metric or task.main_metric,
        learning_rate=rate,
        device=str(device),
        truncated=len(encoded.truncated),
        exits=None if exits is None else exits.to_dict(),
    )
    return Learnt(model=model, measurements=measurements, curve=result.curve)


def learn_by_solver(
    task: AnyTask, splits: Splits, candidate: Candidate, config: TrainingConfig, *, request: TaskRequest
) -> Learnt:
    """Fit a baseline in one go: its own tuning takes the place of epochs and learning rates.

    Args:
        task: the task's record.
        splits: the data.
        candidate: a baseline whose training is a solver.
        config: for the seed; budgets do not apply.
        request: what was asked of the task.

    Raises:
        ConfigError: the baseline cannot do what is asked for, or not with these data.
        DataError: there is nothing to learn.
    """
    assert candidate.baseline is not None, "a solver fits a baseline"
    options = options_from(task.options, request.options, task=task.name)
    possible = task.baselines(options, splits.test or splits.dev or splits.train)
    if candidate.name not in possible or task.solving is None:
        raise ConfigError(
            f"this baseline cannot learn what is asked for ({candidate.baseline.description})",
            received=f"{candidate.name} for {task.name}",
            allowed=", ".join(possible),
            next_step="Take another baseline, such as bilstm",
        )
    task_config = task.prepare(splits.train, request)
    metric, solving = task_config.main_metric or task.main_metric, task.solving
    begun = time.perf_counter()
    solved = cast("SolvedModel", candidate.baseline.build(candidate.baseline.make_config(0)))
    solved.fit(
        [one.text for one in splits.train],
        solving.targets(splits.train, task_config).tolist(),
        len(task_config.labels) or None,
        pairs=[one.text_pair for one in splits.train],
        dev_texts=[one.text for one in splits.dev],
        dev_targets=solving.targets(splits.dev, task_config).tolist(),
        dev_pairs=[one.text_pair for one in splits.dev],
        metric=metric,
        class_weights=solving.class_weights(task_config),
        seed=config.seed,
    )
    seconds = time.perf_counter() - begun
    model = Model(solved, config=solved.config, tokenizer=None, task=task, task_config=task_config)
    if task.tune is not None and splits.dev:
        model.task_config = task.tune(model.answer_examples(splits.dev), splits.dev, task_config)
    measurements = Measurements(
        main_metric=metric, examples=len(splits.train), training_seconds=round(seconds, 3), precision="fp32"
    )
    return Learnt(model=model, measurements=measurements)


def _evaluation(
    task: AnyTask, task_config: TaskConfig, module: nn.Module, tokenizer: Tokenizer, examples: Sequence[Example]
) -> Callable[[Precision], Mapping[str, float]] | None:
    """Return what measures the module, as it stands, on examples that are encoded once; None without examples."""
    if not examples:
        return None
    encoded = task.encode(tokenizer, examples, task_config, labelled=False)

    def evaluate(precision: Precision) -> Mapping[str, float]:
        # laid out anew, since the weights have moved; that takes less than it saves
        engine = Engine(inference_copy(module, precision), tokenizer, task, task_config, precision=precision)
        return task.score(engine.encoded_answers(encoded, examples).rows, examples, task_config)

    return evaluate


class MicroBatches:
    """The packed micro-batches of a step, none of them empty.

    Args:
        batches: the texts of every step.
        parts: how many micro-batches they are cut into, at most.
    """

    def __init__(self, batches: TrainingBatches | TokenBatches, parts: int) -> None:
        self.batches = batches
        self.parts = parts
        self._largest = 1

    def __call__(self, step: int) -> list[Batch]:
        """Return the micro-batches of step `step`, counted from 0."""
        indices = self.batches.batch_indices(step)
        self._largest = max(self._largest, -(-len(indices) // self.parts))
        parts = np.array_split(indices, min(self.parts, len(indices)))
        return [packed(self.batches.select(one)) for one in parts]

    def smaller(self) -> int | None:
        """Cut the steps to come into twice as many; None where every text is a micro-batch of its own already."""
        if self._largest == 1:
            return None
        self.parts, self._largest = 2 * self.parts, 1
        return self.parts


def _batches(
    encoded: EncodedExamples, config: TrainingConfig, weights: FloatArray | None
) -> tuple[TrainingBatches | TokenBatches, int | None]:
    """Return what deals out the training texts, and how many steps the budget is; None where it is time or tokens."""
    if config.batch_tokens is None:
        batches = TrainingBatches(encoded, batch_size=config.batch_size, seed=config.seed, weights=weights)
        return batches, config.total_steps(encoded.examples)
    by_tokens = TokenBatches(encoded, max_tokens=config.batch_tokens, seed=config.seed, weights=weights)
    passes = config.passes(encoded.examples)
    if passes is None:
        return by_tokens, config.max_steps
    steps = by_tokens.steps(passes)
    return by_tokens, steps if config.max_steps is None else min(steps, config.max_steps)


def _say_long_texts(encoded: EncodedExamples, task_config: TaskConfig) -> None:
    """Say how many training texts are longer than what the model reads at a time, and what becomes of them."""
    several = len({one.example for one in encoded if one.owned is not None})
    if several:
        logger.info(
            "%s of %s training texts (%.1f %%) are longer than %d tokens and are read in windows",
            f"{several:,}",
            f"{encoded.examples:,}",
            100 * several / encoded.examples,
            task_config.max_length,
        )
    if len(encoded.truncated):
        logger.warning(
            "%s of %s training texts (%.1f %%) are longer than %d tokens and are cut to their beginning",
            f"{len(encoded.truncated):,}",
            f"{encoded.examples:,}",
            100 * len(encoded.truncated) / encoded.examples,
            task_config.max_length,
        )
