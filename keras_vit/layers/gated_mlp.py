"""The perceptron whose hidden layer is a product: one half opens a gate for the other."""

from typing import Any

import keras
from keras import ops

from keras_vit.layers.activations import activation
from keras_vit.layers.composite import dtype_config, part_policy
from keras_vit.layers.drop_path import dropped
from keras_vit.layers.initializers import WeightInit
from keras_vit.layers.layer_norm import LayerNormalization


@keras.saving.register_keras_serializable("keras_vit")
class GatedMLP(keras.layers.Layer):
    """`fc2(act(gate) * value)`: a gated linear unit (arXiv:2002.05202); with SiLU, SwiGLU.

    Gate and value are the halves of one Dense `fc1`, the gate first, or two of them, `fc1_g` and `fc1_x`:
    as timm/layers/mlp.py `SwiGLUPacked` and `SwiGLU`, whose checkpoints name them so.

    Args:
        hidden_dim: width of the gate, and of the value.
        act: activation of the gate, a name of `ACTIVATIONS`.
        packed: whether gate and value come of one Dense.
        norm_eps: epsilon of a LayerNorm `norm` of the product (arXiv:2303.11331, sub-LN), or None for none.
        drop_rate: dropout of the product, and after the last Dense.
        weight_init: a scheme of `WeightInit`.

    Input and output shape: `(batch, tokens, dim)`.
    """

    def __init__(
        self,
        hidden_dim: int,
        act: str = "silu",
        packed: bool = True,
        norm_eps: float | None = None,
        drop_rate: float = 0.0,
        weight_init: str = "timm",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim, self.act, self.packed = hidden_dim, act, packed
        self.norm_eps, self.drop_rate, self.weight_init = norm_eps, drop_rate, weight_init
        policy = self.dtype_policy
        self.activation = activation(act)
        self.drop1 = keras.layers.Dropout(drop_rate, dtype=policy, name="drop1")
        self.drop2 = keras.layers.Dropout(drop_rate, dtype=policy, name="drop2")
        self.norm = (
            None
            if norm_eps is None
            else LayerNormalization(epsilon=norm_eps, dtype=policy, name="norm")
        )

    @property
    def parts(self) -> list[keras.layers.Layer]:
        """The sublayers, in the order of the forward pass."""
        norms = [] if self.norm is None else [self.norm]
        return [*self.first, self.drop1, *norms, self.fc2, self.drop2]

    @property
    def first(self) -> list[keras.layers.Dense]:
        """What makes gate and value: `[fc1]`, or `[fc1_g, fc1_x]`."""
        return [self.fc1] if self.packed else [self.fc1_g, self.fc1_x]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.packed:
            self.fc1 = self._dense("fc1", 2 * self.hidden_dim)
        else:
            self.fc1_g = self._dense("fc1_g", self.hidden_dim)
            self.fc1_x = self._dense("fc1_x", self.hidden_dim)
        self.fc2 = self._dense("fc2", input_shape[-1])
        for dense in self.first:
            dense.build(input_shape)
        hidden = (*input_shape[:-1], self.hidden_dim)
        if self.norm is not None:
            self.norm.build(hidden)
        self.fc2.build(hidden)

    def _dense(self, name: str, units: int | None) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            kernel_initializer=WeightInit(self.weight_init, "kernel"),
            bias_initializer=WeightInit(self.weight_init, "mlp_bias"),
            dtype=part_policy(self, name),
            name=name,
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        parts = [dense(inputs) for dense in self.first]
        gate, value = ops.split(parts[0], 2, axis=-1) if self.packed else parts
        hidden = dropped(self.drop1, self.activation(gate) * value, training)
        if self.norm is not None:
            hidden = self.norm(hidden)
        return dropped(self.drop2, self.fc2(hidden), training)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "act": self.act,
            "packed": self.packed,
            "norm_eps": self.norm_eps,
            "drop_rate": self.drop_rate,
            "weight_init": self.weight_init,
            **dtype_config(self),
        }
