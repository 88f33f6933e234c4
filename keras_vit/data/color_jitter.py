"""Random brightness, contrast and saturation, as `torchvision.transforms.ColorJitter`."""

from collections.abc import Sequence
from random import Random

from PIL import Image

from keras_vit.data.operations import brightness, color, contrast

_CHANGES = {"brightness": brightness, "contrast": contrast, "saturation": color}


def color_jitter(image: Image.Image, strength: float, rng: Random) -> Image.Image:
    """Each of the three times a factor of 1 - strength to 1 + strength, in random order.

    Args:
        image: of mode RGB. strength: 0..1. rng: random numbers.
    """
    names = rng.sample(list(_CHANGES), len(_CHANGES))
    low, high = max(0.0, 1 - strength), 1 + strength
    return jittered(image, [(name, rng.uniform(low, high)) for name in names])


def jittered(image: Image.Image, factors: Sequence[tuple[str, float]]) -> Image.Image:
    """An image after brightness, contrast and saturation in a given order."""
    for name, factor in factors:
        image = _CHANGES[name](image, factor)
    return image
