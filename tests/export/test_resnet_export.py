"""One small BiT and one small hybrid in each format."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_vit
import keras_vit.layers
from keras_vit.export import export_model, open_artifact

ARGUMENTS = {
    "bit": {"name": "resnetv2_50x1_bit", "layers": [1, 1], "image_size": 33},
    "hybrid": {
        "name": "vit_small_r26_s32_224",
        "layers": [1],
        "embed_dim": 48,
        "num_heads": 3,
        "depth": 1,
        "image_size": 32,
    },
}


@pytest.fixture(scope="module", params=ARGUMENTS)
def model(request: pytest.FixtureRequest) -> Any:
    """With random weights everywhere."""
    model = keras_vit.load(
        **ARGUMENTS[request.param],
        weights=None,
        num_classes=5,
        channels=[128, 256, 512, 1024],
    )
    rng = np.random.default_rng(7)
    model.set_weights([w + 0.05 * rng.normal(size=w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize(
    "file",
    [
        pytest.param("model", marks=pytest.mark.slow),
        pytest.param("model.tflite", marks=pytest.mark.slow),
        "model.onnx",
    ],
)
def test_exported_file_equals_the_model(model: Any, file: str, tmp_path: Path) -> None:
    size = model.input.shape[1]
    images = np.random.default_rng(1).normal(size=(3, size, size, 3)).astype(np.float32)
    report = export_model(model, tmp_path / file)
    assert report.verified
    assert not [name for name in report.operators if name.startswith("Flex")]
    found = open_artifact(tmp_path / file).predict(images)
    expected = model.predict_on_batch(images)
    assert np.abs(found - expected).max() <= 1e-4 * expected.std()


def test_group_norm_in_onnx_keeps_the_digits_of_a_flat_image(tmp_path: Path) -> None:
    """ONNX' own normalisations are 3e-4 off here: onnxruntime sums in sequence."""
    x = np.broadcast_to(np.array([7.3, 6.1, -9.7, -8.9], "float32"), (1, 112, 112, 4)).copy()
    x[:, :3, :3] *= 0.5
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, keras_vit.layers.GroupNorm(2)(inputs))
    export_model(model, tmp_path / "norm.onnx", verify=False)
    wide = x.astype("float64").reshape(1, 112, 112, 2, 2)
    mean, variance = (f(wide, axis=(1, 2, 4), keepdims=True) for f in (np.mean, np.var))
    expected = ((wide - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    found = open_artifact(tmp_path / "norm.onnx").predict(x)
    np.testing.assert_allclose(found, expected, atol=1e-5)
