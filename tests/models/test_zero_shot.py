"""Text embeddings as a classifier."""

from pathlib import Path

import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.errors import UsageError

IMAGES = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")
TEXTS = np.random.default_rng(1).normal(size=(5, 7)).astype("float32")


@pytest.fixture(scope="module")
def tower() -> keras.Model:
    """An image tower whose head projects to 7 numbers, as CLIP's do."""
    return keras_vit.load(
        "vit_tiny_patch16_224", weights=None, image_size=32, patch_size=16, depth=1, num_classes=7
    )


def test_logits_are_scaled_cosines(tower: keras.Model) -> None:
    rng = np.random.default_rng(2)
    for variable in tower.weights:
        variable.assign(rng.normal(0, 0.3, variable.shape))
    model = keras_vit.zero_shot(tower, TEXTS, scale=20.0, bias=-3.0)
    embeddings = tower.predict(IMAGES, verbose=0).astype("float64")
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    texts = TEXTS.astype("float64") / np.linalg.norm(TEXTS, axis=1, keepdims=True)
    np.testing.assert_allclose(
        model.predict(IMAGES, verbose=0), 20 * embeddings @ texts.T - 3, atol=2e-5
    )


def test_labels_travel_with_it(tower: keras.Model, tmp_path: Path) -> None:
    model = keras_vit.zero_shot(tower, TEXTS, labels=["a", "b", "c", "d", "e"])
    model.save(tmp_path / "zero.keras")
    again = keras_vit.load(tmp_path / "zero.keras")
    assert again.labels == ("a", "b", "c", "d", "e")
    np.testing.assert_array_equal(
        again.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0)
    )


@pytest.mark.parametrize(
    ("texts", "arguments", "message"),
    [
        (TEXTS[:, :6], {}, r"must be \(classes, 7\), not \(5, 6\)"),
        (TEXTS[0], {}, r"not \(7,\)"),
        (TEXTS * 0, {}, "none of them zero"),
        (TEXTS * np.nan, {}, "have to be finite"),
        (TEXTS, {"labels": ["a"]}, "5 text embeddings, but 1 labels"),
    ],
)
def test_what_does_not_fit(tower: keras.Model, texts, arguments, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        keras_vit.zero_shot(tower, texts, **arguments)
