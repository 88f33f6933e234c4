"""Rules of what an artifact gives beside logits."""

from typing import Any

import numpy as np

from keras_vit.export.onnx_graph import Graph, Rule, Value
from keras_vit.export.onnx_parts import reshape, sides_of
from keras_vit.export.onnx_rules_vit import rows
from keras_vit.export.outputs import TopK
from keras_vit.layers.token_map import TokenMap, TokenSlice


def top_k(graph: Graph, layer: Any, x: Value) -> tuple[Value, Value]:
    """The classes, as int32 like everywhere else, and their probabilities."""
    shape = (*x.shape[:-1], layer.k)
    values, classes = graph.split_node(
        "TopK", x, np.array([layer.k]), shapes=[shape] * 2, dtype=("float32", "int64"), axis=-1
    )
    return graph.node("Cast", classes, dtype="int32", to=6), values


def token_slice(graph: Graph, layer: Any, x: Value) -> Value:
    """Some of the tokens."""
    x = graph.channels_last(x)
    return rows(graph, x, layer.start, layer.stop, layer.compute_output_shape(x.shape))


def token_map(graph: Graph, layer: Any, x: Value, like: Value) -> Value:
    """The patches as a map of the sides that `like` has."""
    x = graph.channels_last(x)
    batch, length, dim = x.shape
    if prefix := layer.num_prefix_tokens:
        x = rows(graph, x, prefix, None, (batch, length and length - prefix, dim))
    _, height, width, _ = like.shape
    if height is not None and width is not None:
        return reshape(graph, x, (batch, height, width, dim))
    first, last = (graph.constant(np.array([side], np.int64)) for side in (0, dim))
    target = graph.node("Concat", first, sides_of(graph, like), last, axis=0, shape=(4,))
    return graph.node("Reshape", x, target, shape=(batch, None, None, dim))


RULES: dict[type, Rule] = {TopK: top_k, TokenSlice: token_slice, TokenMap: token_map}
