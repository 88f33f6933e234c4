"""Written ONNX files in float16 and with products in int8: what is in them, and what they answer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_cases import CVT, VIT, images_for, load, operators, run, weight_bytes, write

from keras_vit.errors import ExportError
from keras_vit.export import onnx_edit, onnx_float16, onnx_int8, onnx_int8_dynamic
from keras_vit.export.agreement import agree

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", VIT),
    "every norm": (
        "vit_tiny_patch16_224",
        {**VIT, "qk_norm": True, "init_values": 0.1, "global_pool": "avg"},
    ),
    "cvt": ("cvt_13_224", CVT),
    "bit": ("resnetv2_50x1_bit", {"image_size": 40, "layers": (1, 2), "num_classes": 7}),
}
WAYS: dict[str, dict[str, Any]] = {
    "vit": {},
    "every norm": {"opset": 17, "layout": "nchw"},
    "cvt": {"opset": 23, "attention": "operator"},
    "bit": {},
}


@dataclass(frozen=True)
class Written:
    """A float32 file, images for it, and what it answers."""

    path: Path
    images: np.ndarray
    logits: np.ndarray
    layout: str


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Written]:
    """name -> `Written`, once."""
    folder, done = tmp_path_factory.mktemp("float32"), {}

    def get(name: str) -> Written:
        if name not in done:
            kind, arguments = MODELS[name]
            model = load(kind, **arguments)
            path, images = folder / f"{len(done)}.onnx", images_for(model, 7)
            layout = write(model, path, images, **WAYS[name]).layout
            done[name] = Written(path, images, run(path, images, layout)["logits"], layout)
        return done[name]

    return get


@pytest.mark.parametrize("name", MODELS)
def test_float16(written: Any, name: str, tmp_path: Path) -> None:
    source, path = written(name), tmp_path / "half.onnx"
    held = onnx_float16.write(source.path, path)
    onnx.checker.check_model(path, full_check=True)  # order of the nodes included
    proto = onnx.load(path)
    assert held == weight_bytes(proto)
    assert held <= 0.52 * weight_bytes(onnx.load(source.path))
    found = agree(source.logits, run(path, source.images, source.layout)["logits"])
    assert found.cosine_min >= 0.9999


@pytest.mark.parametrize("name", ["vit", "every norm", "bit"])
def test_statistics_stay_in_float32(written: Any, name: str, tmp_path: Path) -> None:
    """What a softmax or a mean takes; a LayerNormalization's own are, by its `stash_type`."""
    path = tmp_path / "half.onnx"
    onnx_float16.write(written(name).path, path)
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    for node in graph.node:
        if node.op_type in ("Softmax", "InstanceNormalization", "ReduceMean"):
            assert types[node.input[0]] == onnx.TensorProto.FLOAT
        if node.op_type == "LayerNormalization":
            assert "stash_type" not in {attribute.name for attribute in node.attribute}
    ends = [*graph.input, *graph.output]
    assert {value.type.tensor_type.elem_type for value in ends} == {onnx.TensorProto.FLOAT}


