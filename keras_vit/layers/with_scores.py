"""An attention block that gives its attention map as well."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("keras_vit")
class WithScores(keras.layers.Layer):
    """Calls a block with `return_attention_scores=True`.

    Keras wants each layer of a Functional model to give as many outputs wherever it is called, so a
    block that is in one model without its scores needs another layer around it to be in one with them.

    Args:
        block: an attention block, whose weights it shares.

    Call arguments:
        inputs: what the block takes.
        scores_offset: as in the block's attention.
        rope: the block's table of rotary positions, if it takes one.

    Output: what the block gives, and its scores `(batch, num_heads, queries, keys)` in float32.
    """

    def __init__(self, block: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # the block casts what it takes
        self.block = block

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if not self.block.built:
            self.block.build(input_shape)

    def call(
        self,
        inputs: Any,
        scores_offset: Any = None,
        training: bool | None = None,
        rope: Any = None,
    ) -> Any:
        return self.block(
            inputs,
            training=training,
            return_attention_scores=True,
            scores_offset=scores_offset,
            **({} if rope is None else {"rope": rope}),
        )

    def compute_output_spec(
        self,
        inputs: Any,
        scores_offset: Any = None,
        training: bool | None = None,
        rope: Any = None,
    ) -> Any:
        return self.block.compute_output_spec(
            inputs, training=training, return_attention_scores=True
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "block": keras.saving.serialize_keras_object(self.block),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WithScores":
        return cls(keras.saving.deserialize_keras_object(config["block"]), name=config["name"])
