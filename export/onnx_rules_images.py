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
from keras_vit.layers.pillow import COARSE


def normalize(graph: Graph, layer: Any, x: Value) -> Value:
    """One product and one sum a pixel, on the map as convolutions take it."""
    x = floats(graph, graph.channels_first(x))
    return _normalized(graph, layer, x, layer.mean, layer.std)


def preprocess(graph: Graph, layer: Any, x: Value) -> Value:
    """Pillow's resize, an axis after the other, each two products with constants; then `normalize`."""
    height, width = x.sides(1, 2)
    x = floats(graph, graph.channels_first(x))
    for axis, matrices in layer.passes(height, width):
        coarse, fine = (
            _product(graph, layer, x, axis, part, matrix)
            for part, matrix in zip(("coarse", "fine"), matrices, strict=True)
        )
        x = _rounded(graph, coarse, fine)
    return _normalized(graph, layer, x, layer.spec.mean, layer.spec.std)


def _normalized(
    graph: Graph, layer: Any, x: Value, mean: Sequence[float], std: Sequence[float]
) -> Value:
    """`(x / 255 - mean) / std`, one number of each a channel."""
    scale, offset = 1 / (255 * np.array(std)), -np.array(mean) / np.array(std)
    x = channelwise(graph, "Mul", x, layer, "scale", lambda: scale)
    return channelwise(graph, "Add", x, layer, "offset", lambda: offset)


def _product(graph: Graph, layer: Any, x: Value, axis: int, part: str, matrix: np.ndarray) -> Value:
    """The product of one axis and a matrix (new, old); `x` is stored channels first."""
    kept, old = matrix.shape
    shape = tuple(kept if a == axis else side for a, side in enumerate(x.shape))
    if axis == 1:
        weight = graph.weight(layer, f"{part}_rows", (kept, old), lambda: matrix)
        return graph.node("MatMul", weight, x, shape=shape, channels_first=True)
    weight = graph.weight(layer, f"{part}_columns", (old, kept), lambda: matrix.T)
    return graph.node("MatMul", x, weight, shape=shape)


def _rounded(graph: Graph, coarse: Value, fine: Value) -> Value:
    """`layers.pillow.rounded`."""
    lifted = graph.node("Floor", graph.node("Mul", fine, scalar(COARSE)))
    carried = graph.node("Mul", lifted, scalar(1 / COARSE))
    halved = graph.node("Add", graph.node("Add", coarse, carried), scalar(0.5))
    return graph.node("Clip", graph.node("Floor", halved), scalar(0.0), scalar(255.0))


RULES: dict[type, Rule] = {
    Normalize: normalize,
    layers.Preprocess: preprocess,
}

CASTING = {Normalize, layers.Preprocess}
"""Layers that take images of any element type."""
