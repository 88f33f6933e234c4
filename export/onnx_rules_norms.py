"""Rules of Keras' normalisations."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import layers

from keras_vit.export.onnx_activations import scalar
from keras_vit.export.onnx_graph import Graph, NoRule, Rule, Value, as_array
from keras_vit.export.onnx_parts import channelwise, reduce, sides_of
from keras_vit.layers import LayerNormalization


def layer_norm(graph: Graph, layer: Any, x: Value, factor: float = 1.0) -> Value:
    """LayerNormalization over the last axis; `factor` multiplies what it gives."""
    _require_last_axis(layer, x)
    if getattr(layer, "rms_scaling", False):
        raise NoRule(f"no rule for LayerNormalization with rms_scaling, layer {layer.name!r}")
    width = x.channels
    scale = graph.weight(
        layer,
        "gamma",
        (width,),
        lambda: factor * (as_array(layer.gamma) if layer.scale else np.ones(width, np.float32)),
    )
    bias = []
    if layer.center:
        bias = [graph.weight(layer, "beta", (width,), lambda: factor * as_array(layer.beta))]
    x = graph.channels_last(x)
    return graph.node("LayerNormalization", x, scale, *bias, axis=-1, epsilon=layer.epsilon)


def rms_norm(graph: Graph, layer: Any, x: Value, factor: float = 1.0) -> Value:
    """RMSNormalization over the last axis, of its parts: the operator is opset 23's alone.

    `factor` multiplies what it gives.
    """
    if layer.axis not in (-1, len(x.shape) - 1, [-1]):
        raise NoRule(f"no rule for RMSNormalization over axis {layer.axis}, layer {layer.name!r}")
    x = graph.channels_last(x)
    squares = reduce(graph, "ReduceMean", graph.node("Mul", x, x), [-1], True)
    root = graph.node("Sqrt", graph.node("Add", squares, scalar(layer.epsilon)))
    return channelwise(
        graph,
        "Mul",
        graph.node("Div", x, root),
        layer,
        "scale",
        lambda: factor * as_array(layer.scale),
    )


def batch_norm(graph: Graph, layer: Any, x: Value) -> Value:
    """Of moving statistics: one factor and one shift a channel."""
    if layer.axis not in (-1, len(x.shape) - 1):
        raise NoRule(f"no rule for BatchNormalization over axis {layer.axis}, {layer.name!r}")
    x = channelwise(graph, "Mul", x, layer, "factor", lambda: batch_norm_factors(layer)[0])
    return channelwise(graph, "Add", x, layer, "shift", lambda: batch_norm_factors(layer)[1])


def batch_norm_factors(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """(factors, shifts) of a BatchNormalization in inference, in float64."""
    variance = as_array(layer.moving_variance).astype(np.float64)
    factors = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        factors = factors * as_array(layer.gamma)
    shifts = -as_array(layer.moving_mean) * factors
    return factors, shifts + as_array(layer.beta) if layer.center else shifts


def group_norm_keras(graph: Graph, layer: Any, x: Value) -> Value:
    """Keras' GroupNormalization of a map over its last axis."""
    if layer.axis not in (-1, 3) or len(x.shape) != 4:
        raise NoRule(f"no rule for GroupNormalization of {x.shape}, layer {layer.name!r}")
    groups = x.channels if layer.groups == -1 else layer.groups
    gamma = (lambda: layer.gamma) if layer.scale else None
    beta = (lambda: layer.beta) if layer.center else None
    return group_norm(graph, layer, x, groups, layer.epsilon, gamma, beta)


def group_norm(
    graph: Graph,
    layer: Any,
    x: Value,
    groups: int,
    epsilon: float,
    gamma: Callable[[], Any] | None,
    beta: Callable[[], Any] | None,
) -> Value:
    """Group normalisation of its parts, each mean taken over the width first and then over the rest.

    onnxruntime sums in sequence: over the 25,088 numbers of a group whose image is flat, the roundings all
    point one way, and InstanceNormalization, GroupNormalization or one ReduceMean are up to 3e-4 of the
    standard deviation off float64 where this is 1e-6. Nor do the two operators keep the digits of a group
    whose mean is large.
    """
    x = graph.channels_first(x)
    batch, height, width, _ = x.shape
    size = x.channels // groups
    grouped = graph.node(
        "Reshape",
        x,
        _group_shape(graph, x, groups),
        shape=(batch, groups, size, height, width),
        channels_first=False,
    )
    centred = graph.node("Sub", grouped, _group_means(graph, grouped))
    variance = _group_means(graph, graph.node("Mul", centred, centred))
    root = graph.node("Sqrt", graph.node("Add", variance, scalar(epsilon)))

    def per_group(make: Callable[[], Any]) -> Callable[[], np.ndarray]:
        return lambda: np.reshape(as_array(make()), (groups, size, 1, 1))

    if gamma is None:
        y = graph.node("Div", centred, root)
    else:
        scale = graph.weight(layer, "gamma", (groups, size, 1, 1), per_group(gamma))
        y = graph.node(
            "Mul", centred, graph.node("Div", scale, root, shape=(batch, groups, size, 1, 1))
        )
    if beta is not None:
        y = graph.node("Add", y, graph.weight(layer, "beta", (groups, size, 1, 1), per_group(beta)))
    return graph.node("Reshape", y, _map_shape(graph, x), shape=x.shape, channels_first=True)


def _group_means(graph: Graph, x: Value) -> Value:
    """Means of (batch, groups, size, height, width) over all but the first two axes, which stay."""
    return reduce(graph, "ReduceMean", reduce(graph, "ReduceMean", x, [4], True), [2, 3], True)


def _group_shape(graph: Graph, x: Value, groups: int) -> Value | np.ndarray:
    """(batch, groups, channels of each, height, width), of a map that is stored channels first."""
    _, height, width, _ = x.shape
    split = np.array([groups, x.channels // groups], np.int64)
    if height is not None and width is not None:
        return np.array([0, *split, height, width], np.int64)
    start = graph.constant(np.array([0, *split], np.int64))
    return graph.node("Concat", start, sides_of(graph, x), axis=0, shape=(5,))


def _map_shape(graph: Graph, x: Value) -> Value | np.ndarray:
    _, height, width, channels = x.shape
    if height is not None and width is not None:
        return np.array([0, channels, height, width], np.int64)
    return graph.node("Shape", x, shape=(4,), dtype="int64")


def unit_norm(graph: Graph, layer: Any, x: Value) -> Value:
    """UnitNormalization over the last axis: divided by the root of its squares' sum, at least 1e-12."""
    _require_last_axis(layer, x)
    x = graph.channels_last(x)
    squares = reduce(graph, "ReduceSum", graph.node("Mul", x, x), [-1], True)
    root = graph.node("Sqrt", graph.node("Max", squares, scalar(1e-24)))
    return graph.node("Div", x, root)


def _require_last_axis(layer: Any, x: Value) -> None:
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if [axis % len(x.shape) for axis in axes] != [len(x.shape) - 1]:
        raise NoRule(f"no rule for {type(layer).__name__} over axes {axes}, layer {layer.name!r}")


RULES: dict[type, Rule] = {
    LayerNormalization: layer_norm,
    layers.LayerNormalization: layer_norm,
    layers.RMSNormalization: rms_norm,
    layers.BatchNormalization: batch_norm,
    layers.GroupNormalization: group_norm_keras,
    layers.UnitNormalization: unit_norm,
}
