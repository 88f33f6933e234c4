"""Rules of what an artifact gives beside logits."""

from typing import Any

import numpy as np

from keras_vit.export.onnx_graph import Graph, Rule, Value
from keras_vit.export.outputs import TopK


def top_k(graph: Graph, layer: Any, x: Value) -> tuple[Value, Value]:
    """The classes, as int32 like everywhere else, and their probabilities."""
    shape = (*x.shape[:-1], layer.k)
    values, classes = graph.split_node(
        "TopK", x, np.array([layer.k]), shapes=[shape] * 2, dtype=("float32", "int64"), axis=-1
    )
    return graph.node("Cast", classes, dtype="int32", to=6), values


RULES: dict[type, Rule] = {TopK: top_k}
