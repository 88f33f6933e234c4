"""A model that was trained, in lower precisions: its decisions stay."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_vit
from keras_vit.data.pipeline import batches
from keras_vit.data.sources import Dataset, load
from keras_vit.data.transforms import eval_batch
from keras_vit.export import export_model, open_artifact
from keras_vit.export.agreement import agree

pytestmark = pytest.mark.slow

SHAPE = {"patch_size": 8, "depth": 2, "embed_dim": 64, "num_heads": 2}
FRACTION = 0.3  # of the digits is held out: 539


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small ViT that knows handwritten digits."""
    path = tmp_path_factory.mktemp("trained") / "digits.keras"
    report = keras_vit.train(
        "vit_tiny_patch16_224",
        "digits",
        path,
        weights=None,
        image_size=32,
        overrides=SHAPE,
        epochs=20,
        learning_rate=2e-3,
        fraction=FRACTION,
    )
    assert report.accuracy > 0.9
    return keras_vit.load(path)


@pytest.fixture(scope="module")
def unseen() -> Dataset:
    return load("digits", "validation", fraction=FRACTION)


@pytest.fixture(scope="module")
def logits(trained: Any, unseen: Dataset) -> np.ndarray:
    stream = batches(unseen, trained.config.preprocessing, 64).as_numpy_iterator()
    return np.concatenate([trained.predict_on_batch(images) for images, _ in stream])


LEAST = {"float16": 0.998, "int8-dynamic": 0.99, "int8": 0.985}


@pytest.mark.parametrize("precision", LEAST)
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_decisions_stay(
    trained: Any, unseen: Dataset, logits: np.ndarray, tmp_path: Path, format: str, precision: str
) -> None:
    """On images that neither training nor calibration has seen."""
    path = tmp_path / f"digits.{format}"
    seen = load("digits", "train", fraction=FRACTION).images[:256]
    report = export_model(
        trained,
        path,
        preprocessing="normalize",
        precision=precision,
        calibration=seen if precision == "int8" else None,
    )
    assert report.verified
    images = eval_batch(unseen.images, trained.config.preprocessing)
    found = agree(logits, open_artifact(path).predict(images))
    assert found.images == 539
    assert found.top1_agreement >= LEAST[precision]
