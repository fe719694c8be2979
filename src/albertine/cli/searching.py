"""The verb search: the texts nearest to a query, in files or in an index that was kept."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

from albertine.cli import options, streams
from albertine.cli.output import say, show_json, show_text
from albertine.data.passages import Granularity
from albertine.inference.loading import load
from albertine.inference.search import Hit
from albertine.inference.searching import open_index
from albertine.settings import prepare_computing

__all__ = ["search"]

SEARCH_SCHEMA = 1
_SHOWN = 160
"""Characters of a passage on a line of the terminal."""


def search(
    source: Annotated[
        Path, typer.Argument(help="Text files (a file, a folder, a glob), or an index kept with --keep.")
    ],
    queries: Annotated[
        list[str] | None, typer.Argument(help="What to look for; without any, the lines of a pipe.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="What makes vectors of texts: a folder or a name.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Results a query.")] = 5,
    granularity: Annotated[
        str, typer.Option("--granularity", help="What is found: file, paragraph or line.")
    ] = "paragraph",
    rerank: Annotated[
        Path | None, typer.Option("--rerank", help="A trained cross-encoder that orders the nearest anew.")
    ] = None,
    candidates: Annotated[int, typer.Option("--candidates", help="How many of the nearest it looks at.")] = 50,
    keep: Annotated[Path | None, typer.Option("--keep", help="Folder to write the index to.")] = None,
    encoding: options.EncodingOption = "utf-8",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines, one query a line.")] = False,
) -> None:
    """Find the texts that mean what a query means, with file and line."""
    prepare_computing(answering=True)
    found = open_index(source, encoder=encoder, granularity=cast("Granularity", granularity), encoding=encoding)
    if keep is not None:
        found.save(keep)
        say(f"index of {len(found):,} texts: {keep}")
        if not queries:
            return
    model = None if rerank is None else load(rerank)
    for piece in [queries] if queries else _piped(encoding):
        asked = [query for query in piece if query.strip()]
        for query, hits in zip(
            asked, found.search(asked, k, rerank=model, candidates=candidates) if asked else [], strict=True
        ):
            if as_json:
                document = {
                    "schema_version": SEARCH_SCHEMA,
                    "query": query,
                    "hits": list(map(dataclasses.asdict, hits)),
                }
                show_json(document, indent=None)
            else:
                show_text("\n".join(_lines(query, hits)))


def _piped(encoding: str) -> Iterator[list[str]]:
    if sys.stdin.isatty():
        say("reading queries from the keyboard, one a line; end with Ctrl-D")
    for examples in streams.piped_examples(encoding):
        yield [example.text for example in examples]


def _lines(query: str, hits: Sequence[Hit]) -> list[str]:
    lines = [query]
    for hit in hits:
        text = " ".join(hit.text.split())
        place = f"{hit.file}:{hit.line}" if hit.file else f"text {hit.place}"
        lines.append(f"  {hit.score:.4f}  {place}  {text[:_SHOWN]}" + ("…" if len(text) > _SHOWN else ""))
    return lines
