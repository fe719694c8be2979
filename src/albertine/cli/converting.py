"""The verbs that bring a model from one form into another: convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from albertine.checkpoints.convert import convert as run_convert
from albertine.checkpoints.fitting import TargetFormat
from albertine.checkpoints.storage import Storage
from albertine.checkpoints.verify import DEFAULT_TOLERANCE
from albertine.cli import options
from albertine.cli.output import show_json, show_text
from albertine.errors import ConfigError
from albertine.models.pooling import PoolingMode

__all__ = ["convert"]


def convert(
    source: Annotated[
        str, typer.Argument(help="Model folder, TensorFlow checkpoint, archive, hub:ORGANISATION/NAME or preset:NAME.")
    ],
    target: Annotated[Path, typer.Argument(help="The folder to write.")],
    to: Annotated[
        str | None, typer.Option("--to", help="albertine, huggingface, tensorflow or sentence-transformers.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option("--storage", help="fp32, bf16 or int8 (read by Albertine alone); default: as in the source."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Open the result, run both on the same texts, keep it only if they agree.")
    ] = False,
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
        typer.Option("--pooling", help="For sentence-transformers, if the source is silent: mean, cls, max …"),
    ] = None,
    encoder_only: Annotated[
        bool, typer.Option("--encoder-only", help="Leave every head out, whatever it does.")
    ] = False,
    allow_pickle: options.AllowPickleOption = False,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="The largest difference of an output that --verify lets pass.")
    ] = DEFAULT_TOLERANCE,
    as_json: options.JsonOption = False,
) -> None:
    """Write a model in another format, or with smaller weights, and prove it: --verify."""
    result = run_convert(
        source,
        target,
        to=cast("TargetFormat | None", to),  # checked there, as are the others
        storage=cast("Storage | None", storage),
        verify=verify,
        activation=activation,  # type: ignore[arg-type]  # as above
        share=_share(share),
        groups=groups,
        unshare=unshare,
        pooling=cast("PoolingMode | None", pooling),
        encoder_only=encoder_only,
        allow_pickle=allow_pickle,
        tolerance=tolerance,
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
