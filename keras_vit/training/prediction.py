"""What a model sees in images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.data.sources import image_files
from keras_vit.data.transforms import ImageLike
from keras_vit.errors import UsageError
from keras_vit.training.classifiers import ModelLike, classifier
from keras_vit.training.scoring import probabilities


def predict(
    model: ModelLike,
    images: str | Path | np.ndarray | Sequence[ImageLike],
    *,
    top: int = 5,
    batch_size: int = 32,
    preprocessing: Preprocessing | None = None,
) -> list[list[tuple[str, float]]]:
    """The most probable classes of each image.

    Args:
        model: a Keras model, a `.keras`, `.tflite` or `.onnx` file, a SavedModel, or a name.
        images: a file, a folder (its image files, sorted: `keras_vit.data.image_files` lists them),
            one uint8 array (H, W, C), a batch (N, H, W, C), or a sequence of files and arrays.
        top: classes an image.
        batch_size: images at a time.
        preprocessing: of a model that carries none.

    Returns:
        For each image up to `top` pairs of label and probability (0..1), the most probable first. The
        labels are the model's own, or the indices of its logits as text where it has none.

    Raises:
        UsageError: no such file, or a wrong argument.
        KerasVitError: a damaged image or model file.
    """
    if top < 1 or batch_size < 1:
        raise UsageError(f"top and batch_size must be at least 1, got {top} and {batch_size}")
    found = _images(images)
    classifying = classifier(model, preprocessing)
    labels = classifying.labels or tuple(map(str, range(classifying.classes)))
    return [
        _best(*rows, labels, top)
        for batch in classifying.logits(found, batch_size)
        for rows in zip(batch, probabilities(batch), strict=True)
    ]


def _images(images: str | Path | np.ndarray | Sequence[ImageLike]) -> Sequence[ImageLike]:
    if isinstance(images, np.ndarray):
        return [images] if images.ndim < 4 else list(images)
    if isinstance(images, str | Path):
        return image_files(images)
    return [
        path
        for image in images
        for path in (image_files(image) if isinstance(image, str | Path) else [image])
    ]


def _best(
    logits: np.ndarray, shares: np.ndarray, labels: Sequence[str], top: int
) -> list[tuple[str, float]]:
    order = np.argsort(-logits, kind="stable")[:top]
    return [(labels[i], float(shares[i])) for i in order]
