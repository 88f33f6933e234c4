"""Files that take images of any height and width: every family, beside the model at sizes of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_cases import CVT, VIT, load

from keras_vit.errors import ExportError, UsageError
from keras_vit.export import check, export_model, onnx_writer, open_artifact
from keras_vit.export.images import structured_images
from keras_vit.export.onnx_options import OnnxOptions
from keras_vit.export.reference import answers
from keras_vit.export.report import Tensor

ANY = {"dynamic_image_size": True}
SIZES = [(64, 64), (96, 70), (41, 83)]


def vit(**arguments: Any) -> Callable[[], keras.Model]:
    return lambda: load("vit_tiny_patch16_224", **{**VIT, **ANY, **arguments})


def cvt(**arguments: Any) -> Callable[[], keras.Model]:
    return lambda: load("cvt_13_224", **{**CVT, **ANY, **arguments})


def positions(method: str) -> Any:
    return pytest.param(vit(pos_resize=method), id=method, marks=pytest.mark.slow)


MODELS = [
    pytest.param(vit(), id="vit"),
    pytest.param(
        vit(reg_tokens=3, no_embed_class=True, qk_norm=True, global_pool="avg"), id="registers"
    ),
    pytest.param(
        lambda: load("deit_tiny_distilled_patch16_224", **VIT, **ANY),
        id="distilled",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        lambda: load("vit_tiny_r_s16_p8_224", image_size=64, depth=2, num_classes=7, **ANY),
        id="hybrid",
    ),
    pytest.param(
        lambda: load("resnetv2_50x1_bit", image_size=40, layers=(1, 2), num_classes=7, **ANY),
        id="bit",
    ),
    pytest.param(cvt(), id="cvt"),
    pytest.param(
        cvt(class_token=False, global_pool="avg", position_embedding=True), id="cvt, positions"
    ),
    *map(positions, ["bilinear", "bicubic", "bilinear_antialias", "linear_align_corners"]),
]


def write(model: keras.Model, path: Path, **options: Any) -> onnxruntime.InferenceSession:
    images = Tensor("images", (None, None, None, 3), "float32")
    onnx_writer.write(model, None, images, ["logits"], {}, path, OnnxOptions(**options))
    onnx.checker.check_model(path, full_check=True)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("build", MODELS)
def test_every_family_at_several_sizes(build: Callable[[], keras.Model], tmp_path: Path) -> None:
    model = build()
    session = write(model, tmp_path / "m.onnx")
    for size in [*SIZES, model.config.preprocessing.image_size]:
        images = (structured_images(*size)[:3] / 127.5 - 1).astype(np.float32)
        expected = answers(model, ["logits"], images)["logits"]
        (given,) = session.run(None, {"images": images})
        assert np.abs(given - expected).max() <= 1e-5 * expected.std(), size


@pytest.mark.parametrize(
    "options", [{"opset": 17}, {"opset": 23, "attention": "operator"}], ids=str
)
def test_other_opsets(options: dict[str, Any], tmp_path: Path) -> None:
    model = cvt()()
    images = (structured_images(48, 80)[:2] / 127.5 - 1).astype(np.float32)
    expected = answers(model, ["logits"], images)["logits"]
    (given,) = write(model, tmp_path / "m.onnx", **options).run(None, {"images": images})
    assert np.abs(given - expected).max() <= 1e-5 * expected.std()


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_export_is_verified_at_other_sizes(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    report = export_model(
        vit()(),
        path,
        preprocessing="normalize",
        image_size="dynamic",
        layout=layout,
        outputs=["logits", "blocks_1"],
    )
    assert report.verified and report.writer == "direct"
    (images,) = onnx.load(path).graph.input
    sides = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    expected = ["batch", "height", "width", 3]
    assert sides == ([sides[0], 3, *expected[1:3]] if layout == "nchw" else expected)
    assert str(report.outputs[1]) == "blocks_1 float32 (?, ?, 48)"
    given = open_artifact(path).run(structured_images(50, 90)[:2])
    assert given["blocks_1"].shape == (2, 1 + 6 * 11, 48)
    assert check(path).problems == ()


def test_a_position_that_is_resized_otherwise_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """At the model's own size every resize gives the same: other sizes have to be looked at."""
    from keras_vit.export import onnx_rules_vit

    resized = onnx_rules_vit.resized_positions
    monkeypatch.setattr(
        onnx_rules_vit, "resized_positions", lambda *given: resized(*given[:-1], "bilinear")
    )
    with pytest.raises(ExportError, match=r"logits differs from the model .* for images of"):
        export_model(vit()(), tmp_path / "m.onnx", image_size="dynamic")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_saved_model_of_any_size(tmp_path: Path) -> None:
    """Its endpoint for images resizes them all the same."""
    model = vit()()
    report = export_model(model, tmp_path / "m", image_size="dynamic")
    assert str(report.inputs[0]) == "images float32 (?, ?, ?, 3)"
    images = (structured_images(56, 40)[:2] / 127.5 - 1).astype(np.float32)
    expected = answers(model, ["logits"], images)["logits"]
    given = open_artifact(tmp_path / "m").predict(images)
    assert np.abs(given - expected).max() <= 1e-4 * expected.std()


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "arguments", "message"),
        [
            ("m.tflite", {}, "of ONNX files and SavedModels, not of tflite"),
            (
                "m.onnx",
                {"preprocessing": "baked", "input_size": (9, 9)},
                'with preprocessing="baked"',
            ),
            ("m.onnx", {"precision": "float16"}, 'does not go with precision="float16"'),
            ("m.onnx", {"image_size": "any"}, r'has to be \(height, width\) or "dynamic"'),
        ],
    )
    def test_what_wants_one_size(
        self, tmp_path: Path, name: str, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            export_model(vit()(), tmp_path / name, **{"image_size": "dynamic", **arguments})

    def test_a_model_of_one_size(self, model: Any, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="takes 32 x 32; load it with dynamic_image_size=True"):
            export_model(model, tmp_path / "m.onnx", image_size="dynamic")

    def test_a_layer_that_wants_one_size(self, tmp_path: Path) -> None:
        """CvT's projection by averages, of its ablation, counts the pixels of its windows."""
        model = cvt(projection=("average", "linear", "conv"), stride_kv=(2, 2, 2))()
        with pytest.raises(ExportError, match='"dynamic" cannot be written: no rule for sides'):
            export_model(model, tmp_path / "m.onnx", image_size="dynamic")
        assert list(tmp_path.iterdir()) == []
