"""One candidate trained on one data set: by the loop, or by a solver."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from albertine.batching.loader import TrainingBatches
from albertine.batching.packing import packed
from albertine.data.samples import Splits
from albertine.inference.engine import Engine
from albertine.inference.model import Model
from albertine.inference.precision import Precision
from albertine.models.bag_of_words import BagOfWords
from albertine.models.ngrams import BagOfWordsConfig
from albertine.records import Batch, Example
from albertine.tasks.task import EncodedExamples, Task, TaskConfig
from albertine.tasks.text_classification import label_indices
from albertine.tokenization.tokenizer import Tokenizer
from albertine.training.candidates import Candidate, build_module, prepare_candidate
from albertine.training.config import TrainingConfig
from albertine.training.defaults import chosen_learning_rate
from albertine.training.log import LogPoint
from albertine.training.loop import fit
from albertine.training.manifest import Measurements
from albertine.training.progress import ProgressCallback

__all__ = ["Learnt", "learn_by_loop", "learn_by_solver", "micro_batches"]

logger = logging.getLogger("albertine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """A trained model before it is written."""

    model: Model
    measurements: Measurements
    curve: tuple[LogPoint, ...] = ()

    def measured(self, splits: Splits) -> Learnt:
        """Add every metric on the development and the test split."""
        measurements = replace(
            self.measurements, dev_metrics=self._metrics(splits.dev), test_metrics=self._metrics(splits.test)
        )
        return replace(self, measurements=measurements)

    def _metrics(self, examples: Sequence[Example]) -> dict[str, float]:
        model = self.model
        return model.task.score(examples, model.score_examples(examples), model.task_config) if examples else {}


def learn_by_loop(
    task: Task,
    splits: Splits,
    candidate: Candidate,
    config: TrainingConfig,
    *,
    folder: Path,
    device: torch.device,
    inputs: Mapping[str, object],
    max_length: int | None,
    tokenizer: Tokenizer | str | Path | None,
    vocabulary_size: int,
    main_metric: str | None,
    resume: bool,
    progress: ProgressCallback | None,
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
        max_length: tokens a text is cut to; None to choose.
        tokenizer: None for the candidate's own, or to learn one.
        vocabulary_size: of a learnt vocabulary, at most.
        main_metric: what the kept weights are chosen by; None for the task's own.
        resume: continue what stands in `folder`.
        progress: called after every step.
    """
    prepared = prepare_candidate(
        candidate, splits.train, tokenizer=tokenizer, vocabulary_size=vocabulary_size, seed=config.seed
    )
    task_config = task.prepare(
        splits.train,
        labels=splits.labels,
        tokenizer=prepared.tokenizer,
        body=prepared.config,
        max_length=max_length,
        class_weights=config.class_weights,
        main_metric=main_metric,
    )
    module = build_module(task, task_config, prepared, seed=config.seed).to(device)
    encoded = task.encode(prepared.tokenizer, splits.train, task_config)
    _say_truncated(encoded, task_config)
    rate = chosen_learning_rate(
        config, prepared.config, pretrained=prepared.encoder is not None, baseline=candidate.baseline
    )
    evaluate = _evaluation(task, task_config, module, prepared.tokenizer, splits.dev)
    some = _evaluation(task, task_config, module, prepared.tokenizer, splits.dev[: 2 * config.batch_size])
    result = fit(
        module,
        task.loss,
        micro_batches(TrainingBatches(encoded, batch_size=config.batch_size, seed=config.seed), config.accumulation),
        config=config,
        learning_rate=rate,
        total_steps=config.total_steps(len(encoded)),
        folder=folder,
        evaluate=evaluate,
        main_metric=task_config.main_metric or task.main_metric,
        sanity_check=some,
        greater_is_better=task.greater_is_better,
        identity=inputs,
        resume=resume,
        progress=progress,
    )
    model = Model(
        module,
        config=prepared.config,
        tokenizer=prepared.tokenizer,
        task=task,
        task_config=task_config,
        precision=config.precision,
    )
    measurements = Measurements.of_run(
        result,
        main_metric=task_config.main_metric or task.main_metric,
        learning_rate=rate,
        device=str(device),
        truncated=len(encoded.truncated),
    )
    return Learnt(model=model, measurements=measurements, curve=result.curve)


def learn_by_solver(
    task: Task, splits: Splits, candidate: Candidate, config: TrainingConfig, *, main_metric: str | None
) -> Learnt:
    """Fit a baseline in one go: its own tuning takes the place of epochs and learning rates.

    Args:
        task: the task's record.
        splits: the data.
        candidate: a baseline whose training is a solver.
        config: for the seed and the class weights; budgets do not apply.
        main_metric: what the tuning goes by; None for the task's own.
    """
    assert candidate.baseline is not None, "a solver fits a baseline"
    settings = candidate.baseline.make_config(0)
    bag = candidate.baseline.build(settings)
    assert isinstance(bag, BagOfWords), "the one solver there is"
    assert isinstance(settings, BagOfWordsConfig), "a bag of words has its own configuration"
    task_config = task.prepare(
        splits.train, labels=splits.labels, class_weights=config.class_weights, main_metric=main_metric
    )
    metric = task_config.main_metric or task.main_metric
    begun = time.perf_counter()
    bag.fit(
        [one.text for one in splits.train],
        label_indices(splits.train, task_config.labels).tolist(),
        len(task_config.labels),
        pairs=[one.text_pair for one in splits.train],
        dev_texts=[one.text for one in splits.dev],
        dev_labels=label_indices(splits.dev, task_config.labels).tolist(),
        dev_pairs=[one.text_pair for one in splits.dev],
        metric=metric,
        class_weights=task_config.class_weights,
        seed=config.seed,
    )
    seconds = time.perf_counter() - begun
    model = Model(bag, config=bag.config, tokenizer=None, task=task, task_config=task_config)
    measurements = Measurements(
        main_metric=metric, examples=len(splits.train), training_seconds=round(seconds, 3), precision="fp32"
    )
    return Learnt(model=model, measurements=measurements)


def _evaluation(
    task: Task, task_config: TaskConfig, module: nn.Module, tokenizer: Tokenizer, examples: Sequence[Example]
) -> Callable[[Precision], Mapping[str, float]] | None:
    """Return what measures the module, as it stands, on examples that are encoded once; None without examples."""
    if not examples:
        return None
    encoded = task.encode(tokenizer, examples, task_config)

    def evaluate(precision: Precision) -> Mapping[str, float]:
        engine = Engine(module, tokenizer, task, task_config, precision=precision)
        return task.score(examples, engine.encoded_scores(encoded), task_config)

    return evaluate


def micro_batches(batches: TrainingBatches, parts: int) -> Callable[[int], Sequence[Batch]]:
    """Return the packed micro-batches of a step; at most `parts`, none of them empty."""

    def of_step(step: int) -> list[Batch]:
        indices = batches.batch_indices(step)
        return [packed(batches.select(one)) for one in np.array_split(indices, min(parts, len(indices)))]

    return of_step


def _say_truncated(encoded: EncodedExamples, task_config: TaskConfig) -> None:
    if len(encoded.truncated):
        logger.warning(
            "%s of %s training texts (%.1f %%) are longer than %d tokens and are cut to their beginning",
            f"{len(encoded.truncated):,}",
            f"{len(encoded):,}",
            100 * len(encoded.truncated) / len(encoded),
            task_config.max_length,
        )
