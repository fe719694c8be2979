"""A model written for another runtime, and held against itself before it is kept."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from albertine.checkpoints.convert_options import check_target
from albertine.checkpoints.native import CARD_FILE, CONFIG_FILE, MANIFEST_FILE, TASK_FILE
from albertine.checkpoints.reading import read_json
from albertine.checkpoints.report import listed
from albertine.checkpoints.verify import DEFAULT_TOLERANCE
from albertine.errors import ConfigError, FailureError, unknown_name
from albertine.files import atomic_folder
from albertine.inference.export.description import EXPORT_FILE, TAGS_FILE, describe, write_companions
from albertine.inference.export.onnx_file import WeightProducts, build_onnx, weight_products, write_onnx
from albertine.inference.export.openvino_file import OpenVinoWeights, write_openvino
from albertine.inference.export.subject import Subject, open_subject
from albertine.inference.export.verification import ExportVerification, verify_export
from albertine.inference.inputs import Input
from albertine.models.pooling import PoolingMode
from albertine.settings import language as report_language

__all__ = ["Export", "ExportFormat", "export"]

SCHEMA_VERSION = 1

ExportFormat = Literal["onnx", "onnx-int8", "openvino", "openvino-fp16", "openvino-int8"]

_COMPANIONS = (
    EXPORT_FILE,
    CONFIG_FILE,
    MANIFEST_FILE,
    TASK_FILE,
    CARD_FILE,
    TAGS_FILE,
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "spiece.model",
)
"""The files that stand beside a graph."""
_PRODUCTS_OF_A_PASS = 4
"""Queries, keys and values together; the mixture; both layers of the feed-forward part."""
_BOUNDED: tuple[ExportFormat, ...] = ("onnx", "openvino")
_OPENVINO: Mapping[ExportFormat, OpenVinoWeights] = {
    "openvino": "fp32",
    "openvino-fp16": "fp16",
    "openvino-int8": "int8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What an export did."""

    source: str
    """What was opened."""
    source_format: str
    """The format it was in."""
    target: str
    """The folder that was written."""
    target_format: ExportFormat
    """The format it is in."""
    bytes: int
    """Of the files that hold the graph."""
    parameters: int
    """Numbers that the source has for it."""
    products: WeightProducts | None
    """Of the ONNX graph that was written; None for OpenVINO, which decides by itself what it multiplies."""
    outputs: tuple[str, ...]
    """The names of what the graph gives; export.json says what they are."""
    verification: ExportVerification
    """How the graph compares with the model."""

    def to_dict(self) -> dict[str, object]:
        """Return the document that `--json` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "source_format": self.source_format,
            "target": self.target,
            "target_format": self.target_format,
            "bytes": self.bytes,
            "parameters": self.parameters,
            "products": None if self.products is None else dataclasses.asdict(self.products),
            "outputs": list(self.outputs),
            "verification": self.verification.to_dict(),
        }

    def render(self) -> str:
        """Return the lines for a terminal."""
        lines = [
            f"{self.source} ({self.source_format}) -> {self.target} ({self.target_format}): "
            f"{self.bytes / 1e6:,.1f} MB for {self.parameters:,} parameters, outputs {', '.join(self.outputs)}"
        ]
        if self.products is not None:
            counts = f"{self.products.integer} of integers, {self.products.floating} of float32"
            lines.append(f"products with weights: {counts}")
        return "\n".join([*lines, *self.verification.lines()])


def export(
    source: str | Path,
    target: str | Path,
    *,
    to: ExportFormat,
    pooling: PoolingMode | None = None,
    encoder_only: bool = False,
    allow_pickle: bool = False,
    texts: Sequence[Input] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    overwrite: bool = False,
) -> Export:
    """Write a trained model or an encoder for another runtime.

    The folder appears whole or not at all, and only where the graph computes what the model does.

    Args:
        source: a folder of a trained model, or anything else that `load_encoder` opens.
        target: the folder to write.
        to: onnx: float32; onnx-int8: products of integers of eight bits, a quarter of the bytes; openvino, and with
            weights of 16 or 8 bits openvino-fp16 and openvino-int8.
        pooling: give one vector a text, made in this way; for an encoder whose folder does not say how.
        encoder_only: leave every head out.
        allow_pickle: read weights that are a pickle, with a restricted loader, where there are no others.
        texts: that graph and model are compared on, pairs for a model of pairs; None for built-in ones.
        tolerance: the largest difference that onnx and openvino may have, as a share of an output's largest number;
            of the other formats differences and changed answers are reported.
        overwrite: put the folder in the place of an earlier export.

    Raises:
        CheckpointError: the source cannot be opened.
        ConfigError: a model that cannot be exported, a target that is in use, or an unknown format.
        FailureError: the graph differs from the model and was not kept, or the disk is full.
        MissingDependencyError: a package of the extra `export` is not installed.
    """
    if to not in get_args(ExportFormat):
        raise unknown_name("format", to, get_args(ExportFormat), where="to")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError("not a tolerance", where="tolerance", received=tolerance, allowed="a number, 0 or more")
    place = Path(target)
    check_target(source, place)
    _check_free(place, overwrite=overwrite)
    subject = open_subject(source, encoder_only=encoder_only, pooling=pooling, allow_pickle=allow_pickle)
    with atomic_folder(place) as folder:
        products = _write_graph(subject, folder, to)
        files = sorted(one.name for one in folder.iterdir())
        size = sum((folder / name).stat().st_size for name in files)
        found = verify_export(subject, folder, texts=texts, bound=tolerance if to in _BOUNDED else None)
        if wrong := found.failures():
            raise FailureError(
                "the graph does not compute what the model does, and was not kept",
                where=str(target),
                received="; ".join(wrong),
                allowed="finite numbers" if found.bound is None else f"a share of {found.bound:g} of an output's scale",
                next_step="Report this with the model's configuration, unless the tolerance is too small",
            )
        write_companions(
            subject,
            folder,
            describe(subject, to, files) | {"verification": found.summary()},
            runtime="openvino" if to in _OPENVINO else "onnxruntime",
            language=report_language(),
        )
        _flush(folder)
    return Export(
        source=str(source),
        source_format=subject.format,
        target=str(target),
        target_format=to,
        bytes=size,
        parameters=sum(one.numel() for one in subject.module.parameters()),
        products=products,
        outputs=tuple(one.name for one in subject.head.outputs),
        verification=found,
    )


def _write_graph(subject: Subject, folder: Path, to: ExportFormat) -> WeightProducts | None:
    """Write the graph in one of the formats, and count the products of an ONNX file.

    Raises:
        FailureError: a product of a pass is not one of integers where all are to be: a fault of Albertine's.
    """
    model = build_onnx(subject, int8=to == "onnx-int8")
    if to in _OPENVINO:
        write_openvino(model, folder, _OPENVINO[to])
        return None
    products = weight_products(model)
    least = _PRODUCTS_OF_A_PASS * subject.config.num_passes
    if to == "onnx-int8" and products.integer < least:
        raise FailureError(
            "products of the encoder were left in float32", received=f"{products.integer} of at least {least}"
        )
    write_onnx(model, folder)
    return products


def _check_free(target: Path, *, overwrite: bool) -> None:
    """Refuse a folder in which something would be lost.

    Raises:
        ConfigError: it holds something, and is not to be overwritten, or is more than an export.
    """
    there = {str(one.relative_to(target)) for one in target.iterdir()} if target.exists() else set()
    if not there:
        return
    if strays := sorted(there - _files_of_export(target)):
        raise ConfigError(
            "other files than an export's stand in the target, and would be lost",
            where=str(target),
            received=listed(strays),
            next_step="Name a new folder",
        )
    if not overwrite:
        raise ConfigError(
            "an earlier export stands in the target",
            where=str(target),
            next_step="Name a new folder, or put the new one in its place with --overwrite",
        )


def _files_of_export(folder: Path) -> set[str]:
    """Return the names of what an export wrote into a folder; none where there is no export."""
    if not (folder / EXPORT_FILE).is_file():
        return set()
    graph = read_json(folder / EXPORT_FILE).get("files")
    return {*_COMPANIONS, *(map(str, graph) if isinstance(graph, list) else ())}


def _flush(folder: Path) -> None:
    """Make sure that every file is on the disk before the folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
