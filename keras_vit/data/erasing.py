"""Random erasing (arXiv:1708.04896) of normalised images, as timm's with `mode="pixel"`."""

import math
from random import Random

import numpy as np

from keras_vit.data.crops import Box

_AREAS = (0.02, 1 / 3)  # of the image
_ASPECTS = (math.log(0.3), math.log(1 / 0.3))
_ATTEMPTS = 10


def erase(image: np.ndarray, probability: float, rng: Random) -> None:
    """Fill a random rectangle with standard normal noise, a value a pixel and channel, in place.

    Args:
        image: float32 (h, w, C), normalised. probability: of doing it, 0..1. rng: random numbers.
    """
    box = erasing_box(image.shape[0], image.shape[1], probability, rng)
    if box is not None:
        top, left, height, width = box
        noise = np.random.Generator(np.random.SFC64(rng.getrandbits(64)))
        shape = height, width, image.shape[2]
        image[top : top + height, left : left + width] = noise.standard_normal(shape, np.float32)


def erasing_box(height: int, width: int, probability: float, rng: Random) -> Box | None:
    """Where to erase, or None; random numbers are drawn in timm's order."""
    if rng.random() > probability:
        return None
    for _ in range(_ATTEMPTS):
        area = rng.uniform(*_AREAS) * (height * width)
        aspect = math.exp(rng.uniform(*_ASPECTS))
        rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if rows < height and columns < width:
            top = rng.randint(0, height - rows)
            return top, rng.randint(0, width - columns), rows, columns
    return None
