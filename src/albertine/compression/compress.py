"""The same model with integer products: made, measured and written."""

from __future__ import annotations

import logging
from pathlib import Path

from albertine.data.columns import Columns
from albertine.data.samples import load_splits
from albertine.errors import DataError, UserError
from albertine.inference.int8 import Int8Result, fit_int8
from albertine.inference.loading import load
from albertine.inference.model import Model

__all__ = ["compress"]

logger = logging.getLogger("albertine")

_CALIBRATION = 512
"""Texts that show what enters the products."""


def compress(
    model: str | Path,
    data: str | Path,
    *,
    out: str | Path,
    max_loss: float = 0.005,
    columns: Columns | None = None,
    dev: str | Path | None = None,
    encoding: str = "utf-8",
    on_error: str = "stop",
    quoting: str = "auto",
    seed: int = 0,
) -> Int8Result:
    """Write a copy of a model whose products run in int8 where that is faster and good enough.

    Calibrated on texts of the training split, measured on the development split: with the data and the seed that the
    model was trained with, it has learnt from neither of the examples that it is measured on.

    Args:
        model: the folder of a model with an encoder.
        data: as for the training of the model: a file, or a folder with train and dev.
        out: the folder of the copy.
        max_loss: of the main metric on the development split; products that cost more stay in floating point.
        columns: which columns to read; None to look for their usual names.
        dev: a development file.
        encoding: of the files.
        on_error: what a bad row does, "stop" or "skip".
        quoting: whether a quote holds a field together: "on", "off" or "auto".
        seed: of the division of a single file.

    Returns:
        What was measured; without a plan where int8 is not worth it, and then nothing is written.

    Raises:
        ConfigError: the model has no encoder, or the processor no integer products.
        DataError: the data cannot be used, or has no development split.
        UserError: the copy would be written over the model.
    """
    folder = Path(out)
    if folder.resolve() == Path(model).resolve():
        raise UserError(
            "the copy would take the model's place", where=str(out), next_step="Name another folder with --out"
        )
    opened = load(model)
    splits = load_splits(
        Path(data),
        format=opened.task.format(opened.task_config.options),
        dev=dev,
        columns=columns or Columns(),
        seed=seed,
        encoding=encoding,
        on_error=on_error,
        quoting=quoting,
    )
    if not splits.dev:
        raise DataError(
            "there is no development split to measure on", where=str(data), next_step="Name one with --dev FILE"
        )
    result = fit_int8(opened, splits.train[:_CALIBRATION], splits.dev, allowed_loss=max_loss)
    if result.plan is None:
        logger.warning("int8 is not worth it for this model here, nothing was written")
        return result
    faster = Model(
        opened.learnt,
        config=opened.config,
        tokenizer=opened.tokenizer,
        task=opened.task,
        task_config=opened.task_config,
        plan=result.plan,
        manifest={**opened.manifest, "int8": result.facts()},
        card=opened.card,
    )
    faster.save(folder)
    return result
