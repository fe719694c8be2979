"""The verbs that look without training: info, bench, data check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from albertine.cli import options
from albertine.cli.output import show_json, show_text
from albertine.data.check import check_data
from albertine.data.columns import Columns
from albertine.errors import ConfigError
from albertine.inference.bench import bench as measure
from albertine.inference.info import info as read_info
from albertine.shipped import render_shipped, shipped_encoders
from albertine.tokenization.tokenizer import load_tokenizer

__all__ = ["bench", "check", "info"]

SHIPPED_SCHEMA = 1


def info(
    name: Annotated[
        str | None, typer.Argument(help="A model folder, a shipped encoder's name or a preset's.", show_default=False)
    ] = None,
    shipped: Annotated[
        bool, typer.Option("--shipped", help="List the encoders that ship with this installation.")
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Say how large a model is: parameters (unique and executed), bytes, FLOPs, configuration; or what ships."""
    if shipped:
        encoders = shipped_encoders()
        if as_json:
            show_json({"schema_version": SHIPPED_SCHEMA, "encoders": [one.to_dict() for one in encoders]})
        else:
            show_text(render_shipped(encoders))
        return
    if name is None:
        raise ConfigError("no model is named", where="NAME", next_step="Name one; --shipped lists those that ship")
    result = read_info(name)
    if as_json:
        show_json(result.to_dict())
    else:
        show_text(result.render())


def check(
    files: Annotated[list[Path], typer.Argument(help="Data files, or a folder with train, dev and test.")],
    task: Annotated[str, typer.Option("--task", help="What the data are for.")] = "text-classification",
    text_column: options.TextColumn = None,
    text_pair_column: options.TextPairColumn = None,
    label_column: options.LabelColumn = None,
    encoding: options.EncodingOption = "utf-8",
    quoting: options.QuotingOption = "auto",
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="Model folder or vocabulary: adds truncation and unknown tokens.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option("--max-length", help="Count the texts that are longer than so many tokens.")
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Say what is wrong with data before any training: nothing is changed, bad rows are listed."""
    result = check_data(
        files,
        task=task,
        columns=Columns(text=text_column, text_pair=text_pair_column, label=label_column),
        encoding=encoding,
        quoting=quoting,
        tokenizer=None if tokenizer is None else load_tokenizer(tokenizer),
        max_length=max_length,
    )
    if as_json:
        show_json(result.to_dict())
    else:
        show_text(result.render())


def bench(
    name: Annotated[str, typer.Argument(help="A model folder, an encoder's name or folder, or preset:NAME.")],
    precisions: Annotated[
        str | None, typer.Option("--precisions", help="Of fp32, bf16 and int8, separated by commas (default: all).")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="How long every row is measured.", min=0.1)] = 3.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the texts.")] = 0,
    as_json: options.JsonOption = False,
) -> None:
    """Measure how fast an encoder answers on this machine: throughput and latency, by precision and length."""
    asked = None if precisions is None else [one.strip() for one in precisions.split(",")]
    result = measure(name, precisions=asked, seconds=seconds, seed=seed)
    if as_json:
        show_json(result.to_dict())
    else:
        show_text(result.render())
