"""What a trained model costs in prediction, and what it answers on the test split."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from albertine.comparison.results import PredictionCost
from albertine.errors import DataError
from albertine.evaluation.timing import Clock, peak_memory_bytes, percentiles
from albertine.inference.model import Model
from albertine.models.body import SolverConfig, body_flops_per_token
from albertine.records import Example

__all__ = ["Measured", "bytes_on_disk", "measure"]

REQUESTS = 200
"""Single requests timed after warming up."""
FEWEST_REQUESTS = 100
REQUEST_SECONDS = 20.0
"""From here on the fewest suffice: a big model need not be asked for minutes."""
WARM_UP = 10
THROUGHPUT_SECONDS = 1.0
"""A test split that is answered faster is answered again, so that the rate is not one of start-up."""

_NOT_NEEDED = {"README.md", "manifest.json", "log.jsonl", "checkpoints"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A model on the test split."""

    answers: list[Any]
    """The task's, one an example."""
    cost: PredictionCost
    flops_per_token: float | None
    """At the mean length of the test texts; None for models without tokens."""


def measure(model: Model, examples: Sequence[Example], folder: Path, *, clock: Clock = time.perf_counter) -> Measured:
    """Answer the test split and time it: first in batches, then one request after another.

    Args:
        model: opened from `folder`, in a process that has done nothing else, so that its memory is the model's.
        examples: the test split.
        folder: the model's.
        clock: seconds, monotonic.

    Raises:
        DataError: there are no examples.
    """
    if not examples:
        raise DataError("there are no test texts to measure on", next_step="Give more data, or a test file")
    model.answer_examples(examples[:64])
    passes, begun = 0, clock()
    while passes == 0 or clock() - begun < THROUGHPUT_SECONDS:
        answers = model.answer_examples(examples)
        passes += 1
    per_second = passes * len(examples) / max(clock() - begun, 1e-9)
    latencies = _latencies(model, examples, clock)
    found = percentiles(latencies)
    tokens = _mean_tokens(model, examples)
    return Measured(
        answers=answers,
        cost=PredictionCost(
            latency_ms_p50=found.p50,
            latency_ms_p95=found.p95,
            latency_ms_p99=found.p99,
            requests=len(latencies),
            texts_per_second=per_second,
            tokens_per_second=per_second * (tokens or 0.0),
            peak_memory_bytes=peak_memory_bytes(),
            bytes_on_disk=bytes_on_disk(folder),
            precision=model.precision,
        ),
        flops_per_token=_flops(model, tokens),
    )


def bytes_on_disk(folder: Path) -> int:
    """Add up the files of a model folder that are needed to predict: not the card, the manifest, the training's."""
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in _NOT_NEEDED
    )


def _latencies(model: Model, examples: Sequence[Example], clock: Clock) -> list[float]:
    """Time single requests, in milliseconds; their texts are spread evenly over the test split."""
    chosen = [examples[place % len(examples)] for place in _spread(len(examples), REQUESTS + WARM_UP)]
    for example in chosen[:WARM_UP]:
        model.predict_examples([example])
    times: list[float] = []
    begun = clock()
    for example in chosen[WARM_UP:]:
        if len(times) >= FEWEST_REQUESTS and clock() - begun > REQUEST_SECONDS:
            break
        started = clock()
        model.predict_examples([example])
        times.append(1000.0 * (clock() - started))
    return times


def _spread(items: int, wanted: int) -> list[int]:
    """Return `wanted` indices into `items`, evenly spread, in an order that the file's has no part in."""
    indices = np.arange(wanted) * max(items, wanted) // wanted
    return [int(index) for index in np.random.default_rng(0).permutation(indices)]


def _mean_tokens(model: Model, examples: Sequence[Example]) -> float | None:
    if model.tokenizer is None:
        return None
    encoded = model.task.encode(model.tokenizer, examples, model.task_config, labelled=False)
    return sum(map(len, encoded)) / len(examples)


def _flops(model: Model, tokens: float | None) -> float | None:
    if tokens is None or isinstance(model.config, SolverConfig):
        return None
    return body_flops_per_token(model.config, max(1, round(tokens)))
