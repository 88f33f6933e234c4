"""One small model, exported once in each format, for all tests of the exports."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))  # for the helpers beside the tests

LABELS = ("ant", "bee", "cow", "dog", "eel")
FILES = {"savedmodel": "flowers", "tflite": "flowers.tflite", "onnx": "flowers.onnx"}


def tiny_vit(**overrides: Any) -> Any:
    """A two-block ViT of 32 pixels whose weights are all random, biases and norms included."""
    import keras_vit

    arguments = {"image_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 48, **overrides}
    if "num_classes" not in overrides:
        arguments["labels"] = LABELS
    model = keras_vit.load("vit_tiny_patch16_224", weights=None, **arguments)
    rng = np.random.default_rng(7)
    model.set_weights(
        [weight + 0.05 * rng.normal(size=weight.shape) for weight in model.get_weights()]
    )
    return model


@pytest.fixture(scope="session")
def model() -> Any:
    return tiny_vit()


@pytest.fixture(scope="session")
def build() -> Any:
    """`tiny_vit`, for tests that want another model."""
    return tiny_vit


@dataclass(frozen=True)
class Exported:
    """An exported file and the report of its export."""

    path: Path
    report: Any


@pytest.fixture(scope="session")
def exported(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """format -> `Exported`, written at the first use; tests that change a file copy it first."""
    from keras_vit.export import export_model

    folder, done = tmp_path_factory.mktemp("exported"), {}

    def get(format: str) -> Exported:
        if format not in done:
            path = folder / FILES[format]
            done[format] = Exported(path, export_model(model, path, preprocessing="normalize"))
        return done[format]

    return get


@pytest.fixture(scope="session")
def photographs() -> np.ndarray:
    """Nine random images, uint8 (9, 32, 32, 3): none that the verification has seen."""
    rng = np.random.default_rng(11)
    blocks = rng.integers(0, 256, (9, 8, 8, 3))
    return blocks.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)


@pytest.fixture(scope="session")
def answers(model: Any, photographs: np.ndarray) -> np.ndarray:
    """The model's own logits for `photographs`, normalised here in float64."""
    import keras

    values = model.config.preprocessing
    images = (photographs / 255 - np.array(values.mean)) / np.array(values.std)
    return keras.ops.convert_to_numpy(model(images.astype(np.float32), training=False))
