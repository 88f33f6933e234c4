"""An ONNX file in static int8: ranges of activations found beforehand, on calibration images.

What is quantised stands between QuantizeLinear and DequantizeLinear: what goes into products and
convolutions, in uint8 over the range seen; their weights, in int8 with one scale an output; their biases,
of convolutions in int32. Runtimes and NPU compilers fuse these to integer kernels. Runs in a child process.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from keras_vit.export.artifact import open_artifact
from keras_vit.export.child import serve
from keras_vit.export.ladder import Rung, Samples, climb
from keras_vit.export.onnx_edit import (
    Editable,
    attributes,
    element_types,
    is_plain,
    is_preprocessing,
    read,
)
from keras_vit.export.onnx_int8_dynamic import quantized, share_of_int8

_KINDS = ("MatMul", "Gemm", "Conv")
_ACTIVATIONS = {"Gelu", "Mul", "Relu", "Sigmoid", "Tanh", "Elu", "LeakyRelu"}
_ONE = "ranges/shape"


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Write `request["source"]`, a float32 file, as `request["artifact"]`.

    Returns:
        `weight_bytes`, `share` of the weights in int8, and the `note` of the search.
    """
    source, artifact = Path(request["source"]), Path(request["artifact"])
    samples = Samples.load(Path(request["samples"]))
    ranges = find_ranges(source, artifact, samples.calibrating)
    written: dict[Rung, tuple[int, float]] = {}

    def answer(rung: Rung) -> Mapping[str, Any]:
        written[rung] = write(source, artifact, ranges, rung.operators)
        return open_artifact(artifact).run(samples.held_out)

    rungs = ladder(read(source))
    result = climb(rungs, answer, samples)
    chosen = list(written)[result.chosen]
    if chosen != list(written)[-1]:
        write(source, artifact, ranges, chosen.operators)
    held, share = written[chosen]
    return {"weight_bytes": held, "share": share, "note": result.note}


def quantisable(model: Editable) -> list[onnx.NodeProto]:
    """Products and convolutions of the model, in their order."""
    types = element_types(model)
    return [
        node
        for node in model.proto.graph.node
        if node.op_type in _KINDS
        and not is_preprocessing(node)
        and types.get(node.output[0]) == onnx.TensorProto.FLOAT
        and node.input[0] not in model.weights
        and _is_written_plainly(model, node)
    ]


def _is_written_plainly(model: Editable, node: onnx.NodeProto) -> bool:
    """Whether a Gemm is x @ weight + bias, and a convolution's kernel and bias are weights."""
    if node.op_type == "Gemm":
        return is_plain(node) and node.input[1] in model.weights
    return node.op_type != "Conv" or all(name in model.weights for name in node.input[1:])


def ladder(model: Editable) -> list[Rung]:
    """What may stay in float32, in the order in which that is tried."""
    nodes = quantisable(model)
    makers = {name: node.op_type for node in model.proto.graph.node for name in node.output}
    mixing = [n.name for n in nodes if n.op_type == "MatMul" and n.input[1] not in model.weights]
    behind = [
        n.name for n in nodes if n.op_type != "Conv" and makers.get(n.input[0]) in _ACTIVATIONS
    ]
    ends = [nodes[0].name, *_last(model, nodes)] if nodes else []
    rungs = [Rung("", ())]
    for group, names in (
        (f"the {len(mixing)} products of activations (attention)", mixing),
        (f"the {len(behind)} products behind activation functions", behind),
        (f"the first and the last {len(ends) - 1}", ends),
    ):
        rungs.append(Rung(group, tuple(dict.fromkeys((*rungs[-1].operators, *names)))))
    return rungs


def _last(model: Editable, nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """Those behind which none other comes: the heads."""
    names, before, last = {node.name for node in nodes}, set(), []
    for node in reversed(model.proto.graph.node):
        leads_on = any(name in before for name in node.output)
        if node.name in names and not leads_on:
            last.append(node.name)
        if node.name in names or leads_on:
            before.update(node.input)
    return last


def find_ranges(
    source: Path, beside: Path, images: np.ndarray
) -> Mapping[str, tuple[float, float]]:
    """The smallest and the largest number in every activation that may be quantised."""
    model = read(source)
    model.nodes.extend(model.proto.graph.node)
    names = sorted({name for node in quantisable(model) for name in _activations(model, node)})
    model.weights[_ONE] = np.array([1], np.int64)
    for name in names:
        for op in ("ReduceMin", "ReduceMax"):
            found = model.add(op, [name], f"{name}/{op}/scalar", keepdims=0)
            output = model.add("Reshape", [found, _ONE], f"{name}/{op}")  # one a batch
            info = onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, (1,))
            model.proto.graph.output.append(info)
    path = beside.with_name("ranges.onnx")
    model.write(path)
    seen = open_artifact(path).run(images)
    path.unlink()
    return {
        name: (float(seen[f"{name}/ReduceMin"].min()), float(seen[f"{name}/ReduceMax"].max()))
        for name in names
    }


