"""Attention maps equal timm's, unfused, and those of Hugging Face's CvT."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_vit
from keras_vit import explain

pytestmark = pytest.mark.parity

MODELS: dict[str, dict[str, Any]] = {
    "vit": {"name": "vit_small_patch16_224", "depth": 2, "embed_dim": 48, "num_heads": 3},
    "cvt": {
        "name": "cvt_13_224",
        "embed_dim": [16, 32, 48],
        "depth": [1, 2, 3],
        "num_heads": [1, 2, 3],
        "act": "gelu",
    },
}
BLOCKS = {"vit": 2, "cvt": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attention")
    script = Path(__file__).parent / "reference_attention.py"
    done = subprocess.run(
        [sys.executable, "-P", str(script), str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("family", MODELS)
def test_attention_is_theirs(folder: Path, family: str) -> None:
    expected = dict(np.load(folder / f"{family}.npz"))
    images = expected.pop("images")
    weights = folder / f"{family}.safetensors"
    model = keras_vit.load(**MODELS[family], weights=weights, image_size=48, num_classes=4)
    mean = explain.attention_maps(model, images, "mean")
    patch = explain.attention_maps(model, images, (1, 0))
    assert list(mean) == list(patch) == list(expected)
    assert len(mean) == BLOCKS[family]
    for name, theirs in expected.items():
        shape = mean[name].shape
        prefix = theirs.shape[-1] - shape[2] * shape[3]
        among = theirs[:, :, prefix:, prefix:]  # both grids are square
        first_of_row_1 = round(among.shape[2] ** 0.5)
        np.testing.assert_allclose(mean[name], among.mean(2).reshape(shape), atol=1e-5)
        np.testing.assert_allclose(
            patch[name], among[:, :, first_of_row_1].reshape(shape), atol=1e-5
        )
        assert among.std() > 0.01


def test_class_maps_are_theirs(folder: Path) -> None:
    expected = np.load(folder / "vit.npz")
    model = keras_vit.load(
        **MODELS["vit"], weights=folder / "vit.safetensors", image_size=48, num_classes=4
    )
    found = explain.attention_maps(model, expected["images"])
    for name, maps in found.items():
        row = expected[name][:, :, 0, 1:].reshape(maps.shape)
        np.testing.assert_allclose(maps, row, atol=1e-5)
