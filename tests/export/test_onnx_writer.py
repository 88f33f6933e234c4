"""The direct writer: every family, opset, layout and backend; what the files look like and hold."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from onnx_cases import (
    CVT,
    VIT,
    difference,
    images_for,
    load,
    operators,
    run,
    weight_bytes,
    write,
    written,
)

import keras_vit
from keras_vit.errors import ExportError, UsageError
from keras_vit.export import export_model, onnx_file, open_artifact
from keras_vit.export.reference import answers
from keras_vit.models.attention_scores import attention_scores

TOLERANCE = 1e-5  # of the output's standard deviation


def head_replaced() -> keras.Model:
    """A backbone of ours as a layer, between an augmentation and a head of Keras' layers."""
    backbone = load("vit_tiny_patch16_224", **{**VIT, "num_classes": 0})
    x = keras.layers.RandomFlip()(images := keras.Input((32, 32, 3), name="photo"))
    x = keras.layers.BatchNormalization()(backbone(x))
    x = keras.layers.Dropout(0.3)(keras.layers.Dense(16, "relu")(x))
    return keras.Model(images, keras.layers.Dense(3, "softmax")(x))


def cut_in_the_middle() -> keras.Model:
    """A feature of a block, pooled by operations on symbols."""
    model = load("vit_tiny_patch16_224", **VIT)
    tokens = model.get_layer("blocks_0").output
    return keras.Model(model.input, keras.ops.mean(tokens[:, 1:], axis=1) * 0.5)


def siamese() -> keras.Model:
    """One backbone called twice, and two outputs, of which one is the other's input."""
    backbone = load("vit_tiny_patch16_224", **VIT)
    images = keras.Input((32, 32, 3))
    one, two = backbone(images), backbone(keras.layers.Rescaling(0.5)(images))
    return keras.Model(images, {"one": one, "both": keras.layers.Concatenate()([one, two])})


def sequential() -> keras.Model:
    backbone = load("vit_tiny_patch16_224", **{**VIT, "num_classes": 0})
    return keras.Sequential([keras.Input((32, 32, 3)), backbone, keras.layers.Dense(2)])


def vit(**arguments: Any) -> Callable[[], keras.Model]:
    return lambda: load("vit_tiny_patch16_224", **{**VIT, **arguments})


def cvt(**arguments: Any) -> Callable[[], keras.Model]:
    return lambda: load("cvt_13_224", **{**CVT, **arguments})


def bit(**arguments: Any) -> Callable[[], keras.Model]:
    small = {"image_size": 40, "layers": (1, 2), "num_classes": 7, **arguments}
    return lambda: load("resnetv2_50x1_bit", **small)


def hybrid(**arguments: Any) -> Callable[[], keras.Model]:
    small = {"image_size": 64, "depth": 2, "num_classes": 7, **arguments}
    return lambda: load("vit_tiny_r_s16_p8_224", **small)


MODELS: dict[str, Callable[[], keras.Model]] = {
    "vit": vit(),
    "features": vit(num_classes=0),
    "all tokens": vit(global_pool=""),
    "mean": vit(global_pool="avg", fc_norm=True),
    "mean and maximum": vit(global_pool="avgmax"),
    "attention pooling": vit(global_pool="map"),
    "attention pooling, registers": vit(reg_tokens=2, global_pool="map", class_token=False),
    "no positions": vit(position_embedding=False, class_token=False, global_pool="max"),
    "pre-logits": vit(representation_size=20),
    "tanh gelu": vit(act="gelu_tanh"),
    "quick gelu": vit(act="quick_gelu", pre_norm=True),
    "registers, norms, scales": vit(
        reg_tokens=3, no_embed_class=True, qk_norm=True, init_values=0.1, qkv_bias=False
    ),
    "distilled": lambda: load("deit_tiny_distilled_patch16_224", **VIT),
    "deit3": lambda: load("deit3_small_patch16_224", **VIT, num_heads=3),
    "hybrid": hybrid(),
    "bit": bit(),
    "bit, odd size": bit(image_size=45, global_pool="avgmax"),
    "cvt": cvt(),
    "cvt, averages and patches": cvt(
        token_embedding="patch", projection=("average", "linear", "conv"), global_pool="avg"
    ),
    "cvt, positions": cvt(class_token=False, global_pool="avg", position_embedding=True),
    "attention maps": lambda: attention_scores(vit()()),
    "attention maps of a pooling": lambda: attention_scores(vit(global_pool="map")()),
    "attention maps of cvt": lambda: attention_scores(cvt()(), ["stages_2_blocks_1"]),
    "head replaced": head_replaced,
    "cut in the middle": cut_in_the_middle,
    "siamese": siamese,
    "sequential": sequential,
}


