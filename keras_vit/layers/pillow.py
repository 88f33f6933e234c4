"""Pillow's resize of uint8 images, exactly, as products of float32.

Pillow rounds its weights to 22 bits after the point, sums in integers, rounds half up and clips to 0..255,
one axis after the other (Pillow src/libImaging/Resample.c). A float32 holds 24 bits and such a sum has up to
31, so that one product would round otherwise wherever a sum is close to a half, and two passes be two levels
off. The weights are split: into 15 bits, whose sums are exact, and the 7 bits below, whose sums are exact up
to 512 pixels a window, that is when shrinking up to 127 times (bicubic) or 255 times (bilinear).
"""

from typing import Any

from keras_vit.resize import axis_weights

COARSE = 2.0**15
"""The coarse part of a weight is a multiple of one over this."""

_FINE = 2.0**22  # and the fine part of one over this


def pillow_weights(
    xp: Any, old: Any, new: Any, start: Any, kept: int, interpolation: str
) -> tuple[Any, Any]:
    """The matrices that resize an axis and crop it.

    Args:
        xp: `numpy`, or `keras.ops` for lengths that are known at run time only.
        old, new: lengths before and after the resize, floats or float64 scalar tensors.
        start, kept: the first of the new pixels that the crop keeps, and how many.
        interpolation: `"bicubic"` or `"bilinear"`.

    Returns:
        The coarse and the fine part, each (kept, old), float64 of values that float32 holds.
    """
    columns, rows = xp.arange(old, dtype="float64"), xp.arange(kept, dtype="float64") + start
    weights = axis_weights(xp, columns, rows, old, new, f"{interpolation}_antialias")
    whole = xp.sign(weights) * xp.floor(xp.abs(weights) * _FINE + 0.5) / _FINE
    coarse = xp.floor(whole * COARSE) / COARSE
    return coarse, whole - coarse


def rounded(xp: Any, coarse: Any, fine: Any) -> Any:
    """The pixels, 0..255: `coarse` and `fine` are the products with the two matrices."""
    carried = xp.floor(fine * COARSE) * (1 / COARSE)
    return xp.clip(xp.floor(coarse + carried + 0.5), 0.0, 255.0)


def vertical_first(xp: Any, height: Any, width: Any, new_height: Any, new_width: Any) -> Any:
    """Whether Pillow resizes the columns before the rows.

    Since 13 it does where the height shrinks by more than twice what the width does
    (python-pillow/Pillow#9549).
    """
    less = height - new_height
    return xp.logical_and(less > 0, less > 2 * (width - new_width))
