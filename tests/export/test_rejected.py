"""Files that are wrong, and that the verification has to refuse: one test for each way."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_vit.errors import ExportError
from keras_vit.export import open_artifact
from keras_vit.export.images import feed, structured_images
from keras_vit.export.reference import answers
from keras_vit.export.report import Tensor
from keras_vit.export.verify import TOLERANCE, Finding, examine_in_child, run_and_compare

IMAGES = Tensor("images", (None, 32, 32, 3), "uint8")
LOGITS = Tensor("logits", (None, 5), "float32")


@pytest.fixture(scope="module")
def raw() -> np.ndarray:
    return structured_images(32, 32)


@pytest.fixture(scope="module")
def expected(model: Any, raw: np.ndarray) -> Mapping[str, np.ndarray]:
    images = feed(raw, "float32", "none", model.config.preprocessing)
    return answers(model, ["logits"], images)


@pytest.fixture
def examine(raw: np.ndarray, expected: Mapping[str, np.ndarray], tmp_path: Path) -> Any:
    """Verify a file as the export of `model` with a dynamic batch."""

    def run(path: Path, format: str, **arguments: Any) -> Finding:
        wanted = {"inputs": [IMAGES], "outputs": [LOGITS], **arguments}
        return examine_in_child(path, format, tmp_path, images=raw, expected=expected, **wanted)

    return run


def problems(finding: Finding) -> str:
    return " | ".join(finding.problems)


@pytest.fixture
def onnx_file(exported: Any, tmp_path: Path) -> Path:
    return Path(shutil.copy(exported("onnx").path, tmp_path / "m.onnx"))


def rewrite(path: Path, change: Any) -> None:
    """Change an ONNX file in place by a function of its proto."""
    import onnx

    proto = onnx.load(path)
    change(proto)
    onnx.save(proto, path)


def test_right_file_has_no_problems(examine: Any, onnx_file: Path) -> None:
    finding = examine(onnx_file, "onnx")
    assert finding.problems == ()
    assert finding.comparison.relative_difference < TOLERANCE


def test_erfc_graph(examine: Any, onnx_file: Path) -> None:
    """What Keras' own ONNX export of an exact GELU is: an operator that ONNX does not have."""

    def change(proto: Any) -> None:
        for node in proto.graph.node:
            if node.op_type == "Gelu":
                node.op_type = "Erfc"

    rewrite(onnx_file, change)
    finding = examine(onnx_file, "onnx")
    assert "operator Erfc (node '" in finding.problems[0]
    assert "not in opset 20 of ONNX" in finding.problems[0]


def test_weightless_tflite(examine: Any, model: Any, tmp_path: Path) -> None:
    """What `from_concrete_functions(..., keras_model)` writes, without an error."""
    import tensorflow as tf

    spec = tf.TensorSpec((1, 32, 32, 3), tf.float32, name="images")
    function = tf.function(lambda images: model(images, training=False), input_signature=[spec])
    concrete = function.get_concrete_function()
    path = tmp_path / "m.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], model).convert())
    weight_bytes = sum(int(np.prod(weight.shape)) * 4 for weight in model.weights)
    finding = examine(path, "tflite", weight_bytes=weight_bytes)
    assert "operator READ_VARIABLE: the weights are not in the file" in problems(finding)
    assert f"the weights alone have {weight_bytes:,}" in problems(finding)


def test_batch_that_is_baked_into_the_interface(examine: Any, exported: Any) -> None:
    finding = examine(exported("tflite").path, "tflite")
    assert "its inputs should be images uint8 (?, 32, 32, 3)" in problems(finding)


