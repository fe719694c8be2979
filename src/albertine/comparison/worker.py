"""The processes of a comparison: `python -m albertine.comparison.worker train|measure JOB_FOLDER THREADS COMMAND`.

Training and measuring are processes of their own, so that the memory of one is not the memory of the other. A process
says how it goes on stdout, a JSON line at a time, and everything else on stderr, which is the job's log. It hands over
its results as files.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TextIO

import torch

from albertine.comparison.depths import measure_depths
from albertine.comparison.jobs import Job, JobFolder, Trained
from albertine.comparison.measure import measure
from albertine.comparison.results import CurvePoint, DepthPoint, RunResult, TrainingCost
from albertine.comparison.workspace import Workspace
from albertine.errors import AlbertineError
from albertine.evaluation.timing import peak_memory_bytes
from albertine.inference.loading import load
from albertine.training.candidates import find_candidate
from albertine.training.methods.choices import Methods
from albertine.training.progress import TrainingProgress
from albertine.training.recipe import Recipe
from albertine.training.training_run import train

__all__ = ["main"]

SECONDS_BETWEEN_LINES = 0.5


class Channel:
    """Tells the comparison how a training goes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said_at = 0.0

    def __call__(self, progress: TrainingProgress) -> None:
        """Write where the training stands, at most twice a second."""
        now = time.monotonic()
        if now - self._said_at < SECONDS_BETWEEN_LINES:
            return
        self._said_at = now
        try:
            self._stream.write(json.dumps(dataclasses.asdict(progress)) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            # The comparison is gone, nobody waits for this training: save it and end, as after Ctrl-C.
            os.kill(os.getpid(), signal.SIGTERM)


def run_training(folder: JobFolder, workspace: Workspace, channel: Channel, command: str) -> None:
    """Train the job's candidate, or go on where an interrupted training stopped; `command` started the comparison."""
    job = Job.read(folder.job)
    recipe = Recipe(
        task=job.task,
        encoder=job.source,
        config=job.training_config(),
        methods=Methods.from_dict(job.methods),
        max_length=job.max_length,
        options=job.options,
        tokenizer=workspace.vocabulary if job.vocabulary is not None else None,
        main_metric=job.main_metric,
        device=job.device,
    )
    outcome = train(
        workspace.read_splits(), recipe, out=folder.model, progress=channel, lang=job.language, command=command
    )
    measured = outcome.measurements
    folder.write_trained(
        job,
        Trained(
            cost=TrainingCost(
                seconds=measured.training_seconds + measured.evaluation_seconds,
                examples=measured.examples,
                tokens=measured.tokens,
                tokens_per_second=measured.tokens_per_second,
                peak_memory_bytes=peak_memory_bytes(),
            ),
            dev_metric=measured.dev_metrics.get(job.main_metric),
            curve=tuple(
                CurvePoint(
                    step=point.step,
                    examples=point.examples,
                    seconds=point.seconds,
                    loss=point.loss,
                    dev_metric=point.dev_metric,
                )
                for point in outcome.curve
            ),
        ),
    )


def run_measuring(folder: JobFolder, workspace: Workspace) -> None:
    """Measure the job's model on the test split."""
    job = Job.read(folder.job)
    trained = folder.require_trained(job)
    solver = find_candidate(job.source).fitted_by_solver
    precision = "auto" if solver else job.training_config().precision
    model = load(folder.model, device=job.device, precision=precision)
    examples = workspace.read_test()
    found = measure(model, examples, folder.model)
    depths: tuple[DepthPoint, ...] = ()
    if model.task_config.elastic:
        depths = measure_depths(folder.model, examples, job.main_metric, precision=model.precision, device=job.device)
    evidence = model.task.evidence(found.answers, examples, model.task_config)
    parameters = model.parameters_info
    folder.write_measured(
        job,
        RunResult(
            candidate=job.candidate,
            seed=job.seed,
            folder=str(folder.model.relative_to(workspace.path)),
            evidence=tuple(tuple(row) for row in evidence.tolist()),
            learnt=not model.task.did_not_learn(evidence, model.task_config),
            metrics=model.task.score(found.answers, examples, model.task_config),
            dev_metric=trained.dev_metric,
            curve=trained.curve,
            training=trained.cost,
            prediction=found.cost,
            parameters_unique=parameters.unique,
            parameters_executed=parameters.executed,
            flops_per_token=found.flops_per_token,
            depths=depths,
        ),
    )


def main(arguments: list[str]) -> int:
    """Run one process and return its exit code."""
    stage, path, threads, command = arguments
    # What libraries print belongs into the log; only this module writes to the channel.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stream:
        os.dup2(2, 1)
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
        torch.set_num_threads(int(threads))
        folder = JobFolder(Path(path).resolve())
        workspace = Workspace(folder.path.parent.parent)
        try:
            if stage == "train":
                run_training(folder, workspace, Channel(stream), command)
            else:
                run_measuring(folder, workspace)
        except KeyboardInterrupt:
            return 130
        except Exception as error:  # whatever it is, the comparison goes on without this run and says why
            traceback.print_exc()
            told = str(error) if isinstance(error, AlbertineError) else f"{type(error).__name__}: {error}"
            folder.write_error(" ".join(told.split()))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
