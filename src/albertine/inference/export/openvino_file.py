"""A model's graph as OpenVINO's files, with weights of 32, 16 or 8 bits, and such a folder opened with OpenVINO.

Eight bits are a storage here: OpenVINO holds the integers and their scales, one for each output channel, and decides
itself, by processor and settings, whether it multiplies integers or what they stand for.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from albertine.errors import CheckpointError, FailureError, MissingDependencyError
from albertine.inference.export.graph import Array
from albertine.inference.export.onnx_file import ONNX_FILE, write_onnx

if TYPE_CHECKING:
    import onnx
    import openvino

__all__ = ["OPENVINO_FILE", "OpenVinoWeights", "open_openvino", "write_openvino"]

OPENVINO_FILE = "model.xml"
OpenVinoWeights = Literal["fp32", "fp16", "int8"]

_LEAST_PACKED = 4096
"""Numbers of a matrix from which on its weights are stored in eight bits."""
_LARGEST = 127


def write_openvino(model: onnx.ModelProto, folder: Path, weights: OpenVinoWeights) -> None:
    """Write a graph of float32 numbers into a folder: model.xml, and the weights in model.bin.

    Args:
        model: as `build_onnx` makes it.
        folder: which takes both files.
        weights: what they are stored as; OpenVINO computes in whatever type its settings say.

    Raises:
        FailureError: the files cannot be written.
        MissingDependencyError: the package openvino is not installed.
    """
    library = _library()
    with tempfile.TemporaryDirectory(dir=folder) as passing:  # a graph in memory ends at 2 GB, one in files does not
        write_onnx(model, Path(passing))
        read = library.Core().read_model(Path(passing) / ONNX_FILE)
        if weights == "int8":
            _pack(read, library)
        _name_outputs_alone(read)
        try:
            library.save_model(read, folder / OPENVINO_FILE, compress_to_fp16=weights == "fp16")
        except RuntimeError as error:  # all that it says of a disk that is full
            raise FailureError(
                "OpenVINO could not write its files",
                received=str(error).strip().partition("\n")[0],
                next_step="Look whether there is room on the disk, and run the same command again",
            ) from error


def open_openvino(
    folder: str | Path, *, precision: Literal["f32", "bf16"] | None = None, threads: int | None = None
) -> openvino.CompiledModel:
    """Open an exported folder with OpenVINO, on the CPU.

    Args:
        folder: as `albertine convert … --to openvino` wrote it.
        precision: what it computes in; None leaves that to OpenVINO, which takes bf16 where the processor has it.
        threads: that it runs on; None for as many as there are cores.

    Raises:
        CheckpointError: the folder holds no files of OpenVINO's, or some that cannot be opened.
        MissingDependencyError: the package openvino is not installed.
    """
    library = _library()
    path = Path(folder) / OPENVINO_FILE
    if not path.is_file():
        raise CheckpointError(
            "there is no model of OpenVINO's here",
            where=str(path),
            next_step="Write one first: albertine convert MODEL FOLDER --to openvino",
        )
    settings: dict[str, str] = {"PERFORMANCE_HINT": "LATENCY"}
    if precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = precision
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    try:
        return library.Core().compile_model(path, "CPU", settings)
    except RuntimeError as error:
        raise CheckpointError(
            "OpenVINO cannot open this file", where=str(path), received=str(error).partition("\n")[0]
        ) from error


def _library() -> ModuleType:
    """Return the package openvino, imported without what would tell its makers so over the network."""
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    modules: dict[str, Any] = sys.modules  # None in it makes an import fail: a stand-in that sends nothing is taken
    teller = "openvino_telemetry"
    modules[teller] = None
    try:
        import openvino  # lazy: optional
    except ImportError as error:
        raise MissingDependencyError("openvino", extra="export", feature="a model of OpenVINO's") from error
    finally:
        del modules[teller]
    library: ModuleType = openvino
    return library


def _name_outputs_alone(model: openvino.Model) -> None:
    """Take the names off all values but inputs and outputs: an output would get those of nodes that are fused to it."""
    named = {name for port in (*model.inputs, *model.outputs) for name in port.names}
    for node in model.get_ops():
        for port in node.outputs():
            port.get_tensor().set_names(port.names & named)


def _pack(model: openvino.Model, library: ModuleType) -> None:
    """Store every large matrix of a model as integers and scales; matrices that are used many times once."""
    operators = library.opset13
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != library.Type.f32:
            continue
        weight: Array = node.data
        if weight.ndim != 2 or weight.size < _LEAST_PACKED:
            continue
        axis = _summed_axis(node)
        if axis is None:
            continue
        largest = np.abs(weight).max(axis=axis, keepdims=True)
        scale = np.where(largest > 0, largest / _LARGEST, 1.0).astype(np.float32)
        integers = np.rint(weight / scale).astype(np.int8)
        values = operators.multiply(operators.convert(operators.constant(integers), "f32"), operators.constant(scale))
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(values.output(0))


def _summed_axis(node: openvino.Node) -> int | None:
    """Return the axis of a weight along which it has one scale; None for what is no weight.

    That is the one that its products are summed over; a table of which rows are looked up has a scale for each row.
    """
    for target in node.output(0).get_target_inputs():
        user = target.get_node()
        kind = user.get_type_name()
        if kind == "Gather":
            return 1
        if kind == "MatMul" and target.get_index() == 1:
            return 1 if user.get_attributes()["transpose_b"] else 0
    return None
