"""Write a Keras model as an ONNX file from its layers and weights, on any backend, without TensorFlow.

A rule for each class of layer draws ONNX' own operators (`onnx_rules_*.py`); a model with a layer that has
no rule is left to `onnx_fallback`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx

from keras_vit import __version__
from keras_vit.export import (
    onnx_rules_cvt,
    onnx_rules_eva,
    onnx_rules_images,
    onnx_rules_keras,
    onnx_rules_norms,
    onnx_rules_outputs,
    onnx_rules_resnet,
    onnx_rules_vit,
)
from keras_vit.export.interface import named, output_of
from keras_vit.export.onnx_file import write_file
from keras_vit.export.onnx_graph import BATCH, PREPROCESSING, Graph, Value
from keras_vit.export.onnx_nodes import node_protos
from keras_vit.export.onnx_options import OnnxOptions
from keras_vit.export.onnx_walk import draw_model
from keras_vit.export.report import Tensor
from keras_vit.export.sidecar import to_properties

RULES = {
    **onnx_rules_keras.RULES,
    **onnx_rules_norms.RULES,
    **onnx_rules_vit.RULES,
    **onnx_rules_resnet.RULES,
    **onnx_rules_cvt.RULES,
    **onnx_rules_eva.RULES,
    **onnx_rules_images.RULES,
    **onnx_rules_outputs.RULES,
}
CASTING = onnx_rules_keras.CASTING | onnx_rules_images.CASTING


def write(
    model: keras.Model,
    front: keras.Model | None,
    images: Tensor,
    outputs: Sequence[str],
    metadata: dict[str, Any],
    path: Path,
    options: OnnxOptions,
) -> dict[str, Any]:
    """Write the file, and its weights beside it where they are too large for one.

    Args:
        model: in float32. front: runs before it, or None.
        images: what the file takes, as (batch, height, width, channels) in either layout.
        outputs: the names of its outputs, in order.
        metadata: what the file says of itself.
        options: how it is written.

    Returns:
        `converter`, `outputs`, `weight_bytes` and `versions`, as the converting child gives them.

    Raises:
        NoRule: a layer that cannot be written; nothing was.
    """
    graph = Graph(RULES, CASTING, options.opset, options.attention, [images.name, *outputs])
    given = Value(images.name, images.shape, images.dtype, channels_first=options.layout == "nchw")
    values = [given]
    if front is not None:
        with graph.scope(PREPROCESSING):
            values = draw_model(graph, front, values)
    values = draw_model(graph, model, values)
    # Flat values come in the order of the sorted keys where the model gives a dict.
    by_name = named(keras.tree.pack_sequence_as(output_of(model), values), outputs)
    values = [graph.channels_last(by_name[name]) for name in outputs]
    nodes, weights = node_protos(graph, values, outputs)
    opset = onnx.helper.make_opsetid("", options.opset)
    proto = onnx.helper.make_graph(
        nodes,
        model.name,
        [_value_info(images.name, images.shape, images.dtype, options.layout)],
        [
            _value_info(name, value.shape, value.dtype)
            for name, value in zip(outputs, values, strict=True)
        ],
    )
    whole = onnx.helper.make_model(
        proto,
        opset_imports=[opset],
        ir_version=onnx.helper.find_min_ir_version_for([opset]),
        producer_name="keras_vit",
        producer_version=__version__,
    )
    onnx.helper.set_model_props(whole, to_properties(metadata))
    write_file(path, whole, weights)
    return {
        "converter": f"keras_vit {__version__}",
        "outputs": [
            Tensor(name, value.shape, value.dtype).to_dict()
            for name, value in zip(outputs, values, strict=True)
        ],
        "weight_bytes": sum(weight.bytes for weight in weights),
        "versions": {"keras": keras.__version__, "onnx": onnx.__version__},
    }


def _value_info(
    name: str, shape: Sequence[int | None], dtype: str, layout: str | None = None
) -> onnx.ValueInfoProto:
    """An output, or images of a layout; free axes are called `batch`, and `height` and `width` of images."""
    called = [BATCH, *(f"{name}_{axis}" for axis in range(1, len(shape)))]
    if layout is not None:
        called[1:3] = "height", "width"
    sides = [side or free for side, free in zip(shape, called, strict=True)]
    if layout == "nchw":
        sides = [sides[0], sides[3], *sides[1:3]]
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return onnx.helper.make_tensor_value_info(name, kind, sides)
