"""ThreeAugment of DeiT-III (arXiv:2204.07118): grey, solarised or blurred, one of them."""

from random import Random

from PIL import Image, ImageFilter

from keras_vit.data.operations import solarize

_RADII = (0.1, 2.0)  # of the blur, in pixels
_MIDDLE = 128


def three_augment(image: Image.Image, rng: Random) -> Image.Image:
    """Change an image of mode RGB, as `augment.py` of DeiT's repository does."""
    return rng.choice((_grey, _solarized, _blurred))(image, rng)


def _grey(image: Image.Image, rng: Random) -> Image.Image:
    return image.convert("L").convert("RGB")


def _solarized(image: Image.Image, rng: Random) -> Image.Image:
    return solarize(image, _MIDDLE)


def _blurred(image: Image.Image, rng: Random) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(*_RADII)))
