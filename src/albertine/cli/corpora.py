"""The verbs that make corpora ready for pretraining: corpus build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from albertine.batching.corpus.build import build_corpus
from albertine.batching.corpus.choices import CorpusChoices, DuplicateChoice, SegmenterChoice
from albertine.batching.shards import TOKENS_PER_SHARD
from albertine.cli import options
from albertine.cli.output import say, show_json, show_text
from albertine.data.cleaning import CleaningChoices, Markup
from albertine.data.corpus import CorpusFormat
from albertine.data.languages import DocumentLanguage, LanguageChoices

__all__ = ["build"]

_READING = "Reading"
_CLEANING = "Cleaning"
_DEFAULTS = CorpusChoices()


def build(
    corpus: Annotated[list[str], typer.Argument(help="Files, folders or globs of text, packed (.gz, .xz …) or not.")],
    tokenizer: Annotated[Path, typer.Option("--tokenizer", help="Tokenizer folder, or vocab.txt or spiece.model.")],
    out: options.OutOption,
    format: Annotated[
        CorpusFormat,
        typer.Option(
            "--format",
            help="plain: blank lines between documents; whole: a file is one; jsonl; extract: <doc …> … </doc>.",
            rich_help_panel=_READING,
        ),
    ] = "auto",
    text_key: Annotated[
        str | None,
        typer.Option("--text-key", help="Key of the text in JSON Lines (default: guessed).", rich_help_panel=_READING),
    ] = None,
    keep_titles: Annotated[
        bool, typer.Option("--keep-titles", help="Keep titles that extracts repeat in the text.")
    ] = False,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            "--exclude",
            help="Evaluation data in any format, a file, folder or quoted pattern (once for each): documents that have "
            "13 words or Chinese characters in a row of it are left out. A run in more than 10 documents does not "
            "count.",
            rich_help_panel=_CLEANING,
        ),
    ] = None,
    encoding: options.EncodingOption = "utf-8",
    on_error: options.OnErrorOption = "stop",
    markup: Annotated[
        Markup,
        typer.Option("--markup", help="Remove HTML and Markdown: auto, always or never.", rich_help_panel=_CLEANING),
    ] = "auto",
    simplify: Annotated[
        bool,
        typer.Option("--simplify", help="Turn traditional into simplified characters.", rich_help_panel=_CLEANING),
    ] = False,
    min_characters: Annotated[
        int,
        typer.Option("--min-characters", help="Leave out documents with fewer.", rich_help_panel=_CLEANING),
    ] = _DEFAULTS.cleaning.minimum,
    boilerplate: Annotated[
        bool,
        typer.Option(
            "--remove-boilerplate",
            help="Take out short lines that stand in very many documents.",
            rich_help_panel=_CLEANING,
        ),
    ] = False,
    language: Annotated[
        DocumentLanguage | None,
        typer.Option("--language", help="Keep documents of this language only.", rich_help_panel=_CLEANING),
    ] = None,
    duplicates: Annotated[
        DuplicateChoice,
        typer.Option(
            "--duplicates",
            help="Leave out near duplicates too (near), exact ones only, or keep all.",
            rich_help_panel=_CLEANING,
        ),
    ] = _DEFAULTS.duplicates,
    similarity: Annotated[
        float,
        typer.Option("--similarity", help="From which on documents are near duplicates.", rich_help_panel=_CLEANING),
    ] = _DEFAULTS.similarity,
    segmenter: Annotated[
        SegmenterChoice,
        typer.Option("--segmenter", help="Chinese words: rjieba, or every character a word."),
    ] = _DEFAULTS.segmenter,
    held_out: Annotated[
        float, typer.Option("--held-out", help="Share of documents set apart for measuring.")
    ] = _DEFAULTS.held_out,
    held_out_documents: Annotated[
        int, typer.Option("--held-out-documents", help="Documents to set apart at least, up to a tenth of all.")
    ] = _DEFAULTS.held_out_documents,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the choice of held-out documents.")] = 0,
    tokens_per_shard: Annotated[
        int, typer.Option("--tokens-per-shard", help="Tokens of a shard at most.")
    ] = TOKENS_PER_SHARD,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes (default: one a processor core).")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin again, whatever stands in the folder.")] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Clean raw text and cut it into token shards; interrupted, the same command goes on."""
    choices = CorpusChoices(
        encoding=encoding,
        on_error=cast("Literal['stop', 'skip']", on_error),  # checked there
        format=format,
        text_key=text_key,
        keep_titles=keep_titles,
        cleaning=CleaningChoices(markup=markup, simplified=simplify, minimum=min_characters),
        boilerplate=boilerplate,
        language=LanguageChoices(keep=language),
        duplicates=duplicates,
        similarity=similarity,
        segmenter=segmenter,
        held_out=held_out,
        held_out_documents=held_out_documents,
        seed=seed,
        tokens_per_shard=tokens_per_shard,
    )
    report = build_corpus(
        list(corpus),
        tokenizer=tokenizer,
        out=out,
        choices=choices,
        exclude=exclude or (),
        workers=workers,
        resume=not restart,
    )
    if as_json:
        show_json(report.to_dict())
    else:
        show_text(report.render())
    say(f"corpus folder: {out}")
