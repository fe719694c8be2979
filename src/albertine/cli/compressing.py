"""The verb that makes a model faster: `albertine compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from albertine.cli import options
from albertine.cli.output import say, show_json, show_text
from albertine.compression.compress import compress as compress_model
from albertine.data.columns import Columns

__all__ = ["COMPRESS_SCHEMA", "compress"]

COMPRESS_SCHEMA = 1


def compress(
    model: Annotated[Path, typer.Argument(help="A model folder.")],
    data: Annotated[Path, typer.Argument(help="The data it was trained on: a file, or a folder with train and dev.")],
    out: options.OutOption,
    max_loss: Annotated[
        float, typer.Option("--max-loss", help="How much of the metric int8 may cost on the development split.")
    ] = 0.005,
    dev: options.DevOption = None,
    text_column: options.TextColumn = None,
    text_pair_column: options.TextPairColumn = None,
    label_column: options.LabelColumn = None,
    encoding: options.EncodingOption = "utf-8",
    on_error: options.OnErrorOption = "stop",
    quoting: options.QuotingOption = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the split, as it was in training.")] = 0,
    as_json: options.JsonOption = False,
) -> None:
    """Copy a model with products in int8, where that is faster here and loses little."""
    found = compress_model(
        model,
        data,
        out=out,
        max_loss=max_loss,
        columns=Columns(text=text_column, text_pair=text_pair_column, label=label_column),
        dev=dev,
        encoding=encoding,
        on_error=on_error,
        quoting=quoting,
        seed=seed,
    )
    if as_json:
        written = str(out) if found.plan is not None else None
        show_json({"schema_version": COMPRESS_SCHEMA, "folder": written, **found.facts()})
    else:
        show_text(
            f"{found.metric} {found.rounded:.4f} in int8, {found.unrounded:.4f} before; "
            f"{100 * found.changed:.2f} % of the answers changed; {found.speed:.2f} times as fast"
        )
    if found.plan is None:
        say("int8 is not worth it here; nothing was written")
        return
    say(f"model folder: {out}")
    say(f"next: albertine predict {out} FILE")
