"""A teacher: whatever classifies, shown the images that a student is shown."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from keras_vit.config import Preprocessing
from keras_vit.data.transforms import FILTERS
from keras_vit.errors import KerasVitError, UsageError
from keras_vit.training.class_matching import class_logits
from keras_vit.training.classifiers import ModelLike, classifier

_NEAR = 1e-3  # to 1, of a sum of probabilities


class Teacher:
    """From a batch as the student gets it to the teacher's logits of the student's classes.

    The teacher sees what the student sees, after all augmentation, as in DeiT: whole, without a crop of
    its own, resized where it takes another size, and with its own mean and deviation. A model that
    gives probabilities is asked for their logarithms, which are logits of it.

    Args:
        model: as in `keras_vit.evaluate`: a Keras model, a `.keras`, `.tflite` or `.onnx` file, a SavedModel,
            a run, or a name.
        student: the preprocessing that its batches have had.
        names: the classes that are learned, in the order of the student's logits; the teacher must know
            them, by its labels where it has some, else by their number.
        preprocessing: of a teacher that carries none.

    Attributes:
        name: of the model. parameters: their number, or None. classes: of the student.
        probabilities: whether the model gives those.

    Raises:
        UsageError: no such model, no preprocessing, or other classes.
        KerasVitError: a file that cannot be opened, or logits that are not finite.
    """

    def __init__(
        self,
        model: ModelLike,
        student: Preprocessing,
        names: Sequence[str],
        preprocessing: Preprocessing | None = None,
    ) -> None:
        found = classifier(model, preprocessing, any_name=True)
        if len(found.preprocessing.mean) != len(student.mean):
            raise UsageError(
                f"the teacher {found.name} takes images of {len(found.preprocessing.mean)} channels, "
                f"the student of {len(student.mean)}"
            )
        self.name, self.parameters = found.name, found.parameters
        self._student, self._classifier = student, found
        self._columns = class_logits(names, found.labels, found.classes, found.name)
        self.classes = len(self._columns)
        self.probabilities = False
        self.probabilities = _are_probabilities(self._answers(_probe(student)))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits, float32 (B, classes), of a batch (B, h, w, C) as the student gets it.

        Raises:
            KerasVitError: a logit is NaN or infinite.
        """
        answers = self._answers(images)
        if self.probabilities:
            answers = np.log(np.maximum(answers, np.finfo(np.float32).tiny))
        return answers[:, self._columns]

    def _answers(self, images: np.ndarray) -> np.ndarray:
        steps, size = self._classifier.steps, self._classifier.taken_size
        pixels = _pixels(images, self._student)
        filter = FILTERS[self._classifier.preprocessing.interpolation]
        pixels = _resized(pixels, size or pixels.shape[1:3], filter)
        each = steps.largest_batch or len(pixels)
        parts = [steps.run(pixels[i : i + each]) for i in range(0, len(pixels), each)]
        answers = np.concatenate(parts).astype(np.float32, copy=False)
        if not np.isfinite(answers).all():
            raise KerasVitError(f"the teacher {self.name} gives logits that are not finite")
        return answers


def _pixels(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The inverse of `normalize`, float32; noise of random erasing lies outside of 0..255."""
    mean, std = (np.asarray(v, np.float32) for v in (preprocessing.mean, preprocessing.std))
    return (images * std + mean) * np.float32(255)


def _resized(pixels: np.ndarray, size: tuple[int, int], filter: Any) -> np.ndarray:
    """Float32 (B, height, width, C), antialiased as Pillow does it."""
    height, width = size
    if pixels.shape[1:3] == (height, width):
        return pixels
    found = np.empty((len(pixels), height, width, pixels.shape[3]), np.float32)
    for b, c in np.ndindex(len(pixels), pixels.shape[3]):
        plane = Image.fromarray(np.ascontiguousarray(pixels[b, :, :, c]))
        found[b, :, :, c] = np.asarray(plane.resize((width, height), filter))
    return found


def _probe(preprocessing: Preprocessing) -> np.ndarray:
    """Two batches' worth of noise, as a student would get it."""
    shape = (2, *preprocessing.image_size, len(preprocessing.mean))
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _are_probabilities(answers: np.ndarray) -> bool:
    return bool((answers >= 0).all() and np.abs(answers.sum(axis=1) - 1).max() < _NEAR)