@pytest.fixture(scope="module")
def models() -> Callable[[str], keras.Model]:
    """name -> model, built once."""
    built: dict[str, keras.Model] = {}

    def get(name: str) -> keras.Model:
        if name not in built:
            built[name] = MODELS[name]()
        return built[name]

    return get


@pytest.mark.parametrize("name", MODELS)
def test_model(models: Any, name: str, tmp_path: Path) -> None:
    assert difference(models(name), tmp_path) <= TOLERANCE


WAYS = [
    {"opset": 17},
    {"opset": 18, "layout": "nchw"},
    {"opset": 21},
    {"opset": 22, "layout": "nchw"},
    {"opset": 23},
    {"opset": 23, "attention": "operator", "layout": "nchw"},
]
IDS = ["-".join(map(str, way.values())) for way in WAYS]


@pytest.mark.parametrize("options", WAYS, ids=IDS)
@pytest.mark.parametrize("name", ["registers, norms, scales", "tanh gelu", "hybrid", "bit", "cvt"])
def test_every_way(models: Any, name: str, options: dict[str, Any], tmp_path: Path) -> None:
    assert difference(models(name), tmp_path, **options) <= TOLERANCE


@pytest.mark.parametrize("name", ["distilled", "cvt", "bit"])
def test_batches(models: Any, name: str, tmp_path: Path) -> None:
    """One file, and the same answers alone as in company."""
    model = models(name)
    images = images_for(model, 8)
    write(model, tmp_path / "m.onnx", images)
    expected = answers(model, ["logits"], images)["logits"]
    for batch in (1, 2, 3, 8):
        actual = run(tmp_path / "m.onnx", images[:batch])["logits"]
        assert np.abs(actual - expected[:batch]).max() <= TOLERANCE * expected.std()


def test_images_of_any_size(tmp_path: Path) -> None:
    """The positions are resized to the size of the file."""
    model = load("vit_tiny_patch16_224", **VIT, dynamic_image_size=True)
    images = np.resize(images_for(vit()()), (3, 32, 32, 3))
    wide = np.concatenate([images, images[:, :, :16]], axis=2)
    assert difference(model, tmp_path, wide) <= TOLERANCE


def test_export_at_a_much_smaller_size_than_the_positions_are_for(tmp_path: Path) -> None:
    """The file holds fewer positions than the model, and is not taken for one without weights."""
    small = {"patch_size": 8, "depth": 1, "embed_dim": 48, "num_classes": 2}
    model = load("vit_tiny_patch16_224", **small, dynamic_image_size=True)
    report = export_model(model, tmp_path / "m.onnx", image_size=(16, 16))
    held = 4 * sum(int(np.prod(weight.shape)) for weight in model.weights)
    assert report.writer == "direct" and report.verified
    assert report.weight_bytes < 0.8 * held


@pytest.mark.parametrize("opset", [17, 20])
def test_few_nodes(opset: int, tmp_path: Path) -> None:
    """For twelve blocks."""
    model = load("vit_tiny_patch16_224", **{**VIT, "depth": 12})
    proto, _ = written(model, tmp_path, images_for(model), opset=opset)
    assert len(proto.graph.node) <= 330
    assert operators(proto)["LayerNormalization"] == 25


def test_fewer_nodes_with_the_attention_operator(tmp_path: Path) -> None:
    model = load("vit_tiny_patch16_224", **{**VIT, "depth": 12})
    options = {"opset": 23, "attention": "operator"}
    proto, _ = written(model, tmp_path, images_for(model), **options)
    assert len(proto.graph.node) <= 200
    assert operators(proto)["Attention"] == operators(proto)["Gelu"] == 12


def test_file_is_its_weights(tmp_path: Path) -> None:
    """1.01 of them at the real width; nothing is there twice."""
    arguments = {**VIT, "embed_dim": 192, "image_size": 224, "patch_size": 16, "num_classes": 1000}
    model = load("vit_tiny_patch16_224", **arguments)
    proto, _ = written(model, tmp_path, images_for(model, 1))
    weights = 4 * sum(int(np.prod(weight.shape)) for weight in model.weights)
    assert weight_bytes(proto) <= 1.001 * weights
    assert (tmp_path / "written.onnx").stat().st_size <= 1.01 * weights


def test_last_block_computes_the_class_token_alone(models: Any, tmp_path: Path) -> None:
    """Its projection and MLP are products of vectors; where all tokens are given, of tokens."""
    for name, rank in (("vit", 2), ("mean", 3), ("all tokens", 3)):
        proto, _ = written(models(name), tmp_path, images_for(models(name)))
        inferred = onnx.shape_inference.infer_shapes(proto)
        (hidden,) = [v for v in inferred.graph.value_info if v.name == "blocks_1/mlp/fc1/Gelu"]
        assert len(hidden.type.tensor_type.shape.dim) == rank