def _activations(model: Editable, node: onnx.NodeProto) -> Iterable[str]:
    """What of a node is quantised over a range: its inputs, and a convolution's output too, which the
    integer kernels of convolutions want."""
    yield from (name for name in node.input[:2] if name not in model.weights)
    if node.op_type == "Conv":
        yield node.output[0]


def write(
    source: Path, path: Path, ranges: Mapping[str, tuple[float, float]], kept: Sequence[str]
) -> tuple[int, float]:
    """Write a float32 file with all but the `kept` nodes in int8.

    Returns:
        its weights' bytes, and which share of the weights is int8.
    """
    model = read(source)
    chosen = {node.name for node in quantisable(model)} - set(kept)
    writer = _Writer(model, ranges)
    for node in model.proto.graph.node:
        if node.name in chosen:
            writer.quantise(node)
        else:
            model.nodes.append(node)
    return model.write(path), share_of_int8(model)


class _Writer:
    """Appends quantised nodes to a model, each activation's conversion once."""

    def __init__(self, model: Editable, ranges: Mapping[str, tuple[float, float]]) -> None:
        self.model, self.ranges = model, ranges
        self.known: dict[str, str] = {}

    def quantise(self, node: onnx.NodeProto) -> None:
        """The node between conversions of what it takes, and of what a convolution gives."""
        if node.op_type == "Conv":
            self._convolution(node)
            return
        x, y = self._activation(node.input[0]), node.input[1]
        constant = y in self.model.weights
        if constant and attributes(node).get("transB"):
            self.model.weights[f"{y}/transposed"] = self.model.weights[y].T
            y = f"{y}/transposed"
        inputs = [x, self._weight(y, 1) if constant else self._activation(y)]
        output = node.output[0]
        if len(node.input) == 2:
            self.model.nodes.append(
                onnx.helper.make_node("MatMul", inputs, [output], name=node.name)
            )
            return
        # Gemm: onnxruntime has an integer kernel for MatMul whatever follows, and none for this.
        product = self.model.add("MatMul", inputs, f"{output}/product")
        biased = [product, node.input[2]]
        self.model.nodes.append(onnx.helper.make_node("Add", biased, [output], name=node.name))

    def _convolution(self, node: onnx.NodeProto) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        output = node.output[0]
        copy.input[0] = self._activation(node.input[0])
        copy.input[1] = self._weight(node.input[1], 0)
        if len(node.input) > 2:
            copy.input[2] = self._bias(node)
        copy.output[0] = f"{output}/exact"
        self.model.nodes.append(copy)
        self._convert(f"{output}/exact", output, self._parameters(output))

    def _activation(self, name: str) -> str:
        if name not in self.known:
            self.known[name] = f"{name}/dequantized"
            self._convert(name, self.known[name], self._parameters(name))
        return self.known[name]

    def _convert(self, name: str, output: str, parameters: list[str]) -> None:
        whole = self.model.add("QuantizeLinear", [name, *parameters], f"{output}/uint8")
        self.model.add("DequantizeLinear", [whole, *parameters], output)

    def _parameters(self, name: str) -> list[str]:
        """Scale and zero of an activation, in uint8 over its range, which zero belongs to."""
        scale, zero = _scale_and_zero(*self.ranges[name])
        weights = self.model.weights
        weights[f"{name}/scale"], weights[f"{name}/zero"] = scale, zero
        return [f"{name}/scale", f"{name}/zero"]

    def _weight(self, name: str, axis: int) -> str:
        """A weight in int8, one scale along an axis."""
        if f"{name}/dequantized" not in self.known:
            array = self.model.weights[name]
            whole, scales = quantized(array, axis)
            self.model.weights[f"{name}/int8"] = whole
            self.model.weights[f"{name}/scale"] = scales
            self.model.weights[f"{name}/zero"] = np.zeros(len(scales), np.int8)
            names = [f"{name}/{part}" for part in ("int8", "scale", "zero")]
            self.known[f"{name}/dequantized"] = self.model.add(
                "DequantizeLinear", names, f"{name}/dequantized", axis=axis
            )
        return f"{name}/dequantized"

    def _bias(self, node: onnx.NodeProto) -> str:
        """A bias in int32, in steps of the products: the input's scale times the weight's."""
        name = node.input[2]
        scales = self.model.weights[f"{node.input[1]}/scale"]
        steps = (self.model.weights[f"{node.input[0]}/scale"] * scales).astype(np.float32)
        limits = np.iinfo(np.int32)
        whole = np.clip(np.rint(self.model.weights[name] / steps), limits.min, limits.max)
        self.model.weights[f"{name}/int32"] = whole.astype(np.int32)
        self.model.weights[f"{name}/scale"] = steps
        self.model.weights[f"{name}/zero"] = np.zeros(len(steps), np.int32)
        names = [f"{name}/{part}" for part in ("int32", "scale", "zero")]
        return self.model.add("DequantizeLinear", names, f"{name}/dequantized", axis=0)


def _scale_and_zero(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    return np.array(scale, np.float32), np.array(round(-low / scale), np.uint8)


if __name__ == "__main__":
    serve(main)
