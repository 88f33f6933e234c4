"""The changes of one image, from its file to the model's input."""

from random import Random

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.data.augmentation import Augmentation
from keras_vit.data.transforms import ImageLike, decoded, eval_image, normalize


class Changes:
    """An `Augmentation` for one model's images. It keeps no state: threads may share it.

    Args:
        augment: what to do. preprocessing: of the model.

    Attributes:
        shape: (h, w, C) of what `apply` writes.
    """

    def __init__(self, augment: Augmentation, preprocessing: Preprocessing) -> None:
        self.augment, self.preprocessing = augment, preprocessing
        self.shape = (*preprocessing.image_size, len(preprocessing.mean))

    def decoded(self, image: ImageLike) -> np.ndarray:
        """What does not depend on chance, uint8 (H, W, C): worth remembering."""
        if self.augment.crop == "eval":
            return eval_image(image, self.preprocessing)
        return decoded(image, self.shape[-1])

    def apply(self, image: np.ndarray, rng: Random, out: np.ndarray) -> None:
        """Change what `decoded` gave, and write it to `out`, float32 (h, w, C), normalised."""
        if self.augment.shift:
            image = _shifted(image, self.augment.shift, rng)
        if self.augment.flip and rng.random() < 0.5:
            image = image[:, ::-1]
        normalize(image, self.preprocessing, out)


def _shifted(image: np.ndarray, share: float, rng: Random) -> np.ndarray:
    """Moved by whole pixels, its edge repeated: a random crop of the padded image."""
    rows, columns = (_moved(side, share, rng) for side in image.shape[:2])
    return image[rows[:, None], columns]


def _moved(side: int, share: float, rng: Random) -> np.ndarray:
    """(side,) source positions, shifted by up to `share * side` and clamped."""
    reach = round(share * side)
    return np.clip(np.arange(side) + rng.randint(-reach, reach), 0, side - 1)
