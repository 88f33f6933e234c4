"""What a trained model answers on its validation images, for the report page: counts and examples."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keras_vit.training.scoring import probabilities

_LOSSY_FROM = 64  # pixels a side: larger images are embedded as JPEG


@dataclass(frozen=True)
class Sample:
    """An image and what the model made of it.

    Attributes:
        image: uint8 (h, w, C), resized and cropped as the model sees it.
        truth, answer: names of classes. probability: of the answer, 0..1.
    """

    image: np.ndarray
    truth: str
    answer: str
    probability: float

    @property
    def url(self) -> str:
        """The image as a `data:` URL, of its first three channels, or its first one."""
        channels = 3 if self.image.shape[-1] >= 3 else 1
        pixels = self.image[..., :channels] if channels == 3 else self.image[..., 0]
        lossy = min(self.image.shape[:2]) >= _LOSSY_FROM
        file = io.BytesIO()
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        picture.save(file, "JPEG" if lossy else "PNG", quality=88)
        kind = "jpeg" if lossy else "png"
        return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


@dataclass(frozen=True)
class Answers:
    """All answers, counted.

    Attributes:
        labels: class names.
        counts: int64 (true class, answered class).
        right: some images whose class was found, spread over the data.
        wrong: the images that the model was surest of, and wrong about; the surest first.
    """

    labels: tuple[str, ...]
    counts: np.ndarray
    right: tuple[Sample, ...]
    wrong: tuple[Sample, ...]

    def confusions(self, count: int) -> list[tuple[str, str, int]]:
        """The most frequent mistakes: (true class, answered class, images), the most frequent first."""
        mistakes = self.counts.copy()
        np.fill_diagonal(mistakes, 0)
        order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
        pairs = zip(*np.unravel_index(order, mistakes.shape), strict=True)
        return [
            (self.labels[true], self.labels[answer], int(mistakes[true, answer]))
            for true, answer in pairs
            if mistakes[true, answer]
        ]

    def weakest(self, count: int) -> list[tuple[str, int, int]]:
        """The classes with the lowest accuracy: (class, images, right ones), the lowest first."""
        totals, right = self.counts.sum(axis=1), self.counts.diagonal()
        shares = right / np.maximum(totals, 1)
        order = [int(i) for i in np.argsort(shares, kind="stable") if totals[i]]
        return [(self.labels[i], int(totals[i]), int(right[i])) for i in order[:count]]


def chosen(logits: np.ndarray, targets: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Which images to show: indices of right ones, spread evenly, and of the most wrong ones.

    Args:
        logits: (N, classes). targets: true classes (N,). count: at most so many of each.
    """
    right = np.flatnonzero(logits.argmax(axis=1) == targets)
    spread = np.unique(np.linspace(0, len(right) - 1, min(count, len(right))).round().astype(int))
    wrong = np.flatnonzero(logits.argmax(axis=1) != targets)
    order = np.argsort(-probabilities(logits)[wrong].max(axis=1), kind="stable")
    return right[spread], wrong[order[:count]]


def counted(answers: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray:
    """int64 (true class, answered class) of classes (N,) and (N,)."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (targets, answers), 1)
    return counts
