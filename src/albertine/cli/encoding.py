"""The verb encode: texts to vectors, into a NumPy file or onto stdout."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

from albertine.cli import options, streams
from albertine.cli.output import say, show_json, show_text
from albertine.data.columns import Columns
from albertine.data.formats import LABELLED_TEXTS
from albertine.errors import DataError
from albertine.inference.vectors import PoolingChoice, load_vectors, write_vectors
from albertine.records import Example
from albertine.settings import prepare_computing

__all__ = ["encode"]

ENCODE_SCHEMA = 1


def encode(
    model: Annotated[str, typer.Argument(help="An encoder: a model folder, a sentence-transformers folder or a name.")],
    file: Annotated[str, typer.Argument(help="A file of texts (.txt, .csv, .jsonl, …), or - for a pipe.")] = "-",
    out: Annotated[
        Path | None, typer.Option("--out", help="NumPy file (.npy) to write, float32, instead of stdout.")
    ] = None,
    pooling: Annotated[
        str,
        typer.Option(
            "--pooling",
            help="How a text's tokens become one vector: mean, cls, max, mean_sqrt_length, weighted_mean, last; "
            "auto: as the folder says, else mean.",
        ),
    ] = "auto",
    normalize: Annotated[
        bool | None,
        typer.Option("--normalize/--no-normalize", help="Whether vectors get length 1 (default: as the folder says)."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option("--max-length", help="Tokens a text at most (default: as the folder says).")
    ] = None,
    text_column: options.TextColumn = None,
    encoding: options.EncodingOption = "utf-8",
    on_error: options.OnErrorOption = "stop",
    quoting: options.QuotingOption = "auto",
    precision: options.PrecisionOption = "fp32",
    allow_pickle: options.AllowPickleOption = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON Lines, one vector a line; with --out one document about the file."),
    ] = False,
) -> None:
    """Turn texts into vectors, a line of numbers each, in the order they came."""
    prepare_computing(answering=True)
    loaded = load_vectors(
        model,
        pooling=cast("PoolingChoice", pooling),  # checked there
        normalize=normalize,
        max_length=max_length,
        allow_pickle=allow_pickle,
        precision=precision,
    )
    if file == "-":
        if sys.stdin.isatty():
            say("reading texts from the keyboard, one a line; end with Ctrl-D")
        read = streams.piped_examples(encoding)
    else:
        columns = Columns(text=text_column)
        read = streams.file_examples(
            Path(file), LABELLED_TEXTS, columns, encoding=encoding, on_error=on_error, quoting=quoting
        )
    pieces = loaded.encode_pieces(_texts(examples) for examples in read)
    if out is not None:
        count = write_vectors(out, (piece.vectors for piece in pieces), loaded.width)
        if as_json:
            show_json({"schema_version": ENCODE_SCHEMA, "file": str(out), "vectors": count, "width": loaded.width})
        say(f"{count} vectors of {loaded.width} numbers: {out}")
        return
    for piece in pieces:
        for text, vector in zip(piece.texts, piece.vectors, strict=True):
            numbers = [str(number) for number in vector]  # the shortest decimals that give the same float32 again
            if as_json:
                values = [float(number) for number in numbers]
                show_json({"schema_version": ENCODE_SCHEMA, "text": text, "vector": values}, indent=None)
            else:
                show_text(" ".join(numbers))


def _texts(examples: Sequence[Example]) -> list[str]:
    for example in examples:
        if example.text_pair is not None:
            raise DataError(
                "this file has pairs of texts, and a vector belongs to one text",
                where=f"{example.file}:{example.line}",
                next_step="Say which column to encode with --text-column",
            )
    return [example.text for example in examples]
