"""LayerScale (arXiv:2103.17239, CaiT)."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("keras_vit")
class LayerScale(keras.layers.Layer):
    """Multiplies each channel by a learned `gamma`.

    Args:
        init_values: initial value of every channel's factor.
    """

    def __init__(self, init_values: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_values = init_values

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.gamma = self.add_weight(
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.init_values),
            name="gamma",
        )

    def call(self, inputs: Any) -> Any:
        return inputs * keras.ops.cast(self.gamma, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "init_values": self.init_values}
