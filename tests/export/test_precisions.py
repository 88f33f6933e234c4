"""`export_model` in lower precisions: what is written, verified, said and refused."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from test_calibration import pictures
from test_smoothing import with_outliers

from keras_vit.errors import ExportError, UsageError
from keras_vit.export import check, export_model, open_artifact, precision
from keras_vit.export.agreement import agree
from keras_vit.export.reference import answers

RATIOS = {"float16": 0.6, "int8-dynamic": 0.5}  # of a very small model, at most


@pytest.fixture(scope="module")
def lowered(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(format, precision) -> (path, report), once."""
    folder, done = tmp_path_factory.mktemp("lowered"), {}

    def get(format: str, name: str) -> tuple[Path, Any]:
        if (format, name) not in done:
            path = folder / f"{name}.{format}"
            report = export_model(model, path, preprocessing="normalize", precision=name)
            done[format, name] = path, report
        return done[format, name]

    return get


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("onnx", "float16"),
        ("onnx", "int8-dynamic"),
        pytest.param("tflite", "int8-dynamic", marks=SLOW),
        pytest.param("tflite", "float16", marks=SLOW),
    ],
)
def test_written_and_verified(
    lowered: Any,
    exported: Any,
    photographs: np.ndarray,
    answers: np.ndarray,
    format: str,
    name: str,
) -> None:
    path, report = lowered(format, name)
    assert report.verified and report.precision == name
    assert report.comparison.images >= 64
    assert report.comparison.cosine_mean > 0.99 and report.comparison.tolerance is None
    assert report.size <= RATIOS[name] * exported(format).report.size
    assert report.weight_bytes <= report.size
    found = agree(answers, open_artifact(path).predict(photographs))
    assert found.cosine_min > 0.99
    assert np.abs(answers - open_artifact(path).predict(photographs)).max() > 0


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_metadata_name_the_precision(lowered: Any, format: str) -> None:
    path, _ = lowered(format, "int8-dynamic")
    beside = json.loads(path.with_name(path.name + ".json").read_text())
    assert beside["precision"] == beside["report"]["precision"] == "int8-dynamic"
    assert open_artifact(path).metadata["precision"] == "int8-dynamic"


def test_smoothing_is_told(build: Any, tmp_path: Path) -> None:
    """Of a model whose activations have outliers; the test's own has next to none."""
    model = with_outliers(build())
    report = export_model(model, tmp_path / "m.onnx", precision="int8-dynamic", verify=False)
    assert "activations were smoothed before" in report.notes[0]


def test_float16_onnx_is_not_for_cpus(lowered: Any) -> None:
    assert any("no faster than float32" in note for note in lowered("onnx", "float16")[1].notes)
    assert not any("no faster" in note for note in lowered("tflite", "int8-dynamic")[1].notes)


def test_users_images_judge(model: Any, tmp_path: Path) -> None:
    """Every second one; and few of them are noted."""
    report = export_model(
        model,
        tmp_path / "m.onnx",
        preprocessing="normalize",
        precision="int8-dynamic",
        calibration=pictures(36),
        target_agreement=0.5,
    )
    assert report.comparison.images == 18
    assert any("36 images for calibration are few" in note for note in report.notes)


@pytest.mark.parametrize("format", ["onnx", pytest.param("tflite", marks=SLOW)])
def test_static_int8(model: Any, tmp_path: Path, format: str) -> None:
    """Activations are quantised too, and the report says what was not."""
    path = tmp_path / f"m.{format}"
    report = export_model(
        model,
        path,
        preprocessing="normalize",
        precision="int8",
        calibration=pictures(64),
        target_agreement=0.6,
    )
    assert report.verified and report.precision == "int8"
    assert report.comparison.images == 32 and report.comparison.cosine_mean > 0.98
    assert report.operators["QuantizeLinear" if format == "onnx" else "QUANTIZE"] >= 1
    assert sum("static int8: " in note for note in report.notes) == 1
    assert any("slower than float32 on x86" in note for note in report.notes) == (
        format == "tflite"
    )
    assert {file.name for file in tmp_path.iterdir()} == {path.name, f"{path.name}.json"}


@SLOW
def test_static_int8_with_channels_first(model: Any, tmp_path: Path) -> None:
    report = export_model(
        model,
        tmp_path / "m.onnx",
        layout="nchw",
        preprocessing="normalize",
        precision="int8",
        calibration=pictures(64),
        target_agreement=0.6,
    )
    assert report.inputs[0].shape == (None, 3, 32, 32)
    assert report.verified and report.comparison.cosine_mean > 0.98


