"""Group normalisation (arXiv:1803.08494)."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_vit")
class GroupNorm(keras.layers.Layer):
    """Normalises each group of channels of each image, over its pixels; learns a scale and a shift.

    In float32 whatever the dtype policy. Keras' GroupNormalization is not used: on the PyTorch backend
    its variance is the mean of squares less the square of the mean, which loses a group's digits where
    its mean is large, and becomes negative where the group is constant.

    Args:
        groups: number of groups; it divides the channels. 32 in every published model.
        epsilon: added to the (biased) variance.
        gamma_initializer: of the scale.

    Input and output shape: `(batch, height, width, channels)`.
    """

    def __init__(
        self,
        groups: int = 32,
        epsilon: float = 1e-5,
        gamma_initializer: Any = "ones",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.autocast = False  # a float32 input of a mixed policy keeps its digits
        self.groups, self.epsilon = groups, epsilon
        self.gamma_initializer = keras.initializers.get(gamma_initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if channels is None or channels % self.groups:
            raise ValueError(
                f"groups must divide the channels. Received: groups={self.groups}, channels={channels}"
            )
        self.gamma = self.add_weight(
            shape=(channels,), initializer=self.gamma_initializer, autocast=False, name="gamma"
        )
        self.beta = self.add_weight(
            shape=(channels,), initializer="zeros", autocast=False, name="beta"
        )

    def call(self, inputs: Any) -> Any:
        wide = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        centred = wide - self._group_means(wide)
        variance = self._group_means(ops.square(centred))
        scale = ops.cast(self.gamma, wide.dtype) * ops.rsqrt(variance + self.epsilon)
        outputs = centred * scale + ops.cast(self.beta, wide.dtype)
        return ops.cast(outputs, self.compute_dtype)

    def _group_means(self, x: Any) -> Any:
        """The mean of each channel's group, (batch, 1, 1, channels).

        One axis at a time: TensorFlow and TFLite sum in sequence, and over all pixels of a flat image the
        roundings would all point one way.
        """
        size = x.shape[-1] // self.groups
        means = ops.mean(ops.mean(x, axis=2), axis=1)
        means = ops.reshape(means, (-1, self.groups, size))
        means = ops.tile(ops.mean(means, axis=-1, keepdims=True), (1, 1, size))
        return ops.reshape(means, (-1, 1, 1, x.shape[-1]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "groups": self.groups,
            "epsilon": self.epsilon,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
        }
