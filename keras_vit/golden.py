"""Weights and images that anyone can draw again: what golden outputs are computed from. No Keras.

A golden file holds names, shapes and the outputs of the authors' code; the weights are drawn from each
tensor's name, so that no file of weights has to travel. Only raw bits of PCG64 are used, which NumPy
promises to keep as they are (numpy.org, "Random number generator policy"): its distributions may change.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_NORM = re.compile(r"(norm|bn|gn|ln)\w*[./](weight|scale|gamma)$", re.IGNORECASE)
_STANDARDIZED = re.compile(r"(standardized_conv2d|conv_root|unit\d+/conv\w+)/kernel$")
_VARIANCE = re.compile(r"(running_var|moving_variance)$")


def seeded_tensor(name: str, shape: tuple[int, ...]) -> Float32:
    """A tensor of a checkpoint, large enough that a wrong epsilon, activation or order shows.

    Args:
        name: its name in the checkpoint; equal names and sizes give equal numbers.
        shape: its shape.

    Returns:
        float32, uniform: variances in 0.5..1.5, scales of norms about 1, kernels about 1.5 over the root
        of their fan, biases, tokens and positions about 0. Kernels that are standardised are about a
        thousandth, where the epsilon of the standardisation counts.
    """
    noise = _uniform(name, math.prod(shape)).reshape(shape)  # unit variance
    flat = len([side for side in shape if side > 1]) <= 1
    if _VARIANCE.search(name):
        value = 1.0 + noise / math.sqrt(12)
    elif flat and _NORM.search(name):
        value = 1.0 + 0.3 * noise
    elif _STANDARDIZED.search(name):
        value = 1e-3 * noise
    elif flat or (len(shape) == 3 and shape[0] == 1):
        value = 0.3 * noise
    else:  # the fan in of a square matrix, whatever its order of axes
        value = 1.5 * noise / math.prod(shape) ** 0.25
    return value.astype(np.float32)


def seeded_tensors(shapes: Mapping[str, Any]) -> dict[str, Float32]:
    """`seeded_tensor` of each name and shape."""
    return {name: seeded_tensor(name, tuple(shape)) for name, shape in shapes.items()}


def seeded_images(count: int, height: int, width: int, channels: int = 3) -> Float32:
    """Gratings, discs and a little noise, within -2..2: (count, height, width, channels)."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    images = []
    for i in range(count):
        draw = _uniform(f"image {i}", 5 + 2 * channels) / math.sqrt(3)  # -1..1
        angle, frequency, radius = math.pi * draw[0], 11 + 9 * draw[1], 0.5 + 0.3 * draw[2]
        wave = np.sin(frequency * (x * math.cos(angle) + y * math.sin(angle)))
        disc = (x - draw[3]) ** 2 + (y - draw[4]) ** 2 < radius**2
        noise = 0.1 * _uniform(f"noise {i}", height * width * channels)
        tints = draw[5:].reshape(2, channels)
        images.append(wave[..., None] * tints[0] + disc[..., None] * tints[1])
        images[-1] += noise.reshape(height, width, channels) / math.sqrt(3)
    return np.stack(images).astype(np.float32)


def summary(array: Any, count: int = 16) -> dict[str, Any]:
    """An output in few numbers, by which it is compared: plain JSON data.

    Returns:
        `values`: `count` of them, evenly spread over the first image's, or all if they are fewer; `std`: of
        all of that image's.
    """
    flat = np.asarray(array, np.float64)[0].reshape(-1)
    places = np.linspace(0, flat.size - 1, min(count, flat.size)).astype(int)
    return {"std": float(flat.std()), "values": [float(value) for value in flat[places]]}


def keeping_hook(summaries: dict[str, Any], name: str) -> Callable[..., None]:
    """A forward hook of torch that keeps the summary of what a module gives; of a map, channels last."""

    def hook(module: Any, inputs: Any, output: Any) -> None:
        array = output.numpy()
        last = array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
        summaries[name] = summary(last)

    return hook


def distance(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Largest difference of two summaries over the standard deviation of the second."""
    a, b = (np.array(side["values"]) for side in (ours, theirs))
    return float(np.abs(a - b).max() / theirs["std"])


def _uniform(name: str, count: int) -> NDArray[np.float64]:
    """Numbers of mean 0 and variance 1 that depend on the name alone."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    bits = np.random.PCG64(seed).random_raw(count) >> np.uint64(11)
    unit = bits.astype(np.float64) * 2.0**-53
    return (unit - 0.5) * math.sqrt(12)