def test_one_convolution_for_conv_and_norm(models: Any, tmp_path: Path) -> None:
    """CvT: three stems, and three projections a block, all BatchNorm folded."""
    proto, _ = written(models("cvt"), tmp_path, images_for(models("cvt")))
    assert operators(proto)["Conv"] == 3 + 3 * 5
    assert "BatchNormalization" not in operators(proto)


def test_maps_stay_as_convolutions_want_them(models: Any, tmp_path: Path) -> None:
    """BiT: one transposition of the images, and with NCHW none."""
    for layout, count in (("nhwc", 1), ("nchw", 0)):
        proto, _ = written(models("bit"), tmp_path, images_for(models("bit")), layout=layout)
        assert operators(proto).get("Transpose", 0) == count


def test_names_are_those_of_the_layers(models: Any, tmp_path: Path) -> None:
    proto, _ = written(models("vit"), tmp_path, images_for(models("vit")))
    names = {tensor.name for tensor in proto.graph.initializer}
    assert {"blocks_0/attn/qkv/kernel", "blocks_1/mlp/fc2/bias", "head/kernel"} <= names
    assert all(node.name for node in proto.graph.node)


def test_metadata_and_versions(models: Any, tmp_path: Path) -> None:
    model = models("vit")
    write(model, tmp_path / "m.onnx", images_for(model), {"labels": ["ant"]}, opset=21)
    proto = onnx.load(tmp_path / "m.onnx")
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 21)]
    assert {e.key: json.loads(e.value) for e in proto.metadata_props} == {
        "keras_vit.labels": ["ant"]
    }
    assert proto.producer_name == "keras_vit"


def test_model_is_left_as_it_was(tmp_path: Path) -> None:
    """Writing adds no calls to its layers, which `get_config` would show."""
    model = vit()()
    before = model.get_config()
    written(model, tmp_path, images_for(model))
    assert model.get_config() == before


# By way of export_model


def test_report_of_a_direct_export(tmp_path: Path) -> None:
    model = vit()()
    report = export_model(
        model,
        tmp_path / "m.onnx",
        preprocessing="normalize",
        opset=23,
        attention="operator",
        layout="nchw",
        batch=2,
    )
    assert report.writer == "direct"
    assert report.converter.startswith("keras_vit ")
    assert report.relative_difference <= TOLERANCE
    assert str(report.inputs[0]) == "images uint8 (2, 3, 32, 32)"
    artifact = open_artifact(tmp_path / "m.onnx")
    assert artifact.image_shape == (32, 32, 3)
    raw = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    values = model.config.preprocessing
    images = ((raw / 255 - values.mean) / np.array(values.std)).astype(np.float32)
    expected = answers(model, ["logits"], images)["logits"]
    assert np.abs(artifact.predict(raw) - expected).max() <= TOLERANCE * expected.std()
    assert keras_vit.export.check(tmp_path / "m.onnx", against=model).passed


def test_preprocessing_layer_of_the_model(tmp_path: Path) -> None:
    """Resize, crop and normalisation inside the file."""
    model = vit()()
    front = model.preprocess
    report = export_model(model, tmp_path / "m.onnx", preprocessing=front, image_size=(50, 41))
    assert report.writer == "direct"
    assert str(report.inputs[0]) == "images uint8 (?, 50, 41, 3)"


def test_mixed_precision_is_rebuilt(build: Any, tmp_path: Path) -> None:
    report = export_model(build(dtype="mixed_bfloat16"), tmp_path / "m.onnx")
    assert report.writer == "direct"
    assert "rebuilt in float32" in report.notes[0]


def unknown() -> keras.Model:
    images = keras.Input((8, 8, 3))
    x = keras.layers.SeparableConv2D(4, 3, name="separable")(images)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))


@pytest.mark.parametrize("layout", [pytest.param("nhwc", marks=pytest.mark.slow), "nchw"])
def test_layer_without_a_rule_goes_through_tf2onnx(layout: str, tmp_path: Path) -> None:
    report = export_model(unknown(), tmp_path / "m.onnx", layout=layout)
    assert report.writer == "tf2onnx (no rule for SeparableConv2D, layer 'separable')"
    assert report.converter.startswith("tf2onnx ")
    assert "ends at opset 18" in report.notes[0]
    assert report.verified
    shape = (None, 3, 8, 8) if layout == "nchw" else (None, 8, 8, 3)
    assert report.inputs[0].shape == shape


