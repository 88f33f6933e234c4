"""Images to a grid of patch embeddings."""

from typing import Any

import keras

from keras_vit.layers.initializers import WeightInit


@keras.saving.register_keras_serializable("keras_vit")
class PatchEmbedding(keras.layers.Layer):
    """Cuts images into patches and projects each: a convolution whose stride is its kernel size.

    Args:
        embed_dim: width of an embedding.
        patch_size: (height, width) of a patch, in pixels.
        use_bias: whether the projection has a bias.
        weight_init: `"timm"` or `"jax"`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height // patch height, width // patch width, embed_dim)`.
    """

    def __init__(
        self,
        embed_dim: int,
        patch_size: tuple[int, int],
        use_bias: bool = True,
        weight_init: str = "timm",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.embed_dim, self.patch_size = embed_dim, tuple(patch_size)
        self.use_bias, self.weight_init = use_bias, weight_init
        self.proj = keras.layers.Conv2D(
            embed_dim,
            self.patch_size,
            strides=self.patch_size,
            data_format="channels_last",
            use_bias=use_bias,
            kernel_initializer=WeightInit(weight_init, "patch"),
            dtype=self.dtype_policy,
            name="proj",
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.proj.build(input_shape)

    def call(self, inputs: Any) -> Any:
        return self.proj(inputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return self.proj.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "embed_dim": self.embed_dim,
            "patch_size": self.patch_size,
            "use_bias": self.use_bias,
            "weight_init": self.weight_init,
        }
