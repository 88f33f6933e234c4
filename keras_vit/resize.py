"""Resizing position embeddings and patch kernels, each way as its origin does it.

A resize along one axis is a matrix, so a method is fully said by its matrix, and a grid is resized
by one matrix an axis. What the published codes do differs by far more than rounding: the cubic
coefficient (-0.5 or -0.75), whether the kernel widens when shrinking, where the samples lie.

| method                 | who resizes so                                                     |
|------------------------|--------------------------------------------------------------------|
| `bicubic_antialias`    | timm state dicts, DINOv2 with registers (torch, antialias=True)    |
| `bilinear_antialias`   | FlexiViT in big_vision (jax.image.resize "linear")                 |
| `bicubic`              | DeiT, MAE, Hugging Face (torch, antialias=False)                   |
| `bicubic_offset`       | DINO, DINOv2 without registers (torch, scale_factor=(new + 0.1) / old) |
| `bilinear`             | timm's .npz loader; PI-resize in big_vision (tf.image.resize)      |
| `linear_align_corners` | vision_transformer, big_vision, CvT (scipy.ndimage.zoom, order=1); C-RADIO |

One difference is on purpose: where rounding puts the last sample of `scipy.ndimage.zoom` just
beyond the old grid (24 to 22, 28 to 14, 32 to 16, ...), scipy returns zeros for the last row and
column; here they are the old last row and column, as for every other pair of sizes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_vit.errors import UsageError

Matrix = NDArray[np.floating]
Kernel = Callable[[Any, Any], Any]


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
    if old < 1 or new < 1:
        raise UsageError(
            f"cannot resize an axis of length {old} to length {new}: both must be 1 or more"
        )
    return axis_weights(np, np.arange(float(old)), np.arange(float(new)), old, new, method)


def axis_weights(xp: Any, columns: Any, rows: Any, old: Any, new: Any, method: str) -> Any:
    """`resize_matrix` in NumPy or in `keras.ops`, where a length may be known at run time only.

    Args:
        xp: `numpy` or `keras.ops`.
        columns, rows: 0, 1, ... old - 1 and 0, 1, ... new - 1, as floats.
        old, new: the two lengths, floats or scalar tensors.
        method: as in `resize_matrix`.

    Returns:
        Matrix (new, old) in the dtype of `rows`.

    Raises:
        UsageError: for an unknown method.
    """
    if method not in _METHODS:
        raise UsageError(f"resize method {method!r} is not one of: {', '.join(_METHODS)}")
    return _METHODS[method](xp, columns, rows, old, new)


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


def _antialias(xp: Any, columns: Any, rows: Any, old: Any, new: Any, kernel: Kernel) -> Any:
    """Half-pixel centres, the kernel widened when shrinking, rows renormalised at the borders."""
    step = old / new
    distance = columns + 0.5 - (rows[:, None] + 0.5) * step
    weights = kernel(xp, distance / xp.maximum(step, 1.0))
    return weights / xp.sum(weights, axis=1, keepdims=True)


def _half_pixel(
    xp: Any,
    columns: Any,
    rows: Any,
    old: Any,
    new: Any,
    kernel: Kernel,
    taps: range,
    offset: float = 0.0,
) -> Any:
    """Half-pixel centres, no widening; taps beyond the border count for the border's sample.

    The samples lie as if there were `offset` more of them.
    """
    return _sample(xp, columns, (rows + 0.5) * (old / (new + offset)) - 0.5, old, kernel, taps)


def _align_corners(xp: Any, columns: Any, rows: Any, old: Any, new: Any) -> Any:
    """The first and last samples fall on the old first and last; a single one on the first."""
    centres = rows * ((old - 1) / xp.maximum(new - 1, 1))
    return _sample(xp, columns, centres, old, _triangle, range(2))


def _sample(xp: Any, columns: Any, centres: Any, old: Any, kernel: Kernel, taps: range) -> Any:
    """Each row's taps, summed where they meet at the border."""
    first = xp.floor(centres)
    return sum(
        xp.where(
            columns == xp.clip(first + tap, 0, old - 1)[:, None],
            kernel(xp, first + tap - centres)[:, None],
            0.0,
        )
        for tap in taps
    )


def _triangle(xp: Any, x: Any) -> Any:
    return xp.maximum(1.0 - xp.abs(x), 0.0)


def _cubic(a: float) -> Kernel:
    """Keys' cubic convolution kernel with coefficient `a`, zero from distance 2 on."""

    def kernel(xp: Any, x: Any) -> Any:
        x = xp.abs(x)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        return xp.where(x < 1, near, xp.where(x < 2, far, 0.0))

    return kernel


_METHODS: dict[str, Callable[..., Any]] = {
    "bicubic_antialias": partial(_antialias, kernel=_cubic(-0.5)),
    "bilinear_antialias": partial(_antialias, kernel=_triangle),
    "bicubic": partial(_half_pixel, kernel=_cubic(-0.75), taps=range(-1, 3)),
    "bicubic_offset": partial(_half_pixel, kernel=_cubic(-0.75), taps=range(-1, 3), offset=0.1),
    "bilinear": partial(_half_pixel, kernel=_triangle, taps=range(2)),
    "linear_align_corners": _align_corners,
}