def test_operator_that_tf2onnx_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match='operator" cannot be written: no rule for Separable'):
        export_model(unknown(), tmp_path / "m.onnx", opset=23, attention="operator")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 19}, "opset has to be 17, 18, 20, 21, 22 or 23, not 19"),
        ({"opset": True}, "opset has to be"),
        ({"attention": "fused"}, "attention has to be 'matmul' or 'operator', not 'fused'"),
        ({"attention": "operator"}, 'attention="operator" needs opset=23, not 20'),
        ({"layout": "NCHW"}, "layout has to be 'nhwc' or 'nchw', not 'NCHW'"),
        ({"format": "savedmodel", "opset": 18}, "opset, attention and layout are ONNX's"),
    ],
)
def test_options_that_make_no_sense(
    model: Any, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / ("m" if "format" in options else "m.onnx")
    with pytest.raises(UsageError, match=message):
        export_model(model, path, **options)
    assert list(tmp_path.iterdir()) == []


# Weights beside the file


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is too large for one."""
    monkeypatch.setattr(onnx_file, "MAX_INLINE", 10_000)


@pytest.mark.usefixtures("large")
def test_weights_beside_the_file(model: Any, tmp_path: Path) -> None:
    report = export_model(model, tmp_path / "m.onnx")
    names = ["m.onnx", "m.onnx.data", "m.onnx.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [Path(file).name for file in report.files] == names
    graph, data = ((tmp_path / name).stat().st_size for name in names[:2])
    assert graph < 40_000 and graph + data == report.size
    assert data % 4 == 0 and data >= report.weight_bytes - 20_000
    assert report.relative_difference <= TOLERANCE
    assert keras_vit.export.check(tmp_path / "m.onnx", against=model).passed


@pytest.mark.slow
def test_more_weights_than_one_file_holds(tmp_path: Path) -> None:
    """Two layers of 1.1 GB in all, beside a file whose limit is a gigabyte."""
    images = keras.Input((16, 16, 3))
    x = keras.layers.Dense(16_384, activation="relu")(keras.layers.Flatten()(images))
    model = keras.Model(images, keras.layers.Dense(16_384)(x))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(onnx_file, "MAX_INLINE", 1_000_000_000)
        report = export_model(model, tmp_path / "m.onnx")
    assert report.verified and len(report.files) == 3
    assert (tmp_path / "m.onnx").stat().st_size < 10_000


@pytest.mark.usefixtures("large")
def test_weights_that_were_changed_beside_the_file(model: Any, tmp_path: Path) -> None:
    export_model(model, tmp_path / "m.onnx", verify=False)
    data = tmp_path / "m.onnx.data"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0x40
    data.write_bytes(content)
    problems = keras_vit.export.check(tmp_path / "m.onnx").problems
    assert any("SHA-256" in problem for problem in problems)


def test_weights_of_an_older_file_go(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(onnx_file, "MAX_INLINE", 10_000)
        export_model(model, tmp_path / "m.onnx", verify=False)
    with pytest.raises(UsageError, match="exists; pass overwrite=True"):
        export_model(model, tmp_path / "m.onnx")
    (tmp_path / "m.onnx").unlink()
    (tmp_path / "m.onnx.json").unlink()
    with pytest.raises(UsageError, match=r"m\.onnx\.data exists"):
        export_model(model, tmp_path / "m.onnx")
    export_model(model, tmp_path / "m.onnx", verify=False, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.onnx.json"]


def test_full_disk_leaves_nothing(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx_file, "_write_array", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export_model(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


# Other backends

PROGRAM = """
import json, sys
from pathlib import Path
sys.modules["tensorflow"] = None  # not installed, for this process
import keras
sys.path.insert(0, sys.argv[1])
import onnx_cases as cases
import keras_vit
builds = {
    "vit": lambda: cases.load("vit_tiny_patch16_224", **cases.VIT, qk_norm=True, init_values=0.1),
    "cvt": lambda: cases.load("cvt_13_224", **cases.CVT),
    "hybrid": lambda: cases.load("vit_tiny_r_s16_p8_224", image_size=64, depth=1, num_classes=7),
    "bit": lambda: cases.load("resnetv2_50x1_bit", image_size=40, layers=(1, 2), num_classes=7),
}
model = builds[sys.argv[2]]()
folder = Path(sys.argv[3])
if sys.argv[2] == "vit":
    report = keras_vit.export_model(model, folder / "m.onnx", preprocessing="normalize")
    assert report.writer == "direct"
    found = report.relative_difference
else:
    found = cases.difference(model, folder)
print(json.dumps([keras.backend.backend(), found]))
"""

BACKENDS = ["jax", pytest.param("torch", marks=pytest.mark.parity)]


def on_another_backend(backend: str, family: str, folder: Path) -> None:
    """Exports a model in a process that has no TensorFlow."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), family, str(folder)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    name, found = json.loads(result.stdout.splitlines()[-1])
    assert name == backend
    assert found <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_on_another_backend(tmp_path: Path, backend: str) -> None:
    on_another_backend(backend, "vit", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["cvt", "hybrid", "bit"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_family_on_another_backend(tmp_path: Path, backend: str, family: str) -> None:
    """Slow on JAX, which compiles each operation by itself here."""
    on_another_backend(backend, family, tmp_path)
