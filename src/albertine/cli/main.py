"""`albertine`: the verbs put together, and the one place where failures become exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import albertine
from albertine.cli import (
    comparing,
    compressing,
    converting,
    corpora,
    encoding,
    inspecting,
    modelling,
    pretraining,
    searching,
    serving,
    vocabularies,
)
from albertine.cli.output import run_guarded, show_text, start_messages

__all__ = ["app", "main"]

app = typer.Typer(
    name="albertine",
    help="BERT and ALBERT text encoders, Chinese and English: compare, train, check and use them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Look at data before training on it.", no_args_is_help=True)
app.add_typer(data_app, name="data")
corpus_app = typer.Typer(help="Raw text made ready for pretraining.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")
vocab_app = typer.Typer(help="Vocabularies of one's own.", no_args_is_help=True)
app.add_typer(vocab_app, name="vocab")

app.command("demo")(comparing.demo)
app.command("bench")(inspecting.bench)
app.command("compare")(comparing.compare)
app.command("compress")(compressing.compress)
app.command("convert")(converting.convert)
app.command("encode")(encoding.encode)
app.command("info")(inspecting.info)
app.command("finetune")(modelling.finetune)
app.command("evaluate")(modelling.evaluate)
app.command("predict")(modelling.predict)
app.command("pretrain")(pretraining.pretrain)
app.command("search")(searching.search)
app.command("serve")(serving.serve)
corpus_app.command("build")(corpora.build)
data_app.command("check")(inspecting.check)
vocab_app.command("learn")(vocabularies.learn)


def _version(wanted: bool) -> None:
    if wanted:
        show_text(f"albertine {albertine.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback behind an error line.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and results.")] = False,
) -> None:
    """Read the options that stand before the verb."""
    if debug:
        os.environ["ALBERTINE_DEBUG"] = "1"
    start_messages(quiet=quiet)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: the words after `albertine`; None for the process's own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in words:  # wherever it stands, people add it to the end of the line that failed
        words = ["--debug", *(word for word in words if word != "--debug")]
    verb = next((word for word in words if not word.startswith("-")), "")
    return run_guarded(lambda: app(words, standalone_mode=False), verb=verb)
