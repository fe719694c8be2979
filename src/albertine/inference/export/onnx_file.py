"""A model's graph as an ONNX file, in float32 or with products of integers, and a file opened with ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from albertine.errors import CheckpointError, FailureError, MissingDependencyError
from albertine.inference.export.encoder_graph import EncoderGraph, Weights
from albertine.inference.export.graph import Graph
from albertine.inference.export.products import FloatProducts, IntegerProducts
from albertine.inference.export.subject import Subject

if TYPE_CHECKING:
    import onnx
    import onnxruntime

__all__ = ["ONNX_FILE", "WeightProducts", "build_onnx", "open_onnx", "weight_products", "write_onnx"]

ONNX_FILE = "model.onnx"
_DATA_FILE = "model.onnx.data"
_LARGEST_MESSAGE = 1_900_000_000
"""Bytes of weights above which they stand in a file of their own: a protobuf message ends at 2 GB."""
_FLOAT_PRODUCTS = ("MatMul", "Gemm")
_INTEGER_PRODUCT = "MatMulInteger"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightProducts:
    """How often a graph multiplies states by weights; products of states with states are not counted."""

    integer: int
    """Of integers."""
    floating: int
    """Of float32 numbers."""


def build_onnx(subject: Subject, *, int8: bool) -> onnx.ModelProto:
    """Return the graph of a model.

    Args:
        subject: the model.
        int8: multiply integers instead of float32 numbers, and store them.

    Raises:
        MissingDependencyError: the package onnx is not installed.
    """
    graph = Graph()
    weights = Weights(subject.module.state_dict())
    products = IntegerProducts() if int8 else FloatProducts()
    encoder = EncoderGraph(graph, subject.config, weights, products, subject.prefix)
    values = subject.head.nodes(encoder)
    for one in subject.head.outputs:
        graph.output(one.name, values[one.name], one.axes)
    return graph.model()


def write_onnx(model: onnx.ModelProto, folder: Path) -> None:
    """Write a graph into a folder: one file, or two where the weights are more than such a file can hold.

    Raises:
        FailureError: the graph is not one that ONNX allows, which is a fault of Albertine's.
    """
    import onnx.checker  # lazy: optional

    apart = sum(len(one.raw_data) for one in model.graph.initializer) > _LARGEST_MESSAGE
    path = folder / ONNX_FILE
    if apart:
        onnx.save_model(model, path, save_as_external_data=True, location=_DATA_FILE)
    else:
        path.write_bytes(model.SerializeToString())
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise FailureError(
            "the graph is not one that ONNX allows, and was not kept", received=str(error).partition("\n")[0]
        ) from error


def weight_products(model: onnx.ModelProto) -> WeightProducts:
    """Count a graph's products with weights."""
    constant = {one.name for one in model.graph.initializer}
    integer = floating = 0
    for node in model.graph.node:
        if node.input and constant.issuperset(node.input):  # made of weights alone
            constant.update(node.output)
        elif node.op_type in _FLOAT_PRODUCTS and node.input[1] in constant:
            floating += 1
        elif node.op_type == _INTEGER_PRODUCT:
            integer += 1
    return WeightProducts(integer=integer, floating=floating)


def open_onnx(folder: str | Path, *, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open an exported folder with ONNX Runtime, on the CPU.

    Args:
        folder: as `albertine convert … --to onnx` or `onnx-int8` wrote it.
        threads: that a product runs on; None for as many as there are cores.

    Raises:
        CheckpointError: the folder holds no ONNX file, or one that cannot be opened.
        MissingDependencyError: the package onnxruntime is not installed.
    """
    try:
        import onnxruntime  # lazy: optional
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", extra="export", feature="an ONNX file") from error
    path = Path(folder) / ONNX_FILE
    if not path.is_file():
        raise CheckpointError(
            "there is no ONNX file here",
            where=str(path),
            next_step="Write one first: albertine convert MODEL FOLDER --to onnx",
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised as well
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it raises classes of its own that have no common root
        raise CheckpointError(
            "ONNX Runtime cannot open this file", where=str(path), received=str(error).partition("\n")[0]
        ) from error
