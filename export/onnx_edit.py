"""A written ONNX file in memory, to be rewritten in another precision: its nodes, and its weights by name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from keras_vit.errors import ExportError
from keras_vit.export.onnx_file import write_file
from keras_vit.export.onnx_graph import PREPROCESSING, Value, Weight

_SMALL = 1024  # elements; shapes and indices are below it


@dataclass
class Editable:
    """An ONNX model whose nodes are being replaced.

    Attributes:
        proto: of the file, without its initializers.
        weights: they, by name.
        nodes: the new nodes, in their order.
    """

    proto: onnx.ModelProto
    weights: dict[str, np.ndarray]
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node with one output, and return the output's name."""
        name = f"{output}/{op}"
        self.nodes.append(onnx.helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def write(self, path: Path) -> int:
        """Write the file with the new nodes and the weights that they take; their bytes."""
        used = {name for node in self.nodes for name in node.input}
        weights = [_weight(name, a) for name, a in self.weights.items() if name in used]
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        del proto.graph.node[:]
        proto.graph.node.extend(self.nodes)
        write_file(path, proto, weights)
        return sum(weight.bytes for weight in weights)


def _weight(name: str, array: np.ndarray) -> Weight:
    return Weight(Value(name, array.shape, array.dtype.name), lambda: array)


def read(path: Path) -> Editable:
    """Read a file, with the weights beside it.

    Raises:
        ExportError: it has nodes with graphs of their own (If, Loop), which are not rewritten here.
    """
    proto = onnx.load(path)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    del proto.graph.initializer[:]
    for node in proto.graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ExportError(f"{node.op_type} ({node.name!r}) is written in float32 only")
    return Editable(proto, weights)


def element_types(model: Editable) -> Mapping[str, int]:
    """The ONNX element type of every value."""
    known = onnx.ModelProto()
    known.CopyFrom(model.proto)
    for name, array in model.weights.items():
        if array.size < _SMALL:
            known.graph.initializer.append(numpy_helper.from_array(array, name))
        else:  # its shape is enough
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            known.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
    graph = onnx.shape_inference.infer_shapes(known).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def is_preprocessing(node: onnx.NodeProto) -> bool:
    """Whether a node runs before the model; such nodes stay in float32."""
    return node.name.startswith(f"{PREPROCESSING}/")


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def products(model: Editable) -> Iterator[onnx.NodeProto]:
    """The matrix products of values with a weight, but for those of the preprocessing."""
    for node in model.proto.graph.node:
        matrix = model.weights.get(node.input[1]) if len(node.input) > 1 else None
        if (
            node.op_type in ("MatMul", "Gemm")
            and not is_preprocessing(node)
            and matrix is not None
            and matrix.ndim == 2
            and matrix.dtype == np.float32
            and node.input[0] not in model.weights
            and is_plain(node)
        ):
            yield node


def is_plain(node: onnx.NodeProto) -> bool:
    """Whether a Gemm is x @ weight + bias, the weight transposed perhaps."""
    given = attributes(node)
    return given.get("alpha", 1) == given.get("beta", 1) == 1 and not given.get("transA")


def matrix_of(model: Editable, node: onnx.NodeProto) -> np.ndarray:
    """The weight of a product as (inputs, outputs)."""
    matrix = model.weights[node.input[1]]
    return matrix.T if attributes(node).get("transB") else matrix
