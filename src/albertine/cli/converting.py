"""The verbs that bring a model from one form into another: convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from albertine.checkpoints.fitting import TargetFormat
from albertine.checkpoints.storage import Storage
from albertine.checkpoints.verify import DEFAULT_TOLERANCE
from albertine.cli import options
from albertine.cli.output import show_json, show_text
from albertine.cli.streams import file_examples
from albertine.data.columns import Columns
from albertine.data.formats import LABELLED_TEXTS
from albertine.errors import ConfigError
from albertine.inference.conversion import convert as run_convert
from albertine.inference.export.export import ExportFormat
from albertine.models.pooling import PoolingMode

__all__ = ["convert"]


def convert(
    source: Annotated[
        str, typer.Argument(help="Model folder, TensorFlow checkpoint, archive, hub:ORGANISATION/NAME or preset:NAME.")
    ],
    target: Annotated[Path, typer.Argument(help="The folder to write.")],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="albertine, huggingface, tensorflow, sentence-transformers; for other runtimes onnx, onnx-int8, "
            "openvino, openvino-fp16, openvino-int8.",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option("--storage", help="fp32, bf16 or int8 (read by Albertine alone); default: as in the source."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Open the result, run both on the same texts, keep it only if they agree; always so for other "
            "runtimes.",
        ),
    ] = False,
    verify_with: Annotated[
        Path | None,
        typer.Option("--verify-with", help="Verify on the texts of this file: one a line, or a table with a header."),
    ] = None,
    activation: Annotated[
        str | None, typer.Option("--activation", help="erf or tanh: the form of GELU that the target is to have.")
    ] = None,
    share: Annotated[
        str | None,
        typer.Option("--share", help="BERT to ALBERT, as a start for training: average, or a layer's number from 0."),
    ] = None,
    groups: Annotated[int, typer.Option("--groups", help="Groups of the ALBERT that --share makes.")] = 1,
    unshare: Annotated[
        bool, typer.Option("--unshare", help="ALBERT to BERT: a copy of the shared block for every layer.")
    ] = False,
    pooling: Annotated[
        str | None,
        typer.Option(
            "--pooling",
            help="mean, cls, max …: for sentence-transformers, if the source is silent; for other runtimes, to get one "
            "vector a text.",
        ),
    ] = None,
    encoder_only: Annotated[
        bool, typer.Option("--encoder-only", help="Leave every head out, whatever it does.")
    ] = False,
    allow_pickle: options.AllowPickleOption = False,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            help="The largest difference of an output that passes; for other runtimes as a share of its scale.",
        ),
    ] = DEFAULT_TOLERANCE,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="For other runtimes: put the folder in the place of an earlier export.")
    ] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Write a model in another format, for another runtime, or with smaller weights, and prove it: --verify."""
    result = run_convert(
        source,
        target,
        to=cast("TargetFormat | ExportFormat | None", to),  # checked there, as are the others
        storage=cast("Storage | None", storage),
        verify=verify or verify_with is not None,
        activation=activation,  # type: ignore[arg-type]  # as above
        share=_share(share),
        groups=groups,
        unshare=unshare,
        pooling=cast("PoolingMode | None", pooling),
        encoder_only=encoder_only,
        allow_pickle=allow_pickle,
        texts=None if verify_with is None else _texts(verify_with),
        tolerance=tolerance,
        overwrite=overwrite,
    )
    if as_json:
        show_json(result.to_dict())
    else:
        show_text(result.render())


def _share(value: str | None) -> Literal["average"] | int | None:
    if value is None or value == "average":
        return None if value is None else "average"
    if not value.isdecimal():
        raise ConfigError(
            "this is no way to share layers", where="--share", received=value, allowed="average, or a layer's number"
        )
    return int(value)


def _texts(path: Path) -> list[str | tuple[str, str]]:
    """Return the texts of a file, or its pairs; empty ones are left out."""
    pieces = file_examples(path, LABELLED_TEXTS, Columns(), encoding="utf-8", on_error="stop", quoting="auto")
    return [
        one.text if one.text_pair is None else (one.text, one.text_pair)
        for piece in pieces
        for one in piece
        if one.text.strip()
    ]
