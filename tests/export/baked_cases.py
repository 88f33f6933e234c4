"""Models whose file gives the pixels that it sees, and Pillow's own: for the tests of baked files."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_vit.config import ModelConfig, Preprocessing
from keras_vit.data.transforms import eval_batch, normalize
from keras_vit.models.model import VisionModel


def classifier_of_pixels(values: Preprocessing, classes: int = 5) -> VisionModel:
    """A linear classifier, one pass over all pixels, that knows its preprocessing."""
    images = keras.Input((*values.image_size, 3), name="images")
    x = keras.layers.Flatten(name="pixels")(images)
    logits = keras.layers.Dense(classes, name="head")(x)
    config = ModelConfig("pixels", "vit", {"num_classes": classes}, values)
    model = VisionModel(images, logits, config=config)
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(size=w.shape) * 0.02 for w in model.get_weights()])
    return model


def pictures(size: tuple[int, int], count: int = 2, seed: int = 0) -> np.ndarray:
    """uint8 images of large random blocks under a little noise: none that the verification has seen."""
    rng = np.random.default_rng([seed, *size])
    tiles = rng.integers(0, 256, (count, -(-size[0] // 6), -(-size[1] // 6), 3))
    blocks = tiles.repeat(6, axis=1).repeat(6, axis=2)[:, : size[0], : size[1]]
    return np.clip(blocks + rng.normal(0, 8, blocks.shape), 0, 255).astype(np.uint8)


def grey_levels(pixels: np.ndarray, values: Preprocessing) -> np.ndarray:
    """What a model sees, (batch, pixels), back as 0..255."""
    images = pixels.reshape(-1, *values.image_size, 3)
    return (images * np.array(values.std) + np.array(values.mean)) * 255


def by_pillow(images: np.ndarray, values: Preprocessing) -> np.ndarray:
    """0..255, resized and cropped by Pillow."""
    return eval_batch(images, values)


def answers_by_pillow(model: Any, images: np.ndarray) -> np.ndarray:
    """The model's logits for what Pillow and NumPy make of images."""
    values = model.config.preprocessing
    prepared = normalize(eval_batch(images, values), values)
    return keras.ops.convert_to_numpy(model(prepared, training=False))


def file_in(folder: Path, format: str) -> Path:
    return folder / {"onnx": "m.onnx", "tflite": "m.tflite", "savedmodel": "m"}[format]
