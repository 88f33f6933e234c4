"""A small CvT in all three formats: each file answers as the model does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_vit
from keras_vit.export import export_model, open_artifact

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FILES = {"savedmodel": "cvt", "tflite": "cvt.tflite", "onnx": "cvt.onnx"}


@pytest.fixture(scope="module")
def cvt() -> Any:
    """Three stages at an odd size, whose weights are all random, batch statistics included."""
    model = keras_vit.load(
        "cvt_13_224",
        weights=None,
        image_size=(36, 44),
        embed_dim=(8, 12, 16),
        depth=(1, 1, 2),
        num_heads=(1, 2, 4),
        num_classes=5,
    )
    rng = np.random.default_rng(7)
    for variable in model.weights:
        noise = rng.normal(size=variable.shape)
        if variable.name == "kernel":
            fan_in = np.prod(variable.shape[: 2 if variable.shape[-1] == 1 else -1])
            variable.assign(1.5 * noise / fan_in**0.5)
        else:
            variable.assign(variable + (np.abs(noise) if "var" in variable.name else 0.3 * noise))
    return model


@pytest.fixture(
    scope="module", params=[pytest.param("savedmodel", marks=pytest.mark.slow), "tflite", "onnx"]
)
def exported(request: pytest.FixtureRequest, cvt: Any, tmp_path_factory: Any) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("cvt") / FILES[request.param]
    return path, export_model(cvt, path, format=request.param)


def test_is_verified(exported: tuple[Path, Any]) -> None:
    _, report = exported
    assert report.verified
    assert report.relative_difference <= 1e-5
    assert report.top1_agreement == 1.0


def test_answers_like_the_model(exported: tuple[Path, Any], cvt: Any) -> None:
    path, _ = exported
    images = np.random.default_rng(3).normal(size=(5, 36, 44, 3)).astype("float32")
    expected = cvt.predict(images, verbose=0)
    found = open_artifact(path).predict(images)
    assert np.abs(found - expected).max() <= 2e-5 * expected.std()


def test_holds_each_weight_once(exported: tuple[Path, Any]) -> None:
    """BatchNorm is folded into the convolutions of TFLite and ONNX, so nothing of it is added."""
    _, report = exported
    if report.format != "savedmodel":
        assert report.operators.get("BatchNormalization", 0) == 0
        assert report.size < report.weight_bytes + 100_000
