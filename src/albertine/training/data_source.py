"""Which data a training or a comparison is given: files of the user's own, or a published benchmark by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from albertine.data.benchmarks import BENCHMARKS, find_benchmark
from albertine.data.columns import Columns
from albertine.data.formats import DataFormat
from albertine.data.hold_out import hold_out_labels
from albertine.data.samples import Splits, load_splits
from albertine.errors import ConfigError
from albertine.tasks.config import options_from
from albertine.tasks.task import AnyTask
from albertine.training.recipe import find_task

__all__ = ["DataSource", "NamedTask", "named_task", "task_behind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """Files, and how they are read."""

    data: str | Path
    """A file (split 80/10/10), a folder with train, dev and test, or a benchmark's folder."""
    dev: str | Path | None = None
    test: str | Path | None = None
    columns: Columns = field(default_factory=Columns)
    encoding: str = "utf-8"
    on_error: str = "stop"
    quoting: str = "auto"
    benchmark: str | None = None
    """The published benchmark that the files are of."""
    hold_out: tuple[str, ...] | int = ()
    """Labels that are not learnt, or how many of them, to measure whether the model notices what it does not know."""

    def format(self, task: AnyTask, options: Mapping[str, object]) -> DataFormat:
        """Return what the files look like.

        Raises:
            ConfigError: an option that the task does not have.
        """
        found = task.format(options_from(task.options, options, task=task.name))
        return found if self.benchmark is None else find_benchmark(self.benchmark).format(found)

    def splits(
        self,
        task: AnyTask,
        options: Mapping[str, object],
        *,
        seed: int,
        duplicates: str = "group",
        limit: int | None = None,
    ) -> Splits:
        """Read and divide the data; errors and arguments are those of `load_splits`."""
        splits = load_splits(
            self.data,
            format=self.format(task, options),
            dev=self.dev,
            test=self.test,
            columns=self.columns,
            seed=seed,
            duplicates=duplicates,
            encoding=self.encoding,
            on_error=self.on_error,
            quoting=self.quoting,
            limit=limit,
        )
        return hold_out_labels(splits, self.hold_out, seed=seed) if self.hold_out else splits


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTask:
    """What the name of a task or a benchmark stands for."""

    task: str
    source: DataSource
    options: Mapping[str, object]
    """Of the task: the benchmark's, and over them those that were asked for."""
    main_metric: str | None = None
    """What the benchmark's authors report; None for a task."""


def task_behind(name: str) -> AnyTask:
    """Return the record of a task, or of the task that a benchmark is made of.

    Raises:
        ConfigError: neither goes by that name.
    """
    if name in BENCHMARKS:
        return find_task(BENCHMARKS[name].task)
    if "/" in name:
        find_benchmark(name)
    return find_task(name)


def named_task(name: str, source: DataSource, options: Mapping[str, object]) -> NamedTask:
    """Tell what a name stands for: a task, or a benchmark whose files lie in the folder that is given as data.

    Raises:
        ConfigError: files for dev or test, or columns, beside a benchmark, which names its own.
        DataError: a file of the benchmark is not there.
    """
    if name not in BENCHMARKS:
        task_behind(name)
        return NamedTask(task=name, source=source, options=options)
    found = find_benchmark(name)
    if source.dev is not None or source.test is not None or source.columns != Columns():
        raise ConfigError(
            "a benchmark names its own files and columns",
            where=name,
            allowed="the folder of its files alone",
            next_step="Leave out --dev, --test and the columns, or name the task instead",
        )
    files = found.files(Path(source.data))
    own = replace(
        source,
        data=files.train,
        dev=files.dev,
        test=files.test,
        columns=found.columns,
        quoting=found.quoting,
        benchmark=name,
    )
    return NamedTask(task=found.task, source=own, options={**found.options, **options}, main_metric=found.metrics[0])
