"""Images to find int8 ranges on, and to judge them by: from wherever the user has them, and no noise."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.data import sources
from keras_vit.data.tfds_source import is_tfds, tfds_images
from keras_vit.data.transforms import EncodedImage, eval_batch
from keras_vit.errors import UsageError

MOST, LEAST, FEW = 512, 32, 128
"""Images that are taken at most and at least, and of which fewer are noted."""

LEAST_CORRELATION = 0.2
"""Of neighbouring pixels. Photographs have about 0.9, handwritten digits of 8 x 8 pixels 0.5, noise 0."""

_LARGEST_INPUT = 20.0  # of normalised images; larger ones are 0 to 255


@dataclass(frozen=True, eq=False)
class Calibration:
    """Images of the kind that a file will see.

    Attributes:
        images: (N, height, width, channels) at the size of the file's input: uint8 of 0 to 255, or
            float32 as the model takes them.
        source: where they come from, for the report.
    """

    images: np.ndarray
    source: str

    @property
    def calibrating(self) -> np.ndarray:
        """Every second image: to find ranges on."""
        return self.images[::2]

    @property
    def held_out(self) -> np.ndarray:
        """The others: to judge by."""
        return self.images[1::2]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of them."""
        count = len(self.images)
        if count >= FEW:
            return ()
        return (
            f"{count} images for calibration are few: half of them are held out, where one decision "
            f"weighs {100 / len(self.held_out):.1f} %; give {FEW} or more",
        )


def calibration(
    source: Any, shape: tuple[int, int, int], mode: str, values: Preprocessing | None
) -> Calibration:
    """Take up to 512 images, spread over the source, and prepare them as the model's evaluation does.

    Args:
        source: a folder of images, of class folders too; a NumPy array (N, H, W, C), uint8 of 0 to
            255, or floats as the model takes them; a tf.data dataset or another iterable of images,
            of batches, of (images, labels) or of {"image": ...}; or what `keras_vit.data.load` takes:
            of `"tfds:NAME"` the training images, of `"tfds:NAME#SPLIT"` that split.
        shape: (height, width, channels) that the file takes.
        mode: of its preprocessing; `"none"` takes images as the model does.
        values: the model's preprocessing, or None where it has none.

    Raises:
        UsageError: images of another kind, fewer than 32, or noise.
    """
    found, name = _gather(source)
    if len(found) < LEAST:
        raise UsageError(f"calibration needs at least {LEAST} images, and {name} has {len(found)}")
    files = isinstance(found[0], Path | EncodedImage)
    if not files:  # as they came: enlarged noise is smooth
        require_pictures(found, name)
    images = _prepared(found, shape, mode, values)
    if files:
        require_pictures(images, name)
    return Calibration(images, name)


def require_pictures(images: Iterable[np.ndarray], name: str) -> None:
    """Refuse noise: int8 ranges found on it are those of no picture.

    Told by the correlation of each pixel with its right and its lower neighbour, of which the median
    over the images counts. Noise that was enlarged is not recognised.

    Raises:
        UsageError: it is below `LEAST_CORRELATION`, or the images are all of one colour.
    """
    found = [value for value in map(neighbour_correlation, images) if value is not None]
    if not found:
        raise UsageError(f"every image of {name} has one colour only: nothing to calibrate on")
    middle = float(np.median(found))
    if middle < LEAST_CORRELATION:
        raise UsageError(
            f"{name} looks like noise: neighbouring pixels correlate by {middle:.2f}, and those of "
            f"pictures by more than {LEAST_CORRELATION}; calibrate on images that the model is for"
        )


def neighbour_correlation(image: np.ndarray) -> float | None:
    """Correlation of neighbouring pixels of one image (height, width, channels), -1..1; None where it
    has one colour only."""
    pixels = image.astype(np.float64)
    pixels -= pixels.mean(axis=(0, 1))
    pairs = (pixels[:, :-1], pixels[:, 1:]), (pixels[:-1], pixels[1:])
    together = sum(float(np.sum(a * b)) for a, b in pairs)
    alone = sum(float(np.sqrt(np.sum(a * a) * np.sum(b * b))) for a, b in pairs)
    return together / alone if alone > 0 else None


