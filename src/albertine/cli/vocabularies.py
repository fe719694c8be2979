"""The verbs about vocabularies: vocab learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from albertine.cli import options
from albertine.cli.output import show_json, show_text
from albertine.data.corpus import CorpusFormat
from albertine.tokenization.learn import Layout, learn_vocab
from albertine.tokenization.pieces import Kind

__all__ = ["learn"]


def learn(
    corpus: Annotated[list[str], typer.Argument(help="Text files, folders or globs; packed ones too.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    size: Annotated[int, typer.Option("--size", help="Tokens of the vocabulary, special ones included.")] = 30_000,
    kind: Annotated[
        str, typer.Option("--kind", help="wordpiece (BERT) or unigram (the English ALBERT).")
    ] = "wordpiece",
    lowercase: Annotated[
        bool, typer.Option("--lowercase/--cased", help="Whether text is lower-cased and stripped of accents.")
    ] = True,
    coverage: Annotated[
        float | None,
        typer.Option("--coverage", help="Share of characters to cover (default 0.9998; unigram 0.99995)."),
    ] = None,
    layout: Annotated[
        str,
        typer.Option("--layout", help="compact: special tokens are 0 to 4; bert: Google's places, and 99 unused ones."),
    ] = "compact",
    longest_piece: Annotated[
        int | None, typer.Option("--longest-piece", help="Most characters of a piece (default 24; unigram 16).")
    ] = None,
    simplify: Annotated[
        bool, typer.Option("--simplify", help="Turn traditional into simplified characters first.")
    ] = False,
    against: Annotated[
        Path | None, typer.Option("--against", help="A tokenizer folder or vocabulary file to compare with.")
    ] = None,
    held_out_every: Annotated[
        int, typer.Option("--held-out-every", help="One document in so many is set apart for the measures.")
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Chooses the sample that unigram learns from.")] = 0,
    file_format: Annotated[
        str, typer.Option("--format", help="auto, plain, whole, jsonl or extract (<doc …> lines).")
    ] = "auto",
    encoding: options.EncodingOption = "utf-8",
    on_error: options.OnErrorOption = "stop",
    as_json: options.JsonOption = False,
) -> None:
    """Learn a vocabulary from raw text and measure it on documents set apart."""
    report = learn_vocab(
        corpus,
        out=out,
        size=size,
        kind=cast("Kind", kind),  # checked there, as are the others
        lowercase=lowercase,
        coverage=coverage,
        layout=cast("Layout", layout),
        longest_piece=longest_piece,
        seed=seed,
        simplify=simplify,
        against=against,
        held_out_every=held_out_every,
        encoding=encoding,
        on_error=on_error,
        format=cast("CorpusFormat", file_format),
    )
    if as_json:
        show_json(report.to_dict())
    else:
        show_text(report.render())
