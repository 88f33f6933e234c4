"""An ONNX file in float16: weights and products in half the bytes, statistics in float32.

What sums up many numbers, or squares them, stays in float32: softmax, means, variances, roots. In
LayerNormalization the operator itself does so (`stash_type`). The file's inputs and outputs stay as
they are, and what happens to the images before the first product does, too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from keras_vit.export.onnx_edit import Editable, element_types, is_preprocessing, read

_PRODUCTS = {"MatMul", "Gemm", "Conv", "Attention"}
"""Computed in float16 whatever they are given."""

_FOLLOWERS = {
    *("Add", "Sub", "Mul", "Div", "Max", "Min", "Neg", "Identity", "LayerNormalization"),
    *("Gelu", "Erf", "Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "MaxPool", "AveragePool"),
    *("Transpose", "Reshape", "Split", "Slice", "Gather", "Concat", "Pad", "Expand"),
    *("Squeeze", "Unsqueeze", "Flatten"),
}
"""Computed in float16 if all that they are given is; every other operator is computed in float32."""

_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def write(source: Path, path: Path) -> int:
    """Write the float32 file `source` in float16, and return its weights' bytes.

    Raises:
        ExportError: it has nodes with graphs of their own.
    """
    model = read(source)
    conversion = _Conversion(model)
    for node in model.proto.graph.node:
        conversion.convert(node)
    return model.write(path)


class _Conversion:
    """Which values there are in float16, while nodes are rewritten in their order."""

    def __init__(self, model: Editable) -> None:
        self.model = model
        self.types = element_types(model)
        self.outputs = {value.name for value in model.proto.graph.output}
        inputs = {value.name for value in model.proto.graph.input}
        # (value, whether in float16) -> what it is called so.
        self.forms = {(name, False): name for name in (*inputs, *model.weights)}

    def convert(self, node: onnx.NodeProto) -> None:
        """Append a node in one of the two precisions, behind the casts that it needs."""
        half = self._in_half(node)
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [self._form(x, half) if self._is_float(x) else x for x in node.input]
        copy.output[:] = [self._made(y, half) if self._is_float(y) else y for y in node.output]
        if half and node.op_type == "Attention":
            copy.attribute.append(onnx.helper.make_attribute("softmax_precision", _FLOAT))
        self.model.nodes.append(copy)
        for name in node.output:
            if half and name in self.outputs:
                self.model.add("Cast", [self.forms[name, True]], name, to=_FLOAT)
                self.forms[name, False] = name

    def _is_float(self, name: str) -> bool:
        return self.types.get(name) == _FLOAT

    def _in_half(self, node: onnx.NodeProto) -> bool:
        floats = [name for name in node.input if self._is_float(name)]
        if not floats or is_preprocessing(node):
            return False
        if not all(_fits(self.model.weights[x]) for x in floats if x in self.model.weights):
            return False
        if node.op_type in _PRODUCTS:
            return True
        given = [name for name in floats if name not in self.model.weights]
        squares = len(set(given)) < len(given)
        return node.op_type in _FOLLOWERS and not squares and self._all_half(given)

    def _all_half(self, names: Sequence[str]) -> bool:
        return bool(names) and all((name, True) in self.forms for name in names)

    def _form(self, name: str, half: bool) -> str:
        """The value's name in one of the precisions, in which it is made now if need be."""
        if (name, half) not in self.forms:
            other = f"{name}/{'float16' if half else 'float32'}"
            if name in self.model.weights:
                self.model.weights[other] = self.model.weights[name].astype(np.float16)
            else:
                source = self.forms[name, not half]
                self.model.add("Cast", [source], other, to=_HALF if half else _FLOAT)
            self.forms[name, half] = other
        return self.forms[name, half]

    def _made(self, name: str, half: bool) -> str:
        """What a node's output is called; one of the file's own is cast behind it."""
        made = f"{name}/float16" if half and name in self.outputs else name
        self.forms[name, half] = made
        return made


def _fits(weight: np.ndarray) -> bool:
    """Whether float16 holds a weight: nothing overflows, and no single number becomes zero."""
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16)
    return bool(np.isfinite(half).all() and (half.size != 1 or half.any() or not weight.any()))
