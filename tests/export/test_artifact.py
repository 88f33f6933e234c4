import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_vit.errors import ExportError, UsageError
from keras_vit.export import open_artifact

FORMATS = (pytest.param("savedmodel", marks=pytest.mark.slow), "tflite", "onnx")


@pytest.fixture(scope="module")
def saved(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return path


@pytest.mark.parametrize("format", FORMATS)
def test_any_number_of_images_whatever_the_batch(
    exported: Any, format: str, photographs: np.ndarray
) -> None:
    artifact = open_artifact(exported(format).path)
    whole = artifact.predict(photographs)
    for count in (1, 4):
        part = artifact.predict(photographs[:count])
        np.testing.assert_allclose(part, whole[:count], atol=1e-5)


def test_keras_file_answers_like_the_model(
    saved: Path, model: Any, photographs: np.ndarray, answers: np.ndarray
) -> None:
    artifact = open_artifact(saved)
    assert artifact.format == "keras" and artifact.preprocessing_mode == "none"
    assert artifact.config["name"] == model.config.name
    assert artifact.labels == model.labels
    images = (photographs / 255 - 0.5) / 0.5
    np.testing.assert_allclose(artifact.predict(images), answers, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 32, 32, 3), np.float32), "takes images uint8 .* received float32"),
        (np.zeros((2, 16, 32, 3), np.uint8), r"received shape \(2, 16, 32, 3\)"),
        (np.zeros((32, 32, 3), np.uint8), r"received shape \(32, 32, 3\)"),
        (np.zeros((0, 32, 32, 3), np.uint8), r"received shape \(0, 32, 32, 3\)"),
    ],
)
def test_images_that_do_not_fit(exported: Any, images: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_artifact(exported("onnx").path).predict(images)


def test_integers_are_not_taken_for_normalised_images(saved: Path) -> None:
    with pytest.raises(UsageError, match="received uint8"):
        open_artifact(saved).predict(np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("name", ["m.onnx", "m.tflite", "m.keras"])
def test_damaged_file_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(ExportError, match=f"{name} cannot be opened as") as caught:
        open_artifact(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_truncated_file_is_one_line(exported: Any, format: str, tmp_path: Path) -> None:
    whole = exported(format).path
    part = tmp_path / whole.name
    part.write_bytes(whole.read_bytes()[:100_000])
    with pytest.raises(ExportError, match="cannot be opened as"):
        open_artifact(part)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_runs_without_tensorflow_and_keras(exported: Any, format: str) -> None:
    program = f"""
import sys
for name in ("tensorflow", "keras", "torch", "jax"):
    sys.modules[name] = None
import numpy as np
from keras_vit.export import open_artifact
artifact = open_artifact({str(exported(format).path)!r})
assert artifact.predict(np.zeros((3, 32, 32, 3), np.uint8)).shape == (3, 5)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_importing_the_package_is_light() -> None:
    program = (
        "import sys, keras_vit.export; sys.exit(bool({'keras', 'tensorflow'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
