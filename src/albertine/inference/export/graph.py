"""An ONNX graph under construction: nodes with speaking names, and every weight in it once.

The graph is written, not traced from a run: so it has no more than the function needs, a weight that is used many
times is one initializer under its own name, and neither PyTorch's internals nor another package take part.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NewType

import numpy as np
import numpy.typing as npt

from albertine import __version__
from albertine.errors import MissingDependencyError

if TYPE_CHECKING:
    import onnx

__all__ = ["OPSET", "Array", "Axes", "Graph", "Value"]

OPSET = 17
"""Of the standard operators: the first one with LayerNormalization, and old enough for every runtime of these years."""
_IR_VERSION = 8
"""Of the file, the one that belongs to that set."""

Array = npt.NDArray[Any]

Axes = Sequence[str | int]
"""A shape: numbers, and names for what is only known when the graph runs."""

Value = NewType("Value", str)
"""What a node gives or takes, by its name."""


class Graph:
    """Takes nodes in the order in which they are computed, and becomes a model.

    Raises:
        MissingDependencyError: the package onnx is not installed.
    """

    def __init__(self) -> None:
        try:
            import onnx.helper
            import onnx.numpy_helper  # lazy: optional
        except ImportError as error:
            raise MissingDependencyError("onnx", extra="export", feature="the export of models") from error
        self._helper = onnx.helper
        self._tensor = onnx.numpy_helper.from_array
        self._types = {"int64": onnx.TensorProto.INT64, "float32": onnx.TensorProto.FLOAT}
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._given_out: dict[Value, Value] = {}
        self._weights: dict[str, Array] = {}
        self._scopes: list[str] = []
        self._counts: dict[str, int] = {}

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Write `name/` before the names of the nodes that are added within."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def input(self, name: str, axes: Axes) -> Value:
        """Declare an input of int64."""
        self._inputs.append(self._helper.make_tensor_value_info(name, self._types["int64"], list(axes)))
        return Value(name)

    def output(self, name: str, value: Value, axes: Axes) -> None:
        """Declare that a float32 value is given out under a name."""
        assert value not in self._given_out, "a value has one name"
        self._given_out[value] = Value(name)
        self._outputs.append(self._helper.make_tensor_value_info(name, self._types["float32"], list(axes)))

    def weight(self, name: str, make: Callable[[], Array]) -> Value:
        """Return the weight of a name, which is made when it is asked for the first time, and stored once."""
        if name not in self._weights:
            self._weights[name] = np.asarray(make(), order="C")
        return Value(name)

    def number(self, value: float) -> Value:
        """Return a float32 number without an axis."""
        return self.weight(f"f_{value}", lambda: np.array(value, dtype=np.float32))

    def integers(self, *values: int) -> Value:
        """Return an int64 vector of these numbers."""
        return self.weight("_".join(["i", *map(str, values)]), lambda: np.array(values, dtype=np.int64))

    def integer(self, value: int) -> Value:
        """Return an int64 number without an axis."""
        return self.weight(f"i0_{value}", lambda: np.array(value, dtype=np.int64))

    def node(self, operator: str, *inputs: Value, **attributes: Any) -> Value:
        """Add a node of one output, and return that."""
        return self.nodes(operator, 1, *inputs, **attributes)[0]

    def nodes(self, operator: str, outputs: int, *inputs: Value, **attributes: Any) -> tuple[Value, ...]:
        """Add a node of several outputs, and return them."""
        place = "/".join([*self._scopes, operator])
        self._counts[place] = number = self._counts.get(place, -1) + 1
        name = f"{place}_{number}" if number else place
        found = [name if outputs == 1 else f"{name}:{index}" for index in range(outputs)]
        self._nodes.append(self._helper.make_node(operator, list(inputs), found, name=name, **attributes))
        return tuple(map(Value, found))

    def reshaped(self, value: Value, *sizes: int) -> Value:
        """Return a value in another shape; a size of 0 keeps the axis, -1 is what remains."""
        return self.node("Reshape", value, self.integers(*sizes))

    def firsts(self, value: Value) -> Value:
        """Return the first entry along axis 1, which stays, with a length of 1 that runtimes can tell beforehand."""
        return self.node("Gather", value, self.integers(0), axis=1)

    def sliced(self, value: Value, axis: int, end: int) -> Value:
        """Return the first `end` entries along an axis."""
        return self.node("Slice", value, self.integers(0), self.integers(end), self.integers(axis))

    def model(self) -> onnx.ModelProto:
        """Return the whole as a model of the standard operators."""
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [self._given_out.get(Value(one), one) for one in names]
        initializers = [self._tensor(array, name) for name, array in self._weights.items()]
        graph = self._helper.make_graph(self._nodes, "albertine", self._inputs, self._outputs, initializers)
        return self._helper.make_model(
            graph,
            opset_imports=[self._helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="albertine",
            producer_version=__version__,
        )
