"""Images to the first feature map of a ResNet: a 7x7 convolution and a max-pool, a quarter of the size."""

from typing import Any

import keras
from keras import ops

from keras_vit.layers.group_norm import GroupNorm
from keras_vit.layers.standardized_conv import StandardizedConv2D, strided
from keras_vit.layers.windows import pad_sides

POOL_PADDINGS = ("zero", "same")


@keras.saving.register_keras_serializable("keras_vit")
class ResNetStem(keras.layers.Layer):
    """A standardised 7x7 convolution of step 2, perhaps GroupNorm and ReLU, and a 3x3 max-pool of step 2.

    Args:
        filters: number of output channels.
        norm: GroupNorm and ReLU before the pooling: the ViT hybrids' (vit_jax/models_vit.py). BiT, being
            pre-activated, has none (bit_pytorch/models.py).
        padding, conv_eps, conv_form: as in `StandardizedConv2D`.
        pool_padding: `"zero"`, zeros on every side, which take part in the maximum (BiT), or `"same"`,
            TensorFlow's, which do not (the hybrids).
        norm_eps: epsilon of the norm.
        weight_init: `"timm"`, `"jax"`, `"timm_resnetv2"` or `"bit"`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, ceil(height / 4), ceil(width / 4), filters)`.
    """

    def __init__(
        self,
        filters: int = 64,
        norm: bool = False,
        padding: str = "symmetric",
        pool_padding: str = "zero",
        norm_eps: float = 1e-5,
        conv_eps: float = 1e-8,
        conv_form: str = "variance",
        weight_init: str = "timm",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if pool_padding not in POOL_PADDINGS:
            raise ValueError(
                f"pool_padding must be one of {POOL_PADDINGS}. Received: {pool_padding!r}"
            )
        self.filters, self.use_norm = filters, norm
        self.padding, self.pool_padding, self.norm_eps = padding, pool_padding, norm_eps
        self.conv_eps, self.conv_form = conv_eps, conv_form
        self.weight_init = weight_init
        policy = self.dtype_policy
        self.conv = StandardizedConv2D(
            filters, 7, 2, padding, conv_eps, conv_form, weight_init, dtype=policy, name="conv"
        )
        if norm:
            self.norm = GroupNorm(epsilon=norm_eps, dtype=policy, name="norm")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.conv.build(input_shape)
        if self.use_norm:
            self.norm.build(self.conv.compute_output_shape(input_shape))

    def call(self, inputs: Any) -> Any:
        x = self.conv(inputs)
        if self.use_norm:
            x = ops.relu(self.norm(x))
        if self.pool_padding == "zero":
            return ops.max_pool(pad_sides(x, 1), 3, 2, "valid", data_format="channels_last")
        return ops.max_pool(x, 3, 2, "same", data_format="channels_last")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, channels = self.conv.compute_output_shape(input_shape)
        return (batch, strided(height, 2), strided(width, 2), channels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "norm": self.use_norm,
            "padding": self.padding,
            "pool_padding": self.pool_padding,
            "norm_eps": self.norm_eps,
            "conv_eps": self.conv_eps,
            "conv_form": self.conv_form,
            "weight_init": self.weight_init,
        }
