"""The runs of a comparison, one after another: what is finished is not repeated, what fails loses no other."""

from __future__ import annotations

import logging

from albertine.comparison.formats import milliseconds, percent
from albertine.comparison.jobs import Job, JobFolder
from albertine.comparison.plan import Plan
from albertine.comparison.processes import run_process
from albertine.comparison.results import RunResult
from albertine.comparison.workspace import Workspace
from albertine.data.samples import Splits
from albertine.files import atomic_folder
from albertine.progress import ProgressBar
from albertine.training.candidates import tokenizer_fingerprint
from albertine.training.interrupts import Interrupts
from albertine.training.progress import ProgressCallback
from albertine.training.recipe import find_task

__all__ = ["run_all", "set_up"]

logger = logging.getLogger("albertine")


def set_up(workspace: Workspace, plan: Plan, splits: Splits, *, resume: bool) -> str | None:
    """Write what all candidates share, unless this comparison has done so before.

    Returns:
        The hash of the vocabulary learnt from the training split; None where no candidate reads it.

    Raises:
        ConfigError: another comparison stands in the folder.
        FailureError: the disk is full.
    """
    if not workspace.claim(plan.identity(), resume=resume):
        workspace.write_splits(splits)
        workspace.seal(plan.identity())
    readers = [one for one in plan.contestants if one.learns_vocabulary]
    if not readers:
        return None
    if not workspace.vocabulary.exists():
        lowercase = all(one.lowercase for one in readers)
        tokenizer = find_task(plan.task).learn_vocabulary(splits.train, plan.vocabulary_size, lowercase)
        with atomic_folder(workspace.vocabulary) as folder:
            tokenizer.save(folder)
    return tokenizer_fingerprint(workspace.vocabulary)


def run_all(
    workspace: Workspace, plan: Plan, vocabulary: str | None, progress: ProgressCallback | None
) -> list[RunResult]:
    """Train and measure whatever is not finished, and return all runs.

    Args:
        workspace: the comparison's folder, set up.
        plan: what to run.
        vocabulary: the hash of the learnt vocabulary.
        progress: called after the steps of each training; None draws a bar on stderr.

    Raises:
        KeyboardInterrupt: interrupted; what is finished is saved.
    """
    interrupts = Interrupts()
    with interrupts.caught(), interrupts.at_once():  # a terminal that closes ends the processes it started, too
        return _run_each(workspace, plan, vocabulary, progress)


def _run_each(
    workspace: Workspace, plan: Plan, vocabulary: str | None, progress: ProgressCallback | None
) -> list[RunResult]:
    runs = list(plan.runs())
    results: list[RunResult] = []
    for number, run in enumerate(runs, start=1):
        job = plan.job(run, vocabulary)
        folder = workspace.job(run.contestant.file_name, run.seed)
        name = f"[{number}/{len(runs)}] {job.candidate}, seed {job.seed}"
        done = folder.read_measured(job)
        if done is not None:
            logger.info("%s: finished before", name)
        else:
            logger.info("%s: training", name)
            done = _run(folder, job, plan.threads, progress)
            logger.info("%s: %s", name, _told(done, plan.main_metric))
        results.append(done)
    return results


def _run(folder: JobFolder, job: Job, threads: int, progress: ProgressCallback | None) -> RunResult:
    """Train and measure one job; a failure becomes a result."""
    folder.prepare(job)
    if folder.read_trained(job) is None:
        bar = ProgressBar() if progress is None else None
        try:
            failed = run_process("train", folder, threads=threads, progress=progress or bar)
        finally:
            if bar is not None:
                bar.close()
        if failed is not None:
            return RunResult(candidate=job.candidate, seed=job.seed, failed=failed)
    failed = run_process("measure", folder, threads=threads)
    result = folder.read_measured(job)
    if result is None:
        return RunResult(candidate=job.candidate, seed=job.seed, failed=failed or "the process left no results")
    folder.forget_checkpoints()
    return result


def _told(result: RunResult, main_metric: str) -> str:
    if result.failed is not None:
        return f"failed: {result.failed}"
    quality = f"{main_metric} {percent(result.metrics[main_metric])} %"
    if result.prediction is None or result.training is None:
        return quality
    return (
        f"{quality}, trained in {result.training.seconds:.0f} s, "
        f"{milliseconds(result.prediction.latency_ms_p50)} a request"
    )
