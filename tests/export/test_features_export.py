"""Backbones as ONNX files: features of several blocks, and a pyramid."""

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from onnx_cases import CVT, VIT, difference, exaggerate, images_for, load

import keras_vit
from keras_vit.export import export_model

TOLERANCE = 1e-5  # of the output's standard deviation


@pytest.mark.parametrize("format", ["nhwc", "tokens"])
@pytest.mark.parametrize("prefix", ["drop", "keep"])
def test_features(format: str, prefix: str, tmp_path: Path) -> None:
    model = load("deit_tiny_distilled_patch16_224", **VIT)
    backbone = keras_vit.features(model, at=[0, -1], format=format, prefix=prefix, norm=True)
    assert difference(backbone, tmp_path, images_for(model)) <= TOLERANCE


def test_features_of_stages(tmp_path: Path) -> None:
    model = load("cvt_13_224", **CVT)
    backbone = keras_vit.features(model, prefix="keep", format="tokens")
    assert difference(backbone, tmp_path, images_for(model)) <= TOLERANCE


def test_a_pyramid(tmp_path: Path) -> None:
    model = load("vit_tiny_patch16_224", **VIT)
    pyramid = exaggerate(keras_vit.feature_pyramid(model, channels=8))
    assert difference(pyramid, tmp_path, images_for(model)) <= TOLERANCE


@pytest.mark.slow
def test_maps_of_images_of_any_size(tmp_path: Path) -> None:
    model = load("vit_tiny_patch16_224", **VIT, dynamic_image_size=True)
    backbone = keras_vit.features(model, at=1)
    export_model(backbone, tmp_path / "maps.onnx", image_size="dynamic")
    images = np.random.default_rng(0).normal(size=(2, 24, 40, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "maps.onnx")
    (found,) = session.run(None, {"images": images})
    expected = keras.ops.convert_to_numpy(backbone(images))
    assert found.shape == (2, 3, 5, 48)
    assert np.abs(found - expected).max() / expected.std() <= 1e-4
