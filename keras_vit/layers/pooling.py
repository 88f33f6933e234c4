"""Token sequences and feature maps to one vector an image."""

from typing import Any

import keras
from keras import ops

POOLINGS = ("token", "avg", "max", "avgmax")


@keras.saving.register_keras_serializable("keras_vit")
class TokenPool(keras.layers.Layer):
    """Picks a prefix token or pools the patch tokens, as timm's `global_pool_nlc`.

    Args:
        mode: `"token"`, `"avg"`, `"max"` or `"avgmax"` (the mean of both). The last three leave the prefix
            tokens out.
        num_prefix_tokens: how many tokens stand before the patches.
        index: which token `"token"` picks.

    Input shape: `(batch, tokens, dim)`. Output shape: `(batch, dim)`.
    """

    def __init__(
        self, mode: str = "token", num_prefix_tokens: int = 1, index: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if mode not in POOLINGS:
            raise ValueError(f"mode must be one of {POOLINGS}. Received: {mode!r}")
        self.mode, self.num_prefix_tokens, self.index = mode, num_prefix_tokens, index

    def call(self, inputs: Any) -> Any:
        if self.mode == "token":
            return inputs[:, self.index]
        return _pooled(inputs[:, self.num_prefix_tokens :], self.mode, 1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "mode": self.mode,
            "num_prefix_tokens": self.num_prefix_tokens,
            "index": self.index,
        }


@keras.saving.register_keras_serializable("keras_vit")
class MapPool(keras.layers.Layer):
    """Pools a feature map over its pixels.

    Args:
        mode: `"avg"`, `"max"` or `"avgmax"` (the mean of both).

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, channels)`.
    """

    def __init__(self, mode: str = "avg", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in POOLINGS[1:]:
            raise ValueError(f"mode must be one of {POOLINGS[1:]}. Received: {mode!r}")
        self.mode = mode

    def call(self, inputs: Any) -> Any:
        return _pooled(inputs, self.mode, (1, 2))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}


def _pooled(x: Any, mode: str, axis: int | tuple[int, int]) -> Any:
    """The mean, the maximum, or the mean of both."""
    if mode == "avg":
        return ops.mean(x, axis=axis)
    if mode == "max":
        return ops.max(x, axis=axis)
    return 0.5 * (ops.mean(x, axis=axis) + ops.max(x, axis=axis))