def _gather(source: Any) -> tuple[np.ndarray | list[Any], str]:
    """Up to `MOST` images or files, and what to call their source."""
    if isinstance(source, np.ndarray):
        return _spread(_as_batch(source)), "the array"
    if is_tfds(source):
        return _spread(tfds_images(source)), source
    if isinstance(source, str | Path) and Path(source).is_dir():
        return _spread(sources.image_files(source)), str(source)
    if isinstance(source, str | Path | sources.Dataset | tuple):
        name = str(source) if isinstance(source, str | Path) else "the images"
        return _spread(sources.load(source).images), name
    if isinstance(source, Iterable) and not isinstance(source, Mapping):
        return _first(_elements(source)), "the dataset"
    raise UsageError(
        "calibration is a folder, an array of images, a tf.data dataset or a TFDS name (tfds:NAME); "
        f"got {type(source).__name__}"
    )


def _spread(images: Any) -> Any:
    """At most `MOST` of them, evenly over all: folders are sorted by class."""
    chosen = np.linspace(0, len(images) - 1, min(MOST, len(images))).astype(int)
    return images[chosen] if isinstance(images, np.ndarray) else [images[i] for i in chosen]


def _as_batch(images: np.ndarray) -> np.ndarray:
    """(N, H, W, C); grey images (N, H, W) get their channel."""
    if images.ndim not in (3, 4) or images.dtype.kind not in "uf":
        raise UsageError(
            "calibration images are uint8 of 0 to 255 or floats, (N, H, W, C); got "
            f"{images.dtype} of shape {images.shape}"
        )
    return images[..., None] if images.ndim == 3 else images


def _elements(dataset: Iterable[Any]) -> Iterator[np.ndarray]:
    """Single images (H, W, C), out of batches and pairs with labels."""
    for element in dataset:
        images = element[0] if isinstance(element, tuple | list) else element
        if isinstance(images, Mapping):
            named = [images[key] for key in ("image", "images") if key in images]
            if not named:
                raise UsageError(f"calibration: no image among {', '.join(map(str, images))}")
            images = named[0]
        array = np.asarray(images)
        yield from array if array.ndim == 4 else [array]


def _first(images: Iterator[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """The first images, as one array if they are of one size."""
    found = [
        _as_batch(image[None] if image.ndim == 3 else image)[0] for image in islice(images, MOST)
    ]
    return np.stack(found) if len({image.shape for image in found}) == 1 else found


def _prepared(
    found: Any, shape: tuple[int, int, int], mode: str, values: Preprocessing | None
) -> np.ndarray:
    """uint8 images at the size of the file's input, or floats as the model takes them."""
    dtypes = {image.dtype for image in found if isinstance(image, np.ndarray)}
    if any(dtype.kind == "f" for dtype in dtypes):
        floats = np.asarray(found) if len({image.shape for image in found}) == 1 else None
        return _floats(floats, shape, mode, values)
    if dtypes - {np.dtype(np.uint8)}:
        raise UsageError(f"calibration images are uint8 or floats, not {dtypes.pop()}")
    if values is None and mode == "none":
        raise UsageError(
            "the model has no preprocessing of its own: give calibration images as floats, as it "
            "takes them"
        )
    if isinstance(found, np.ndarray) and found.shape[1:] == shape:
        return found
    if values is None:
        raise UsageError(f"the file takes images of {shape}: give calibration images of that size")
    values = dataclasses.replace(values, image_size=shape[:2])
    if mode in ("baked", "layer"):  # the file crops itself
        values = dataclasses.replace(values, crop_pct=1.0, crop_mode="squash")
    return eval_batch(found, values)


def _floats(
    images: np.ndarray | None, shape: tuple[int, int, int], mode: str, values: Preprocessing | None
) -> np.ndarray:
    if images is None or images.shape[1:] != shape:
        raise UsageError(f"calibration images that are floats have to be of {shape}")
    low, high = float(images.min()), float(images.max())
    if mode != "none" or high > _LARGEST_INPUT:
        raise UsageError(
            f"calibration images of {images.dtype} from {low:g} to {high:g}: give uint8 of 0 to 255, "
            'or, with preprocessing="none", floats normalised as the model takes them'
        )
    if values is not None and min(values.mean) > 0 and 0 <= low <= high <= 1:
        raise UsageError(
            "calibration images from 0 to 1 are not normalised as the model takes them; give uint8 "
            "of 0 to 255"
        )
    return images.astype(np.float32)
