"""Images to test an artifact on: structured enough that a wrong file cannot answer them rightly.

Plain noise looks alike to every patch, so a file that swaps tokens or loses a position embedding
may still pass on it. These hold low frequencies, edges, orientations and colour, and the edge cases
(black, white, one flat colour) that find divisions by zero. The same arguments always give the same
images.
"""

import numpy as np

from keras_vit.config import Preprocessing
from keras_vit.errors import UsageError
from keras_vit.export.report import Tensor

_SEED = 20_23
_DRAWN = 512  # the longest side that is drawn; larger images would take seconds and gigabytes
_SIZE = 224  # of images for an artifact that takes any size, where its preprocessing names none


def structured_images(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Twelve test images, uint8 of shape (12, height, width, channels), 0 to 255.

    In order: two colour fields, two gratings, two scenes of discs and boxes, a mixture of the
    three, noise over a field, pure noise, then black, white and a flat colour. Another `seed` draws
    others.
    """
    rng = np.random.default_rng(_SEED + seed)
    size = (height, width, channels)
    fields = [_colour_field(rng, *size) for _ in range(2)]
    gratings = [_grating(rng, *size) for _ in range(2)]
    scenes = [_shapes(rng, *size) for _ in range(2)]
    mixture = (fields[1] + gratings[0] + scenes[1]) / 3
    noise = rng.random(size)
    flat = np.broadcast_to(np.linspace(0.2, 0.8, channels), size)
    images = [
        *(fields[0], gratings[0], scenes[0], mixture, fields[1], gratings[1], scenes[1]),
        *(0.7 * fields[0] + 0.3 * rng.random(size), noise),
        *(np.zeros(size), np.ones(size), flat),
    ]
    return np.rint(255 * np.stack(images)).astype(np.uint8)


def source_images(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """`structured_images` of any size: of a large one, drawn smaller and each pixel repeated."""
    step = -(-max(height, width) // _DRAWN)
    small = structured_images(-(-height // step), -(-width // step), channels, seed)
    return small.repeat(step, axis=1).repeat(step, axis=2)[:, :height, :width]


def as_seen(raw: np.ndarray, mode: str, values: Preprocessing | None) -> np.ndarray:
    """Images of 0..255 in the size that the model sees: resized and cropped by Pillow for `"baked"`."""
    if mode != "baked" or values is None:
        return raw
    from keras_vit.data.transforms import eval_batch

    return eval_batch(raw, values)


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates 0..1 of every pixel, shapes (height, 1) and (1, width)."""
    return np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None, :]


def _colour_field(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """A smooth field: a few slow cosines for each channel, values 0..1."""
    y, x = _grid(height, width)
    planes = []
    for _ in range(channels):
        plane = sum(
            rng.normal() * np.cos(np.pi * (fy * y + fx * x) + rng.uniform(0, 2 * np.pi))
            for fy, fx in rng.uniform(-3, 3, (4, 2))
        )
        planes.append((plane - plane.min()) / max(float(np.ptp(plane)), 1e-6))
    return np.stack(planes, axis=-1)


def _grating(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """Stripes, of another angle, frequency and phase in every channel, values 0..1."""
    y, x = _grid(height, width)
    planes = []
    for _ in range(channels):
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        frequency = rng.uniform(3, 12)
        wave = np.sin(2 * np.pi * frequency * (np.cos(angle) * x + np.sin(angle) * y) + phase)
        planes.append(0.5 + 0.5 * wave)
    return np.stack(planes, axis=-1)


def _shapes(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """Sharp-edged discs and boxes of random colours on a flat ground, values 0..1."""
    y, x = _grid(height, width)
    image = np.broadcast_to(rng.random(channels), (height, width, channels)).copy()
    for index in range(6):
        centre_y, centre_x = rng.uniform(0.1, 0.9, 2)
        radius = rng.uniform(0.08, 0.3)
        if index % 2:
            inside = (y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2
        else:
            inside = (abs(y - centre_y) < radius) & (abs(x - centre_x) < radius / 2)
        image[inside] = rng.random(channels)
    return image


def feed(raw: np.ndarray, dtype: str, mode: str, values: Preprocessing | None) -> np.ndarray:
    """Images of 0 to 255 as a model or artifact takes them.

    Args:
        raw: uint8 of shape (count, height, width, channels); floats are taken as they are.
        dtype: the element type that is wanted.
        mode: `"none"` wants them normalised, anything else as they are.
        values: mean and standard deviation; None, or another number of channels, is 0.5 and 0.5.
    """
    if mode != "none" or raw.dtype.kind == "f" or not np.issubdtype(np.dtype(dtype), np.floating):
        return raw.astype(dtype)
    mean, std = (values.mean, values.std) if values else ((0.5,), (0.5,))
    if len(mean) != raw.shape[-1]:
        mean, std = (0.5,), (0.5,)
    return ((raw / 255 - np.asarray(mean)) / np.asarray(std)).astype(dtype)


def raw_images(wanted: Tensor, values: Preprocessing | None) -> np.ndarray:
    """`structured_images` of the size that an input wants, or else of the preprocessing's size.

    Raises:
        UsageError: the input does not take images.
    """
    channels = wanted.shape[3] if len(wanted.shape) == 4 else None
    if channels is None:
        raise UsageError(
            f"the input {wanted} does not take images (batch, height, width, channels)"
        )
    height, width = values.image_size if values else (_SIZE, _SIZE)
    return source_images(wanted.shape[1] or height, wanted.shape[2] or width, channels)
