"""Parts of a token sequence: the patches as a map again, or some of the tokens."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_vit")
class TokenMap(keras.layers.Layer):
    """The patch tokens of a sequence as the map that they were.

    Args:
        num_prefix_tokens: how many tokens stand before the patches.

    Call arguments:
        inputs: `(batch, num_prefix_tokens + height * width, dim)`.
        like: a map `(batch, height, width, any)`, such as the patch embedding's.

    Output shape: `(batch, height, width, dim)`.
    """

    def __init__(self, num_prefix_tokens: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_prefix_tokens = num_prefix_tokens

    def call(self, inputs: Any, like: Any) -> Any:
        height, width = ops.shape(like)[1:3]
        patches = inputs[:, self.num_prefix_tokens :]
        return ops.reshape(patches, (-1, height, width, inputs.shape[-1]))

    def compute_output_shape(
        self, inputs_shape: tuple[int | None, ...], like_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (inputs_shape[0], *like_shape[1:3], inputs_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_prefix_tokens": self.num_prefix_tokens}


@keras.saving.register_keras_serializable("keras_vit")
class TokenSlice(keras.layers.Layer):
    """Some of the tokens of a sequence: `inputs[:, start:stop]`.

    Args:
        start, stop: the first token and the one after the last; None is the end of the sequence.

    Input shape: `(batch, tokens, dim)`. Output shape: `(batch, tokens that are left, dim)`.
    """

    def __init__(self, start: int = 0, stop: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start, self.stop = start, stop

    def call(self, inputs: Any) -> Any:
        return inputs[:, self.start : self.stop]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, tokens, dim = input_shape
        stop = tokens if self.stop is None else self.stop
        left = None if stop is None else stop - self.start
        return (batch, left, dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start, "stop": self.stop}
