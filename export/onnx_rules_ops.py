"""Rules of `keras.ops` between layers: `x + y`, `x[:, 0]`, `keras.ops.mean(x, axis=1)`.

Keras does not export the classes of these operations, so they are known by their names.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_vit.export.onnx_activations import exact_gelu, operator, softmax, tanh_gelu
from keras_vit.export.onnx_graph import Graph, NoRule, Value
from keras_vit.export.onnx_parts import combine, reduce, reshape, transpose
from keras_vit.export.onnx_rules_keras import concatenated


def draw(graph: Graph, operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
    """Draw an operation of Keras that is not a layer.

    Raises:
        NoRule: there is no rule for it.
    """
    kind = type(operation).__name__
    rule = OPERATIONS.get(kind) if type(operation).__module__.startswith("keras.") else None
    values = [x for x in keras.tree.flatten(args) if isinstance(x, Value)]
    if rule is None or kwargs or any(x.dtype != "float32" for x in values):
        raise NoRule(f"no rule for operation {kind}, {operation.name!r}")
    with graph.scope(operation.name):
        return rule(graph, operation, *args)


def elementwise(op: str) -> Callable[..., Value]:
    """An operator between two values, of which one may be a number or an array."""

    def rule(graph: Graph, _: Any, one: Any, other: Any) -> Value:
        values = [
            x if isinstance(x, Value) else graph.constant(np.asarray(x, np.float32))
            for x in (one, other)
        ]
        return combine(graph, op, values)

    return rule


def reduction(op: str) -> Callable[..., Value]:
    """Over some axes, or over all."""

    def rule(graph: Graph, operation: Any, x: Value) -> Value:
        axes = operation.axis
        axes = range(len(x.shape)) if axes is None else axes
        axes = [axes] if isinstance(axes, int) else axes
        return reduce(graph, op, x, axes, operation.keepdims)

    return rule


def unary(op: str) -> Callable[..., Value]:
    """One operator on one value."""

    def rule(graph: Graph, _: Any, x: Value) -> Value:
        return operator(op)(graph, x)

    return rule


def _gelu(graph: Graph, operation: Any, x: Value) -> Value:
    return (tanh_gelu if operation.approximate else exact_gelu)(graph, x)


def _softmax(graph: Graph, operation: Any, x: Value) -> Value:
    if not isinstance(operation.axis, int):
        raise NoRule(f"no rule for a softmax over axes {operation.axis}, {operation.name!r}")
    return softmax(graph, x, operation.axis)


def _reshape(graph: Graph, operation: Any, x: Value) -> Value:
    """What -1 stands for may not be the batch."""
    sides = operation.newshape
    if not all(isinstance(side, int) and side for side in sides):
        raise NoRule(f"no rule for a reshape to {sides}, {operation.name!r}")
    shape = operation.compute_output_spec(_symbol(x)).shape
    return graph.node("Reshape", graph.channels_last(x), np.array(sides, np.int64), shape=shape)


def _transpose(graph: Graph, operation: Any, x: Value) -> Value:
    perm = operation.axes or range(len(x.shape))[::-1]
    return transpose(graph, x, [axis % len(x.shape) for axis in perm])


def _concatenate(graph: Graph, operation: Any, values: Sequence[Value]) -> Value:
    return concatenated(graph, values, operation.axis)


def _get_item(graph: Graph, operation: Any, x: Value, key: Any) -> Value:
    """Numbers and slices; one number or slice after the other."""
    keys = list(key) if isinstance(key, list | tuple) else [key]
    if not all(isinstance(k, int | slice) for k in keys) or len(keys) > len(x.shape):
        raise NoRule(f"no rule for indexing by {key}, {operation.name!r}")
    x = graph.channels_last(x)
    axis = 0
    for part in keys:
        side = x.shape[axis]
        if isinstance(part, int):
            shape = (*x.shape[:axis], *x.shape[axis + 1 :])
            x = graph.node("Gather", x, np.array(part, np.int64), shape=shape, axis=axis)
            continue
        if part != slice(None):
            if side is None:
                raise NoRule(f"no rule for slicing an axis that is free, {operation.name!r}")
            start, stop, step = part.indices(side)
            if step < 0:
                raise NoRule(f"no rule for slicing backwards, {operation.name!r}")
            shape = (*x.shape[:axis], len(range(start, stop, step)), *x.shape[axis + 1 :])
            ends = [np.array([n], np.int64) for n in (start, stop, axis, step)]
            x = graph.node("Slice", x, *ends, shape=shape)
        axis += 1
    return x


def _as_spec(graph: Graph, operation: Any, x: Value, *_: Any) -> Value:
    """Squeeze, ExpandDims, Flatten: a reshape to what Keras says."""
    return reshape(graph, x, tuple(operation.compute_output_spec(_symbol(x)).shape))


def _symbol(x: Value) -> keras.KerasTensor:
    return keras.KerasTensor(x.shape, dtype=x.dtype)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "Add": elementwise("Add"),
    "Subtract": elementwise("Sub"),
    "Multiply": elementwise("Mul"),
    "Divide": elementwise("Div"),
    "TrueDivide": elementwise("Div"),
    "Maximum": elementwise("Max"),
    "Minimum": elementwise("Min"),
    "Power": elementwise("Pow"),
    "Mean": reduction("ReduceMean"),
    "Max": reduction("ReduceMax"),
    "Min": reduction("ReduceMin"),
    "Sum": reduction("ReduceSum"),
    "Relu": unary("Relu"),
    "Sigmoid": unary("Sigmoid"),
    "Tanh": unary("Tanh"),
    "Exp": unary("Exp"),
    "Log": unary("Log"),
    "Sqrt": unary("Sqrt"),
    "Abs": unary("Abs"),
    "Absolute": unary("Abs"),
    "Negative": unary("Neg"),
    "Erf": unary("Erf"),
    "Gelu": _gelu,
    "Softmax": _softmax,
    "Reshape": _reshape,
    "Squeeze": _as_spec,
    "ExpandDims": _as_spec,
    "Transpose": _transpose,
    "Concatenate": _concatenate,
    "GetItem": _get_item,
}
