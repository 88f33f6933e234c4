"""Rules of what is done to images before a model sees them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vit import layers
from keras_vit.export.front import Normalize
from keras_vit.export.onnx_activations import scalar
from keras_vit.export.onnx_graph import Graph, Rule, Value
from keras_vit.export.onnx_parts import (
    channelwise,
    floats,
)


def normalize(graph: Graph, layer: Any, x: Value) -> Value:
    """One product and one sum a pixel, on the map as convolutions take it."""
    x = floats(graph, graph.channels_first(x))
    return _normalized(graph, layer, x, layer.mean, layer.std)


def preprocess(graph: Graph, layer: Any, x: Value) -> Value:
    """Pillow's resize, an axis after the other, each a product with a constant; then `normalize`."""
    height, width = x.sides(1, 2)
    x = floats(graph, graph.channels_first(x))
    for axis, matrix in layer.passes(height, width):
        x = _resized(graph, layer, x, axis, matrix)
    return _normalized(graph, layer, x, layer.spec.mean, layer.spec.std)


def _normalized(
    graph: Graph, layer: Any, x: Value, mean: Sequence[float], std: Sequence[float]
) -> Value:
    """`(x / 255 - mean) / std`, one number of each a channel."""
    scale, offset = 1 / (255 * np.array(std)), -np.array(mean) / np.array(std)
    x = channelwise(graph, "Mul", x, layer, "scale", lambda: scale)
    return channelwise(graph, "Add", x, layer, "offset", lambda: offset)


def _resized(graph: Graph, layer: Any, x: Value, axis: int, matrix: np.ndarray) -> Value:
    """One axis resized and cropped, rounded and clipped to 0..255; `x` is stored channels first."""
    kept, old = matrix.shape
    shape = tuple(kept if a == axis else side for a, side in enumerate(x.shape))
    if axis == 1:
        weight = graph.weight(layer, "rows", (kept, old), lambda: matrix)
        x = graph.node("MatMul", weight, x, shape=shape, channels_first=True)
    else:
        weight = graph.weight(layer, "columns", (old, kept), lambda: matrix.T)
        x = graph.node("MatMul", x, weight, shape=shape)
    return graph.node("Clip", graph.node("Round", x), scalar(0.0), scalar(255.0))


RULES: dict[type, Rule] = {
    Normalize: normalize,
    layers.Preprocess: preprocess,
}

CASTING = {Normalize, layers.Preprocess}
"""Layers that take images of any element type."""
