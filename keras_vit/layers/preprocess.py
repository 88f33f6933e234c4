"""Images of any size to what a checkpoint wants, as a layer."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_vit.config import Preprocessing
from keras_vit.resize import resize_matrix


@keras.saving.register_keras_serializable("keras_vit")
class Preprocess(keras.layers.Layer):
    """Resizes, crops and normalises a batch as the checkpoint's evaluation did.

    The resize is Pillow's: antialiased, one axis after the other, rounded and clipped to 0..255 after
    each (Pillow src/libImaging/Resample.c). Both axes are matrices from which the crop takes its rows.

    Args:
        image_size: (height, width) of the output.
        mean, std: per channel, of images scaled to 0..1.
        interpolation: `"bicubic"` or `"bilinear"`.
        crop_pct: share of the resized image that the crop keeps.
        crop_mode: `"center"` or `"squash"`.

    Input shape: `(batch, any height, any width, channels)`, values 0..255 of any dtype.
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
        for axis, matrix in self.passes(height, width):
            equation = "hH,bHwc->bhwc" if axis == 1 else "wW,bhWc->bhwc"
            resized = ops.einsum(equation, ops.cast(matrix, "float32"), images)
            images = ops.clip(ops.round(resized), 0, 255)
        scale = 1 / (255 * np.array(self.spec.std))
        shift = np.array(self.spec.mean) / np.array(self.spec.std)
        images = images * ops.cast(scale, "float32") - ops.cast(shift, "float32")
        return ops.cast(images, self.compute_dtype)

    def passes(self, height: int, width: int) -> list[tuple[int, NDArray[np.floating[Any]]]]:
        """Resize and crop of images of this size: each a product, rounded and clipped, in their order.

        Returns:
            Pairs of an axis of (batch, height, width, channels) and its matrix (new, old); none where
            the size is right already.
        """
        new_height, new_width = self.spec.resized(height, width)
        if (height, width) == (new_height, new_width) == self.spec.image_size:
            return []
        rows = self._matrix(height, new_height, self.spec.image_size[0])
        columns = self._matrix(width, new_width, self.spec.image_size[1])
        passes = [(2, columns), (1, rows)]
        # Pillow 13 shrinks tall images vertically first (python-pillow/Pillow#9549).
        if height - new_height > 2 * max(0, width - new_width):
            passes.reverse()
        return passes

    def _matrix(self, old: int, new: int, kept: int) -> NDArray[np.floating[Any]]:
        """The matrix of one axis: a resize from `old` to `new` pixels, `kept` of them cropped."""
        matrix = resize_matrix(old, new, f"{self.spec.interpolation}_antialias")
        start = round((new - kept) / 2)
        return matrix[start : start + kept]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self.spec.image_size, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.spec.to_dict()}