def test_static_int8_that_loses_decisions(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, with the best that was found; `target_agreement` cannot be 1.1, a cosine can."""
    monkeypatch.setattr(precision, "_COSINES", {"int8": (1.1, 0.7)})
    with pytest.raises(ExportError, match=r"static int8 gives .* at best, and an"):
        export_model(model, tmp_path / "m.onnx", precision="int8", calibration=pictures(32))
    assert not list(tmp_path.iterdir())


def test_target_that_is_not_reached(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of a file that is below the bar."""
    monkeypatch.setattr(precision, "_COSINES", {"float16": (1.1, 0.999)})
    with pytest.raises(ExportError, match=r"m.onnx is wrong .* the mean cosine of logits"):
        export_model(model, tmp_path / "m.onnx", precision="float16")
    assert not list(tmp_path.iterdir())


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown": ("m.onnx", {"precision": "int4"}, "has to be one of float32, float16"),
    "savedmodel": ("m", {"precision": "float16"}, "a SavedModel is written in float32 only"),
    "baked": (
        "m.tflite",
        {"precision": "int8-dynamic", "preprocessing": "baked", "input_size": (40, 40)},
        "would quantise the matrices of the resize too",
    ),
    "no images": ("m.onnx", {"precision": "int8"}, "needs calibration="),
    "images for float32": ("m.onnx", {"calibration": pictures()}, "for the other precisions"),
    "target": ("m.onnx", {"precision": "float16", "target_agreement": 98.5}, "0 to 1; got 98.5"),
    "noise": (
        "m.onnx",
        {
            "precision": "int8",
            "calibration": np.random.default_rng(0)
            .integers(0, 256, (40, 32, 32, 3))
            .astype(np.uint8),
        },
        "looks like noise",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_any_work(model: Any, tmp_path: Path, name: str) -> None:
    file, arguments, message = REFUSED[name]
    with pytest.raises(UsageError, match=message):
        export_model(model, tmp_path / file, **arguments)
    assert not list(tmp_path.iterdir())


# Models that Keras changed


def with_lora(model: keras.Model) -> keras.Model:
    """Every Dense layer of the blocks has a LoRA part that matters."""
    rng = np.random.default_rng(5)
    for block in (model.get_layer(f"blocks_{i}") for i in range(2)):
        for dense in (block.attn.qkv, block.mlp.fc1):
            dense.enable_lora(2)
            for part in (dense.lora_kernel_a, dense.lora_kernel_b):
                part.assign(rng.normal(scale=0.3, size=part.shape))
    return model


@pytest.mark.parametrize("arguments", [{}, {"precision": "int8-dynamic"}], ids=["float32", "int8"])
@pytest.mark.parametrize("format", ["onnx", pytest.param("tflite", marks=SLOW)])
def test_lora_is_merged(build: Any, tmp_path: Path, format: str, arguments: Any) -> None:
    keras.utils.set_random_seed(0)
    model = with_lora(build())
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    expected = answers(model, ["logits"], images)["logits"]
    keras.utils.set_random_seed(0)
    without = answers(build(), ["logits"], images)["logits"]
    path = tmp_path / f"m.{format}"
    report = export_model(model, path, **arguments)
    actual = open_artifact(path).predict(images)
    assert report.verified
    assert agree(expected, actual).cosine_min > 0.99 > agree(expected, without).cosine_min
    assert report.weight_bytes <= 4 * build().count_params()


@pytest.mark.parametrize("name", ["float32", "int8-dynamic"])
@pytest.mark.usefixtures("few_objects")
def test_quantised_by_keras_is_refused(build: Any, tmp_path: Path, name: str) -> None:
    model = build()
    model.quantize("int8")
    with pytest.raises(UsageError, match=r"quantised .* as it was before quantize"):
        export_model(model, tmp_path / "m.onnx", precision=name)
    assert not list(tmp_path.iterdir())


def test_mixed_precision_to_int8(build: Any, tmp_path: Path) -> None:
    report = export_model(
        build(dtype="mixed_float16"), tmp_path / "m.onnx", precision="int8-dynamic"
    )
    assert any("rebuilt in float32" in note for note in report.notes)


def test_checked_later(lowered: Any, model: Any) -> None:
    """By the bar of the precision that the file says it has: not as float32, and still compared."""
    path, _ = lowered("onnx", "int8-dynamic")
    found = check(path, against=model)
    assert found.passed, found.problems
    assert found.comparison.cosine_mean > 0.99 and found.comparison.tolerance is None


def test_resize_inside_stays_exact(model: Any, tmp_path: Path) -> None:
    """Its products are not the model's: they are as exact as in a float32 file."""
    path = tmp_path / "m.onnx"
    options = {"preprocessing": "baked", "input_size": (50, 41), "precision": "int8-dynamic"}
    report = export_model(model, path, calibration=pictures(32), target_agreement=0.5, **options)
    assert report.verified
    proto = onnx.load(path)
    inside = [node for node in proto.graph.node if node.name.startswith("preprocessing/")]
    assert any(node.op_type == "MatMul" for node in inside)
    assert all("Integer" not in node.op_type for node in inside)
