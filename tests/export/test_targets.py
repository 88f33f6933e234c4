"""Target profiles: what each takes, chooses and refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_vit.errors import ExportError, UsageError
from keras_vit.export import export_model, open_artifact
from keras_vit.export.report import Comparison
from keras_vit.export.targets import TARGETS, require_runnable, settle, target_notes, use_of

ENDINGS = {"savedmodel": "", "tflite": ".tflite", "onnx": ".onnx"}
REFUSED = [
    (target, format) for target, uses in TARGETS.items() for format in ENDINGS if format not in uses
]


@pytest.mark.parametrize(("target", "format"), REFUSED)
def test_format_that_a_target_does_not_take(
    model: Any, tmp_path: Path, target: str, format: str
) -> None:
    with pytest.raises(UsageError, match=f"target {target} takes .*, not {format}"):
        export_model(model, tmp_path / f"m{ENDINGS[format]}", target=target)
    assert not list(tmp_path.iterdir())


def test_unknown_target(model: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown target 'phone'; the targets are server"):
        export_model(model, tmp_path / "m.onnx", target="phone")


@pytest.mark.parametrize(
    ("target", "ending", "arguments", "message"),
    [
        ("mobile-gpu", ".tflite", {"batch": "dynamic"}, "a fixed batch size"),
        ("mobile-gpu", ".tflite", {"input_dtype": "uint8"}, "input_dtype='float32', not 'uint8'"),
        ("mobile-gpu", ".tflite", {"precision": "int8-dynamic"}, "not 'int8-dynamic'"),
        ("browser", ".onnx", {"opset": 20}, "opset=17 or 18, not 20"),
        ("browser", ".onnx", {"attention": "operator"}, "attention='matmul'"),
        ("tensorrt", ".onnx", {"layout": "nhwc"}, "layout='nchw', not 'nhwc'"),
        ("tensorrt", ".onnx", {"opset": 23}, "opset=17 or 18 or 20, not 23"),
    ],
)
def test_choice_that_a_target_does_not_take(
    model: Any, tmp_path: Path, target: str, ending: str, arguments: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export_model(model, tmp_path / f"m{ending}", target=target, **arguments)


def test_a_fixed_batch_of_any_size_is_for_the_gpu() -> None:
    use = use_of("mobile-gpu", "tflite")
    assert settle("mobile-gpu", use, {"batch": 4}) == {"batch": 4}


def test_browser(model: Any, tmp_path: Path) -> None:
    """The exact GELU in parts, and how far that is from the model."""
    report = export_model(model, tmp_path / "m.onnx", preprocessing="normalize", target="browser")
    assert "Erf" in report.operators and "Gelu" not in report.operators
    (note,) = [note for note in report.notes if "opset=18" in note]
    assert f"{report.relative_difference:.1e} of the outputs' standard deviation" in note


def test_tensorrt(model: Any, tmp_path: Path) -> None:
    report = export_model(model, tmp_path / "m.onnx", target="tensorrt")
    assert report.inputs[0].shape == (None, 3, 32, 32)
    assert set(report.operators) <= TARGETS["tensorrt"]["onnx"].operators
    assert any("layout=nchw" in note for note in report.notes)


@pytest.fixture(scope="module")
def for_gpu(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("gpu") / "m.tflite"
    return export_model(model, path, preprocessing="normalize", target="mobile-gpu")


def test_mobile_gpu(for_gpu: Any, photographs: np.ndarray, answers: np.ndarray) -> None:
    """One image of float32, 0 to 255; no shapes computed while it runs."""
    assert str(for_gpu.inputs[0]) == "images float32 (1, 32, 32, 3)"
    assert not {"SHAPE", "PACK", "GATHER", "REDUCE_PROD", "CAST"} & set(for_gpu.operators)
    assert any("GELU exactly on OpenCL" in note for note in for_gpu.notes)
    found = open_artifact(for_gpu.path).predict(photographs.astype(np.float32))
    np.testing.assert_allclose(found, answers, atol=1e-5)


def test_mobile_gpu_by_tensorflows_own_analysis(for_gpu: Any, capfd: Any) -> None:
    import tensorflow as tf

    tf.lite.experimental.Analyzer.analyze(model_path=for_gpu.path, gpu_compatibility=True)
    assert "Your model looks compatible with GPU delegate" in capfd.readouterr().out


def test_operator_that_a_target_does_not_have(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    with pytest.raises(ExportError, match="target mobile-gpu has no operator TOPK_V2"):
        export_model(model, path, outputs=["top5"], target="mobile-gpu")
    assert not list(tmp_path.iterdir())


def test_tensor_of_too_many_axes(tmp_path: Path) -> None:
    import tensorflow as tf

    spec = tf.TensorSpec((1, 8, 8, 3), tf.float32)
    function = tf.function(
        lambda x: tf.transpose(tf.reshape(x, (1, 2, 4, 8, 3)), (0, 2, 1, 3, 4)), [spec]
    )
    concrete = function.get_concrete_function()
    path = tmp_path / "m.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())
    with pytest.raises(ExportError, match="tensors of at most 4 axes"):
        require_runnable("mobile-gpu", use_of("mobile-gpu", "tflite"), path, "tflite")


def test_what_runs_slowly_is_said() -> None:
    notes = target_notes("mobile-cpu", use_of("mobile-cpu", "tflite"), {"ADD": 3, "TILE": 98}, None)
    assert notes == ("on mobile-cpu these run on plain CPU kernels: TILE (98)",)


def test_nothing_is_said_without_a_target() -> None:
    same = Comparison(1, 0.0, 0.0, None, 1e-4)
    assert target_notes(None, use_of(None, "onnx"), {"Gelu": 1}, same) == ()
