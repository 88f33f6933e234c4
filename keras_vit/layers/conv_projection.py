"""CvT's convolutional projection: what stands before the linear maps to queries, keys and values."""

from typing import Any

import keras
from keras import ops

from keras_vit.layers.initializers import WeightInit
from keras_vit.layers.windows import pad_sides, padded_shape, windowed_shape

PROJECTIONS = ("conv", "average", "linear")


@keras.saving.register_keras_serializable("keras_vit")
class ConvProjection(keras.layers.Layer):
    """A map to a map of as many channels, perhaps smaller, by one of three methods.

    `"conv"`: a depthwise convolution without bias, then BatchNorm (arXiv:2103.15808, section 3.2).
    `"average"`: the mean of each window, where zeros that are padded count and a window that reaches
    beyond them is cut off; so there is one window more on even sides than with `"conv"`
    (torch.nn.AvgPool2d with `ceil_mode`; microsoft/CvT lib/models/cls_cvt.py, method `avg`).
    `"linear"`: the map as it is, without stride (method `linear` there, the ablation of table 8).

    BatchNorm's running variance is fed with the biased variance of a batch, as Keras does it; torch feeds
    the unbiased one, which is larger by 1 / (batch * height * width - 1).

    Args:
        method: one of the above.
        kernel_size, stride, padding: of the windows, in pixels.
        bn_eps: BatchNorm's epsilon. bn_momentum: what it keeps of its statistics at a training step, in
            0..1; torch's momentum is 1 minus this.
        weight_init: a scheme of `WeightInit`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new height, new width, channels)`.
    """

    def __init__(
        self,
        method: str = "conv",
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
        bn_eps: float = 1e-5,
        bn_momentum: float = 0.9,
        weight_init: str = "cvt",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if method not in PROJECTIONS:
            raise ValueError(f"projection must be one of {PROJECTIONS}. Received: {method!r}")
        if method == "average" and stride + padding > kernel_size:
            raise ValueError(
                "Averages need stride + padding of at most kernel_size, or a window may hold no pixel. "
                f"Received: stride={stride}, padding={padding}, kernel_size={kernel_size}"
            )
        self.method, self.kernel_size = method, kernel_size
        self.stride, self.padding = stride, padding
        self.bn_eps, self.bn_momentum, self.weight_init = bn_eps, bn_momentum, weight_init
        if method == "conv":
            self.conv = keras.layers.DepthwiseConv2D(
                kernel_size,
                strides=stride,
                padding="valid",
                use_bias=False,
                data_format="channels_last",
                depthwise_initializer=WeightInit(weight_init, "depthwise"),
                dtype=self.dtype_policy,
                name="conv",
            )
            self.bn = keras.layers.BatchNormalization(
                axis=-1, epsilon=bn_eps, momentum=bn_momentum, dtype=self.dtype_policy, name="bn"
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.method == "conv":
            self.conv.build(padded_shape(input_shape, self.padding))
            self.bn.build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if self.method == "linear":
            return inputs
        padded = pad_sides(inputs, self.padding)
        if self.method == "conv":
            return self.bn(self.conv(padded), training=training)
        return self._average(padded)

    def _average(self, padded: Any) -> Any:
        """The means of windows, of which the last ones may reach `stride - 1` pixels beyond the map."""
        beyond = self.stride - 1
        if not beyond:
            return self._pool(padded)
        height, width = ops.shape(padded)[1:3]
        widths = ((0, 0), (0, beyond), (0, beyond), (0, 0))
        inside = ops.ones((1, height, width, 1), padded.dtype)
        return self._pool(ops.pad(padded, widths)) / self._pool(ops.pad(inside, widths))

    def _pool(self, x: Any) -> Any:
        return ops.average_pool(
            x, self.kernel_size, strides=self.stride, padding="valid", data_format="channels_last"
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if self.method == "linear":
            return input_shape
        beyond = self.stride - 1 if self.method == "average" else 0
        batch, *size, channels = input_shape
        whole = (batch, *(n if n is None else n + beyond for n in size), channels)
        return windowed_shape(whole, channels, self.kernel_size, self.stride, self.padding)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "method": self.method,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "bn_eps": self.bn_eps,
            "bn_momentum": self.bn_momentum,
            "weight_init": self.weight_init,
        }