def test_softmax_of_the_attention_operator_stays_in_float32(written: Any, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    onnx_float16.write(written("cvt").path, path)
    kept = [
        onnx.helper.get_node_attr_value(node, "softmax_precision")
        for node in onnx.load(path).graph.node
        if node.op_type == "Attention"
    ]
    assert kept == [onnx.TensorProto.FLOAT] * 5


def test_weight_beyond_float16_stays_in_float32(tmp_path: Path) -> None:
    images = keras.Input((4, 4, 3))
    dense = keras.layers.Dense(2, name="large")
    model = keras.Model(images, dense(keras.layers.Flatten()(images)))
    dense.kernel.assign(1e5 * np.ones(dense.kernel.shape))
    fed = np.random.default_rng(0).normal(size=(3, 4, 4, 3)).astype(np.float32)
    write(model, tmp_path / "m.onnx", fed)
    onnx_float16.write(tmp_path / "m.onnx", tmp_path / "half.onnx")
    expected, actual = (run(tmp_path / name, fed)["logits"] for name in ("m.onnx", "half.onnx"))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("name", ["vit", "every norm", "cvt"])
def test_int8_dynamic(written: Any, name: str, tmp_path: Path) -> None:
    """Every product with a weight, and nothing else."""
    source, path = written(name), tmp_path / "int8.onnx"
    held, share = onnx_int8_dynamic.write(source.path, path)
    onnx.checker.check_model(path, full_check=True)
    before, after = onnx.load(source.path), onnx.load(path)
    assert held == weight_bytes(after) and 0.5 < share < 1
    weights = {tensor.name for tensor in before.graph.initializer}
    products = [
        node
        for node in before.graph.node
        if node.op_type in ("MatMul", "Gemm") and weights & set(node.input)
    ]
    assert operators(after)["MatMulInteger"] == len(products)
    assert "Gemm" not in operators(after)
    assert operators(after).get("MatMul", 0) == operators(before)["MatMul"] - sum(
        node.op_type == "MatMul" for node in products
    )
    found = agree(source.logits, run(path, source.images, source.layout)["logits"])
    assert found.cosine_min >= 0.998


def test_one_scale_an_output(written: Any, tmp_path: Path) -> None:
    """Each weight is within half a step of its own column's scale."""
    path = tmp_path / "int8.onnx"
    onnx_int8_dynamic.write(written("vit").path, path)
    before, after = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(file).graph.initializer}
        for file in (written("vit").path, path)
    )
    name = "blocks_0/mlp/fc1/kernel"
    kernel, integers, scales = before[name], after[f"{name}/int8"], after[f"{name}/scale"]
    assert integers.dtype == np.int8 and scales.shape == kernel.shape[1:]
    assert (np.abs(integers).max(axis=0) == 127).all()
    assert (np.abs(integers * scales - kernel) <= 0.501 * scales).all()


def test_nothing_to_quantise(tmp_path: Path) -> None:
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(images)
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))
    write(model, tmp_path / "m.onnx", np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(ExportError, match="matrix products, and the model has none"):
        onnx_int8_dynamic.write(tmp_path / "m.onnx", tmp_path / "int8.onnx")


# Static int8


@pytest.mark.parametrize("name", MODELS)
def test_static_int8(written: Any, name: str, tmp_path: Path) -> None:
    """Products and convolutions take what was quantised, and answer about the same."""
    source, path = written(name), tmp_path / "int8.onnx"
    fed = source.images.transpose(0, 3, 1, 2) if source.layout == "nchw" else source.images
    ranges = onnx_int8.find_ranges(source.path, path, np.ascontiguousarray(fed))
    held, share = onnx_int8.write(source.path, path, ranges, ())
    onnx.checker.check_model(path, full_check=True)
    proto = onnx.load(path)
    assert held == weight_bytes(proto) and share > 0.5
    makers = {output: node.op_type for node in proto.graph.node for output in node.output}
    for node in proto.graph.node:
        if node.op_type in ("MatMul", "Conv"):
            assert {makers[x] for x in node.input} == {"DequantizeLinear"}
    found = agree(source.logits, run(path, source.images, source.layout)["logits"])
    assert found.cosine_min > 0.97


def test_ranges_are_those_of_the_activations(written: Any, tmp_path: Path) -> None:
    source = written("vit")
    ranges = onnx_int8.find_ranges(source.path, tmp_path / "m.onnx", source.images)
    (convolution,) = [x for x in onnx.load(source.path).graph.node if x.op_type == "Conv"]
    assert ranges[convolution.input[0]] == (source.images.min(), source.images.max())
    low, high = ranges["blocks_0/attn/Softmax"]
    assert 0 <= low < high <= 1
    assert not list(tmp_path.iterdir())


def test_what_may_stay_in_float32(written: Any, tmp_path: Path) -> None:
    """Attention, the products behind GELU, and both ends, one more each time."""
    first, attention, behind, ends = onnx_int8.ladder(onnx_edit.read(written("vit").path))
    assert not first.operators
    assert len(attention.operators) == 4
    assert set(behind.operators) - set(attention.operators) == {
        "blocks_0/mlp/fc2/MatMul",
        "blocks_1/mlp/fc2/MatMul",
    }
    assert set(ends.operators) - set(behind.operators) == {"patch_embed/proj/Conv", "head/Gemm"}
    path = tmp_path / "int8.onnx"
    source = written("vit")
    ranges = onnx_int8.find_ranges(source.path, path, source.images)
    onnx_int8.write(source.path, path, ranges, ends.operators)
    nodes = {node.name: node for node in onnx.load(path).graph.node}
    for name in ends.operators:
        assert not any("dequantized" in x for x in nodes[name].input)
