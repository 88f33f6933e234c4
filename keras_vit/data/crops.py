"""Random crops of training images: where they are cut, and the cut itself."""

import math
from dataclasses import replace
from random import Random

import numpy as np
from PIL import Image

from keras_vit.config import Preprocessing

Box = tuple[int, int, int, int]
"""(top, left, height, width), in pixels."""

_ATTEMPTS = 10
_BORDER = 4  # pixels that the simple crop reflects around the image


def inception_crop(
    image: Image.Image,
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    resamples: tuple[Image.Resampling, ...],
    rng: Random,
) -> Image.Image:
    """A random box of the image, resized: timm's `RandomResizedCropAndInterpolation`.

    Args:
        image: of any size. size: (height, width) of the result.
        scale, ratio: as `Augmentation` has them.
        resamples: one is chosen.
        rng: random numbers.
    """
    top, left, height, width = inception_box(image.height, image.width, scale, ratio, rng)
    resample = _one(resamples, rng)
    cut = image.crop((left, top, left + width, top + height))
    return cut.resize((size[1], size[0]), resample)


def inception_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], rng: Random
) -> Box:
    """Where it cuts: ten attempts at a random area and aspect ratio, else the centre.

    Szegedy et al., Going Deeper with Convolutions (arXiv:1409.4842); the arithmetic is torchvision's.
    """
    for _ in range(_ATTEMPTS):
        area = rng.uniform(*scale) * (height * width)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        columns, rows = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if columns <= width and rows <= height:
            top = rng.randint(0, height - rows)
            return top, rng.randint(0, width - columns), rows, columns
    rows, columns = height, width
    if width / height < min(ratio):
        rows = round(width / min(ratio))
    elif width / height > max(ratio):
        columns = round(height * max(ratio))
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def simple_crop(
    image: Image.Image,
    preprocessing: Preprocessing,
    resamples: tuple[Image.Resampling, ...],
    rng: Random,
) -> np.ndarray:
    """DeiT-III's "simple random crop" (arXiv:2204.07118, `augment.py` of its repository): the image
    resized to cover the model's input, four pixels reflected around it, a random part of it.

    Returns:
        uint8 (h, w, C), with (h, w) = `preprocessing.image_size`.
    """
    whole = replace(preprocessing, crop_pct=1.0, crop_mode="center")
    rows, columns = whole.resized(image.height, image.width)
    pixels = np.asarray(image.resize((columns, rows), _one(resamples, rng)))
    height, width = preprocessing.image_size
    top = rng.randint(0, rows + 2 * _BORDER - height)
    left = rng.randint(0, columns + 2 * _BORDER - width)
    return reflected(pixels, top, left, height, width)


def reflected(pixels: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """The part at (top, left) of an image (H, W, ...) with four pixels reflected around it."""
    found = []
    for first, count, side in ((top, height, pixels.shape[0]), (left, width, pixels.shape[1])):
        at = np.abs(np.arange(first, first + count) - _BORDER)
        found.append(np.where(at < side, at, 2 * (side - 1) - at))
    return pixels[found[0][:, None], found[1]]


def _one(resamples: tuple[Image.Resampling, ...], rng: Random) -> Image.Resampling:
    return resamples[0] if len(resamples) == 1 else rng.choice(resamples)
