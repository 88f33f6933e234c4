"""The two-layer perceptron of a Transformer block."""

from typing import Any

import keras

from keras_vit.layers.activations import activation
from keras_vit.layers.composite import dtype_config, part_policy
from keras_vit.layers.drop_path import dropped
from keras_vit.layers.initializers import WeightInit


@keras.saving.register_keras_serializable("keras_vit")
class MLP(keras.layers.Layer):
    """Dense, GELU, dropout, Dense, dropout (arXiv:2010.11929, appendix B.1 for the dropout sites).

    Args:
        hidden_dim: width of the hidden layer.
        act: `"gelu"`, `"gelu_tanh"` or `"quick_gelu"`.
        drop_rate: dropout after both dense layers.
        weight_init: `"timm"` or `"jax"`.

    Input and output shape: `(batch, tokens, dim)`.
    """

    def __init__(
        self,
        hidden_dim: int,
        act: str = "gelu",
        drop_rate: float = 0.0,
        weight_init: str = "timm",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim, self.act = hidden_dim, act
        self.drop_rate, self.weight_init = drop_rate, weight_init
        self.drop1 = keras.layers.Dropout(drop_rate, dtype=self.dtype_policy, name="drop1")
        self.drop2 = keras.layers.Dropout(drop_rate, dtype=self.dtype_policy, name="drop2")

    @property
    def parts(self) -> list[keras.layers.Layer]:
        """The sublayers, in the order of the forward pass."""
        return [self.fc1, self.drop1, self.fc2, self.drop2]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.fc1 = keras.layers.Dense(
            self.hidden_dim,
            activation=activation(self.act),
            kernel_initializer=WeightInit(self.weight_init, "kernel"),
            bias_initializer=WeightInit(self.weight_init, "mlp_bias"),
            dtype=part_policy(self, "fc1"),
            name="fc1",
        )
        self.fc2 = keras.layers.Dense(
            input_shape[-1],
            kernel_initializer=WeightInit(self.weight_init, "kernel"),
            bias_initializer=WeightInit(self.weight_init, "mlp_bias"),
            dtype=part_policy(self, "fc2"),
            name="fc2",
        )
        self.fc1.build(input_shape)
        self.fc2.build((*input_shape[:-1], self.hidden_dim))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        hidden = dropped(self.drop1, self.fc1(inputs), training)
        return dropped(self.drop2, self.fc2(hidden), training)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "act": self.act,
            "drop_rate": self.drop_rate,
            "weight_init": self.weight_init,
            **dtype_config(self),
        }
