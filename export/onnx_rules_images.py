"""Rules of what is done to images before a model sees them."""

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
from keras_vit.resize import resize_matrix


def normalize(graph: Graph, layer: Any, x: Value) -> Value:
    """One product and one sum a pixel, on the map as convolutions take it."""
    x = floats(graph, graph.channels_first(x))
    std, mean = np.array(layer.std), np.array(layer.mean)
    x = channelwise(graph, "Mul", x, layer, "scale", lambda: 1 / (255 * std))
    return channelwise(graph, "Add", x, layer, "offset", lambda: -mean / std)


def preprocess(graph: Graph, layer: Any, x: Value) -> Value:
    """Pillow's resize, an axis after the other, each a product with a constant; then `normalize`."""
    spec = layer.spec
    height, width = x.sides(1, 2)
    x = floats(graph, graph.channels_first(x))
    resized = spec.resized(height, width)
    if not (height, width) == resized == spec.image_size:
        passes = [(2, width, resized[1]), (1, height, resized[0])]
        if height - resized[0] > 2 * max(0, width - resized[1]):
            passes.reverse()  # as Pillow does it
        for axis, old, new in passes:
            x = _resized(graph, layer, x, axis, old, new)
    std, mean = np.array(spec.std), np.array(spec.mean)
    x = channelwise(graph, "Mul", x, layer, "scale", lambda: 1 / (255 * std))
    return channelwise(graph, "Sub", x, layer, "offset", lambda: mean / std)


def _resized(graph: Graph, layer: Any, x: Value, axis: int, old: int, new: int) -> Value:
    """One axis resized and cropped, rounded and clipped to 0..255; `x` is stored channels first."""
    spec = layer.spec
    kept = spec.image_size[axis - 1]

    def matrix() -> np.ndarray:
        whole = resize_matrix(old, new, f"{spec.interpolation}_antialias")
        start = round((new - kept) / 2)
        part = whole[start : start + kept]
        return part if axis == 1 else part.T

    shape = tuple(kept if a == axis else side for a, side in enumerate(x.shape))
    if axis == 1:
        weight = graph.weight(layer, "rows", (kept, old), matrix)
        x = graph.node("MatMul", weight, x, shape=shape, channels_first=True)
    else:
        weight = graph.weight(layer, "columns", (old, kept), matrix)
        x = graph.node("MatMul", x, weight, shape=shape)
    return graph.node("Clip", graph.node("Round", x), scalar(0.0), scalar(255.0))


RULES: dict[type, Rule] = {
    Normalize: normalize,
    layers.Preprocess: preprocess,
}

CASTING = {Normalize, layers.Preprocess}
"""Layers that take images of any element type."""
