"""Fitting a tensor to a model of another image size, patch size or number of channels."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import CheckpointError
from keras_vit.resize import resample_patch_kernel, resize_grid

Array = NDArray[Any]


@dataclass(frozen=True)
class Geometry:
    """What a resize has to know of the model and of the checkpoint.

    Attributes:
        grid: (height, width) of the model's patch grid.
        file_grid: the grid that the catalogue states for the checkpoint.
        file_patch: the patch size that the catalogue states for the checkpoint.
        prefix: rows of the position embedding that stand before the patches'.
        pos_resize, patch_resize: methods of `keras_vit.resize`, or None in a family that resizes no
            positions or no kernels, such as CvT.
    """

    grid: tuple[int, int] = (0, 0)
    file_grid: tuple[int, int] = (0, 0)
    file_patch: tuple[int, int] = (0, 0)
    prefix: int = 0
    pos_resize: str | None = None
    patch_resize: str | None = None


def adapt_positions(array: Array, geometry: Geometry, method: str) -> tuple[Array, str | None]:
    """Resizes a position embedding (1, prefix + patches, dim) to the model's grid.

    Returns:
        The array, and how it was resized, or None if it was not.

    Raises:
        CheckpointError: if the number of positions fits no grid.
    """
    patches = array.shape[1] - geometry.prefix
    side = math.isqrt(max(patches, 0))
    # The catalogue's checkpoint, one of another size, or one of a model like this that was not square.
    grids = (geometry.file_grid, (side, side), geometry.grid)
    file_grid = next((grid for grid in grids if math.prod(grid) == patches > 0), None)
    if file_grid is None:
        raise CheckpointError(
            f"the position embedding has {array.shape[1]} rows: with {geometry.prefix} prefix tokens "
            "that is no square grid of patches; this is the checkpoint of another model"
        )
    if file_grid == geometry.grid:
        return array, None
    grid = array[0, geometry.prefix :].reshape(*file_grid, -1)
    grid = resize_grid(grid.astype(np.float32, copy=False), geometry.grid, method)
    prefix = array[:, : geometry.prefix]
    rows = grid.reshape(1, math.prod(geometry.grid), -1)
    return np.concatenate([prefix, rows], axis=1), method


def adapt_patch_kernel(
    kernel: Array, shape: tuple[int, ...], geometry: Geometry
) -> tuple[Array, str | None]:
    """Fits a patch kernel (height, width, channels, dim) to `shape`.

    Returns:
        The kernel, and what was done to it, or None if nothing.
    """
    done = []
    if kernel.shape[2] != shape[2]:
        kernel = adapt_channels(kernel, shape[2])
        done.append("channels")
    if kernel.shape[:2] != shape[:2] and geometry.patch_resize:
        size = (shape[0], shape[1])
        kernel = resample_patch_kernel(kernel.astype(np.float32), size, geometry.patch_resize)
        done.append(f"PI-resize {geometry.patch_resize}")
    return kernel, ", ".join(done) or None


def adapt_channels(kernel: Array, channels: int) -> Array:
    """A first kernel for RGB made one for another number of channels, as timm does it.

    One channel gets the sum of the three, more get them in turn, scaled by 3 / channels
    (timm/models/_manipulate.py, `adapt_input_conv`).

    Args:
        kernel: (height, width, 3, dim).
        channels: the new number of channels.

    Raises:
        CheckpointError: if the kernel is not for three channels.
    """
    if kernel.shape[2] != 3:
        raise CheckpointError(
            f"the first kernel takes {kernel.shape[2]} channels; only one for RGB can be adapted: "
            f"pass in_chans={kernel.shape[2]}"
        )
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    turns = -(-channels // 3)
    return np.tile(kernel, (1, 1, turns, 1))[:, :, :channels] * np.float32(3 / channels)
