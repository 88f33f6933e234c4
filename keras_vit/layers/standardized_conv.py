"""Convolution with weight standardisation (arXiv:1903.10520), as BiT and the ViT hybrids have it."""

from typing import Any

import keras
from keras import ops

from keras_vit.layers.initializers import WeightInit
from keras_vit.layers.windows import pad_sides

FORMS = ("variance", "deviation")
PADDINGS = ("symmetric", "same")


@keras.saving.register_keras_serializable("keras_vit")
class StandardizedConv2D(keras.layers.Layer):
    """A convolution without bias whose kernel has mean 0 and variance 1 for each output channel.

    The kernel is standardised in every forward pass, so that gradients flow through it, and in float32
    whatever the dtype policy, since the epsilons vanish in 16 bits.

    Args:
        filters: number of output channels.
        kernel_size: side of the square kernel, odd.
        strides: step in both directions.
        padding: `"symmetric"`, `kernel_size // 2` zeros on every side (BiT), or `"same"`, TensorFlow's,
            which pads no more than the last step needs, and less before than behind (the ViT hybrids).
        epsilon: keeps the division from overflowing.
        form: `"variance"`, divides by `sqrt(variance + epsilon)` (timm/layers/std_conv.py,
            bit_pytorch/models.py), or `"deviation"`, by `sqrt(variance) + epsilon`
            (vit_jax/models_resnet.py).
        weight_init: `"timm"`, `"jax"`, `"timm_resnetv2"` or `"bit"`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, ceil(height / strides), ceil(width / strides), filters)`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        padding: str = "symmetric",
        epsilon: float = 1e-8,
        form: str = "variance",
        weight_init: str = "timm",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {PADDINGS}. Received: {padding!r}")
        if form not in FORMS:
            raise ValueError(f"form must be one of {FORMS}. Received: {form!r}")
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.padding, self.epsilon, self.form = padding, epsilon, form
        self.weight_init = weight_init

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.kernel = self.add_weight(
            shape=(self.kernel_size, self.kernel_size, input_shape[-1], self.filters),
            initializer=WeightInit(self.weight_init, "conv"),
            autocast=False,
            name="kernel",
        )

    def call(self, inputs: Any) -> Any:
        kernel = ops.cast(self._standardized(), inputs.dtype)
        padding = "same"
        if self.padding == "symmetric" and self.kernel_size > 1:
            inputs, padding = pad_sides(inputs, self.kernel_size // 2), "valid"
        return ops.conv(inputs, kernel, self.strides, padding, data_format="channels_last")

    def _standardized(self) -> Any:
        kernel = ops.convert_to_tensor(self.kernel)
        centred = kernel - ops.mean(kernel, axis=(0, 1, 2))
        variance = ops.mean(ops.square(centred), axis=(0, 1, 2))
        if self.form == "variance":
            return centred * ops.rsqrt(variance + self.epsilon)
        return centred / (ops.sqrt(variance) + self.epsilon)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, _ = input_shape
        return (batch, strided(height, self.strides), strided(width, self.strides), self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "epsilon": self.epsilon,
            "form": self.form,
            "weight_init": self.weight_init,
        }


def strided(length: int | None, strides: int) -> int | None:
    """How many positions a convolution that keeps the size at step 1 has at step `strides`."""
    return None if length is None else -(-length // strides)
