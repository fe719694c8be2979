"""From one form of a model to another: the formats that Albertine opens again, and those of other runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast, get_args

from albertine.checkpoints.convert import Conversion
from albertine.checkpoints.convert import convert as convert_checkpoint
from albertine.checkpoints.fitting import TargetFormat
from albertine.checkpoints.storage import Storage
from albertine.checkpoints.verify import DEFAULT_TOLERANCE
from albertine.errors import ConfigError, unknown_name
from albertine.inference.export.export import Export, ExportFormat, export
from albertine.models.pooling import PoolingMode

__all__ = ["convert"]


def convert(
    source: str | Path,
    target: str | Path,
    *,
    to: TargetFormat | ExportFormat | None = None,
    storage: Storage | None = None,
    verify: bool = False,
    activation: Literal["erf", "tanh"] | None = None,
    share: Literal["average"] | int | None = None,
    groups: int = 1,
    unshare: bool = False,
    pooling: PoolingMode | None = None,
    encoder_only: bool = False,
    allow_pickle: bool = False,
    texts: Sequence[str | tuple[str, str]] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    overwrite: bool = False,
) -> Conversion | Export:
    """Write a model in another format, for another runtime, or with weights of another size.

    Args:
        source: anything that `load_encoder` opens, or a trained model.
        target: the folder to write.
        to: albertine, huggingface, tensorflow, sentence-transformers, which Albertine opens again; or for other
            runtimes, always verified, onnx, onnx-int8, openvino, openvino-fp16, openvino-int8. None, where only a
            storage is asked for, is albertine.
        storage: of the weights, as `albertine.checkpoints.convert.convert` explains; not for other runtimes, and so
            are `activation`, `share`, `groups` and `unshare`.
        verify: run both on the same texts, and keep the target only where they agree.
        activation: see there.
        share: see there.
        groups: see there.
        unshare: see there.
        pooling: how a text's vector is made, for a sentence-transformers target whose source does not say it; for
            another runtime: give that vector instead of the states.
        encoder_only: leave every head out.
        allow_pickle: read weights that are a pickle, with a restricted loader, where there are no others.
        texts: to verify on, texts or pairs; None for built-in ones.
        tolerance: the largest difference of an output that passes; for another runtime as a share of its scale.
        overwrite: for another runtime: put the folder in the place of an earlier one of its kind.

    Raises:
        ConfigError: options that contradict each other or the source, or a target that is in use.
        CheckpointError: the source cannot be opened.
        FailureError: the result differs from the source, and was not kept; or the disk is full.
    """
    if to is not None and to not in (known := (*get_args(TargetFormat), *get_args(ExportFormat))):
        raise unknown_name("format", to, known, where="to")
    if to not in get_args(ExportFormat):
        if overwrite:
            raise ConfigError(
                "only exports are overwritten as a whole",
                where="overwrite",
                allowed=f"with to {', '.join(get_args(ExportFormat))}",
                next_step="Leave it out: a model takes the place of an earlier one of Albertine's by itself",
            )
        return convert_checkpoint(
            source,
            target,
            to=cast("TargetFormat | None", to),
            storage=storage,
            verify=verify,
            activation=activation,
            share=share,
            groups=groups,
            unshare=unshare,
            pooling=pooling,
            encoder_only=encoder_only,
            allow_pickle=allow_pickle,
            texts=texts,
            tolerance=tolerance,
        )
    changes = {
        "storage": storage is not None,
        "activation": activation is not None,
        "share": share is not None,
        "groups": groups != 1,
        "unshare": unshare,
    }
    if asked := [name for name, given in changes.items() if given]:
        raise ConfigError(
            "a model is exported as it is",
            where=asked[0],
            received=f"to {to}",
            next_step="Convert it with --to albertine first, and export what that gives",
        )
    return export(
        source,
        target,
        to=cast("ExportFormat", to),
        pooling=pooling,
        encoder_only=encoder_only,
        allow_pickle=allow_pickle,
        texts=texts,
        tolerance=tolerance,
        overwrite=overwrite,
    )
