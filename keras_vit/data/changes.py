"""The changes of one image, from its file to the model's input."""

from collections.abc import Iterable, Sequence
from functools import partial
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from keras_vit.config import Preprocessing
from keras_vit.data.augmentation import Augmentation
from keras_vit.data.color_jitter import color_jitter
from keras_vit.data.crops import inception_crop, simple_crop
from keras_vit.data.erasing import erase
from keras_vit.data.randaugment import rand_augment
from keras_vit.data.three_augment import three_augment
from keras_vit.data.transforms import FILTERS, ImageLike, as_pillow, eval_image, normalize
from keras_vit.errors import UsageError


class Changes:
    """An `Augmentation` for one model's images. Threads may share it.

    Args:
        augment: what to do. preprocessing: of the model.

    Attributes:
        shape: (h, w, C) of what `apply` writes.

    Raises:
        UsageError: a policy that does not exist, or images that are not RGB where it needs them.
    """

    def __init__(self, augment: Augmentation, preprocessing: Preprocessing) -> None:
        self.augment, self.preprocessing = augment, preprocessing
        self.shape = (*preprocessing.image_size, len(preprocessing.mean))
        name = augment.interpolation or preprocessing.interpolation
        self._resamples = (
            (FILTERS["bilinear"], FILTERS["bicubic"]) if name == "random" else (FILTERS[name],)
        )
        coloured = augment.policy is not None or augment.color_jitter > 0
        if self.shape[2] != 3 and (coloured or (augment.crop != "eval" and self.shape[2] != 1)):
            raise UsageError(
                f"crops, policies and color_jitter are for RGB images; the model wants {self.shape[2]} "
                "channels"
            )
        self._coloured = self._of_colours(augment, preprocessing)

    def decoded(self, image: ImageLike) -> np.ndarray | Image.Image:
        """What does not depend on chance, and is worth remembering: (h, w, C), or a Pillow image."""
        if self.augment.crop == "eval":
            return eval_image(image, self.preprocessing)
        return as_pillow(image, self.shape[2])

    def apply(self, images: Iterable[Any], rngs: Sequence[Random], out: np.ndarray) -> None:
        """Change what `decoded` gave, one generator an image, and write it to `out`, normalised.

        Args:
            images: N of them. rngs: N. out: float32 (N, h, w, C), contiguous.
        """
        pixels = np.empty(out.shape, np.uint8)
        for image, rng, place in zip(images, rngs, pixels, strict=True):
            place[...] = self._pixels(image, rng)
        normalize(pixels, self.preprocessing, out)  # all at once: calls cost more than small images
        if self.augment.erasing:
            for rng, place in zip(rngs, out, strict=True):
                erase(place, self.augment.erasing, rng)

    def _pixels(self, image: Any, rng: Random) -> np.ndarray:
        """One changed image, uint8 (h, w, C)."""
        if self.augment.crop == "inception":
            augment, size = self.augment, self.preprocessing.image_size
            image = inception_crop(image, size, augment.scale, augment.ratio, self._resamples, rng)
        elif self.augment.crop == "simple":
            image = simple_crop(image, self.preprocessing, self._resamples, rng)
        if self.augment.shift:
            image = _shifted(np.asarray(image), self.augment.shift, rng)
        mirrored = self.augment.flip and rng.random() < 0.5
        if self._coloured:
            image = image if isinstance(image, Image.Image) else Image.fromarray(image)
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
            mirrored = False
            for change in self._coloured:
                image = change(image, rng=rng)
        pixels = np.asarray(image).reshape(self.shape)
        return pixels[:, ::-1] if mirrored else pixels

    def _of_colours(self, augment: Augmentation, preprocessing: Preprocessing) -> list[Any]:
        found: list[Any] = []
        if augment.policy == "three":
            found.append(three_augment)
        elif augment.policy is not None:
            found.append(rand_augment(augment.policy, preprocessing.mean, self._resamples))
        if augment.color_jitter:
            found.append(partial(color_jitter, strength=augment.color_jitter))
        return found


def _shifted(image: np.ndarray, share: float, rng: Random) -> np.ndarray:
    """Moved by whole pixels, its edge repeated: a random crop of the padded image."""
    for axis in (0, 1):
        side = image.shape[axis]
        reach = round(share * side)
        places = np.arange(side) + rng.randint(-reach, reach)
        image = image.take(places, axis, mode="clip")
    return image
