"""Images of any size to what a checkpoint wants, as a layer."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_vit.config import Preprocessing
from keras_vit.layers.pillow import pillow_weights, rounded, vertical_first

Matrices = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]


@keras.saving.register_keras_serializable("keras_vit")
class Preprocess(keras.layers.Layer):
    """Resizes, crops and normalises a batch as the checkpoint's evaluation did.

    The resize is Pillow's to the bit: antialiased, one axis after the other, rounded and clipped to 0..255
    after each. Each is a product with two matrices from which the crop takes its rows. Where TensorFlow
    knows a size at run time only, as in `tf.data`, the matrices are made there.

    Args:
        image_size: (height, width) of the output.
        mean, std: per channel, of images scaled to 0..1.
        interpolation: `"bicubic"` or `"bilinear"`.
        crop_pct: share of the resized image that the crop keeps.
        crop_mode: `"center"` or `"squash"`.

    Input shape: `(batch, any height, any width, channels)`, values 0..255 of any dtype, whole numbers.
    Output shape: `(batch, height, width, channels)`, in the layer's compute dtype.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        interpolation: str = "bicubic",
        crop_pct: float = 1.0,
        crop_mode: str = "center",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.spec = Preprocessing(
            (image_size[0], image_size[1]),
            tuple(mean),
            tuple(std),
            interpolation,
            crop_pct,
            crop_mode,
        )

    def call(self, images: Any) -> Any:
        height, width = images.shape[1:3]
        images = ops.cast(images, "float32")
        if height is None or width is None:
            images = self._resized_in_graph(images)
        else:
            for axis, matrices in self.passes(height, width):
                images = _resized(images, axis, matrices)
        scale = 1 / (255 * np.array(self.spec.std))
        shift = np.array(self.spec.mean) / np.array(self.spec.std)
        images = images * ops.cast(scale, "float32") - ops.cast(shift, "float32")
        return ops.cast(images, self.compute_dtype)

    def passes(self, height: int, width: int) -> list[tuple[int, Matrices]]:
        """Resize and crop of images of this size: each two products, see `layers.pillow`, in their order.

        Returns:
            Pairs of an axis of (batch, height, width, channels) and its matrices (new, old); none where
            the size is right already.
        """
        new = self.spec.resized(height, width)
        if (height, width) == new == self.spec.image_size:
            return []
        starts = [round((n - kept) / 2) for n, kept in zip(new, self.spec.image_size, strict=True)]
        rows, columns = (
            _float32(pillow_weights(np, float(old), float(n), start, kept, self.spec.interpolation))
            for old, n, start, kept in zip(
                (height, width), new, starts, self.spec.image_size, strict=True
            )
        )
        passes = [(2, columns), (1, rows)]
        return passes[::-1] if vertical_first(np, height, width, *new) else passes

    def _resized_in_graph(self, images: Any) -> Any:
        """`passes` for a size that is known at run time."""
        _, *sides, _ = ops.shape(images)
        height, width = old = [ops.cast(side, "float64") for side in sides]
        new = self._resized_sides(height, width)
        rows, columns = (
            pillow_weights(ops, o, n, ops.round((n - kept) / 2), kept, self.spec.interpolation)
            for o, n, kept in zip(old, new, self.spec.image_size, strict=True)
        )
        return ops.cond(
            vertical_first(ops, height, width, *new),
            lambda: _resized(_resized(images, 1, rows), 2, columns),
            lambda: _resized(_resized(images, 2, columns), 1, rows),
        )

    def _resized_sides(self, height: Any, width: Any) -> tuple[Any, Any]:
        """`Preprocessing.resized` of float64 tensors."""
        rows, columns = (float(side) for side in self.spec.uncropped)
        if self.spec.crop_mode == "squash":
            return ops.cast(rows, "float64"), ops.cast(columns, "float64")
        if rows == columns:
            shorter = ops.minimum(height, width)
            return ops.floor(rows * height / shorter), ops.floor(columns * width / shorter)
        ratio = ops.minimum(height / rows, width / columns)
        return ops.round(height / ratio), ops.round(width / ratio)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self.spec.image_size, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.spec.to_dict()}


def _float32(matrices: Matrices) -> Matrices:
    """As they are multiplied; a graph would keep twice the bytes of float64."""
    coarse, fine = (matrix.astype(np.float32) for matrix in matrices)
    return coarse, fine


def _resized(images: Any, axis: int, matrices: Any) -> Any:
    """One axis resized, cropped and rounded."""
    equation = "hH,bHwc->bhwc" if axis == 1 else "wW,bhWc->bhwc"
    coarse, fine = (
        ops.einsum(equation, ops.cast(matrix, "float32"), images) for matrix in matrices
    )
    return rounded(ops, coarse, fine)
