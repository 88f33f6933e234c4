"""An ONNX file whose matrix products are computed in int8, with scales found as it runs.

The weights are int8, symmetric, one scale an output; what they are multiplied with is quantised to
uint8 over the range that it has just then. The operators are ONNX' own, in the form that onnxruntime
fuses to one (`DynamicQuantizeMatMul`). Products of two activations, in attention, and convolutions
stay in float32.
"""

from pathlib import Path

import numpy as np
import onnx

from keras_vit.errors import ExportError
from keras_vit.export.onnx_edit import Editable, matrix_of, products, read


def write(source: Path, path: Path) -> tuple[int, float]:
    """Write the float32 file `source` with its products in int8.

    Returns:
        Its weights' bytes, and which share of its weights is in int8, 0..1.

    Raises:
        ExportError: it has no product with a weight, or nodes with graphs of their own.
    """
    model = read(source)
    chosen = {node.name for node in products(model)}
    if not chosen:
        raise ExportError("int8-dynamic quantises matrix products, and the model has none")
    known: dict[str, list[str]] = {}  # value -> it in uint8, its scale, its zero
    for node in model.proto.graph.node:
        if node.name in chosen:
            _product(model, node, known)
        else:
            model.nodes.append(node)
    held = model.write(path)
    return held, share_of_int8(model)


def share_of_int8(model: Editable) -> float:
    """Which share of the weights that the new nodes take is int8."""
    used = {name for node in model.nodes for name in node.input}
    sizes = {name: array.size for name, array in model.weights.items() if name in used}
    whole = sum(size for name, size in sizes.items() if model.weights[name].dtype == np.int8)
    return whole / sum(sizes.values())


def _product(model: Editable, node: onnx.NodeProto, known: dict[str, list[str]]) -> None:
    """The nodes that take a product's place."""
    name, (x, weight, *bias) = node.name, node.input
    if x not in known:
        known[x] = [f"{x}/{part}" for part in ("uint8", "scale", "zero")]
        model.nodes.append(
            onnx.helper.make_node("DynamicQuantizeLinear", [x], known[x], name=f"{x}/uint8")
        )
    values, scale, zero = known[x]
    matrix, scales = quantized(matrix_of(model, node), 1)
    model.weights[f"{weight}/int8"], model.weights[f"{weight}/scale"] = matrix, scales
    model.weights[f"{weight}/zero"] = np.zeros_like(scales, np.int8)
    zeros = f"{weight}/zero"
    whole = model.add("MatMulInteger", [values, f"{weight}/int8", zero, zeros], f"{name}/int32")
    as_float = model.add("Cast", [whole], f"{name}/float32", to=onnx.TensorProto.FLOAT)
    both = model.add("Mul", [scale, f"{weight}/scale"], f"{name}/scale")
    output = node.output[0]
    if not bias:
        model.nodes.append(onnx.helper.make_node("Mul", [as_float, both], [output], name=name))
        return
    scaled = model.add("Mul", [as_float, both], f"{name}/scaled")
    model.nodes.append(onnx.helper.make_node("Add", [scaled, bias[0]], [output], name=name))


def quantized(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """(a weight in int8, symmetric, its scales along an axis, float32)."""
    others = tuple(i for i in range(array.ndim) if i != axis)
    largest = np.abs(array).max(axis=others, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(array / scales).astype(np.int8), scales.reshape(-1)
