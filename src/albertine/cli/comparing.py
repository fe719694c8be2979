"""The verbs that put candidates side by side: compare, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from albertine.cli import options
from albertine.cli.output import say, show_json, show_text
from albertine.comparison.compare import compare as run_compare
from albertine.comparison.demo import demo as run_demo
from albertine.comparison.report import report_json
from albertine.comparison.table import terminal_table
from albertine.data.columns import Columns
from albertine.tasks.config import parse_options
from albertine.training.data_source import task_behind
from albertine.training.methods.choices import Methods

__all__ = ["compare", "demo"]


def compare(
    data: Annotated[Path, typer.Argument(help="A data file, or a folder with train, dev and test.")],
    encoders: options.EncodersOption = None,
    baselines: options.BaselinesOption = None,
    out: options.OutOption = Path("runs/compare"),
    task: Annotated[str, typer.Option("--task", help="What to learn.")] = "text-classification",
    task_options: options.TaskOption = None,
    training: options.TrainingOption = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Trainings of every candidate.")] = 3,
    dev: options.DevOption = None,
    test: options.TestOption = None,
    text_column: options.TextColumn = None,
    text_pair_column: options.TextPairColumn = None,
    label_column: options.LabelColumn = None,
    encoding: options.EncodingOption = "utf-8",
    on_error: options.OnErrorOption = "stop",
    quoting: options.QuotingOption = "auto",
    limit: Annotated[int | None, typer.Option("--limit", help="Use a sample of so many distinct texts.")] = None,
    vocabulary_size: options.VocabularySizeOption = 8000,
    max_length: options.MaxLengthOption = None,
    epochs: options.EpochsOption = None,
    minutes: options.MinutesOption = None,
    batch_size: options.BatchSizeOption = None,
    learning_rate: options.LearningRateOption = None,
    evaluations: options.EvaluationsOption = None,
    elastic: Annotated[
        bool, typer.Option("--elastic", help="Train encoders at every depth, and report what each is worth.")
    ] = False,
    title: Annotated[str | None, typer.Option("--title", help="Heading of the report.")] = None,
    lang: options.LangOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Train and measure encoders and baselines on the same data, and say which to take."""
    report = run_compare(
        data,
        encoders=options.names_of(encoders, option="--encoders"),
        baselines=options.names_of(baselines, option="--baselines"),
        out=out,
        task=task,
        options=parse_options(task_behind(task).options, task_options or (), of=task),
        seeds=seeds,
        dev=dev,
        test=test,
        columns=Columns(text=text_column, text_pair=text_pair_column, label=label_column),
        encoding=encoding,
        on_error=on_error,
        quoting=quoting,
        limit=limit,
        vocabulary_size=vocabulary_size,
        max_length=max_length,
        epochs=epochs,
        minutes=minutes,
        batch_size=batch_size,
        learning_rate=learning_rate,
        config=options.training_config({"evaluations": evaluations}, training),
        methods=Methods(elastic=elastic),
        title=title,
        lang=lang,
    )
    if as_json:
        show_text(report_json(report))
    else:
        show_text(terminal_table(report))
    say(f"report: {out / 'report.html'}")


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the demonstration.")] = Path("albertine-demo"),
    lang: options.LangOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Go the whole road on real Chinese shopping reviews in minutes, ending with a report."""
    result = run_demo(out, lang=lang)
    if as_json:
        show_json(result.to_dict())
    else:
        show_text(result.render())
