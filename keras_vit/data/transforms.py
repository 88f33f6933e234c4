"""The evaluation transform of a checkpoint, pixel for pixel as timm and Pillow compute it.

Two steps: `eval_image` (decode, resize, crop; uint8) and `normalize` (float32, the model's input).
Images become RGB as timm makes them: grey is repeated, alpha is dropped, and an EXIF orientation is
*not* applied, since timm and torchvision do not apply it and the published accuracies were measured
so. Turn such pictures upright first: `PIL.ImageOps.exif_transpose`.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from keras_vit.config import Preprocessing
from keras_vit.data.threads import decoders
from keras_vit.errors import KerasVitError, UsageError


@dataclass(frozen=True)
class EncodedImage:
    """The bytes of an image file that is none: a record of a larger one, by its name for errors."""

    data: bytes
    name: str


ImageLike = str | Path | np.ndarray | Image.Image | EncodedImage

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_CROP_MODES = ("center", "squash")


def eval_image(image: ImageLike, preprocessing: Preprocessing) -> np.ndarray:
    """Resize and crop one image as the checkpoint's evaluation did.

    Args:
        image: a file, a uint8 array (H, W), (H, W, 1) or (H, W, C), a Pillow or an encoded image.
        preprocessing: of the checkpoint; it wants `C = len(preprocessing.mean)` channels.

    Returns:
        uint8 array (h, w, C), with (h, w) = `preprocessing.image_size`.

    Raises:
        UsageError: no such file, an array of another type or shape, an unknown filter or crop mode.
        KerasVitError: a file that is not an image, or a damaged one.
    """
    _check(preprocessing)
    planes = _planes(image, len(preprocessing.mean))
    cropped = [np.asarray(_crop(_resize(p, preprocessing), preprocessing)) for p in planes]
    return np.dstack(cropped)


def decoded(image: ImageLike, channels: int = 3) -> np.ndarray:
    """An image as it is, uint8 (H, W, channels); see `eval_image`."""
    return np.dstack([np.asarray(plane) for plane in _planes(image, channels)])


def as_pillow(image: ImageLike, channels: int = 3) -> Image.Image:
    """An image as it is, RGB, or grey where `channels` is 1; see `eval_image`."""
    return _planes(image, channels)[0]


def eval_batch(
    images: Sequence[ImageLike] | np.ndarray, preprocessing: Preprocessing
) -> np.ndarray:
    """`eval_image` of every image, on all cores; uint8 (N, h, w, C)."""
    height, width = preprocessing.image_size
    batch = np.empty((len(images), height, width, len(preprocessing.mean)), np.uint8)
    with decoders() as pool:
        # Taken by the threads, one by one: records are read when they are.
        made = pool.map(lambda i: eval_image(images[i], preprocessing), range(len(images)))
        for i, image in enumerate(made):
            batch[i] = image
    return batch


def normalize(
    images: np.ndarray, preprocessing: Preprocessing, out: np.ndarray | None = None
) -> np.ndarray:
    """uint8 (..., C) of 0..255 to the model's float32 input: `(images / 255 - mean) / std`.

    Args:
        images: uint8. preprocessing: of the model.
        out: where to write, float32 of the same shape, contiguous; None makes a new array.
    """
    out = np.empty(images.shape, np.float32) if out is None else out
    # Rows of pixels and channels together: NumPy is slow where the last axis has three values.
    rows = *images.shape[:-2], images.shape[-2] * images.shape[-1]
    found = out.reshape(rows)
    np.divide(images.reshape(rows), np.float32(255), out=found, dtype=np.float32)
    found -= np.tile(np.asarray(preprocessing.mean, np.float32), images.shape[-2])
    found /= np.tile(np.asarray(preprocessing.std, np.float32), images.shape[-2])
    return out


def open_image(image: str | Path | EncodedImage, channels: int = 3) -> Image.Image:
    """Decode an image file: RGB, or grey where `channels` is 1.

    16-bit grey is scaled to 8 bits (Pillow's own conversion clips it to white).

    Raises:
        UsageError: no such file.
        KerasVitError: not an image, damaged, or of a depth that has no 8-bit meaning.
    """
    if isinstance(image, EncodedImage):
        return _opened(io.BytesIO(image.data), image.name, channels)
    path = Path(image)
    if not path.is_file():
        raise UsageError(f"{path}: no such image file")
    return _opened(path, str(path), channels)


def _opened(source: Path | io.BytesIO, name: str, channels: int) -> Image.Image:
    try:
        with Image.open(source) as image:
            image.load()
            return _of_mode(_eight_bits(image), "L" if channels == 1 else "RGB")
    except KerasVitError as error:
        raise KerasVitError(f"{name}: {error}") from None
    # A damaged file makes Pillow's decoders raise nearly anything: OSError, SyntaxError, ...
    except Exception as error:
        raise KerasVitError(f"{name}: not a readable image ({_one_line(error)})") from error


def _of_mode(image: Image.Image, mode: str) -> Image.Image:
    """Pillow's `convert` copies what has the mode already."""
    return image if image.mode == mode else image.convert(mode)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _check(preprocessing: Preprocessing) -> None:
    if preprocessing.interpolation not in FILTERS:
        raise UsageError(
            f"interpolation {preprocessing.interpolation!r} is not one of {', '.join(FILTERS)}"
        )
    if preprocessing.crop_mode not in _CROP_MODES:
        raise UsageError(
            f"crop_mode {preprocessing.crop_mode!r} is not one of {', '.join(_CROP_MODES)}"
        )


def _eight_bits(image: Image.Image) -> Image.Image:
    """A mode that Pillow converts to RGB or L without losing the picture."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise KerasVitError(
            f"a 32-bit image (Pillow mode {image.mode}) has no 8-bit range: convert it first"
        )
    # Palettes with transparency go by RGBA, as Pillow asks; the colours stay the same.
    return image.convert("RGBA") if "transparency" in image.info and image.mode == "P" else image


def _planes(image: ImageLike, channels: int) -> list[Image.Image]:
    """The Pillow images that hold `channels` channels: one RGB, or one grey image a channel."""
    if isinstance(image, np.ndarray):
        return _array_planes(image, channels)
    if channels not in (1, 3):
        raise UsageError(
            f"the model wants {channels} channels: give arrays (H, W, {channels}), not image files"
        )
    if isinstance(image, Image.Image):
        return [_eight_bits(image).convert("L" if channels == 1 else "RGB")]
    return [open_image(image, channels)]


def _array_planes(array: np.ndarray, channels: int) -> list[Image.Image]:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.size == 0:
        raise UsageError(
            f"an image array is uint8 (0..255), (H, W) or (H, W, C); "
            f"got {array.dtype} of shape {array.shape}"
        )
    array = array[..., None] if array.ndim == 2 else array
    if array.shape[-1] == 1:
        array = np.repeat(array, channels, axis=-1)
    if array.shape[-1] != channels:
        raise UsageError(f"the model wants {channels} channels, the image has {array.shape[-1]}")
    if channels == 3:
        return [Image.fromarray(np.ascontiguousarray(array))]
    return [Image.fromarray(np.ascontiguousarray(array[..., c])) for c in range(channels)]


def _resize(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Antialiased resize to the size that the crop is cut from."""
    height, width = preprocessing.resized(image.height, image.width)
    size = (width, height)
    if size == image.size:
        return image
    return image.resize(size, FILTERS[preprocessing.interpolation])


def _crop(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """The central (h, w); Python's `round`, to even, is what torchvision uses too."""
    height, width = preprocessing.image_size
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
