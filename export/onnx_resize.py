"""Positions resized in an ONNX graph, to a map whose size is known when it runs.

The matrices are those of `keras_vit.resize`: its formulas are read once more, with operators for numbers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_vit.export.onnx_activations import scalar
from keras_vit.export.onnx_graph import Graph, Value, as_array
from keras_vit.export.onnx_parts import broadcast, reduce, sides_of
from keras_vit.resize import axis_weights


def resized_positions(
    graph: Graph,
    owner: Any,
    make: Callable[[], np.ndarray],
    grid: tuple[int, int],
    grid_of: Value,
    method: str,
) -> Value:
    """Position embeddings for the pixels of a map, (1, height * width, dim).

    Args:
        owner: the layer. make: gives the learned ones, (height, width, dim).
        grid: their (height, width).
        grid_of: the map.
        method: of `keras_vit.resize`.
    """
    dim, (height, width) = grid_of.channels, grid
    learned = graph.weight(owner, "pos_grid", (height, width, dim), lambda: as_array(make()))
    rows, columns = (
        _matrix(graph, old, _side(graph, grid_of, axis), method) for axis, old in enumerate(grid)
    )
    wide = graph.node("MatMul", columns, learned, shape=(height, None, dim))
    flat = graph.node("Reshape", wide, np.array([height, -1]), shape=(height, None))
    tall = graph.node("MatMul", rows, flat, shape=(None, None))
    return graph.node("Reshape", tall, np.array([1, -1, dim]), shape=(1, None, dim))


def _side(graph: Graph, grid: Value, axis: int) -> Value:
    """Height (0) or width (1) of a map, a float32 scalar."""
    side = graph.node("Gather", sides_of(graph, grid), np.array(axis, np.int64), axis=0, shape=())
    return graph.node("Cast", side, dtype="float32", to=1)


def _matrix(graph: Graph, old: int, new: Value, method: str) -> Value:
    """(new, old)."""
    first, step = (graph.constant(scalar(number)) for number in (0.0, 1.0))
    rows = graph.node("Range", first, new, step, shape=(None,))
    columns = graph.constant(np.arange(old, dtype=np.float32))
    one, other, length = (Number(graph, value) for value in (columns, rows, new))
    return axis_weights(Math(graph), one, other, float(old), length, method).value


class Number:
    """A float32 value of a graph, to calculate with in Python."""

    def __init__(self, graph: Graph, value: Value) -> None:
        self.graph, self.value = graph, value

    def _with(self, op: str, other: Any, dtype: str = "float32", swapped: bool = False) -> "Number":
        values = [self.value, as_value(self.graph, other)]
        one, two = values[::-1] if swapped else values
        shape = broadcast(one.shape, two.shape)
        return Number(self.graph, self.graph.node(op, one, two, shape=shape, dtype=dtype))

    def __add__(self, other: Any) -> "Number":
        return self._with("Add", other)

    def __sub__(self, other: Any) -> "Number":
        return self._with("Sub", other)

    def __mul__(self, other: Any) -> "Number":
        return self._with("Mul", other)

    def __truediv__(self, other: Any) -> "Number":
        return self._with("Div", other)

    def __rtruediv__(self, other: Any) -> "Number":
        return self._with("Div", other, swapped=True)

    def __rsub__(self, other: Any) -> "Number":
        return self._with("Sub", other, swapped=True)

    __radd__, __rmul__ = __add__, __mul__

    def __lt__(self, other: Any) -> "Number":
        return self._with("Less", other, "bool")

    def __eq__(self, other: Any) -> Any:
        return self._with("Equal", other, "bool")

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, _: tuple[slice, None]) -> "Number":
        """`[:, None]`, which is all that the formulas need."""
        shape = (*self.value.shape, 1)
        column = self.graph.node("Unsqueeze", self.value, np.array([1], np.int64), shape=shape)
        return Number(self.graph, column)


def as_value(graph: Graph, number: Any) -> Value:
    """A `Number`'s value, or a constant."""
    return number.value if isinstance(number, Number) else graph.constant(scalar(number))


class Math:
    """What `axis_weights` takes from NumPy or `keras.ops`."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def abs(self, x: Number) -> Number:
        return Number(self.graph, self.graph.node("Abs", x.value))

    def floor(self, x: Number) -> Number:
        return Number(self.graph, self.graph.node("Floor", x.value))

    def maximum(self, x: Number, least: float) -> Number:
        return Number(self.graph, self.graph.node("Max", x.value, scalar(least)))

    def clip(self, x: Number, least: float, most: float) -> Number:
        return Number(self.graph, self.graph.node("Clip", x.value, scalar(least), scalar(most)))

    def sum(self, x: Number, axis: int, keepdims: bool) -> Number:
        return Number(self.graph, reduce(self.graph, "ReduceSum", x.value, [axis], keepdims))

    def where(self, condition: Number, one: Any, other: Any) -> Number:
        values = [as_value(self.graph, number) for number in (one, other)]
        shape = condition.value.shape
        for value in values:
            shape = broadcast(shape, value.shape)
        chosen = self.graph.node("Where", condition.value, *values, shape=shape, dtype="float32")
        return Number(self.graph, chosen)
