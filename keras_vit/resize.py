"""Resizing position embeddings and patch kernels, each way as its origin does it.

A resize along one axis is a matrix, so a method is fully said by its matrix, and a grid is resized
by one matrix an axis. What the published codes do differs by far more than rounding: the cubic
coefficient (-0.5 or -0.75), whether the kernel widens when shrinking, where the samples lie.

| method                 | who resizes so                                                     |
|------------------------|--------------------------------------------------------------------|
| `bicubic_antialias`    | timm state dicts, DINOv2 with registers (torch, antialias=True)    |
| `bilinear_antialias`   | FlexiViT in big_vision (jax.image.resize "linear")                 |
| `bicubic`              | DeiT, MAE, Hugging Face (torch, antialias=False)                   |
| `bilinear`             | timm's .npz loader; PI-resize in big_vision (tf.image.resize)      |
| `linear_align_corners` | vision_transformer, big_vision, CvT (scipy.ndimage.zoom, order=1)  |

One difference is on purpose: where rounding puts the last sample of `scipy.ndimage.zoom` just
beyond the old grid (24 to 22, 28 to 14, 32 to 16, ...), scipy returns zeros for the last row and
column; here they are the old last row and column, as for every other pair of sizes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import UsageError

Matrix = NDArray[np.floating]


def resize_matrix(old: int, new: int, method: str) -> Matrix:
    """The matrix that resizes one axis of length `old` to length `new`.

    Args:
        old: length before, at least 1.
        new: length after, at least 1.
        method: a name in the table at the top of this module.

    Returns:
        Array (new, old), float64; every row sums to 1.

    Raises:
        UsageError: for an unknown method or a length below 1.
    """
    if method not in _METHODS:
        raise UsageError(f"resize method {method!r} is not one of: {', '.join(_METHODS)}")
    if old < 1 or new < 1:
        raise UsageError(
            f"cannot resize an axis of length {old} to length {new}: both must be 1 or more"
        )
    return _METHODS[method](old, new)


def resize_grid(grid: NDArray[Any], size: tuple[int, int], method: str) -> NDArray[Any]:
    """Resize a grid of vectors, such as a position embedding without its prefix tokens.

    Args:
        grid: array (H, W, D).
        size: the new (height, width).
        method: as in `resize_matrix`.

    Returns:
        Array (height, width, D) of the same dtype, computed in float64; `grid` itself when the
        size is already right.

    Raises:
        UsageError: for an unknown method or a grid that is not three-dimensional.
    """
    if grid.ndim != 3:
        raise UsageError(f"a position grid has the shape (H, W, D), not {grid.shape}")
    rows = resize_matrix(grid.shape[0], size[0], method)
    columns = resize_matrix(grid.shape[1], size[1], method)
    if grid.shape[:2] == tuple(size):
        return grid
    return _apply(rows, columns, grid)


def resample_patch_kernel(kernel: NDArray[Any], size: tuple[int, int], method: str) -> NDArray[Any]:
    """Resize a patch-embedding kernel by PI-resize, so that resized patches keep their embedding.

    The new kernel is pinv(R^T) @ old kernel, with R the matrix that resizes a patch (FlexiViT,
    Beyer et al. 2023, section 3.4; big_vision models/proj/flexi/vit.py). Inner products with the
    patch are kept exactly when it grows and in the least-squares sense when it shrinks.

    Args:
        kernel: array (patch height, patch width, channels, D).
        size: the new (patch height, patch width).
        method: as in `resize_matrix`. timm uses `bicubic_antialias` for torch files and `bilinear`
            for .npz files and FlexiViT.

    Returns:
        Array (height, width, channels, D) of the same dtype, computed in float64; `kernel` itself
        when the size is already right.

    Raises:
        UsageError: for an unknown method or a kernel that is not four-dimensional.
    """
    if kernel.ndim != 4:
        raise UsageError(f"a patch kernel has the shape (h, w, channels, D), not {kernel.shape}")
    rows = resize_matrix(kernel.shape[0], size[0], method)
    columns = resize_matrix(kernel.shape[1], size[1], method)
    if kernel.shape[:2] == tuple(size):
        return kernel
    # R is the Kronecker product of the two matrices, and so is its pseudoinverse of theirs.
    return _apply(np.linalg.pinv(rows.T), np.linalg.pinv(columns.T), kernel)


def _apply(rows: Matrix, columns: Matrix, grid: NDArray[Any]) -> NDArray[Any]:
    resized = np.tensordot(rows, grid.astype(np.float64), axes=1)
    resized = np.moveaxis(np.tensordot(columns, resized, axes=(1, 1)), 0, 1)
    return np.ascontiguousarray(resized, dtype=grid.dtype)


def _antialias(old: int, new: int, kernel: Callable[[Matrix], Matrix]) -> Matrix:
    """Half-pixel centres, the kernel widened when shrinking, rows renormalised at the borders."""
    step = old / new
    centres = (np.arange(new) + 0.5) * step
    distance = np.arange(old) + 0.5 - centres[:, None]
    weights = kernel(distance / max(step, 1.0))
    return weights / weights.sum(axis=1, keepdims=True)


def _half_pixel(old: int, new: int, kernel: Callable[[Matrix], Matrix], taps: range) -> Matrix:
    """Half-pixel centres, no widening; taps beyond the border count for the border's sample."""
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    return _sample(old, centres, kernel, taps)


def _align_corners(old: int, new: int) -> Matrix:
    """The first and last samples fall on the old first and last; a single one on the first."""
    step = (old - 1) / (new - 1) if new > 1 else 0.0
    return _sample(old, np.arange(new) * step, _triangle, range(2))


def _sample(old: int, centres: Matrix, kernel: Callable[[Matrix], Matrix], taps: range) -> Matrix:
    indices = np.floor(centres).astype(np.int64)[:, None] + np.array(taps)
    weights = kernel(indices - centres[:, None])
    matrix = np.zeros((len(centres), old))
    rows = np.broadcast_to(np.arange(len(centres))[:, None], indices.shape)
    np.add.at(matrix, (rows, indices.clip(0, old - 1)), weights)
    return matrix


def _triangle(x: Matrix) -> Matrix:
    return np.clip(1.0 - np.abs(x), 0.0, None)


def _cubic(a: float) -> Callable[[Matrix], Matrix]:
    """Keys' cubic convolution kernel with coefficient `a`, zero from distance 2 on."""

    def kernel(x: Matrix) -> Matrix:
        x = np.abs(x)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))

    return kernel


_METHODS: dict[str, Callable[[int, int], Matrix]] = {
    "bicubic_antialias": lambda old, new: _antialias(old, new, _cubic(-0.5)),
    "bilinear_antialias": lambda old, new: _antialias(old, new, _triangle),
    "bicubic": lambda old, new: _half_pixel(old, new, _cubic(-0.75), range(-1, 3)),
    "bilinear": lambda old, new: _half_pixel(old, new, _triangle, range(2)),
    "linear_align_corners": _align_corners,
}