def test_batch_that_is_baked_into_the_graph(examine: Any, tmp_path: Path) -> None:
    """The interface says any batch, and a Reshape inside says one."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = np.ones((32 * 32 * 3, 5), np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "baked",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 32, 32, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        [
            numpy_helper.from_array(np.array([1, 32 * 32 * 3]), "shape"),
            numpy_helper.from_array(weights, "weights"),
        ],
    )
    path = tmp_path / "m.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    finding = examine(path, "onnx")
    assert "it does not run at batch 2" in problems(finding)
    assert "it does not run at batch 7" in problems(finding)


@pytest.mark.parametrize(
    "layer",
    ["patch_embed", "embedding", "blocks_0/mlp/fc1", "blocks_1/attn/proj", "norm", "head"],
)
def test_one_weight_changed_by_a_hundredth(
    onnx_file: Path, raw: np.ndarray, expected: Mapping[str, np.ndarray], layer: str
) -> None:
    """One number in one layer's largest tensor, from the patch embedding to the head."""
    import onnx

    def change(proto: Any) -> None:
        chosen = max(
            (w for w in proto.graph.initializer if w.name.startswith(f"{layer}/")),
            key=lambda w: np.prod(w.dims),
        )
        values = onnx.numpy_helper.to_array(chosen).copy()
        values.reshape(-1)[values.size // 2] += 1e-2
        chosen.CopyFrom(onnx.numpy_helper.from_array(values, chosen.name))

    rewrite(onnx_file, change)
    _, _, found = run_and_compare(open_artifact(onnx_file), raw, expected, TOLERANCE)
    assert found and "logits differs from the model" in found[0]


def test_one_weight_changed_in_a_tflite_file(
    examine: Any, exported: Any, model: Any, tmp_path: Path
) -> None:
    path = Path(shutil.copy(exported("tflite").path, tmp_path / "m.tflite"))
    kernel = model.get_layer("head").kernel.numpy().T.copy()
    content = path.read_bytes()
    assert content.count(kernel.tobytes()) == 1
    changed = kernel.copy()
    changed[2, 7] += 1e-2
    path.write_bytes(content.replace(kernel.tobytes(), changed.tobytes()))
    finding = examine(path, "tflite", inputs=None, outputs=None)
    assert "logits differs from the model" in problems(finding)


def test_one_byte_changed_in_a_saved_model(exported: Any, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(exported("savedmodel").path, path)
    weights = path / "variables" / "variables.data-00000-of-00001"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0x10
    weights.write_bytes(content)
    with pytest.raises(ExportError, match="cannot be opened as savedmodel"):
        open_artifact(path)


def test_wrong_normalisation(
    onnx_file: Path, raw: np.ndarray, expected: Mapping[str, np.ndarray]
) -> None:
    """The ImageNet means in a file whose checkpoint wants 0.5."""
    import onnx

    def change(proto: Any) -> None:
        (offset,) = [w for w in proto.graph.initializer if "normalize/offset" in w.name]
        values = np.float32([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]).reshape(3, 1, 1)
        offset.CopyFrom(onnx.numpy_helper.from_array(values, offset.name))

    rewrite(onnx_file, change)
    _, _, found = run_and_compare(open_artifact(onnx_file), raw, expected, TOLERANCE)
    assert found and "logits differs from the model" in found[0]


def test_swapped_channels(
    onnx_file: Path, raw: np.ndarray, expected: Mapping[str, np.ndarray]
) -> None:
    """Blue, green, red where the model was trained on red, green, blue."""
    import onnx

    def change(proto: Any) -> None:
        (kernel,) = [
            w
            for w in proto.graph.initializer
            if w.name.startswith("patch_embed") and len(w.dims) == 4
        ]
        values = onnx.numpy_helper.to_array(kernel)[:, ::-1].copy()  # (filters, channels, h, w)
        kernel.CopyFrom(onnx.numpy_helper.from_array(values, kernel.name))

    rewrite(onnx_file, change)
    _, _, found = run_and_compare(open_artifact(onnx_file), raw, expected, TOLERANCE)
    assert found and "logits differs from the model" in found[0]


def test_outputs_that_are_not_finite(onnx_file: Path, raw: np.ndarray) -> None:
    import onnx

    def change(proto: Any) -> None:
        weights = max(proto.graph.initializer, key=lambda w: np.prod(w.dims))
        values = np.full(tuple(weights.dims), np.nan, np.float32)
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))

    rewrite(onnx_file, change)
    _, _, found = run_and_compare(open_artifact(onnx_file), raw, None, TOLERANCE)
    assert "logits is not finite at batch 1" in found
