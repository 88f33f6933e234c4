"""Images of any size to what a checkpoint wants, as a layer."""

from typing import Any

import keras
import numpy as np
from keras import ops

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
        if not (height, width) == self.spec.resized(height, width) == self.spec.image_size:
            images = self._resize(images, height, width)
        scale = 1 / (255 * np.array(self.spec.std))
        shift = np.array(self.spec.mean) / np.array(self.spec.std)
        images = images * ops.cast(scale, "float32") - ops.cast(shift, "float32")
        return ops.cast(images, self.compute_dtype)

    def _resize(self, images: Any, height: int, width: int) -> Any:
        new_height, new_width = self.spec.resized(height, width)
        rows = self._matrix(height, new_height, self.spec.image_size[0])
        columns = self._matrix(width, new_width, self.spec.image_size[1])
        passes = [("wW,bhWc->bhwc", columns), ("hH,bHwc->bhwc", rows)]
        # Pillow 13 shrinks tall images vertically first (python-pillow/Pillow#9549).
        if height - new_height > 2 * max(0, width - new_width):
            passes.reverse()
        for equation, matrix in passes:
            images = ops.clip(ops.round(ops.einsum(equation, matrix, images)), 0, 255)
        return images

    def _matrix(self, old: int, new: int, kept: int) -> Any:
        """The matrix of one axis: a resize from `old` to `new` pixels, `kept` of them cropped."""
        matrix = resize_matrix(old, new, f"{self.spec.interpolation}_antialias")
        start = round((new - kept) / 2)
        return ops.cast(matrix[start : start + kept], "float32")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self.spec.image_size, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.spec.to_dict()}
