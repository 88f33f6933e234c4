"""Windows that slide over a map padded on all sides alike, as torch's convolutions have them."""

from typing import Any

from keras import ops


def pad_sides(x: Any, padding: int) -> Any:
    """`x` (batch, height, width, channels) with `padding` rows and columns of zeros on each side."""
    if not padding:
        return x
    return ops.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def padded_shape(shape: tuple[int | None, ...], padding: int) -> tuple[int | None, ...]:
    """The shape of what `pad_sides` gives."""
    batch, *size, channels = shape
    return (batch, *(side if side is None else side + 2 * padding for side in size), channels)


def window_count(length: int, kernel_size: int, stride: int, padding: int) -> int:
    """How many windows fit on an axis of `length` pixels."""
    return (length + 2 * padding - kernel_size) // stride + 1


def windowed_shape(
    shape: tuple[int | None, ...], channels: int | None, kernel_size: int, stride: int, padding: int
) -> tuple[int | None, ...]:
    """The shape of a map with one pixel a window, for the shape of a map; sides may be None."""
    batch, *size, _ = shape
    window = (kernel_size, stride, padding)
    counts = (None if side is None else window_count(side, *window) for side in size)
    return (batch, *counts, channels)
