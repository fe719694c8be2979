"""The products of a graph with weights, and the tables it looks rows up in: of float32 numbers, or of integers.

Shapes: I width of what comes in, O width of what goes out, V rows of a table, W their width.

The integer products are those of ONNX's own operators: the states are quantized as they come (DynamicQuantizeLinear,
eight bits without sign, one scale and zero point for all of them), the weights once when the file is written (eight
bits with sign, one scale for each output channel), and MatMulInteger adds up in 32 bits. ONNX Runtime fuses the nodes
of such a product into one kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from albertine.inference.export.graph import Array, Graph, Value

__all__ = ["FloatProducts", "IntegerProducts", "Linear", "Products", "quantized_rows"]

_FLOAT, _INT8_LARGEST = 1, 127
"""onnx.TensorProto.FLOAT, the type of a Cast; and the largest integer of a weight."""
_PAIR_LARGEST = 128
"""Two neighbouring weights of one sign add up to this at most. Processors without VNNI multiply such integers by an
instruction (vpmaddubsw) that adds two products of a state, 0 to 255, and a weight in 16 bits with sign, and cuts off
what is above: 255 * 128 just fits, and so the file computes the same on every processor."""
_LEAST_SCALE = 2.0**-100
"""Rows that would need a smaller one are stored as zeros."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """A linear layer."""

    name: str
    """Of its weights in the file; layers of one name are one layer."""
    weight: Array
    """[O, I] float32."""
    bias: Array | None
    """[O] float32."""


class Products(Protocol):
    """How a graph multiplies by weights."""

    def linear(self, graph: Graph, states: Value, layer: Linear) -> Value:
        """Return [..., O] of states [..., I]."""

    def rows(self, graph: Graph, ids: Value, name: str, table: Array) -> Value:
        """Return the rows [..., W] of a table [V, W] by their ids [...]."""

    def scores(self, graph: Graph, states: Value, name: str, table: Array, bias: Array) -> Value:
        """Return the products [..., V] of states [..., W] with the rows of a table that `rows` has too, and a bias."""

    def back(self, graph: Graph, states: Value, layer: Linear) -> Value:
        """Return [..., I] of states [..., O] through the transpose of a layer that `linear` has too; no bias."""


class FloatProducts:
    """Products of float32 numbers."""

    def linear(self, graph: Graph, states: Value, layer: Linear) -> Value:
        """See `Products`."""
        return _with_bias(graph, graph.node("MatMul", states, _float_weight(graph, layer)), layer.name, layer.bias)

    def rows(self, graph: Graph, ids: Value, name: str, table: Array) -> Value:
        """See `Products`."""
        return graph.node("Gather", graph.weight(name, lambda: table), ids)

    def scores(self, graph: Graph, states: Value, name: str, table: Array, bias: Array) -> Value:
        """See `Products`."""
        flat = graph.reshaped(states, -1, table.shape[1])
        added = graph.weight(f"{name}.scores.bias", lambda: bias)
        found = graph.node("Gemm", flat, graph.weight(name, lambda: table), added, transB=1)
        return _beside(graph, found, states, table.shape[0])

    def back(self, graph: Graph, states: Value, layer: Linear) -> Value:
        """See `Products`."""
        # Gemm multiplies by the transpose of what is stored: a node that transposed it would be folded to a copy.
        flat = graph.reshaped(states, -1, layer.weight.shape[0])
        found = graph.node("Gemm", flat, _float_weight(graph, layer), transB=1)
        return _beside(graph, found, states, layer.weight.shape[1])


class IntegerProducts:
    """Products of integers of eight bits."""

    def linear(self, graph: Graph, states: Value, layer: Linear) -> Value:
        """See `Products`."""
        weight, scale = self._quantized(graph, f"{layer.name}.weight", layer.weight, turned=True)
        return _with_bias(graph, self._product(graph, states, weight, scale), layer.name, layer.bias)

    def rows(self, graph: Graph, ids: Value, name: str, table: Array) -> Value:
        """See `Products`."""
        integers, scale = self._quantized(graph, name, table, turned=False)
        found = graph.node("Cast", graph.node("Gather", integers, ids), to=_FLOAT)
        return graph.node("Mul", found, graph.node("Unsqueeze", graph.node("Gather", scale, ids), graph.integers(-1)))

    def scores(self, graph: Graph, states: Value, name: str, table: Array, bias: Array) -> Value:
        """See `Products`."""
        integers, scale = self._quantized(graph, name, table, turned=False)
        found = self._product(graph, states, graph.node("Transpose", integers, perm=[1, 0]), scale)
        return graph.node("Add", found, graph.weight(f"{name}.scores.bias", lambda: bias))

    def back(self, graph: Graph, states: Value, layer: Linear) -> Value:
        """See `Products`; computed in float32.

        The scales are those of the layer's own direction, and here they stand along the axis that is summed over.
        """
        weight, scale = self._quantized(graph, f"{layer.name}.weight", layer.weight, turned=True)
        values = graph.node("Mul", graph.node("Cast", weight, to=_FLOAT), scale)
        return graph.node("MatMul", states, graph.node("Transpose", values, perm=[1, 0]))

    def _product(self, graph: Graph, states: Value, weight: Value, scale: Value) -> Value:
        """Return [..., O] of states [..., I], integers [I, O] and their scales [O]."""
        taken, step, zero = graph.nodes("DynamicQuantizeLinear", 3, states)
        summed = graph.node("Cast", graph.node("MatMulInteger", taken, weight, zero), to=_FLOAT)
        return graph.node("Mul", summed, graph.node("Mul", step, scale))

    def _quantized(self, graph: Graph, name: str, weight: Array, *, turned: bool) -> tuple[Value, Value]:
        """Store a matrix [rows, columns], turned to [columns, rows] if asked, and the scale of every row; once."""
        found: list[tuple[Array, Array]] = []

        def both() -> tuple[Array, Array]:
            if not found:
                found.append(quantized_rows(weight))
            return found[0]

        integers = graph.weight(name, lambda: both()[0].T if turned else both()[0])
        return integers, graph.weight(f"{name}.scale", lambda: both()[1])


def quantized_rows(weight: Array) -> tuple[Array, Array]:
    """Return the integers of a matrix [O, I], and the scale of each row, float32 [O].

    A weight is its integer times the scale of its row, at most half a scale from what it was. The largest of a row is
    127, unless neighbours would add up to more than 128 then: the scale of such a row is larger.
    """
    size = np.abs(weight).max(axis=1, initial=0.0).astype(np.float64) / _INT8_LARGEST
    even = weight[:, : weight.shape[1] // 2 * 2]
    # rounding adds half of a scale to each of the two at most
    pair = np.abs(even[:, 0::2] + even[:, 1::2]).max(axis=1, initial=0.0).astype(np.float64) / (_PAIR_LARGEST - 1)
    scale = np.maximum(size, pair).astype(np.float32)
    scale[scale < _LEAST_SCALE] = 1.0
    integers = np.rint(weight / scale[:, None]).clip(-_INT8_LARGEST, _INT8_LARGEST)
    return integers.astype(np.int8), scale


def _float_weight(graph: Graph, layer: Linear) -> Value:
    """Return the weight of a layer as products take it, [I, O]."""
    return graph.weight(f"{layer.name}.weight", lambda: layer.weight.T)


def _with_bias(graph: Graph, products: Value, name: str, bias: Array | None) -> Value:
    if bias is None:
        return products
    return graph.node("Add", products, graph.weight(f"{name}.bias", lambda: bias))


def _beside(graph: Graph, rows: Value, states: Value, width: int) -> Value:
    """Return [B, T, width] of rows [B * T, width] that were made of states [B, T, ...]."""
    shape = graph.node("Concat", graph.node("Shape", states, end=2), graph.integers(width), axis=0)
    return graph.node("Reshape", rows, shape)
