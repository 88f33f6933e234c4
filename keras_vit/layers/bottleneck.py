"""The residual block of BiT and of the ViT hybrids: 1x1, 3x3 and 1x1 standardised convolutions."""

from typing import Any

import keras
from keras import ops

from keras_vit.layers.drop_path import drop_path, dropped
from keras_vit.layers.group_norm import GroupNorm
from keras_vit.layers.initializers import WeightInit
from keras_vit.layers.recomputing import recomputed
from keras_vit.layers.standardized_conv import StandardizedConv2D


@keras.saving.register_keras_serializable("keras_vit")
class Bottleneck(keras.layers.Layer):
    """A bottleneck with GroupNorm, before or after its convolutions, and the stride at the 3x3 one.

    * `pre_activation=True`, BiT (bit_pytorch/models.py `PreActBottleneck`): each convolution follows a
      norm and a ReLU, and so does the shortcut's; the sum is left as it is.
    * `pre_activation=False`, hybrids (vit_jax/models_resnet.py `ResidualUnit`): a norm follows each
      convolution, the shortcut's too, and a ReLU the first two norms and the sum.

    Args:
        filters: number of output channels; a quarter of it inside.
        strides: step of the 3x3 convolution and of the shortcut's.
        pre_activation: which of the two.
        projection: whether the shortcut has a convolution; it must, where the shape changes.
        padding, conv_eps, conv_form: as in `StandardizedConv2D`.
        norm_eps: epsilon of the norms.
        drop_path_rate: probability with which the residual branch of a sample is dropped in training.
        weight_init: `"timm"`, `"jax"`, `"timm_resnetv2"` or `"bit"`.
        gradient_checkpointing: in training, keep only the block's input, and compute the rest again for
            the gradients.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, ceil(height / strides), ceil(width / strides), filters)`.
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        pre_activation: bool = True,
        projection: bool = False,
        padding: str = "symmetric",
        norm_eps: float = 1e-5,
        conv_eps: float = 1e-8,
        conv_form: str = "variance",
        drop_path_rate: float = 0.0,
        weight_init: str = "timm",
        gradient_checkpointing: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.strides = filters, strides
        self.pre_activation, self.projection = pre_activation, projection
        self.padding, self.norm_eps = padding, norm_eps
        self.conv_eps, self.conv_form = conv_eps, conv_form
        self.drop_path_rate, self.weight_init = drop_path_rate, weight_init
        self.gradient_checkpointing = gradient_checkpointing
        self.conv1 = self._conv(filters // 4, 1, 1, "conv1")
        self.conv2 = self._conv(filters // 4, 3, strides, "conv2")
        self.conv3 = self._conv(filters, 1, 1, "conv3")
        self.norm1, self.norm2 = self._norm("norm1"), self._norm("norm2")
        # The branch of a hybrid's block may start at zero; the last norm of BiT's has no such part.
        last = "ones" if pre_activation else WeightInit(weight_init, "last_norm")
        self.norm3 = self._norm("norm3", last)
        if projection:
            self.downsample_conv = self._conv(filters, 1, strides, "downsample_conv")
        if projection and not pre_activation:
            self.downsample_norm = self._norm("downsample_norm")
        self.drop_path = drop_path(drop_path_rate, "drop_path", self.dtype_policy, axes=4)

    def _conv(self, filters: int, kernel_size: int, strides: int, name: str) -> StandardizedConv2D:
        return StandardizedConv2D(
            filters,
            kernel_size,
            strides,
            self.padding,
            self.conv_eps,
            self.conv_form,
            self.weight_init,
            dtype=self.dtype_policy,
            name=name,
        )

    def _norm(self, name: str, gamma_initializer: Any = "ones") -> GroupNorm:
        return GroupNorm(
            epsilon=self.norm_eps,
            gamma_initializer=gamma_initializer,
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if not self.projection and (self.strides != 1 or input_shape[-1] != self.filters):
            raise ValueError(
                "A block that changes the shape needs a projection. Received: "
                f"filters={self.filters}, strides={self.strides}, input_shape={input_shape}"
            )
        inner = (*input_shape[:-1], self.filters // 4)
        output = self.compute_output_shape(input_shape)
        inner_strided = (*output[:-1], self.filters // 4)
        self.conv1.build(input_shape)
        self.conv2.build(inner)
        self.conv3.build(inner_strided)
        self.norm1.build(input_shape if self.pre_activation else inner)
        self.norm2.build(inner if self.pre_activation else inner_strided)
        self.norm3.build(inner_strided if self.pre_activation else output)
        if self.projection:
            self.downsample_conv.build(input_shape)
        if self.projection and not self.pre_activation:
            self.downsample_norm.build(output)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        branches = self._pre_activated if self.pre_activation else self._post_activated
        shortcut, x = recomputed(self, branches, inputs, training)
        # Stochastic depth is outside of what is computed twice: it must drop the same both times.
        total = shortcut + dropped(self.drop_path, x, training)
        return total if self.pre_activation else ops.relu(total)

    def _pre_activated(self, inputs: Any, training: bool | None = None) -> tuple[Any, Any]:
        x = ops.relu(self.norm1(inputs))
        shortcut = self.downsample_conv(x) if self.projection else inputs
        x = ops.relu(self.norm2(self.conv1(x)))
        return shortcut, self.conv3(ops.relu(self.norm3(self.conv2(x))))

    def _post_activated(self, inputs: Any, training: bool | None = None) -> tuple[Any, Any]:
        shortcut = inputs
        if self.projection:
            shortcut = self.downsample_norm(self.downsample_conv(inputs))
        x = ops.relu(self.norm1(self.conv1(inputs)))
        x = ops.relu(self.norm2(self.conv2(x)))
        return shortcut, self.norm3(self.conv3(x))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*self.conv2.compute_output_shape(input_shape)[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "pre_activation": self.pre_activation,
            "projection": self.projection,
            "padding": self.padding,
            "norm_eps": self.norm_eps,
            "conv_eps": self.conv_eps,
            "conv_form": self.conv_form,
            "drop_path_rate": self.drop_path_rate,
            "weight_init": self.weight_init,
            "gradient_checkpointing": self.gradient_checkpointing,
        }
